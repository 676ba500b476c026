//! The own log: one writer that commits and signs, any number of readers that see what was
//! published.
//!
//! # A start
//!
//! [`Log::open`] is where a log may refuse to sign. Whoever puts the program together has opened
//! the log's parts before: the lock of its directory, its database, its anchor. Then, in this
//! order:
//!
//! 1. The newest head must be signed by the log's key, and no record may lie beyond it: else nothing
//!    is served.
//! 2. The stored bytes give the tree's root again, which must be the newest head's.
//! 3. No head may be known that contradicts the log ([`Stop`]).
//! 4. The anchor must hold the newest head or the one before, in the newest epoch, and remember no
//!    stop that is missing.
//! 5. The writer's epoch moves on, in the anchor and then in the database. An anchor that is one head
//!    behind is moved.
//!
//! A newest head that lacks its required cosignatures waits again, and the newest that has them is
//! served. A log that disagrees with its anchor, or is damaged, is served as far as it can be read,
//! with the reason in `/readyz` and in the refusal of every append.

mod checkpoint;
mod claim;
mod fsck;
mod gate;
mod head;
mod hold;
mod incidents;
mod judge;
mod proof_file;
mod prover;
mod recover;
mod right_edge;
mod sequencer;
mod settle;
mod shared;
mod snapshot;
mod start;
mod state;
mod stops;
mod tower;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde_json::json;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::gosum::ModuleLines;
use crate::note::{SignerKey, VerifierKey};
use crate::store::lock::DirectoryLock;
use crate::store::{
    Evidence, FoundInstead, Identity, IncidentKind, LogParts, StoreError, StoredRecord, evidence,
};
use crate::tlog::{Hash, RecordId, TreeSize};
pub use checkpoint::{Cosignatures, CosignedCheckpoint, SignedCheckpoint};
pub(crate) use claim::why_read_only;
pub use fsck::{FsckFinding, FsckReport, fsck};
pub use gate::{Conditions, NotPassed, OpenedLog, PublishGate};
pub use incidents::keep_incidents;
pub(crate) use incidents::{
    Decision, DecisionKind, IncidentStanding, JudgedIncident, count_open, first_digest, judge_incidents,
};
pub use judge::Judgment;
pub use proof_file::{ProofFileError, RecordProof};
pub use prover::{Consistency, HASH_SEARCH_RECORDS, Inclusion, Prover, ProverError};
use sequencer::{Job, MAX_BATCH_RECORDS, Submission};
pub use settle::{SettleError, Settled, settle_anchor};
use shared::SharedLog;
pub use snapshot::Snapshot;
use start::start;
pub use state::{ReadOnly, State};
pub use stops::{Stop, StopError, stops};
pub(crate) use stops::{end_stop, forget_stops};

/// Submissions that may wait for the sequencer. Beyond it callers wait: each of them holds its own
/// memory.
const QUEUE_SUBMISSIONS: usize = 1_024;

/// Findings that become incidents while a process lives: more tell nobody more.
const MAX_TOLD: usize = 256;

/// Why a log could not be opened at all.
#[derive(Debug, thiserror::Error)]
pub enum LogOpenError {
    /// The store refused.
    #[error(transparent)]
    Store(StoreError),
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

impl From<StoreError> for LogOpenError {
    fn from(error: StoreError) -> LogOpenError {
        match error {
            StoreError::Foreign {
                path,
                found: FoundInstead::OtherLog { vkey: standing, wanted: offered },
            } => LogOpenError::WrongKey { path, offered, standing },
            error => LogOpenError::Store(error),
        }
    }
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
pub struct IncidentReport {
    /// What kind of incident it is.
    pub kind: IncidentKind,
    /// What was seen, as JSON.
    pub detail: String,
}

impl IncidentReport {
    /// The digest of the incident that it becomes, hexadecimal.
    fn digest(&self) -> String {
        evidence::digest_of(self.kind.as_str(), &self.detail)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// A damaged row or page.
    fn damage(error: &StoreError) -> IncidentReport {
        let detail = match error {
            StoreError::Damaged { place, why } => json!({ "place": place, "why": why }),
            error => json!({ "why": error.to_string() }),
        };
        IncidentReport { kind: IncidentKind::Damage, detail: detail.to_string() }
    }
}

/// What became of a candidate.
#[derive(Clone, Debug)]
pub enum AppendOutcome {
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
    fn detail(&self, offered_by: &Evidence) -> String {
        let mut detail = json!({
            "module": self.standing.lines.module.path.as_str(),
            "version": self.standing.lines.module.version.as_str(),
            "record": self.standing.id.0,
            "standing": self.standing.lines.to_text(),
            "offered": self.offered.to_text(),
        });
        if let Evidence::Imported { importer } = offered_by {
            detail["importer"] = importer.as_str().into();
        }
        detail.to_string()
    }
}

/// The answer to an append: durable, anchored and published.
#[derive(Clone)]
pub struct Receipt {
    /// One for each candidate, in order.
    pub outcomes: Vec<AppendOutcome>,
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

/// Candidates that have their place in the queue. Dropping it does not take them back.
pub struct Submitted {
    answer: oneshot::Receiver<Result<Receipt, AppendError>>,
    shared: Arc<SharedLog>,
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
    shared: Arc<SharedLog>,
    writer: Arc<WriterHandle>,
}

/// Waits for the writer's thread when the last handle goes, and only then lets the next process in.
/// All handles of one log share it.
struct WriterHandle {
    /// Absent in a log that is only read. Its length is bounded by `places`.
    queue: Option<mpsc::UnboundedSender<Job>>,
    /// Closed by the first that ends the writer: nobody gets a place from then on.
    places: Arc<Semaphore>,
    /// Taken by the first that ends the writer, who waits for it.
    thread: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<SharedLog>,
    /// Given back after the thread has ended.
    _lock: Option<DirectoryLock>,
}

impl Log {
    /// Opens a log from its parts. The signing keys are the log's own first; without one the log
    /// can only be read.
    pub fn open(
        parts: LogParts,
        signers: Vec<SignerKey>,
        clock: Clock,
        conditions: Conditions,
    ) -> Result<Log, LogOpenError> {
        start(parts, signers, clock, conditions)
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

    /// Stops signing because something stored is damaged; who found it says where. It becomes an
    /// incident too, once.
    pub fn stop_signing(&self, error: &StoreError) {
        self.shared.turn(State::ReadOnly(ReadOnly::from(error)));
        self.tell(IncidentReport::damage(error));
    }

    /// Keeps what was found while the log was read, once. Nobody waits for it, and a log without a
    /// writer keeps nothing: whoever reads is told each time.
    fn tell(&self, report: IncidentReport) -> bool {
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

    /// Appends candidates in one commit with whatever else has arrived, and waits until it is
    /// published.
    ///
    /// At most 16,384 at a time. Dropping the future does not take back what was submitted.
    pub async fn append(&self, candidates: Vec<Candidate>) -> Result<Receipt, AppendError> {
        self.submit(candidates).await?.receipt().await
    }

    /// Hands candidates to the writer, and returns as soon as they have their place: what one
    /// caller submits one after the other enters the log in that order.
    pub(crate) async fn submit(&self, candidates: Vec<Candidate>) -> Result<Submitted, AppendError> {
        assert!(candidates.len() <= MAX_BATCH_RECORDS, "{} candidates at once", candidates.len());
        self.queue(candidates, Vec::new()).await
    }

    /// Keeps incidents that were found outside of an append, in one commit with whatever else has
    /// arrived. What is known already, by its kind and detail, is not kept twice.
    pub async fn report(&self, reports: Vec<IncidentReport>) -> Result<(), AppendError> {
        self.queue(Vec::new(), reports).await?.receipt().await.map(|_| ())
    }

    async fn queue(
        &self,
        candidates: Vec<Candidate>,
        reports: Vec<IncidentReport>,
    ) -> Result<Submitted, AppendError> {
        let stopped = || self.shared.stopped();
        let queue = self.writer.queue.as_ref().ok_or_else(stopped)?;
        let place = self.writer.places.clone().acquire_owned().await.map_err(|_| stopped())?;
        let (reply, answer) = oneshot::channel();
        let submission = Submission { candidates, reports, reply, place };
        queue.send(Job::Append(submission)).map_err(|_| stopped())?;
        Ok(Submitted { answer, shared: self.shared.clone() })
    }

    /// Ends the writer after what was submitted, and waits for it. Other handles can only read from
    /// then on.
    pub fn close(self) {
        self.writer.end();
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        self.end();
    }
}

impl WriterHandle {
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

/// Where a record comes from, or the error that it has no evidence, which no record lacks.
pub fn evidence_of(snapshot: &Snapshot, id: RecordId) -> Result<evidence::StoredEvidence, StoreError> {
    snapshot.evidence(id)?.ok_or_else(|| StoreError::Damaged {
        place: format!("evidence of record {id}"),
        why: "missing".to_owned(),
    })
}
