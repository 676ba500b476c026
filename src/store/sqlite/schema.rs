//! Proof that a database has the schema that its migrations make, word by word. Comments and spaces
//! do not count.
//!
//! A flipped byte in the text of a trigger ends the protection that it gives, or makes each later
//! insert fail. SQLite reads that text once, when a connection opens, so this module reads it at
//! the same time.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::errors::{damaged, failed};
use crate::store::StoreError;

/// Columns that say what an object is. Indexes that SQLite makes itself have no text.
const SELECT: &str = "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema";
/// The one table that a program drops when it has emptied it; its absence is no damage.
const MOVED: &str = "segment_to_move";

/// Type, name, table and text.
type Object = (String, String, String, String);

/// Compares the schema with the one that these migrations make. `migrations` are those that the
/// file has seen.
pub(super) fn check(connection: &Connection, migrations: &[&str]) -> Result<(), StoreError> {
    let action = failed("read of the schema");
    let fresh = Connection::open_in_memory().map_err(&action)?;
    migrations.iter().try_for_each(|migration| fresh.execute_batch(migration)).map_err(&action)?;
    let (expected, found) = (objects(&fresh)?, objects(connection)?);
    if let Some((kind, name, ..)) = found.symmetric_difference(&expected).next() {
        return Err(wrong(format!("the {kind} {name} is not as this program made it")));
    }
    check_roots(connection)
}

fn objects(connection: &Connection) -> Result<BTreeSet<Object>, StoreError> {
    connection
        .prepare(SELECT)
        .and_then(|mut select| {
            let rows = select.query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, words(&row.get::<_, String>(3)?)))
            })?;
            rows.filter(|row: &rusqlite::Result<Object>| !row.as_ref().is_ok_and(|row| row.2 == MOVED))
                .collect()
        })
        .map_err(failed("read of the schema"))
}

/// The text without comments, with single spaces.
fn words(sql: &str) -> String {
    let lines = sql.lines().map(|line| line.split_once("--").map_or(line, |(text, _)| text));
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// Each table and index begins at a page of its own.
fn check_roots(connection: &Connection) -> Result<(), StoreError> {
    let (count, distinct): (i64, i64) = connection
        .query_row(
            "SELECT count(*), count(DISTINCT rootpage) FROM sqlite_schema WHERE type IN ('table', 'index') AND rootpage > 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .map_err(failed("read of the schema"))?;
    let objects: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema WHERE type IN ('table', 'index')", [], |row| {
            row.get(0)
        })
        .map_err(failed("read of the schema"))?;
    if (count, distinct) == (objects, objects) {
        return Ok(());
    }
    Err(wrong(format!("{objects} tables and indexes begin at {distinct} pages")))
}

fn wrong(why: String) -> StoreError {
    damaged("the schema of the database".to_owned())(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIGRATIONS: [&str; 2] = [
        "CREATE TABLE a (id INTEGER PRIMARY KEY, t TEXT UNIQUE) STRICT;
         CREATE TRIGGER a_delete BEFORE DELETE ON a BEGIN SELECT RAISE(ABORT, 'no'); END;",
        "CREATE TABLE b (id INTEGER PRIMARY KEY) STRICT;",
    ];

    #[test]
    fn any_changed_byte_of_a_schema_is_found() {
        let make = || {
            let db = Connection::open_in_memory().unwrap();
            MIGRATIONS.iter().for_each(|migration| db.execute_batch(migration).unwrap());
            db
        };
        check(&make(), &MIGRATIONS).unwrap();
        assert!(check(&make(), &MIGRATIONS[..1]).is_err(), "a table that nobody made");
        let texts: Vec<(String, String)> = make()
            .prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let update = "UPDATE sqlite_schema SET sql = ? WHERE name = ?";
        for (name, text) in texts {
            for at in 0..text.len() {
                let mut changed = text.clone().into_bytes();
                changed[at] ^= 1;
                let db = make();
                db.execute_batch("PRAGMA writable_schema = ON").unwrap();
                db.execute(update, [String::from_utf8(changed).unwrap(), name.clone()]).unwrap();
                let found = check(&db, &MIGRATIONS);
                assert!(matches!(found, Err(StoreError::Damaged { .. })), "{name} {at}: {found:?}");
            }
        }
        for change in [
            "DELETE FROM sqlite_schema WHERE type = 'trigger'",
            "UPDATE sqlite_schema SET rootpage = 2 WHERE type = 'table'",
        ] {
            let db = make();
            db.execute_batch("PRAGMA writable_schema = ON").unwrap();
            db.execute(change, []).unwrap();
            assert!(check(&db, &MIGRATIONS).is_err(), "{change}");
        }
    }
}
