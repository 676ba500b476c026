//! How a log starts, and where it may refuse to sign.
//!
//! The order is in [the module's document](super#a-start). A head that has not passed the
//! [`PublishGate`] is not published yet. The same code recovers from a crash, because it is the
//! only start there is.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc, watch};

use super::checkpoint::{Cosignatures, sign_checkpoint};
use super::claim::claim;
use super::gate::{Conditions, OpenedLog, PublishGate};
use super::head::prove_newest;
use super::hold::Hold;
use super::incidents::Decisions;
use super::judge::CommittedTree;
use super::prover::Prover;
use super::recover::recover;
use super::sequencer::{Job, PendingHead, Sequencer};
use super::snapshot::{Damage, Snapshot};
use super::state::{ReadOnly, State};
use super::stops::{StopError, Stops};
use super::{Log, LogOpenError, QUEUE_SUBMISSIONS, SharedLog, WriterHandle};
use crate::clock::Clock;
use crate::note::SignerKey;
use crate::store::anchor::Anchor;
use crate::store::lock::{DirectoryLock, or_full};
use crate::store::{Identity, LogObserver, LogParts, LogStore, OpenedDatabase, StoreError};
use crate::tlog::{TreeHead, TreeSize};

/// Heads that are looked at together for one that has passed the gate. It is one of the last two,
/// unless somebody took the memory of the cosignatures away.
const HEADS_AT_A_TIME: usize = 64;

/// Starts a log with the parts that it was opened from.
pub(super) fn start(
    LogParts { database, anchor, disks, lock }: LogParts,
    signers: Vec<SignerKey>,
    clock: Clock,
    conditions: Conditions,
) -> Result<Log, LogOpenError> {
    match database {
        OpenedDatabase::Damaged { reader, error } => {
            start_damaged(reader, error, &signers, lock, load_stops(anchor, clock))
        }
        OpenedDatabase::Sound(store) => {
            let files = Files { anchor, disks: disks.clone(), lock };
            start_sound(store, files, signers, clock, conditions).map_err(|error| match error {
                LogOpenError::Store(error) => LogOpenError::Store(or_full(error, &disks)),
                error => error,
            })
        }
    }
}

fn load_stops(anchor: Option<Arc<dyn Anchor>>, clock: Clock) -> Result<Stops, StopError> {
    anchor.map_or_else(|| Ok(Stops::default()), |anchor| Stops::load(anchor, clock))
}

/// What a log has beside its database.
struct Files {
    anchor: Option<Arc<dyn Anchor>>,
    /// Directories on whose disks there must be space.
    disks: Vec<PathBuf>,
    lock: Option<DirectoryLock>,
}

/// Compares database, head and anchor, and starts the writer when they agree.
fn start_sound(
    mut store: Box<dyn LogStore>,
    Files { anchor, disks, lock }: Files,
    signers: Vec<SignerKey>,
    clock: Clock,
    Conditions { gate, hold }: Conditions,
) -> Result<Log, LogOpenError> {
    let identity = store.identity().clone();
    check_key(&signers, &identity)?;
    let newest = store.newest()?;
    let verifier = prove_newest(newest.as_ref(), &identity, &*store.reader())?;
    let (mut snapshot, tower) = recover(newest.clone(), &identity, verifier, store.reader());
    let last_epoch = store.epoch()?;
    let loaded = load_stops(anchor.clone(), clock.clone());
    let claimed = match (tower, &anchor) {
        (Err(error), _) => Err(ReadOnly::from(&error)),
        // Who only reads leaves the epoch to who writes.
        (Ok(_), _) if signers.is_empty() => Err(ReadOnly::NoKey),
        (Ok(tower), Some(anchor)) => match stopped(&loaded, &snapshot, &identity)? {
            Some(reason) => Err(reason),
            None => {
                let newest_stop = loaded.as_ref().map_or(0, Stops::newest);
                claim(&mut *store, &snapshot, &**anchor, newest_stop, &clock)?
                    .map(|(anchor, epoch)| (Some(anchor), epoch, tower))
            }
        },
        (Ok(tower), None) => Ok((None, last_epoch, tower)),
    };
    // If the stops file cannot be read, assume the worst: `claimed` is then an error.
    let stops = loaded.unwrap_or_default();
    let (anchor, epoch, tower) = match claimed {
        Ok(claimed) => claimed,
        Err(reason) => {
            // A head that waits for cosignatures keeps waiting even when the log is read-only for
            // another reason.
            let shared = match &gate {
                Some(gate) if !matches!(reason, ReadOnly::Damaged { .. }) => {
                    wait_at(&**gate, (last_epoch, None), &snapshot, &identity, &[], stops)?.0
                }
                _ => share(&snapshot, &snapshot, stops),
            };
            return Ok(only_read(identity, shared, reason, lock));
        }
    };
    // It is durable and anchored, and proved to be this log's: what is signed says nothing new.
    snapshot.checkpoint = sign_checkpoint(&signers, snapshot.head.tree);
    let (shared, pending) = match &gate {
        Some(gate) => wait_at(&**gate, (last_epoch, Some(epoch)), &snapshot, &identity, &signers, stops)?,
        None => (share(&snapshot, &snapshot, stops), None),
    };
    let (handles, published, decisions) = (shared.clone(), snapshot, Decisions::default());
    let mut sequencer =
        Sequencer { store, anchor, epoch, signers, clock, shared, disks, tower, pending, gate, decisions };
    if newest.is_none() {
        sequencer.first_head()?;
        let head = sequencer.store.newest()?.expect("the head that was just committed");
        let first = Snapshot { head: Arc::new(head), ..published };
        sequencer.shared.committed.advance(first.clone());
        sequencer.shared.publish(first);
    }
    if let Some(longest) = hold {
        handles.hold_back(longest);
    }
    let (sender, receiver) = mpsc::unbounded_channel();
    let thread =
        std::thread::Builder::new().name("sequencer".to_owned()).spawn(move || sequencer.run(receiver));
    let thread =
        thread.map_err(|source| StoreError::File { path: "the sequencer's thread".to_owned(), source })?;
    Ok(handle(identity, handles, Some(sender), Some(thread), lock))
}

/// What is served while the newest head waits at the gate: the newest that has passed. The writer
/// shows it the newest again.
fn wait_at(
    gate: &dyn PublishGate,
    (last_epoch, epoch): (u64, Option<u64>),
    newest: &Snapshot,
    identity: &Identity,
    signers: &[SignerKey],
    stops: Stops,
) -> Result<(Arc<SharedLog>, Option<PendingHead>), StoreError> {
    // A row that cannot be read exempts nothing. Where no head has to pass, it does not matter.
    let older = newest.reader.heads(newest.size(), 1).ok().and_then(|mut heads| heads.pop());
    let before = older.map_or(TreeSize(0), |head| head.tree.size);
    if !gate.start(&OpenedLog { newest: newest.size(), before, last_epoch, epoch })? {
        return Ok((share(newest, newest, stops), None));
    }
    let mut before = TreeSize(newest.size().0 + 1);
    loop {
        let heads = newest.reader.heads(before, HEADS_AT_A_TIME)?;
        // A log that has no head yet has none to wait with.
        let Some(last) = heads.last() else { return Ok((share(newest, newest, stops), None)) };
        before = last.tree.size;
        let mut found = None;
        for head in heads {
            if gate.has_passed(&head.tree)? {
                found = Some(head);
                break;
            }
        }
        let Some(head) = found else { continue };
        if head.tree == newest.head.tree {
            return Ok((share(newest, newest, stops), None));
        }
        let (mut passed, tower) =
            recover(Some(head), identity, newest.verifier.clone(), newest.reader.clone());
        tower?;
        passed.checkpoint = sign_checkpoint(signers, passed.head.tree);
        let (size, why) = (newest.size().0, "it had not enough cosignatures when the server was stopped");
        tracing::warn!(
            tree.size = size,
            published = passed.size().0,
            "the newest head waits for its witnesses"
        );
        let shared = share(&passed, newest, stops);
        shared.turn(State::ReadOnly(ReadOnly::Unwitnessed { size, why: why.to_owned() }));
        let (from, snapshot) = (newest.head.tree, newest.clone());
        return Ok((shared, Some(PendingHead { from, snapshot, is_anchored: true })));
    }
}

/// A log whose right edge is so damaged that it has no writer: whatever can be read is served.
/// `error` says what is damaged, and is returned where not even the newest head can be read and
/// proved.
fn start_damaged(
    reader: Arc<dyn LogObserver>,
    error: StoreError,
    signers: &[SignerKey],
    lock: Option<DirectoryLock>,
    stops: Result<Stops, StopError>,
) -> Result<Log, LogOpenError> {
    let identity = reader.identity().clone();
    check_key(signers, &identity)?;
    let Ok(Some(newest)) = reader.heads(TreeSize(u64::MAX), 1).map(|mut heads| heads.pop()) else {
        return Err(error.into());
    };
    let Ok(verifier) = prove_newest(Some(&newest), &identity, &*reader) else { return Err(error.into()) };
    let (mut snapshot, _) = recover(Some(newest), &identity, verifier, reader);
    snapshot.damage = Some(Damage::of(&error));
    let shared = share(&snapshot, &snapshot, stops.unwrap_or_default());
    Ok(only_read(identity, shared, ReadOnly::from(&error), lock))
}

fn check_key(signers: &[SignerKey], identity: &Identity) -> Result<(), LogOpenError> {
    let Some(offered) = signers.first().map(|signer| signer.verifier().to_string()) else { return Ok(()) };
    if offered == identity.vkey {
        return Ok(());
    }
    Err(LogOpenError::WrongKey { path: identity.name.clone(), offered, standing: identity.vkey.clone() })
}

/// A log that is served and signs nothing.
fn only_read(
    identity: Identity,
    shared: Arc<SharedLog>,
    reason: ReadOnly,
    lock: Option<DirectoryLock>,
) -> Log {
    if !matches!(reason, ReadOnly::NoKey) {
        tracing::error!(%reason, "the log is read-only");
    }
    shared.turn(State::ReadOnly(reason));
    handle(identity, shared, None, None, lock)
}

/// Why nothing may be signed although database and anchor agree: somebody has shown a head that is
/// not in this database.
fn stopped(
    stops: &Result<Stops, StopError>,
    snapshot: &Snapshot,
    identity: &Identity,
) -> Result<Option<ReadOnly>, StoreError> {
    let has = |tree: &TreeHead| Ok(tree.size <= snapshot.size() && snapshot.root_at(tree.size)? == tree.root);
    let unusable = |error: &StopError| Ok(Some(ReadOnly::StopsUnreadable { why: error.to_string() }));
    let stops = match stops {
        Ok(stops) => stops,
        Err(error) => return unusable(error),
    };
    if let Err(error) = stops.check_signed_by(&identity.vkey) {
        return unusable(&error);
    }
    match stops.standing(has) {
        Err(error @ StoreError::Damaged { .. }) => Ok(Some(ReadOnly::from(&error))),
        standing => standing,
    }
}

fn share(published: &Snapshot, committed: &Snapshot, stops: Stops) -> Arc<SharedLog> {
    Arc::new(SharedLog {
        published: ArcSwap::from_pointee(published.clone()),
        state: ArcSwap::from_pointee(State::Writing),
        changed: watch::Sender::new(published.size()),
        committed: CommittedTree::new(committed.clone()),
        cosignatures: Cosignatures::default(),
        hold: Hold::default(),
        prover: Prover::new(),
        stops,
        told: Mutex::default(),
    })
}

fn handle(
    identity: Identity,
    shared: Arc<SharedLog>,
    queue: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
    lock: Option<DirectoryLock>,
) -> Log {
    let places = Arc::new(Semaphore::new(QUEUE_SUBMISSIONS));
    let thread = Mutex::new(thread);
    let writer = WriterHandle { queue, places, thread, shared: shared.clone(), _lock: lock };
    Log { identity: Arc::new(identity), shared, writer: Arc::new(writer) }
}
