//! Gossip: signed heads that others were shown, compared with what is known here.
//!
//! A log that shows one tree to some of its clients and another to the rest is found when any two of them compare what they
//! were shown. Every `go` command keeps the newest head it ever saw in `$GOPATH/pkg/sumdb/<name>/latest`:
//!
//! ```text
//! go.sum database tree
//! 942
//! qyuGcMaBnTVvYsRZ+g7S/PTq7oLGEWtCeVsd1BwnWLU=
//!
//! — sum.corp.example Hj8aWjBv…
//! ```
//!
//! | verdict | of the own log | of a mirrored log |
//! |---|---|---|
//! | consistent | the newest tree begins as the head says, with the proof | the same |
//! | ahead | **an alarm**: somebody has a head of records that are not here, so this database was rolled back or is a clone | the log is asked for its newest head; only then it can be compared |
//! | fork | **an alarm**: the log's key has signed two trees | the mirror stops, as for every contradiction |
//!
//! After an alarm the own log signs nothing more until a person has looked, over restarts too ([`crate::log::Stop`]); it becomes an
//! incident, with a file of evidence beside the database that needs no trust in us ([`Misbehavior`]).
//!
//! Only a signature by a known key makes a note a head; anything else raises nothing. The own log is compared by its stored tiles.
//! What is sent is not stored unless it is evidence.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::json;

use crate::clock::Clock;
use crate::log::{IncidentReport, Judgment, Log, ProverError, Snapshot};
use crate::mirror::{HeadComparison, Mirrors, Misbehavior, RemoteError, head_of, write_evidence};
use crate::note::{self, OpenError, VerifierKey};
use crate::store::{IncidentKind, StoreError};
use crate::tlog::{ConsistencyProof, TreeHead};

/// The longest note that is read: a hundred signatures with long names.
pub const NOTE_BYTES_MAX: usize = 64 << 10;

/// Compares heads of the own log and of the mirrored ones.
pub struct Gossip {
    log: Log,
    mirrors: Mirrors,
    /// The first file of evidence about the own log.
    evidence: PathBuf,
    clock: Clock,
    /// What was heard so far.
    pub figures: Figures,
}

/// How many heads were heard.
#[derive(Debug, Default)]
pub struct Figures {
    /// Of one log with what is known here.
    pub consistent: AtomicU64,
    /// Of a larger tree than is known here.
    pub ahead: AtomicU64,
    /// Contradictions.
    pub forks: AtomicU64,
    /// Notes that are no head of a known log.
    pub refused: AtomicU64,
}

/// A head that was compared.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The log's name.
    pub log: String,
    /// Whether it is the own log.
    pub is_own: bool,
    /// The head that was sent.
    pub posted: TreeHead,
    /// The newest head known here, as it was signed.
    pub known: Option<(TreeHead, String)>,
    /// What follows.
    pub verdict: Verdict,
}

/// What follows from a head.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Both heads are of one log; with the proof, where there is one to be made.
    Consistent(Option<ConsistencyProof>),
    /// The head is of a larger tree.
    Ahead,
    /// No single log can have both.
    Fork(Arc<Misbehavior>),
}

/// Why a note was not compared.
#[derive(Debug, thiserror::Error)]
pub enum GossipError {
    /// Not a signed note.
    #[error("{0}")]
    Malformed(OpenError),
    /// Nobody known here has signed it.
    #[error("unknown log: none of the note's signatures is by a key that is known here")]
    UnknownLog,
    /// A known key's signature does not fit.
    #[error("{0}")]
    BadSignature(OpenError),
    /// A known log has signed something else.
    #[error("{log} has signed this note, but it is no tree head")]
    NotAHead {
        /// The log's name.
        log: String,
    },
    /// The log's URLs do not give what the comparison needs.
    #[error("{text}")]
    Unavailable {
        /// Why.
        text: String,
    },
    /// What is stored cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is kept of a remote log cannot be read.
    #[error("{0}")]
    Remote(Arc<StoreError>),
}

impl Gossip {
    /// Over the own log, with its directory, and the mirrored ones.
    pub fn new(log: Log, mirrors: Mirrors, directory: PathBuf, clock: Clock) -> Gossip {
        let evidence = directory.join("log.incident-1.txt");
        Gossip { log, mirrors, evidence, clock, figures: Figures::default() }
    }

    /// Compares a signed head. `deadline` is for what must be asked of a mirrored log's URLs.
    pub async fn hear(&self, message: &[u8], deadline: Instant) -> Result<Compared, GossipError> {
        let compared = self.compare(message, deadline).await;
        let count = match &compared {
            Ok(compared) => match compared.verdict {
                Verdict::Consistent(_) => Some(&self.figures.consistent),
                Verdict::Ahead => Some(&self.figures.ahead),
                Verdict::Fork(_) => Some(&self.figures.forks),
            },
            Err(GossipError::Unavailable { .. } | GossipError::Store(_) | GossipError::Remote(_)) => None,
            Err(_) => Some(&self.figures.refused),
        };
        count.map(|count| count.fetch_add(1, Ordering::Relaxed));
        compared
    }

    async fn compare(&self, message: &[u8], deadline: Instant) -> Result<Compared, GossipError> {
        let own = self.log.verifier();
        let keys: Vec<&VerifierKey> = std::iter::once(&own)
            .chain(self.mirrors.iter().map(|mirror| mirror.log.key()).filter(|key| **key != own))
            .collect();
        let opened = note::open(message, &keys).map_err(|error| match error {
            OpenError::Unverified { .. } => GossipError::UnknownLog,
            error @ (OpenError::InvalidSignature { .. } | OpenError::AmbiguousKey { .. }) => {
                GossipError::BadSignature(error)
            }
            error => GossipError::Malformed(error),
        })?;
        let signature = &opened.signatures[0];
        let log = signature.name.to_string();
        let not_a_head = || GossipError::NotAHead { log: log.clone() };
        let posted = head_of(&opened.text, &log).ok_or_else(not_a_head)?;
        // The other signatures may be anything that somebody has written there.
        let note = format!("{}\n\u{2014} {log} {}\n", opened.text, signature.base64);
        if signature.name == *own.name() && signature.key_id == own.id() {
            return self.compare_own(&own, posted, note);
        }
        let mirror = self.mirrors.iter().find(|mirror| {
            let key = mirror.log.key();
            signature.name == *key.name() && signature.key_id == key.id()
        });
        let remote = &mirror.expect("the key is that of a mirror").log;
        let (known, verdict) = match remote.compare_head(&posted, &note, deadline).await {
            Ok(HeadComparison::Consistent { newest, proof }) => (Some(newest), Verdict::Consistent(proof)),
            Ok(HeadComparison::Ahead { newest }) => (newest, Verdict::Ahead),
            Err(RemoteError::Misbehavior(found)) => (remote.newest(), Verdict::Fork(found)),
            Err(RemoteError::Store(error)) => return Err(GossipError::Remote(error)),
            Err(error) => return Err(GossipError::Unavailable { text: error.to_string() }),
        };
        let known = known.map(|head| (head.tree, head.note.clone()));
        Ok(Compared { log, is_own: false, posted, known, verdict })
    }

    fn compare_own(
        &self,
        key: &VerifierKey,
        posted: TreeHead,
        note: String,
    ) -> Result<Compared, GossipError> {
        let log = key.name().to_string();
        loop {
            let snapshot = self.log.snapshot();
            let known = (snapshot.head().tree, snapshot.head().note.clone());
            let verdict = if posted.size.0 == 0 {
                Verdict::Consistent(None)
            } else if posted.size <= snapshot.size() {
                self.compare_published(key, &snapshot, posted, &note)?
            } else {
                self.judge_ahead(&log, &known.1, posted, &note)?;
                if self.log.snapshot().size() >= posted.size {
                    // It was published meanwhile.
                    continue;
                }
                Verdict::Ahead
            };
            return Ok(Compared { log, is_own: true, posted, known: Some(known), verdict });
        }
    }

    /// Where the operator demands cosignatures, witnesses are shown a head before it is published, and may tell others. Nobody
    /// else can honestly be ahead: a head that is not even committed ends signing.
    fn judge_ahead(
        &self,
        log: &str,
        newest: &str,
        posted: TreeHead,
        note: &str,
    ) -> Result<Judgment, StoreError> {
        // The notes are those that were published: what waits for its cosignatures is not shown to anybody else.
        let detail = json!({ "log": log, "what": "ahead", "posted": note, "newest": newest });
        self.log.judge(&posted, note, |_| report(&detail))
    }

    /// Compares a head with a published one that is not smaller.
    fn compare_published(
        &self,
        key: &VerifierKey,
        snapshot: &Snapshot,
        posted: TreeHead,
        note: &str,
    ) -> Result<Verdict, GossipError> {
        let head = snapshot.head();
        let proved = match self.log.prover().consistency(snapshot, posted.size, head.tree.size) {
            Ok(proved) => proved,
            Err(ProverError::Store(error)) => {
                if let StoreError::Damaged { .. } = error {
                    self.log.stop_signing(&error);
                }
                return Err(error.into());
            }
            Err(error) => panic!("two sizes of this log, neither of them 0: {error}"),
        };
        let root_in_newer = proved.older.root;
        if root_in_newer == posted.root {
            return Ok(Verdict::Consistent(Some(proved.proof)));
        }
        let (log, older, newer) = (key.name().to_string(), note.to_owned(), head.note.clone());
        let (proof, seen_at) = (proved.proof, self.clock.now());
        let found = Misbehavior { log, older, newer, root_in_newer, proof, seen_at };
        if let Err(why) = found.verify(key) {
            let place = format!("head {}", head.tree.size);
            return Err(StoreError::Damaged { place, why: format!("it convicts nobody: {why}") }.into());
        }
        let text = found.to_text();
        let judged = self.log.judge(&posted, note, |_| self.evidence_of(&found.log, &text))?;
        if judged == (Judgment::Contradicts { is_new: true }) {
            tracing::error!(log = %found.log, evidence = %text, "this log's key has signed two trees");
        }
        Ok(Verdict::Fork(Arc::new(found)))
    }

    /// The incident of a fork, whose evidence is kept in a file too.
    fn evidence_of(&self, log: &str, text: &str) -> IncidentReport {
        let evidence = write_evidence(&self.evidence, text);
        if let Err(error) = &evidence {
            let file = self.evidence.display();
            tracing::error!(%file, %error, "the file of evidence cannot be written");
        }
        let file = evidence.ok().map(|path| path.display().to_string());
        report(&json!({ "log": log, "what": "fork", "evidence": file, "text": text }))
    }
}

fn report(detail: &serde_json::Value) -> IncidentReport {
    IncidentReport { kind: IncidentKind::Misbehavior, detail: detail.to_string() }
}
