//! A signed contradiction: two heads of one log that no single log can have.
//!
//! Unsigned bad bytes prove nothing about a log. This does: both notes carry the log's signature,
//! and the proof shows that the newer tree's first records have another root than the older note
//! says. The text is that of the `go` command's own security error, so that people recognize it,
//! with one tab before each line of the notes and of the proof; it holds all that a verifier needs.
//!
//! ```text
//! SECURITY ERROR
//! go.sum database server misbehavior detected!
//!
//! old database:
//!     go.sum database tree
//!     1
//!     pM9vICzx+FkCeR+Npo8WxsuyLNzKqlMExVkt8FAGYWM=
//!
//!     — localhost.localdev/sumdb AAAPEbRz…
//!
//! new database:
//!     go.sum database tree
//!     …
//!
//! proof of misbehavior:
//!     T7i+H/8ER4nXOiw4Bj0koZOkGjkxoNvlI34GpvhHhQg=
//!     Nsuejv72de9hYNM5bqFv8rv3gm3zJQwv/DT/WNbLDLA=
//! ```
//!
//! The first hash of the proof is the root of the newer tree's first records, as many as the older
//! tree has; the others are the consistency proof between that root and the newer one
//! ([`crate::tlog::verify_consistency`], `tlog.CheckTree` in Go). With two roots of one size the
//! first hash is the newer root and no others follow.
//!
//! The same text lies in a file for people and other programs ([`write_evidence`]).

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::note::{self, VerifierKey};
use crate::tlog::{ConsistencyProof, Hash, TREE_HEAD_ORIGIN, TreeHead, verify_consistency};

const TITLE: &str = "SECURITY ERROR\ngo.sum database server misbehavior detected!\n\n";
const OLDER: &str = "old database:\n";
const NEWER: &str = "new database:\n";
const PROOF: &str = "proof of misbehavior:\n";
/// Files of evidence with one number. A database is not made anew more often.
const MAX_FILES: usize = 1000;

/// Two signed heads that contradict each other, and the proof that they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misbehavior {
    /// The log's name.
    pub log: String,
    /// The signed note of the smaller tree, byte for byte.
    pub older: String,
    /// The signed note of the larger tree, or of the same size.
    pub newer: String,
    /// The root of the newer tree's first records, as many as the older tree has.
    pub root_in_newer: Hash,
    /// The proof that this root is a prefix of the newer tree.
    pub proof: ConsistencyProof,
    /// When it was seen.
    pub seen_at: Timestamp,
}

/// A text does not show what it claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Not the text of a [`Misbehavior`].
    #[error("not a report of misbehaviour")]
    Form,
    /// A note is not signed by the key.
    #[error("the {which} note: {source}")]
    Note {
        /// `old` or `new`.
        which: &'static str,
        /// Why not.
        source: note::OpenError,
    },
    /// A signed note is no tree head.
    #[error("the {which} note is not a tree head")]
    Head {
        /// `old` or `new`.
        which: &'static str,
    },
    /// The proof does not lead to the newer root.
    #[error("the proof does not lead to the new root")]
    Proof,
    /// The two heads agree: nothing is wrong.
    #[error("the two heads are consistent")]
    Consistent,
}

impl Misbehavior {
    /// The evidence as text, for people and for other verifiers.
    pub fn to_text(&self) -> String {
        let indent = |text: &str| text.replace('\n', "\n\t");
        let (older, newer) = (indent(&self.older), indent(&self.newer));
        let mut text = format!("{TITLE}{OLDER}\t{older}\n{NEWER}\t{newer}\n{PROOF}\t{}", self.root_in_newer);
        self.proof.0.iter().for_each(|hash| text.push_str(&format!("\n\t{hash}")));
        text.push('\n');
        text
    }

    /// Reads the evidence back. What it claims is not verified: see [`Misbehavior::verify`].
    pub fn parse(log: &str, text: &str, seen_at: Timestamp) -> Result<Misbehavior, EvidenceError> {
        let parts = || {
            let rest = text.strip_prefix(TITLE)?.strip_prefix(OLDER)?;
            let (older, rest) = rest.split_once(&format!("\n{NEWER}"))?;
            let (newer, proof) = rest.split_once(&format!("\n{PROOF}"))?;
            let unindent = |text: &str| Some(text.strip_prefix('\t')?.replace("\n\t", "\n"));
            let proof = unindent(proof.strip_suffix('\n')?)?;
            let mut hashes = proof.split('\n').map(str::parse);
            let root_in_newer = hashes.next()?.ok()?;
            let proof = ConsistencyProof(hashes.collect::<Result<_, _>>().ok()?);
            let (older, newer) = (unindent(older)?, unindent(newer)?);
            Some(Misbehavior { log: log.to_owned(), older, newer, root_in_newer, proof, seen_at })
        };
        parts().filter(|parsed| parsed.to_text() == text).ok_or(EvidenceError::Form)
    }

    /// Whether this convicts the holder of the key: needs nothing but what is in it.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), EvidenceError> {
        let (older, newer) = (open(&self.older, "old", key)?, open(&self.newer, "new", key)?);
        if older.size == newer.size {
            let leads = self.proof.0.is_empty() && self.root_in_newer == newer.root;
            leads.then_some(()).ok_or(EvidenceError::Proof)?;
        } else {
            verify_consistency(&self.proof, newer.size, &newer.root, older.size, &self.root_in_newer)
                .map_err(|_| EvidenceError::Proof)?;
        }
        if older.root == self.root_in_newer { Err(EvidenceError::Consistent) } else { Ok(()) }
    }
}

fn open(text: &str, which: &'static str, key: &VerifierKey) -> Result<TreeHead, EvidenceError> {
    let note = note::open(text.as_bytes(), &[key]).map_err(|source| EvidenceError::Note { which, source })?;
    head_of(&note.text, key.name().as_str()).ok_or(EvidenceError::Head { which })
}

/// Returns the tree head that a note's text says: `go.sum database tree`, or the same as a
/// checkpoint (C2SP tlog-checkpoint), whose first line is the log's name. An empty tree has the
/// root of the empty tree.
pub(crate) fn head_of(text: &str, log: &str) -> Option<TreeHead> {
    let tree = match text.strip_prefix(log).filter(|rest| rest.starts_with('\n')) {
        Some(rest) => TreeHead::parse(&format!("{TREE_HEAD_ORIGIN}{rest}")),
        None => TreeHead::parse(text),
    };
    tree.ok().filter(|tree| tree.size.0 > 0 || tree.root == Hash::EMPTY_TREE)
}

impl fmt::Display for Misbehavior {
    /// One sentence; the evidence is [`Misbehavior::to_text`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "checksum database {} has signed two tree heads that contradict each other: nothing it says is believed since {}",
            self.log, self.seen_at
        )
    }
}

impl std::error::Error for Misbehavior {}

/// Writes evidence to a file, whole or not at all, and returns where it is. Never replaces a file
/// with another text: then the next is `….incident-1-2.txt`.
pub(crate) fn write_evidence(file: &Path, text: &str) -> io::Result<PathBuf> {
    let directory = file.parent().unwrap_or(Path::new("."));
    for number in 1..=MAX_FILES {
        let path = numbered(file, number);
        match fs::read(&path) {
            Ok(there) if there == text.as_bytes() => return Ok(path),
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(&path) {
            Ok(_) => {
                fs::File::open(directory)?.sync_all()?;
                return Ok(path);
            }
            // Another process was faster; what it wrote is looked at next.
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::read(&path)? == text.as_bytes() {
                    return Ok(path);
                }
            }
            Err(error) => return Err(error.error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("there are {MAX_FILES} of this number: move some away"),
    ))
}

/// `x.incident-1.txt`, then `x.incident-1-2.txt`, …
fn numbered(path: &Path, number: usize) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    path.with_file_name(format!("{stem}-{number}.txt"))
}
