//! The files of a bundle as a tar archive: plain files with the names of a static checksum database, in a ustar header each, all
//! with the same owner and time, so that the same tree gives the same archive.
//!
//! Who reads takes only such files. A link, a device, a name that leaves the directory, a file that is too large or comes twice
//! is refused by name; what others put beside the database is passed over. Extended headers are read as what they are,
//! entries of their own, since names and sizes here fit without them, and a hostile one may be as long as it likes.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tar::{Archive, Builder, EntryType, Header};

use super::{BundleError, Name, at};

/// Files in an archive: a log of four billion records. Bounds the time that an archive of empty files takes.
const MAX_FILES: u64 = 40_000_000;
/// An extended header has a few short lines.
const MAX_EXTENDED_BYTES: u64 = 64 << 10;

/// Writes one file.
pub(in crate::mirror) fn write_file(to: &mut Builder<impl Write>, name: &str, body: &[u8]) -> io::Result<()> {
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

/// Unpacks the files of a static checksum database into a directory, `max_bytes` of them at most. Returns the bytes.
/// `path` is the archive's, for errors; `progress` is told how many bytes are read, and may end it.
pub(in crate::mirror) fn unpack(
    archive: impl Read,
    path: &Path,
    into: &Path,
    max_bytes: u64,
    progress: &dyn Fn(u64) -> ControlFlow<()>,
) -> Result<u64, BundleError> {
    let hostile = |why: String| BundleError::Hostile { path: path.to_owned(), why };
    let no_tar = |error: io::Error| match error.kind() {
        io::ErrorKind::Other => hostile(format!("it is no tar archive: {error}")),
        _ => at(path)(error),
    };
    let (mut files, mut bytes) = (0_u64, 0_u64);
    let mut archive = Archive::new(archive);
    for entry in archive.entries().map_err(no_tar)?.raw(true) {
        let mut entry = entry.map_err(no_tar)?;
        files += 1;
        if files > MAX_FILES {
            return Err(hostile(format!("it has more than {MAX_FILES} files")));
        }
        let size = entry.header().entry_size().map_err(no_tar)?;
        let name = std::str::from_utf8(&entry.path_bytes()).map(str::to_owned);
        let name = name.map_err(|_| hostile("a name is not UTF-8".to_owned()))?;
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                // What is passed over counts as well: it takes as long.
                bytes = bytes.saturating_add(size);
                if bytes > max_bytes {
                    let why = format!("it unpacks to more than the {max_bytes} bytes that are free");
                    return Err(hostile(why));
                }
                if !wanted(&name, size).map_err(hostile)? {
                    continue;
                }
                let target = into.join(name.trim_start_matches("./"));
                write_new(&mut entry, size, &target).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => hostile(format!("{name} is in it twice")),
                    _ => at(target)(error),
                })?;
                if progress(bytes).is_break() {
                    return Err(BundleError::Stopped);
                }
            }
            EntryType::Directory => {}
            EntryType::XHeader | EntryType::XGlobalHeader if size <= MAX_EXTENDED_BYTES => {
                let mut text = Vec::new();
                entry.read_to_end(&mut text).map_err(at(path))?;
                // Times and owners may be said more exactly; names and sizes here are short enough without.
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
    Ok(bytes)
}

/// Whether a file is one of a static checksum database. The error says why it must not even be passed over.
fn wanted(name: &str, size: u64) -> Result<bool, String> {
    let plain = name.strip_prefix("./").unwrap_or(name);
    let leaves = plain.starts_with('/') || plain.split('/').any(|part| part == "..");
    if leaves {
        return Err(format!("{name} would leave the directory"));
    }
    match Name::of(plain) {
        Ok(None) => Ok(false),
        Ok(Some(known)) if size <= known.max_bytes() => Ok(true),
        Ok(Some(known)) => Err(format!("{name} has {size} bytes, more than {}", known.max_bytes())),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// A file that is not there yet, whole: its size was checked, so that it fits into memory.
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
