//! The own log: opened to write, to read, or closed but for its incidents.

use std::path::PathBuf;

use crate::cli::exit::{Exit, OrExit, OrStoreExit};
use crate::clock::Clock;
use crate::config::{Config, Mode};
use crate::log::{Conditions, IncidentReport, Log, LogOpenError, keep_incidents};
use crate::note::SignerKey;
use crate::operate::IncidentStore;
use crate::store::evidence::KeptIncident;
use crate::store::lock::DirectoryLock;
use crate::store::sqlite::{self, DATABASE_FILE, SqliteReader, SqliteStore};
use crate::store::{Identity, LogReader as _, StoreError};

/// Opens the log. Without signers it can only be read.
pub(in crate::cli) fn open_log(
    config: &Config,
    signers: Vec<SignerKey>,
    clock: Clock,
    conditions: Conditions,
) -> anyhow::Result<Log> {
    let identity = signers.first().map(|signer| Identity::of(signer, clock.now()));
    let parts = sqlite::open_log(&config.data, &config.anchor, identity.as_ref(), reader_cache_kib(config));
    let opened = parts.map_err(LogOpenError::from);
    let opened = opened.and_then(|parts| Log::open(parts, signers, clock, conditions)).map_err(|error| {
        let exit = exit_of(&error);
        (error, exit)
    });
    match opened {
        Ok(log) => Ok(log),
        Err((error @ LogOpenError::Store(StoreError::Damaged { .. }), exit)) => {
            let fix = "`tallystick fsck` names all that is damaged; restore the database from a backup that fsck finds \
                       clean, and leave keys and anchor as they are";
            Err(anyhow::anyhow!("{error}; nothing of this log is served\n  fix: {fix}")).or_exit(exit)
        }
        Err((error, exit)) => Err(error).or_exit(exit),
    }
}

fn exit_of(error: &LogOpenError) -> Exit {
    match error {
        LogOpenError::Store(error) => Exit::of_store(error),
        LogOpenError::WrongKey { .. } => Exit::Usage,
    }
}

/// Opens the log's database for reading only, beside a server or without one.
pub(in crate::cli) fn open_reader(config: &Config) -> anyhow::Result<SqliteReader> {
    let path = config.data.join(DATABASE_FILE);
    if !path.exists() {
        let fix = "start `tallystick serve` once, or name the right directory with --data";
        return Err(anyhow::anyhow!("there is no log in {}\n  fix: {fix}", config.data.display()))
            .or_exit(Exit::Usage);
    }
    SqliteReader::open(&path, reader_cache_kib(config)).or_store_exit()
}

/// The own log of a command that opens its mirrors only: closed, but for incidents.
pub(in crate::cli) struct ClosedLog {
    data: PathBuf,
    reader_cache_kib: u32,
    clock: Clock,
    /// Nobody else writes to the log meanwhile.
    _lock: DirectoryLock,
}

impl ClosedLog {
    /// The log of a data directory whose lock is held.
    pub(in crate::cli) fn new(config: &Config, lock: DirectoryLock) -> ClosedLog {
        ClosedLog {
            data: config.data.value.clone(),
            reader_cache_kib: reader_cache_kib(config),
            clock: Clock::system(),
            _lock: lock,
        }
    }
}

impl IncidentStore for ClosedLog {
    fn incidents(&self) -> Result<Vec<KeptIncident>, StoreError> {
        if !sqlite::holds_log(&self.data) {
            return Ok(Vec::new());
        }
        SqliteReader::open(&self.data.join(DATABASE_FILE), self.reader_cache_kib)?.incidents(usize::MAX)
    }

    fn keep(&self, reports: Vec<IncidentReport>) -> Result<(), StoreError> {
        // Mirrors can be kept without a log of one's own.
        if !sqlite::holds_log(&self.data) {
            return Ok(());
        }
        let mut store = SqliteStore::open(&self.data.join(DATABASE_FILE), None, self.reader_cache_kib)?;
        keep_incidents(&mut store, reports, self.clock.now())
    }
}

/// The page cache of one reading connection. The own log and each full mirror have one for each
/// core.
pub(super) fn reader_cache_kib(config: &Config) -> u32 {
    let cores = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let full = config.sumdbs.values().filter(|sumdb| *sumdb.mode == Mode::Full).count() as u64;
    u32::try_from(*config.cache.database_bytes / cores / (1 + full) / 1024).unwrap_or(u32::MAX)
}
