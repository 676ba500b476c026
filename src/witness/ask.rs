//! One question to a witness: will you cosign this checkpoint? And what its answer means.
//!
//! | answer | what follows |
//! |---|---|
//! | 200 with a line of its key that verifies for this checkpoint | it has cosigned |
//! | 200 with anything else | [`AskError::Lie`]: nothing of it is kept |
//! | 409 with a size up to ours | the question is put again with the proof from there, a few times at most |
//! | 409 with a larger size | [`AskError::Ahead`]: this log was rolled back, or somebody else signs with its key, or the witness lies |
//! | 409 without a size, 422 | [`AskError::Contradicted`]: it knows another history |
//! | others, or none in time | [`AskError::Refused`], [`AskError::Fetch`] |
//!
//! A size is only said. What the witness has cosigned, with the log's own signature, it shows ([`AskedWitness::shown_checkpoint`]), and that
//! proves.

use std::time::Instant;

use super::request::{AddCheckpoint, parse_size};
use super::role::origin_hash;
use crate::log::{SignedCheckpoint, Snapshot};
use crate::note::{self, CosignatureVerifier, Signature, Verifier, VerifierKey, cosigned_at};
use crate::source::SourceUrl;
use crate::store::StoreError;
use crate::tlog::{
    Checkpoint, ConsistencyProof, Origin, TreeHead, TreeSize, consistency_proof_indexes, prove_consistency,
};
use crate::upstream::{FetchError, HttpAnswer, HttpClient};

/// How often a witness may name another size in one attempt. Once is what an honest one does; twice, when two of our processes take turns.
const MAX_SIZES: usize = 3;
/// Bytes of an answer: a few signature lines, or a sentence.
const MAX_ANSWER_BYTES: u64 = 64 << 10;
/// Bytes of a checkpoint that a witness shows.
const MAX_CHECKPOINT_BYTES: u64 = 256 << 10;
/// A witness whose clock is ahead by more than this gives cosignatures that verifiers may refuse.
const MAX_AHEAD_SECONDS: u64 = 300;

/// A witness that the log asks.
#[derive(Clone, Debug)]
pub struct AskedWitness {
    /// What the configuration calls it.
    pub name: String,
    /// Its submission prefix; also its monitoring prefix.
    pub url: SourceUrl,
    /// Under which its cosignatures verify.
    pub key: CosignatureVerifier,
}

/// Why a witness has not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It says no: it does not know the log (404) or its key (403), is busy (503), or does not understand (400).
    #[error("it answered {status}{said}")]
    Refused {
        /// The status.
        status: u16,
        /// What it said, for people.
        said: String,
        /// How long it wants to be left alone.
        retry_after: Option<std::time::Duration>,
    },
    /// It says that it has cosigned, and what it sends is no cosignature of this checkpoint by its key.
    #[error("what it sent is no cosignature of this checkpoint: {why}")]
    Lie {
        /// What is wrong.
        why: String,
    },
    /// It says that it has cosigned a larger tree of this log.
    #[error(
        "it says that it has cosigned a tree of {} of this log, which is larger than any that this log has",
        .size.records()
    )]
    Ahead {
        /// The size.
        size: TreeSize,
    },
    /// It does not find that this checkpoint grew out of what it has cosigned.
    #[error("it has cosigned another history of this log (status {status})")]
    Contradicted {
        /// 409 or 422.
        status: u16,
    },
    /// The proof could not be made.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AskedWitness {
    /// Asks for a cosignature of the head of a snapshot. `known` is the size that the witness has cosigned, as far as we know, and is
    /// corrected by its answers.
    pub(super) async fn ask(
        &self,
        client: &HttpClient,
        (snapshot, checkpoint): (&Snapshot, &SignedCheckpoint),
        known: &mut TreeSize,
        deadline: Instant,
    ) -> Result<Signature, AskError> {
        let size = checkpoint.tree.size;
        *known = (*known).min(size);
        for _ in 0..MAX_SIZES {
            let proof = proof(snapshot, *known, size)?;
            let request = AddCheckpoint { old: *known, proof, checkpoint: checkpoint.note.clone() };
            let url = self.url.join("add-checkpoint").map_err(|error| self.bad_url(&error.to_string()))?;
            let body = request.format().into_bytes().into();
            let posted = client.post(&url, body, MAX_ANSWER_BYTES, deadline).await?;
            match size_of_conflict(&posted) {
                Some(theirs) if theirs > size => return Err(AskError::Ahead { size: theirs }),
                Some(theirs) if theirs == *known => return Err(AskError::Contradicted { status: 409 }),
                Some(theirs) => {
                    if theirs < *known {
                        tracing::warn!(
                            witness = self.name,
                            known = known.0,
                            says = theirs.0,
                            "a witness has forgotten what it cosigned: its memory was lost or restored from an older copy"
                        );
                    }
                    *known = theirs;
                }
                None => {
                    let signature = self.judge(&posted, checkpoint, client)?;
                    *known = size;
                    return Ok(signature);
                }
            }
        }
        Err(AskError::Lie { why: "it names another size each time".to_owned() })
    }

    fn bad_url(&self, why: &str) -> AskError {
        AskError::Fetch(FetchError::BadContent { url: self.url.redacted(), why: why.to_owned(), ours: false })
    }

    /// The cosignature in an answer.
    fn judge(
        &self,
        posted: &HttpAnswer,
        checkpoint: &SignedCheckpoint,
        client: &HttpClient,
    ) -> Result<Signature, AskError> {
        let lie = |why: &str| AskError::Lie { why: why.to_owned() };
        match posted.status {
            200 => {}
            status @ (409 | 422) => return Err(AskError::Contradicted { status }),
            status => {
                let said = said(&posted.body);
                return Err(AskError::Refused { status, said, retry_after: posted.retry_after });
            }
        }
        let text = std::str::from_utf8(&posted.body).map_err(|_| lie("it is not UTF-8"))?;
        let mut lines = text.lines().filter_map(Signature::parse_line);
        // Lines of other keys are none of our business.
        let ours =
            |signature: &Signature| signature.key_id == self.key.id() && signature.name == *self.key.name();
        let signature = lines.find(ours).ok_or_else(|| lie("there is no signature line of its key"))?;
        let (signed, _) =
            checkpoint.note.split_once("\n\n").ok_or_else(|| lie("our own note has no text"))?;
        if !self.key.verify(format!("{signed}\n").as_bytes(), &signature.bytes()) {
            return Err(lie("the signature does not verify for it"));
        }
        let now = u64::try_from(client.clock().unix_time().seconds).unwrap_or(0);
        match cosigned_at(&signature) {
            Some(at) if at <= now.saturating_add(MAX_AHEAD_SECONDS) => Ok(signature),
            _ => Err(lie("its time is in the future: the clock of the witness is wrong, or ours")),
        }
    }

    /// What the witness shows as the newest checkpoint of this log that it has cosigned: with the log's own signature, or nothing.
    pub(super) async fn shown_checkpoint(
        &self,
        client: &HttpClient,
        origin: &Origin,
        key: &VerifierKey,
        deadline: Instant,
    ) -> Option<(TreeHead, String)> {
        let url = self.url.join(&format!("{}/checkpoint", origin_hash(origin.as_str()))).ok()?;
        let answer = client.get(&url, MAX_CHECKPOINT_BYTES, deadline).await.ok()?;
        let note = note::open(&answer.body, &[key]).ok()?;
        let checkpoint = Checkpoint::parse(&note.text).ok()?;
        let whole = String::from_utf8(answer.body.to_vec()).ok()?;
        (checkpoint.origin == *origin).then_some((checkpoint.tree, whole))
    }
}

/// The proof that the tree of one size is a prefix of the snapshot's.
fn proof(snapshot: &Snapshot, old: TreeSize, size: TreeSize) -> Result<ConsistencyProof, StoreError> {
    if old.0 == 0 || old == size {
        return Ok(ConsistencyProof::default());
    }
    let indexes = consistency_proof_indexes(size, old).expect("the old size is between zero and the size");
    let hashes = snapshot.hashes(&indexes)?;
    Ok(prove_consistency(size, old, &hashes).expect("as many hashes as were asked for"))
}

/// The size that a 409 names.
fn size_of_conflict(posted: &HttpAnswer) -> Option<TreeSize> {
    let is_size = posted.status == 409 && posted.content_type.as_deref() == Some("text/x.tlog.size");
    let text = std::str::from_utf8(&posted.body).ok().filter(|_| is_size)?;
    parse_size(text.strip_suffix('\n').unwrap_or(text))
}

/// The first words of what a server says, as far as they are plain.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
    let is_plain = !line.is_empty() && line.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    if is_plain { format!(": {line}") } else { String::new() }
}
