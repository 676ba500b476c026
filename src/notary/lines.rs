//! The lines of a module version out of a remote log: what a route that takes its lines from one
//! asks.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::gosum::ModuleLines;
use crate::module::ModuleVersion;
use crate::share::Claimant;
use crate::tlog::{RecordId, TreeHead};
use crate::upstream::UpstreamMessage;

/// A future of a [`RemoteLines`].
pub type Proving<'a> = Pin<Box<dyn Future<Output = Result<ProvenLines, ProveError>> + Send + 'a>>;

/// A remote checksum database whose answers are proofs.
pub trait RemoteLines: Send + Sync {
    /// The database's name.
    fn name(&self) -> &str;

    /// The lines of a module version, out of the record that is proved to be in the database's
    /// newest tree. `client` is who waits; without one the work gives way to any client's.
    fn prove<'a>(
        &'a self,
        module: &'a ModuleVersion,
        client: Option<Claimant>,
        deadline: Instant,
    ) -> Proving<'a>;
}

/// Lines that a remote log holds, proved.
#[derive(Clone, Debug)]
pub struct ProvenLines {
    /// The lines.
    pub lines: ModuleLines,
    /// The record's number there.
    pub record: RecordId,
    /// The head under which it was proved.
    pub head: TreeHead,
}

/// Why a remote log gives no lines.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProveError {
    /// It says that there is no such module version.
    #[error("not found{said}")]
    NotFound {
        /// In which words.
        said: UpstreamMessage,
    },
    /// It refuses access.
    #[error("access refused{said}")]
    Forbidden {
        /// In which words.
        said: UpstreamMessage,
    },
    /// It cannot be reached or does not answer properly.
    #[error("{why}")]
    Unavailable {
        /// What happened, without local paths.
        why: String,
        /// How long it asked to wait.
        retry_after: Option<Duration>,
    },
    /// No address of it sends what verifies. Unsigned lies prove nothing about the log, but
    /// somebody should look who sends them.
    #[error("{why}")]
    Unproven {
        /// What each address sent, without local paths.
        why: String,
    },
    /// It contradicts what it signed before.
    #[error("misbehavior: {summary}")]
    Misbehavior {
        /// What it did.
        summary: String,
    },
    /// Our own store failed.
    #[error("{why}")]
    Local {
        /// What failed.
        why: String,
    },
}
