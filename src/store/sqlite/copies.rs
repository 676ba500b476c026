//! Rows that are kept twice, because a damaged page could hide the first copy.
//!
//! SQLite's pages have no checksums. Damage in one can make a b-tree look shorter than it is, or
//! show an older row, and each row that is left is still a good one. So what must never be
//! forgotten has a second copy in another table, on other pages. Triggers write it in the same
//! transaction. Two copies that differ are damage: the smaller one is never taken for the whole.

use std::fmt;

use rusqlite::Connection;

use super::errors::{damaged, failed};
use crate::store::StoreError;

/// Compares two tables row by row. `columns` are those that both have, the first one names the row.
pub(super) fn compare(db: &Connection, table: &str, copy: &str, columns: &str) -> Result<(), StoreError> {
    let key = columns.split(',').next().unwrap_or(columns);
    let only_in = |one: &str, other: &str| {
        format!(
            "SELECT CAST({key} AS TEXT) FROM
                 (SELECT {columns} FROM {one} EXCEPT SELECT {columns} FROM {other})"
        )
    };
    let sql = format!("{} UNION ALL {} LIMIT 1", only_in(table, copy), only_in(copy, table));
    let found = db
        .prepare_cached(&sql)
        .and_then(|mut select| select.query_map([], |row| row.get::<_, String>(0))?.next().transpose())
        .map_err(failed("comparison of two copies"))?;
    found.map_or(Ok(()), |row| Err(differ(db, format_args!("{table} {row}"))))
}

/// Reads both copies from one state of the database, since another connection may commit between
/// two reads, and returns one of them when they are equal.
pub(super) fn read_agreed<T: PartialEq>(
    db: &Connection,
    what: impl fmt::Display,
    read: impl FnOnce() -> Result<(T, T), StoreError>,
) -> Result<T, StoreError> {
    if !db.is_autocommit() {
        return agreed(db, what, read()?);
    }
    let transaction = db.unchecked_transaction().map_err(failed("begin"))?;
    let both = read()?;
    transaction.commit().map_err(failed("end of a read"))?;
    agreed(db, what, both)
}

/// Returns one of two copies when they are equal.
pub(super) fn agreed<T: PartialEq>(
    db: &Connection,
    what: impl fmt::Display,
    (first, second): (T, T),
) -> Result<T, StoreError> {
    if first == second { Ok(first) } else { Err(differ(db, what)) }
}

fn differ(db: &Connection, what: impl fmt::Display) -> StoreError {
    let file = db.path().unwrap_or("the database");
    damaged(format!("{what} in {file}"))("its two copies differ".to_owned())
}
