//! The cosignatures of the own log's heads, and how its witnesses answer: a small database beside
//! the log's.
//!
//! `migrations/sqlite/cosignatures_*.sql` is the layout. Nothing in it is precious: a witness
//! cosigns a head again when it is asked, and a start that finds this database missing, old or
//! another log's goes on with less ([`GateMemory`]). So it is written without waiting for the disk.
//! A power cut may take the last rows, never make one up.
//!
//! Pages have no checksums, so nothing that is read here is believed as it is. Whoever reads a
//! cosignature compares it with the witness's key ([`StoredCosignature::verified`]). Each one is
//! kept twice, and both copies are returned. Of the gate's memory, the exempt size is kept twice,
//! and the copies must agree; a wrong log or epoch only makes the memory an old one.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::connection::{check_pages, open_writing};
use super::copies;
use super::errors::{failed, from_micros, to_micros};
use crate::note::{CosignatureVerifier, Signature, Verifier as _};
use crate::store::StoreError;
use crate::tlog::{Checkpoint, Hash, Origin, TreeHead, TreeSize};

const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/cosignatures_0001.sql"),
    include_str!("../../../migrations/sqlite/cosignatures_0002.sql"),
    include_str!("../../../migrations/sqlite/cosignatures_0003.sql"),
];
/// "cosi" in ASCII.
const APPLICATION_ID: i64 = 0x636f_7369;
/// Sizes that are kept of each witness: a start looks for the newest head that had enough, which is
/// one of the last two.
pub const SIZES_KEPT: u32 = 1_000;

/// A cosignature as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCosignature {
    /// The witness's verifier key.
    pub witness: String,
    /// What it cosigned.
    pub tree: TreeHead,
    /// The signature line, without its newline.
    pub line: String,
    /// When it came.
    pub received_at: Timestamp,
}

impl StoredCosignature {
    /// Returns the signature, if it is the cosignature of this log's head by the witness with this
    /// key. The signature covers neither name nor key id of its line, so both are compared too.
    pub fn verified(&self, origin: &Origin, key: &CosignatureVerifier) -> Option<Signature> {
        let signature = Signature::parse_line(&self.line)?;
        let text = Checkpoint::new(origin.clone(), self.tree).format();
        let is_good = signature.name == *key.name()
            && signature.key_id == key.id()
            && signature.format_line() == self.line
            && key.verify(text.as_bytes(), &signature.bytes());
        is_good.then_some(signature)
    }
}

/// How the last attempts with a witness ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WitnessAttempt {
    /// When it cosigned last.
    pub succeeded_at: Option<Timestamp>,
    /// How long that took.
    pub latency: Option<Duration>,
    /// When it failed last.
    pub failed_at: Option<Timestamp>,
    /// Why it failed then.
    pub failure: Option<String>,
    /// Failures since the last success.
    pub failures: u32,
}

/// What the gate of a process knew of the log that it wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateMemory {
    /// The log's verifier key.
    pub log: String,
    /// The epoch that the process wrote in. The log's next process finds it in the log, or this
    /// memory is not of the same time.
    pub epoch: u64,
    /// Heads of up to this size were published without cosignatures. None: all, since nobody
    /// demanded any.
    pub exempt: Option<TreeSize>,
}

/// The database.
pub struct CosignatureStore {
    /// The one connection. Whoever reads or writes owns it for that long.
    db: Mutex<Connection>,
}

impl CosignatureStore {
    /// Opens the database at `path`, and creates it when there is none. Checks every page of it.
    pub fn open(path: &Path) -> Result<CosignatureStore, StoreError> {
        let db = open_writing(path, APPLICATION_ID, MIGRATIONS)?;
        db.pragma_update(None, "synchronous", "normal").map_err(failed("pragma"))?;
        check_pages(&db)?;
        stored_demand(&db)?;
        Ok(CosignatureStore { db: Mutex::new(db) })
    }

    /// A database that is gone with the process: for a log that needs no cosignatures, where none
    /// can be written.
    pub(crate) fn in_memory() -> Result<CosignatureStore, StoreError> {
        CosignatureStore::open(Path::new(":memory:"))
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a cosignature, in place of an older one of the same size, and not more than
    /// [`SIZES_KEPT`] of a witness.
    pub fn keep(&self, cosignature: &StoredCosignature) -> Result<(), StoreError> {
        let StoredCosignature { witness, tree, line, received_at } = cosignature;
        let mut db = self.db();
        let transaction = db.transaction().map_err(failed("begin"))?;
        let row = params![witness, tree.size.0 as i64, tree.root.as_bytes(), line, to_micros(*received_at)];
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO cosignature (witness, size, root, line, received_at) VALUES (?, ?, ?, ?, ?)",
            )
            .and_then(|mut insert| insert.execute(row))
            .map_err(failed("insert into cosignature"))?;
        transaction
            .prepare_cached(
                "DELETE FROM cosignature WHERE witness = ?1 AND size <=
                 (SELECT size FROM cosignature WHERE witness = ?1 ORDER BY size DESC LIMIT 1 OFFSET ?2)",
            )
            .and_then(|mut delete| delete.execute(params![witness, SIZES_KEPT]))
            .map_err(failed("delete from cosignature"))?;
        transaction.commit().map_err(failed("commit"))
    }

    /// The cosignatures of a head; two of a witness where the copies differ.
    pub fn of(&self, tree: &TreeHead) -> Result<Vec<StoredCosignature>, StoreError> {
        let sql = "SELECT witness, size, root, line, received_at FROM cosignature
                 WHERE size = ?1 AND root = ?2
             UNION SELECT witness, size, root, line, received_at FROM cosignature_copy
                 WHERE size = ?1 AND root = ?2";
        self.read(sql, params![tree.size.0 as i64, tree.root.as_bytes()])
    }

    /// The newest cosignature of a witness; two where the copies differ, the larger size first.
    pub fn newest(&self, witness: &str) -> Result<Vec<StoredCosignature>, StoreError> {
        let sql = "SELECT * FROM (SELECT witness, size, root, line, received_at FROM cosignature
                 WHERE witness = ?1 ORDER BY size DESC LIMIT 1)
             UNION SELECT * FROM (SELECT witness, size, root, line, received_at FROM cosignature_copy
                 WHERE witness = ?1 ORDER BY size DESC LIMIT 1)
             ORDER BY size DESC";
        self.read(sql, [witness])
    }

    /// Drops what is kept of a witness's cosignature of a head, for a row that does not verify.
    pub fn forget(&self, cosignature: &StoredCosignature) -> Result<(), StoreError> {
        let row = params![cosignature.witness, cosignature.tree.size.0 as i64];
        let db = self.db();
        for table in ["cosignature", "cosignature_copy"] {
            db.execute(&format!("DELETE FROM {table} WHERE witness = ? AND size = ?"), row)
                .map_err(failed("delete from cosignature"))?;
        }
        Ok(())
    }

    fn read(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<StoredCosignature>, StoreError> {
        let db = self.db();
        let mut select = db.prepare_cached(sql).map_err(failed("read of cosignature"))?;
        let rows = select
            .query_map(params, |row| {
                let (size, root): (i64, [u8; 32]) = (row.get(1)?, row.get(2)?);
                let tree = TreeHead { size: TreeSize(size as u64), root: Hash::from_bytes(root) };
                let received_at = from_micros(row.get(4)?).unwrap_or(Timestamp::UNIX_EPOCH);
                Ok(StoredCosignature { witness: row.get(0)?, tree, line: row.get(3)?, received_at })
            })
            .and_then(Iterator::collect::<Result<Vec<_>, _>>);
        rows.map_err(failed("read of cosignature"))
    }

    /// Keeps how the last attempts with a witness ended.
    pub(crate) fn note_attempt(&self, witness: &str, attempt: &WitnessAttempt) -> Result<(), StoreError> {
        let WitnessAttempt { succeeded_at, latency, failed_at, failure, failures } = attempt;
        let latency = latency.map(|latency| i64::try_from(latency.as_micros()).unwrap_or(i64::MAX));
        let row = params![
            witness,
            succeeded_at.map(to_micros),
            latency,
            failed_at.map(to_micros),
            failure,
            failures
        ];
        self.db()
            .prepare_cached(
                "INSERT OR REPLACE INTO attempt (witness, succeeded_at, latency, failed_at, failure, failures)
                 VALUES (?, ?, ?, ?, ?, ?)",
            )
            .and_then(|mut insert| insert.execute(row))
            .map(drop)
            .map_err(failed("insert into attempt"))
    }

    /// How the last attempts with a witness ended.
    pub fn attempt(&self, witness: &str) -> Result<WitnessAttempt, StoreError> {
        let time = |micros: Option<i64>| micros.and_then(|micros| from_micros(micros).ok());
        let found = self
            .db()
            .prepare_cached(
                "SELECT succeeded_at, latency, failed_at, failure, failures FROM attempt WHERE witness = ?",
            )
            .and_then(|mut select| {
                select
                    .query_row([witness], |row| {
                        let latency: Option<i64> = row.get(1)?;
                        Ok(WitnessAttempt {
                            succeeded_at: time(row.get(0)?),
                            latency: latency.map(|micros| Duration::from_micros(micros.unsigned_abs())),
                            failed_at: time(row.get(2)?),
                            failure: row.get(3)?,
                            failures: row.get(4)?,
                        })
                    })
                    .optional()
            });
        Ok(found.map_err(failed("read of attempt"))?.unwrap_or_default())
    }

    /// Returns what the gate of the process that used this memory last knew. None: nobody said so.
    pub(crate) fn gate_memory(&self) -> Result<Option<GateMemory>, StoreError> {
        let db = self.db();
        let exempt = stored_demand(&db)?;
        db.query_row("SELECT log, epoch FROM used", [], |row| {
            let epoch: i64 = row.get(1)?;
            Ok(GateMemory { log: row.get(0)?, epoch: epoch as u64, exempt })
        })
        .optional()
        .map_err(failed("read of used"))
    }

    /// Keeps what the gate of this process knows, in place of what another knew.
    pub fn keep_gate_memory(&self, memory: &GateMemory) -> Result<(), StoreError> {
        let GateMemory { log, epoch, exempt } = memory;
        let mut db = self.db();
        let transaction = db.transaction().map_err(failed("begin"))?;
        transaction
            .execute(
                "INSERT OR REPLACE INTO used (id, log, epoch) VALUES (1, ?, ?)",
                params![log, *epoch as i64],
            )
            .and_then(|_| transaction.execute("DELETE FROM demanded", []))
            .map_err(failed("insert into used"))?;
        if let Some(size) = exempt {
            transaction
                .execute("INSERT INTO demanded (id, after) VALUES (1, ?)", [size.0 as i64])
                .map_err(failed("insert into demanded"))?;
        }
        transaction.commit().map_err(failed("commit"))
    }
}

/// The size that `demanded` has, if there is one. A row that is lost would let heads be published
/// without their cosignatures, so both copies must say the same.
fn stored_demand(db: &Connection) -> Result<Option<TreeSize>, StoreError> {
    // One statement sees one state, whatever another process commits.
    let both = "SELECT (SELECT after FROM demanded), (SELECT after FROM demanded_copy)";
    let copies: (Option<i64>, Option<i64>) =
        db.query_row(both, [], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed("read of demanded"))?;
    let size = copies::agreed(db, "the size after which cosignatures are demanded", copies)?;
    Ok(size.map(|size| TreeSize(size as u64)))
}
