//! How the records of a mirrored log lie on disk: layout 3 of a [`segment`](super::segment),
//! without the leaves.
//!
//! ```text
//! 1 byte    layout, 3
//! 1 byte    1 if the names need the database's dictionary, plus 2 if they are stored with their lengths
//! 8 bytes   XXH3-64 of everything after it, little-endian; its seed is the segment's number << 16, the layout << 8 and
//!           the byte after that, so that a segment in the place of another is noticed, too
//! 1024      sixteen times the zip's hash and the go.mod's hash
//! 1 byte    the number of tails
//! 10 n      tails
//! rest      the names, one zstd frame without its magic number: for each record `path version` and a newline
//! ```
//!
//! Layout 2, of an older program, is the same with a seed that has no number.
//!
//! A leaf is computed from its record in a fifth of a microsecond, so a mirror does not keep it. A
//! third of all versions end in a time and the begin of a commit's hash
//! (`v0.0.0-20260203040506-0123456789ab`), 27 characters that hardly compress: they become a tail,
//! four bytes for the time and six for the hash, and `~` stands for them in the version.
//!
//! Who runs the remote log may take other records than go.sum lines, and a mirror keeps what the
//! log has: such a record has no version, 64 zero bytes for its hashes, and its whole text for a
//! path. The names of a segment with such a record are stored with their lengths, as in layout 1.

use std::io;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::segment::{Decoder, WIDTH, Why, push_length};
use crate::dirhash::H1;
use crate::gosum::{LineParts, ModuleLines, split_at_space};
use crate::module::ModuleVersion;

const LAYOUT: u8 = 3;
/// Of an older program: the checksum does not know the segment's number.
const UNNUMBERED: u8 = 2;
/// The names need the dictionary.
const DICTIONARY: u8 = 1;
/// The names are stored with their lengths.
const LENGTHS: u8 = 2;
const HEADER_BYTES: usize = 10;
const TAILS_AT: usize = HEADER_BYTES + WIDTH * 64;
const TAIL_BYTES: usize = 10;
/// What every zstd frame begins with.
const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// With a dictionary, higher levels gain a percent and cost twice the time. Level 1 would save a
/// fourteenth of a mirror's time and take three bytes more a record.
const ZSTD_LEVEL: i32 = 3;

/// A record as it is stored, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordParts<'a> {
    /// The path, or the whole text of a record that is not two go.sum lines.
    pub(super) path: &'a str,
    /// Empty for such a record.
    pub(super) version: &'a str,
    zip: H1,
    go_mod: H1,
}

impl<'a> RecordParts<'a> {
    pub(super) fn of(text: &'a str) -> RecordParts<'a> {
        match LineParts::parse(text) {
            Some(LineParts { path, version, zip, go_mod }) => RecordParts { path, version, zip, go_mod },
            None => {
                let none = H1::from_bytes([0; 32]);
                RecordParts { path: text, version: "", zip: none, go_mod: none }
            }
        }
    }

    /// The lines, unless the record is something else: no go.sum lines, or not of a valid module
    /// version.
    pub(super) fn lines(&self) -> Option<ModuleLines> {
        // Checked when it is asked for: most records are only ever read as texts.
        let module = ModuleVersion::from_parts(self.path, self.version).ok()?;
        Some(ModuleLines { module, zip: self.zip, go_mod: self.go_mod })
    }

    /// The lines, if they are those of a module version.
    pub(super) fn lines_of(&self, module: &ModuleVersion) -> Option<ModuleLines> {
        let same = (module.path.as_str(), module.version.as_str()) == (self.path, self.version);
        same.then(|| ModuleLines { module: module.clone(), zip: self.zip, go_mod: self.go_mod })
    }

    /// Appends the record's text.
    pub(super) fn push_text(&self, text: &mut String) {
        let RecordParts { path, version, zip, go_mod } = *self;
        if version.is_empty() {
            text.push_str(path);
        } else {
            LineParts { path, version, zip, go_mod }.push_text(text);
        }
    }
}

/// Writes segments. Keeps its compression context, which is dear to make.
pub(super) struct Packer {
    zstd: zstd::bulk::Compressor<'static>,
    dictionary: u8,
    names: Vec<u8>,
    tails: Vec<u8>,
    frame: Vec<u8>,
}

impl Packer {
    pub(super) fn new(dictionary: Option<&[u8]>) -> io::Result<Packer> {
        let mut zstd = zstd::bulk::Compressor::with_dictionary(ZSTD_LEVEL, dictionary.unwrap_or_default())?;
        // The segment has a checksum over everything, and says which dictionary: the frame need not
        // repeat them.
        zstd.include_checksum(false)?;
        zstd.include_dictid(false)?;
        let dictionary = if dictionary.is_some() { DICTIONARY } else { 0 };
        Ok(Packer { zstd, dictionary, names: Vec::new(), tails: Vec::new(), frame: Vec::new() })
    }

    /// Appends the segment with this number, of exactly sixteen records, to `bodies`.
    pub(super) fn segment(
        &mut self,
        number: u64,
        records: &[RecordParts<'_>],
        bodies: &mut Vec<u8>,
    ) -> io::Result<()> {
        assert_eq!(records.len(), WIDTH, "a segment holds sixteen records");
        let with_lengths = names_of(records, &mut self.names, &mut self.tails);
        let start = bodies.len();
        bodies.extend([LAYOUT, self.dictionary | if with_lengths { LENGTHS } else { 0 }]);
        bodies.extend([0; 8]);
        for record in records {
            bodies.extend(record.zip.as_bytes());
            bodies.extend(record.go_mod.as_bytes());
        }
        bodies.push((self.tails.len() / TAIL_BYTES) as u8);
        bodies.extend(&self.tails);
        self.frame.clear();
        self.frame.reserve(zstd::zstd_safe::compress_bound(self.names.len()));
        self.zstd.compress_to_buffer(&self.names, &mut self.frame)?;
        bodies.extend(self.frame.strip_prefix(&MAGIC).expect("a frame begins with its magic number"));
        let body = &mut bodies[start..];
        let sum = checksum(number, body);
        body[2..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }
}

/// The names of a segment before compression, and the tails. Says whether the names have lengths.
pub(super) fn names_of(records: &[RecordParts<'_>], names: &mut Vec<u8>, tails: &mut Vec<u8>) -> bool {
    names.clear();
    tails.clear();
    if records.iter().any(|record| record.version.is_empty() || record.version.ends_with('~')) {
        for record in records {
            push_length(names, record.path.len());
            push_length(names, record.version.len());
        }
        for record in records {
            names.extend(record.path.as_bytes());
            names.extend(record.version.as_bytes());
        }
        return true;
    }
    for record in records {
        names.extend(record.path.as_bytes());
        names.push(b' ');
        match tail_of(record.version) {
            Some((rest, tail)) => {
                names.extend(rest.as_bytes());
                names.push(b'~');
                tails.extend(tail);
            }
            None => names.extend(record.version.as_bytes()),
        }
        names.push(b'\n');
    }
    false
}

/// Whether a segment cannot be read without the database's dictionary.
pub(super) fn needs_dictionary(body: &[u8]) -> bool {
    body.get(1).is_some_and(|flags| flags & DICTIONARY != 0)
}

/// A segment taken apart, its checksum held.
struct Packed<'a> {
    hashes: &'a [[u8; 32]],
    tails: &'a [[u8; TAIL_BYTES]],
    /// The names' zstd frame, without its magic number.
    frame: &'a [u8],
    with_lengths: bool,
    with_dictionary: bool,
}

impl<'a> Packed<'a> {
    fn open(number: u64, body: &'a [u8]) -> Result<Packed<'a>, Why> {
        if body.len() <= TAILS_AT {
            return Err(format!("{} bytes where more than {TAILS_AT} belong", body.len()));
        }
        if ![LAYOUT, UNNUMBERED].contains(&body[0]) || body[1] > DICTIONARY | LENGTHS {
            return Err(format!("unknown layout {}.{}", body[0], body[1]));
        }
        if body[2..HEADER_BYTES] != checksum(number, body).to_le_bytes() {
            return Err("the checksum does not match".to_owned());
        }
        let (hashes, rest) = body[HEADER_BYTES..].split_at(WIDTH * 64);
        let tails = usize::from(rest[0]) * TAIL_BYTES;
        let (tails, frame) = rest[1..].split_at_checked(tails).ok_or("its tails are cut off")?;
        Ok(Packed {
            hashes: hashes.as_chunks().0,
            tails: tails.as_chunks().0,
            frame,
            with_lengths: body[1] & LENGTHS != 0,
            with_dictionary: needs_dictionary(body),
        })
    }

    /// The hashes of a record's two lines.
    fn hashes_of(&self, at: usize) -> (H1, H1) {
        (H1::from_bytes(self.hashes[2 * at]), H1::from_bytes(self.hashes[2 * at + 1]))
    }
}

impl Decoder {
    /// The sixteen records of the segment with this number.
    pub(super) fn packed<'a>(
        &'a mut self,
        number: u64,
        body: &'a [u8],
    ) -> Result<impl Iterator<Item = RecordParts<'a>> + 'a, Why> {
        let packed = Packed::open(number, body)?;
        let names = self.unpack(&packed)?;
        Ok(names.into_iter().enumerate().map(move |(at, (path, version))| {
            let (zip, go_mod) = packed.hashes_of(at);
            RecordParts { path, version, zip, go_mod }
        }))
    }

    /// The record of a module version in a segment, and its position (0 to 15). Compares names in
    /// the form in which they are stored.
    pub(super) fn find_packed(
        &mut self,
        number: u64,
        body: &[u8],
        module: &ModuleVersion,
    ) -> Result<Option<(usize, ModuleLines)>, Why> {
        let packed = Packed::open(number, body)?;
        let (path, version) = (module.path.as_str(), module.version.as_str());
        let at = if packed.with_lengths {
            self.unpack(&packed)?.iter().position(|name| *name == (path, version))
        } else {
            self.position(&packed, path.as_bytes(), version)?
        };
        let lines = |at| {
            let (zip, go_mod) = packed.hashes_of(at);
            (at, ModuleLines { module: module.clone(), zip, go_mod })
        };
        Ok(at.map(lines))
    }

    /// Where a name is among those that are stored in lines.
    fn position(&mut self, packed: &Packed<'_>, path: &[u8], version: &str) -> Result<Option<usize>, Why> {
        let (version, tail) = match tail_of(version) {
            Some((rest, tail)) => (rest.as_bytes(), Some(tail)),
            None => (version.as_bytes(), None),
        };
        self.decompress_packed(packed)?;
        let (names, mut tails) = (self.names.as_slice(), packed.tails.iter());
        let mut start = 0;
        for (at, end) in memchr::memchr_iter(b'\n', names).enumerate() {
            let line = &names[std::mem::replace(&mut start, end + 1)..end];
            let (line, of_line) = match line.strip_suffix(b"~") {
                Some(line) => (line, Some(tails.next().ok_or("a tail is missing")?)),
                None => (line, None),
            };
            let rest = line.strip_prefix(path).and_then(|rest| rest.strip_prefix(b" "));
            if rest == Some(version) && of_line == tail.as_ref() {
                return if at < WIDTH { Ok(Some(at)) } else { Err("a name too many".to_owned()) };
            }
        }
        Ok(None)
    }

    /// Decompresses the names of a segment as they are stored.
    fn decompress_packed(&mut self, packed: &Packed<'_>) -> Result<(), Why> {
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        frame.extend(MAGIC);
        frame.extend(packed.frame);
        let done = self.decompress(&frame, packed.with_dictionary);
        self.frame = frame;
        done
    }

    /// The names of a segment.
    fn unpack(&mut self, packed: &Packed<'_>) -> Result<[(&str, &str); WIDTH], Why> {
        self.decompress_packed(packed)?;
        if packed.with_lengths {
            return self.split_names();
        }
        let names = std::str::from_utf8(&self.names).map_err(|_| "names are not UTF-8".to_owned())?;
        if !names.ends_with('\n') {
            return Err("its names are cut off".to_owned());
        }
        let mut tails = packed.tails.iter();
        self.text.clear();
        for name in lines(names) {
            match name.strip_suffix('~') {
                Some(rest) => {
                    self.text.push_str(rest);
                    push_tail(tails.next().ok_or("a tail is missing")?, &mut self.text);
                }
                None => self.text.push_str(name),
            }
            self.text.push('\n');
        }
        let mut names = [("", ""); WIDTH];
        let mut lines = lines(&self.text);
        for name in &mut names {
            *name = lines.next().and_then(split_at_space).ok_or("a name is missing")?;
        }
        if lines.next().is_none() { Ok(names) } else { Err("a name too many".to_owned()) }
    }
}

/// The lines of a text; what comes after the last newline is none.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', text.as_bytes())
        .map(move |end| &text[std::mem::replace(&mut start, end + 1)..end])
}

/// The time and the hash at the end of a version, and what comes before:
/// `20260203040506-0123456789ab`.
fn tail_of(version: &str) -> Option<(&str, [u8; TAIL_BYTES])> {
    const LENGTH: usize = 27;
    let (rest, tail) = version.split_at_checked(version.len().checked_sub(LENGTH)?)?;
    let (time, hash) = tail.split_once('-').filter(|(time, _)| time.len() == 14)?;
    if !time.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| time[from..to].parse::<u32>().ok();
    let (year, month, day) = (number(0, 4)?.checked_sub(2000)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    let in_range = year < 100 && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let packed = ((((year * 12 + month - 1) * 31 + day - 1) * 24 + hour) * 60 + minute) * 60 + second;
    let mut bytes = [0; TAIL_BYTES];
    bytes[..4].copy_from_slice(&packed.to_be_bytes());
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in bytes[4..].iter_mut().zip(hash.as_bytes().as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some((rest, bytes))
}

/// Appends what [`tail_of`] has packed.
fn push_tail(tail: &[u8; TAIL_BYTES], text: &mut String) {
    let (packed, hash) = tail.split_first_chunk::<4>().expect("a tail has ten bytes");
    let mut packed = u32::from_be_bytes(*packed);
    let mut next = |range: u32| {
        let value = packed % range;
        packed /= range;
        value
    };
    let (second, minute, hour, day, month) = (next(60), next(60), next(24), next(31), next(12));
    let fields = [(packed + 2000) / 100, packed % 100, month + 1, day + 1, hour, minute, second];
    for value in fields {
        text.push(char::from(b'0' + (value / 10 % 10) as u8));
        text.push(char::from(b'0' + (value % 10) as u8));
    }
    text.push('-');
    for byte in hash {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).expect("a digit is below 16"));
        }
    }
}

fn checksum(number: u64, body: &[u8]) -> u64 {
    let number = if body[0] == UNNUMBERED { 0 } else { number };
    let seed = number << 16 | u64::from(body[0]) << 8 | u64::from(body[1]);
    xxh3_64_with_seed(&body[HEADER_BYTES..], seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: u64 = 4_711;
    const VERSIONS: [&str; 8] = [
        "v1.0.0",
        "v0.0.0-20260203040506-0123456789ab",
        "v1.2.4-0.20991231235959-ffffffffffff",
        "v1.2.4-0.20000101000000-000000000000",
        "v2.0.0-20180203040506-0123456789ab+incompatible",
        "v0.0.0-20261303040506-0123456789ab",
        "v0.0.0-20260203040560-0123456789ab",
        "v0.0.0-20260203040506-0123456789AB",
    ];

    fn text(n: usize) -> String {
        let (hash, version) = (|n| H1::from_bytes([n as u8; 32]), VERSIONS[n % VERSIONS.len()]);
        format!(
            "example.com/a{n} {version} {}\nexample.com/a{n} {version}/go.mod {}\n",
            hash(n),
            hash(n + 100)
        )
    }

    /// What a log may have: go.sum lines; with another text and one that is too long for the usual
    /// buffer.
    fn segments() -> [Vec<String>; 2] {
        let mut odd: Vec<String> = (0..14).map(text).collect();
        odd.extend(["anything at all\n".to_owned(), format!("{}\n", "long ".repeat(400_000))]);
        [(0..16).map(text).collect(), odd]
    }

    #[test]
    fn segments_give_back_what_was_packed_and_notice_every_flipped_bit() {
        for (texts, others) in segments().into_iter().zip([0, 2]) {
            let records: Vec<RecordParts<'_>> = texts.iter().map(|text| RecordParts::of(text)).collect();
            assert_eq!(records.iter().filter(|record| record.version.is_empty()).count(), others);
            for dictionary in [None, Some(&b"example.com/ v1.0. v0.0.0-2026"[..])] {
                let mut decoder = Decoder::new().unwrap();
                if let Some(dictionary) = dictionary {
                    decoder.set_dictionary(dictionary).unwrap();
                }
                let mut body = Vec::new();
                Packer::new(dictionary).unwrap().segment(NUMBER, &records, &mut body).unwrap();
                assert_eq!(needs_dictionary(&body), dictionary.is_some());
                for (record, text) in decoder.packed(NUMBER, &body).unwrap().zip(&texts) {
                    let mut printed = String::new();
                    record.push_text(&mut printed);
                    assert_eq!(printed, *text);
                }
                for (at, record) in records.iter().enumerate() {
                    let mut found = |path: &str, version: &str| {
                        let module = ModuleVersion::from_store(path, version);
                        let found = decoder.find_packed(NUMBER, &body, &module).unwrap();
                        found.map(|(at, lines)| (at, lines.zip, lines.go_mod))
                    };
                    assert_eq!(found(record.path, record.version), Some((at, record.zip, record.go_mod)));
                    assert_eq!(found(record.path, "v9.9.9"), None);
                    // The same time in another commit's version, and what a tail stands for.
                    assert_eq!(found(record.path, "v0.0.0-20260203040506-ba9876543210"), None);
                    assert_eq!(found(record.path, "v0.0.0-~"), None);
                    assert_eq!(found("example.com/a", record.version), None);
                }
                for other in [0, NUMBER - 1, NUMBER + 1, NUMBER << 16] {
                    assert!(decoder.packed(other, &body).is_err(), "in the place of {other}");
                }
                // As an older program wrote it: the seed had no number.
                let mut older = body.clone();
                older[0] = UNNUMBERED;
                let sum = xxh3_64_with_seed(&older[HEADER_BYTES..], 2 << 8 | u64::from(older[1]));
                older[2..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
                assert_eq!(decoder.packed(NUMBER, &older).unwrap().count(), WIDTH);
                let any = ModuleVersion::from_store("example.com/a0", "v1.0.0");
                for at in 0..body.len() * 8 {
                    let mut flipped = body.clone();
                    flipped[at / 8] ^= 1 << (at % 8);
                    assert!(decoder.packed(NUMBER, &flipped).is_err(), "bit {at}");
                    assert!(decoder.find_packed(NUMBER, &flipped, &any).is_err(), "bit {at}");
                }
            }
        }
    }

    #[test]
    fn tails_are_taken_only_where_they_can_be_given_back() {
        let taken = VERSIONS.map(|version| {
            let (rest, tail) = tail_of(version)?;
            let mut text = rest.to_owned();
            push_tail(&tail, &mut text);
            assert_eq!(text, version);
            Some(rest)
        });
        let none = None;
        assert_eq!(
            taken,
            [none, Some("v0.0.0-"), Some("v1.2.4-0."), Some("v1.2.4-0."), none, none, none, none]
        );
    }
}
