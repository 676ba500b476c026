//! The tree head: what a checksum database signs.
//!
//! ```text
//! go.sum database tree
//! 66398721
//! 5oXTdOltbW8oy+WAHSPYkUE7FskIY/5ZJCYGy+buJ3g=
//! ```
//!
//! Three lines, each with its newline: a first line that all Go logs share, the size in decimal without sign or
//! leading zeros, the root in base64. Further lines are ignored, so that the format can grow. There is no time in it.

use std::fmt;

use super::hash::Hash;
use super::number::parse_number;
use super::tree::TreeSize;

/// The first line of every tree head of a Go checksum database.
pub const TREE_HEAD_ORIGIN: &str = "go.sum database tree";

/// Bytes that a tree head may have, as in x/mod: later lines are ignored, but not without end.
pub const MAX_TREE_HEAD_BYTES: usize = 1_000_000;

/// The size and the root of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TreeHead {
    /// How many records the tree has.
    pub size: TreeSize,
    /// The hash that stands for all of them.
    pub root: Hash,
}

/// The text is no tree head. Each variant is the part that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TreeHeadError {
    /// Above [`MAX_TREE_HEAD_BYTES`].
    #[error("the tree head is longer than {MAX_TREE_HEAD_BYTES} bytes")]
    TooLong,
    /// The first line is another: the note is not about the tree of a checksum database.
    #[error("the first line is not {TREE_HEAD_ORIGIN:?}")]
    Origin,
    /// There are not three lines that end in a newline.
    #[error("the tree head does not have three lines")]
    Lines,
    /// The second line is no size.
    #[error("the second line is not a tree size")]
    Size,
    /// The third line is no hash.
    #[error("the third line is not a root hash in base64")]
    Root,
}

impl TreeHead {
    /// The text that is signed.
    pub fn format(&self) -> String {
        format!("{TREE_HEAD_ORIGIN}\n{}\n{}\n", self.size, self.root)
    }

    /// Parses the text of an opened note.
    pub fn parse(text: &str) -> Result<TreeHead, TreeHeadError> {
        if text.len() > MAX_TREE_HEAD_BYTES {
            return Err(TreeHeadError::TooLong);
        }
        let mut lines = text.splitn(4, '\n');
        if lines.next() != Some(TREE_HEAD_ORIGIN) {
            return Err(TreeHeadError::Origin);
        }
        let (Some(size), Some(root), Some(_)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(TreeHeadError::Lines);
        };
        let size = TreeSize(parse_number(size).ok_or(TreeHeadError::Size)?);
        let root = root.parse().map_err(|_| TreeHeadError::Root)?;
        Ok(TreeHead { size, root })
    }
}

impl fmt::Display for TreeHead {
    /// For people: `tree of size 3 with root …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tree of size {} with root {}", self.size, self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "5oXTdOltbW8oy+WAHSPYkUE7FskIY/5ZJCYGy+buJ3g=";

    #[test]
    fn heads_print_back() {
        let text = format!("go.sum database tree\n66398721\n{ROOT}\n");
        let head = TreeHead::parse(&text).expect("a tree head");
        assert_eq!(head.size, TreeSize(66_398_721));
        assert_eq!(head.format(), text);
        assert_eq!(TreeHead::parse(&format!("{text}later\n\nlines")), Ok(head));
    }

    #[test]
    fn each_part_is_refused_by_name() {
        use TreeHeadError::*;
        for (text, want) in [
            (String::new(), Origin),
            (format!("go.sum database tree v2\n1\n{ROOT}\n"), Origin),
            (format!(" go.sum database tree\n1\n{ROOT}\n"), Origin),
            ("go.sum database tree".into(), Lines),
            (format!("go.sum database tree\n1\n{ROOT}"), Lines),
            (format!("go.sum database tree\n\n{ROOT}\n"), Size),
            (format!("go.sum database tree\n01\n{ROOT}\n"), Size),
            (format!("go.sum database tree\n-1\n{ROOT}\n"), Size),
            (format!("go.sum database tree\n9223372036854775808\n{ROOT}\n"), Size),
            ("go.sum database tree\n1\n\n".into(), Root),
            (format!("go.sum database tree\n1\n{ROOT}\r\n"), Root),
            (format!("go.sum database tree\n1\n{}\n", &ROOT[1..]), Root),
            (format!("go.sum database tree\n1\n{ROOT}\n{}", "x".repeat(MAX_TREE_HEAD_BYTES)), TooLong),
        ] {
            assert_eq!(TreeHead::parse(&text), Err(want), "{text:.100?}");
        }
    }
}
