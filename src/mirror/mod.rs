//! Mirrors: remote checksum databases, verified before anything of them is stored or answered.
//!
//! | word | what it means |
//! |---|---|
//! | remote log | a checksum database that somebody else runs and signs |
//! | verified view | what is known of a remote log, all of it verified ([`RemoteLog`]) |
//! | replica | every record of a remote log, verified and stored here |
//! | mirror | a remote log as an operator configured it ([`Mirror`]) |
//! | mode | what a mirror stores: `heads`, `on-demand` (what was asked for) or `full` (a replica) |
//!
//! | folder | what | uses |
//! |---|---|---|
//! | `set` | which mirrors there are, and who brings them up to date | `replica`, `view` |
//! | `replica` | replicate, re-verify, import, export, count | `view` |
//! | `view` | heads, look-ups, tiles; misbehavior and when it convicts | |
//!
//! # Walkthroughs
//!
//! **A window of a replica.** `set::watch` (the poll interval is over) → `set::mirror` (mode
//! `full`) → `replica::replicator` asks for the newest head: `view::advance` → `view::verify`
//! compares it with every head before, by hash tiles from `view::tiles`, and `view::known`
//! publishes it once it is durable → `replica::windows`: the roots of the window's 256 data tiles,
//! verified up to the signed root → `view::data_tiles` fetches each tile, whose leaves must lead to
//! its root → packed → one transaction; with the last window, when the root of all that is stored
//! is the signed one, the head.
//!
//! **An import.** `set::mirror` (nobody else is at it) → `replica::import`: an archive becomes a
//! directory, under the limits of `replica::bundle` → its head must be signed, and `view::verify`
//! compares it with every head known → `replica::windows`, the same way as from the network.

mod replica;
mod set;
mod view;

pub use replica::{
    BundleError, Delta, ExportTarget, Exported, ImportError, ImportProgress, ImportSource, ReplicateOptions,
    Replicated, Reverified, ReverifyFigures, export, import, replicate, reverify, slices, verify,
    verify_slice,
};
pub(crate) use replica::{
    Disagreement, PathDiff, ReplicaDiff, ReplicaRun, ReplicaStats, SyncError, Synced, diff, stats,
};
pub use set::Mirrors;
pub(crate) use set::{Mirror, Unusable, watch};
pub use view::{
    EvidenceError, Misbehavior, ProvenRecord, RecordsError, RemoteError, RemoteLimits, RemoteLog,
    RemoteLogOptions, Unproven,
};
pub(crate) use view::{HeadComparison, LogProgress, head_of, write_evidence};
