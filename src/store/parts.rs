//! What a log is made of. Whoever puts the program together opens the parts, and hands them to the
//! log, which knows their traits and no database engine.

use std::path::PathBuf;
use std::sync::Arc;

use super::anchor::Anchor;
use super::lock::DirectoryLock;
use super::{LogObserver, LogStore, StoreError};

/// The parts of a log, opened.
pub struct LogParts {
    /// Its database.
    pub database: OpenedDatabase,
    /// Its anchor; none in tests only.
    pub anchor: Option<Arc<dyn Anchor>>,
    /// Directories on whose disks there must be space.
    pub disks: Vec<PathBuf>,
    /// What keeps other processes out for as long as the log is open; none in tests only.
    pub lock: Option<DirectoryLock>,
}

/// The database of a log, as far as its opening tells.
pub enum OpenedDatabase {
    /// It can be written.
    Sound(Box<dyn LogStore>),
    /// It is too damaged for a writer, and some of it can be read.
    Damaged {
        /// Reads what can be read.
        reader: Arc<dyn LogObserver>,
        /// What is damaged.
        error: StoreError,
    },
}

impl LogParts {
    /// A log that is nothing but a database, without anchor and lock: for tests.
    pub fn only(store: Box<dyn LogStore>) -> LogParts {
        LogParts { database: OpenedDatabase::Sound(store), anchor: None, disks: Vec::new(), lock: None }
    }
}
