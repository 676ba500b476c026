//! HTTP: how programs reach the log.
//!
//! ```text
//! listen   a Door: accept loop, slots, limits, TLS, shutdown  ── activity: who rests, who is slow, who is stuck
//!   └ Site ─┬ site    the public door: method, URL length, client address, counting
//!           │   ├ sumdb   /latest /lookup/ /tile/ /sumdb/<name>/…   answered from a Sumdb
//!           │   ├ hooks   /hooks/mirror/<name>                      wakes who watches that log
//!           │   ├ tlog    /tlog/…                                   the same log as C2SP sees it
//!           │   ├ tlog_proof  /api/v1/tlog-proof/…                  proofs as files
//!           │   ├ gossip  /api/v1/gossip                            heads that others were shown
//!           │   └ api     /api/v1/…                                 answered from a LogApi
//!           └ ops     the second door: /healthz /readyz /metrics
//! places   requests that wait, with a share for each client      eviction   tells who must make room
//! listener makes every listening socket, with the longest queue that the system allows
//! witness  what stands behind the door of a witness: add-checkpoint, and the checkpoints that were cosigned
//! control  the socket through which our own commands reach a log that is open
//! answer   every status code, header value and text of ours      tls, proxies, metrics   as named
//! ```
//!
//! The engines do not know HTTP: they implement [`Sumdb`], [`api::LogApi`], [`ops::Health`] and [`metrics::Source`].
//! What a look-up is refused with is a [`LookupRefusal`], and only [`answer`] knows its status code.

mod activity;
pub mod answer;
pub mod api;
mod body;
pub(crate) mod control;
mod eviction;
pub mod gossip;
pub mod hooks;
mod kept;
pub mod listen;
pub mod listener;
pub mod metrics;
pub mod ops;
pub mod own;
pub mod places;
pub mod proxies;
pub mod remote;
pub mod site;
pub mod sumdb;
pub mod textfile;
pub mod tlog;
pub mod tlog_proof;
pub mod tls;
pub mod unusable;
pub mod verified;
pub mod witness;
pub mod witnesses;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::http::HeaderValue;
use bytes::Bytes;

use crate::module::ModuleVersion;
use crate::tlog::Tile;
pub use kept::{CacheSizes, Recent};

/// A future that the caller drives and that may borrow from its maker.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A checksum database as it is served: the own log, and the mirrors of other logs.
///
/// What returns no future is a quick local read and is called inline on the runtime's workers.
pub trait Sumdb: Send + Sync + 'static {
    /// The name that clients know it by; may contain `/`.
    fn name(&self) -> &str;

    /// Whether it is served at all, as `/sumdb/<name>/supported` says it.
    fn supported(&self) -> Result<(), LookupRefusal> {
        Ok(())
    }

    /// The newest head that was published; `None` when none is known yet.
    fn latest(&self) -> Result<Option<LatestHead>, ReadError>;

    /// Asked after [`Sumdb::latest`] found nothing, where there is somebody to ask.
    fn fetch_latest(&self, _: Client) -> Option<BoxFuture<'_, Result<LatestHead, LookupRefusal>>> {
        None
    }

    /// The newest head as a checkpoint under an origin of its own; `None` where there is none, or nothing is signed.
    fn checkpoint(&self) -> Result<Option<LatestHead>, ReadError> {
        Ok(None)
    }

    /// The bytes of a tile of height 8, or `None` if the newest published tree does not have it in this width.
    fn tile(&self, tile: &Tile) -> Result<Option<Bytes>, ReadError>;

    /// Asked after [`Sumdb::tile`] found nothing, where there is somebody to ask, or more to say than that there is no
    /// such tile.
    fn fetch_tile(&self, _: Tile, _: Client) -> Option<BoxFuture<'_, Result<Bytes, LookupRefusal>>> {
        None
    }

    /// The whole answer to a look-up if the log has the module version: record number, lines, blank line, note.
    fn cached_lookup(&self, module: &ModuleVersion) -> Result<Option<Bytes>, ReadError>;

    /// Asked after [`Sumdb::cached_lookup`] found nothing: brings the module version into the log if it may enter,
    /// and answers as a look-up that hits. Dropped when the client goes away or its deadline passes: work that
    /// others may wait for must go on by itself.
    fn notarize_lookup(
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

    /// The signed note.
    pub fn note(&self) -> &Bytes {
        &self.note
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
/// then cause and remedy (see [`answer::fit_for_go`] for what fits).
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
