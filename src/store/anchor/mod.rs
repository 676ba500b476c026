//! The anchor: remembers the highest head ever published, and who may write.
//!
//! It is worth something where a restore or a clone of the log's database does not bring it back
//! too, so it belongs on another disk. A writer claims a new epoch in it before it does so in the
//! database, and moves it to each head after the commit and before the publication. Every change is
//! a compare-and-swap. A change that fails with a [`StoreError::Conflict`] may be tried again;
//! where the conflict stays, another writer has taken over, and this one is deposed: it signs
//! nothing more, and what it has published stays true.
//!
//! [`FileAnchor`] is the one implementation.

mod file;
mod slot;

use std::fmt;
use std::path::Path;

use jiff::Timestamp;

use super::StoreError;
use crate::tlog::TreeHead;
pub use file::FileAnchor;

/// The name of the file, when it lies beside the log.
pub const ANCHOR_FILE: &str = "anchor.db";

/// What an anchor knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchored {
    /// The log's verifier key.
    pub vkey: String,
    /// The epoch of the writer that may sign.
    pub epoch: u64,
    /// The highest head ever published.
    pub tree: TreeHead,
    /// The number of the newest stop that the file of stops must have; 0 when there was none.
    pub stops: u64,
}

/// An anchor that is open for writing, and what it knew then.
pub type OpenedAnchor = (Box<dyn AnchorWriter>, Anchored);

/// Where the anchor of one log is.
pub trait Anchor: Send + Sync {
    /// Its place. The log's stops are kept in a file beside it.
    fn path(&self) -> &Path;
    /// Reads what it knows; `None` when it was never made. Changes nothing, and may run beside a
    /// server.
    fn read(&self) -> Result<Option<Anchored>, StoreError>;
    /// Opens it for writing; `None` when it was never made.
    fn open(&self) -> Result<Option<OpenedAnchor>, StoreError>;
    /// Makes the anchor of a log that starts here, durably. One that is there is not replaced.
    fn create(&self, anchored: &Anchored, at: Timestamp) -> Result<Box<dyn AnchorWriter>, StoreError>;
}

/// An anchor that is open for writing. When a change returns, a power cut cannot take it away.
pub trait AnchorWriter: fmt::Debug + Send {
    /// Its place.
    fn path(&self) -> &Path;
    /// Makes `next` the writer's epoch, if it is still `epoch`.
    fn claim(&mut self, epoch: u64, next: u64) -> Result<(), StoreError>;
    /// Moves from one head to a larger one, if epoch and head are still those.
    fn advance(
        &mut self,
        epoch: u64,
        from: &TreeHead,
        to: &TreeHead,
        at: Timestamp,
    ) -> Result<(), StoreError>;
    /// Remembers the newest stop that the file of stops must have from now on.
    fn remember_stops(&mut self, newest: u64) -> Result<(), StoreError>;
}
