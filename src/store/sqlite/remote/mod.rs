//! What is kept of a remote log that is asked on demand: heads, tiles and records, all of them
//! verified before.
//!
//! A sparse store: tiles by level and number, records by number and by module version, wherever a
//! look-up happened to need them. `migrations/sqlite/remote_*.sql` is the layout. It knows nothing
//! of trees; that what is written fits together was established by [`crate::mirror`], and what is
//! read is verified there again, against a signed root.
//!
//! The newest head and the incidents are kept twice and compared: a damaged page could hide the
//! last row of a table, and a log is held to the newest head that was ever seen.
//!
//! Reads run where they are asked for, on a few connections. Writes go to one thread, which commits
//! whatever has arrived in one transaction: with many look-ups in flight they share one fsync.

mod reader;
mod writer;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use super::connection::open_writing;
use super::copies;
pub use super::seen_heads::SeenHead;
use super::worker::Worker;
use crate::gosum::ModuleLines;
use crate::store::StoreError;
use crate::tlog::{RecordId, TreeHead, TreeSize};
use reader::RemoteReaders;
use writer::{MAX_BATCH, RemoteWork, RemoteWriter};

const MIGRATIONS: &[&str] = &[
    include_str!("../../../../migrations/sqlite/remote_0001.sql"),
    include_str!("../../../../migrations/sqlite/remote_0002.sql"),
    include_str!("../../../../migrations/sqlite/remote_0003.sql"),
];
/// "remo" in ASCII: what is kept of a remote log is not mistaken for a log of ours.
const APPLICATION_ID: i64 = 0x7265_6d6f;

/// A record whose inclusion was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteRecord {
    /// Its number.
    pub(crate) id: RecordId,
    /// Its text, byte for byte: the two lines, and in some logs more.
    pub(crate) text: String,
    /// The two lines of its module version.
    pub(crate) lines: ModuleLines,
    /// The size of the stored head under which it was verified. All tiles of its proof are kept.
    pub(crate) head_size: TreeSize,
}

/// A verified hash tile of height 8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteTile {
    /// Its level.
    pub(crate) level: u8,
    /// Its number within the level.
    pub(crate) number: u64,
    /// Its hashes, 32 bytes each, 1 to 256 of them.
    pub(crate) body: Bytes,
}

/// What one verification adds: all of it, or nothing.
#[derive(Debug)]
pub(crate) struct Addition {
    /// The newest head that the heads below were compared with; none when there was none.
    pub(crate) newest: Option<TreeHead>,
    /// Heads that are consistent with it and with each other.
    pub(crate) heads: Vec<SeenHead>,
    /// Tiles that were verified.
    pub(crate) tiles: Vec<RemoteTile>,
    /// The record that was verified.
    pub(crate) record: Option<RemoteRecord>,
}

/// What became of an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is durable.
    Done,
    /// The newest head is another by now, so that a record would not be provable under it, or one
    /// of the heads contradicts a stored one: compare again.
    Raced,
    /// The log was stopped for misbehaviour meanwhile. Nothing was written.
    Stopped,
}

/// A signed contradiction that stopped the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredIncident {
    /// Its number, from 1.
    pub(crate) id: u64,
    /// Both notes and the proof.
    pub(crate) text: String,
    /// When it was seen.
    pub(crate) seen_at: Timestamp,
}

/// How the last attempts to reach the newest head ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    /// When the newest head was reached last.
    pub(crate) succeeded_at: Option<Timestamp>,
    /// When that failed last.
    pub(crate) failed_at: Option<Timestamp>,
    /// Why it failed then.
    pub(crate) failure: Option<String>,
    /// The largest tree that the log's URLs have shown as the newest.
    pub(crate) shown_size: TreeSize,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records.
    pub records: u64,
    /// Tiles.
    pub tiles: u64,
    /// Heads.
    pub heads: u64,
}

/// The store of one remote log.
pub(crate) struct RemoteStore {
    /// Owns the writing connection, on its thread.
    worker: Worker<RemoteWork, Added>,
    readers: RemoteReaders,
}

impl RemoteStore {
    /// Opens the database at `path`, and creates it when there is none. One of another log, or of
    /// this log with another key, is refused. `known` is a head that was verified before: the first
    /// of a database that has none.
    pub(crate) fn open(
        path: &Path,
        name: &str,
        vkey: &str,
        known: Option<&SeenHead>,
        at: Timestamp,
    ) -> Result<RemoteStore, StoreError> {
        let db = open_writing(path, APPLICATION_ID, MIGRATIONS)?;
        writer::identify(&db, path, name, vkey, at)?;
        copies::compare(&db, "incident", "incident_copy", "id, text, seen_at")?;
        copies::compare(&db, "resumption", "resumption_copy", "incident, resumed_at")?;
        known.map_or(Ok(()), |head| writer::begin_with(&db, head))?;
        let readers = RemoteReaders::open(path)?;
        let mut writer = RemoteWriter::new(db);
        let worker =
            Worker::start("remote-store", MAX_BATCH, move |jobs| writer.transact(jobs).map_err(Arc::new))?;
        Ok(RemoteStore { worker, readers })
    }

    /// Makes an addition durable, in one commit with whatever else has arrived.
    pub(crate) async fn add(&self, addition: Addition) -> Result<Added, Arc<StoreError>> {
        self.worker.submit(RemoteWork::Add(addition)).await
    }

    /// Stops the log. Of several contradictions the first is kept.
    pub(crate) async fn stop(&self, text: String, at: Timestamp) -> Result<(), Arc<StoreError>> {
        self.worker.submit(RemoteWork::Stop { text, at }).await.map(drop)
    }

    /// Ends the stop of an incident; the incident stays. False if the log is not stopped for that
    /// one.
    pub(crate) async fn resume(&self, incident: u64, at: Timestamp) -> Result<bool, Arc<StoreError>> {
        Ok(self.worker.submit(RemoteWork::Resume { incident, at }).await? == Added::Done)
    }

    /// Keeps how the last attempts ended.
    pub(crate) async fn note_attempts(&self, attempts: Attempts) -> Result<(), Arc<StoreError>> {
        self.worker.submit(RemoteWork::Attempts(attempts)).await.map(drop)
    }
}

/// The checksum of a record's row.
fn record_sum(module: &str, body: &str) -> i64 {
    xxh3_64(format!("{module}\n{body}").as_bytes()) as i64
}

/// The checksum of a tile's row.
fn tile_sum(body: &[u8]) -> i64 {
    xxh3_64(body) as i64
}
