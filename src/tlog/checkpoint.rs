//! The checkpoint: a tree head that says which log it is of, as specified by [C2SP tlog-checkpoint].
//!
//! ```text
//! example.com/behind-the-sofa
//! 20852163
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//! ```
//!
//! The text of a signed note: the *origin*, which names the log; the size in decimal without sign or leading zeros; the
//! root in base64. *Extension lines* may follow, opaque and never empty; they are kept, since signatures cover them. All
//! Go checksum databases share one origin in the heads that the `go` command reads ([`TREE_HEAD_ORIGIN`]), so a log that
//! witnesses can tell from the others publishes its heads a second time under an origin of its own.
//!
//! ```
//! use tallystick::tlog::Checkpoint;
//!
//! let text = "example.com/log42\n3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
//! let checkpoint = Checkpoint::parse(text)?;
//! assert_eq!((checkpoint.origin.as_str(), checkpoint.tree.size.0), ("example.com/log42", 3));
//! assert_eq!(checkpoint.format(), text);
//! # Ok::<(), tallystick::tlog::CheckpointError>(())
//! ```
//!
//! [C2SP tlog-checkpoint]: https://c2sp.org/tlog-checkpoint
//! [`TREE_HEAD_ORIGIN`]: super::TREE_HEAD_ORIGIN

use std::fmt;
use std::str::FromStr;

use super::head::TreeHead;
use super::number::parse_number;
use super::tree::TreeSize;

/// Bytes that a checkpoint's text may have, as for a tree head: extension lines must end somewhere.
pub const MAX_CHECKPOINT_BYTES: usize = 1_000_000;

/// The first line of a checkpoint: which log it is of. Not empty, one line, no control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin(String);

/// The text is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an origin must be one line, not empty and without control characters")]
pub struct OriginError;

impl Origin {
    /// The line, without its newline.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(line: &str) -> Result<Origin, OriginError> {
        if line.is_empty() || line.bytes().any(|byte| byte < b' ') {
            Err(OriginError)
        } else {
            Ok(Origin(line.to_owned()))
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A tree head with its origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Which log.
    pub origin: Origin,
    /// Size and root.
    pub tree: TreeHead,
    /// The extension lines, each with its newline; usually none.
    extension: String,
}

/// The text is no checkpoint. Each variant is the part that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Above [`MAX_CHECKPOINT_BYTES`].
    #[error("the checkpoint is longer than {MAX_CHECKPOINT_BYTES} bytes")]
    TooLong,
    /// There are not three lines, or the last line is not ended.
    #[error("the checkpoint does not have three lines that end in a newline")]
    Lines,
    /// The first line is empty or has a control character.
    #[error("the first line is not an origin")]
    Origin,
    /// The second line is no size.
    #[error("the second line is not a tree size")]
    Size,
    /// The third line is no hash.
    #[error("the third line is not a root hash in base64")]
    Root,
    /// An extension line is empty or has a control character.
    #[error("an extension line is empty or has a control character")]
    Extension,
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    pub fn new(origin: Origin, tree: TreeHead) -> Checkpoint {
        Checkpoint { origin, tree, extension: String::new() }
    }

    /// The extension lines, without their newlines.
    pub fn extension_lines(&self) -> impl Iterator<Item = &str> {
        self.extension.lines()
    }

    /// The text that is signed.
    pub fn format(&self) -> String {
        format!("{}\n{}\n{}\n{}", self.origin, self.tree.size, self.tree.root, self.extension)
    }

    /// Parses the text of an opened note. What parses prints back to itself.
    pub fn parse(text: &str) -> Result<Checkpoint, CheckpointError> {
        if text.len() > MAX_CHECKPOINT_BYTES {
            return Err(CheckpointError::TooLong);
        }
        let mut lines = text.splitn(4, '\n');
        let (Some(origin), Some(size), Some(root), Some(extension)) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Lines);
        };
        if !text.ends_with('\n') {
            return Err(CheckpointError::Lines);
        }
        let origin = origin.parse().map_err(|_| CheckpointError::Origin)?;
        let size = TreeSize(parse_number(size).ok_or(CheckpointError::Size)?);
        let root = root.parse().map_err(|_| CheckpointError::Root)?;
        // Not str::lines, which would take a carriage return with the newline.
        let wrong = |line: &str| line.is_empty() || line.bytes().any(|byte| byte < b' ');
        if extension.split_terminator('\n').any(wrong) {
            return Err(CheckpointError::Extension);
        }
        Ok(Checkpoint { origin, tree: TreeHead { size, root }, extension: extension.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";

    #[test]
    fn checkpoints_print_back() {
        for (text, extension) in [
            (format!("example.com/behind-the-sofa\n20852163\n{ROOT}\n"), vec![]),
            (format!("go.sum database tree\n0\n{ROOT}\n"), vec![]),
            (format!("with spaces + é\n1\n{ROOT}\nextension 1\n \n"), vec!["extension 1", " "]),
        ] {
            let checkpoint = Checkpoint::parse(&text).expect("a checkpoint");
            assert_eq!(checkpoint.format(), text);
            assert_eq!(checkpoint.extension_lines().collect::<Vec<_>>(), extension);
        }
    }

    #[test]
    fn each_part_is_refused_by_name() {
        use CheckpointError::*;
        for (text, want) in [
            (String::new(), Lines),
            (format!("o\n1\n{ROOT}"), Lines),
            (format!("o\n1\n{ROOT}\nextension"), Lines),
            (format!("\n1\n{ROOT}\n"), Origin),
            (format!("o\r\n1\n{ROOT}\n"), Origin),
            (format!("o\n\n{ROOT}\n"), Size),
            (format!("o\n01\n{ROOT}\n"), Size),
            (format!("o\n+1\n{ROOT}\n"), Size),
            (format!("o\n-1\n{ROOT}\n"), Size),
            (format!("o\n9223372036854775808\n{ROOT}\n"), Size),
            ("o\n1\n\n".into(), Root),
            (format!("o\n1\n{ROOT}\r\n"), Root),
            (format!("o\n1\n{}\n", &ROOT[4..]), Root),
            (format!("o\n1\n{ROOT}\n\n"), Extension),
            (format!("o\n1\n{ROOT}\na\n\nb\n"), Extension),
            (format!("o\n1\n{ROOT}\na\r\n"), Extension),
            (format!("o\n1\n{ROOT}\n{}\n", "x".repeat(MAX_CHECKPOINT_BYTES)), TooLong),
        ] {
            assert_eq!(Checkpoint::parse(&text), Err(want), "{text:.100?}");
        }
    }
}
