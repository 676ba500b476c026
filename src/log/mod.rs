//! The own log: one writer that commits and signs, any number of readers that see what was published.
//!
//! [`Log::open`] is where a log may refuse to sign: it compares the database with its own stored bytes, with its newest
//! head and with the anchor, in that order, and only a log that agrees with all of them gets a writer. A log that
//! does not is still served.

mod checkpoint;
mod claim;
mod edge;
mod fsck;
mod gate;
mod head;
mod hold;
mod incidents;
mod judge;
mod prover;
mod sequencer;
mod settle;
mod snapshot;
mod start;
mod state;
mod stops;
mod tower;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::gosum::ModuleLines;
use crate::note::{SignerKey, VerifierKey};
use crate::store::anchor::{Anchor, Anchored};
use crate::store::lock::{DirectoryLock, free_bytes, refuse_network_file_system};
use crate::store::sqlite::{SqliteReader, SqliteStore, is_created};
use crate::store::{Evidence, Identity, IncidentKind, LogStore, StoreError, StoredRecord, evidence, private};
use crate::tlog::{Hash, RecordId, TreeHead, TreeSize};
pub use checkpoint::{Cosignatures, Cosigned, ProofFileError, RecordProof, SignedCheckpoint};
pub use claim::why_read_only;
pub use fsck::{Finding, FsckReport, fsck};
pub use gate::{Conditions, Gate, NotPassed, Opened};
use hold::Hold;
pub use incidents::keep_incidents;
use judge::Committed;
pub use judge::Judgment;
pub use prover::{Consistency, HASH_SEARCH_RECORDS, Inclusion, Prover, ProverError};
use sequencer::{Job, MAX_BATCH_RECORDS, Submission};
pub use settle::{SettleError, Settled, settle_anchor};
pub use snapshot::{Snapshot, TILE_HEIGHT};
use start::{Files, start, start_damaged};
pub use state::{ReadOnly, State};
use stops::Stops;
pub use stops::{Stop, StopError, end_stop, forget_stops, stops};

/// File name of the log's database in the data directory.
pub const DATABASE_FILE: &str = "log.db";
/// File name of the anchor, when it lies beside the log.
pub const ANCHOR_FILE: &str = "anchor.db";
/// Submissions that may wait for the sequencer. Beyond it callers wait: each of them holds its own memory.
const QUEUE_SUBMISSIONS: usize = 1_024;

/// Findings that become incidents while a process lives: more tell nobody more.
const MAX_TOLD: usize = 256;

/// What opening databases takes: their first pages, write-ahead logs and shared memory files.
const OPENING_BYTES: u64 = 1 << 20;

/// Where a log is and who signs it.
pub struct LogOptions {
    /// The data directory.
    pub directory: PathBuf,
    /// The anchor's file.
    pub anchor: PathBuf,
    /// The signing keys, the log's own first. Empty: open to read only.
    pub signers: Vec<SignerKey>,
    /// Page cache of each reading connection.
    pub reader_cache_kib: u32,
    /// What time it is.
    pub clock: Clock,
}

/// Why a log could not be opened at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key is not the log's.
    #[error(
        "the key {offered} does not belong to the log in {path}, which is {standing}: use the log's own key, or another data directory"
    )]
    WrongKey {
        /// The data directory.
        path: String,
        /// The verifier key that belongs to the given signing key.
        offered: String,
        /// The log's verifier key.
        standing: String,
    },
}

/// Lines that somebody wants in the log, and why they may.
#[derive(Clone, Debug)]
pub struct Candidate {
    lines: ModuleLines,
    leaf: Hash,
    evidence: Arc<Evidence>,
}

impl Candidate {
    /// A candidate. Hashes the record here, on the caller's thread.
    pub fn new(lines: ModuleLines, evidence: Arc<Evidence>) -> Candidate {
        let leaf = Hash::of_record(lines.to_text().as_bytes());
        Candidate { lines, leaf, evidence }
    }
}

/// Something that a person must look at, seen outside of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What kind of incident it is.
    pub kind: IncidentKind,
    /// What was seen, as JSON.
    pub detail: String,
}

impl Report {
    /// The digest of the incident that it becomes, hexadecimal.
    fn digest(&self) -> String {
        evidence::digest_of(self.kind.as_str(), &self.detail)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// A damaged row or page.
    fn damage(error: &StoreError) -> Report {
        let detail = match error {
            StoreError::Damaged { place, why } => json!({ "place": place, "why": why }),
            error => json!({ "why": error.to_string() }),
        };
        Report { kind: IncidentKind::Damage, detail: detail.to_string() }
    }
}

/// What became of a candidate.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is a new record.
    Appended(RecordId),
    /// The same lines were there already.
    Present(RecordId),
    /// Other lines stand for this module version, for ever.
    Conflict(Box<Conflict>),
}

/// Two sets of lines for one module version: the one that stands, and the one that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// What is in the log.
    pub standing: StoredRecord,
    /// What was offered.
    pub offered: ModuleLines,
}

impl Conflict {
    /// As an incident keeps it.
    fn detail(&self) -> String {
        json!({
            "module": self.standing.lines.module.path.as_str(),
            "version": self.standing.lines.module.version.as_str(),
            "record": self.standing.id.0,
            "standing": self.standing.lines.to_text(),
            "offered": self.offered.to_text(),
        })
        .to_string()
    }
}

/// The answer to an append: durable, anchored and published.
#[derive(Clone)]
pub struct Receipt {
    /// One for each candidate, in order.
    pub outcomes: Vec<Outcome>,
    /// A view of the log that contains them all.
    pub snapshot: Snapshot,
}

/// Why nothing was appended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The log signs nothing.
    #[error("the log is read-only: {0}")]
    ReadOnly(ReadOnly),
}

/// What the sequencer and the handles share.
struct Shared {
    published: ArcSwap<Snapshot>,
    state: ArcSwap<State>,
    changed: watch::Sender<TreeSize>,
    /// What heads from outside are judged by.
    committed: Committed,
    cosignatures: Cosignatures,
    /// What the first signature waits for.
    hold: Hold,
    prover: Prover,
    /// The heads that contradict this log.
    stops: Stops,
    /// What was found while the log was read, and became incidents.
    told: Mutex<HashSet<String>>,
}

impl Shared {
    fn snapshot(&self) -> Snapshot {
        (**self.published.load()).clone()
    }

    fn publish(&self, snapshot: Snapshot) {
        let size = snapshot.size();
        self.published.store(Arc::new(snapshot));
        self.changed.send_replace(size);
    }

    /// Why no head may be signed any more while this process lives, if so.
    fn is_over(&self) -> Option<ReadOnly> {
        match &*self.state.load_full() {
            State::Writing => None,
            State::ReadOnly(reason) => (!reason.passes()).then(|| reason.clone()),
        }
    }

    /// Why the writer takes nothing more.
    fn stopped(&self) -> AppendError {
        match &*self.state.load_full() {
            State::ReadOnly(reason) => AppendError::ReadOnly(reason.clone()),
            State::Writing => {
                AppendError::ReadOnly(ReadOnly::Stopped { why: "the writer has ended".to_owned() })
            }
        }
    }

    /// Changes the state, and wakes up who watches it. What does not [pass](ReadOnly::passes) stays while the process lives: what a
    /// reader finds damaged stays so, whatever the writer finds out about its disk at the same moment. Only a failed write is worse
    /// than damage: it ends the process.
    fn turn(&self, state: State) {
        let stays = |now: &State| match now {
            State::Writing => matches!(state, State::Writing),
            State::ReadOnly(reason) if reason.passes() => false,
            State::ReadOnly(ReadOnly::Stopped { .. }) => true,
            State::ReadOnly(_) => !matches!(state, State::ReadOnly(ReadOnly::Stopped { .. })),
        };
        let before = self.state.rcu(|now| if stays(now) { now.clone() } else { Arc::new(state.clone()) });
        if !stays(&before) {
            self.changed.send_modify(|_| {});
            self.hold.wake();
        }
    }
}

/// Candidates that have their place in the queue. Dropping it does not take them back.
pub struct Submitted {
    answer: oneshot::Receiver<Result<Receipt, AppendError>>,
    shared: Arc<Shared>,
}

impl Submitted {
    /// Waits until they are published.
    pub async fn receipt(self) -> Result<Receipt, AppendError> {
        self.answer.await.map_err(|_| self.shared.stopped())?
    }
}

/// A log that is open. Cloning gives another handle; the last one that goes away ends the writer.
#[derive(Clone)]
pub struct Log {
    identity: Arc<Identity>,
    shared: Arc<Shared>,
    writer: Arc<Writer>,
}

/// Waits for the writer's thread when the last handle goes, and only then lets the next process in.
struct Writer {
    /// Absent in a log that is only read. Its length is bounded by `places`.
    queue: Option<mpsc::UnboundedSender<Job>>,
    places: Arc<Semaphore>,
    thread: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
    _lock: Option<DirectoryLock>,
}

impl Log {
    /// Opens a log, creating it when the directory holds none and there is a key to sign with.
    pub fn open(options: LogOptions) -> Result<Log, OpenError> {
        Log::open_gated(options, None)
    }

    /// The same with a gate, that each head must pass before it is published.
    pub fn open_gated(options: LogOptions, gate: Option<Arc<dyn Gate>>) -> Result<Log, OpenError> {
        Log::open_under(options, Conditions { gate, hold: None })
    }

    /// The same with all that a log may have to wait for.
    pub fn open_under(options: LogOptions, conditions: Conditions) -> Result<Log, OpenError> {
        refuse_network_file_system(&options.directory)?;
        let lock = DirectoryLock::acquire(&options.directory)?;
        private::tighten_file(&options.anchor);
        let path = options.directory.join(DATABASE_FILE);
        let disks = vec![options.directory.clone(), directory_of(&options.anchor)];
        let identity = options.signers.first().map(|signer| Identity {
            name: signer.name().as_str().to_owned(),
            vkey: signer.verifier().to_string(),
            created_at: options.clock.now(),
        });
        let LogOptions { anchor, signers, clock, reader_cache_kib, .. } = options;
        if let Some(identity) = identity.as_ref().filter(|_| !is_created(&path)) {
            // The anchor first: then a log without one has lost it, however young it is.
            found_anchor(&anchor, identity).map_err(|error| cause(error, &disks))?;
        }
        let store = match SqliteStore::open(&path, identity.as_ref(), reader_cache_kib) {
            Err(StoreError::Foreign { why, .. }) if why.starts_with("it holds the log ") => {
                return Err(OpenError::WrongKey {
                    path: path.display().to_string(),
                    offered: identity.map_or_else(String::new, |identity| identity.vkey),
                    standing: why.trim_start_matches("it holds the log ").to_owned(),
                });
            }
            Err(error @ StoreError::Damaged { .. }) => {
                return match SqliteReader::open(&path, reader_cache_kib) {
                    Ok(reader) => start_damaged(reader, error, &signers, lock, Stops::load(&anchor, clock)),
                    Err(_) => Err(error.into()),
                };
            }
            store => store.map_err(|error| cause(error, &disks))?,
        };
        let files = Files { anchor: Some(&anchor), disks: disks.clone(), lock: Some(lock) };
        start(Box::new(store), files, signers, clock, conditions).map_err(|error| match error {
            OpenError::Store(error) => OpenError::Store(cause(error, &disks)),
            error => error,
        })
    }

    /// A log over a store of the caller's, without anchor or lock; for tests.
    pub fn over(store: Box<dyn LogStore>, signers: Vec<SignerKey>, clock: Clock) -> Result<Log, OpenError> {
        Log::over_gated(store, signers, clock, None)
    }

    /// The same with a gate.
    pub fn over_gated(
        store: Box<dyn LogStore>,
        signers: Vec<SignerKey>,
        clock: Clock,
        gate: Option<Arc<dyn Gate>>,
    ) -> Result<Log, OpenError> {
        start(store, Files::default(), signers, clock, Conditions { gate, hold: None })
    }

    /// Who this log is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The log's verifier key.
    pub fn verifier(&self) -> VerifierKey {
        self.identity.vkey.parse().expect("the key was valid when the log was created")
    }

    /// What is published now.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// What witnesses have cosigned.
    pub fn cosignatures(&self) -> &Cosignatures {
        &self.shared.cosignatures
    }

    /// Makes proofs in this log's trees, and remembers the tiles that most of them need.
    pub fn prover(&self) -> &Prover {
        &self.shared.prover
    }

    /// Whether the log signs, and why not.
    pub fn state(&self) -> Arc<State> {
        self.shared.state.load_full()
    }

    /// Told the new size with every publication, and the old one again when the state changes.
    pub fn watch(&self) -> watch::Receiver<TreeSize> {
        self.shared.changed.subscribe()
    }

    /// Stops signing because something stored is damaged; who found it says where. It becomes an incident too, once.
    pub fn stop_signing(&self, error: &StoreError) {
        self.shared.turn(State::ReadOnly(ReadOnly::from(error)));
        self.tell(Report::damage(error));
    }

    /// Keeps what was found while the log was read, once. Nobody waits for it, and a log without a writer keeps nothing: whoever
    /// reads is told each time.
    fn tell(&self, report: Report) -> bool {
        let is_new = {
            let mut told = self.shared.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.len() < MAX_TOLD && told.insert(report.detail.clone())
        };
        let Some(queue) = &self.writer.queue else { return is_new };
        if is_new && let Ok(place) = self.writer.places.clone().try_acquire_owned() {
            let (reply, _) = oneshot::channel();
            let submission = Submission { candidates: Vec::new(), reports: vec![report], reply, place };
            let _ = queue.send(Job::Append(submission));
        }
        is_new
    }

    /// Appends candidates in one commit with whatever else has arrived, and waits until it is published.
    ///
    /// At most 16,384 at a time. Dropping the future does not take back what was submitted.
    pub async fn append(&self, candidates: Vec<Candidate>) -> Result<Receipt, AppendError> {
        self.submit(candidates).await?.receipt().await
    }

    /// Hands candidates to the writer, and returns as soon as they have their place: what one caller submits one after the
    /// other enters the log in that order.
    pub async fn submit(&self, candidates: Vec<Candidate>) -> Result<Submitted, AppendError> {
        assert!(candidates.len() <= MAX_BATCH_RECORDS, "{} candidates at once", candidates.len());
        self.queue(candidates, Vec::new()).await
    }

    /// Keeps incidents that were found outside of an append, in one commit with whatever else has arrived. What is known
    /// already, by its kind and detail, is not kept twice.
    pub async fn report(&self, reports: Vec<Report>) -> Result<(), AppendError> {
        self.queue(Vec::new(), reports).await?.receipt().await.map(|_| ())
    }

    async fn queue(
        &self,
        candidates: Vec<Candidate>,
        reports: Vec<Report>,
    ) -> Result<Submitted, AppendError> {
        let stopped = || self.shared.stopped();
        let queue = self.writer.queue.as_ref().ok_or_else(stopped)?;
        let place = self.writer.places.clone().acquire_owned().await.map_err(|_| stopped())?;
        let (reply, answer) = oneshot::channel();
        let submission = Submission { candidates, reports, reply, place };
        queue.send(Job::Append(submission)).map_err(|_| stopped())?;
        Ok(Submitted { answer, shared: self.shared.clone() })
    }

    /// Ends the writer after what was submitted, and waits for it. Other handles can only read from then on.
    pub fn close(self) {
        self.writer.end();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Makes the anchor of a log that is about to be made. One that is there stays: the start compares them.
fn found_anchor(path: &Path, identity: &Identity) -> Result<(), StoreError> {
    if let Ok(None) = Anchor::open(path) {
        let tree = TreeHead { size: TreeSize(0), root: Hash::EMPTY_TREE };
        let anchored = Anchored { vkey: identity.vkey.clone(), epoch: 0, tree, stops: 0 };
        Anchor::create(path, &anchored, identity.created_at)?;
    }
    Ok(())
}

/// The directory that a file is in; a bare name is in the current one.
fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Without any space SQLite fails in many ways, most of which do not say so.
fn cause(error: StoreError, disks: &[PathBuf]) -> StoreError {
    let no_space = |disk: &PathBuf| free_bytes(disk).is_ok_and(|free| free < OPENING_BYTES);
    match error {
        StoreError::Database { .. } if disks.iter().any(no_space) => StoreError::Full,
        error => error,
    }
}

impl Writer {
    fn end(&self) {
        self.places.close();
        self.shared.hold.close();
        if let Some(queue) = &self.queue {
            // An error says that the writer has ended already.
            let _ = queue.send(Job::Close);
        }
        let thread = self.thread.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the writer's thread panicked");
        }
    }
}

/// Whether a directory holds a log. A database in which none was created yet is no log.
pub fn exists(directory: &Path) -> bool {
    is_created(&directory.join(DATABASE_FILE))
}

/// Where a record comes from, or the error that it has no evidence, which no record lacks.
pub fn evidence_of(snapshot: &Snapshot, id: RecordId) -> Result<evidence::Kept, StoreError> {
    snapshot.evidence(id)?.ok_or_else(|| StoreError::Damaged {
        place: format!("evidence of record {id}"),
        why: "missing".to_owned(),
    })
}
