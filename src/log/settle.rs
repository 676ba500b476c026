//! Settling a lost anchor: an operator says that this database is the newest that ever published.
//!
//! Nothing but the anchor can tell a log that lost its anchor from an old copy of it, so a person must. What a person may not
//! settle is a contradiction: where an anchor can be read, it is right, and the database has to be restored.

use std::path::{Path, PathBuf};

use super::edge::Edge;
use super::start::check;
use super::{DATABASE_FILE, OpenError};
use crate::clock::Clock;
use crate::store::lock::DirectoryLock;
use crate::store::sqlite::SqliteReader;
use crate::store::sqlite::anchor::{Anchor, Anchored, set_aside};
use crate::store::{LogReader, StoreError};
use crate::tlog::{TreeHead, TreeSize};

/// What was settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The head that the new anchor holds.
    pub tree: TreeHead,
    /// Where the unreadable anchor was put, if there was one.
    pub set_aside: Option<PathBuf>,
}

/// Why an anchor was not settled.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The log, or its lock, cannot be had.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The anchor can be read, so there is nothing to settle: what it says is so.
    #[error(
        "the anchor at {path} can be read and holds a head of {} records: it is right whatever the log says; if they disagree, \
         restore the log", anchored.tree.size
    )]
    Readable {
        /// The anchor's file.
        path: String,
        /// What it knows.
        anchored: Box<Anchored>,
    },
    /// The operator had another size in mind.
    #[error(
        "the newest head of this log has {found} records, not {said}: if more were ever published, this is an old copy; find the \
         newest one"
    )]
    OtherSize {
        /// The size of the newest head.
        found: TreeSize,
        /// What the operator said.
        said: TreeSize,
    },
}

impl From<StoreError> for SettleError {
    fn from(error: StoreError) -> SettleError {
        SettleError::Open(error.into())
    }
}

/// Makes a new anchor for the log in `directory`, at its newest head, which must have `size` records and be the root of the stored
/// ones. An anchor that cannot be read is put aside; one that can be is an error. Nobody may have the log open.
pub fn settle_anchor(
    directory: &Path,
    anchor: &Path,
    size: TreeSize,
    clock: &Clock,
) -> Result<Settled, SettleError> {
    let _lock = DirectoryLock::acquire(directory)?;
    // Page cache for one pass over the right edge.
    let reader = SqliteReader::open(&directory.join(DATABASE_FILE), 2048)?;
    let identity = reader.identity();
    let missing = || StoreError::Damaged { place: "the newest head".to_owned(), why: "missing".to_owned() };
    let newest = reader.heads(TreeSize(u64::MAX), 1)?.pop().ok_or_else(missing)?;
    if newest.tree.size != size {
        return Err(SettleError::OtherSize { found: newest.tree.size, said: size });
    }
    check(&Edge::recover(size, &reader)?, &newest, true, identity)?;
    let aside = match Anchor::open(anchor) {
        Ok(None) => None,
        Ok(Some((_, anchored))) => {
            let path = anchor.display().to_string();
            return Err(SettleError::Readable { path, anchored: Box::new(anchored) });
        }
        Err(StoreError::Damaged { .. }) => Some(set_aside(anchor, clock.now())?),
        Err(error) => return Err(error.into()),
    };
    let anchored = Anchored { vkey: identity.vkey.clone(), epoch: reader.epoch()?, tree: newest.tree };
    Anchor::create(anchor, &anchored, clock.now())?;
    Ok(Settled { tree: newest.tree, set_aside: aside })
}
