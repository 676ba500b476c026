//! The body of `add-checkpoint`:
//!
//! ```text
//! old 20852014
//! PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
//! jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
//!
//! example.com/behind-the-sofa
//! 20852163
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//!
//! — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
//! ```
//!
//! The size of the tree that the sender believes the witness cosigned last, in decimal without leading zeros; the consistency
//! proof from there, at most 63 lines (RFC 6962, section 2.1.2), none where the size is 0; a blank line; the signed checkpoint. Every line
//! ends in a newline. What parses prints back to itself.

use crate::tlog::{ConsistencyProof, Hash, MAX_TREE_SIZE, TreeSize};

/// Lines that a proof may have: as many as a tree of 2^63 records is high.
pub const MAX_PROOF_LINES: usize = 63;

/// Bytes of a request. The proof takes 3 KiB; the rest is for a note with sixteen signatures of the size of the largest that are
/// standardised (16 times 5 KB, in base64), which every witness must take.
pub const MAX_REQUEST_BYTES: usize = 128 << 10;

/// A request, of which nothing is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness cosigned last, as far as the sender knows.
    pub old: TreeSize,
    /// The proof from there.
    pub proof: ConsistencyProof,
    /// The signed note.
    pub checkpoint: String,
}

/// The body is no request. Each variant is the part that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Above [`MAX_REQUEST_BYTES`].
    #[error("the request is longer than {MAX_REQUEST_BYTES} bytes")]
    TooLong,
    /// It is not UTF-8.
    #[error("the request is not UTF-8")]
    Utf8,
    /// The first line is not `old` and a size.
    #[error("the first line is not \"old\", a space and a tree size in decimal without leading zeros")]
    Old,
    /// A line of the proof is no hash.
    #[error("line {line} of the proof is not a hash in base64")]
    Proof {
        /// Which, counted from 1.
        line: usize,
    },
    /// Above [`MAX_PROOF_LINES`].
    #[error("the proof has more than {MAX_PROOF_LINES} lines")]
    TooManyProofLines,
    /// The blank line between proof and checkpoint is missing.
    #[error("there is no blank line before the checkpoint")]
    NoCheckpoint,
}

impl AddCheckpoint {
    /// Takes a body apart.
    pub fn parse(body: &[u8]) -> Result<AddCheckpoint, RequestError> {
        if body.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLong);
        }
        let text = std::str::from_utf8(body).map_err(|_| RequestError::Utf8)?;
        let (first, mut rest) = text.split_once('\n').ok_or(RequestError::Old)?;
        let old = first.strip_prefix("old ").and_then(parse_size).ok_or(RequestError::Old)?;
        let mut proof = Vec::new();
        loop {
            let (line, after) = rest.split_once('\n').ok_or(RequestError::NoCheckpoint)?;
            rest = after;
            if line.is_empty() {
                return Ok(AddCheckpoint {
                    old,
                    proof: ConsistencyProof(proof),
                    checkpoint: rest.to_owned(),
                });
            }
            if proof.len() == MAX_PROOF_LINES {
                return Err(RequestError::TooManyProofLines);
            }
            proof.push(line.parse::<Hash>().map_err(|_| RequestError::Proof { line: proof.len() + 1 })?);
        }
    }

    /// The body.
    pub fn format(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof.0 {
            text += &format!("{hash}\n");
        }
        text.push('\n');
        text += &self.checkpoint;
        text
    }
}

/// A size that prints back to itself.
pub(super) fn parse_size(text: &str) -> Option<TreeSize> {
    let size = TreeSize(text.parse().ok()?);
    (size <= MAX_TREE_SIZE && size.to_string() == text).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=";

    #[test]
    fn requests_print_back() {
        for (text, old, lines) in [
            ("old 0\n\nnote".to_owned(), 0, 0),
            (format!("old 20852014\n{HASH}\n{HASH}\n\na\n\nb\n"), 20_852_014, 2),
            (format!("old 9223372036854775807\n{}\n", format!("{HASH}\n").repeat(63)), i64::MAX as u64, 63),
        ] {
            let request = AddCheckpoint::parse(text.as_bytes()).expect("a request");
            assert_eq!((request.old.0, request.proof.0.len()), (old, lines));
            assert_eq!(request.format(), text);
        }
    }

    #[test]
    fn each_part_is_refused_by_name() {
        use RequestError::*;
        let long = format!("old 0\n\n{}", "x".repeat(MAX_REQUEST_BYTES));
        for (body, want) in [
            ("", Old),
            ("old 0", Old),
            ("old  0\n\n", Old),
            ("old 00\n\n", Old),
            ("old 01\n\n", Old),
            ("old -1\n\n", Old),
            ("old +1\n\n", Old),
            ("old 9223372036854775808\n\n", Old),
            ("old 0 \n\n", Old),
            ("old 0\r\n\n", Old),
            ("OLD 0\n\n", Old),
            ("size 0\n\n", Old),
            ("\nold 0\n\n", Old),
            ("old 0\n", NoCheckpoint),
            ("old 0\nx\n\n", Proof { line: 1 }),
            (&format!("old 0\n{HASH}\n{}\n\n", &HASH[1..]), Proof { line: 2 }),
            (&format!("old 0\n{HASH}\r\n\n"), Proof { line: 1 }),
            (&format!("old 0\n{HASH}\n"), NoCheckpoint),
            (&format!("old 0\n{}\n", format!("{HASH}\n").repeat(64)), TooManyProofLines),
            (&long, TooLong),
        ] {
            assert_eq!(AddCheckpoint::parse(body.as_bytes()), Err(want), "{body:.60?}");
        }
        assert_eq!(AddCheckpoint::parse(b"old 0\n\n\xff"), Err(Utf8));
    }
}
