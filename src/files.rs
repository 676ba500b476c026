//! Files that others have made: what they are is looked at before they are read, and how long they may be is said.
//!
//! | whose choice | may be | opened with |
//! |---|---|---|
//! | a person names it | anything but a directory; a pipe, as `<(…)` of a shell, is waited for | [`read_named`] |
//! | a program goes by its name later, alone | a regular file, by way of links too | [`open_regular`] |
//! | it is found in a directory | a regular file in that directory | [`open_found`] |
//!
//! A named pipe that is found would be waited for until somebody writes to it, a device may never end, and a link may
//! lead out of what was named. Opening without blocking and asking the open file closes the race with whoever swaps it.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file; a link is followed.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    open(path, OFlags::NONBLOCK)
}

/// Opens a regular file that was found below `root`, which must be canonical. A link that leads elsewhere is refused.
pub(crate) fn open_found(root: &Path, path: &Path) -> io::Result<File> {
    let target = std::fs::canonicalize(path)?;
    if !target.starts_with(root) {
        return Err(refused(format!("it is a link that leads out of {}", root.display())));
    }
    // What is swapped for a link meanwhile is no file of the tree.
    open(&target, OFlags::NONBLOCK | OFlags::NOFOLLOW)
}

/// Reads a regular file of at most `max_bytes`.
pub(crate) fn read_regular(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    read(open_regular(path)?, max_bytes)
}

/// Reads a file of at most `max_bytes` that a person named. It may be a pipe.
pub(crate) fn read_named(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    read(File::open(path)?, max_bytes)
}

/// Reads an open file of at most `max_bytes`.
pub(crate) fn read(file: File, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {max_bytes} bytes"),
        ));
    }
    Ok(bytes)
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() {
        return Err(refused(format!("it is {}, not a regular file", kind_of(kind))));
    }
    Ok(file)
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn kind_of(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_symlink() {
        "a link"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// Ends at once: whoever opened the pipe as `File::open` does would wait here for ever.
    #[test]
    fn only_regular_files_of_the_tree_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap().join("tree");
        std::fs::create_dir(&root).unwrap();
        let place = |name: &str| root.join(name);
        std::fs::write(place("file"), "12345").unwrap();
        std::fs::write(root.with_file_name("outside"), "secret").unwrap();
        mknodat(CWD, place("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(place("socket")).unwrap();
        symlink("file", place("inside")).unwrap();
        symlink("../outside", place("out")).unwrap();
        symlink("/dev/zero", place("zero")).unwrap();
        symlink("pipe", place("to-pipe")).unwrap();
        for name in ["file", "inside"] {
            assert_eq!(read(open_found(&root, &place(name)).unwrap(), 5).unwrap(), b"12345", "{name}");
        }
        for (name, why) in [
            ("pipe", "it is a named pipe, not a regular file"),
            ("to-pipe", "it is a named pipe, not a regular file"),
            ("out", "it is a link that leads out of"),
            ("zero", "it is a link that leads out of"),
            (".", "it is a directory, not a regular file"),
        ] {
            let error = open_found(&root, &place(name)).unwrap_err().to_string();
            assert!(error.starts_with(why), "{name}: {error}");
        }
        assert!(open_found(&root, &place("socket")).is_err());
        assert!(open_regular(&place("zero")).unwrap_err().to_string().contains("a device"));
        assert_eq!(read_regular(&place("out"), 6).unwrap(), b"secret");
        let error = read_named(&place("file"), 4).unwrap_err();
        assert_eq!(error.to_string(), "it is larger than 4 bytes");
    }
}
