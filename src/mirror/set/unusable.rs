//! A mirror whose database cannot be used: damaged, unreadable, or of a newer program. It still has
//! the name of its log, so that everybody who needs that log learns why there is no answer, while
//! all others go on.
//!
//! Nothing that it held is lost for good: what was verified is fetched and verified again. The
//! damaged file itself should stay, since it may hold evidence.

use std::fmt;
use std::path::PathBuf;

use crate::config::Mode;
use crate::store::StoreError;

/// A mirror whose stored data cannot be read.
#[derive(Debug)]
pub struct Unusable {
    /// The log's name.
    pub name: String,
    /// What was to be stored of it.
    pub mode: Mode,
    /// The file.
    pub database: PathBuf,
    /// What is wrong with it.
    pub error: StoreError,
}

impl Unusable {
    /// Returns what the operator can do about it. A file is in the way, which nobody else removes.
    pub fn remedy(&self) -> String {
        match &self.error {
            StoreError::NewerSchema { .. } => "run the newer program, or move the file away".to_owned(),
            StoreError::Full => "make space, and start again".to_owned(),
            StoreError::Damaged { place, .. } if place.starts_with("index") => format!(
                "the index can be made again from the records: `tallystick mirror verify {} --rebuild-index`, then start again",
                self.name
            ),
            StoreError::Damaged { place, .. } if place.starts_with("the newest head") => format!(
                "put the newest copy of {0} back; without one, move {0} away and keep it, since it \
                 may hold a head that the log must be held to, and start again: what it held is \
                 fetched and verified again",
                self.files()
            ),
            _ => format!(
                "move {} away, keep it, and start again: what it held is fetched and verified again",
                self.files()
            ),
        }
    }

    /// Names the files that belong together, for a person.
    fn files(&self) -> String {
        match self.database.to_string_lossy().strip_suffix(".full.db") {
            Some(name) => format!("{name}.full.* (all files of that name)"),
            None => format!("{} (with what has its name and ends in -wal or -shm)", self.database.display()),
        }
    }

    /// Returns the cause for clients, without the paths of this machine.
    pub fn text_for_clients(&self) -> String {
        format!(
            "what is kept of {} cannot be read here\nThe operator of this server must look: `tallystick mirror status` says what to \
             do.",
            self.name
        )
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.database.display(), self.error)
    }
}
