//! The reading connections, and how long each looks at one state of the database.
//!
//! To begin and end a read transaction costs as much as the read. So a connection of the writer's
//! own process keeps its transaction until the next commit: within it, any number of reads take no
//! lock at all. Two things follow. A commit is counted after it is durable and before the index
//! that it made is shown, so that a reader who sees the index also sees its rows. And a write-ahead
//! log that is still looked at cannot be emptied: when it is long the writer asks for the
//! transactions back, and until it is short again nobody keeps one.
//!
//! A reader beside a server is told of no commits: it begins anew each time.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use rusqlite::Connection;

use super::connection::open_reader;
use super::errors::failed;
use super::segment::Decoder;
use crate::store::StoreError;

/// Who tells the readers of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commits {
    /// The writer of this process, by [`ReaderPool::committed`].
    Told,
    /// Nobody: another process may write.
    Unknown,
}

/// The reading connections.
pub(super) struct ReaderPool {
    /// One for each core. Whoever reads owns the connection for the length of its read.
    readers: Vec<Mutex<ReadConnection>>,
    /// Whose turn it is when all are in use. Every reader counts it up.
    next: AtomicUsize,
    /// Whether transactions are kept from one read to the next. The writer alone sets it.
    holds: AtomicBool,
    /// How many commits there were. The writer alone counts it up, after each.
    commits: AtomicU64,
}

/// A reading connection and what it unpacks with.
pub(super) struct ReadConnection {
    pub(super) db: Connection,
    pub(super) decoder: Decoder,
    /// How many commits there were when its transaction was begun; none when it has no transaction.
    since: Option<u64>,
}

impl ReaderPool {
    pub(super) fn open(path: &Path, cache_kib: u32, told: Commits) -> Result<ReaderPool, StoreError> {
        let count = std::thread::available_parallelism().map_or(2, usize::from);
        let reader = |_| ReadConnection::open(path, cache_kib).map(Mutex::new);
        Ok(ReaderPool {
            readers: (0..count).map(reader).collect::<Result<_, StoreError>>()?,
            next: AtomicUsize::new(0),
            holds: AtomicBool::new(told == Commits::Told),
            commits: AtomicU64::new(0),
        })
    }

    /// Reads from one state of the database, which has every commit that was counted before.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&mut ReadConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let commits = self.commits.load(Ordering::Acquire);
        let reader = &mut *self.any();
        if reader.since != Some(commits) {
            reader.end()?;
            reader.begin()?;
            reader.since = Some(commits);
        }
        let result = read(reader);
        // After an error nobody knows what state the connection is in.
        if result.is_err() || !self.holds.load(Ordering::Acquire) {
            let ended = reader.end();
            return result.and_then(|found| ended.map(|()| found));
        }
        result
    }

    /// Counts a commit. To be called before anything is shown that reads the committed rows.
    pub(super) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::AcqRel);
    }

    /// Says whether transactions are kept. When they are not, those end now that nobody uses at the
    /// moment; the others end with the read that is under way.
    pub(super) fn hold(&self, holds: bool) {
        self.holds.store(holds, Ordering::Release);
        for reader in self.readers.iter().filter(|_| !holds) {
            let mut reader = match reader.try_lock() {
                Ok(reader) => reader,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            // One that cannot be ended fails its next read, which tells.
            let _ = reader.end();
        }
    }

    /// A connection that is free, or the next one in turn when none is.
    fn any(&self) -> MutexGuard<'_, ReadConnection> {
        if let Some(free) = self.readers.iter().find_map(|reader| reader.try_lock().ok()) {
            return free;
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        self.readers[turn].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadConnection {
    pub(super) fn open(path: &Path, cache_kib: u32) -> Result<ReadConnection, StoreError> {
        let decoder =
            Decoder::new().map_err(|source| StoreError::File { path: "zstd".to_owned(), source })?;
        Ok(ReadConnection { db: open_reader(path, cache_kib)?, decoder, since: None })
    }

    pub(super) fn begin(&self) -> Result<(), StoreError> {
        self.run("BEGIN").map_err(failed("begin"))
    }

    /// Ends the transaction, if there is one.
    pub(super) fn end(&mut self) -> Result<(), StoreError> {
        self.since = None;
        if self.db.is_autocommit() {
            return Ok(());
        }
        self.run("COMMIT").map_err(failed("end of a read"))
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.db.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(drop)
    }
}
