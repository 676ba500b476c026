//! Whether log and anchor are of one time: here a log gets the right to sign, or the reason why
//! not.
//!
//! A commit moves the anchor before the next one begins, and a start claims its epoch in the anchor
//! before it does so in the log. So of a log and the anchor that belongs to it this holds, wherever
//! a process stops:
//!
//! - the anchor's epoch is the log's or a larger one;
//! - the anchor's head is the log's newest or the one before.
//!
//! | found | what it means |
//! |---|---|
//! | the anchor has a head that the log does not have | the log is an old copy, or a fork |
//! | the anchor is behind by more than the above allows | the anchor is an old copy: nobody knows what was published since |
//! | both hold, and both are equally old | nothing here can tell; witnesses can, and are asked first ([`Conditions::hold`](super::Conditions::hold)) |

use std::path::Path;
use std::sync::Arc;

use super::Snapshot;
use super::head::prove_newest;
use super::recover::recover;
use super::state::ReadOnly;
use super::stops::{check_signed_by, newest, stops};
use crate::clock::Clock;
use crate::store::anchor::{Anchor, AnchorWriter, Anchored};
use crate::store::{Identity, LogObserver, LogReader, LogStore, StoreError};
use crate::tlog::{TreeHead, TreeSize};

/// How often log and anchor are read again beside a server that writes.
const PAIR_TRIES: u32 = 100;

type Claimed = Result<(Box<dyn AnchorWriter>, u64), ReadOnly>;

/// Makes this process the writer, if database, anchor and stops agree. `newest_stop` is the number
/// of the newest one in the file of stops, or 0.
pub(super) fn claim(
    store: &mut dyn LogStore,
    snapshot: &Snapshot,
    place: &dyn Anchor,
    newest_stop: u64,
    clock: &Clock,
) -> Result<Claimed, StoreError> {
    let (tree, vkey, path) = (snapshot.head.tree, store.identity().vkey.clone(), place.path());
    let opened = match place.open() {
        Ok(opened) => opened,
        Err(error) => return Ok(Err(refusal(path, &error))),
    };
    let (mut anchor, anchored) = match opened {
        Some(found) => found,
        // The anchor is made before the log. So an empty log without one is an old copy, as any
        // other may be.
        None => {
            let path = path.display().to_string();
            return Ok(Err(ReadOnly::AnchorMissing { path, size: tree.size.0 }));
        }
    };
    let store_epoch = store.epoch()?;
    match disagreement(&anchored, path, &vkey, snapshot, store_epoch) {
        Err(error @ StoreError::Damaged { .. }) => return Ok(Err(ReadOnly::from(&error))),
        Err(error) => return Err(error),
        Ok(Some(reason)) => return Ok(Err(reason)),
        Ok(None) => {}
    }
    if newest_stop < anchored.stops {
        let anchor = path.display().to_string();
        return Ok(Err(ReadOnly::StopsMissing { anchor, stops: anchored.stops, found: newest_stop }));
    }
    let epoch = anchored.epoch.max(store_epoch) + 1;
    anchor.claim(anchored.epoch, epoch)?;
    // If we stop here the anchor is an epoch ahead of the database: the next start claims a larger
    // one in both.
    store.claim(epoch)?;
    if anchored.stops < newest_stop {
        // A process stopped between the file of stops and the anchor, or the anchor is an older
        // program's.
        anchor.remember_stops(newest_stop)?;
    }
    if anchored.tree != tree {
        // The last process stopped between its commit and its anchor. What it committed was signed,
        // so it is published now.
        anchor.advance(epoch, &anchored.tree, &tree, clock.now())?;
    }
    Ok(Ok((anchor, epoch)))
}

fn refusal(path: &Path, error: &StoreError) -> ReadOnly {
    let (path, why) = (path.display().to_string(), error.to_string());
    match error {
        StoreError::Damaged { .. } => ReadOnly::AnchorUnreadable { path, why },
        _ => ReadOnly::AnchorRefused { path, why },
    }
}

/// Why a log may not go on from this anchor, if so.
pub(super) fn disagreement(
    anchored: &Anchored,
    path: &Path,
    vkey: &str,
    snapshot: &Snapshot,
    store_epoch: u64,
) -> Result<Option<ReadOnly>, StoreError> {
    let (tree, path) = (snapshot.head.tree, path.display().to_string());
    if anchored.vkey != vkey {
        return Ok(Some(ReadOnly::AnchorForeign { path, vkey: anchored.vkey.clone() }));
    }
    if anchored.tree.size > tree.size {
        return Ok(Some(ReadOnly::Behind { found: tree, anchored: anchored.tree }));
    }
    let found = snapshot.root_at(anchored.tree.size)?;
    if found != anchored.tree.root {
        return Ok(Some(ReadOnly::Beside { found, anchored: anchored.tree }));
    }
    if anchored.epoch < store_epoch || is_far_behind(anchored, &tree, &*snapshot.reader)? {
        return Ok(Some(ReadOnly::AnchorOld { path, anchored: anchored.tree, found: tree }));
    }
    Ok(None)
}

/// Whether the log has gone on by more than one head since the anchor knew it.
fn is_far_behind(anchored: &Anchored, newest: &TreeHead, reader: &dyn LogReader) -> Result<bool, StoreError> {
    let before = reader.heads(newest.size, 1)?.pop();
    Ok(before.is_some_and(|before| anchored.tree.size < before.tree.size))
}

/// Says why a start with this anchor would sign nothing, if so, as far as log, anchor and stops
/// tell. Changes nothing, and may run beside a server.
pub(crate) fn why_read_only<R: LogObserver + 'static>(
    reader: &Arc<R>,
    anchor: &dyn Anchor,
) -> Result<Option<ReadOnly>, StoreError> {
    let mut unproven = None;
    // A server that writes moves the log and then the anchor: what was read in between is no pair,
    // and a record beyond a head may be one that was just written.
    for _ in 0..PAIR_TRIES {
        let anchored = match anchor.read() {
            Ok(anchored) => anchored,
            Err(error) => return Ok(Some(refusal(anchor.path(), &error))),
        };
        let newest = reader.heads(TreeSize(u64::MAX), 1)?.pop();
        let verifier = match prove_newest(newest.as_ref(), reader.identity(), &**reader) {
            Ok(verifier) => verifier,
            Err(error) => {
                unproven = Some(ReadOnly::from(&error));
                continue;
            }
        };
        let (snapshot, tower) = recover(newest, reader.identity(), verifier, reader.clone());
        let epoch = reader.epoch()?;
        if anchor.read().is_ok_and(|again| again == anchored) {
            return match tower {
                Err(error) => Ok(Some(ReadOnly::from(&error))),
                Ok(_) => verdict(anchored.as_ref(), anchor.path(), reader.identity(), &snapshot, epoch),
            };
        }
    }
    Ok(unproven)
}

fn verdict(
    anchored: Option<&Anchored>,
    path: &Path,
    identity: &Identity,
    snapshot: &Snapshot,
    epoch: u64,
) -> Result<Option<ReadOnly>, StoreError> {
    let Some(anchored) = anchored else {
        let (path, size) = (path.display().to_string(), snapshot.size().0);
        return Ok(Some(ReadOnly::AnchorMissing { path, size }));
    };
    let stops =
        match stops(path).and_then(|stops| check_signed_by(&stops, path, &identity.vkey).map(|()| stops)) {
            Ok(stops) => stops,
            Err(error) => return Ok(Some(ReadOnly::StopsUnreadable { why: error.to_string() })),
        };
    if let Some(reason) = disagreement(anchored, path, &identity.vkey, snapshot, epoch)? {
        return Ok(Some(reason));
    }
    let has = |tree: TreeHead| {
        tree.size <= snapshot.size() && snapshot.root_at(tree.size).is_ok_and(|root| root == tree.root)
    };
    for stop in stops.iter().filter(|stop| stop.ended.is_none()) {
        if !stop.tree().is_some_and(has) {
            return Ok(Some(stop.reason(path)));
        }
    }
    let newest = newest(&stops);
    if newest < anchored.stops {
        let anchor = path.display().to_string();
        return Ok(Some(ReadOnly::StopsMissing { anchor, stops: anchored.stops, found: newest }));
    }
    Ok(None)
}
