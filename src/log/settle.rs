//! Settling a lost anchor: an operator says that this database is the newest that ever published.
//!
//! Nothing but the anchor can tell a log that lost its anchor from an old copy of it, so a person
//! must. What a person may not settle is a contradiction: an anchor that can be read and is no old
//! copy is right, and the database has to be restored. What a damaged anchor still shows was
//! published too, so no smaller log is settled over it.

use std::path::PathBuf;
use std::sync::Arc;

use super::LogOpenError;
use super::claim::disagreement;
use super::head::prove_newest;
use super::recover::recover;
use super::state::ReadOnly;
use super::stops::{StopError, Stops};
use crate::clock::Clock;
use crate::store::anchor::{Anchor as _, Anchored, FileAnchor};
use crate::store::lock::DirectoryLock;
use crate::store::{LogObserver, StoreError};
use crate::tlog::{Hash, TreeHead, TreeSize};

/// What was settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The head that the new anchor holds.
    pub tree: TreeHead,
    /// Where the anchor that could not be used was put, if there was one.
    pub set_aside: Option<PathBuf>,
}

/// Why an anchor was not settled.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The log, or its lock, cannot be had.
    #[error(transparent)]
    Open(#[from] LogOpenError),
    /// The stops that the new anchor must remember cannot be read.
    #[error(
        "{0}\n  fix: put its newest copy back; if that is lost, `tallystick incidents resolve --lost` answers for what was in it, and the \
         anchor can be settled after that"
    )]
    Stops(#[from] StopError),
    /// The anchor can be read and is no old copy, so there is nothing to settle: what it says is
    /// so.
    #[error(
        "the anchor at {path} can be read and holds a head of {} of {}: it is right whatever the log says\n  fix: if the two \
         disagree, put the log back that has this head", anchored.tree.size.records(), anchored.vkey
    )]
    Readable {
        /// The anchor's file.
        path: String,
        /// What it knows.
        anchored: Box<Anchored>,
    },
    /// A part of the damaged anchor can be read, and this log does not have the head in it.
    #[error(
        "the anchor at {path} is damaged, but it still shows that a head of {} with the root {} was published, which this log \
         does not have: it is another log, an old copy, or a fork\n  fix: put the log back that has this head", anchored.tree.size.records(),
        anchored.tree.root
    )]
    Contradicted {
        /// The anchor's file.
        path: String,
        /// What it still shows.
        anchored: Box<Anchored>,
    },
    /// The operator had another size in mind.
    #[error(
        "the newest head of this log has {}, not {said}: if more were ever published, this is an old copy; find the \
         newest one",
        .found.records()
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

/// Makes a new anchor for the log that `reader` reads, at its newest head, which must have `size`
/// records and be the root of the stored ones. An anchor that is damaged or an old copy is put
/// aside; any other is an error. Nobody may have the log open: `_lock` is that of its directory.
pub fn settle_anchor<R: LogObserver + 'static>(
    _lock: &DirectoryLock,
    reader: &Arc<R>,
    anchor: &FileAnchor,
    size: TreeSize,
    clock: &Clock,
) -> Result<Settled, SettleError> {
    let identity = reader.identity().clone();
    let newest = reader.heads(TreeSize(u64::MAX), 1)?.pop();
    let empty = TreeHead { size: TreeSize(0), root: Hash::EMPTY_TREE };
    let tree = newest.as_ref().map_or(empty, |head| head.tree);
    if tree.size != size {
        return Err(SettleError::OtherSize { found: tree.size, said: size });
    }
    let verifier = prove_newest(newest.as_ref(), &identity, &**reader)?;
    let (snapshot, tower) = recover(newest, &identity, verifier, reader.clone());
    tower?;
    let epoch = reader.epoch()?;
    let before =
        replaced(anchor, |anchored| disagreement(anchored, anchor.path(), &identity.vkey, &snapshot, epoch))?;
    let loaded = Stops::load(Arc::new(anchor.clone()), clock.clone())?;
    loaded.check_signed_by(&identity.vkey)?;
    let (known_epoch, known_stops) = match &before {
        Before::Some(Some(known)) => (known.epoch, known.stops),
        Before::None | Before::Some(None) => (0, 0),
    };
    let set_aside = match before {
        Before::None => None,
        Before::Some(_) => Some(anchor.set_aside(clock.now())?),
    };
    let (epoch, stops) = (epoch.max(known_epoch), loaded.newest().max(known_stops));
    // If we stop here there is no anchor, and the same command makes one.
    anchor.create(&Anchored { vkey: identity.vkey, epoch, tree, stops }, clock.now())?;
    Ok(Settled { tree, set_aside })
}

/// The anchor that a new one replaces.
enum Before {
    None,
    /// A file, and what is known of what was in it.
    Some(Option<Anchored>),
}

/// Whether the anchor may be replaced. `why_not` says why the log may not go on from what an anchor
/// holds.
fn replaced(
    anchor: &FileAnchor,
    why_not: impl Fn(&Anchored) -> Result<Option<ReadOnly>, StoreError>,
) -> Result<Before, SettleError> {
    let path = anchor.path().display().to_string();
    match anchor.open() {
        Ok(None) => Ok(Before::None),
        Ok(Some((_, anchored))) => match why_not(&anchored)? {
            Some(ReadOnly::AnchorOld { .. }) => Ok(Before::Some(Some(anchored))),
            _ => Err(SettleError::Readable { path, anchored: Box::new(anchored) }),
        },
        Err(StoreError::Damaged { .. }) => match anchor.remains() {
            None => Ok(Before::Some(None)),
            Some(anchored) => match why_not(&anchored)? {
                None | Some(ReadOnly::AnchorOld { .. }) => Ok(Before::Some(Some(anchored))),
                Some(_) => Err(SettleError::Contradicted { path, anchored: Box::new(anchored) }),
            },
        },
        Err(error) => Err(error.into()),
    }
}
