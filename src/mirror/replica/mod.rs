//! The replica: every record of a remote log, verified before it is written, and what is done with
//! it: bring it up to date, verify it again, count it, carry it elsewhere.
//!
//! | file | what | state |
//! |---|---|---|
//! | `import`, `export` | all of it as static files, which anyone can serve and verify | |
//! | `replicator` | who brings it up to date, one at a time; room on the disk | [`Replicator`] |
//! | `windows` | from a signed head to records, window by window | `WindowRun` |
//! | `progress`, `error` | how far a run is, and why it ended | |
//! | `bundle` | the layout of those files, as a directory and as an archive | |
//! | `reverify` | what is stored, computed again from its records | [`ReverifyFigures`] |
//! | `stats`, `diff` | what it holds, alone and beside the own log | |
//!
//! The records lie in a [store of their own](crate::store::replica), which one process opens for
//! writing. Everything that comes from the log comes through the [verified view](super::view).

mod bundle;
mod diff;
mod error;
mod export;
mod import;
mod progress;
mod replicator;
mod reverify;
mod stats;
mod windows;

pub use bundle::{BundleError, Delta};
pub(crate) use diff::{Disagreement, PathDiff, ReplicaDiff, diff};
pub(crate) use error::SyncError;
pub use export::{ExportTarget, Exported, export};
pub use import::{ImportError, ImportProgress, ImportSource, import};
pub(crate) use progress::{ReplicaRun, Synced};
pub use progress::{ReplicateOptions, Replicated};
pub(super) use replicator::Replicator;
pub use reverify::{Reverified, ReverifyFigures, reverify, slices, verify, verify_slice};
pub(crate) use stats::{ReplicaStats, stats};
pub use windows::replicate;
