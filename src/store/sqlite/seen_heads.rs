//! The signed heads of another log, as its databases keep them: the [sparse one](super::remote) and
//! the [full one](super::replica) have the same two tables.
//!
//! `head` has them all. `newest_head` is the second copy of the newest, on another page: a damaged
//! page could hide the last row of a table, and a log is held to the newest head that was ever
//! seen.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::copies;
use super::errors::{failed, to_micros};
use super::rows::heads_as;
use crate::store::StoreError;
use crate::tlog::{TreeHead, TreeSize};

/// A signed head of the remote log, and when it was seen first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenHead {
    /// Size and root.
    pub tree: TreeHead,
    /// The signed note, byte for byte.
    pub note: String,
    /// When it was first seen.
    pub seen_at: Timestamp,
}

/// The newest head, from both copies.
pub(super) fn newest(db: &Connection) -> Result<Option<SeenHead>, StoreError> {
    let copy = "SELECT size, root, note, seen_at FROM newest_head WHERE size < ? LIMIT ?";
    let both = || Ok((heads(db, i64::MAX, 1)?, select(db, copy, i64::MAX, 1)?));
    Ok(copies::read_agreed(db, "the newest head", both)?.pop())
}

/// The head of exactly this size.
pub(super) fn head(db: &Connection, size: TreeSize) -> Result<Option<SeenHead>, StoreError> {
    let Ok(size) = i64::try_from(size.0) else { return Ok(None) };
    let sql = "SELECT size, root, note, seen_at FROM head WHERE size = ? LIMIT ?";
    Ok(select(db, sql, size, 1)?.pop())
}

/// Up to `limit` heads smaller than `before`, newest first.
pub(super) fn heads(db: &Connection, before: i64, limit: usize) -> Result<Vec<SeenHead>, StoreError> {
    let sql = "SELECT size, root, note, seen_at FROM head WHERE size < ? ORDER BY size DESC LIMIT ?";
    select(db, sql, before, limit)
}

fn select(db: &Connection, sql: &str, size: i64, limit: usize) -> Result<Vec<SeenHead>, StoreError> {
    heads_as(db, sql, size, limit, |tree, note, seen_at| SeenHead { tree, note, seen_at })
}

/// Adds a head. A trigger writes the copy of the newest.
pub(super) fn insert(db: &Connection, head: &SeenHead) -> Result<(), StoreError> {
    let TreeHead { size, root } = head.tree;
    let row = params![size.0 as i64, root.as_bytes(), head.note, to_micros(head.seen_at)];
    db.prepare_cached("INSERT INTO head (size, root, note, seen_at) VALUES (?, ?, ?, ?)")
        .and_then(|mut insert| insert.execute(row))
        .map(drop)
        .map_err(failed("insert into head"))
}
