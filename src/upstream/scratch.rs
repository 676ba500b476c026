//! A directory for one run of the go command: everything that it and git may touch is inside, and
//! it is removed at the end.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

/// Killed processes may still be writing when the removal starts: it is tried this often, with this
/// pause.
const REMOVAL_TRIES: u32 = 200;
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);
/// How much of a program's output is read.
const MAX_OUTPUT_BYTES: u64 = 64 << 10;

/// Anything above this directory that looks like a Go module must not matter.
const GO_MOD: &str = "module scratch\n";

/// The directory. Dropping it removes it, which may take a moment: drop it on a thread that may
/// block.
#[derive(Debug)]
pub(super) struct Scratch {
    dir: Option<TempDir>,
    root: PathBuf,
}

/// Every directory's name begins so.
const PREFIX: &str = "direct-";

/// Removes the directories that a killed process left below `parent`: they hold copies of logins.
/// Nothing may be running there.
pub(crate) fn remove_leftovers(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = entry.path();
            match fs::remove_dir_all(&path) {
                Ok(()) => {
                    tracing::info!(path = %path.display(), "removed a scratch directory of a process that was killed")
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "an old scratch directory could not be removed");
                }
            }
        }
    }
}

impl Scratch {
    /// Makes the directory below `parent`.
    pub(super) fn new(parent: &Path) -> io::Result<Scratch> {
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        // Messages of the go command name the directory as it resolves it.
        let root = fs::canonicalize(dir.path())?;
        let scratch = Scratch { dir: Some(dir), root };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for name in ["home/.config/go/telemetry", "tmp", "gopath", "gocache", "work"] {
            builder.create(scratch.root.join(name))?;
        }
        scratch.write("home/.config/go/telemetry/mode", "off")?;
        scratch.write("work/go.mod", GO_MOD)?;
        Ok(scratch)
    }

    /// The directory itself, without symbolic links in its path.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A file or directory in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes a file that only we can read.
    pub(super) fn create(&self, name: &str) -> io::Result<fs::File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(name))
    }

    /// The start of a program's output.
    pub(super) fn output(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut output = Vec::new();
        fs::File::open(self.path(name))?.take(MAX_OUTPUT_BYTES).read_to_end(&mut output)?;
        Ok(output)
    }

    /// Writes a file that only we can read.
    pub(super) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        self.create(name)?.write_all(text.as_bytes())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(dir) = self.dir.take() else { return };
        let path = dir.keep();
        for _ in 0..REMOVAL_TRIES {
            match fs::remove_dir_all(&path) {
                Ok(()) => return,
                Err(e) if e.kind() == io::ErrorKind::NotFound && !path.exists() => return,
                Err(_) => std::thread::sleep(REMOVAL_PAUSE),
            }
        }
        tracing::warn!(path = %path.display(), "a scratch directory could not be removed");
    }
}

/// Bytes on disk below `root`, or some number above `limit` as soon as it is known to be passed.
/// Files may come and go meanwhile.
pub(super) fn disk_use(root: &Path, limit: u64) -> u64 {
    /// A unit of `st_blocks`, whatever the file system's own block size.
    const BLOCK_BYTES: u64 = 512;
    let (mut pending, mut used) = (vec![root.to_owned()], 0u64);
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            used += metadata.blocks() * BLOCK_BYTES;
            if used > limit {
                return used;
            }
            if metadata.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_and_removed() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(parent.path()).unwrap();
        scratch.write("home/.netrc", "machine a.example").unwrap();
        assert_eq!(fs::metadata(scratch.path("home/.netrc")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(scratch.path("home/.netrc")).unwrap(), "machine a.example");
        fs::write(scratch.path("work/big"), vec![1; 300_000]).unwrap();
        assert!(disk_use(scratch.root(), u64::MAX) >= 300_000);
        assert!(disk_use(scratch.root(), 1000) > 1000);
        drop(scratch);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let left = Scratch::new(parent.path()).unwrap();
        left.write("home/.netrc", "machine a.example").unwrap();
        fs::write(parent.path().join("direct-file"), "").unwrap();
        fs::create_dir(parent.path().join("other")).unwrap();
        remove_leftovers(parent.path());
        assert!(!left.root().exists());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 2);
        remove_leftovers(Path::new("/nonexistent"));
    }
}
