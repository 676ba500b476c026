//! The anchor: a second, tiny database that remembers the highest head ever published, and who may write.
//!
//! It is worth something where a restore or a clone of the log's database does not bring it back too, so it belongs on
//! another disk. Both moves are compare-and-swap: a second writer, or the same writer with an older past, loses.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{check_owner, checkpoint_aloud, connect, failed, migrate, to_micros};
use crate::store::StoreError;
use crate::store::lock::FileId;
use crate::tlog::{Hash, TreeHead, TreeSize};

const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/sqlite/anchor_0001.sql")];

/// "anch" in ASCII: an anchor is not mistaken for a log, nor a log for an anchor.
const APPLICATION_ID: i64 = 0x616e_6368;

/// Renames an anchor that cannot be read, with its write-ahead log, and says to what.
pub fn set_aside(path: &Path, at: Timestamp) -> Result<PathBuf, StoreError> {
    let mark = at.strftime("%Y%m%dT%H%M%SZ");
    let named = |suffix: &str| PathBuf::from(format!("{}.unreadable-{mark}{suffix}", path.display()));
    for suffix in ["-wal", "-shm", ""] {
        let from = PathBuf::from(format!("{}{suffix}", path.display()));
        if from.exists() {
            let failed = |source| StoreError::File { path: from.display().to_string(), source };
            std::fs::rename(&from, named(suffix)).map_err(failed)?;
        }
    }
    Ok(named(""))
}

/// What an anchor knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchored {
    /// The log's verifier key.
    pub vkey: String,
    /// The epoch of the writer that may sign.
    pub epoch: u64,
    /// The highest head ever published.
    pub tree: TreeHead,
}

/// The anchor of one log.
pub struct Anchor {
    db: Connection,
    path: PathBuf,
    file: FileId,
}

impl Anchor {
    /// Opens the anchor at `path`; `None` when there is no such file or it was never filled.
    pub fn open(path: &Path) -> Result<Option<(Anchor, Anchored)>, StoreError> {
        if !path.exists() {
            return Ok(None);
        }
        let anchor = Anchor::connect(path)?;
        Ok(anchor.read()?.map(|anchored| (anchor, anchored)))
    }

    /// Makes the anchor of a log that starts here.
    pub fn create(path: &Path, anchored: &Anchored, at: Timestamp) -> Result<Anchor, StoreError> {
        let anchor = Anchor::connect(path)?;
        let tree = &anchored.tree;
        let row = params![
            anchored.vkey,
            anchored.epoch as i64,
            tree.size.0 as i64,
            tree.root.as_bytes(),
            to_micros(at)
        ];
        anchor
            .db
            .execute(
                "INSERT INTO anchor (id, vkey, epoch, size, root, updated_at) VALUES (1, ?, ?, ?, ?, ?)",
                row,
            )
            .map_err(failed("insert into anchor"))?;
        Ok(anchor)
    }

    fn connect(path: &Path) -> Result<Anchor, StoreError> {
        let mut db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        check_owner(&db, path, APPLICATION_ID, MIGRATIONS)?;
        // One append and one fsync a move, as in the log's database.
        db.pragma_update(None, "journal_mode", "wal").map_err(failed("pragma"))?;
        // A head is published when the anchor knows it: it must still know after a power cut.
        db.pragma_update(None, "synchronous", "full").map_err(failed("pragma"))?;
        migrate(&db, APPLICATION_ID, MIGRATIONS)?;
        checkpoint_aloud(&mut db, |_| {})?;
        Ok(Anchor { db, path: path.to_owned(), file: FileId::of(path)? })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it knows now.
    pub fn read(&self) -> Result<Option<Anchored>, StoreError> {
        self.db
            .prepare_cached("SELECT vkey, epoch, size, root FROM anchor")
            .and_then(|mut select| {
                select
                    .query_row([], |row| {
                        let (epoch, size) = (row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64);
                        let tree = TreeHead { size: TreeSize(size), root: Hash::from_bytes(row.get(3)?) };
                        Ok(Anchored { vkey: row.get(0)?, epoch, tree })
                    })
                    .optional()
            })
            .map_err(failed("read of anchor"))
    }

    /// Makes `next` the writer's epoch, if it is still `epoch`.
    pub fn claim(&mut self, epoch: u64, next: u64) -> Result<(), StoreError> {
        let changed = self
            .db
            .execute("UPDATE anchor SET epoch = ? WHERE epoch = ?", [next as i64, epoch as i64])
            .map_err(failed("update of anchor"))?;
        self.swapped(changed, || format!("epoch {epoch}"))
    }

    /// Moves from one head to a larger one, if epoch and head are still those.
    pub fn advance(
        &mut self,
        epoch: u64,
        from: &TreeHead,
        to: &TreeHead,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        // What is written into a file without a name is gone with this process, and the log would not know what it published.
        if !self.file.is_still(&self.path) {
            let why = "its file was taken away or replaced while the server ran".to_owned();
            return Err(StoreError::Anchor { path: self.path.display().to_string(), why });
        }
        let row = params![
            to.size.0 as i64,
            to.root.as_bytes(),
            to_micros(at),
            epoch as i64,
            from.size.0 as i64,
            from.root.as_bytes()
        ];
        let changed = self
            .db
            .prepare_cached("UPDATE anchor SET size = ?, root = ?, updated_at = ? WHERE epoch = ? AND size = ? AND root = ?")
            .and_then(|mut update| update.execute(row))
            .map_err(failed("update of anchor"))?;
        self.swapped(changed, || format!("epoch {epoch} size {} root {}", from.size.0, from.root))
    }

    fn swapped(&self, changed: usize, expected: impl FnOnce() -> String) -> Result<(), StoreError> {
        if changed == 1 {
            return Ok(());
        }
        let found = match self.read()? {
            Some(found) => {
                format!("epoch {} size {} root {}", found.epoch, found.tree.size.0, found.tree.root)
            }
            None => "an empty anchor".to_owned(),
        };
        Err(StoreError::Conflict { expected: format!("anchor at {}", expected()), found })
    }
}
