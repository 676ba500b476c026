//! What a witness remembers: one SQLite database with the newest checkpoint that was cosigned for
//! each log.
//!
//! `migrations/sqlite/witness_000*.sql` is the layout. A [`Swap`] is a compare-and-swap of one
//! log's size and root. One thread owns the writing connection and commits whatever has arrived as
//! one transaction, so that any number of logs share an fsync; an answer comes after the commit is
//! durable, and what readers see ([`WitnessStore::known`]) is what was committed. The triggers
//! refuse a step back from whoever writes to the file.
//!
//! Each checkpoint is kept twice, and both copies are compared when the database is opened and
//! before each step. A witness that took an older row for the newest, or a lost one for none, would
//! cosign a fork. Copies that differ are damage, and nothing is cosigned over it.
//!
//! A database that was restored from an old backup looks like any other: nobody but its operator
//! can know. What can be seen is refused at the start: damaged pages, and a database of another
//! key. Whether each note in it is one that this witness cosigned is for the engine to say, which
//! knows the key.
//!
//! After a write that failed for another reason than a full disk nobody knows what is in the file:
//! every call from then on fails, and the process must be started again.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::connection::{check_pages, open_writing};
use super::copies;
use super::errors::{failed, from_micros, to_micros};
use super::worker::Worker;
use crate::store::{FoundInstead, StoreError};
use crate::tlog::{Hash, TreeHead, TreeSize};

const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/witness_0001.sql"),
    include_str!("../../../migrations/sqlite/witness_0002.sql"),
];
/// "witn" in ASCII.
const APPLICATION_ID: i64 = 0x7769_746e;
/// Jobs in one transaction: as many as the requests that may be in flight, so it only bounds how
/// long one takes.
const MAX_BATCH: usize = 1_024;
/// Pieces of evidence that are kept of one log and kind. Each fork proves the same; anybody may
/// send requests with bad proofs.
pub const MAX_EVIDENCE: u32 = 16;

/// The newest checkpoint that was cosigned for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCheckpoint {
    /// The log.
    pub origin: String,
    /// Size and root.
    pub tree: TreeHead,
    /// The note: the log's verified signatures and the cosignature.
    pub note: String,
    /// When it was cosigned.
    pub cosigned_at: Timestamp,
}

/// One step of a log.
#[derive(Debug)]
pub(crate) struct Swap {
    /// What the caller compared the new checkpoint with; none where there is nothing.
    pub(crate) expected: Option<TreeHead>,
    /// What is known from now on.
    pub(crate) next: KnownCheckpoint,
}

/// What became of a [`Swap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swapped {
    /// It is durable.
    Done,
    /// Another step came first: compare again.
    Raced,
}

/// What kind of evidence it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidenceKind {
    /// Two checkpoints of one size with different roots, both signed by the log: proof that it
    /// lied.
    Fork,
    /// A signed checkpoint whose consistency proof does not hold. It proves nothing by itself: the
    /// proof may be wrong.
    Inconsistent,
}

impl EvidenceKind {
    /// The name under which it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            EvidenceKind::Fork => "fork",
            EvidenceKind::Inconsistent => "inconsistent",
        }
    }
}

/// A log that may have shown two histories.
#[derive(Clone, Debug)]
pub(crate) struct ForkEvidence {
    /// The log.
    pub(crate) origin: String,
    /// How much it proves.
    pub(crate) kind: EvidenceKind,
    /// The size of the checkpoint that came.
    pub(crate) size: TreeSize,
    /// The checkpoint that was cosigned.
    pub(crate) standing: String,
    /// The checkpoint that came, with the rest of its request where that matters.
    pub(crate) offered: String,
    /// When it came.
    pub(crate) seen_at: Timestamp,
}

/// ForkEvidence as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct KeptEvidence {
    /// Its number.
    pub id: u64,
    /// The log.
    pub origin: String,
    /// See [`EvidenceKind::as_str`].
    pub kind: String,
    /// The size of the checkpoint that came.
    pub size: u64,
    /// The checkpoint that was cosigned.
    pub standing: String,
    /// What came.
    pub offered: String,
    /// When.
    pub seen_at: Timestamp,
}

enum WitnessWork {
    Swap(Swap),
    Keep(ForkEvidence),
}

/// Why nothing is written any more, once it is so.
pub type Broken = watch::Receiver<Option<Arc<StoreError>>>;

/// The newest checkpoint of each log, by origin. The writer's thread alone changes it, after a
/// commit.
type Shown = Arc<RwLock<HashMap<String, Arc<KnownCheckpoint>>>>;

/// The database of a witness.
pub(crate) struct WitnessStore {
    shown: Shown,
    broken: Broken,
    /// Owns the writing connection, on its thread.
    worker: Worker<WitnessWork, Swapped>,
}

impl WitnessStore {
    /// Opens the database at `path`, and creates it when there is none. Every page of it is checked
    /// first.
    pub(crate) fn open(path: &Path, vkey: &str, at: Timestamp) -> Result<WitnessStore, StoreError> {
        let db = open_writing(path, APPLICATION_ID, MIGRATIONS)?;
        check_pages(&db)?;
        identify(&db, path, vkey, at)?;
        let known = read_all(&db)?;
        let shown: Shown = Arc::new(RwLock::new(
            known.into_iter().map(|known| (known.origin.clone(), Arc::new(known))).collect(),
        ));
        let (sender, broken) = watch::channel(None);
        let mut writer = WitnessWriter { db, shown: shown.clone(), broken: sender };
        let worker = Worker::start("witness-store", MAX_BATCH, move |jobs| writer.serve(jobs))?;
        Ok(WitnessStore { shown, broken, worker })
    }

    /// The newest checkpoint of a log.
    pub(crate) fn known(&self, origin: &str) -> Option<Arc<KnownCheckpoint>> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).get(origin).cloned()
    }

    /// The newest checkpoint of every log, by origin.
    pub(crate) fn all(&self) -> Vec<Arc<KnownCheckpoint>> {
        let mut all: Vec<_> =
            self.shown.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        all.sort_by(|a, b| a.origin.cmp(&b.origin));
        all
    }

    /// Told when a write has failed and the process must be started again.
    pub(crate) fn broken(&self) -> Broken {
        self.broken.clone()
    }

    /// Makes a step durable if the log is still where the caller saw it.
    pub(crate) async fn swap(&self, swap: Swap) -> Result<Swapped, Arc<StoreError>> {
        self.worker.submit(WitnessWork::Swap(swap)).await
    }

    /// Keeps evidence; once, and not more than [`MAX_EVIDENCE`] of a log and kind.
    pub(crate) async fn keep(&self, evidence: ForkEvidence) -> Result<(), Arc<StoreError>> {
        self.worker.submit(WitnessWork::Keep(evidence)).await.map(drop)
    }
}

/// What a witness's database holds, read beside a running witness: the checkpoints, and the
/// evidence with the newest first.
pub fn read_witness(path: &Path) -> Result<(Vec<KnownCheckpoint>, Vec<KeptEvidence>), StoreError> {
    if !path.exists() {
        let source = std::io::Error::new(
            std::io::ErrorKind::NotFound,
            "there is no witness here\n  fix: name its directory with --data, or its configuration with --config",
        );
        return Err(StoreError::File { path: path.display().to_string(), source });
    }
    let db = open_writing(path, APPLICATION_ID, MIGRATIONS)?;
    check_pages(&db)?;
    Ok((read_all(&db)?, evidence(&db)?))
}

/// What the writer's thread owns.
struct WitnessWriter {
    db: Connection,
    shown: Shown,
    /// Set once, by the write that failed.
    broken: watch::Sender<Option<Arc<StoreError>>>,
}

impl WitnessWriter {
    /// Commits all jobs or none, and shows what was committed.
    fn serve(&mut self, jobs: &[WitnessWork]) -> Result<Vec<Swapped>, Arc<StoreError>> {
        if let Some(error) = self.broken.borrow().clone() {
            return Err(error);
        }
        let outcomes = self.transact(jobs).map_err(|error| {
            let error = Arc::new(error);
            // A full disk, or a database that could not be locked: what was there is there.
            if !error.is_transient() {
                self.broken.send_replace(Some(error.clone()));
            }
            error
        })?;
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        for (job, outcome) in jobs.iter().zip(&outcomes) {
            if let (WitnessWork::Swap(swap), Swapped::Done) = (job, outcome) {
                shown.insert(swap.next.origin.clone(), Arc::new(swap.next.clone()));
            }
        }
        drop(shown);
        Ok(outcomes)
    }

    /// All jobs in one transaction. Each sees those before it: of two steps from one head the
    /// second finds the first's.
    fn transact(&mut self, jobs: &[WitnessWork]) -> Result<Vec<Swapped>, StoreError> {
        let transaction =
            self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed("begin"))?;
        let write = |job: &WitnessWork| match job {
            WitnessWork::Swap(swap) => step(&transaction, swap),
            WitnessWork::Keep(evidence) => keep(&transaction, evidence).map(|()| Swapped::Done),
        };
        let outcomes = jobs.iter().map(write).collect::<Result<Vec<_>, StoreError>>()?;
        transaction.commit().map_err(failed("commit"))?;
        Ok(outcomes)
    }
}

fn step(db: &Connection, Swap { expected, next }: &Swap) -> Result<Swapped, StoreError> {
    let read = |table: &str| {
        db.prepare_cached(&format!("SELECT size, root FROM {table} WHERE origin = ?"))
            .and_then(|mut select| {
                select.query_row([&next.origin], |row| Ok(tree(row.get(0)?, row.get(1)?))).optional()
            })
            .map_err(failed("read of checkpoint"))
    };
    let copies = (read("checkpoint")?, read("checkpoint_copy")?);
    let found = copies::agreed(db, format_args!("checkpoint {}", next.origin), copies)?;
    if found != *expected {
        return Ok(Swapped::Raced);
    }
    let sql = match found {
        None => "INSERT INTO checkpoint (size, root, note, cosigned_at, origin) VALUES (?, ?, ?, ?, ?)",
        Some(_) => "UPDATE checkpoint SET size = ?, root = ?, note = ?, cosigned_at = ? WHERE origin = ?",
    };
    let TreeHead { size, root } = &next.tree;
    let row = params![size.0 as i64, root.as_bytes(), next.note, to_micros(next.cosigned_at), next.origin];
    db.prepare_cached(sql)
        .and_then(|mut write| write.execute(row))
        .map(|_| Swapped::Done)
        .map_err(failed("write of checkpoint"))
}

fn keep(db: &Connection, evidence: &ForkEvidence) -> Result<(), StoreError> {
    let ForkEvidence { origin, kind, size, standing, offered, seen_at } = evidence;
    let parts = [kind.as_str(), origin, standing, offered];
    let hasher = parts.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part).chain_update([0]));
    let digest: [u8; 32] = hasher.finalize().into();
    let sql = "INSERT INTO evidence (origin, kind, size, digest, standing, offered, seen_at)
        SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE (SELECT count(*) FROM evidence WHERE origin = ?1 AND kind = ?2) < ?8
        ON CONFLICT (digest) DO NOTHING";
    let row = params![
        origin,
        kind.as_str(),
        size.0 as i64,
        digest,
        standing,
        offered,
        to_micros(*seen_at),
        MAX_EVIDENCE
    ];
    db.prepare_cached(sql)
        .and_then(|mut insert| insert.execute(row))
        .map(drop)
        .map_err(failed("insert into evidence"))
}

fn tree(size: i64, root: [u8; 32]) -> TreeHead {
    TreeHead { size: TreeSize(size as u64), root: Hash::from_bytes(root) }
}

/// Writes the identity into a new database, and compares it in an old one.
fn identify(db: &Connection, path: &Path, vkey: &str, at: Timestamp) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO identity (id, vkey, created_at) SELECT 1, ?, ? WHERE NOT EXISTS (SELECT 1 FROM identity)",
        params![vkey, to_micros(at)],
    )
    .map_err(failed("insert into identity"))?;
    let found: String = db
        .query_row("SELECT vkey FROM identity", [], |row| row.get(0))
        .map_err(failed("read of identity"))?;
    if found == vkey {
        return Ok(());
    }
    let found = FoundInstead::OtherWitness { vkey: found };
    Err(StoreError::Foreign { path: path.display().to_string(), found })
}

fn read_all(db: &Connection) -> Result<Vec<KnownCheckpoint>, StoreError> {
    copies::compare(db, "checkpoint", "checkpoint_copy", "origin, size, root, note, cosigned_at")?;
    let mut select = db
        .prepare("SELECT origin, size, root, note, cosigned_at FROM checkpoint ORDER BY origin")
        .map_err(failed("read of checkpoint"))?;
    let rows = select
        .query_map([], |row| {
            Ok((row.get(0)?, tree(row.get(1)?, row.get(2)?), row.get(3)?, row.get::<_, i64>(4)?))
        })
        .and_then(Iterator::collect::<Result<Vec<(String, TreeHead, String, i64)>, _>>)
        .map_err(failed("read of checkpoint"))?;
    let known = |(origin, tree, note, at): (String, TreeHead, String, i64)| {
        let place = || format!("checkpoint of {origin}");
        let cosigned_at = from_micros(at).map_err(|why| StoreError::Damaged { place: place(), why })?;
        Ok(KnownCheckpoint { origin, tree, note, cosigned_at })
    };
    rows.into_iter().map(known).collect()
}

fn evidence(db: &Connection) -> Result<Vec<KeptEvidence>, StoreError> {
    let columns = "evidence_id, origin, kind, size, digest, standing, offered, seen_at";
    copies::compare(db, "evidence", "evidence_copy", columns)?;
    let mut select = db
        .prepare(
            "SELECT evidence_id, origin, kind, size, standing, offered, seen_at FROM evidence ORDER BY evidence_id DESC",
        )
        .map_err(failed("read of evidence"))?;
    let rows = select
        .query_map([], |row| {
            let (id, size, at): (i64, i64, i64) = (row.get(0)?, row.get(3)?, row.get(6)?);
            // A time that is none is shown as the beginning of time: the notes are what matters
            // here.
            let seen_at = from_micros(at).unwrap_or(Timestamp::UNIX_EPOCH);
            let (origin, kind) = (row.get(1)?, row.get(2)?);
            let (standing, offered) = (row.get(4)?, row.get(5)?);
            Ok(KeptEvidence { id: id as u64, origin, kind, size: size as u64, standing, offered, seen_at })
        })
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed("read of evidence"))?;
    Ok(rows)
}
