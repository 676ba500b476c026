//! The central directory of a zip: which entries there are, where they lie, what is declared of them.
//!
//! ```text
//! entry…  directory header…  [zip64 end record, 56 bytes]  [zip64 locator, 20 bytes]  end record, 22 bytes  comment
//! ```
//!
//! As Go's `archive/zip` we take the last end record in the file; unlike it we then require that everything fits
//! without a gap: the directory ends where the end records begin, and the comment where the file ends. Format:
//! [APPNOTE 6.3](https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT), sections 4.3.12 to 4.3.16.

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
const EXTRA_ZIP64: u16 = 1;

/// How far from the end Go looks for the end record: 65 KiB hold it and its longest comment.
const END_SEARCH_BYTES: u64 = 65 << 10;

/// The greatest directory that we read into memory: 256 bytes for each of [`ZipLimits::MAX_ENTRIES`].
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
        ZipError::Name { name: String::from_utf8_lossy(self.name(index)).into_owned(), reason }
    }

    pub(super) fn entry_error(&self, index: usize, reason: &'static str) -> ZipError {
        ZipError::Entry { name: String::from_utf8_lossy(self.name(index)).into_owned(), reason }
    }
}

/// Where the directory is, as the end record says.
struct End {
    records: u64,
    start: u64,
    len: u64,
}

/// Reads and takes apart the directory of a zip of `size` bytes.
pub(super) fn read_directory<R: ReadAt + ?Sized>(
    zip: &R,
    size: u64,
    limits: &ZipLimits,
) -> Result<Directory, ZipError> {
    let end = read_end(zip, size)?;
    check_limit("number of entries", end.records, limits.entries as u64)?;
    check_limit("directory", end.len, MAX_DIRECTORY_BYTES)?;
    let mut bytes = vec![0; end.len as usize];
    zip.read_exact_at(&mut bytes, end.start).map_err(read_error)?;
    // A header has at least 46 bytes, so a lying number of records reserves no memory to speak of.
    let mut entries = Vec::with_capacity((end.records as usize).min(bytes.len() / HEADER_LEN));
    let mut position = 0;
    while position < bytes.len() {
        let (entry, next) = parse_header(&bytes, position, end.start)?;
        entries.push(entry);
        position = next;
    }
    if entries.len() as u64 != end.records {
        return Err(malformed("the directory has another number of entries than its end record says"));
    }
    Ok(Directory { start: end.start, entries, bytes })
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
    if record.len() != END_LEN + usize::from(u16_at(record, 20)) {
        return Err(malformed("the comment does not end where the file ends"));
    }
    let (disk, directory_disk) = (u16_at(record, 4), u16_at(record, 6));
    let (records_here, records) = (u16_at(record, 8), u16_at(record, 10));
    let (len, start) = (u32_at(record, 12), u32_at(record, 16));
    let record_start = tail_start + position as u64;
    // These are Go's conditions, its odd 0xffff for the length included: the readers must agree on which
    // of the two records counts.
    if (records == u16::MAX || len == u32::from(u16::MAX) || start == u32::MAX)
        && let Some(end) = read_end64(zip, record_start)?
    {
        return Ok(end);
    }
    if disk != 0 || directory_disk != 0 || records_here != records {
        return Err(malformed("spread over several disks"));
    }
    let end = End { records: records.into(), start: start.into(), len: len.into() };
    end.check(record_start)
}

/// Reads the zip64 end record, if a locator lies before the end record at `end_start`.
fn read_end64<R: ReadAt + ?Sized>(zip: &R, end_start: u64) -> Result<Option<End>, ZipError> {
    let Some(locator_start) = end_start.checked_sub(LOCATOR64_LEN as u64) else { return Ok(None) };
    let mut locator = [0; LOCATOR64_LEN];
    zip.read_exact_at(&mut locator, locator_start).map_err(read_error)?;
    if !locator.starts_with(LOCATOR64_SIGNATURE) {
        return Ok(None);
    }
    let record_start = u64_at(&locator, 8);
    if u32_at(&locator, 4) != 0 || u32_at(&locator, 16) != 1 {
        return Err(malformed("spread over several disks"));
    }
    if record_start.checked_add(END64_LEN as u64) != Some(locator_start) {
        return Err(malformed("the zip64 end record is not before its locator"));
    }
    let mut record = [0; END64_LEN];
    zip.read_exact_at(&mut record, record_start).map_err(read_error)?;
    if !record.starts_with(END64_SIGNATURE) {
        return Err(malformed("no zip64 end record where its locator points"));
    }
    let (records_here, records) = (u64_at(&record, 24), u64_at(&record, 32));
    if u32_at(&record, 16) != 0 || u32_at(&record, 20) != 0 || records_here != records {
        return Err(malformed("spread over several disks"));
    }
    let end = End { records, len: u64_at(&record, 40), start: u64_at(&record, 48) };
    end.check(record_start).map(Some)
}

impl End {
    fn check(self, directory_end: u64) -> Result<End, ZipError> {
        if self.start.checked_add(self.len) != Some(directory_end) {
            return Err(malformed("the directory does not end where its end record begins"));
        }
        Ok(self)
    }
}

/// Takes apart the header at `position`, and says where the next one begins.
fn parse_header(bytes: &[u8], position: usize, start: u64) -> Result<(Entry, usize), ZipError> {
    let header = bytes[position..].get(..HEADER_LEN).filter(|header| header.starts_with(HEADER_SIGNATURE));
    let header = header.ok_or_else(|| malformed("no entry header where the directory should go on"))?;
    let name_start = position + HEADER_LEN;
    let name = name_start..name_start + usize::from(u16_at(header, 28));
    let extra = name.end..name.end + usize::from(u16_at(header, 30));
    let next = extra.end + usize::from(u16_at(header, 32));
    if next > bytes.len() {
        return Err(malformed("an entry header is cut off"));
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
    read_zip64_extra(&mut entry, &bytes[extra])?;
    if entry.header >= start {
        return Err(malformed("an entry is not before the directory"));
    }
    if u16_at(header, 34) != 0 {
        return Err(malformed("spread over several disks"));
    }
    Ok((entry, next))
}

/// Numbers that do not fit their 32 bits are in an extra field, those alone and in this order.
fn read_zip64_extra(entry: &mut Entry, mut extra: &[u8]) -> Result<(), ZipError> {
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
                let (number, rest) =
                    field.split_at_checked(8).ok_or_else(|| malformed("a zip64 field is too short"))?;
                (*value, field) = (u64_at(number, 0), rest);
            }
        }
    }
    // Where no such field follows, the 32 bits stand as they are, and are refused as too large.
    if packed || header { Err(malformed("a zip64 field is missing")) } else { Ok(()) }
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
