//! The writing half: one connection, one transaction per window.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use xxhash_rust::xxh3::xxh3_64;

use super::super::connection::{checkpoint_aloud, empty_wal, open_writing_with};
use super::super::errors::{damaged, failed, from_micros, to_micros};
use super::super::index::{FLUSH, MOST_RECENT, View};
use super::super::merge::{Change, Index};
use super::super::packed::RecordParts;
use super::super::readers::{Commits, ReaderPool};
use super::super::rebuild::{clear, fill};
use super::super::rows::tile_id;
use super::super::seen_heads;
use super::super::segment::{Decoder, SEGMENT_WIDTH, unwrap, wrap};
use super::super::shape::{IndexEntry, hash_name};
use super::copy::{extent, stored_edge};
use super::moved;
use super::reader::{dictionary, each_sealed};
use super::segments::{Bounds, Segments};
use super::{
    APPLICATION_ID, Edge, MIGRATIONS, PackedTile, ReplicaShared, ReplicaState, SEGMENTS_PER_TILE, Window,
    codec_failed,
};
use crate::store::lock::Exclusive;
use crate::store::{FoundInstead, FullTile, StoreError};
use crate::tlog::TILE_WIDTH;

/// Entries of the index that one commit moves when only merging is left.
const MERGED_PER_COMMIT: u64 = 1 << 20;
/// Pages that one commit moves to where free ones are: a write-ahead log of 16 MiB.
const VACUUMED_PER_COMMIT: u32 = 1_000;

pub(super) struct ReplicaWriter {
    db: Connection,
    shared: Arc<ReplicaShared>,
    index: Index,
    /// Of the segments that are committed.
    bounds: Bounds,
    /// A commit has failed, so that what is in memory may not be what is in the file.
    unsure: bool,
    /// Held for as long as anything may be written, which is longer than anybody waits for it.
    _lock: Exclusive,
}

/// A mirror that was just opened.
pub(super) struct OpenedReplica {
    pub(super) writer: ReplicaWriter,
    pub(super) shared: Arc<ReplicaShared>,
    /// What names are packed with, when there is such a thing already.
    pub(super) dictionary: Option<Vec<u8>>,
}

/// Opens or creates a mirror.
pub(super) fn open(
    path: &Path,
    name: &str,
    vkey: &str,
    cache_kib: u32,
    at: Timestamp,
) -> Result<OpenedReplica, StoreError> {
    let lock = Exclusive::acquire(&path.with_extension("lock"))?;
    // Merging the index leaves free pages, a fifteenth of a large mirror: they are given back when
    // it settles.
    let mut db = open_writing_with(path, APPLICATION_ID, MIGRATIONS, "incremental")?;
    let index_key = identify(&db, path, name, vkey, at)?;
    let segments = open_segments(&db, path, &index_key)?;
    let readers = Arc::new(ReaderPool::open(path, cache_kib, Commits::Told)?);
    let held = readers.clone();
    checkpoint_aloud(&mut db, move |is_long| held.hold(!is_long))?;
    let view = Arc::new(ArcSwap::from_pointee(View::default()));
    let (mut index, runs) = Index::load(&db, view.clone(), index_key, &[])?;
    let sealed = stored_edge(&db)?.sealed();
    if sealed > index.flushed + MOST_RECENT {
        // It was thrown away to be made again.
        index.show(runs, Vec::new());
        let mut decoder = Decoder::new().map_err(codec_failed)?;
        let mut entries = |ids| entries(&db, &mut decoder, &segments, &index_key, ids);
        fill(&db, &mut index, sealed, &mut entries, &mut |_| {})?;
    }
    let state = ArcSwap::from_pointee(ReplicaState { edge: Edge::default(), head: None });
    let condemned = ArcSwap::default();
    let shared = Arc::new(ReplicaShared { index_key, segments, view, readers, state, condemned });
    let bounds = Bounds::NONE;
    let mut writer = ReplicaWriter { db, shared: shared.clone(), index, bounds, unsure: true, _lock: lock };
    writer.reload()?;
    let dictionary = dictionary(&writer.db)?;
    Ok(OpenedReplica { writer, shared, dictionary })
}

/// Says whose database this is, or finds out. Returns the key of its index.
fn identify(
    db: &Connection,
    path: &Path,
    name: &str,
    vkey: &str,
    at: Timestamp,
) -> Result<[u8; 16], StoreError> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).expect("the system gives random bytes");
    db.execute(
        "INSERT INTO identity (id, name, vkey, index_key, created_at) SELECT 1, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM identity)",
        params![name, vkey, wrap(&key), to_micros(at)],
    )
    .map_err(failed("insert into identity"))?;
    let (found_name, found_vkey, key, created_at) = db
        .query_row("SELECT name, vkey, index_key, created_at FROM identity", [], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?, row.get(3)?))
        })
        .map_err(failed("read of identity"))?;
    from_micros(created_at).map_err(damaged("identity".to_owned()))?;
    if (found_name.as_str(), found_vkey.as_str()) != (name, vkey) {
        let found = FoundInstead::OtherReplica { name: found_name, vkey: found_vkey };
        return Err(StoreError::Foreign { path: path.display().to_string(), found });
    }
    let key = unwrap(&key).and_then(|key| key.try_into().map_err(|_| "not a key".to_owned()));
    key.map_err(damaged("identity".to_owned()))
}

/// Opens the files with the segments, after what an older program has left in a table was moved
/// there.
fn open_segments(db: &Connection, path: &Path, index_key: &[u8; 16]) -> Result<Segments, StoreError> {
    // The key is drawn for each database, and stays within it.
    let (mark, edge) = (xxh3_64(index_key), stored_edge(db)?);
    if !moved::is_left(db)? {
        return Segments::open(path, mark, stored_bounds(db, &edge)?);
    }
    let segments = Segments::open(path, mark, Bounds::NONE)?;
    moved::move_segments(db, path, &segments, edge.sealed() / SEGMENT_WIDTH)?;
    Ok(segments)
}

impl ReplicaWriter {
    /// Reads again what is kept in memory.
    fn reload(&mut self) -> Result<(), StoreError> {
        let edge = stored_edge(&self.db)?;
        let head = seen_heads::newest(&self.db)?;
        self.bounds = stored_bounds(&self.db, &edge)?;
        let (index, runs) = {
            let key = self.shared.index_key;
            Index::load(&self.db, self.shared.view.clone(), key, &self.index.known())?
        };
        let (size, sealed) = (edge.size.0, edge.sealed());
        if index.flushed > size {
            let why = format!("it has {} records and the edge says {size}", index.flushed);
            return Err(damaged("index_run".to_owned())(why));
        }
        let key = &self.shared.index_key;
        let mut recent: Vec<IndexEntry> = Vec::new();
        if index.flushed < sealed {
            let mut decoder = Decoder::new().map_err(codec_failed)?;
            let segments = &self.shared.segments;
            recent = entries(&self.db, &mut decoder, segments, key, index.flushed..sealed)?;
        }
        recent.extend(edge_entries(key, &edge).filter(|(_, id)| *id >= index.flushed));
        // A commit that was reported as failed may have been one.
        self.shared.readers.committed();
        index.show(runs, recent);
        self.index = index;
        self.shared.state.store(Arc::new(ReplicaState { edge, head: head.map(Arc::new) }));
        self.unsure = false;
        Ok(())
    }

    /// After a failure: finds out what is in the file. Before anything else is done with it, since
    /// a commit that was reported as failed may stand.
    pub(super) fn settle_doubt(&mut self) -> Result<(), StoreError> {
        if self.unsure {
            self.rollback();
            self.reload()?;
        }
        Ok(())
    }

    /// Keeps a dictionary for good. Returns the one that there is now: another one, if that was
    /// kept before.
    pub(super) fn insert_dictionary(&mut self, new: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        self.settle_doubt()?;
        if let Some(found) = dictionary(&self.db)? {
            return Ok(found);
        }
        self.unsure = true;
        self.db
            .execute("INSERT INTO dictionary (dictionary_id, body) VALUES (1, ?)", [wrap(&new)])
            .map_err(failed("insert into dictionary"))?;
        self.unsure = false;
        self.shared.readers.committed();
        Ok(new)
    }

    pub(super) fn commit(&mut self, window: Window) -> Result<(), StoreError> {
        let mut bounds = self.bounds;
        self.transact(window.head.is_some(), |writer| {
            writer.check(&window)?;
            bounds = writer.append(&window)?;
            let change = writer.write(&window, bounds)?;
            // The database is told of nothing that a power cut can take away.
            if bounds != writer.bounds {
                writer.shared.segments.sync()?;
            }
            Ok(change)
        })?;
        self.bounds = bounds;
        let Window { edge, head, .. } = window;
        let head = head.map(Arc::new).or_else(|| self.shared.state.load().head.clone());
        self.shared.state.store(Arc::new(ReplicaState { edge, head }));
        Ok(())
    }

    /// Does some work in a transaction of its own, and shows readers the index that it made.
    fn transact(
        &mut self,
        durable: bool,
        work: impl FnOnce(&mut ReplicaWriter) -> Result<Change, StoreError>,
    ) -> Result<(), StoreError> {
        self.settle_doubt()?;
        // The log is synced once for all commits before it as well.
        let synchronous = if durable { "full" } else { "normal" };
        self.db.pragma_update(None, "synchronous", synchronous).map_err(failed("pragma"))?;
        self.unsure = true;
        self.db.execute_batch("BEGIN IMMEDIATE").map_err(failed("begin"))?;
        let done = work(self).and_then(|change| {
            self.db.execute_batch("COMMIT").map_err(failed("commit"))?;
            Ok(change)
        });
        match done {
            Ok(change) => {
                self.shared.readers.committed();
                self.index.publish(change);
                self.unsure = false;
                Ok(())
            }
            Err(error) => {
                self.rollback();
                Err(error)
            }
        }
    }

    fn rollback(&self) {
        if !self.db.is_autocommit() {
            // SQLite has already rolled back where this fails; the next BEGIN would say if it had
            // not.
            let _ = self.db.execute_batch("ROLLBACK");
        }
    }

    /// Whether a window goes on where the mirror ends.
    fn check(&self, window: &Window) -> Result<(), StoreError> {
        let state = self.shared.state.load();
        let (before, after) = (&state.edge, &window.edge);
        let (first, end) = (before.sealed() / TILE_WIDTH, after.sealed() / TILE_WIDTH);
        let begin = window.tiles.first().map_or(end, |tile| tile.number);
        let numbers = window.tiles.iter().map(|tile| tile.number);
        assert!(numbers.eq(begin..end), "a window to {} whose tiles begin with {begin}", after.size);
        if begin != first || after.size < before.size {
            return Err(StoreError::Conflict {
                expected: format!("the window after size {}", before.size),
                found: format!("one from tile {begin} to size {}", after.size),
            });
        }
        self.check_size(before.size.0)
    }

    fn append(&self, window: &Window) -> Result<Bounds, StoreError> {
        let runs = window.tiles.iter().map(|PackedTile { bodies, ends, .. }| {
            assert_eq!(ends.len(), SEGMENTS_PER_TILE, "a full data tile");
            (bodies.as_slice(), ends.as_slice())
        });
        self.shared.segments.append(self.bounds, runs)
    }

    fn write(&mut self, window: &Window, bounds: Bounds) -> Result<Change, StoreError> {
        let state = self.shared.state.load_full();
        let (before, after) = (&state.edge, &window.edge);
        self.insert_hash_tiles(window)?;
        if after.size > before.size {
            self.db
                .prepare_cached("INSERT INTO edge (id, size, body) SELECT 1, 0, x'' WHERE NOT EXISTS (SELECT 1 FROM edge)")
                .and_then(|mut insert| insert.execute([]))
                .and_then(|_| self.db.prepare_cached("UPDATE edge SET size = ?, body = ?, segments_end = ?"))
                .and_then(|mut update| {
                    update.execute(params![after.size.0 as i64, after.encode(), bounds.end as i64])
                })
                .map_err(failed("update of edge"))?;
        }
        if let Some(head) = &window.head {
            assert_eq!(head.tree.size, after.size, "a head is of the records below it");
            seen_heads::insert(&self.db, head)?;
        }
        let sealed = window.tiles.iter().flat_map(|tile| (tile.number * TILE_WIDTH..).zip(&tile.hashes));
        let mut entries: Vec<IndexEntry> = sealed.map(|(id, hash)| (*hash, id)).collect();
        entries.extend(edge_entries(&self.shared.index_key, after));
        // What was at the edge before is in the index already.
        entries.retain(|(_, id)| *id >= before.size.0);
        self.index.append(&self.db, entries)
    }

    /// Whether nobody else has written.
    fn check_size(&self, expected: u64) -> Result<(), StoreError> {
        let found = self
            .db
            .prepare_cached("SELECT size FROM edge")
            .and_then(|mut select| select.query_row([], |row| row.get::<_, i64>(0)).optional())
            .map_err(failed("read of edge"))?
            .unwrap_or(0) as u64;
        if found == expected {
            return Ok(());
        }
        Err(StoreError::Conflict { expected: format!("size {expected}"), found: format!("size {found}") })
    }

    fn insert_hash_tiles(&self, window: &Window) -> Result<(), StoreError> {
        let mut insert = self
            .db
            .prepare_cached("INSERT INTO tile (tile_id, body) VALUES (?, ?)")
            .map_err(failed("insert into tile"))?;
        for FullTile { level, number, hashes } in &window.hash_tiles {
            assert_eq!(hashes.len() as u64, TILE_WIDTH, "only full tiles are stored");
            let body: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
            insert
                .execute(params![tile_id(*level, *number), wrap(&body)])
                .map_err(failed("insert into tile"))?;
        }
        Ok(())
    }

    pub(super) fn tidy(&mut self) -> Result<bool, StoreError> {
        let mut idle = false;
        self.transact(false, |writer| {
            let (change, done) = writer.index.tidy(&writer.db, MERGED_PER_COMMIT)?;
            idle = done;
            Ok(change)
        })?;
        if !idle || !self.give_back()? {
            return Ok(false);
        }
        self.shared.readers.hold(false);
        empty_wal(&self.db)?;
        self.shared.readers.hold(true);
        Ok(true)
    }

    /// Gives some of the file's free pages back to the file system. True when there are none, or
    /// none that can be given: a file that was made without this keeps them, and uses them for what
    /// comes next.
    fn give_back(&mut self) -> Result<bool, StoreError> {
        let free = |writer: &ReplicaWriter| -> Result<i64, StoreError> {
            let select = writer.db.pragma_query_value(None, "freelist_count", |row| row.get(0));
            select.map_err(failed("read of freelist_count"))
        };
        let before = free(self)?;
        if before == 0 {
            return Ok(true);
        }
        self.transact(false, |writer| {
            let vacuum = format!("PRAGMA incremental_vacuum({VACUUMED_PER_COMMIT})");
            let mut vacuum = writer.db.prepare(&vacuum).map_err(failed("vacuum"))?;
            // Each step moves a page.
            let mut moved = vacuum.query([]).map_err(failed("vacuum"))?;
            while moved.next().map_err(failed("vacuum"))?.is_some() {}
            Ok(Change::default())
        })?;
        let left = free(self)?;
        Ok(left == 0 || left >= before)
    }
}

/// Of the segments below an edge, which must be the one that is stored.
fn stored_bounds(db: &Connection, edge: &Edge) -> Result<Bounds, StoreError> {
    let count = edge.sealed() / SEGMENT_WIDTH;
    if count == 0 {
        return Ok(Bounds::NONE);
    }
    let end = extent(db)?.map_or(0, |(_, end)| end as u64);
    Ok(Bounds { count, end })
}

/// What the index knows these records by, all of them in full tiles.
fn entries(
    db: &Connection,
    decoder: &mut Decoder,
    segments: &Segments,
    key: &[u8; 16],
    ids: Range<u64>,
) -> Result<Vec<IndexEntry>, StoreError> {
    let mut entries = Vec::with_capacity((ids.end - ids.start).min(FLUSH) as usize);
    each_sealed(db, decoder, segments, ids, |id, parts| {
        entries.push((hash_name(key, parts.path, parts.version), id));
    })?;
    Ok(entries)
}

/// Throws away the index of the mirror at `path`, which nobody may have open. Whoever opens it next
/// makes it again from the records.
pub(crate) fn drop_index(path: &Path) -> Result<(), StoreError> {
    let _lock = Exclusive::acquire(&path.with_extension("lock"))?;
    let db = open_writing_with(path, APPLICATION_ID, MIGRATIONS, "incremental")?;
    clear(&db)?;
    empty_wal(&db)
}

/// What the index knows the records at the edge by.
fn edge_entries<'a>(key: &'a [u8; 16], edge: &'a Edge) -> impl Iterator<Item = IndexEntry> + 'a {
    let entry = |(id, text): (u64, &String)| {
        let parts = RecordParts::of(text);
        (hash_name(key, parts.path, parts.version), id)
    };
    (edge.sealed()..).zip(&edge.texts).map(entry)
}

#[cfg(test)]
mod tests {
    use super::super::super::seen_heads::SeenHead;
    use super::super::Replica;
    use super::*;
    use crate::tlog::{Hash, TILE_WIDTH, TreeHead, TreeSize};

    fn open(directory: &Path) -> Replica {
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        Replica::open(&directory.join("replica.db"), "log.example", "log.example+key", 1024, at).unwrap()
    }

    fn texts(tile: u64) -> Vec<String> {
        (0..TILE_WIDTH).map(|at| format!("record {at} of tile {tile}\n")).collect()
    }

    /// One full tile, and a head over it. A store does not look at hashes: any will do.
    fn window(replica: &Replica, tile: u64) -> Window {
        let texts = texts(tile);
        let packed = replica.codec().pack(tile, &texts.iter().map(String::as_str).collect::<Vec<_>>());
        let hash = Hash::of_record(b"any");
        let size = TreeSize((tile + 1) * TILE_WIDTH);
        let seen_at = "2026-01-01T00:00:00Z".parse().unwrap();
        let tree = TreeHead { size, root: hash };
        let head = SeenHead { tree, note: tree.format(), seen_at };
        let edge = Edge { size, levels: vec![vec![hash; tile as usize + 1]], texts: Vec::new() };
        Window { tiles: vec![packed.unwrap()], hash_tiles: Vec::new(), edge, head: Some(head) }
    }

    /// The next commits are reported as failed, and stand: what SQLite does when the checkpoint
    /// after a commit fails.
    fn fail_after_commit(replica: &Replica, fail: bool) {
        let hook = move |_: &mut rusqlite::hooks::Wal, _| {
            let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
            if fail { Err(rusqlite::Error::SqliteFailure(error, None)) } else { Ok(()) }
        };
        replica.writer().db.wal_hook(Some(hook)).unwrap();
    }

    #[test]
    fn a_commit_that_failed_and_stands_is_found_before_anything_builds_on_it() {
        let directory = tempfile::tempdir().unwrap();
        let replica = open(directory.path());
        replica.commit(window(&replica, 0)).unwrap();
        fail_after_commit(&replica, true);
        replica.commit(window(&replica, 1)).expect_err("the hook fails");
        fail_after_commit(&replica, false);
        assert_eq!(replica.reader().size(), TreeSize(256), "nothing is shown that nobody is sure of");

        // Without a look at the edge: the same window again, and one after it.
        let again = replica.commit(window(&replica, 1)).expect_err("it is there already");
        assert!(matches!(again, StoreError::Conflict { .. }), "{again:?}");
        assert_eq!(replica.edge().size, TreeSize(512));
        assert_eq!(replica.reader().head().unwrap().tree.size, TreeSize(512));
        replica.commit(window(&replica, 2)).unwrap();

        fail_after_commit(&replica, true);
        replica.commit(window(&replica, 3)).expect_err("the hook fails");
        fail_after_commit(&replica, false);
        assert_eq!(replica.edge(), window(&replica, 3).edge);
        replica.commit(window(&replica, 4)).unwrap();
        let mut data = String::new();
        replica.reader().push_data(0..5 * TILE_WIDTH, &mut data).unwrap();
        assert_eq!(data, (0..5).flat_map(texts).map(|text| text + "\n").collect::<String>());
    }

    #[test]
    fn a_dictionary_that_failed_and_stands_is_the_one_that_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let replica = open(directory.path());
        let sample = |seed: u64| -> Vec<String> {
            let line = |n: u64| {
                let hash = crate::dirhash::H1::from_bytes([(n ^ seed) as u8; 32]);
                let name = format!("github.com/some-{}/thing-{n}", n * seed);
                format!("{name} v1.{n}.0 {hash}\n{name} v1.{n}.0/go.mod {hash}\n")
            };
            (0..4096).map(line).collect()
        };
        let train = |seed| replica.train(&sample(seed).iter().map(String::as_str).collect::<Vec<_>>());
        fail_after_commit(&replica, true);
        train(3).expect_err("the hook fails");
        fail_after_commit(&replica, false);
        assert!(!replica.is_trained());
        train(7).unwrap();
        assert!(replica.is_trained());
        let kept = dictionary(&replica.writer().db).unwrap();
        assert_eq!(replica.codec().dictionary, kept);
        replica.commit(window(&replica, 0)).unwrap();
        drop(replica);
        assert_eq!(open(directory.path()).codec().dictionary, kept);
    }
}
