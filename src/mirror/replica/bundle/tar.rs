//! The files of a bundle as a tar archive: plain files with the names of a static checksum
//! database, in a ustar header each, all with the same owner and time, so that the same tree gives
//! the same archive.
//!
//! The reader takes only such files. It refuses by name a link, a device, a name that leaves the
//! directory, and a file that is empty, too large or comes twice; it passes over what others put
//! beside the database. Extended headers are entries of their own here, since names and sizes fit
//! without them, and a hostile one may be as long as it likes.
//!
//! Everything in a stream is counted, since a few compressed bytes may stand for any of it:
//!
//! | what | bound |
//! |---|---|
//! | all bytes of the stream | the bytes that are free |
//! | files unpacked, each at least one block | the bytes that are free, and [`MAX_FILES`] |
//! | other headers: directories, files passed over | [`MAX_OTHERS`] and twice the files unpacked |
//!
//! It can be stopped at every read of the stream.

use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tar::{Archive, Builder, EntryType, Header};

use super::{BundleError, Name, at};

/// Files in an archive: a log of four billion records.
const MAX_FILES: u64 = 40_000_000;
/// Other headers than those of the database's files: some archivers write one or two before each
/// file, and people put a few files beside it.
const MAX_OTHERS: u64 = 10_000;
/// What a file takes of the disk at least.
const BLOCK_BYTES: u64 = 4 << 10;
/// An extended header has a few short lines.
const MAX_EXTENDED_BYTES: u64 = 64 << 10;

/// Writes one file.
pub(in crate::mirror::replica) fn write_file(
    to: &mut Builder<impl Write>,
    name: &str,
    body: &[u8],
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_size(body.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    to.append(&header, body)
}

/// A stream that is counted and can be stopped.
struct Counted<'a, R> {
    stream: R,
    bytes: u64,
    max_bytes: u64,
    progress: &'a dyn Fn(u64) -> ControlFlow<()>,
    /// Why it ended; the archive's reader wraps errors.
    ended: &'a Cell<Option<Ended>>,
}

#[derive(Clone, Copy)]
enum Ended {
    Stopped,
    TooLong,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(buffer)?;
        self.bytes += n as u64;
        let ended = if self.bytes > self.max_bytes {
            Ended::TooLong
        } else if (self.progress)(self.bytes).is_break() {
            Ended::Stopped
        } else {
            return Ok(n);
        };
        self.ended.set(Some(ended));
        Err(io::Error::other("ended"))
    }
}

/// What was seen of an archive.
#[derive(Default)]
struct Seen {
    files: u64,
    others: u64,
    /// What the files take of the disk.
    bytes: u64,
}

impl Seen {
    fn other(&mut self) -> Result<(), String> {
        self.others += 1;
        if self.others > MAX_OTHERS + 2 * self.files {
            let (others, files) = (self.others, self.files);
            return Err(format!(
                "{others} of its headers are not those of a checksum database's files, of which it has {files} so far"
            ));
        }
        Ok(())
    }

    fn file(&mut self, size: u64, max_bytes: u64) -> Result<(), String> {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size.max(BLOCK_BYTES));
        if self.files > MAX_FILES {
            return Err(format!("it has more than {MAX_FILES} files"));
        }
        if self.bytes > max_bytes {
            return Err(too_long(max_bytes));
        }
        Ok(())
    }
}

fn too_long(max_bytes: u64) -> String {
    format!("it unpacks to more than the {max_bytes} bytes that are free")
}

/// Unpacks the files of a static checksum database into a directory, `max_bytes` of the disk at
/// most. `path` is the archive's, for errors; `progress` gets how many bytes of the stream are
/// read, and may end it.
pub(in crate::mirror::replica) fn unpack(
    archive: impl Read,
    path: &Path,
    into: &Path,
    max_bytes: u64,
    progress: &dyn Fn(u64) -> ControlFlow<()>,
) -> Result<(), BundleError> {
    let ended = Cell::new(None);
    let stream = Counted { stream: archive, bytes: 0, max_bytes, progress, ended: &ended };
    let unpacked = unpack_counted(stream, path, into, max_bytes);
    match ended.get() {
        None => unpacked,
        Some(Ended::Stopped) => Err(BundleError::Stopped),
        Some(Ended::TooLong) => Err(BundleError::Hostile { path: path.to_owned(), why: too_long(max_bytes) }),
    }
}

fn unpack_counted(archive: impl Read, path: &Path, into: &Path, max_bytes: u64) -> Result<(), BundleError> {
    let hostile = |why: String| BundleError::Hostile { path: path.to_owned(), why };
    let no_tar = |error: io::Error| match error.kind() {
        io::ErrorKind::Other => hostile(format!("it is no tar archive: {error}")),
        _ => at(path)(error),
    };
    let mut seen = Seen::default();
    let mut archive = Archive::new(archive);
    for entry in archive.entries().map_err(no_tar)?.raw(true) {
        let mut entry = entry.map_err(no_tar)?;
        let size = entry.header().entry_size().map_err(no_tar)?;
        let name = std::str::from_utf8(&entry.path_bytes()).map(str::to_owned);
        let name = name.map_err(|_| hostile("a name is not UTF-8".to_owned()))?;
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                if !wanted(&name, size).map_err(hostile)? {
                    seen.other().map_err(hostile)?;
                    continue;
                }
                seen.file(size, max_bytes).map_err(hostile)?;
                let target = into.join(name.trim_start_matches("./"));
                write_new(&mut entry, size, &target).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => hostile(format!("{name} is in it twice")),
                    _ => at(target)(error),
                })?;
            }
            EntryType::Directory => seen.other().map_err(hostile)?,
            EntryType::XHeader | EntryType::XGlobalHeader if size <= MAX_EXTENDED_BYTES => {
                seen.other().map_err(hostile)?;
                let mut text = Vec::new();
                entry.read_to_end(&mut text).map_err(at(path))?;
                // Extended headers may give times and owners more exactly; names and sizes here are
                // short enough without.
                let says = |key: &[u8]| text.windows(key.len()).any(|window| window == key);
                if says(b" path=") || says(b" size=") || says(b" linkpath=") {
                    return Err(hostile("it has names that do not fit a tar header".to_owned()));
                }
            }
            kind => {
                let kind = char::from(kind.as_byte()).escape_default();
                return Err(hostile(format!("{name} is no file but a link or a device (kind {kind})")));
            }
        }
    }
    Ok(())
}

/// Decides whether a file is one of a static checksum database. The error says why it must not even
/// be passed over.
fn wanted(name: &str, size: u64) -> Result<bool, String> {
    let plain = name.strip_prefix("./").unwrap_or(name);
    let leaves = plain.starts_with('/') || plain.split('/').any(|part| part == "..");
    if leaves {
        return Err(format!("{name} would leave the directory"));
    }
    match Name::of(plain) {
        Ok(None) => Ok(false),
        Ok(Some(_)) if size == 0 => Err(format!("{name} is empty")),
        Ok(Some(known)) if size <= known.max_bytes() => Ok(true),
        Ok(Some(known)) => Err(format!("{name} has {size} bytes, more than {}", known.max_bytes())),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// Writes a file that is not there yet. Its size was checked, so it fits into memory.
fn write_new(entry: &mut impl Read, size: u64, target: &Path) -> io::Result<()> {
    let mut body = Vec::with_capacity(size as usize);
    entry.read_to_end(&mut body)?;
    if body.len() as u64 != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(target);
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(target.parent().unwrap_or(Path::new(".")))?;
            open()?
        }
        opened => opened?,
    };
    file.write_all(&body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: u64 = 1 << 40;

    /// A stream that begins with these entries and then goes on with the last of them forever, as
    /// a few kilobytes of zstd do.
    struct Endless {
        entries: Vec<Vec<u8>>,
        at: (usize, usize),
    }

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let (entry, offset) = self.at;
            let rest = &self.entries[entry][offset..];
            let n = rest.len().min(buffer.len());
            buffer[..n].copy_from_slice(&rest[..n]);
            self.at = if n < rest.len() {
                (entry, offset + n)
            } else {
                ((entry + 1).min(self.entries.len() - 1), 0)
            };
            Ok(n)
        }
    }

    fn entry(kind: EntryType, name: &str, size: u64, body: &[u8]) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_size(size);
        header.set_entry_type(kind);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn ends_with(
        entries: Vec<Vec<u8>>,
        max_bytes: u64,
        progress: &dyn Fn(u64) -> ControlFlow<()>,
    ) -> BundleError {
        let directory = tempfile::tempdir().unwrap();
        let stream = Endless { entries, at: (0, 0) };
        unpack(stream, Path::new("evil.tar.zst"), directory.path(), max_bytes, progress).unwrap_err()
    }

    #[test]
    fn headers_without_end_are_counted() {
        let latest = entry(EntryType::Regular, "latest", 2, b"x\n");
        for (other, before) in [
            (entry(EntryType::Directory, "tile/", 0, b""), vec![latest.clone()]),
            (entry(EntryType::XHeader, "x", 12, b"12 mtime=1.5"), vec![latest]),
            (entry(EntryType::XGlobalHeader, "x", 12, b"12 mtime=1.5"), vec![]),
            (entry(EntryType::Regular, "README", 0, b""), vec![]),
            (entry(EntryType::Regular, "README", 2, b"x\n"), vec![]),
        ] {
            let files = before.len() as u64;
            let entries = before.into_iter().chain([other]).collect();
            let error = ends_with(entries, FREE, &|_| ControlFlow::Continue(())).to_string();
            let counted = format!("{} of its headers", MAX_OTHERS + 2 * files + 1);
            assert!(error.starts_with("evil.tar.zst: ") && error.contains(&counted), "{error}");
        }
        let empty = entry(EntryType::Regular, "tile/8/0/000", 0, b"");
        let error = ends_with(vec![empty], FREE, &|_| ControlFlow::Continue(())).to_string();
        assert!(error.contains("tile/8/0/000 is empty"), "{error}");
    }

    /// A file that is passed over is the longest entry: nothing of it is written, and no header
    /// comes in between.
    #[test]
    fn what_is_passed_over_is_counted_and_can_be_stopped() {
        let long = || vec![entry(EntryType::Regular, "README", FREE / 2, &[]), vec![0; 64 << 10]];
        let error = ends_with(long(), 1 << 20, &|_| ControlFlow::Continue(())).to_string();
        assert!(error.contains("more than the 1048576 bytes that are free"), "{error}");
        let stop_at = 1 << 20;
        let read = Cell::new(0);
        let error = ends_with(long(), FREE, &|bytes| {
            read.set(bytes);
            if bytes >= stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(error, BundleError::Stopped), "{error}");
        assert!(read.get() < 2 * stop_at, "{}", read.get());
        let headers = || vec![entry(EntryType::Directory, "tile/", 0, b"")];
        let error = ends_with(headers(), FREE, &|bytes| {
            if bytes >= 10 * 512 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(error, BundleError::Stopped), "between headers: {error}");
    }

    /// A file takes a block of the disk, however short it is.
    #[test]
    fn short_files_count_as_what_they_take() {
        let tiles = (0..100).map(|n| entry(EntryType::Regular, &format!("tile/8/0/{n:03}"), 1, b"x"));
        let error = ends_with(tiles.collect(), 50 * BLOCK_BYTES, &|_| ControlFlow::Continue(())).to_string();
        assert!(error.contains("bytes that are free"), "{error}");
    }
}
