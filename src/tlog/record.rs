//! Records as they travel.
//!
//! A record's text is the go.sum lines of one module version: valid UTF-8 without control characters other
//! than the newline, no blank line, and a newline at its end. A look-up answers with the record's number before it
//! and a blank line after it; a data tile is the same without the numbers:
//!
//! ```text
//! 942
//! rsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=
//! rsc.io/quote v1.5.2/go.mod h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=
//!
//! ```
//!
//! Record numbers have no sign and no leading zeros, and a text does not begin with a newline; x/mod lets both pass.

use super::number::parse_number;
use super::tree::RecordId;

/// A record is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The first line is no record number.
    #[error("the first line is not a record number")]
    Number,
    /// No blank line ends the record.
    #[error("the record is not followed by a blank line")]
    Unterminated,
    /// The text is not UTF-8.
    #[error("the record is not valid UTF-8")]
    NotUtf8,
    /// The text has a control character other than the newline.
    #[error("the record has a control character")]
    ControlCharacter,
    /// The text has an empty line, perhaps as its first.
    #[error("the record has a blank line")]
    BlankLine,
    /// The text is empty or its last line is not ended.
    #[error("the record does not end in a newline")]
    NoFinalNewline,
}

/// Says what is wrong with a record's text, if anything.
pub fn check_record_text(text: &[u8]) -> Result<(), RecordError> {
    std::str::from_utf8(text).map_err(|_| RecordError::NotUtf8)?;
    let mut last = b'\n';
    for &byte in text {
        if byte < b' ' {
            if byte != b'\n' {
                return Err(RecordError::ControlCharacter);
            }
            if last == b'\n' {
                return Err(RecordError::BlankLine);
            }
        }
        last = byte;
    }
    if text.is_empty() || last != b'\n' { Err(RecordError::NoFinalNewline) } else { Ok(()) }
}

/// May this be the text of a record?
pub fn is_valid_record_text(text: &[u8]) -> bool {
    check_record_text(text).is_ok()
}

/// The record as a look-up answers it: number, text, blank line.
pub fn format_record(id: RecordId, text: &[u8]) -> Result<Vec<u8>, RecordError> {
    check_record_text(text)?;
    let mut message = format!("{id}\n").into_bytes();
    message.reserve_exact(text.len() + 1);
    message.extend_from_slice(text);
    message.push(b'\n');
    Ok(message)
}

/// Parses a record at the start of a message: its number, its text, and what follows its blank line.
pub fn parse_record(message: &[u8]) -> Result<(RecordId, &[u8], &[u8]), RecordError> {
    let end = message.iter().position(|&byte| byte == b'\n').ok_or(RecordError::Number)?;
    let number = std::str::from_utf8(&message[..end]).ok().and_then(parse_number);
    let id = RecordId(number.ok_or(RecordError::Number)?);
    let (text, rest) = split_at_blank_line(&message[end + 1..]);
    let rest = rest.ok_or(RecordError::Unterminated)?;
    check_record_text(text)?;
    Ok((id, text, rest))
}

/// The texts of the records of a data tile. After each comes a blank line; after the last it may be missing.
/// How many there must be, the tile's width says.
pub fn split_data_tile(data: &[u8]) -> Result<Vec<&str>, RecordError> {
    // A mirror does this millions of times: what can be checked of all records at once is.
    let text = std::str::from_utf8(data).map_err(|_| RecordError::NotUtf8)?;
    // No early end and no branch, so that it takes many bytes at a time.
    if data.iter().fold(0, |bad, &byte| bad | u8::from(byte < b' ') & u8::from(byte != b'\n')) != 0 {
        return Err(RecordError::ControlCharacter);
    }
    let mut texts = Vec::new();
    let (mut record, mut line) = (0, 0);
    for end in memchr::memchr_iter(b'\n', data) {
        if end == line {
            if line == record {
                return Err(RecordError::BlankLine);
            }
            texts.push(&text[record..line]);
            record = line + 1;
        }
        line = end + 1;
    }
    if line < text.len() {
        return Err(RecordError::NoFinalNewline);
    }
    if record < line {
        texts.push(&text[record..]);
    }
    Ok(texts)
}

/// What comes before a blank line, with its last newline, and what comes after the blank line, if there is one.
fn split_at_blank_line(data: &[u8]) -> (&[u8], Option<&[u8]>) {
    match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(position) => (&data[..=position], Some(&data[position + 2..])),
        None => (data, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        use RecordError::*;
        for (text, want) in [
            (&b"a\n"[..], Ok(())),
            (b"a\nb\n", Ok(())),
            ("\u{e9}\u{1f600}\u{7f}\u{85}\n".as_bytes(), Ok(())),
            (b"", Err(NoFinalNewline)),
            (b"a", Err(NoFinalNewline)),
            (b"a\nb", Err(NoFinalNewline)),
            (b"\n", Err(BlankLine)),
            (b"\na\n", Err(BlankLine)),
            (b"a\n\n", Err(BlankLine)),
            (b"a\n\nb\n", Err(BlankLine)),
            (b"a\r\n", Err(ControlCharacter)),
            (b"a\tb\n", Err(ControlCharacter)),
            (b"\0\n", Err(ControlCharacter)),
            (b"\x1f\n", Err(ControlCharacter)),
            (b"\xff\n", Err(NotUtf8)),
            (b"\xc3\n", Err(NotUtf8)),
            (b"\xed\xa0\x80\n", Err(NotUtf8)),
        ] {
            assert_eq!(check_record_text(text), want, "{}", text.escape_ascii());
            assert_eq!(is_valid_record_text(text), want.is_ok());
        }
    }

    #[test]
    fn messages() {
        use RecordError::*;
        let parsed = parse_record(b"12\na 1\nb 2\n\nrest\n\n").expect("a record");
        assert_eq!(parsed, (RecordId(12), &b"a 1\nb 2\n"[..], &b"rest\n\n"[..]));
        assert_eq!(format_record(RecordId(12), b"a 1\nb 2\n").as_deref(), Ok(&b"12\na 1\nb 2\n\n"[..]));
        assert_eq!(format_record(RecordId(12), b"a\n\n"), Err(BlankLine));
        for (message, want) in [
            (&b""[..], Number),
            (b"12", Number),
            (b"\na\n\n", Number),
            (b"+1\na\n\n", Number),
            (b"-1\na\n\n", Number),
            (b"01\na\n\n", Number),
            (b"1 \na\n\n", Number),
            (b"\xff\na\n\n", Number),
            (b"9223372036854775808\na\n\n", Number),
            (b"1\n", Unterminated),
            (b"1\na\n", Unterminated),
            (b"1\n\na\n\n", BlankLine),
            (b"1\n\n\na\n\n", BlankLine),
            (b"1\na\r\n\n", ControlCharacter),
            (b"1\n\xff\n\n", NotUtf8),
        ] {
            assert_eq!(parse_record(message), Err(want), "{}", message.escape_ascii());
        }
    }

    #[test]
    fn data_tiles() {
        let (a, b) = ("a\n", "b 1\nb 2\n");
        assert_eq!(split_data_tile(b""), Ok(vec![]));
        assert_eq!(split_data_tile(b"a\n\nb 1\nb 2\n\n"), Ok(vec![a, b]));
        assert_eq!(split_data_tile(b"a\n\nb 1\nb 2\n"), Ok(vec![a, b]));
        assert_eq!(split_data_tile(b"a\n\nb"), Err(RecordError::NoFinalNewline));
        assert_eq!(split_data_tile(b"a\n\n\nb\n\n"), Err(RecordError::BlankLine));
        assert_eq!(split_data_tile(b"\n"), Err(RecordError::BlankLine));
        assert_eq!(split_data_tile(b"a\n\nb\n\n\n"), Err(RecordError::BlankLine));
        assert_eq!(split_data_tile(b"a\n\nb\r\n\n"), Err(RecordError::ControlCharacter));
        assert_eq!(split_data_tile(b"a\n\n\xff\n\n"), Err(RecordError::NotUtf8));
    }
}
