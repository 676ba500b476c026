//! The reading half: point reads on a few connections, checked against their checksums.

use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::connection::open_reader;
use super::super::copies;
use super::super::errors::{damaged, failed, from_micros};
use super::super::seen_heads::{self, SeenHead};
use super::writer::{OPEN_INCIDENT, OPEN_INCIDENT_COPY};
use super::{Attempts, Counts, RemoteRecord, RemoteStore, StoredIncident, record_sum, tile_sum};
use crate::gosum::ModuleLines;
use crate::module::ModuleVersion;
use crate::store::StoreError;
use crate::tlog::{HASH_SIZE, RecordId, TreeSize};

/// Connections. A read takes microseconds, so that more would rarely be busy.
const READERS: usize = 2;
/// Page cache of each: what is hot is kept in memory as tiles, by [`crate::mirror`].
const CACHE_KIB: u32 = 2 << 10;

/// The reading connections. Whoever reads owns one for the length of its read.
pub(super) struct RemoteReaders([Mutex<Connection>; READERS]);

impl RemoteReaders {
    pub(super) fn open(path: &Path) -> Result<RemoteReaders, StoreError> {
        Ok(RemoteReaders([
            Mutex::new(open_reader(path, CACHE_KIB)?),
            Mutex::new(open_reader(path, CACHE_KIB)?),
        ]))
    }

    /// A connection that is free, or else the first.
    fn any(&self) -> MutexGuard<'_, Connection> {
        let free = self.0.iter().find_map(|reader| reader.try_lock().ok());
        free.unwrap_or_else(|| self.0[0].lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

impl RemoteStore {
    /// The newest head.
    pub(crate) fn newest(&self) -> Result<Option<SeenHead>, StoreError> {
        seen_heads::newest(&self.readers.any())
    }

    /// The head of exactly this size.
    pub(crate) fn head(&self, size: TreeSize) -> Result<Option<SeenHead>, StoreError> {
        seen_heads::head(&self.readers.any(), size)
    }

    /// The record of a module version.
    pub(crate) fn find(&self, module: &ModuleVersion) -> Result<Option<RemoteRecord>, StoreError> {
        let sql = "SELECT record_id, module, body, head_size, sum FROM record WHERE module = ?";
        read_record(&self.readers.any(), sql, &module.to_string())
    }

    /// A record by its number.
    pub(crate) fn record(&self, id: RecordId) -> Result<Option<RemoteRecord>, StoreError> {
        let sql = "SELECT record_id, module, body, head_size, sum FROM record WHERE record_id = ?";
        read_record(&self.readers.any(), sql, &(id.0 as i64))
    }

    /// The first `width` hashes of a tile, if as many were verified.
    pub(crate) fn tile(&self, level: u8, number: u64, width: u32) -> Result<Option<Bytes>, StoreError> {
        let row = self
            .readers
            .any()
            .prepare_cached(
                "SELECT body, sum FROM tile WHERE level = ? AND number = ? AND width >= ? ORDER BY width DESC LIMIT 1",
            )
            .and_then(|mut select| {
                let read = |row: &Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?));
                select.query_row(params![level, number as i64, width], read).optional()
            })
            .map_err(failed("read of tile"))?;
        let Some((body, sum)) = row else { return Ok(None) };
        let length = width as usize * HASH_SIZE;
        if body.len() < length || tile_sum(&body) != sum {
            let place = format!("tile {number} of level {level}");
            return Err(damaged(place)("the checksum does not match".to_owned()));
        }
        // A part is copied: it may be kept for long, and is weighed by what it shows.
        Ok(Some(if length < body.len() { Bytes::copy_from_slice(&body[..length]) } else { body.into() }))
    }

    /// The incident for which the log is stopped.
    pub(crate) fn stopped(&self) -> Result<Option<StoredIncident>, StoreError> {
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get(2)?));
        let db = self.readers.any();
        let open = |sql| db.query_row(sql, [], read).optional().map_err(failed("read of incident"));
        let both = || Ok((open(OPEN_INCIDENT)?, open(OPEN_INCIDENT_COPY)?));
        let row = copies::read_agreed(&db, "the incident for which the log is stopped", both)?;
        let Some((id, text, seen_at)) = row else { return Ok(None) };
        let seen_at = from_micros(seen_at).map_err(damaged(format!("incident {id}")))?;
        Ok(Some(StoredIncident { id: id as u64, text, seen_at }))
    }

    /// How the last attempts ended.
    pub(crate) fn attempts(&self) -> Result<Attempts, StoreError> {
        let sql = "SELECT succeeded_at, failed_at, failure, shown_size FROM attempt";
        let read = |row: &Row<'_>| {
            let times: [Option<i64>; 2] = [row.get(0)?, row.get(1)?];
            Ok((times, row.get(2)?, row.get::<_, i64>(3)?))
        };
        let row =
            self.readers.any().query_row(sql, [], read).optional().map_err(failed("read of attempt"))?;
        let Some(([succeeded_at, failed_at], failure, shown_size)) = row else {
            return Ok(Attempts::default());
        };
        let time =
            |micros: Option<i64>| micros.map(from_micros).transpose().map_err(damaged("attempt".to_owned()));
        let (succeeded_at, failed_at) = (time(succeeded_at)?, time(failed_at)?);
        Ok(Attempts { succeeded_at, failed_at, failure, shown_size: TreeSize(shown_size as u64) })
    }

    /// How much is kept. Reads an index of each table.
    pub(crate) fn counts(&self) -> Result<Counts, StoreError> {
        let sql =
            "SELECT (SELECT count(*) FROM record), (SELECT count(*) FROM tile), (SELECT count(*) FROM head)";
        let read = |row: &Row<'_>| Ok([row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?]);
        let counted = self.readers.any().query_row(sql, [], read).map_err(failed("count"))?;
        let [records, tiles, heads] = counted.map(|count| count as u64);
        Ok(Counts { records, tiles, heads })
    }
}

fn read_record(
    db: &Connection,
    sql: &str,
    key: &dyn rusqlite::ToSql,
) -> Result<Option<RemoteRecord>, StoreError> {
    let row = db
        .prepare_cached(sql)
        .and_then(|mut select| {
            select
                .query_row([key], |row| {
                    let texts: (String, String) = (row.get(1)?, row.get(2)?);
                    let numbers: (i64, i64, i64) = (row.get(0)?, row.get(3)?, row.get(4)?);
                    Ok((texts, numbers))
                })
                .optional()
        })
        .map_err(failed("read of record"))?;
    let Some(((module, body), (id, head_size, sum))) = row else { return Ok(None) };
    let at = || damaged(format!("record {id}"));
    if record_sum(&module, &body) != sum {
        return Err(at()("the checksum does not match".to_owned()));
    }
    let lines = match ModuleLines::parse(&body) {
        Ok(lines) if lines.module.to_string() == module => lines,
        // More than two lines, as it was accepted.
        _ => module
            .parse()
            .ok()
            .and_then(|module| ModuleLines::find(&body, &module))
            .ok_or_else(|| at()(format!("it has no lines of {module}")))?,
    };
    let (id, head_size) = (RecordId(id as u64), TreeSize(head_size as u64));
    Ok(Some(RemoteRecord { id, text: body, lines, head_size }))
}
