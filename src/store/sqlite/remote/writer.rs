//! The writing half: one thread, one connection, one transaction for whatever has arrived.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use super::super::errors::{failed, to_micros};
use super::super::seen_heads::{self, SeenHead};
use super::{Added, Addition, Attempts, RemoteRecord, RemoteTile, record_sum, tile_sum};
use crate::store::{FoundInstead, StoreError};
use crate::tlog::HASH_SIZE;

/// Jobs in one transaction. More callers than this are never in flight; it only keeps a transaction
/// short.
pub(super) const MAX_BATCH: usize = 256;

/// The incident that nobody has ended.
pub(super) const OPEN_INCIDENT: &str = "SELECT id, text, seen_at FROM incident
    WHERE NOT EXISTS (SELECT 1 FROM resumption WHERE resumption.incident = incident.id) ORDER BY id LIMIT 1";

/// The same, in the second copies.
pub(super) const OPEN_INCIDENT_COPY: &str = "SELECT id, text, seen_at FROM incident_copy
    WHERE NOT EXISTS (SELECT 1 FROM resumption_copy WHERE resumption_copy.incident = incident_copy.id)
    ORDER BY id LIMIT 1";

pub(super) enum RemoteWork {
    Add(Addition),
    Stop { text: String, at: Timestamp },
    Resume { incident: u64, at: Timestamp },
    Attempts(Attempts),
}

pub(super) struct RemoteWriter {
    db: Connection,
}

/// Writes the identity into a new database, and compares it in an old one.
pub(super) fn identify(
    db: &Connection,
    path: &Path,
    name: &str,
    vkey: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO identity (id, name, vkey, created_at) SELECT 1, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM identity)",
        params![name, vkey, to_micros(at)],
    )
    .map_err(failed("insert into identity"))?;
    let found: (String, String) = db
        .query_row("SELECT name, vkey FROM identity", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(failed("read of identity"))?;
    if found == (name.to_owned(), vkey.to_owned()) {
        return Ok(());
    }
    let found = FoundInstead::OtherRemoteLog { name: found.0, vkey: found.1 };
    Err(StoreError::Foreign { path: path.display().to_string(), found })
}

/// Writes the first head, if there is none.
pub(super) fn begin_with(db: &Connection, head: &SeenHead) -> Result<(), StoreError> {
    if seen_heads::newest(db)?.is_some() { Ok(()) } else { seen_heads::insert(db, head) }
}

impl RemoteWriter {
    pub(super) fn new(db: Connection) -> RemoteWriter {
        RemoteWriter { db }
    }

    /// Commits all jobs or none: a database that fails for one of them fails for all.
    pub(super) fn transact(&mut self, jobs: &[RemoteWork]) -> Result<Vec<Added>, StoreError> {
        let transaction =
            self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed("begin"))?;
        let write = |job: &RemoteWork| match job {
            RemoteWork::Add(addition) => add(&transaction, addition),
            RemoteWork::Stop { text, at } => stop(&transaction, text, *at).map(|()| Added::Done),
            RemoteWork::Resume { incident, at } => resume(&transaction, *incident, *at),
            RemoteWork::Attempts(attempts) => note_attempts(&transaction, attempts).map(|()| Added::Done),
        };
        let added = jobs.iter().map(write).collect::<Result<Vec<Added>, StoreError>>()?;
        transaction.commit().map_err(failed("commit"))?;
        Ok(added)
    }
}

fn add(db: &Connection, addition: &Addition) -> Result<Added, StoreError> {
    if exists(db, OPEN_INCIDENT)? || exists(db, OPEN_INCIDENT_COPY)? {
        return Ok(Added::Stopped);
    }
    let newest = seen_heads::newest(db)?.map(|head| head.tree);
    let advances = addition.heads.iter().any(|head| newest.is_none_or(|newest| head.tree.size > newest.size));
    // A record is answered with the newest head, so what proves it under that head must be kept.
    if (advances || addition.record.is_some()) && newest != addition.newest {
        return Ok(Added::Raced);
    }
    let mut new = Vec::with_capacity(addition.heads.len());
    for head in &addition.heads {
        match seen_heads::head(db, head.tree.size)? {
            None => new.push(head),
            Some(stored) if stored.tree == head.tree => {}
            Some(_) => return Ok(Added::Raced),
        }
    }
    new.into_iter().try_for_each(|head| seen_heads::insert(db, head))?;
    addition.tiles.iter().try_for_each(|tile| insert_tile(db, tile))?;
    addition.record.iter().try_for_each(|record| insert_record(db, record))?;
    Ok(Added::Done)
}

fn stop(db: &Connection, text: &str, at: Timestamp) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO incident (id, text, seen_at)
         SELECT (SELECT coalesce(max(id), 0) + 1 FROM incident), ?, ? WHERE NOT EXISTS ({OPEN_INCIDENT})"
    );
    db.execute(&sql, params![text, to_micros(at)]).map(drop).map_err(failed("insert into incident"))
}

/// [`Added::Raced`] when the log is not stopped for this incident.
fn resume(db: &Connection, incident: u64, at: Timestamp) -> Result<Added, StoreError> {
    let sql = format!(
        "INSERT INTO resumption (incident, resumed_at) SELECT id, ? FROM ({OPEN_INCIDENT}) WHERE id = ?"
    );
    let resumed = db
        .execute(&sql, params![to_micros(at), incident as i64])
        .map_err(failed("insert into resumption"))?;
    Ok(if resumed == 1 { Added::Done } else { Added::Raced })
}

fn note_attempts(db: &Connection, attempts: &Attempts) -> Result<(), StoreError> {
    let Attempts { succeeded_at, failed_at, failure, shown_size } = attempts;
    let (succeeded_at, failed_at) = (succeeded_at.map(to_micros), failed_at.map(to_micros));
    db.prepare_cached(
        "INSERT OR REPLACE INTO attempt (id, succeeded_at, failed_at, failure, shown_size) VALUES (1, ?, ?, ?, ?)",
    )
    .and_then(|mut insert| insert.execute(params![succeeded_at, failed_at, failure, shown_size.0 as i64]))
    .map(drop)
    .map_err(failed("insert into attempt"))
}

fn exists(db: &Connection, sql: &str) -> Result<bool, StoreError> {
    db.prepare_cached(sql).and_then(|mut select| select.exists([])).map_err(failed("read"))
}

/// Keeps the widest: narrower ones that it begins with go, as the trigger demands. One that differs
/// was damaged, and stays.
fn insert_tile(db: &Connection, tile: &RemoteTile) -> Result<(), StoreError> {
    let (level, number, width) = (tile.level, tile.number as i64, (tile.body.len() / HASH_SIZE) as i64);
    let inserted = db
        .prepare_cached(
            "INSERT INTO tile (level, number, width, body, sum) SELECT ?1, ?2, ?3, ?4, ?5
             WHERE NOT EXISTS (SELECT 1 FROM tile WHERE level = ?1 AND number = ?2 AND width >= ?3)",
        )
        .and_then(|mut insert| {
            insert.execute(params![level, number, width, &tile.body[..], tile_sum(&tile.body)])
        })
        .map_err(failed("insert into tile"))?;
    if inserted == 1 {
        db.prepare_cached("DELETE FROM tile WHERE level = ? AND number = ? AND width < ? AND body = substr(?, 1, 32 * width)")
            .and_then(|mut delete| delete.execute(params![level, number, width, &tile.body[..]]))
            .map_err(failed("delete from tile"))?;
    }
    Ok(())
}

fn insert_record(db: &Connection, record: &RemoteRecord) -> Result<(), StoreError> {
    let (module, body) = (record.lines.module.to_string(), &record.text);
    let sum = record_sum(&module, body);
    // Another process may have asked for the same. The log may also have the module version twice;
    // the first stands.
    db.prepare_cached(
        "INSERT INTO record (record_id, module, body, head_size, sum) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .and_then(|mut insert| {
        insert.execute(params![record.id.0 as i64, module, body, record.head_size.0 as i64, sum])
    })
    .map(drop)
    .map_err(failed("insert into record"))
}
