//! Databases as another program sees them, which knows nothing of ours.

use std::path::Path;

use rusqlite::Connection;

/// Changes a database whose triggers refuse it, as damage does: the schema is afterwards what it was.
pub(crate) fn behind_triggers<T>(path: &Path, change: impl FnOnce(&Connection) -> T) -> T {
    let raw = Connection::open(path).unwrap();
    let triggers: Vec<(String, String)> = raw
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    triggers.iter().for_each(|(name, _)| raw.execute_batch(&format!("DROP TRIGGER {name}")).unwrap());
    let changed = change(&raw);
    triggers.iter().for_each(|(_, sql)| raw.execute_batch(sql).unwrap());
    changed
}

/// The same with statements.
pub(crate) fn run_behind_triggers(path: &Path, sql: &str) {
    behind_triggers(path, |raw| raw.execute_batch(sql).unwrap());
}
