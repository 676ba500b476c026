//! How a log starts, and where it may refuse to sign.
//!
//! In this order: the newest head must be signed by the log's key, and no record may lie beyond it, else nothing is served
//! ([`prove_newest`]); the stored bytes give the tree's root again, which must be that of this head; no head that contradicts the log may be known ([`Stops`]); the anchor must hold a head that this log contains; the writer's epoch moves on, in the anchor and then in the
//! database; an anchor that is behind is moved. A head that has not passed the [`Gate`] is not published yet. The same code recovers from a crash, because it is the only start there is.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc, watch};

use super::checkpoint::{Cosignatures, sign_checkpoint};
use super::claim::claim;
use super::gate::{Conditions, Gate, Opened};
use super::head::{check_root, prove_newest};
use super::hold::Hold;
use super::judge::Committed;
use super::prover::Prover;
use super::right_edge::RightEdge;
use super::sequencer::{Job, Pending, Sequencer};
use super::snapshot::{Damage, Snapshot};
use super::state::{ReadOnly, State};
use super::stops::{StopError, Stops};
use super::tower::Tower;
use super::{Log, OpenError, QUEUE_SUBMISSIONS, Shared, Writer};
use crate::clock::Clock;
use crate::note::{SignerKey, VerifierKey};
use crate::store::lock::DirectoryLock;
use crate::store::sqlite::SqliteReader;
use crate::store::{Identity, LogReader, LogStore, StoreError, StoredHead};
use crate::tlog::{Hash, TreeHead, TreeSize, tree_hash_indexes};

/// Heads that are looked at together for one that has passed the gate. It is one of the last two, unless somebody took the memory of
/// the cosignatures away.
const HEADS_AT_A_TIME: usize = 64;

/// What a log has beside its store; a log in memory has none of it.
#[derive(Default)]
pub(super) struct Files<'a> {
    pub(super) anchor: Option<&'a Path>,
    /// Directories on whose disks there must be space.
    pub(super) disks: Vec<PathBuf>,
    pub(super) lock: Option<DirectoryLock>,
}

/// Compares database, head and anchor, and starts the writer when they agree.
pub(super) fn start(
    mut store: Box<dyn LogStore>,
    Files { anchor: anchor_path, disks, lock }: Files<'_>,
    signers: Vec<SignerKey>,
    clock: Clock,
    Conditions { gate, hold }: Conditions,
) -> Result<Log, OpenError> {
    let identity = store.identity().clone();
    check_key(&signers, &identity)?;
    let newest = store.newest()?;
    let verifier = prove_newest(newest.as_ref(), &identity, &*store.reader())?;
    let (mut snapshot, tower) = recover(newest.clone(), &identity, verifier, store.reader());
    let last_epoch = store.epoch()?;
    let loaded = anchor_path.map_or_else(|| Ok(Stops::default()), |path| Stops::load(path, clock.clone()));
    let claimed = match (tower, anchor_path) {
        (Err(error), _) => Err(ReadOnly::from(&error)),
        // Who only reads leaves the epoch to who writes.
        (Ok(_), _) if signers.is_empty() => Err(ReadOnly::NoKey),
        (Ok(tower), Some(path)) => match stopped(&loaded, &snapshot, &identity)? {
            Some(reason) => Err(reason),
            None => {
                let newest_stop = loaded.as_ref().map_or(0, Stops::newest);
                claim(&mut *store, &snapshot, path, newest_stop, &clock)?
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
    let (state, published) = (shared.clone(), snapshot);
    let mut sequencer =
        Sequencer { store, anchor, epoch, signers, clock, shared: state, disks, tower, pending, gate };
    if newest.is_none() {
        sequencer.first_head()?;
        let head = sequencer.store.newest()?.expect("the head that was just committed");
        let first = Snapshot { head: Arc::new(head), ..published };
        sequencer.shared.committed.advance(first.clone());
        sequencer.shared.publish(first);
    }
    if let Some(longest) = hold {
        shared.hold_back(longest);
    }
    let (sender, receiver) = mpsc::unbounded_channel();
    let thread =
        std::thread::Builder::new().name("sequencer".to_owned()).spawn(move || sequencer.run(receiver));
    let thread =
        thread.map_err(|source| StoreError::File { path: "the sequencer's thread".to_owned(), source })?;
    Ok(handle(identity, shared, Some(sender), Some(thread), lock))
}

/// What is served while the newest head waits at the gate: the newest that has passed. The writer shows it the newest again.
fn wait_at(
    gate: &dyn Gate,
    (last_epoch, epoch): (u64, Option<u64>),
    newest: &Snapshot,
    identity: &Identity,
    signers: &[SignerKey],
    stops: Stops,
) -> Result<(Arc<Shared>, Option<Pending>), StoreError> {
    // A row that cannot be read exempts nothing. Where no head has to pass, it does not matter.
    let older = newest.reader.heads(newest.size(), 1).ok().and_then(|mut heads| heads.pop());
    let before = older.map_or(TreeSize(0), |head| head.tree.size);
    if !gate.start(&Opened { newest: newest.size(), before, last_epoch, epoch })? {
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
        return Ok((shared, Some(Pending { from, snapshot, is_anchored: true })));
    }
}

/// A log whose right edge is so damaged that it has no writer: whatever can be read is served. `error` says what is damaged, and
/// is returned where not even the newest head can be read and proved.
pub(super) fn start_damaged(
    reader: SqliteReader,
    error: StoreError,
    signers: &[SignerKey],
    lock: DirectoryLock,
    stops: Result<Stops, StopError>,
) -> Result<Log, OpenError> {
    let identity = reader.identity().clone();
    check_key(signers, &identity)?;
    let Ok(Some(newest)) = reader.heads(TreeSize(u64::MAX), 1).map(|mut heads| heads.pop()) else {
        return Err(error.into());
    };
    let Ok(verifier) = prove_newest(Some(&newest), &identity, &reader) else { return Err(error.into()) };
    let (mut snapshot, _) = recover(Some(newest), &identity, verifier, Arc::new(reader));
    snapshot.damage = Some(Damage::of(&error));
    let shared = share(&snapshot, &snapshot, stops.unwrap_or_default());
    Ok(only_read(identity, shared, ReadOnly::from(&error), Some(lock)))
}

fn check_key(signers: &[SignerKey], identity: &Identity) -> Result<(), OpenError> {
    let Some(offered) = signers.first().map(|signer| signer.verifier().to_string()) else { return Ok(()) };
    if offered == identity.vkey {
        return Ok(());
    }
    Err(OpenError::WrongKey { path: identity.name.clone(), offered, standing: identity.vkey.clone() })
}

/// A log that is served and signs nothing.
fn only_read(identity: Identity, shared: Arc<Shared>, reason: ReadOnly, lock: Option<DirectoryLock>) -> Log {
    if !matches!(reason, ReadOnly::NoKey) {
        tracing::error!(%reason, "the log is read-only");
    }
    shared.turn(State::ReadOnly(reason));
    handle(identity, shared, None, None, lock)
}

/// Why nothing may be signed although database and anchor agree: somebody has shown a head that is not in this database.
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

fn share(published: &Snapshot, committed: &Snapshot, stops: Stops) -> Arc<Shared> {
    Arc::new(Shared {
        published: ArcSwap::from_pointee(published.clone()),
        state: ArcSwap::from_pointee(State::Writing),
        changed: watch::Sender::new(published.size()),
        committed: Committed::new(committed.clone()),
        cosignatures: Cosignatures::default(),
        hold: Hold::default(),
        prover: Prover::new(),
        stops,
        told: Mutex::default(),
    })
}

fn handle(
    identity: Identity,
    shared: Arc<Shared>,
    queue: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
    lock: Option<DirectoryLock>,
) -> Log {
    let places = Arc::new(Semaphore::new(QUEUE_SUBMISSIONS));
    let thread = Mutex::new(thread);
    let writer = Writer { queue, places, thread, shared: shared.clone(), _lock: lock };
    Log { identity: Arc::new(identity), shared, writer: Arc::new(writer) }
}

/// The newest head with the edge of the tree as the stored bytes give it; an empty tree where there is no head yet. And, where
/// those bytes give the root that was signed, the tower that goes on from there.
pub(super) fn recover(
    newest: Option<StoredHead>,
    identity: &Identity,
    verifier: Arc<VerifierKey>,
    reader: Arc<dyn LogReader>,
) -> (Snapshot, Result<Tower, StoreError>) {
    let head = newest.unwrap_or_else(|| StoredHead {
        tree: TreeHead { size: TreeSize(0), root: Hash::EMPTY_TREE },
        note: String::new(),
        signed_at: identity.created_at,
    });
    let head = Arc::new(head);
    let mut snapshot = Snapshot { head, edge: None, reader, checkpoint: None, verifier, damage: None };
    let tower = raise_tower(&mut snapshot);
    snapshot.damage = tower.as_ref().err().map(Damage::of);
    (snapshot, tower)
}

/// Gives a snapshot its right edge, and returns the tower over it, where the stored bytes have the
/// root that was signed.
fn raise_tower(snapshot: &mut Snapshot) -> Result<Tower, StoreError> {
    let size = snapshot.size();
    let edge = RightEdge::recover(size, &*snapshot.reader)?;
    check_root(&edge, &snapshot.head)?;
    snapshot.edge = Some(Arc::new(edge));
    let roots = snapshot.hashes(&tree_hash_indexes(size))?;
    Tower::over(&snapshot.head.tree, &roots)
}
