//! The central directory of a zip: which entries there are, where they lie, what is declared of them.
//!
//! ```text
//! entry…  directory header…  [zip64 end record, 56 bytes]  [zip64 locator, 20 bytes]  end record, 22 bytes  comment
//! ```
//!
//! This is Go's `archive/zip`, rule by rule ([reader.go], Go 1.26), since another reader could find another set of
//! files. Its rules are looser than the format's
//! ([APPNOTE 6.3](https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT), sections 4.3.12 to 4.3.16):
//!
//! - The last end record in the file counts. There may be bytes after its comment, and between it and the directory.
//! - There may be bytes before the zip, in which case all its offsets are too small by as many. They are, unless
//!   there is a directory header where the end record says that the directory begins.
//! - Headers are read until something is none. Their number must be that of the end record, modulo 65,536.
//! - Disk numbers do not count.
//!
//! [reader.go]: https://cs.opensource.google/go/go/+/refs/tags/go1.26.0:src/archive/zip/reader.go

use std::io;
use std::ops::Range;

use super::limits::{ZipError, ZipLimits, check_limit};
use super::read_at::ReadAt;

const END_LEN: usize = 22;
const END_SIGNATURE: &[u8] = b"PK\x05\x06";
const LOCATOR64_LEN: usize = 20;
const LOCATOR64_SIGNATURE: &[u8] = b"PK\x06\x07";
const END64_LEN: usize = 56;
const END64_SIGNATURE: &[u8] = b"PK\x06\x06";
const HEADER_LEN: usize = 46;
const HEADER_SIGNATURE: &[u8] = b"PK\x01\x02";
/// A header with the longest name, extra field and comment.
const MAX_HEADER_LEN: u64 = HEADER_LEN as u64 + 3 * u16::MAX as u64;
const EXTRA_ZIP64: u16 = 1;

/// How far from the end Go looks for the end record: 65 KiB hold it and its longest comment.
const END_SEARCH_BYTES: u64 = 65 << 10;

/// The greatest directory that we read into memory: 256 bytes for each of [`ZipLimits::MAX_ENTRIES`]. What follows it
/// in the file, up to this size, is read with it.
const MAX_DIRECTORY_BYTES: u64 = 64 << 20;

/// The entry is encrypted.
pub(super) const FLAG_ENCRYPTED: u16 = 1;
/// A descriptor with the checksum follows the entry's data.
pub(super) const FLAG_DESCRIPTOR: u16 = 1 << 3;

/// The directory, as it is in the zip and taken apart.
pub(super) struct Directory {
    /// Where it begins in the zip, which is where the last entry must have ended.
    pub(super) start: u64,
    pub(super) entries: Vec<Entry>,
    bytes: Vec<u8>,
}

/// What the directory declares of one entry.
pub(super) struct Entry {
    /// Where the entry's local header begins in the zip.
    pub(super) header: u64,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc32: u32,
    /// Its size in the zip, in bytes.
    pub(super) packed: u64,
    /// Its size unpacked, in bytes.
    pub(super) unpacked: u64,
    /// Where its name is in the directory's bytes.
    name: Range<usize>,
}

impl Directory {
    /// The name of an entry as it is in the directory, in whatever encoding.
    pub(super) fn name(&self, index: usize) -> &[u8] {
        &self.bytes[self.entries[index].name.clone()]
    }

    pub(super) fn name_error(&self, index: usize, reason: &'static str) -> ZipError {
        ZipError::Name { name: shown(self.name(index)), reason }
    }

    pub(super) fn entry_error(&self, index: usize, reason: &'static str) -> ZipError {
        ZipError::Entry { name: shown(self.name(index)), reason }
    }

    pub(super) fn char_error(&self, index: usize, char: char) -> ZipError {
        ZipError::Char { name: shown(self.name(index)), char }
    }
}

/// A name as people may read it: what would not be seen is escaped, and so are bytes that are no UTF-8.
fn shown(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.extend(chunk.valid().escape_debug());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// Where the directory is, by the end record.
struct End {
    records: u64,
    start: u64,
    /// What all offsets in the headers are too small by.
    base: i64,
}

/// Reads and takes apart the directory of a zip of `size` bytes.
pub(super) fn read_directory<R: ReadAt + ?Sized>(
    zip: &R,
    size: u64,
    limits: &ZipLimits,
) -> Result<Directory, ZipError> {
    let end = read_end(zip, size)?;
    let rest = size - end.start;
    let mut bytes = vec![0; rest.min(MAX_DIRECTORY_BYTES) as usize];
    zip.read_exact_at(&mut bytes, end.start).map_err(read_error)?;
    let (mut entries, mut position) = (Vec::new(), 0);
    let stop = loop {
        match parse_header(&bytes, position, end.base) {
            Ok((entry, next)) => {
                check_limit("number of entries", entries.len() as u64 + 1, limits.entries as u64)?;
                entries.push(entry);
                position = next;
            }
            Err(stop) => break stop,
        }
    };
    if matches!(stop, Stop::AtEnd | Stop::CutOff) && rest > MAX_DIRECTORY_BYTES {
        check_limit("directory", rest, MAX_DIRECTORY_BYTES)?;
    }
    match stop {
        // Go reports the end of the file and takes whatever else is no header for the end of the directory.
        Stop::AtEnd => return Err(malformed("an entry header is cut off")),
        // 16 bits, as in Go, are all that old writers have for more entries.
        Stop::CutOff | Stop::NoHeader(_) if entries.len() as u16 == end.records as u16 => {}
        Stop::CutOff => return Err(malformed("an entry header is cut off")),
        Stop::NoHeader(reason) => return Err(malformed(reason)),
    }
    match entries.iter().find(|entry| entry.header >= end.start) {
        Some(_) => Err(malformed("an entry is not before the directory")),
        None => Ok(Directory { start: end.start, entries, bytes }),
    }
}

pub(super) fn malformed(reason: &'static str) -> ZipError {
    ZipError::Malformed { reason }
}

/// A read beyond the end says that the zip is cut off, any other failure says nothing about it.
pub(super) fn read_error(error: io::Error) -> ZipError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => malformed("cut off"),
        _ => ZipError::Io(error),
    }
}

fn read_end<R: ReadAt + ?Sized>(zip: &R, size: u64) -> Result<End, ZipError> {
    let mut tail = vec![0; size.min(END_SEARCH_BYTES) as usize];
    let tail_start = size - tail.len() as u64;
    zip.read_exact_at(&mut tail, tail_start).map_err(read_error)?;
    let position = tail
        .windows(END_LEN)
        .rposition(|window| window.starts_with(END_SIGNATURE))
        .ok_or_else(|| malformed("no end record: not a zip, or cut off"))?;
    let record = &tail[position..];
    if record.len() < END_LEN + usize::from(u16_at(record, 20)) {
        return Err(malformed("the comment ends after the file does"));
    }
    let (mut records, mut len) = (u64::from(u16_at(record, 10)), u64::from(u32_at(record, 12)));
    let (mut start, mut end) = (u64::from(u32_at(record, 16)), tail_start + position as u64);
    // These are Go's conditions, its odd 0xffff for the length included: the readers must agree on which
    // of the two records counts.
    if (records == 0xffff || len == 0xffff || start == u64::from(u32::MAX))
        && let Some(end64) = find_end64(zip, end)?
    {
        let mut record = [0; END64_LEN];
        zip.read_exact_at(&mut record, end64).map_err(read_error)?;
        if !record.starts_with(END64_SIGNATURE) {
            return Err(malformed("no zip64 end record where its locator points"));
        }
        (records, len, start, end) = (u64_at(&record, 32), u64_at(&record, 40), u64_at(&record, 48), end64);
    }
    let misplaced = || malformed("the directory does not lie where its end record says");
    // Go counts in 63 bits.
    let (len, offset) = i64::try_from(len).ok().zip(i64::try_from(start).ok()).ok_or_else(misplaced)?;
    let start = end.checked_sub(len.unsigned_abs()).filter(|start| *start < size).ok_or_else(misplaced)?;
    let base = start.cast_signed() - offset;
    // With bytes before the zip every offset is too small by their number; with bytes before the end record they are
    // right as they are.
    if base > 0 && is_header_at(zip, offset.cast_unsigned(), size)? {
        return Ok(End { records, start: offset.cast_unsigned(), base: 0 });
    }
    Ok(End { records, start, base })
}

/// Returns where the zip64 end record is, if a sound locator lies before the end record at `end`.
fn find_end64<R: ReadAt + ?Sized>(zip: &R, end: u64) -> Result<Option<u64>, ZipError> {
    let Some(locator_start) = end.checked_sub(LOCATOR64_LEN as u64) else { return Ok(None) };
    let mut locator = [0; LOCATOR64_LEN];
    zip.read_exact_at(&mut locator, locator_start).map_err(read_error)?;
    let is_one_disk = u32_at(&locator, 4) == 0 && u32_at(&locator, 16) == 1;
    let position = u64_at(&locator, 8);
    let is_sound = locator.starts_with(LOCATOR64_SIGNATURE) && is_one_disk && i64::try_from(position).is_ok();
    Ok(is_sound.then_some(position))
}

/// Whether a whole directory header lies there.
fn is_header_at<R: ReadAt + ?Sized>(zip: &R, offset: u64, size: u64) -> Result<bool, ZipError> {
    let mut bytes = vec![0; (size - offset).min(MAX_HEADER_LEN) as usize];
    zip.read_exact_at(&mut bytes, offset).map_err(read_error)?;
    Ok(parse_header(&bytes, 0, 0).is_ok())
}

/// Why there is no further header.
enum Stop {
    /// The bytes end exactly where one, or its variable part, would begin.
    AtEnd,
    /// The bytes end within it.
    CutOff,
    /// It is something else, or does not fit together.
    NoHeader(&'static str),
}

/// Takes apart the header at `position`, and says where the next one begins. `base` is added to its offset.
fn parse_header(bytes: &[u8], position: usize, base: i64) -> Result<(Entry, usize), Stop> {
    let short = |left: &[u8]| if left.is_empty() { Stop::AtEnd } else { Stop::CutOff };
    let header = bytes[position..].get(..HEADER_LEN).ok_or_else(|| short(&bytes[position..]))?;
    if !header.starts_with(HEADER_SIGNATURE) {
        return Err(Stop::NoHeader("the directory has another number of entries than its end record says"));
    }
    let name_start = position + HEADER_LEN;
    let name = name_start..name_start + usize::from(u16_at(header, 28));
    let extra = name.end..name.end + usize::from(u16_at(header, 30));
    let next = extra.end + usize::from(u16_at(header, 32));
    if next > bytes.len() {
        return Err(short(&bytes[name_start..]));
    }
    let mut entry = Entry {
        flags: u16_at(header, 8),
        method: u16_at(header, 10),
        crc32: u32_at(header, 16),
        packed: u32_at(header, 20).into(),
        unpacked: u32_at(header, 24).into(),
        header: u32_at(header, 42).into(),
        name,
    };
    read_zip64_extra(&mut entry, &bytes[extra]).map_err(Stop::NoHeader)?;
    // An offset that is before the file or beyond 63 bits is beyond everything: no entry lies there.
    let offset = i64::try_from(entry.header).ok().and_then(|offset| offset.checked_add(base));
    entry.header = offset.and_then(|offset| u64::try_from(offset).ok()).unwrap_or(u64::MAX);
    Ok((entry, next))
}

/// Numbers that do not fit their 32 bits are in an extra field, those alone and in this order.
fn read_zip64_extra(entry: &mut Entry, mut extra: &[u8]) -> Result<(), &'static str> {
    let full = u64::from(u32::MAX);
    let (mut unpacked, mut packed, mut header) =
        (entry.unpacked == full, entry.packed == full, entry.header == full);
    while extra.len() >= 4 {
        let (tag, len) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let Some(mut field) = extra[4..].get(..len) else { break };
        extra = &extra[4 + len..];
        if tag != EXTRA_ZIP64 {
            continue;
        }
        for (wanted, value) in [
            (&mut unpacked, &mut entry.unpacked),
            (&mut packed, &mut entry.packed),
            (&mut header, &mut entry.header),
        ] {
            if std::mem::take(wanted) {
                let (number, rest) = field.split_at_checked(8).ok_or("a zip64 field is too short")?;
                (*value, field) = (u64_at(number, 0), rest);
            }
        }
    }
    // Where no such field follows, the 32 bits stand as they are, and are refused as too large.
    if packed || header { Err("a zip64 field is missing") } else { Ok(()) }
}

// The callers have checked the length of what they index.

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
