//! A checksum database as HTTP serves it: what it is asked, what it answers, and why not.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;

use super::answer::{self, Answer};
use crate::module::ModuleVersion;
use crate::share::Claimant;
use crate::tlog::Tile;

/// When a client should come back that we could not answer for a reason of our own.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A future that the caller drives and that may borrow from its maker.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A checksum database as it is served: the own log, and the mirrors of other logs.
///
/// A method that returns no future is a quick local read and is called inline on the runtime's workers. Each method is told
/// who asks: an answer that is at hand may be meant for some clients only.
pub trait ChecksumDatabase: Send + Sync + 'static {
    /// The name that clients know it by; may contain `/`.
    fn name(&self) -> &str;

    /// Whether it is served at all, as `/sumdb/<name>/supported` says it.
    fn supported(&self, _: &Client) -> Result<(), LookupRefusal> {
        Ok(())
    }

    /// The newest head that was published; `None` when none is known yet.
    fn latest(&self, client: &Client) -> Result<Option<LatestHead>, ReadError>;

    /// Asked after [`ChecksumDatabase::latest`] found nothing, where there is somebody to ask.
    fn fetch_latest(&self, _: Client) -> Option<BoxFuture<'_, Result<LatestHead, LookupRefusal>>> {
        None
    }

    /// The newest head as a checkpoint under an origin of its own; `None` where there is none, or nothing is signed.
    fn checkpoint(&self, _: &Client) -> Result<Option<LatestHead>, ReadError> {
        Ok(None)
    }

    /// The bytes of a tile of height 8, or `None` if the newest published tree does not have it in this width.
    fn tile(&self, tile: &Tile, client: &Client) -> Result<Option<Bytes>, ReadError>;

    /// Asked after [`ChecksumDatabase::tile`] found nothing, where there is somebody to ask, or more to say than that there is no
    /// such tile.
    fn fetch_tile(&self, _: Tile, _: Client) -> Option<BoxFuture<'_, Result<Bytes, LookupRefusal>>> {
        None
    }

    /// The whole answer to a look-up if the log has the module version: record number, lines, blank line, note.
    fn lookup(&self, module: &ModuleVersion, client: &Client) -> Result<Option<Bytes>, ReadError>;

    /// Asked after [`ChecksumDatabase::lookup`] found nothing: brings the module version into the log if it may enter,
    /// and answers as a look-up that hits. Dropped when the client goes away or its deadline passes: work that
    /// others may wait for must go on by itself.
    fn fetch_lookup(
        &self,
        module: ModuleVersion,
        client: Client,
    ) -> BoxFuture<'_, Result<Bytes, LookupRefusal>>;
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The peer's address, or the one that a trusted proxy names. An IPv4 address is never in its IPv6 form.
    pub address: IpAddr,
}

impl Client {
    /// Whose share its requests take.
    pub(super) fn claimant(&self) -> Claimant {
        Claimant::at(self.address)
    }
}

/// A signed head, ready to be served. Cloning is cheap: make it once per head.
#[derive(Clone, Debug)]
pub struct LatestHead {
    note: Bytes,
    etag: HeaderValue,
}

impl LatestHead {
    /// The `ETag` is made from the bytes: the note of one size changes when a key is added.
    pub fn new(note: impl Into<Bytes>) -> LatestHead {
        let note = note.into();
        let etag = answer::etag_of(&note);
        LatestHead { note, etag }
    }

    /// 200 with the note.
    pub(super) fn answer(self) -> Answer {
        answer::head(self.note, self.etag)
    }

    /// 200 with the note, or 304 where the client has it.
    pub(super) fn answer_to(self, headers: &HeaderMap) -> Answer {
        if answer::has_version(headers, &self.etag) { answer::not_modified(self.etag) } else { self.answer() }
    }
}

/// A read that failed. The texts are for the server's log; clients read a sentence of [`answer`].
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What is stored there does not have the right checksum: 500 for this row. An operator must look.
    #[error("damaged: {what}")]
    Damaged {
        /// Which row, and what is wrong with it.
        what: String,
    },
    /// The storage does not answer now: 503.
    #[error("unavailable: {why}")]
    Unavailable {
        /// The cause.
        why: String,
    },
}

/// Why a look-up has no record, or a mirror no tile. Each text is printed by the `go` command at somebody's prompt: a short first line,
/// then cause and remedy (see [`fit_for_go`](crate::visible::fit_for_go) for what fits).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupRefusal {
    /// 404: the source does not have it.
    #[error("{text}")]
    NotFound {
        /// For the client.
        text: String,
        /// How long caches may keep it; at most [`answer::NOT_FOUND_AGE_MAX`] is sent.
        max_age: Duration,
    },
    /// 403: policy.
    #[error("{text}")]
    Forbidden {
        /// For the client.
        text: String,
    },
    /// 503: a source is down, a deadline passed, a limit is reached.
    #[error("{text}")]
    TryLater {
        /// For the client.
        text: String,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// 409: the log has, or a verified source gave, other hashes for this module version.
    #[error("{text}")]
    Conflict {
        /// For the client.
        text: String,
    },
    /// 500: our own failure.
    #[error("{text}")]
    Internal {
        /// For the client: no paths, no addresses, no keys.
        text: String,
    },
}

/// The one place where failed reads are logged; the client is told what it can do about them.
pub(super) fn read_failed(sumdb: &dyn ChecksumDatabase, error: &ReadError, what: &str) -> Answer {
    tracing::error!(log = sumdb.name(), %error, "cannot read {what}");
    match error {
        ReadError::Damaged { .. } => answer::internal(&format!(
            "internal error: the checksum database cannot read {what}\nIts stored copy is damaged. Tell the \
             operator of this server, whose log has the details."
        )),
        ReadError::Unavailable { .. } => {
            let text = format!(
                "the checksum database cannot read {what} at the moment\nTry again in a few seconds."
            );
            answer::try_later(&text, RETRY_AFTER)
        }
    }
}
