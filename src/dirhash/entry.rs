//! One entry of a zip: read, unpacked, checked and hashed in a stream.
//!
//! ```text
//! local header, 30 bytes  name  extra  data  [descriptor, 12 to 24 bytes: optional signature, CRC-32, sizes]
//! ```
//!
//! Sizes and checksum are those of the directory, as in Go's `archive/zip`: the local header may leave them out. It
//! must have the directory's name, though, so that readers that go by the local headers see the same files.

use crc32fast::Hasher as Crc32;
use flate2::{Decompress, FlushDecompress, Status};
use sha2::{Digest as _, Sha256};

use super::archive::{Directory, FLAG_DESCRIPTOR, FLAG_ENCRYPTED, read_error, u16_at, u32_at};
use super::limits::ZipError;
use super::read_at::ReadAt;

pub(super) const LOCAL_HEADER_LEN: usize = 30;
const LOCAL_HEADER_SIGNATURE: &[u8] = b"PK\x03\x04";
const DESCRIPTOR_SIGNATURE: u32 = 0x0807_4b50;
/// The part of a descriptor that every writer agrees on: a signature that may be missing, and the CRC-32. What
/// follows are the sizes, in 4 or 8 bytes each, which Go does not read either.
const DESCRIPTOR_LEN: usize = 12;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// How much of an entry is in memory, packed and unpacked each. The inflater saves its window of 32 KiB once a call,
/// which this makes rare; both buffers still fit the second cache.
const BUFFER_BYTES: usize = 256 << 10;

/// The hash of an entry.
pub(super) struct EntryHash {
    /// Which entry, in the order of the directory.
    pub(super) index: usize,
    /// SHA-256 of its content.
    pub(super) digest: [u8; 32],
    /// Where the entry ends in the zip, its descriptor included.
    pub(super) end: u64,
    /// The content, where it was asked for.
    pub(super) content: Option<Vec<u8>>,
}

/// Hashes entries one by one, with the buffers of one thread.
pub(super) struct EntryReader<'a, R: ?Sized> {
    zip: &'a R,
    directory: &'a Directory,
    inflate: Decompress,
    packed: Vec<u8>,
    unpacked: Vec<u8>,
}

/// What has come out of an entry so far.
struct Content {
    sha256: Sha256,
    crc32: Crc32,
    size: u64,
    limit: u64,
    kept: Option<Vec<u8>>,
}

const TOO_LONG: &str = "longer than the directory says";
const TOO_SHORT: &str = "shorter than the directory says";

impl Content {
    fn push(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(TOO_LONG);
        }
        self.sha256.update(bytes);
        self.crc32.update(bytes);
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
        }
        Ok(())
    }
}

impl<'a, R: ReadAt + ?Sized> EntryReader<'a, R> {
    pub(super) fn new(zip: &'a R, directory: &'a Directory) -> EntryReader<'a, R> {
        EntryReader {
            zip,
            directory,
            inflate: Decompress::new(false),
            packed: vec![0; BUFFER_BYTES],
            unpacked: vec![0; BUFFER_BYTES],
        }
    }

    /// Hashes the entry, keeping its content if `keep`.
    pub(super) fn hash(&mut self, index: usize, keep: bool) -> Result<EntryHash, ZipError> {
        let directory = self.directory;
        let entry = &directory.entries[index];
        let refuse = |reason| directory.entry_error(index, reason);
        if entry.flags & FLAG_ENCRYPTED != 0 {
            return Err(refuse("encrypted"));
        }
        let data = self.data_start(index)?;
        let data_end = data.checked_add(entry.packed).filter(|end| *end <= directory.start);
        let data_end = data_end.ok_or_else(|| refuse("reaches into the directory"))?;
        let mut content = Content {
            sha256: Sha256::new(),
            crc32: Crc32::new(),
            size: 0,
            limit: entry.unpacked,
            kept: keep.then(Vec::new),
        };
        if directory.name(index).ends_with(b"/") {
            // Some writers pack the nothing of a directory into a few bytes, which Go does not read.
            if entry.unpacked != 0 {
                return Err(refuse("a directory with content"));
            }
            return Ok(EntryHash {
                index,
                digest: content.sha256.finalize().into(),
                end: data_end,
                content: None,
            });
        }
        match entry.method {
            STORED => self.read_stored(index, data, data_end, &mut content)?,
            DEFLATED => self.read_deflated(index, data, data_end, &mut content)?,
            _ => return Err(refuse("unknown compression method")),
        }
        if content.size != entry.unpacked {
            return Err(refuse(TOO_SHORT));
        }
        let end = self.check_crc32(index, data_end, content.crc32.finalize())?;
        Ok(EntryHash { index, digest: content.sha256.finalize().into(), end, content: content.kept })
    }

    /// Reads the local header: where the data begins.
    fn data_start(&mut self, index: usize) -> Result<u64, ZipError> {
        let entry = &self.directory.entries[index];
        let name = self.directory.name(index);
        let refuse = |reason| self.directory.entry_error(index, reason);
        let header = &mut self.packed[..];
        let len = LOCAL_HEADER_LEN + name.len();
        let header = header.get_mut(..len).expect("a name has at most 65,535 bytes");
        self.zip.read_exact_at(header, entry.header).map_err(read_error)?;
        if !header.starts_with(LOCAL_HEADER_SIGNATURE) {
            return Err(refuse("no local header where the directory points"));
        }
        if usize::from(u16_at(header, 26)) != name.len() || &header[LOCAL_HEADER_LEN..] != name {
            return Err(refuse("another name in its local header"));
        }
        Ok(entry.header + (len + usize::from(u16_at(header, 28))) as u64)
    }

    fn read_stored(
        &mut self,
        index: usize,
        mut at: u64,
        end: u64,
        content: &mut Content,
    ) -> Result<(), ZipError> {
        while at < end {
            let chunk = self.packed_chunk(at, end)?;
            content
                .push(&self.packed[..chunk])
                .map_err(|reason| self.directory.entry_error(index, reason))?;
            at += chunk as u64;
        }
        Ok(())
    }

    fn read_deflated(
        &mut self,
        index: usize,
        mut at: u64,
        end: u64,
        content: &mut Content,
    ) -> Result<(), ZipError> {
        let refuse = |reason| self.directory.entry_error(index, reason);
        self.inflate.reset(false);
        let (mut chunk, mut used) = (0, 0);
        loop {
            if used == chunk && at < end {
                chunk = self.packed_chunk(at, end)?;
                at += chunk as u64;
                used = 0;
            }
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(&self.packed[used..chunk], &mut self.unpacked, FlushDecompress::None)
                .map_err(|_| refuse("damaged compressed data"))?;
            let consumed = (self.inflate.total_in() - before_in) as usize;
            let produced = (self.inflate.total_out() - before_out) as usize;
            used += consumed;
            content.push(&self.unpacked[..produced]).map_err(refuse)?;
            match status {
                // What follows the last block within the packed size is not read, as in Go.
                Status::StreamEnd => return Ok(()),
                _ if consumed == 0 && produced == 0 && at == end => {
                    return Err(refuse("compressed data cut off"));
                }
                _ => {}
            }
        }
    }

    /// Reads the next packed bytes of the entry into the buffer; says how many.
    fn packed_chunk(&mut self, at: u64, end: u64) -> Result<usize, ZipError> {
        let len = (end - at).min(BUFFER_BYTES as u64) as usize;
        self.zip.read_exact_at(&mut self.packed[..len], at).map_err(read_error)?;
        Ok(len)
    }

    /// Checks the CRC-32 by Go's rules: against descriptor and directory where there is a descriptor, else against
    /// the directory unless that has none. Says where the entry ends.
    fn check_crc32(&self, index: usize, data_end: u64, crc32: u32) -> Result<u64, ZipError> {
        let entry = &self.directory.entries[index];
        let refuse = |reason| self.directory.entry_error(index, reason);
        if entry.flags & FLAG_DESCRIPTOR == 0 {
            return if entry.crc32 == 0 || entry.crc32 == crc32 {
                Ok(data_end)
            } else {
                Err(refuse("checksum mismatch"))
            };
        }
        let mut descriptor = [0; DESCRIPTOR_LEN];
        self.zip.read_exact_at(&mut descriptor, data_end).map_err(read_error)?;
        let at = if u32_at(&descriptor, 0) == DESCRIPTOR_SIGNATURE { 4 } else { 0 };
        if u32_at(&descriptor, at) != crc32 || entry.crc32 != crc32 {
            return Err(refuse("checksum mismatch"));
        }
        Ok(data_end + DESCRIPTOR_LEN as u64)
    }
}
