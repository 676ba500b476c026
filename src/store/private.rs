//! State that nobody but its owner can reach: files with mode 0600 in directories with mode 0700.
//!
//! Reading a database is enough to stop the log: whoever can open the file, its `-shm` or the lock
//! can lock them, and the writer waits for a lock that is never given back. So the program makes
//! each file of state with the mode that it keeps, and when it takes over a directory it tightens
//! what an older version, a copy or a careless umask has left open to others.
//!
//! SQLite gives a `-wal` and a `-shm` the mode of their database, so it is enough to make the
//! database first.
//!
//! What a user names as output (a text file for metrics, an export, a feed) is not state and keeps
//! the mode of the umask.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What others may do with a file.
const OTHERS: u32 = 0o077;
/// A directory such as /tmp belongs to everybody, whoever owns it.
const STICKY: u32 = 0o1000;
/// Directories of a data directory, which hold nothing but state.
const DIRECTORIES: [&str; 3] = ["keys", "mirror", "scratch"];
/// How the names of files end that hold state.
const ENDS: [&str; 9] =
    [".db", ".db-wal", ".db-shm", ".db-journal", ".stops", ".state", ".lock", ".segments", ".places"];

/// How a file of state is opened for writing, and made where there is none.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

/// Makes an empty file where there is none. One that is there is not opened: closing it would give
/// up the locks that SQLite holds on it in this process.
pub(super) fn make_file(path: &Path) -> io::Result<()> {
    match File::options().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// Makes a directory for state, with those above it.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Tightens a directory of state and the state in it, and says so once. The holder of the
/// directory's lock calls this. What cannot be tightened is told and is no error: an older version
/// of this program ran with it.
pub(super) fn tighten(directory: &Path) {
    let mut loose = Vec::new();
    let own = fs::metadata(directory).ok().filter(|found| found.mode() & STICKY == 0);
    if own.is_some_and(|found| is_loose(&found)) {
        loose.push((directory.to_owned(), 0o700));
    }
    for (path, found) in entries(directory) {
        if found.is_dir() && path.file_name().is_some_and(|name| DIRECTORIES.iter().any(|one| *one == name)) {
            if is_loose(&found) {
                loose.push((path.clone(), 0o700));
            }
            // Keys are judged by whoever reads them: a key that others could read has to be
            // replaced.
            if path.ends_with("mirror") {
                loose.extend(entries(&path).into_iter().filter(is_loose_file).map(|(path, _)| (path, 0o600)));
            }
        } else if path.file_name().is_some_and(is_state) && is_loose_file(&(path.clone(), found)) {
            loose.push((path, 0o600));
        }
    }
    close(loose);
}

/// Tightens a file of state, with those that SQLite and the stops have beside it. Its directory may
/// be anybody's.
pub(crate) fn tighten_file(path: &Path) {
    let beside = |end: &str| PathBuf::from(format!("{}{end}", path.display()));
    let files = ["", "-wal", "-shm", ".stops"].map(beside);
    let found = files.into_iter().filter_map(|path| Some((path.clone(), fs::symlink_metadata(path).ok()?)));
    close(found.filter(is_loose_file).map(|(path, _)| (path, 0o600)).collect());
}

fn close(loose: Vec<(PathBuf, u32)>) {
    let (mut closed, mut failed) = (Vec::new(), Vec::new());
    for (path, mode) in loose {
        match fs::set_permissions(&path, Permissions::from_mode(mode)) {
            Ok(()) => closed.push(path),
            Err(error) => failed.push((path, error)),
        }
    }
    if let Some(first) = closed.first() {
        tracing::warn!(
            path = %first.display(), count = closed.len(),
            "other users of this machine could open state of this program, and could have locked it: it is private now \
             (files 0600, directories 0700)"
        );
    }
    if let Some((path, error)) = failed.first() {
        tracing::warn!(
            path = %path.display(), %error, count = failed.len(),
            "other users of this machine can open state of this program, and can lock it\n  fix: let the user that runs \
             tallystick own it, then `chmod -R go= '{}'`", path.display()
        );
    }
}

/// A link leads to files that may be somebody else's, and is left alone.
fn entries(directory: &Path) -> Vec<(PathBuf, Metadata)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?))).collect()
}

fn is_loose(found: &Metadata) -> bool {
    found.mode() & OTHERS != 0
}

fn is_loose_file((_, found): &(PathBuf, Metadata)) -> bool {
    found.is_file() && is_loose(found)
}

fn is_state(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name == "lock" || name.contains(".incident-") || ENDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn state_is_tightened_and_what_is_not_state_stays() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        for name in ["keys", "mirror", "scratch", "other"] {
            fs::create_dir_all(data.join(name)).unwrap();
            fs::set_permissions(data.join(name), Permissions::from_mode(0o755)).unwrap();
        }
        let state =
            ["log.db", "log.db-wal", "lock", "anchor.db.stops", "log.incident-1.txt", "mirror/x.full.places"];
        let not_state = ["metrics.prom", "tallystick.toml", "other/log.db", "keys/x.vkey"];
        for name in state.iter().chain(&not_state) {
            fs::write(data.join(name), "").unwrap();
            fs::set_permissions(data.join(name), Permissions::from_mode(0o664)).unwrap();
        }
        fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
        tighten(&data);
        for name in state {
            assert_eq!(mode(&data.join(name)), 0o600, "{name}");
        }
        for name in not_state {
            assert_eq!(mode(&data.join(name)), 0o664, "{name}");
        }
        for (name, wanted) in
            [("", 0o700), ("keys", 0o700), ("mirror", 0o700), ("scratch", 0o700), ("other", 0o755)]
        {
            assert_eq!(mode(&data.join(name)), wanted, "{name}");
        }
    }

    #[test]
    fn the_directory_of_an_anchor_and_one_of_everybody_stay() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("place");
        fs::create_dir(&place).unwrap();
        for name in ["anchor.db", "anchor.db-wal", "anchor.db.stops", "stranger.db"] {
            fs::write(place.join(name), "").unwrap();
            fs::set_permissions(place.join(name), Permissions::from_mode(0o644)).unwrap();
        }
        fs::set_permissions(&place, Permissions::from_mode(0o755)).unwrap();
        tighten_file(&place.join("anchor.db"));
        assert_eq!((mode(&place), mode(&place.join("stranger.db"))), (0o755, 0o644));
        for name in ["anchor.db", "anchor.db-wal", "anchor.db.stops"] {
            assert_eq!(mode(&place.join(name)), 0o600, "{name}");
        }
        fs::set_permissions(&place, Permissions::from_mode(0o1777)).unwrap();
        tighten(&place);
        assert_eq!(mode(&place), 0o1777);
    }
}
