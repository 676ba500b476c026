//! Reading a log without being its writer: for tools that run beside a server, or on a copy.
//!
//! A server's own readers are told by its writer what the index looks like. This reader is told by
//! nobody: each look-up first sees whether the file has changed, and takes over the runs and
//! records that are new, in the same read transaction in which it then looks.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::connection::{check_owner, pragma_value};
use super::errors::failed;
use super::index::View;
use super::log_database::{APPLICATION_ID, MIGRATIONS, read_identity};
use super::merge::{Loaded, load_runs};
use super::reader::TableReader;
use super::readers::{Commits, ReadConnection, ReaderPool};
use super::shape::{IndexEntry, hash_module};
use super::{rows, schema};
use crate::module::ModuleVersion;
use crate::store::evidence::{KeptIncident, StoredEvidence};
use crate::store::{Identity, LogObserver, LogReader, StoreError, StoredHead, StoredRecord};
use crate::tlog::{Hash, RecordId, TreeSize};

/// Problems that [`SqliteReader::check_pages`] lists.
const MAX_PAGE_PROBLEMS: u32 = 100;

/// Records that are read at a time.
const PIECE: usize = 4_096;

/// A log in an SQLite file, for reading only. Takes no lock and changes nothing.
pub struct SqliteReader {
    identity: Identity,
    tables: TableReader,
    /// Owned by whoever looks something up by name, or reads the epoch, for that long.
    follower: Mutex<Follower>,
}

/// The index as this reader knows it.
struct Follower {
    index_key: [u8; 16],
    reader: ReadConnection,
    /// What `data_version` was when the rest was read; none before the first time and after a
    /// failure.
    version: Option<i64>,
    view: View,
    /// Records below this are in the view.
    size: u64,
    /// The version that could not be taken over, and where it is damaged: it stays so until the
    /// file changes.
    damaged: Option<(i64, String, String)>,
    /// Place and reason of a record that is in no run and cannot be read, so that nobody knows what
    /// it is.
    unreadable: Option<(String, String)>,
}

impl SqliteReader {
    /// Opens the log at `path`, which must exist. `cache_kib` is the page cache of each of a few
    /// connections.
    pub fn open(path: &Path, cache_kib: u32) -> Result<SqliteReader, StoreError> {
        if !path.exists() {
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no log here");
            return Err(StoreError::File { path: path.display().to_string(), source });
        }
        let reader = ReadConnection::open(path, cache_kib)?;
        check_owner(&reader.db, path, APPLICATION_ID, MIGRATIONS)?;
        // A database that an older program wrote is read as it is.
        let seen = usize::try_from(pragma_value(&reader.db, "user_version")?).unwrap_or(0);
        schema::check(&reader.db, &MIGRATIONS[..seen.min(MIGRATIONS.len())])?;
        let (identity, index_key) = read_identity(&reader.db, path, None)?;
        let readers = ReaderPool::open(path, cache_kib, Commits::Unknown)?;
        let view_now = Arc::new(ArcSwap::from_pointee(View::default()));
        let tables = TableReader { index_key, view: view_now, pool: Arc::new(readers) };
        let follower = Mutex::new(Follower {
            index_key,
            reader,
            version: None,
            damaged: None,
            view: View::default(),
            size: 0,
            unreadable: None,
        });
        Ok(SqliteReader { identity, tables, follower })
    }

    /// Lets SQLite check the structure of its pages, which says nothing about what is in them.
    /// Empty when all is well.
    pub fn check_pages(&self) -> Result<Vec<String>, StoreError> {
        let follower = self.follower.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut problems: Vec<String> = follower
            .reader
            .db
            .prepare(&format!("PRAGMA quick_check({MAX_PAGE_PROBLEMS})"))
            .and_then(|mut check| check.query_map([], |row| row.get(0))?.collect())
            .map_err(failed("check of the pages"))?;
        problems.retain(|problem| problem != "ok");
        Ok(problems)
    }
}

impl Follower {
    fn find(&mut self, module: &ModuleVersion, below: TreeSize) -> Result<Option<StoredRecord>, StoreError> {
        self.reader.begin()?;
        let found = match self.follow() {
            Ok(()) => {
                let ReadConnection { db, decoder, .. } = &mut self.reader;
                let found = rows::find(db, decoder, &self.view, &self.index_key, module, below.0);
                match (found, &self.unreadable) {
                    // It may be the record that cannot be read.
                    (Ok(None), Some((place, why))) => {
                        Err(StoreError::Damaged { place: place.clone(), why: why.clone() })
                    }
                    (found, _) => found,
                }
            }
            Err(error) => {
                // The view may be half of the old and half of the new.
                self.version = None;
                Err(error)
            }
        };
        self.reader.end()?;
        found
    }

    /// Takes over what other processes have changed. Must run in the transaction that then reads.
    fn follow(&mut self) -> Result<(), StoreError> {
        let version = self
            .reader
            .db
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut select| select.query_row([], |row| row.get::<_, i64>(0)))
            .map_err(failed("pragma"))?;
        if self.version == Some(version) {
            return Ok(());
        }
        match &self.damaged {
            Some((at, place, why)) if *at == version => {
                return Err(StoreError::Damaged { place: place.clone(), why: why.clone() });
            }
            _ => self.damaged = None,
        }
        let taken = self.take_over(version);
        if let Err(StoreError::Damaged { place, why }) = &taken {
            self.damaged = Some((version, place.clone(), why.clone()));
        }
        taken
    }

    fn take_over(&mut self, version: i64) -> Result<(), StoreError> {
        let ReadConnection { db, decoder, .. } = &mut self.reader;
        let Loaded { live: runs, flushed, .. } = load_runs(db, &self.index_key, &self.view.runs)?;
        let same = runs.len() == self.view.runs.len()
            && runs.iter().zip(&self.view.runs).all(|(new, old)| Arc::ptr_eq(new, old));
        // Each commit writes a head over its records: tables that end before the newest head have
        // lost rows.
        let (newest, unreadable) = match rows::heads(db, i64::MAX, 1) {
            Ok(heads) => (heads.first().map_or(0, |head| head.tree.size.0), None),
            Err(StoreError::Damaged { place, why }) => (0, Some((place, why))),
            Err(error) => return Err(error),
        };
        let size = rows::stored_size(db)?.max(newest);
        let recent = self.view.recent.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        let from = if same && self.version.is_some() {
            self.size
        } else {
            recent.clear();
            flushed
        };
        if from == flushed || unreadable.is_some() {
            self.unreadable = unreadable;
        }
        // In pieces: a log whose index was dropped has all its records here.
        for first in (from..size).step_by(PIECE) {
            let piece = first..(first + PIECE as u64).min(size);
            let count = (piece.end - piece.start) as usize;
            let ids = match rows::records(db, decoder, piece.clone()) {
                Ok(records) if records.len() == count => {
                    recent.extend(records.iter().map(|record| entry(&self.index_key, record)));
                    continue;
                }
                Ok(_) | Err(_) => piece,
            };
            for id in ids {
                match rows::records(db, decoder, id..id + 1) {
                    Ok(records) if records.is_empty() => {
                        self.unreadable = Some((format!("record {id}"), "missing".to_owned()));
                    }
                    Ok(records) => recent.extend(records.iter().map(|record| entry(&self.index_key, record))),
                    Err(StoreError::Damaged { place, why }) => self.unreadable = Some((place, why)),
                    Err(error) => return Err(error),
                }
            }
        }
        if !same {
            let recent = std::mem::take(recent);
            self.view = View::new(runs, recent, &self.view);
        }
        (self.size, self.version) = (size, Some(version));
        Ok(())
    }
}

impl LogReader for SqliteReader {
    fn find(&self, module: &ModuleVersion, below: TreeSize) -> Result<Option<StoredRecord>, StoreError> {
        let mut follower = self.follower.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        follower.find(module, below)
    }

    fn records(&self, ids: Range<u64>) -> Result<Vec<StoredRecord>, StoreError> {
        self.tables.records(ids)
    }

    fn leaves(&self, ids: Range<u64>) -> Result<Vec<Hash>, StoreError> {
        self.tables.leaves(ids)
    }

    fn tile(&self, level: u8, number: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        self.tables.tile(level, number)
    }

    fn subtrees(&self, tile: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        self.tables.subtrees(tile)
    }

    fn evidence(&self, id: RecordId) -> Result<Option<StoredEvidence>, StoreError> {
        self.tables.evidence(id)
    }

    fn head(&self, size: TreeSize) -> Result<Option<StoredHead>, StoreError> {
        self.tables.head(size)
    }

    fn heads(&self, before: TreeSize, limit: usize) -> Result<Vec<StoredHead>, StoreError> {
        self.tables.heads(before, limit)
    }

    fn incidents(&self, limit: usize) -> Result<Vec<KeptIncident>, StoreError> {
        self.tables.incidents(limit)
    }
}

fn entry(key: &[u8; 16], record: &StoredRecord) -> IndexEntry {
    (hash_module(key, &record.lines.module), record.id.0)
}

impl LogObserver for SqliteReader {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn epoch(&self) -> Result<u64, StoreError> {
        let follower = self.follower.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        rows::epoch(&follower.reader.db)
    }
}
