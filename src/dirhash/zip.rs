//! The hash of a module's zip, with everything refused that two readers of zips could read in two ways.
//!
//! The `go` command hashes the entries of the zip's central directory by name, directory entries included. So do we,
//! and for every zip accepted here the hash is x/mod's. A zip that is refused is damaged, hostile, beyond the limits
//! of x/mod/zip, or one that the `go` command would not unpack; the exceptions, stricter than x/mod, are: bytes
//! before the first or after the last record of the archive, a name in the local header that differs from the
//! directory's, entries that overlap, the same directory twice, encrypted entries, several disks.
//!
//! We read zips ourselves, because the parsers must agree: a library that renames entries by an extra field,
//! drops the first of two equal names or searches for another end record hashes another set of files than `go`.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::archive::{self, Directory};
use super::entry::{EntryHash, EntryReader, LOCAL_HEADER_LEN};
use super::{H1, names, summarize};
use crate::module::ModuleVersion;

/// Bytes that several threads can read at any position, such as a slice or a file.
pub trait ReadAt: Sync {
    /// How many bytes there are.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`, or fails with [`io::ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.get(start..).and_then(|tail| tail.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// The greatest sizes that a module's zip may have. The defaults are those of x/mod/zip, so that what the `go`
/// command can use is never refused; a server may want less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZipLimits {
    /// The zip itself, in bytes: [`MAX_ZIP_BYTES`](ZipLimits::MAX_ZIP_BYTES).
    pub zip_bytes: u64,
    /// All of its files unpacked, in bytes: [`MAX_UNPACKED_BYTES`](ZipLimits::MAX_UNPACKED_BYTES).
    pub unpacked_bytes: u64,
    /// The go.mod in its root, in bytes: [`MAX_GO_MOD_BYTES`](ZipLimits::MAX_GO_MOD_BYTES).
    pub go_mod_bytes: u64,
    /// The LICENSE in its root, in bytes: [`MAX_LICENSE_BYTES`](ZipLimits::MAX_LICENSE_BYTES).
    pub license_bytes: u64,
    /// Entries, directories included: [`MAX_ENTRIES`](ZipLimits::MAX_ENTRIES).
    pub entries: usize,
}

impl ZipLimits {
    /// `MaxZipFile` of x/mod/zip.
    pub const MAX_ZIP_BYTES: u64 = 500 << 20;
    /// `MaxZipFile` of x/mod/zip, which bounds the unpacked files too.
    pub const MAX_UNPACKED_BYTES: u64 = 500 << 20;
    /// `MaxGoMod` of x/mod/zip.
    pub const MAX_GO_MOD_BYTES: u64 = 16 << 20;
    /// `MaxLICENSE` of x/mod/zip.
    pub const MAX_LICENSE_BYTES: u64 = 16 << 20;
    /// x/mod has no such limit. The largest modules have some ten thousand files; this bounds our memory for a zip
    /// of empty ones to less than 200 MiB.
    pub const MAX_ENTRIES: usize = 1 << 18;
}

impl Default for ZipLimits {
    fn default() -> ZipLimits {
        ZipLimits {
            zip_bytes: ZipLimits::MAX_ZIP_BYTES,
            unpacked_bytes: ZipLimits::MAX_UNPACKED_BYTES,
            go_mod_bytes: ZipLimits::MAX_GO_MOD_BYTES,
            license_bytes: ZipLimits::MAX_LICENSE_BYTES,
            entries: ZipLimits::MAX_ENTRIES,
        }
    }
}

/// What a module's zip says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedZip {
    /// The hash of its files: the first go.sum line.
    pub h1: H1,
    /// The go.mod in its root; `None` where it has none, and the `go` command makes one up.
    pub go_mod: Option<Vec<u8>>,
}

/// Why a zip has no hash. All but [`ZipError::Io`] say that the zip itself is at fault, and will be again.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    /// The bytes could not be read. The zip may be sound.
    #[error("cannot read the zip")]
    Io(#[source] io::Error),
    /// Not a zip, or cut off, or with a directory that does not fit it.
    #[error("not a sound zip: {reason}")]
    Malformed {
        /// What does not fit.
        reason: &'static str,
    },
    /// Larger than a limit, in what it is or in what it declares.
    #[error("{what} too large: {size} is more than {limit}")]
    TooLarge {
        /// What is too large: `zip`, `unpacked files`, `go.mod`, `LICENSE`, `number of entries`, `directory`.
        what: &'static str,
        /// How large it is, in bytes (entries for their number).
        size: u64,
        /// How large it may be.
        limit: u64,
    },
    /// An entry has a name that no module's zip has.
    #[error("bad file name {name:?} in zip: {reason}")]
    Name {
        /// The name; what is not UTF-8 is replaced.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An entry cannot be read, or is not what the directory says of it.
    #[error("bad entry {name:?} in zip: {reason}")]
    Entry {
        /// The entry.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// How many threads share the entries of a zip. Inflating and hashing are bound by the processor, and a server has
/// several zips in flight, so more would only take from others.
const THREADS: usize = 2;

/// Below this many bytes unpacked a second thread costs more than it brings.
const ONE_THREAD_BYTES: u64 = 256 << 10;

/// Entries from this compressed size on are started first, so that no thread is left alone with a large one.
const LARGE_ENTRY_BYTES: u64 = 1 << 20;

/// Hashes the zip of `module`, and takes out its go.mod. Reads each entry once, in streams: memory is bounded by the
/// directory and the go.mod.
pub fn hash_zip<R: ReadAt + ?Sized>(
    zip: &R,
    module: &ModuleVersion,
    limits: &ZipLimits,
) -> Result<HashedZip, ZipError> {
    let size = zip.size().map_err(ZipError::Io)?;
    check_limit("zip", size, limits.zip_bytes)?;
    let directory = archive::read_directory(zip, size, limits)?;
    let prefix = format!("{module}/");
    let go_mod = names::check(&directory, &prefix, limits)?;

    check_room(&directory)?;
    let hashes = hash_entries(zip, &directory, go_mod)?;
    check_overlap(&directory, &hashes)?;
    let mut lines: Vec<(&[u8], [u8; 32])> = Vec::with_capacity(hashes.len());
    lines.extend(hashes.iter().map(|hash| (directory.name(hash.index), hash.digest)));
    lines.sort_unstable();
    let h1 = summarize(&lines);
    let go_mod = hashes.into_iter().find_map(|hash| hash.content);
    Ok(HashedZip { h1, go_mod })
}

pub(super) fn check_limit(what: &'static str, size: u64, limit: u64) -> Result<(), ZipError> {
    if size > limit { Err(ZipError::TooLarge { what, size, limit }) } else { Ok(()) }
}

/// Hashes every entry, the content of entry `keep` is kept.
fn hash_entries<R: ReadAt + ?Sized>(
    zip: &R,
    directory: &Directory,
    keep: Option<usize>,
) -> Result<Vec<EntryHash>, ZipError> {
    let order = reading_order(directory);
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let work = || {
        let mut reader = EntryReader::new(zip, directory);
        let mut hashes = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            match reader.hash(index, keep == Some(index)) {
                Ok(hash) => hashes.push(hash),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(hashes)
    };
    // Directories may declare anything here; reading them refuses it.
    let unpacked = directory.entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.unpacked));
    let threads = if unpacked < ONE_THREAD_BYTES { 1 } else { THREADS };
    let mut hashes = Vec::with_capacity(order.len());
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let results = others.into_iter().map(|thread| thread.join().expect("hashing does not panic"));
        for result in std::iter::once(own).chain(results) {
            hashes.append(&mut result?);
        }
        Ok(hashes)
    })
}

/// Large entries first, largest before all; then the others as they lie in the zip.
fn reading_order(directory: &Directory) -> Vec<usize> {
    let mut order: Vec<usize> = (0..directory.entries.len()).collect();
    order.sort_by_key(|index| {
        let entry = &directory.entries[*index];
        let large = if entry.packed >= LARGE_ENTRY_BYTES { entry.packed } else { 0 };
        (std::cmp::Reverse(large), entry.header)
    });
    order
}

/// Before anything is read: entries whose declared bytes overlap would have the same bytes inflated for each of them.
fn check_room(directory: &Directory) -> Result<(), ZipError> {
    let mut spans: Vec<(u64, u64, usize)> = Vec::with_capacity(directory.entries.len());
    for (index, entry) in directory.entries.iter().enumerate() {
        let least = (LOCAL_HEADER_LEN + directory.name(index).len()) as u64;
        let end = entry.header.saturating_add(least).saturating_add(entry.packed);
        if end > directory.start {
            return Err(directory.entry_error(index, "reaches into the directory"));
        }
        spans.push((entry.header, end, index));
    }
    check_spans(directory, spans)
}

/// Entries that share bytes are how a small zip unpacks to a vast one, and mean different files to readers that
/// go by the local headers.
fn check_overlap(directory: &Directory, hashes: &[EntryHash]) -> Result<(), ZipError> {
    let spans = hashes.iter().map(|hash| (directory.entries[hash.index].header, hash.end, hash.index));
    check_spans(directory, spans.collect())
}

/// Header, end and index of each entry: each must end before the next one begins, the last before the directory.
fn check_spans(directory: &Directory, mut spans: Vec<(u64, u64, usize)>) -> Result<(), ZipError> {
    spans.sort_unstable();
    let ends = spans.iter().skip(1).map(|span| span.0).chain([directory.start]);
    match spans.iter().zip(ends).find(|((_, end, _), next)| end > next) {
        Some(((.., index), _)) => Err(directory.entry_error(*index, "overlaps with what follows it")),
        None => Ok(()),
    }
}
