//! What the traits of `store` promise, held against every store; and what only a store in SQLite promises.

mod contract;
mod growth;
mod sqlite;

use tallystick::store::LogStore;
use tallystick::store::memory::{Disk, MemoryStore};
use tallystick::store::sqlite::SqliteStore;
use tempfile::TempDir;

use crate::support::logs::{identity_of, signer};

/// A place where one log lives. Every opening is as if by another process.
pub(crate) trait Place {
    fn open(&self) -> Box<dyn LogStore>;
}

pub(crate) struct InSqlite {
    pub(crate) directory: TempDir,
}

impl InSqlite {
    pub(crate) fn new() -> InSqlite {
        InSqlite { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("log.db")
    }
}

impl Place for InSqlite {
    fn open(&self) -> Box<dyn LogStore> {
        Box::new(SqliteStore::open(&self.path(), Some(&identity_of(&signer())), 1024).unwrap())
    }
}

#[derive(Default)]
pub(crate) struct InMemory {
    disk: Disk,
}

impl Place for InMemory {
    fn open(&self) -> Box<dyn LogStore> {
        Box::new(MemoryStore::open(&self.disk, Some(&identity_of(&signer()))).unwrap())
    }
}

/// Makes a test of each function for each store.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[test] fn $test() { super::$test(&crate::conformance::InSqlite::new()) })+
        }
        mod on_memory {
            $(#[test] fn $test() { super::$test(&crate::conformance::InMemory::default()) })+
        }
    };
}
pub(crate) use on_every_store;
