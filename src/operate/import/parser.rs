//! The parser of a record stream: the two go.sum lines of one module version after the other, as
//! data tiles hold them.
//!
//! ```text
//! rsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=
//! rsc.io/quote v1.5.2/go.mod h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=
//!
//! rsc.io/sampler v1.3.0 h1:7uVkIFmeBqHfdjD+gZwtXXI+RODJ2Wc4O7MPEh/QiW4=
//! rsc.io/sampler v1.3.0/go.mod h1:T1hPZKmBbMNahiBKFy5HrXp6adAjACjK9JXDnKaTXpA=
//! ```
//!
//! Blank lines may stand between records, not within one. Every line ends in a newline, also the
//! last: a stream without it was cut.

use std::sync::Arc;

use bytes::{Buf, BytesMut};

use super::event::MalformedLine;
use crate::gosum::{LineKind, ModuleLines, NumberedLine, parse_go_sum};
use crate::log::Candidate;
use crate::store::Evidence;

/// The longest text of a record: twice the longest path and version with a hash, some 2,700 bytes.
const MAX_RECORD_BYTES: usize = 4 << 10;

/// A record of the stream, hashed.
pub struct TrustedRecord {
    /// What may enter.
    pub(super) candidate: Candidate,
    /// The number of its first line in the stream, from 1.
    pub line: u64,
    /// Bytes of the stream up to its end.
    pub end: u64,
}

/// Takes a stream apart as it comes.
pub struct RecordParser {
    evidence: Arc<Evidence>,
    buffer: BytesMut,
    /// Lines and bytes before the buffer.
    lines: u64,
    bytes: u64,
}

impl RecordParser {
    /// A parser whose records have this evidence.
    pub fn new(evidence: Arc<Evidence>) -> RecordParser {
        RecordParser { evidence, buffer: BytesMut::new(), lines: 0, bytes: 0 }
    }

    /// Takes the next piece of the stream, and appends the records that it completes. After an
    /// error, `records` has all those before it.
    pub fn feed(&mut self, piece: &[u8], records: &mut Vec<TrustedRecord>) -> Result<(), MalformedLine> {
        self.buffer.extend_from_slice(piece);
        loop {
            let blank = self.buffer.iter().take_while(|byte| **byte == b'\n').count();
            self.advance(blank, blank as u64);
            let end_of_line = |from: usize| {
                let found = self.buffer[from..].iter().position(|byte| *byte == b'\n');
                found.map(|at| from + at + 1)
            };
            match end_of_line(0).and_then(end_of_line) {
                Some(end) => {
                    let lines = self.parse(end)?;
                    let line = self.lines + 1;
                    self.advance(end, 2);
                    let candidate = Candidate::new(lines, self.evidence.clone());
                    records.push(TrustedRecord { candidate, line, end: self.bytes });
                }
                None if self.buffer.len() > MAX_RECORD_BYTES => {
                    return Err(self.malformed(format!("a record has more than {MAX_RECORD_BYTES} bytes")));
                }
                None => return Ok(()),
            }
        }
    }

    /// Says that the stream is over.
    pub fn end(&self) -> Result<(), MalformedLine> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        Err(self.malformed("the stream ends within a record".to_owned()))
    }

    fn parse(&self, end: usize) -> Result<ModuleLines, MalformedLine> {
        if end > MAX_RECORD_BYTES {
            return Err(self.malformed(format!("a record has more than {MAX_RECORD_BYTES} bytes")));
        }
        let text = std::str::from_utf8(&self.buffer[..end]);
        let text = text.map_err(|_| self.malformed("it is not UTF-8".to_owned()))?;
        ModuleLines::parse(text).map_err(|error| {
            let mut why = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                why += &format!(": {source}");
            }
            let first = text.split('\n').next().unwrap_or_default();
            let is_second = parse_go_sum(first).is_ok_and(|file| match &*file.lines {
                [NumberedLine { line, .. }] => line.kind == LineKind::Zip && line.to_string() == first,
                _ => false,
            });
            MalformedLine { line: self.lines + 1 + u64::from(is_second), why }
        })
    }

    fn advance(&mut self, bytes: usize, lines: u64) {
        self.buffer.advance(bytes);
        self.bytes += bytes as u64;
        self.lines += lines;
    }

    fn malformed(&self, why: String) -> MalformedLine {
        MalformedLine { line: self.lines + 1, why }
    }
}
