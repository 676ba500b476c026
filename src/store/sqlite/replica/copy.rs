//! The end of the records, read from its two copies ([`copies`]).

use rusqlite::{Connection, OptionalExtension, Row};

use super::super::copies;
use super::super::errors::{damaged, failed};
use super::super::rows::blob;
use super::Edge;
use crate::store::StoreError;

/// The stored edge; the one of an empty tree where nothing was written yet.
pub(super) fn stored_edge(db: &Connection) -> Result<Edge, StoreError> {
    let extent = extent(db)?;
    let edge = blob(db, "SELECT body FROM edge WHERE id = ?", 1, "read of edge")?
        .map_or_else(|| Ok(Edge::default()), |row| Edge::decode(&row))
        .map_err(damaged("edge".to_owned()))?;
    let size = extent.map_or(0, |(size, _)| size as u64);
    if edge.size.0 == size {
        return Ok(edge);
    }
    Err(damaged("edge".to_owned())(format!("its row says {size} records and its body {}", edge.size)))
}

/// The number of records and where their segments end.
pub(super) fn extent(db: &Connection) -> Result<Option<(i64, i64)>, StoreError> {
    let numbers = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let read = |table: &str| {
        db.query_row(&format!("SELECT size, segments_end FROM {table}"), [], numbers)
            .optional()
            .map_err(failed("read of edge"))
    };
    copies::agreed(db, "edge", (read("edge")?, read("edge_copy")?))
}
