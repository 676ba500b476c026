//! One log, one database: what is kept, and the two halves through which it is reached.
//!
//! A [`LogStore`] is the writer's half. There is one, it lives on the sequencer's thread, and
//! everything it does happens inside a transaction that either holds the whole batch (records,
//! index, evidence, tiles and the signed head) or nothing. A [`LogReader`] is the readers' half:
//! any number of threads, each read consistent in itself.
//!
//! A store knows positions, not trees: which hash belongs where is computed above it, in
//! [`crate::log`], and computed again from the stored bytes when a log is opened. Two stores exist,
//! [`sqlite`] and [`memory`] (for tests), and one conformance suite (`tests/it/conformance.rs`)
//! holds both to what is written here.
//!
//! Other logs have databases of their own: [`remote`] keeps what look-ups needed, [`replica`] keeps
//! every record, with the index of the own log, and its records in files that only grow.

pub mod anchor;
pub(crate) mod durable;
mod error;
pub mod evidence;
mod holder;
pub mod lock;
pub mod memory;
mod parts;
pub(crate) mod private;
pub mod sqlite;

use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;

use crate::gosum::ModuleLines;
use crate::module::ModuleVersion;
use crate::note::SignerKey;
use crate::tlog::{Hash, RecordId, TILE_HEIGHT, TreeHead, TreeSize};
pub use error::{FoundInstead, StoreError};
pub use evidence::{Evidence, Incident, IncidentKind};
pub use holder::Holder;
pub use parts::{LogParts, OpenedDatabase};
pub use sqlite::{cosignatures, remote, replica, witness};

/// Height of the [`Subtrees`] of a full level-0 tile: half-way up to its root.
pub const SUBTREE_HEIGHT: u8 = TILE_HEIGHT / 2;
/// Records in one of them, and how many there are of them.
pub const SUBTREE_WIDTH: u64 = 1 << SUBTREE_HEIGHT;

/// Who a log is. Written once, when its database is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The log's name, which is its key's name.
    pub name: String,
    /// The verifier key in its text form.
    pub vkey: String,
    /// When the database was created.
    pub created_at: Timestamp,
}

impl Identity {
    /// The identity of the log that this key signs.
    pub fn of(signer: &SignerKey, created_at: Timestamp) -> Identity {
        let (name, vkey) = (signer.name().as_str().to_owned(), signer.verifier().to_string());
        Identity { name, vkey, created_at }
    }
}

/// A signed tree head as it was published, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHead {
    /// Size and root.
    pub tree: TreeHead,
    /// The signed note, byte for byte.
    pub note: String,
    /// When it was signed.
    pub signed_at: Timestamp,
}

/// A record on its way into the log.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// The two go.sum lines.
    pub lines: ModuleLines,
    /// The record's hash, the leaf of the tree.
    pub leaf: Hash,
    /// Where the lines come from. Shared, because a bulk import gives thousands of records the
    /// same.
    pub evidence: Arc<Evidence>,
}

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its number.
    pub id: RecordId,
    /// The two go.sum lines.
    pub lines: ModuleLines,
}

/// A full hash tile of level 1 or above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullTile {
    /// The tile's level, 1 to 7.
    pub level: u8,
    /// The tile's number within its level.
    pub number: u64,
    /// Its 256 hashes.
    pub hashes: Vec<Hash>,
}

/// The roots of the sixteen subtrees, of sixteen records each, that a full level-0 tile consists
/// of. They follow from its leaves, and are kept so that a proof needs sixteen leaves of the tile
/// and not all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtrees {
    /// The number of the level-0 tile.
    pub tile: u64,
    /// The sixteen hashes, each of height 4.
    pub roots: Vec<Hash>,
}

/// What records complete in the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complete {
    /// Tiles of level 1 and up.
    pub tiles: Vec<FullTile>,
    /// Of each full level-0 tile, what lies half-way up to its root.
    pub subtrees: Vec<Subtrees>,
}

/// What one commit adds to a log: all of it, or nothing.
#[derive(Debug)]
pub struct Batch {
    /// Records with consecutive numbers, the first at the size of the head before.
    pub records: Vec<NewRecord>,
    /// What these records complete in the tree.
    pub complete: Complete,
    /// The head that contains them; absent when no record is new and only incidents are kept.
    pub head: Option<StoredHead>,
    /// What a person must look at.
    pub incidents: Vec<Incident>,
    /// The time that the records' evidence carries as `appended_at`.
    pub at: Timestamp,
}

/// The writer's half of a log's database.
pub trait LogStore: Send {
    /// Who this log is.
    fn identity(&self) -> &Identity;
    /// Makes `epoch` the only epoch whose appends succeed. It must be larger than every epoch
    /// before.
    fn claim(&mut self, epoch: u64) -> Result<(), StoreError>;
    /// The epoch that was claimed last, 0 when none was.
    fn epoch(&mut self) -> Result<u64, StoreError>;
    /// The newest head, or none in a database that was just created.
    fn newest(&mut self) -> Result<Option<StoredHead>, StoreError>;
    /// Opens the transaction of one batch, after checking that the newest head is `expected` and
    /// the epoch ours.
    fn begin(&mut self, expected: Option<&TreeHead>, epoch: u64) -> Result<Box<dyn Append + '_>, StoreError>;
    /// Throws away what is kept in memory and reads it again from the database; after a failed
    /// transaction.
    fn reload(&mut self) -> Result<(), StoreError>;
    /// A reader of the same log.
    fn reader(&self) -> Arc<dyn LogReader>;
    /// Gives back what disk space it can, without touching what is stored.
    fn shrink(&mut self) -> Result<(), StoreError>;
    /// Brings the database into its tidiest form: index merged, write-ahead log emptied. May take a
    /// while.
    fn settle(&mut self) -> Result<(), StoreError>;
}

/// The transaction of one batch. Dropped without a commit it leaves nothing behind.
pub trait Append {
    /// The record of a module version, if there is one.
    fn find(&mut self, module: &ModuleVersion) -> Result<Option<StoredRecord>, StoreError>;
    /// Which of these module versions may have a record. Where this says no there is none; for many
    /// of them that is far cheaper to know than what [`find`](Append::find) tells.
    fn may_have(&mut self, modules: &[&ModuleVersion]) -> Result<Vec<bool>, StoreError> {
        Ok(vec![true; modules.len()])
    }
    /// Makes the batch durable. When this returns, a power cut cannot take it away.
    fn commit(self: Box<Self>, batch: &Batch) -> Result<(), StoreError>;
}

/// The readers' half. Every method may be called from any thread, and sees only what was committed.
pub trait LogReader: Send + Sync {
    /// The record of a module version among the first `below` records.
    fn find(&self, module: &ModuleVersion, below: TreeSize) -> Result<Option<StoredRecord>, StoreError>;
    /// The record numbers in `ids`, in order; fewer when the log ends before.
    fn records(&self, ids: Range<u64>) -> Result<Vec<StoredRecord>, StoreError>;
    /// The hashes of the records in `ids`, in order; fewer when the log ends before.
    fn leaves(&self, ids: Range<u64>) -> Result<Vec<Hash>, StoreError>;
    /// A full hash tile of level 1 or above: 256 hashes.
    fn tile(&self, level: u8, number: u64) -> Result<Option<Vec<Hash>>, StoreError>;
    /// The roots of the subtrees of a full level-0 tile: sixteen hashes, or none where an older
    /// program wrote the tile.
    fn subtrees(&self, tile: u64) -> Result<Option<Vec<Hash>>, StoreError>;
    /// Where a record comes from, and when it was appended.
    fn evidence(&self, id: RecordId) -> Result<Option<evidence::StoredEvidence>, StoreError>;
    /// The head of exactly this size.
    fn head(&self, size: TreeSize) -> Result<Option<StoredHead>, StoreError>;
    /// Up to `limit` heads smaller than `before`, newest first.
    fn heads(&self, before: TreeSize, limit: usize) -> Result<Vec<StoredHead>, StoreError>;
    /// Up to `limit` incidents, newest first.
    fn incidents(&self, limit: usize) -> Result<Vec<evidence::KeptIncident>, StoreError>;
}

/// A log that is opened to be read only, beside the process that may write it. Takes no lock and
/// changes nothing.
pub trait LogObserver: LogReader {
    /// Who this log is.
    fn identity(&self) -> &Identity;
    /// The epoch of the process that may write, or wrote last.
    fn epoch(&self) -> Result<u64, StoreError>;
}
