//! How a log starts, and where it may refuse to sign.
//!
//! In this order: the stored bytes give the tree's root again, which must be that of the newest head, which must be signed by
//! the log's key; the anchor must hold a head that this log contains; the writer's epoch moves on, in the anchor and then in the
//! database; an anchor that is behind is moved. The same code recovers from a crash, because it is the only start there is.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc, watch};

use super::edge::Edge;
use super::sequencer::Sequencer;
use super::snapshot::Snapshot;
use super::state::{ReadOnly, State};
use super::{Log, OpenError, QUEUE_SUBMISSIONS, Shared, Writer};
use crate::clock::Clock;
use crate::note::{self, SignerKey, VerifierKey};
use crate::store::lock::DirectoryLock;
use crate::store::sqlite::anchor::{Anchor, Anchored};
use crate::store::{Identity, LogStore, StoreError, StoredHead};
use crate::tlog::{Hash, TreeHead, TreeSize};

/// Compares database, head and anchor, and starts the writer when they agree.
pub(super) fn start(
    mut store: Box<dyn LogStore>,
    anchor_path: Option<&Path>,
    signers: Vec<SignerKey>,
    clock: Clock,
    disks: Vec<PathBuf>,
    lock: Option<DirectoryLock>,
) -> Result<Log, OpenError> {
    let identity = store.identity().clone();
    if let Some(offered) = signers.first().map(|signer| signer.verifier().to_string())
        && offered != identity.vkey
    {
        return Err(OpenError::WrongKey { path: identity.name, offered, standing: identity.vkey });
    }
    let newest = store.newest()?;
    let snapshot = recover(&mut *store, newest.clone())?;
    let shared = Arc::new(Shared {
        published: ArcSwap::from_pointee(snapshot.clone()),
        state: ArcSwap::from_pointee(State::Writing),
        changed: watch::Sender::new(snapshot.size()),
    });
    let claimed = match check(&snapshot, newest.is_some(), &identity) {
        Some(reason) => Err(reason),
        // Who only reads leaves the epoch to who writes.
        None if signers.is_empty() => Err(ReadOnly::NoKey),
        None => match anchor_path {
            Some(path) => claim(&mut *store, &snapshot, path, &clock)?,
            None => Ok((None, store.epoch()?)),
        },
    };
    let log = |queue, thread| Log {
        identity: Arc::new(identity),
        shared: shared.clone(),
        writer: Arc::new(Writer {
            queue,
            places: Arc::new(Semaphore::new(QUEUE_SUBMISSIONS)),
            thread: Mutex::new(thread),
            _lock: lock,
        }),
    };
    let (anchor, epoch) = match claimed {
        Ok(claimed) => claimed,
        Err(reason) => {
            if !matches!(reason, ReadOnly::NoKey) {
                tracing::error!(%reason, "the log is read-only");
            }
            shared.turn(State::ReadOnly(reason));
            return Ok(log(None, None));
        }
    };
    let mut sequencer =
        Sequencer { store, anchor, epoch, signers, clock, shared: shared.clone(), disks, pending: None };
    if newest.is_none() {
        sequencer.first_head()?;
        let head = sequencer.store.newest()?.expect("the head that was just committed");
        sequencer.shared.publish(Snapshot { head: Arc::new(head), ..snapshot });
    }
    let (sender, receiver) = mpsc::unbounded_channel();
    let thread =
        std::thread::Builder::new().name("sequencer".to_owned()).spawn(move || sequencer.run(receiver));
    let thread =
        thread.map_err(|source| StoreError::File { path: "the sequencer's thread".to_owned(), source })?;
    Ok(log(Some(sender), Some(thread)))
}

/// The newest head with the edge of the tree as the stored bytes give it; an empty tree where there is no head yet.
fn recover(store: &mut dyn LogStore, newest: Option<StoredHead>) -> Result<Snapshot, StoreError> {
    let head = newest.unwrap_or_else(|| StoredHead {
        tree: TreeHead { size: TreeSize(0), root: Hash::EMPTY_TREE },
        note: String::new(),
        signed_at: store.identity().created_at,
    });
    let reader = store.reader();
    let edge = Arc::new(Edge::recover(head.tree.size, &*reader)?);
    Ok(Snapshot { head: Arc::new(head), edge, reader })
}

/// What the stored bytes say about the newest head: whether it is theirs, and whether it was signed as it is.
fn check(snapshot: &Snapshot, signed: bool, identity: &Identity) -> Option<ReadOnly> {
    let (stored, head) = (snapshot.tree(), &snapshot.head);
    if stored != head.tree {
        let why = format!(
            "the stored records have the root {} at size {}, the newest head says {} at size {}",
            stored.root, stored.size, head.tree.root, head.tree.size
        );
        return Some(ReadOnly::Damaged { why });
    }
    if !signed {
        return None;
    }
    let why = match identity.vkey.parse::<VerifierKey>() {
        Ok(verifier) => check_note(head, &verifier).err()?,
        Err(error) => format!("the log's verifier key {}: {error}", identity.vkey),
    };
    Some(ReadOnly::Damaged { why })
}

/// Whether a head's note is signed by the log and says what the head says.
pub(super) fn check_note(head: &StoredHead, verifier: &VerifierKey) -> Result<(), String> {
    let size = head.tree.size;
    let note = note::open(head.note.as_bytes(), &[verifier])
        .map_err(|error| format!("the note of the head of size {size}: {error}"))?;
    if note.text == head.tree.format() {
        return Ok(());
    }
    Err(format!("the note of the head of size {size} is not about that head"))
}

type Claimed = Result<(Option<Anchor>, u64), ReadOnly>;

/// Makes this process the writer, if database and anchor agree.
fn claim(
    store: &mut dyn LogStore,
    snapshot: &Snapshot,
    path: &Path,
    clock: &Clock,
) -> Result<Claimed, StoreError> {
    let (tree, vkey) = (snapshot.head.tree, store.identity().vkey.clone());
    let opened = match Anchor::open(path) {
        Ok(opened) => opened,
        Err(error) => {
            let (path, why) = (path.display().to_string(), error.to_string());
            return Ok(Err(ReadOnly::AnchorUnreadable { path, why }));
        }
    };
    let (mut anchor, anchored) = match opened {
        Some(found) => found,
        // Without records there is nothing that could be contradicted: the empty tree has one root.
        None if tree.size == TreeSize(0) => {
            let anchored = Anchored { vkey: vkey.clone(), epoch: 0, tree };
            (Anchor::create(path, &anchored, clock.now())?, anchored)
        }
        None => {
            let path = path.display().to_string();
            return Ok(Err(ReadOnly::AnchorMissing { path, size: tree.size.0 }));
        }
    };
    if anchored.vkey != vkey {
        let path = path.display().to_string();
        return Ok(Err(ReadOnly::AnchorForeign { path, vkey: anchored.vkey }));
    }
    if anchored.tree.size > tree.size {
        return Ok(Err(ReadOnly::Behind { found: tree, anchored: anchored.tree }));
    }
    let found = snapshot.root_at(anchored.tree.size)?;
    if found != anchored.tree.root {
        return Ok(Err(ReadOnly::Beside { found, anchored: anchored.tree }));
    }
    let epoch = anchored.epoch.max(store.epoch()?) + 1;
    anchor.claim(anchored.epoch, epoch)?;
    // If we stop here the anchor is an epoch ahead of the database: the next start claims a larger one in both.
    store.claim(epoch)?;
    if anchored.tree != tree {
        // The last process stopped between its commit and its anchor. What it committed was signed, so it is published now.
        anchor.advance(epoch, &anchored.tree, &tree, clock.now())?;
    }
    Ok(Ok((Some(anchor), epoch)))
}
