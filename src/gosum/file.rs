//! go.sum files, read as the `go` command reads them.
//!
//! The rules are those of `readGoSum` in `cmd/go/internal/modfetch` (Go 1.26): lines end in `\n`,
//! words are apart by any white space, blank lines do not count, and a line of another number of
//! words than three stops the command. Nothing else is checked when the file is read. A line that
//! means nothing is therefore harmless to `go`: it never vouches for a download. We read on as
//! well, but we count and name every such line, so that nobody takes it for one that was verified.
//!
//! | in the file | `go` | [`parse_go_sum`] |
//! |---|---|---|
//! | CR LF, no newline at the end, blank lines | reads it | reads it |
//! | not three words: a conflict marker, a cut line | stops | [`GoSumError`] |
//! | UTF-16, a picture, a program | stops, or reads only junk | [`GoSumError`] |
//! | the hash of an empty go.mod | drops the line | [`Oddity::EmptyGoMod`] |
//! | `h2:` and any other kind of hash | never uses the line | [`Oddity::UnknownHash`] |
//! | no module path or version | never looks it up | [`Oddity::NoModule`] |
//! | a byte order mark | takes it for a part of the first path | [`Oddity::ByteOrderMark`] |
//! | `h1:` and then no hash | reports a mismatch once the module is used | [`Oddity::BadHash`] |

use super::{GO_MOD, GoSumLine, LineKind};
use crate::dirhash::H1Error;
use crate::module::{ModuleError, ModuleVersion};

/// The hash of an empty go.mod. Old `go` commands wrote it for what was no module; they all ignore
/// such lines since.
const EMPTY_GO_MOD: &str = "h1:G7mAYYxgmS0lVkHyy2hEOLQCFB0DlQFTMLWggykrydY=";
/// What editors of some systems put before the text.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// The bytes that tell UTF-16 from a text that happens to hold a zero byte.
const UTF_16_PROBE_BYTES: usize = 64;
/// What Git writes into a file that it cannot merge.
const CONFLICT_MARKERS: [&str; 4] = ["<<<<<<<", "|||||||", "=======", ">>>>>>>"];

/// A go.sum file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoSumFile {
    /// Its lines, in their order. The caller compares repeated and contradicting ones.
    pub lines: Vec<NumberedLine>,
    /// Lines that `go` tolerates and that vouch for nothing.
    pub odd: Vec<OddLine>,
    /// The first line that ends in CR LF. `go` reads such lines, and writes them with LF alone.
    pub crlf: Option<usize>,
}

/// A line with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedLine {
    /// Its number, from 1.
    pub number: usize,
    /// What it says.
    pub line: GoSumLine,
}

/// A line of three words that says nothing about a module version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OddLine {
    /// Its number, from 1.
    pub number: usize,
    /// Why it says nothing.
    pub oddity: Oddity,
}

/// Why a line of three words vouches for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    /// Another algorithm than `h1`, perhaps of a later Go.
    #[error("its hash is of the kind {kind}, and only h1: is known: go does not use the line")]
    UnknownHash {
        /// What stands before the colon.
        kind: String,
    },
    /// An old fault of the `go` command wrote it.
    #[error("it has the hash of an empty go.mod, which an old Go wrote by mistake: go drops the line")]
    EmptyGoMod,
    /// The path or the version is not valid, so that nobody ever asks for it.
    #[error("it names no module version ({0}): go does not use the line")]
    NoModule(ModuleError),
    /// The first line, where the file begins with a byte order mark.
    #[error(
        "the file begins with a byte order mark, which go takes for a part of this line's path: go does not use the line\n  fix: \
         save the file as UTF-8 without a byte order mark"
    )]
    ByteOrderMark,
    /// The hash begins with `h1:` and is malformed. No download ever has it.
    #[error(
        "the hash of {module} is malformed, so that go reports a checksum mismatch when it uses the module\n  fix: remove the line; \
         `go mod tidy` writes it again"
    )]
    BadHash {
        /// The module version.
        module: ModuleVersion,
        /// Which of its hashes.
        kind: LineKind,
    },
}

/// A file that the `go` command does not read, or that is no go.sum file at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed go.sum: line {line}: {reason}")]
pub struct GoSumError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: GoSumReason,
}

/// Why a file is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GoSumReason {
    /// Not three words.
    #[error("wrong number of fields {fields}: a go.sum line is `module version h1:hash`")]
    Fields {
        /// How many words there are.
        fields: usize,
    },
    /// Git could not merge the file, and nobody has done it since.
    #[error("a merge conflict marker, {marker}")]
    ConflictMarker {
        /// The marker.
        marker: &'static str,
    },
    /// Two bytes a letter.
    #[error("the file is UTF-16 text")]
    Utf16,
    /// No line of it is a go.sum line.
    #[error("the file is not a go.sum file: none of its lines is `module version h1:hash`")]
    NotGoSum,
}

impl GoSumReason {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            GoSumReason::Fields { .. } => "remove the line; `go mod tidy` writes what is missing",
            GoSumReason::ConflictMarker { .. } => {
                "resolve go.mod first, then run `go mod tidy`, which drops the markers and keeps the lines that are needed"
            }
            GoSumReason::Utf16 => {
                "save it as UTF-8 without a byte order mark (`iconv -f UTF-16 -t UTF-8 go.sum`); PowerShell's `>` writes UTF-16"
            }
            GoSumReason::NotGoSum => "name a go.sum file",
        }
    }
}

/// Parses a go.sum file.
pub fn parse_go_sum(data: impl AsRef<[u8]>) -> Result<GoSumFile, GoSumError> {
    let data = data.as_ref();
    if is_utf_16(data) {
        return Err(GoSumError { line: 1, reason: GoSumReason::Utf16 });
    }
    let (mut file, mut refused) = (GoSumFile::default(), None);
    for (line, number) in data.split(|byte| *byte == b'\n').zip(1..) {
        if line.ends_with(b"\r") {
            file.crlf.get_or_insert(number);
        }
        // What is not UTF-8 becomes a character that no path, version or hash has.
        match parse_line(&String::from_utf8_lossy(line), number == 1) {
            Ok(None) => {}
            Ok(Some(Parsed::Line(line))) => file.lines.push(NumberedLine { number, line }),
            Ok(Some(Parsed::Odd(oddity))) => file.odd.push(OddLine { number, oddity }),
            Err(reason) => {
                refused.get_or_insert(GoSumError { line: number, reason });
            }
        }
        if refused.is_some() && !file.lines.is_empty() {
            break;
        }
    }
    let is_marked = |error: &GoSumError| matches!(error.reason, GoSumReason::ConflictMarker { .. });
    let is_junk = file.odd.iter().all(|odd| matches!(odd.oddity, Oddity::NoModule(_)));
    match refused {
        Some(error) if !file.lines.is_empty() || !is_junk || is_marked(&error) => Err(error),
        Some(GoSumError { line, .. }) => Err(GoSumError { line, reason: GoSumReason::NotGoSum }),
        None if file.lines.is_empty() && is_junk && !file.odd.is_empty() => {
            Err(GoSumError { line: file.odd[0].number, reason: GoSumReason::NotGoSum })
        }
        None => Ok(file),
    }
}

/// A line that is not blank.
enum Parsed {
    Line(GoSumLine),
    Odd(Oddity),
}

fn parse_line(line: &str, is_first: bool) -> Result<Option<Parsed>, GoSumReason> {
    let mut words = line.split_whitespace();
    let (path, version, hash) = match (words.next(), words.next(), words.next(), words.next()) {
        (None, ..) => return Ok(None),
        (Some(path), Some(version), Some(hash), None) => (path, version, hash),
        (Some(first), ..) => {
            let marker = CONFLICT_MARKERS.into_iter().find(|marker| first == *marker);
            let fields = || GoSumReason::Fields { fields: line.split_whitespace().count() };
            return Err(marker.map_or_else(fields, |marker| GoSumReason::ConflictMarker { marker }));
        }
    };
    Ok(Some(match parse_words(path, version, hash) {
        Err(Oddity::NoModule(_)) if is_first && path.starts_with(BYTE_ORDER_MARK) => {
            Parsed::Odd(Oddity::ByteOrderMark)
        }
        Err(oddity) => Parsed::Odd(oddity),
        Ok(line) => Parsed::Line(line),
    }))
}

fn parse_words(path: &str, version: &str, hash: &str) -> Result<GoSumLine, Oddity> {
    if hash == EMPTY_GO_MOD {
        return Err(Oddity::EmptyGoMod);
    }
    let (version, kind) = match version.strip_suffix(GO_MOD) {
        Some(version) => (version, LineKind::GoMod),
        None => (version, LineKind::Zip),
    };
    let module = ModuleVersion::from_parts(path, version).map_err(Oddity::NoModule)?;
    if !hash.starts_with("h1:") {
        let kind = hash.split_once(':').map_or(hash, |(kind, _)| kind).chars().take(16).collect();
        return Err(Oddity::UnknownHash { kind });
    }
    match hash.parse() {
        Ok(hash) => Ok(GoSumLine { module, kind, hash }),
        Err(H1Error) => Err(Oddity::BadHash { module, kind }),
    }
}

/// Whether every other byte at the beginning is zero, or the byte order mark is that of UTF-16.
fn is_utf_16(data: &[u8]) -> bool {
    if data.starts_with(&[0xff, 0xfe]) || data.starts_with(&[0xfe, 0xff]) {
        return true;
    }
    let probe = &data[..data.len().min(UTF_16_PROBE_BYTES) & !1];
    let zeros = |at: usize| probe.iter().skip(at).step_by(2).all(|byte| *byte == 0);
    !probe.is_empty() && zeros(0) != zeros(1)
}
