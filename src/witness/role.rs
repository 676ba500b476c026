//! What a witness does: check, remember, and only then sign.
//!
//! The rules, in the order in which they are checked; the first that fails is the answer. `standing` is what was cosigned last, the
//! empty tree where nothing was.
//!
//! | rule | refusal |
//! |---|---|
//! | the request can be read, the checkpoint too | [`CosignRefusal::Malformed`] |
//! | its origin is that of a log we know | [`CosignRefusal::UnknownOrigin`] |
//! | it is signed by a key of that log, and no signature in such a key's name is wrong | [`CosignRefusal::Untrusted`] |
//! | `old` is not above its size | [`CosignRefusal::OldAboveSize`] |
//! | the tree of size 0 is the empty one | [`CosignRefusal::BadProof`] |
//! | at the size of `standing` it has the root of `standing` | [`CosignRefusal::Fork`], with the evidence kept |
//! | `old` is the size of `standing` | [`CosignRefusal::Stale`] |
//! | the proof leads from `standing` to it, and is empty where nothing is to be proved | [`CosignRefusal::BadProof`], with the request kept |
//!
//! A cosignature leaves after the commit that moved `standing` is durable. Stop anywhere: what was not answered is asked again, and is
//! answered with the size that is known by then. The commit is a compare-and-swap of size and root, so of two requests that
//! were checked against one `standing` the second is checked again.
//!
//! The same size and root is cosigned again, with the time of now: that is how a log shows that it is fresh.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::request::{AddCheckpoint, RequestError};
use crate::clock::Clock;
use crate::note::{self, CosignatureSigner, CosignatureVerifier, Note, OpenError, VerifierKey};
use crate::store::StoreError;
use crate::store::witness::{
    Broken, EvidenceKind, ForkEvidence, KnownCheckpoint, Swap, Swapped, WitnessStore,
};
use crate::tlog::{Checkpoint, CheckpointError, Hash, TreeHead, TreeSize, verify_consistency};

/// A request whose step was overtaken is checked again. The second time it is stale, unless the step was one at the same size, which
/// does not overtake: more tries than these are never needed.
const TRIES: usize = 3;

/// A log that this witness cosigns for.
#[derive(Clone, Debug)]
pub struct TrustedLog {
    /// The first line of its checkpoints.
    pub origin: String,
    /// Its keys; a checkpoint must be signed by one of them.
    pub keys: Vec<VerifierKey>,
}

/// Why a checkpoint was not cosigned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignRefusal {
    /// 400.
    #[error("{why}")]
    Malformed {
        /// What is wrong with the request.
        why: String,
    },
    /// 404.
    #[error("this witness does not know a log of this origin: its operator can add it")]
    UnknownOrigin,
    /// 403.
    #[error("the checkpoint has no valid signature of a key that this witness trusts for its origin")]
    Untrusted,
    /// 400.
    #[error("the old size {old} is above the checkpoint's, {size}")]
    OldAboveSize {
        /// The size in the first line.
        old: TreeSize,
        /// The checkpoint's.
        size: TreeSize,
    },
    /// 409 with the size.
    #[error("the checkpoint that was cosigned last has the size {size}")]
    Stale {
        /// The size that a proof must start from.
        size: TreeSize,
    },
    /// 409: the log has signed two trees of one size. With the size where `old` is not that.
    #[error(
        "another root was cosigned for the size {size}: the log has signed two histories; the evidence is kept"
    )]
    Fork {
        /// The size.
        size: TreeSize,
        /// Whether `old` is another size.
        is_stale: bool,
    },
    /// 422.
    #[error("{why}")]
    BadProof {
        /// What does not hold.
        why: String,
    },
    /// 503: nothing was written.
    #[error("the disk of this witness is full: try again later")]
    Full,
    /// 500: nothing is cosigned any more until the process is started again.
    #[error("this witness cannot write: its operator must look")]
    Broken,
}

/// Why a witness could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// Its database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row is not one that this witness wrote.
    #[error(
        "the memory of this witness is damaged: the checkpoint of {origin}: {why}\n  fix: restore the newest copy, if it is certain that \
         nothing was cosigned after it was made; else retire this witness: make a new one with a new key, and tell the logs"
    )]
    Row {
        /// The log.
        origin: String,
        /// What is wrong.
        why: String,
    },
}

/// How requests end, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CosignOutcome {
    /// 200.
    Cosigned,
    /// 400.
    Malformed,
    /// 404.
    Unknown,
    /// 403.
    Untrusted,
    /// 409 with the size.
    Stale,
    /// 409.
    Fork,
    /// 422.
    BadProof,
    /// 5xx.
    Failed,
}

impl CosignOutcome {
    /// All of them.
    pub const ALL: [CosignOutcome; 8] = [
        CosignOutcome::Cosigned,
        CosignOutcome::Malformed,
        CosignOutcome::Unknown,
        CosignOutcome::Untrusted,
        CosignOutcome::Stale,
        CosignOutcome::Fork,
        CosignOutcome::BadProof,
        CosignOutcome::Failed,
    ];

    fn of(result: &Result<String, CosignRefusal>) -> CosignOutcome {
        match result {
            Ok(_) => CosignOutcome::Cosigned,
            Err(CosignRefusal::Malformed { .. } | CosignRefusal::OldAboveSize { .. }) => {
                CosignOutcome::Malformed
            }
            Err(CosignRefusal::UnknownOrigin) => CosignOutcome::Unknown,
            Err(CosignRefusal::Untrusted) => CosignOutcome::Untrusted,
            Err(CosignRefusal::Stale { .. }) => CosignOutcome::Stale,
            Err(CosignRefusal::Fork { .. }) => CosignOutcome::Fork,
            Err(CosignRefusal::BadProof { .. }) => CosignOutcome::BadProof,
            Err(CosignRefusal::Full | CosignRefusal::Broken) => CosignOutcome::Failed,
        }
    }
}

/// A witness: one key, one database, the logs that it knows.
pub struct Witness {
    signer: CosignatureSigner,
    logs: HashMap<String, Vec<VerifierKey>>,
    by_hash: HashMap<String, String>,
    store: WitnessStore,
    clock: Clock,
    counts: [AtomicU64; CosignOutcome::ALL.len()],
}

impl Witness {
    /// Opens the database at `path`, and creates it when there is none. Every row must be a checkpoint that this witness
    /// cosigned.
    pub fn open(
        path: &Path,
        signer: CosignatureSigner,
        logs: Vec<TrustedLog>,
        clock: Clock,
    ) -> Result<Witness, WitnessError> {
        let store = WitnessStore::open(path, &signer.verifier().to_string(), clock.now())?;
        for known in store.all() {
            check(&known, &signer.verifier())
                .map_err(|why| WitnessError::Row { origin: known.origin.clone(), why })?;
        }
        let by_hash = logs.iter().map(|log| (origin_hash(&log.origin), log.origin.clone())).collect();
        let logs = logs.into_iter().map(|log| (log.origin, log.keys)).collect();
        Ok(Witness { signer, logs, by_hash, store, clock, counts: Default::default() })
    }

    /// The key under which the cosignatures verify.
    pub fn verifier(&self) -> CosignatureVerifier {
        self.signer.verifier()
    }

    /// Told when a write has failed: nothing is cosigned any more until the process is started again.
    pub fn broken(&self) -> Broken {
        self.store.broken()
    }

    /// Number of logs that it cosigns for.
    pub fn logs(&self) -> usize {
        self.logs.len()
    }

    /// Number of requests that ended so.
    pub fn count(&self, outcome: CosignOutcome) -> u64 {
        self.counts[outcome as usize].load(Ordering::Relaxed)
    }

    /// The newest checkpoint that was cosigned, by the SHA-256 of the log's origin in lower-case hexadecimal.
    pub fn checkpoint(&self, origin_hash: &str) -> Option<Arc<KnownCheckpoint>> {
        self.store.known(self.by_hash.get(origin_hash)?)
    }

    /// Answers the body of an `add-checkpoint`: with signature lines, or why not.
    pub async fn add_checkpoint(&self, body: &[u8]) -> Result<String, CosignRefusal> {
        let result = self.cosign(body).await;
        self.counts[CosignOutcome::of(&result) as usize].fetch_add(1, Ordering::Relaxed);
        result
    }

    async fn cosign(&self, body: &[u8]) -> Result<String, CosignRefusal> {
        let request = AddCheckpoint::parse(body)?;
        let (note, checkpoint) = self.open_note(&request.checkpoint)?;
        let (origin, next) = (checkpoint.origin.as_str(), checkpoint.tree);
        if request.old > next.size {
            return Err(CosignRefusal::OldAboveSize { old: request.old, size: next.size });
        }
        for _ in 0..TRIES {
            let known = self.store.known(origin);
            let judged = judge(&request, &next, known.as_ref().map(|known| known.tree));
            if let Err(refusal) = judged {
                if let Some(known) = &known {
                    self.keep(&refusal, &request, &note, &next, known).await;
                }
                return Err(refusal);
            }
            let at = self.clock.unix_time().seconds;
            // Before 1970 no cosignature can be dated: a clock so wrong is written as the beginning.
            let cosignature = self.signer.cosign(&note.text, u64::try_from(at).unwrap_or(0));
            let line = format!("{}\n", cosignature.format_line());
            let swap = Swap {
                expected: known.map(|known| known.tree),
                next: KnownCheckpoint {
                    origin: origin.to_owned(),
                    tree: next,
                    note: verified_part(&note) + &line,
                    cosigned_at: self.clock.now(),
                },
            };
            // If we stop here, or after this, the cosignature is lost and its tree may be remembered: the log asks again.
            match self.store.swap(swap).await {
                Ok(Swapped::Done) => return Ok(line),
                Ok(Swapped::Raced) => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Err(CosignRefusal::Stale {
            size: self.store.known(origin).map_or(TreeSize(0), |known| known.tree.size),
        })
    }

    /// The checkpoint, signed by its log.
    fn open_note(&self, text: &str) -> Result<(Note, Checkpoint), CosignRefusal> {
        let malformed = |error: OpenError| CosignRefusal::Malformed { why: error.to_string() };
        // Which log it claims to be of, and that decides which keys count.
        let unverified = note::parse_unverified(text.as_bytes()).map_err(malformed)?;
        let checkpoint = Checkpoint::parse(&unverified.text)
            .map_err(|error: CheckpointError| CosignRefusal::Malformed { why: error.to_string() })?;
        let keys = self.logs.get(checkpoint.origin.as_str()).ok_or(CosignRefusal::UnknownOrigin)?;
        let keys: Vec<&VerifierKey> = keys.iter().collect();
        let note = note::open(text.as_bytes(), &keys).map_err(|error| match error {
            OpenError::Unverified { .. } | OpenError::InvalidSignature { .. } => CosignRefusal::Untrusted,
            error => malformed(error),
        })?;
        Ok((note, checkpoint))
    }

    /// Keeps what shows, or may show, that a log has two histories.
    async fn keep(
        &self,
        refusal: &CosignRefusal,
        request: &AddCheckpoint,
        note: &Note,
        next: &TreeHead,
        known: &KnownCheckpoint,
    ) {
        let (kind, offered) = match refusal {
            CosignRefusal::Fork { .. } => (EvidenceKind::Fork, verified_part(note)),
            // The proof belongs to it, since it may be the proof that is wrong.
            CosignRefusal::BadProof { .. } => (
                EvidenceKind::Inconsistent,
                AddCheckpoint { checkpoint: verified_part(note), ..request.clone() }.format(),
            ),
            _ => return,
        };
        let (origin, size) = (known.origin.clone(), next.size);
        tracing::error!(log = origin, tree.size = size.0, evidence = kind.as_str(), "{refusal}");
        let standing = known.note.clone();
        let evidence = ForkEvidence { origin, kind, size, standing, offered, seen_at: self.clock.now() };
        if let Err(error) = self.store.keep(evidence).await {
            self.failed(&error);
        }
    }

    fn failed(&self, error: &StoreError) -> CosignRefusal {
        tracing::error!(%error, "the witness's database cannot be written");
        if matches!(error, StoreError::Full) { CosignRefusal::Full } else { CosignRefusal::Broken }
    }
}

impl From<RequestError> for CosignRefusal {
    fn from(error: RequestError) -> CosignRefusal {
        CosignRefusal::Malformed { why: error.to_string() }
    }
}

/// The rules that depend on what stands.
fn judge(request: &AddCheckpoint, next: &TreeHead, known: Option<TreeHead>) -> Result<(), CosignRefusal> {
    let empty = TreeHead { size: TreeSize(0), root: Hash::EMPTY_TREE };
    let bad = |why: &str| Err(CosignRefusal::BadProof { why: why.to_owned() });
    if next.size == empty.size && *next != empty {
        return bad("the root of the tree of size 0 is not that of the empty tree");
    }
    let standing = known.unwrap_or(empty);
    let is_stale = request.old != standing.size;
    if next.size == standing.size && *next != standing {
        return Err(CosignRefusal::Fork { size: standing.size, is_stale });
    }
    if is_stale {
        return Err(CosignRefusal::Stale { size: standing.size });
    }
    if standing == *next || standing == empty {
        return if request.proof.0.is_empty() {
            Ok(())
        } else {
            bad("there is nothing to prove here: the proof must be empty")
        };
    }
    verify_consistency(&request.proof, next.size, &next.root, standing.size, &standing.root).map_err(
        |error| CosignRefusal::BadProof { why: format!("the consistency proof does not hold: {error}") },
    )
}

/// A note with nothing but its verified signatures.
fn verified_part(note: &Note) -> String {
    let lines = note.signatures.iter().map(|signature| format!("{}\n", signature.format_line()));
    format!("{}\n{}", note.text, lines.collect::<String>())
}

/// Whether a row is a checkpoint that this witness cosigned.
fn check(known: &KnownCheckpoint, verifier: &CosignatureVerifier) -> Result<(), String> {
    let note = note::open(known.note.as_bytes(), &[verifier]).map_err(|error| error.to_string())?;
    let checkpoint = Checkpoint::parse(&note.text).map_err(|error| error.to_string())?;
    if checkpoint.origin.as_str() == known.origin && checkpoint.tree == known.tree {
        return Ok(());
    }
    Err(format!("its note is about {} at {}", checkpoint.origin, checkpoint.tree))
}

/// How a log is named in the URLs of a witness: the SHA-256 of its origin, in lower-case hexadecimal.
pub fn origin_hash(origin: &str) -> String {
    Sha256::digest(origin.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
