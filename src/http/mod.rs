//! HTTP: how programs reach the log.
//!
//! ```text
//! listen   a Door: accept loop, slots, limits, TLS, shutdown  ── activity: who rests, who is slow, who is stuck
//!   └ Site ─┬ site    the public door: method, URL length, client address, counting
//!           │   ├ sumdb   /latest /lookup/ /tile/ /sumdb/<name>/…   answered from a ChecksumDatabase
//!           │   ├ hooks   /hooks/mirror/<name>                      wakes who watches that log
//!           │   ├ tlog    /tlog/…                                   the same log as C2SP sees it
//!           │   ├ tlog_proof  /api/v1/tlog-proof/…                  proofs as files
//!           │   ├ gossip  /api/v1/gossip                            heads that others were shown
//!           │   └ api     /api/v1/…                                 answered from a LogApi
//!           └ ops     the second door: /healthz /readyz /metrics
//! listener makes every listening socket, with the longest queue that the system allows
//! witness  what stands behind the door of a witness: add-checkpoint, and the checkpoints that were cosigned
//! control  the socket through which our own commands reach a log that is open
//! answer   every status code, header value and text of ours      tls, proxies, metrics   as named
//! ```
//!
//! The engines do not know HTTP: they implement [`ChecksumDatabase`], [`api::LogApi`], [`ops::Health`] and [`metrics::MetricsSource`].
//! What a look-up is refused with is a [`LookupRefusal`], and only [`answer`] knows its status code.

mod activity;
pub mod answer;
pub mod api;
mod body;
pub(crate) mod control;
mod database;
pub mod gossip;
pub mod hooks;
pub mod incidents;
mod kept;
pub mod listen;
pub mod listener;
pub mod metrics;
pub mod ops;
pub mod own;
pub mod proxies;
pub mod remote;
pub mod site;
pub mod sumdb;
pub mod textfile;
pub mod tlog;
pub mod tlog_proof;
pub mod tls;
pub mod unusable;
pub mod validity;
pub mod verified;
pub mod witness;
pub mod witnesses;

pub use self::database::{BoxFuture, ChecksumDatabase, Client, LatestHead, LookupRefusal, ReadError};
pub use self::kept::{CacheSizes, Recent};
