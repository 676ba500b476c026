//! The directory of an own log: its lock, its database, and the anchor that belongs to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::log_database::is_created;
use super::observer::SqliteReader;
use super::writer::SqliteStore;
use crate::store::anchor::{Anchor as _, Anchored, FileAnchor};
use crate::store::lock::{DirectoryLock, or_full, refuse_network_file_system};
use crate::store::{Identity, LogParts, OpenedDatabase, StoreError, private};
use crate::tlog::{Hash, TreeHead, TreeSize};

/// File name of the log's database in the data directory.
pub const DATABASE_FILE: &str = "log.db";

/// Whether a directory holds a log. A database in which none was created yet is no log.
pub(crate) fn holds_log(directory: &Path) -> bool {
    is_created(&directory.join(DATABASE_FILE))
}

/// Locks the log in `directory` and opens its parts. With an identity a missing log is created, and
/// one of another identity is refused; without one a missing log is an error.
///
/// `reader_cache_kib` is the page cache of each of the reading connections, of which there are as
/// many as cores.
pub fn open_log(
    directory: &Path,
    anchor: &Path,
    identity: Option<&Identity>,
    reader_cache_kib: u32,
) -> Result<LogParts, StoreError> {
    refuse_network_file_system(directory)?;
    let lock = Some(DirectoryLock::acquire(directory)?);
    private::tighten_file(anchor);
    let path = directory.join(DATABASE_FILE);
    let disks = vec![directory.to_owned(), directory_of(anchor)];
    let anchor = FileAnchor::at(anchor);
    if let Some(identity) = identity.filter(|_| !is_created(&path)) {
        // The anchor first: then a log without one has lost it, however young it is.
        found_anchor(&anchor, identity).map_err(|error| or_full(error, &disks))?;
    }
    let database = match SqliteStore::open(&path, identity, reader_cache_kib) {
        Ok(store) => OpenedDatabase::Sound(Box::new(store)),
        Err(error @ StoreError::Damaged { .. }) => match SqliteReader::open(&path, reader_cache_kib) {
            Ok(reader) => OpenedDatabase::Damaged { reader: Arc::new(reader), error },
            Err(_) => return Err(error),
        },
        Err(error) => return Err(or_full(error, &disks)),
    };
    Ok(LogParts { database, anchor: Some(Arc::new(anchor)), disks, lock })
}

/// Makes the anchor of a log that is about to be made. One that is there stays: the start compares
/// them.
fn found_anchor(anchor: &FileAnchor, identity: &Identity) -> Result<(), StoreError> {
    if let Ok(None) = anchor.open() {
        let tree = TreeHead { size: TreeSize(0), root: Hash::EMPTY_TREE };
        let anchored = Anchored { vkey: identity.vkey.clone(), epoch: 0, tree, stops: 0 };
        anchor.create(&anchored, identity.created_at)?;
    }
    Ok(())
}

/// The directory that a file is in; a bare name is in the current one.
fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}
