//! The hash of a module's zip, with everything refused that two readers of zips could read in two ways.
//!
//! The `go` command hashes the entries of the zip's central directory by name, directory entries included. So do we,
//! and for every zip accepted here the hash is x/mod's. A zip that is refused is damaged, hostile, beyond the limits
//! of x/mod/zip, or one that the `go` command would not unpack; the exceptions, stricter than x/mod, are: a name in
//! the local header that differs from the directory's, entries that overlap each other or the directory or come
//! after it, the same directory twice, encrypted entries.
//!
//! We read zips ourselves, because the parsers must agree: a library that renames entries by an extra field,
//! drops the first of two equal names or searches for another end record hashes another set of files than `go`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::archive::{self, Directory};
use super::entry::{EntryHash, EntryReader, LOCAL_HEADER_LEN};
use super::limits::{ZipError, ZipLimits, check_limit};
use super::read_at::ReadAt;
use super::{H1, names, summarize};
use crate::module::ModuleVersion;

/// What a module's zip says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedZip {
    /// The hash of its files: the first go.sum line.
    pub h1: H1,
    /// The go.mod in its root; `None` where it has none, and the `go` command makes one up.
    pub go_mod: Option<Vec<u8>>,
}

/// The files of a module's zip, each hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZipFiles {
    /// The hash of all of them: the first go.sum line.
    pub h1: H1,
    /// The SHA-256 of each, by its name without the `path@version/` in front.
    pub files: BTreeMap<String, [u8; 32]>,
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
    let (directory, hashes) = hash_all(zip, module, limits)?;
    let h1 = hash_of(&directory, &hashes);
    let go_mod = hashes.into_iter().find_map(|hash| hash.content);
    Ok(HashedZip { h1, go_mod })
}

/// Hashes the zip of `module` as [`hash_zip`] does, and tells the hash of each file: they are of the bytes that gave the
/// hash of the whole.
pub fn hash_zip_files<R: ReadAt + ?Sized>(
    zip: &R,
    module: &ModuleVersion,
    limits: &ZipLimits,
) -> Result<ZipFiles, ZipError> {
    let (directory, hashes) = hash_all(zip, module, limits)?;
    let prefix = format!("{module}/");
    let name = |hash: &EntryHash| {
        let name = directory.name(hash.index).strip_prefix(prefix.as_bytes())?;
        Some((String::from_utf8_lossy(name).into_owned(), hash.digest))
    };
    Ok(ZipFiles { h1: hash_of(&directory, &hashes), files: hashes.iter().filter_map(name).collect() })
}

fn hash_all<R: ReadAt + ?Sized>(
    zip: &R,
    module: &ModuleVersion,
    limits: &ZipLimits,
) -> Result<(Directory, Vec<EntryHash>), ZipError> {
    let size = zip.size().map_err(ZipError::Io)?;
    check_limit("zip", size, limits.zip_bytes)?;
    let directory = archive::read_directory(zip, size, limits)?;
    let prefix = format!("{module}/");
    let go_mod = names::check(&directory, &prefix, limits)?;

    check_room(&directory)?;
    let hashes = hash_entries(zip, &directory, go_mod)?;
    check_overlap(&directory, &hashes)?;
    Ok((directory, hashes))
}

fn hash_of(directory: &Directory, hashes: &[EntryHash]) -> H1 {
    let mut lines: Vec<(&[u8], [u8; 32])> = Vec::with_capacity(hashes.len());
    lines.extend(hashes.iter().map(|hash| (directory.name(hash.index), hash.digest)));
    lines.sort_unstable();
    summarize(&lines)
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
