//! A static checksum database in files, whole or as a delta: what is exported and imported.
//!
//! ```text
//! latest                     the newest head, a signed note; written last
//! tile/8/0/000 …             every hash tile of every level, with the partial ones of the newest
//!                            head (`.p/W`)
//! tile/8/data/000 …          every record, 256 a file, each followed by a blank line
//! delta                      in a delta only: from which head it goes on, and the proof of that
//! ```
//!
//! Any web server can serve such a directory to whoever reads tiles; every byte of it follows from
//! the signed head. An archive is the same files in the same order in a ustar stream, compressed
//! with zstd.
//!
//! A delta has the tiles that are new since a tree of some size, and those on the right edge of
//! that tree, so that whoever has this tree, or a larger one of the same log, can go on with no
//! other file. Its file `delta` is
//!
//! ```text
//! tallystick delta v1
//! log peer.example
//! old 70000 PLCs7VsqgeIhkUjaqYTaLFWu4AAMDUUDZYyO1jJKDRU=
//! new 140000 mYIeQrIz8XB4bgFoc3SSx6sNCGmDSdhcWNMmfLzIsTM=
//! 8b5lNUqwvfTrhSgbnPZfV0XQe7mSC5lPOCh6K6jR4Pk=
//!
//! go.sum database tree
//! 70000
//! …
//! ```
//!
//! size and root of both trees, the hashes of the consistency proof between them (RFC 6962, section
//! 2.1.2), a blank line, and the older head's note when whoever exports has one of exactly this
//! size. Nothing in it is trusted: an import verifies the tiles as those of any source, and finds
//! the same trees.

pub(super) mod tar;

use std::io;
use std::path::PathBuf;

use crate::store::StoreError;
use crate::tlog::{
    ConsistencyProof, Hash, ProofError, Tile, TileLevel, TilePathError, TreeHead, TreeSize,
    verify_consistency,
};

/// The file of the newest head.
pub(super) const LATEST: &str = "latest";
/// The file that makes a delta of a directory.
pub(super) const DELTA: &str = "delta";
/// x/mod's limit for a note, twice, leaves room for the proof.
pub(super) const MAX_DELTA_BYTES: u64 = 2_000_000;
/// The first line.
const DELTA_VERSION: &str = "tallystick delta v1";
/// A consistency proof has at most one hash a level, and one more.
const MAX_PROOF_HASHES: usize = 65;

/// The content of the file `delta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The log's name.
    pub log: String,
    /// The tree that it goes on from.
    pub old: TreeHead,
    /// The tree that it goes to.
    pub new: TreeHead,
    /// Proves that the older tree is the beginning of the newer one.
    pub proof: ConsistencyProof,
    /// The older tree's note, if it is known.
    pub old_note: Option<String>,
}

/// Why a file `delta` is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// Not what the layout says.
    #[error("malformed delta: {why}")]
    Malformed {
        /// What is wrong.
        why: &'static str,
    },
    /// The proof does not connect its two trees.
    #[error("malformed delta: from {old} to {new}: {source}")]
    Proof {
        /// The older size.
        old: TreeSize,
        /// The newer size.
        new: TreeSize,
        /// What the proof lacks.
        source: ProofError,
    },
}

impl Delta {
    /// Formats the text of the file.
    pub fn format(&self) -> String {
        let Delta { log, old, new, proof, old_note } = self;
        let mut text = format!("{DELTA_VERSION}\nlog {log}\n");
        for (word, tree) in [("old", old), ("new", new)] {
            text += &format!("{word} {} {}\n", tree.size, tree.root);
        }
        for hash in &proof.0 {
            text += &format!("{hash}\n");
        }
        text.push('\n');
        text += old_note.as_deref().unwrap_or_default();
        text
    }

    /// Parses the text of a file, and verifies the proof in it. The roots and the note may still be
    /// made up.
    pub fn parse(text: &str) -> Result<Delta, DeltaError> {
        let malformed = |why| DeltaError::Malformed { why };
        let (head, note) = text.split_once("\n\n").ok_or_else(|| malformed("no blank line"))?;
        let mut lines = head.lines();
        if lines.next() != Some(DELTA_VERSION) {
            return Err(malformed("it does not begin with its version"));
        }
        let log =
            lines.next().and_then(|line| line.strip_prefix("log ")).ok_or_else(|| malformed("no log"))?;
        let mut tree = |word: &str| {
            let line = lines.next()?.strip_prefix(word)?.strip_prefix(' ')?;
            let (size, root) = line.split_once(' ')?;
            let number: u64 = size.parse().ok().filter(|number: &u64| number.to_string() == size)?;
            Some(TreeHead { size: TreeSize(number), root: root.parse().ok()? })
        };
        let old = tree("old").ok_or_else(|| malformed("no older tree"))?;
        let new = tree("new").ok_or_else(|| malformed("no newer tree"))?;
        let hashes: Result<Vec<Hash>, _> = lines.map(str::parse).collect();
        let proof = ConsistencyProof(hashes.map_err(|_| malformed("a line of the proof is no hash"))?);
        if proof.0.len() > MAX_PROOF_HASHES || old.size >= new.size || old.size == TreeSize(0) {
            return Err(malformed("not a proof between two trees, a smaller and a larger one"));
        }
        verify_consistency(&proof, new.size, &new.root, old.size, &old.root)
            .map_err(|source| DeltaError::Proof { old: old.size, new: new.size, source })?;
        let old_note = (!note.is_empty()).then(|| note.to_owned());
        Ok(Delta { log: log.to_owned(), old, new, proof, old_note })
    }
}

/// Why files cannot be written, or read, as a static checksum database.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Nothing to export.
    #[error(
        "no signed head of {log} is stored with all its records\n  fix: `tallystick mirror sync {log}` first"
    )]
    NoHead {
        /// The log.
        log: String,
    },
    /// A delta from a size that is not below the newest.
    #[error(
        "a delta goes on from a size below that of the newest head, {newest}, and above 0; {from} is not"
    )]
    NoDelta {
        /// The size asked for.
        from: TreeSize,
        /// The size of the newest head.
        newest: TreeSize,
    },
    /// The target holds something else.
    #[error("{} {why}\n  fix: name a directory that is new or empty, or one that holds an earlier export of this log", path.display())]
    Occupied {
        /// Where.
        path: PathBuf,
        /// What is there.
        why: String,
    },
    /// The caller has ended it.
    #[error("it was ended before it was done; what is written does not look whole")]
    Stopped,
    /// Something in an archive that does not belong there.
    #[error("{}: {why}", path.display())]
    Hostile {
        /// The archive.
        path: PathBuf,
        /// What is in it.
        why: String,
    },
    /// The delta begins beyond what is stored.
    #[error(
        "this is a delta from {} on, and only {} stored here\n  fix: import a whole export, or a delta from {have} or less, first",
        .from.records(), if .have.0 == 1 { "1 is".to_owned() } else { format!("{} are", .have) }
    )]
    Gap {
        /// Where the delta begins.
        from: TreeSize,
        /// What is stored.
        have: TreeSize,
    },
    /// The delta is one of another log.
    #[error("this is a delta of {found}, not of {log}")]
    OtherLog {
        /// The log that is imported.
        log: String,
        /// The delta's.
        found: String,
    },
    /// The file `delta` is malformed.
    #[error(transparent)]
    Delta(#[from] DeltaError),
    /// What is stored does not lead to its signed head.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file system.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// For `map_err`: names the file at which it happened.
pub(super) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> BundleError {
    let path = path.into();
    move |source| BundleError::File { path, source }
}

/// A name in an archive that belongs to a static checksum database.
pub(super) enum Name {
    Latest,
    Delta,
    Tile(Tile),
}

impl Name {
    /// Returns what a path names; none for files that others put beside the database.
    pub(super) fn of(path: &str) -> Result<Option<Name>, TilePathError> {
        match path {
            LATEST => Ok(Some(Name::Latest)),
            DELTA => Ok(Some(Name::Delta)),
            tile if tile.starts_with("tile/8/") => Tile::parse(tile).map(Name::Tile).map(Some),
            _ => Ok(None),
        }
    }

    /// Returns the largest size of an honest file.
    pub(super) fn max_bytes(&self) -> u64 {
        match self {
            Name::Latest => 1_000_000,
            Name::Delta => MAX_DELTA_BYTES,
            Name::Tile(Tile { level: TileLevel::Hash(_), width, .. }) => u64::from(*width) * 32,
            Name::Tile(_) => 4 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_what_the_layout_says_or_none() {
        // RFC 6962, section 2.1.2: that the first of two leaves is the beginning of both, the
        // second one proves.
        let [first, second] = [b"a\n", b"b\n"].map(|text| Hash::of_record(text));
        let delta = Delta {
            log: "peer.example".to_owned(),
            old: TreeHead { size: TreeSize(1), root: first },
            new: TreeHead { size: TreeSize(2), root: Hash::of_node(&first, &second) },
            proof: ConsistencyProof(vec![second]),
            old_note: Some("go.sum database tree\n1\n".to_owned()),
        };
        let text = delta.format();
        assert_eq!(Delta::parse(&text).as_ref(), Ok(&delta));
        let silent = Delta { old_note: None, ..delta.clone() };
        assert_eq!(Delta::parse(&silent.format()), Ok(silent));
        for (from, to) in [
            ("delta v1", "delta v2"),
            ("log ", "lag "),
            ("old 1", "old 0"),
            ("old 1", "old 01"),
            ("old 1", "old 2"),
            ("new 2", "new 1"),
            ("new 2", "new 3"),
            (&first.to_string(), &second.to_string()),
            ("\n\n", "\nno hash\n\n"),
            ("\n\n", "\n"),
            ("tallystick", ""),
        ] {
            let wrong = text.replacen(from, to, 1);
            assert!(Delta::parse(&wrong).is_err(), "{from} {to}: {wrong}");
        }
        let long = text.replacen("\n\n", &format!("\n{}\n", format!("{second}\n").repeat(66)), 1);
        assert!(Delta::parse(&long).is_err());
    }
}
