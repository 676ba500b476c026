//! The proof of one record, whole, in a file that is verified with no log at hand, as specified by [C2SP tlog-proof].
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra cnNjLmlvL3F1b3RlIHYxLjUuMiBoMTp3NWZj…
//! index 73894
//! gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
//! B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=
//!
//! example.com/fancylog
//! 109482
//! sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=
//!
//! — example.com/fancylog hI2DJw…1roloI=
//! — witness1.example mJirIklj…qY9v2B/5bg==
//! ```
//!
//! The record's number, the hashes from its sibling up, a blank line, and the signed checkpoint as it is. `extra` is there
//! only where something was given with the proof: opaque, in base64, and **not authenticated** by anything in this file.
//! What parses prints back to itself.
//!
//! The signatures of the checkpoint are none of this module's business; `tallystick::proof` verifies all of it.
//!
//! [C2SP tlog-proof]: https://c2sp.org/tlog-proof

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::number::parse_number;
use super::proof::InclusionProof;
use super::tree::RecordId;

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The suffix of such files, with its dot.
pub const TLOG_PROOF_SUFFIX: &str = ".tlog-proof";

/// Bytes of a file: a checkpoint with its signatures, of which a hundred of the largest kind have 350 KB, and a record.
pub const MAX_TLOG_PROOF_BYTES: usize = 1 << 20;

/// Hashes of a proof: a tree of 2^63 records is 63 levels high.
const MAX_HASHES: usize = 63;

/// A file that proves one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlogProof {
    /// What was given with the proof. Nothing in the file vouches for it.
    pub extra: Option<Vec<u8>>,
    /// The record's number.
    pub index: RecordId,
    /// The hashes from the record's sibling up.
    pub proof: InclusionProof,
    /// The signed checkpoint, byte for byte, not verified.
    pub checkpoint: String,
}

/// The bytes are no such file. Each variant is the part that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// Above [`MAX_TLOG_PROOF_BYTES`].
    #[error("the file is longer than {MAX_TLOG_PROOF_BYTES} bytes")]
    TooLong,
    /// The first line is another: the file is something else.
    #[error("the first line is not {HEADER:?}: this is no proof file")]
    Header,
    /// Not UTF-8.
    #[error("the file is not UTF-8")]
    NotUtf8,
    /// The extra line is not base64.
    #[error("the extra line is not base64")]
    Extra,
    /// There is no index line, or its number is not one.
    #[error("there is no line \"index N\" with the record's number")]
    Index,
    /// A line of the proof is no hash.
    #[error("line {line} is not a hash in base64")]
    Hash {
        /// Which, from 1.
        line: usize,
    },
    /// More hashes than any tree is high.
    #[error("the proof has more than {MAX_HASHES} hashes")]
    TooManyHashes,
    /// No blank line with a checkpoint after it.
    #[error("no checkpoint follows the proof")]
    NoCheckpoint,
}

impl TlogProof {
    /// The file.
    pub fn format(&self) -> String {
        let mut text = format!("{HEADER}\n");
        if let Some(extra) = &self.extra {
            text += &format!("extra {}\n", STANDARD.encode(extra));
        }
        text += &format!("index {}\n", self.index);
        for hash in &self.proof.0 {
            text += &format!("{hash}\n");
        }
        text.push('\n');
        text += &self.checkpoint;
        text
    }

    /// Parses a file. Nothing of what it says is verified.
    pub fn parse(file: &[u8]) -> Result<TlogProof, TlogProofError> {
        if file.len() > MAX_TLOG_PROOF_BYTES {
            return Err(TlogProofError::TooLong);
        }
        let first = file.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if first != HEADER.as_bytes() {
            return Err(TlogProofError::Header);
        }
        let text = std::str::from_utf8(file).map_err(|_| TlogProofError::NotUtf8)?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(TlogProofError::NoCheckpoint)?;
        if checkpoint.is_empty() {
            return Err(TlogProofError::NoCheckpoint);
        }
        // Not str::lines, which would take a carriage return with the newline.
        let mut lines = head.split('\n').enumerate().skip(1).peekable();
        let extra = match lines.next_if(|(_, line)| line.starts_with("extra ")) {
            Some((_, line)) => {
                Some(STANDARD.decode(&line["extra ".len()..]).map_err(|_| TlogProofError::Extra)?)
            }
            None => None,
        };
        let index = lines.next().and_then(|(_, line)| parse_number(line.strip_prefix("index ")?));
        let index = RecordId(index.ok_or(TlogProofError::Index)?);
        let mut proof = Vec::new();
        for (position, line) in lines {
            proof.push(line.parse().map_err(|_| TlogProofError::Hash { line: position + 1 })?);
            if proof.len() > MAX_HASHES {
                return Err(TlogProofError::TooManyHashes);
            }
        }
        Ok(TlogProof { extra, index, proof: InclusionProof(proof), checkpoint: checkpoint.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::Hash;

    const HASH: &str = "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=";

    fn file(lines: &str) -> String {
        format!("{HEADER}\n{lines}\no\n1\n{HASH}\n\n— o AAAAAAA=\n")
    }

    #[test]
    fn files_print_back() {
        for (lines, extra, index, hashes) in [
            ("index 0\n".to_owned(), None, 0, 0),
            (format!("extra YWdl\nindex 73894\n{HASH}\n{HASH}\n"), Some(&b"age"[..]), 73_894, 2),
            ("extra \nindex 9223372036854775807\n".to_owned(), Some(&b""[..]), i64::MAX as u64, 0),
            (format!("index 1\n{}", format!("{HASH}\n").repeat(63)), None, 1, 63),
        ] {
            let text = file(&lines);
            let parsed = TlogProof::parse(text.as_bytes()).expect("a proof file");
            assert_eq!((parsed.extra.as_deref(), parsed.index.0), (extra, index));
            assert_eq!(parsed.proof.0, vec![HASH.parse::<Hash>().expect("a hash"); hashes]);
            assert!(parsed.checkpoint.starts_with("o\n1\n"), "{:?}", parsed.checkpoint);
            assert_eq!(parsed.format(), text);
        }
    }

    #[test]
    fn each_part_is_refused_by_name() {
        use TlogProofError::*;
        let hashes = |count: usize| format!("index 1\n{}", format!("{HASH}\n").repeat(count));
        for (text, want) in [
            (String::new(), Header),
            ("c2sp.org/tlog-proof@v2\nindex 1\n\no\n".into(), Header),
            (format!(" {}", file("index 1\n")), Header),
            (file("").replacen('\n', "\r\n", 1), Header),
            (format!("{HEADER}\nindex 1\n"), NoCheckpoint),
            (format!("{HEADER}\nindex 1\n\n"), NoCheckpoint),
            (file("index 1\n").replace("\n\n", "\n"), NoCheckpoint),
            (file("extra YWd\nindex 1\n"), Extra),
            (file("extra YWdl \nindex 1\n"), Extra),
            (file("extra\nindex 1\n"), Index),
            (file("index\n"), Index),
            (file("index 01\n"), Index),
            (file("index -1\n"), Index),
            (file("index +1\n"), Index),
            (file("index 1 \n"), Index),
            (file("index 9223372036854775808\n"), Index),
            (file("index 1\nextra YWdl\n"), Hash { line: 3 }),
            (file("extra YWdl\nextra YWdl\nindex 1\n"), Index),
            (file(&format!("index 1\n{HASH}\r\n")), Hash { line: 3 }),
            (file(&format!("extra YWdl\nindex 1\n{HASH}\n{}\n", &HASH[4..])), Hash { line: 5 }),
            (file(&hashes(64)), TooManyHashes),
            (file(&format!("extra {}\nindex 1\n", "YWdl".repeat(1 << 18))), TooLong),
        ] {
            assert_eq!(TlogProof::parse(text.as_bytes()), Err(want), "{text:.200?}");
        }
        assert_eq!(TlogProof::parse(&[HEADER.as_bytes(), b"\nindex 1\n\n\xff"].concat()), Err(NotUtf8));
    }
}
