//! Routes: which modules come from where, and who vouches for their lines. The first that matches an unescaped path counts
//! (see [`crate::module::choose`]), for
//! everything: a module that its source does not have is not looked for at another route's, and what a private module
//! requires is asked of its own route or not at all.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::for_clients;
use crate::gosum::ModuleLines;
use crate::module::{ModuleVersion, PathPatterns, Rule};
use crate::share::Claimant;
use crate::tlog::{RecordId, TreeHead};
use crate::upstream::{GoProxy, Said};

/// Where the modules of some paths come from.
pub struct Route {
    /// Which paths, unescaped.
    pub patterns: PathPatterns,
    /// The sources, ready to be asked. Not needed where a remote log gives the lines: without them nothing is notarised ahead.
    pub source: Option<GoProxy>,
    /// Who vouches for the lines.
    pub checksum: Checksum,
}

/// Who vouches for the lines of a route.
pub enum Checksum {
    /// We do: what the source serves is hashed.
    Compute,
    /// A remote checksum database, as far as it proves what it says.
    Sumdb(Arc<dyn Prover>),
}

/// A future of a [`Prover`].
pub type Proving<'a> = Pin<Box<dyn Future<Output = Result<Proven, ProveError>> + Send + 'a>>;

/// A remote checksum database whose answers are proofs.
pub trait Prover: Send + Sync {
    /// The database's name.
    fn name(&self) -> &str;

    /// The lines of a module version, out of the record that is proved to be in the database's newest tree.
    /// `client` is who waits; without one the work gives way to any client's.
    fn prove<'a>(
        &'a self,
        module: &'a ModuleVersion,
        client: Option<Claimant>,
        deadline: Instant,
    ) -> Proving<'a>;
}

/// Lines that a remote log holds, proved.
#[derive(Clone, Debug)]
pub struct Proven {
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
        said: Said,
    },
    /// It refuses access.
    #[error("access refused{said}")]
    Forbidden {
        /// In which words.
        said: Said,
    },
    /// It cannot be reached or does not answer properly.
    #[error("{why}")]
    Unavailable {
        /// What happened, without local paths.
        why: String,
        /// How long it asked to wait.
        retry_after: Option<Duration>,
    },
    /// No address of it sends what verifies. Unsigned lies prove nothing about the log, but somebody should look who sends them.
    #[error("{why}")]
    Unproven {
        /// What each address sent, without local paths.
        why: String,
    },
    /// It contradicts what it signed before.
    #[error("misbehaviour: {summary}")]
    Misbehaviour {
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

/// Why routes cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Version control connects to whatever host a path names, so the path's host must be the operator's choice.
    #[error("route {number} allows \"direct\" for modules of any host: name the host in its patterns")]
    DirectNeedsHost {
        /// The route, from 1.
        number: usize,
    },
    /// There is nothing to hash.
    #[error("route {number} is to be computed but has no source")]
    NoSource {
        /// The route, from 1.
        number: usize,
    },
}

impl Route {
    /// The route as [`choose`](crate::module::choose) needs it.
    pub(super) fn rule(&self) -> Rule<'_> {
        let sumdb = match &self.checksum {
            Checksum::Compute => None,
            Checksum::Sumdb(remote) => Some(remote.name()),
        };
        Rule { patterns: &self.patterns, sumdb }
    }

    /// Who is asked, as clients may read it.
    pub(super) fn place(&self) -> Arc<str> {
        match (&self.checksum, &self.source) {
            (Checksum::Sumdb(remote), _) => remote.name().into(),
            (Checksum::Compute, Some(source)) => for_clients(&source.list().redacted()).into(),
            (Checksum::Compute, None) => "nowhere".into(),
        }
    }
}

/// Checks what the configuration checks too: a mistake there must not open our network.
pub(super) fn check(routes: &[Route]) -> Result<(), RouteError> {
    for (n, route) in routes.iter().enumerate() {
        let number = n + 1;
        match (&route.source, &route.checksum) {
            (Some(source), _) if source.list().has_direct() && !route.patterns.has_literal_host() => {
                return Err(RouteError::DirectNeedsHost { number });
            }
            (None, Checksum::Compute) => return Err(RouteError::NoSource { number }),
            _ => {}
        }
    }
    Ok(())
}
