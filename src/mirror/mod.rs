//! A remote checksum database and what is kept of it, verified before it is kept: the mirror.
//!
//! [`RemoteLog::lookup`] answers with the two lines of a module version, taken from a record that is proved to be in the
//! log under a head signed by the log's key, and consistent with every head of it that was ever seen. What was
//! proved once is answered for ever from the store, with no network at all. Bytes from the network are nothing until
//! they are verified: they are neither stored nor answered, and the URL that sent them is asked last from then on.
//!
//! ```text
//! lookup ── known? ── answer
//!   │ one flight per module version
//!   ├─ /latest          only while no head is known
//!   ├─ /lookup/M@V      record and signed head
//!   ├─ /tile/8/L/N …    all at once: the record's tiles up to the root, and those that compare the two heads
//!   └─ commit           heads, tiles and record in one transaction, then the answer
//! ```
//!
//! | file | what |
//! |---|---|
//! | `lookup` | who is asked, in which order, for how long |
//! | `verify` | what is checked, in which order |
//! | `tiles` | verified hashes: from memory, the store, the URLs |
//! | `flight` | what several callers want is done once |
//! | `kept` | the two databases, as one: what was asked for, and in full mode every record |
//! | `keep` | what is answered to others from here: kept records and tiles, and tiles fetched for them |
//! | `incident` | the stop for a signed contradiction: its file, and the person who ends it |
//! | `attempts` | how the last attempts to reach the newest head ended |
//! | `set`, `watch` | all logs of a server, and who keeps their heads new |
//! | `unusable` | a log whose database cannot be used: the others go on |
//! | `hear` | a signed head that somebody else was shown, compared |
//! | `missing` | what it said lately that it does not have |
//! | `misbehaviour` | a signed contradiction, as evidence |
//! | `full` | every record, by windows of verified data tiles, into a [replica](crate::store::replica) |
//! | `export`, `import`, `bundle` | all of it as static files, which anyone can serve and verify, and back |
//! | `stats`, `diff` | what a full mirror holds, alone and beside the own log |
//! | `reverify` | what is stored of a full mirror, computed again from its records |
//! | `error` | everything else that can go wrong |
//!
//! Architecture invariant: a head is compared and durable before anything is proved under it. The heads in the store are
//! all of one log; when a signed one is not, the log is stopped until a person has looked, and the evidence is kept.
//! What was proved before is still answered to others, and the notary takes nothing more from it.

mod attempts;
mod bundle;
mod diff;
mod error;
mod export;
mod flight;
mod full;
mod hear;
mod import;
mod incident;
mod keep;
mod kept;
mod lookup;
mod misbehaviour;
mod missing;
mod reverify;
mod set;
mod stats;
mod tiles;
mod unusable;
mod verify;
mod watch;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::clock::Clock;
use crate::gosum::ModuleLines;
use crate::module::ModuleVersion;
use crate::note::{self, VerifierKey};
use crate::share::turns::Line;
use crate::share::{Claimant, Turns};
use crate::store::remote::{RemoteStore, SeenHead};
use crate::store::replica::Replica;
use crate::store::{StoreError, StoredRecord};
use crate::tlog::{
    Hash, InclusionProof, RecordId, Tile, TileLevel, TilePlan, TreeHead, TreeSize, inclusion_proof_indexes,
    prove_inclusion, stored_hash_index, verify_inclusion,
};
use crate::upstream::RemoteSumdb;
pub use attempts::Progress;
use attempts::Tally;
pub use bundle::{BundleError, DELTA, Delta, DeltaError, LATEST};
pub use diff::{Diff, Disagreement, PathDiff, diff};
pub use error::{Lie, RemoteError, Unproven};
pub use export::{ExportProgress, ExportTarget, Exported, export};
use flight::Flights;
pub use full::{ReplicaProgress, ReplicateError, ReplicateOptions, Replicated};
pub use hear::Heard;
pub use import::{ImportError, ImportProgress, ImportSource};
pub use incident::{Incident, keep_evidence};
pub use keep::KeptRecord;
use kept::Kept;
pub use misbehaviour::{EvidenceError, Misbehaviour, head_of};
use missing::Missing;
pub use reverify::{
    ReverifyFigures, SLICE_RECORDS, Verified as Reverified, reverify, slices, verify, verify_slice,
};
pub use set::{Foreseen, Mirror, Mirrors, Run, SyncError, Synced};
pub use stats::{Stats, stats};
use tiles::TileReader;
pub use unusable::Unusable;
pub use watch::watch;

/// The tile height of sum.golang.org, of our own log, and of every client.
const TILE_HEIGHT: u8 = 8;

/// Which log it is, and where what is verified of it is kept.
pub struct RemoteLogOptions {
    /// The log's name: its key's name.
    pub name: String,
    /// The key that signs its heads.
    pub key: VerifierKey,
    /// Where it is reached.
    pub transport: RemoteSumdb,
    /// The database file; its directory must exist.
    pub database: PathBuf,
    /// What time it is.
    pub clock: Clock,
    /// The full mirror, where there is one: answered from before anything else.
    pub replica: Option<Replica>,
    /// How much it may take.
    pub limits: RemoteLimits,
}

/// How much one remote log may take.
#[derive(Clone, Copy, Debug)]
pub struct RemoteLimits {
    /// Look-ups in flight at once, those included for which nobody waits any more.
    pub lookups: usize,
    /// Requests in flight at once: so many look-ups, among which clients take turns, and as many
    /// tiles. A head has its own way, so that nothing keeps the newest one from being known.
    pub requests: usize,
    /// Verified tiles that are kept in memory, in bytes.
    pub memory_bytes: u64,
    /// How long a flight goes on, whether or not somebody still waits for it.
    pub patience: Duration,
}

impl Default for RemoteLimits {
    fn default() -> RemoteLimits {
        RemoteLimits {
            // Each holds a few kilobytes, and its tiles until they are verified.
            lookups: 1024,
            // A look-up needs some ten tiles at once; the log's operators should not notice us.
            requests: 32,
            // 2,000 full tiles: those that the look-ups of a large build have in common, many times over.
            memory_bytes: 16 << 20,
            // A version that the log has not seen is fetched from version control while we wait.
            patience: Duration::from_secs(120),
        }
    }
}

/// The lines of a module version, and what proves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The two lines, from the authenticated record.
    pub lines: ModuleLines,
    /// The record's text, byte for byte: the two lines, and in some logs more.
    pub text: String,
    /// The record's number.
    pub record: RecordId,
    /// A stored head under which the record was proved; [`RemoteLog::prove`] makes the proof again.
    pub head: TreeHead,
}

/// A remote log. Cloning gives another handle.
#[derive(Clone)]
pub struct RemoteLog(Arc<Inner>);

struct Inner {
    name: String,
    key: VerifierKey,
    transport: RemoteSumdb,
    store: Arc<RemoteStore>,
    kept: Kept,
    tiles: Arc<TileReader>,
    clock: Clock,
    patience: Duration,
    /// One for each look-up in flight.
    places: Semaphore,
    /// A place for each look-up that is put to a URL. A log may take minutes for one, so tiles have
    /// places of their own.
    lookup_turns: Turns<ModuleVersion, Claimant>,
    lookup_line: Line,
    /// Shared, as is the stop, with those who read the same log from elsewhere.
    newest: Arc<ArcSwapOption<SeenHead>>,
    /// Up to date is who has every record, not only the newest head.
    replicates: Arc<AtomicBool>,
    /// Also the place of its files: evidence lies beside it.
    database: PathBuf,
    stopped: Arc<ArcSwapOption<Incident>>,
    tally: Mutex<Tally>,
    /// When the newest head was asked for last, whatever came of it.
    advanced_at: Mutex<Option<Instant>>,
    /// What the log said lately that it does not have.
    missing: Missing,
    lookups: Flights<ModuleVersion, Result<Proven, RemoteError>>,
    advances: Flights<(), Result<(), RemoteError>>,
}

impl RemoteLog {
    /// Opens what is kept of a log, and creates it when there is nothing. No network is used.
    pub fn open(options: RemoteLogOptions) -> Result<RemoteLog, RemoteError> {
        let RemoteLogOptions { name, key, transport, database, clock, replica, limits } = options;
        // Where only the full mirror is left, whatever comes must be compared with its head.
        let known = replica.as_ref().and_then(|replica| replica.reader().head());
        let store = RemoteStore::open(&database, &name, &key.to_string(), known.as_deref(), clock.now())?;
        let store = Arc::new(store);
        let newest = store.newest()?;
        newest.iter().chain(known.as_deref()).try_for_each(|head| check_head(&key, head))?;
        let kept = Kept { store: store.clone(), replica };
        let tiles = TileReader::new(transport.clone(), kept.clone(), &limits);
        let (lookup_turns, lookup_line) = Turns::with_places(limits.requests);
        let inner = Inner {
            name,
            key,
            transport,
            tiles: Arc::new(tiles),
            clock,
            patience: limits.patience,
            places: Semaphore::new(limits.lookups.max(1)),
            lookup_turns,
            lookup_line,
            newest: Arc::new(ArcSwapOption::from_pointee(newest)),
            replicates: Arc::default(),
            database,
            stopped: Arc::default(),
            tally: Mutex::new(Tally::new(store.attempts()?)),
            advanced_at: Mutex::new(None),
            missing: Missing::new(),
            store,
            kept,
            lookups: Flights::default(),
            advances: Flights::default(),
        };
        inner.reload_stopped()?;
        Ok(RemoteLog(Arc::new(inner)))
    }

    /// The log's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The key that signs its heads.
    pub fn key(&self) -> &VerifierKey {
        &self.0.key
    }

    /// The lines of a module version: from the store, else from the log. Waits until `deadline` at the latest; the work
    /// goes on after that, so that the next caller finds more of it done.
    pub async fn lookup(&self, module: &ModuleVersion, deadline: Instant) -> Result<Proven, RemoteError> {
        self.lookup_for(module, Some(Claimant::Operator), deadline).await
    }

    /// [`lookup`](RemoteLog::lookup) for a client, which takes turns with the others. Without one,
    /// nobody waits for the answer: the question is put to the log only while no client needs its
    /// place.
    pub async fn lookup_for(
        &self,
        module: &ModuleVersion,
        client: Option<Claimant>,
        deadline: Instant,
    ) -> Result<Proven, RemoteError> {
        self.0.check_running()?;
        if let Some(proven) = self.0.find(module)? {
            return Ok(proven);
        }
        let answer = self.0.join_lookup(module, client, deadline).await;
        match &answer {
            Ok(_) => self.0.missing.forget(module),
            Err(RemoteError::NotFound { .. }) => self.0.missing.remember(module, self.0.clock.instant()),
            Err(_) => {}
        }
        answer
    }

    /// How much longer it is to be believed that the log does not have a module version: it was asked a moment ago.
    pub fn is_missing(&self, module: &ModuleVersion) -> Option<Duration> {
        self.0.missing.recall(module, self.0.clock.instant())
    }

    /// A module version that was proved before; no network.
    pub fn find(&self, module: &ModuleVersion) -> Result<Option<Proven>, RemoteError> {
        self.0.check_running()?;
        self.0.find(module)
    }

    /// Asks for the log's newest head and moves to it. Returns the newest head then.
    pub async fn advance(&self, deadline: Instant) -> Result<Arc<SeenHead>, RemoteError> {
        self.0.check_running()?;
        self.0.advance(deadline).await?;
        Ok(self.0.newest.load_full().expect("a log that was advanced has a head"))
    }

    /// The full mirror, where there is one.
    pub fn replica(&self) -> Option<&Replica> {
        self.0.kept.replica.as_ref()
    }

    /// The head that is answered to others: the newest whose every record is in the full mirror, so that nothing which it
    /// needs is asked for anywhere. Without such a mirror, the newest seen.
    pub fn served(&self) -> Option<Arc<SeenHead>> {
        let (full, newest) = (self.0.kept.full_head(), self.newest());
        if self.0.replicates.load(Ordering::Relaxed) {
            return full.or(newest);
        }
        // A full mirror of an earlier mode grows no more.
        full.into_iter().chain(newest).max_by_key(|head| head.tree.size)
    }

    /// The head that is answered with a record: the one that is [served](RemoteLog::served), unless the record is newer. None
    /// when no head that is known covers it.
    pub fn head_for(&self, record: RecordId) -> Option<Arc<SeenHead>> {
        let covers = |head: &Arc<SeenHead>| record.0 < head.tree.size.0;
        self.served().filter(covers).or_else(|| self.newest().filter(covers))
    }

    /// How many records a full mirror has, in the mode that brings in more of them.
    pub fn replicated(&self) -> Option<TreeSize> {
        let replicates = self.0.replicates.load(Ordering::Relaxed);
        self.replica().filter(|_| replicates).map(|replica| replica.reader().size())
    }

    /// Says that up to date is who has every record.
    pub(super) fn replicates(&self) {
        self.0.replicates.store(true, Ordering::Relaxed);
    }

    /// The newest head seen.
    pub fn newest(&self) -> Option<Arc<SeenHead>> {
        self.0.newest.load_full()
    }

    /// The head of exactly this size, if it was seen.
    pub fn head(&self, size: TreeSize) -> Result<Option<SeenHead>, RemoteError> {
        let head = self.0.kept.head(size)?;
        head.iter().try_for_each(|head| check_head(&self.0.key, head))?;
        Ok(head)
    }

    /// The proof that a record is in the tree of a head that was seen, made from kept tiles and verified again.
    /// `None` when head, record or one of the tiles is not kept; never for what [`Proven`] names.
    pub fn prove(&self, record: RecordId, size: TreeSize) -> Result<Option<InclusionProof>, RemoteError> {
        let (Some(head), Some(leaf)) = (self.0.kept.head(size)?, self.0.kept.leaf(record)?) else {
            return Ok(None);
        };
        Ok(prove(&self.0.kept, &head.tree, record, &leaf)?)
    }

    /// Asks for the newest head for as long as a flight may take.
    pub async fn poll(&self) -> Result<Arc<SeenHead>, RemoteError> {
        self.advance(self.0.clock.instant() + self.0.patience).await
    }

    /// What the log's clock says.
    pub fn instant(&self) -> Instant {
        self.0.clock.instant()
    }

    /// What time it is by the log's clock.
    pub fn now(&self) -> jiff::Timestamp {
        self.0.clock.now()
    }

    /// Where it is reached, with what is known of each URL.
    pub fn transport(&self) -> &RemoteSumdb {
        &self.0.transport
    }

    /// The contradiction for which this log was stopped, if it was.
    pub fn is_stopped(&self) -> Option<Arc<Misbehaviour>> {
        self.0.stopped.load().as_ref().map(|incident| incident.misbehaviour.clone())
    }
}

impl Inner {
    fn check_running(&self) -> Result<(), RemoteError> {
        match &*self.stopped.load() {
            Some(incident) => Err(RemoteError::Misbehaviour(incident.misbehaviour.clone())),
            None => Ok(()),
        }
    }

    fn too_late(&self, path: &str) -> RemoteError {
        RemoteError::too_late(&self.name, path)
    }

    fn find(&self, module: &ModuleVersion) -> Result<Option<Proven>, RemoteError> {
        if let Some(StoredRecord { id, lines }) = self.kept.find_in_full(module)?
            && let Some(proven) = self.prove_in_full(id, lines)?
        {
            return Ok(Some(proven));
        }
        let Some(record) = self.store.find(module)? else { return Ok(None) };
        let head = self.store.head(record.head_size)?.ok_or_else(|| StoreError::Damaged {
            place: format!("head {}", record.head_size),
            why: format!("record {} was proved under it and it is missing", record.id),
        })?;
        Ok(Some(Proven { lines: record.lines, text: record.text, record: record.id, head: head.tree }))
    }

    /// What the full mirror says, proved again: it may end in a log of ours, under our signature. What cannot be proved is said
    /// aloud, and asked for as if it were not here.
    fn prove_in_full(&self, id: RecordId, lines: ModuleLines) -> Result<Option<Proven>, RemoteError> {
        let covers = |head: &Arc<SeenHead>| id.0 < head.tree.size.0;
        // A mirror that is growing has records beyond its head, which the newest covers.
        let head = self.kept.full_head().filter(covers).or_else(|| self.newest.load_full().filter(covers));
        let Some(head) = head else { return Ok(None) };
        let text = lines.to_text();
        match prove(&self.kept, &head.tree, id, &Hash::of_record(text.as_bytes())) {
            Ok(Some(_)) => Ok(Some(Proven { lines, text, record: id, head: head.tree })),
            Ok(None) => Ok(None),
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::error!(log = %self.name, record = id.0, %error, "a record of a full mirror cannot be proved");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Publishes a head that is durable, unless a newer one is there.
    fn move_newest(&self, head: &SeenHead) {
        self.newest.rcu(|newest| match newest {
            Some(newest) if newest.tree.size >= head.tree.size => Some(newest.clone()),
            _ => Some(Arc::new(head.clone())),
        });
    }

    fn reload_newest(&self) -> Result<(), StoreError> {
        if let Some(head) = self.store.newest()? {
            self.move_newest(&head);
        }
        Ok(())
    }
}

/// Work that keeps a thread, on one that may be kept. A panic in it is a panic here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => panic!("the runtime was shut down under a mirror's work"),
        },
    }
}

/// Whether a stored head is what its signed note says.
fn check_head(key: &VerifierKey, head: &SeenHead) -> Result<(), StoreError> {
    let opened = note::open(head.note.as_bytes(), &[key]).map_err(|error| error.to_string());
    let told = opened.and_then(|note| TreeHead::parse(&note.text).map_err(|error| error.to_string()));
    let why = match told {
        Ok(told) if told == head.tree => return Ok(()),
        Ok(told) => format!("its note is of {told}"),
        Err(why) => why,
    };
    Err(StoreError::Damaged { place: format!("head {}", head.tree.size), why })
}

/// An inclusion proof from the tiles in the store, verified like those from the network.
fn prove(
    kept: &Kept,
    head: &TreeHead,
    id: RecordId,
    leaf: &Hash,
) -> Result<Option<InclusionProof>, StoreError> {
    let damaged =
        |why: String| StoreError::Damaged { place: format!("proof of record {id} under {head}"), why };
    let Ok(mut indexes) = inclusion_proof_indexes(head.size, id) else { return Ok(None) };
    indexes.push(stored_hash_index(0, id.0));
    let plan = TilePlan::new(head, TILE_HEIGHT, &indexes).expect("the hashes are of this tree");
    let mut bodies = Vec::with_capacity(plan.tiles().len());
    for Tile { level, number, width, .. } in plan.tiles() {
        let TileLevel::Hash(level) = level else { panic!("a plan has hash tiles only") };
        let Some(body) = kept.tile(*level, *number, *width)? else { return Ok(None) };
        bodies.push(body);
    }
    let hashes = plan.finish(&bodies).map_err(|error| damaged(error.to_string()))?;
    let proof = prove_inclusion(head.size, id, &hashes[..hashes.len() - 1])
        .map_err(|error| damaged(error.to_string()))?;
    verify_inclusion(&proof, head.size, &head.root, id, leaf).map_err(|error| damaged(error.to_string()))?;
    Ok(Some(proof))
}
