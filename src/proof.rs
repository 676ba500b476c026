//! The proof of a module version: a file that shows that a log holds its two go.sum lines, verified with keys alone.
//!
//! The file is a [`TlogProof`]. Its `extra` is the text of the record, which is the leaf of the tree and therefore proved by
//! the rest of the file:
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64 of "rsc.io/quote v1.5.2 h1:w5fc…\nrsc.io/quote v1.5.2/go.mod h1:LzX7…\n">
//! index 942
//! <the hashes from the record's sibling up>
//!
//! <the signed checkpoint>
//! ```
//!
//! [`verify`] believes nothing in it before these hold, in this order: the checkpoint is signed by a log that the caller
//! trusts, under the origin that it expects of that log; no signature of a known key is bad; the policy, where one is
//! given, is met; the record's hash leads to the checkpoint's root; the record says two lines for one module version.
//!
//! All Go checksum databases sign heads with the origin `go.sum database tree`, whatever their key's name is. So a key is
//! trusted for that origin and for its own name, unless the caller says for which.
//!
//! ```
//! use tallystick::note::{SignerKey, sign};
//! use tallystick::proof::{Rejection, Trust, verify};
//! use tallystick::tlog::{Checkpoint, Hash, InclusionProof, RecordId, TlogProof, TreeHead, TreeSize};
//!
//! let text = "rsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=\n\
//!             rsc.io/quote v1.5.2/go.mod h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=\n";
//! let key = SignerKey::generate("sum.corp.example".parse()?, [7; 32]);
//! // The log has one record, whose hash is the root.
//! let tree = TreeHead { size: TreeSize(1), root: Hash::of_record(text.as_bytes()) };
//! let checkpoint = sign(&Checkpoint::new("sum.corp.example".parse()?, tree).format(), &[&key])?;
//! let (extra, proof) = (Some(text.as_bytes().to_vec()), InclusionProof::default());
//! let file = TlogProof { extra, index: RecordId(0), proof, checkpoint }.format();
//!
//! let proved = verify(file.as_bytes(), &Trust::in_log(key.verifier()))?;
//! assert_eq!(proved.lines.module.to_string(), "rsc.io/quote@v1.5.2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::gosum::{ModuleLines, ModuleLinesError};
use crate::module::ModuleVersion;
use crate::note::{
    self, KeyName, Note, OpenError, Policy, PolicyFailure, Signature, Verifier, VerifierKey, cosigned_at,
};
use crate::tlog::{
    Checkpoint, CheckpointError, Hash, Origin, ProofError, RecordError, RecordId, TREE_HEAD_ORIGIN,
    TlogProof, TlogProofError, check_record_text, verify_inclusion,
};

/// Whom the caller believes.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    logs: Vec<TrustedLog>,
    policy: Option<Policy>,
}

/// A log's key, and the first lines that its checkpoints may have.
#[derive(Clone, Debug)]
struct TrustedLog {
    key: VerifierKey,
    /// `None`: its own name, and that of every Go checksum database.
    origin: Option<Origin>,
}

/// What a file has proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The two lines.
    pub lines: ModuleLines,
    /// The record's number.
    pub record: RecordId,
    /// The log's checkpoint, size and root of which the proof leads to.
    pub checkpoint: Checkpoint,
    /// The name of the key that signed it.
    pub signer: KeyName,
    /// The policy's witnesses that cosigned it.
    pub cosigned: Vec<CosignedBy>,
}

/// A witness that cosigned a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignedBy {
    /// The name of its key.
    pub witness: KeyName,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// Why a file proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It is not of the form.
    #[error(transparent)]
    File(#[from] TlogProofError),
    /// The signatures do not verify, or the checkpoint is no note.
    #[error("the checkpoint: {0}")]
    Note(OpenError),
    /// None of its signatures is by a key that was given.
    #[error(
        "the checkpoint is signed by {signers} and by no key that was given: it is of another log, or of one whose key has changed"
    )]
    UnknownSigners {
        /// Who claims to have signed, as `name+id`; nothing of it is verified.
        signers: String,
    },
    /// It is signed, but what is signed is no checkpoint.
    #[error("what is signed is no checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// A trusted key signed it, but as another log than the one that it is trusted for.
    #[error("the checkpoint's origin is {found:?}, not {wanted}: it is of another log")]
    Origin {
        /// Its first line.
        found: String,
        /// What the first line may be.
        wanted: String,
    },
    /// Witnesses signed it, but no log.
    #[error("the checkpoint is signed by no log that is trusted")]
    NoLog,
    /// The policy is not met.
    #[error(transparent)]
    Policy(#[from] PolicyFailure),
    /// The file does not carry the record.
    #[error("the file has no extra line with the record that it proves")]
    NoRecord,
    /// What it carries is no record.
    #[error("the extra line is no record: {0}")]
    Record(#[from] RecordError),
    /// The record is not in the tree at that place: the record, the number, the proof or the root was changed.
    #[error("the record is not proved: {0}")]
    Inclusion(#[from] ProofError),
    /// The record does not say both lines of one module version.
    #[error("the record is not the two go.sum lines of a module version: {0}")]
    Lines(#[from] ModuleLinesError),
}

impl Trust {
    /// Trust in one log.
    pub fn in_log(key: VerifierKey) -> Trust {
        Trust::default().and_log(key, None)
    }

    /// And in another: for its checkpoints of this origin only, or for those that such a key is for.
    #[must_use]
    pub fn and_log(mut self, key: VerifierKey, origin: Option<Origin>) -> Trust {
        self.logs.push(TrustedLog { key, origin });
        self
    }

    /// And in a policy: each of its logs is trusted for its own name, and its quorum is asked of every checkpoint.
    #[must_use]
    pub fn and_policy(mut self, policy: Policy) -> Trust {
        for key in policy.logs().iter().filter_map(|log| log.key.known()) {
            let origin = key.name().as_str().parse().ok();
            self.logs.push(TrustedLog { key: key.clone(), origin });
        }
        self.policy = Some(policy);
        self
    }

    /// Whether there is any log in it. Without one no file can be verified.
    pub fn has_log(&self) -> bool {
        !self.logs.is_empty()
    }

    /// Each key once: one that is given twice would be ambiguous.
    fn verifiers(&self) -> Vec<&dyn Verifier> {
        let mut verifiers: Vec<&dyn Verifier> = Vec::new();
        for (position, log) in self.logs.iter().enumerate() {
            if !self.logs[..position].iter().any(|earlier| earlier.key == log.key) {
                verifiers.push(&log.key);
            }
        }
        let witnesses = self.policy.iter().flat_map(Policy::witnesses);
        verifiers.extend(witnesses.filter_map(|witness| witness.key.known()).map(|key| key as &dyn Verifier));
        verifiers
    }

    /// The log that signed a note, if it is trusted for this origin.
    fn signer(&self, note: &Note, origin: &Origin) -> Result<KeyName, Rejection> {
        let signed = |log: &&TrustedLog| {
            let by_it = |s: &Signature| s.key_id == log.key.id() && s.name == *log.key.name();
            note.signatures.iter().any(by_it)
        };
        let signers: Vec<&TrustedLog> = self.logs.iter().filter(signed).collect();
        if signers.is_empty() {
            return Err(Rejection::NoLog);
        }
        match signers.iter().find(|log| log.is_for(origin)) {
            Some(log) => Ok(log.key.name().clone()),
            None => {
                let wanted: Vec<String> = signers.iter().map(|log| log.origins()).collect();
                Err(Rejection::Origin { found: origin.to_string(), wanted: wanted.join(" or ") })
            }
        }
    }
}

impl TrustedLog {
    fn is_for(&self, origin: &Origin) -> bool {
        match &self.origin {
            Some(wanted) => wanted == origin,
            None => origin.as_str() == self.key.name().as_str() || origin.as_str() == TREE_HEAD_ORIGIN,
        }
    }

    fn origins(&self) -> String {
        match &self.origin {
            Some(origin) => format!("{:?}", origin.as_str()),
            None => format!("{:?} or {TREE_HEAD_ORIGIN:?}", self.key.name().as_str()),
        }
    }
}

/// Verifies a file. Everything in the result is proved; the file alone is worth nothing.
pub fn verify(file: &[u8], trust: &Trust) -> Result<Proved, Rejection> {
    let TlogProof { extra, index, proof, checkpoint } = TlogProof::parse(file)?;
    let note = note::open(checkpoint.as_bytes(), &trust.verifiers()).map_err(|error| match error {
        OpenError::Unverified { note } => Rejection::UnknownSigners { signers: names(&note.unverified) },
        error => Rejection::Note(error),
    })?;
    let checkpoint = Checkpoint::parse(&note.text)?;
    let signer = trust.signer(&note, &checkpoint.origin)?;
    if let Some(policy) = &trust.policy {
        policy.check_quorum(&note.signatures)?;
    }
    let text = extra.ok_or(Rejection::NoRecord)?;
    check_record_text(&text)?;
    let leaf = Hash::of_record(&text);
    verify_inclusion(&proof, checkpoint.tree.size, &checkpoint.tree.root, index, &leaf)?;
    let text = str::from_utf8(&text).expect("a record's text that was checked is UTF-8");
    let (lines, cosigned) = (lines(text)?, cosigned(trust, &note));
    Ok(Proved { lines, record: index, checkpoint, signer, cosigned })
}

/// The two lines of the module version that the record's first line is about. Some logs' records have further lines.
fn lines(text: &str) -> Result<ModuleLines, ModuleLinesError> {
    let strict = ModuleLines::parse(text);
    let first = || {
        let mut words = text.split(['\n', ' ']);
        let (path, version) = (words.next()?, words.next()?);
        let version = version.strip_suffix("/go.mod").unwrap_or(version);
        ModuleLines::find(text, &ModuleVersion::from_parts(path, version).ok()?)
    };
    strict.or_else(|error| first().ok_or(error))
}

/// The policy's witnesses among the signatures that were verified.
fn cosigned(trust: &Trust, note: &Note) -> Vec<CosignedBy> {
    let witnesses: Vec<_> = trust.policy.iter().flat_map(Policy::witnesses).collect();
    let is_witness = |s: &&Signature| {
        witnesses.iter().any(|witness| witness.key.id() == s.key_id && *witness.key.name() == s.name)
    };
    let time = |s: &Signature| Some(CosignedBy { witness: s.name.clone(), at: cosigned_at(s)? });
    note.signatures.iter().filter(is_witness).filter_map(time).collect()
}

fn names(signatures: &[Signature]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<String> =
        // Of strangers nothing is known: what a terminal would act on is shown as what it is.
        signatures.iter().take(SHOWN).map(|s| format!("{}+{}", s.name.as_str().escape_debug(), s.key_id)).collect();
    if signatures.len() > SHOWN {
        names.push(format!("{} others", signatures.len() - SHOWN));
    }
    names.join(", ")
}
