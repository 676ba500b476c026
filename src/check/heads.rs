//! The newest head of a log that was ever seen here, as the `go` command keeps it: one signed note
//! in a file.
//!
//! ```text
//! <cache>/tallystick/heads/sum.corp.example+1c2d3e4f/latest
//! ```
//!
//! The directory is that of the key, so that heads of two keys never meet. A file that is lost is
//! no fault: the next head that is seen begins anew, as on a new machine. One that is there and
//! cannot be opened stops the check.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::CheckError;
use crate::files;
use crate::note::VerifierKey;
use crate::store::private;

/// As in x/mod, the largest signed note.
const MAX_NOTE_BYTES: u64 = 1_000_000;

/// Where the newest head of one log is kept.
#[derive(Clone, Debug)]
pub(crate) struct HeadMemory {
    directory: PathBuf,
}

impl HeadMemory {
    /// Keeps the heads of this key in a directory of its own below `root`. Nothing is written yet.
    pub(crate) fn new(root: &Path, key: &VerifierKey) -> HeadMemory {
        // A name may have slashes; nothing of it may lead elsewhere.
        let name = key.name().as_str();
        let name = name.replace(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)), "_");
        HeadMemory { directory: root.join(format!("{name}+{}", key.id())) }
    }

    /// The file.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.join("latest")
    }

    /// The note that is kept, if there is one.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, CheckError> {
        match files::read_regular(&self.path(), MAX_NOTE_BYTES) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Puts a note in the place of the one that was read before. Says no where another process was
    /// faster: its head must be compared first.
    pub(super) fn replace(&self, before: Option<&[u8]>, note: &[u8]) -> Result<bool, CheckError> {
        let failed = |error: io::Error| self.failed(&error);
        private::make_directory(&self.directory).map_err(failed)?;
        let lock = private::options().open(self.directory.join("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        if self.read()?.as_deref() != before {
            return Ok(false);
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.directory).map_err(failed)?;
        file.write_all(note).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        file.persist(self.path()).map_err(|error| self.failed(&error.error))?;
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(true)
    }

    fn failed(&self, error: &io::Error) -> CheckError {
        let path = fs::canonicalize(&self.directory).unwrap_or_else(|_| self.directory.clone());
        CheckError::Memory { path: path.join("latest").display().to_string(), why: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two processes that have seen the same head, one must compare its new head with that of the other first.
    #[test]
    fn a_head_takes_the_place_of_the_one_that_was_read_and_of_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let key = crate::config::SUM_GOLANG_ORG_KEY.parse().unwrap();
        let memory = HeadMemory::new(directory.path(), &key);
        assert!(memory.path().ends_with("sum.golang.org+033de0ae/latest"), "{}", memory.path().display());
        assert_eq!(memory.read().unwrap(), None);
        assert!(memory.replace(None, b"first").unwrap());
        assert!(!memory.replace(None, b"of another process").unwrap());
        assert_eq!(memory.read().unwrap().as_deref(), Some(&b"first"[..]));
        assert!(memory.replace(Some(b"first"), b"second").unwrap());
        assert!(!memory.replace(Some(b"first"), b"third").unwrap());
        assert_eq!(memory.read().unwrap().as_deref(), Some(&b"second"[..]));
        std::fs::remove_file(memory.path()).unwrap();
        std::fs::create_dir(memory.path()).unwrap();
        assert!(matches!(memory.read(), Err(CheckError::Memory { .. })));
    }
}
