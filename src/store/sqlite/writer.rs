//! The writing half: one connection, one transaction per batch.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rusqlite::{Connection, params};

use super::connection::{checkpoint_aloud, empty_wal};
use super::errors::{damaged, failed, to_micros};
use super::index::{MOST_RECENT, View};
use super::log_database::{create_identity, open_writer, read_identity};
use super::merge::{Change, Index};
use super::reader::TableReader;
use super::readers::{Commits, ReaderPool};
use super::rebuild::{entries, fill};
use super::segment::{
    Decoder, Encoder, RecordRow, RowPlace, SEGMENT_WIDTH, check_leaf, check_tail_evidence, check_written,
    decode_tail, encode_tail, wrap_at,
};
use super::shape::{IndexRun, hash_module};
use super::{rows, runs};
use crate::module::ModuleVersion;
use crate::store::evidence::{Evidence, StoredEvidence};
use crate::store::lock::FileId;
use crate::store::{
    Append, Batch, Complete, FoundInstead, FullTile, Identity, LogReader, LogStore, NewRecord, SUBTREE_WIDTH,
    StoreError, StoredHead, StoredRecord, Subtrees,
};
use crate::tlog::{Hash, TILE_WIDTH, TreeHead, TreeSize};

/// Level of evidence's compression: written once, a tile at a time.
const EVIDENCE_ZSTD_LEVEL: i32 = 3;

/// A log in an SQLite file, the writer's half.
pub struct SqliteStore {
    db: Connection,
    path: PathBuf,
    file: FileId,
    identity: Identity,
    reader: Arc<TableReader>,
    /// The epoch under which this store may write: what it claimed, or found when it was opened.
    epoch: u64,
    index: Index,
    tail: Tail,
    /// Whether a transaction that was not finished may have changed what is kept in memory.
    is_dirty: bool,
    encoder: Encoder,
    decoder: Decoder,
}

/// The records of the unfinished level-0 tile, as the `tail` table holds them.
#[derive(Default)]
struct Tail {
    first: u64,
    rows: VecDeque<(RecordRow, Arc<str>)>,
    /// How many of them are rows of the table; fewer than all only inside a transaction.
    stored: usize,
}

impl SqliteStore {
    /// Opens the database at `path`, and creates it for `identity` when there is none.
    ///
    /// Without an identity a missing database is an error. With one, a database of another log is
    /// refused. `reader_cache_kib` is the page cache of each of the reading connections, of which
    /// there are as many as cores.
    pub fn open(
        path: &Path,
        identity: Option<&Identity>,
        reader_cache_kib: u32,
    ) -> Result<SqliteStore, StoreError> {
        if identity.is_none() && !path.exists() {
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no log here");
            return Err(StoreError::File { path: path.display().to_string(), source });
        }
        SqliteStore::load(path, identity, reader_cache_kib).map_err(|error| error.of_database(path))
    }

    fn load(
        path: &Path,
        identity: Option<&Identity>,
        reader_cache_kib: u32,
    ) -> Result<SqliteStore, StoreError> {
        let mut db = open_writer(path)?;
        if let Some(identity) = identity {
            create_identity(&db, identity)?;
        }
        let (identity, index_key) = read_identity(&db, path, identity)?;
        let view = Arc::new(ArcSwap::from_pointee(View::default()));
        let readers = Arc::new(ReaderPool::open(path, reader_cache_kib, Commits::Told)?);
        let told = readers.clone();
        checkpoint_aloud(&mut db, move |is_long| told.hold(!is_long))?;
        let (mut index, mut runs) = Index::load(&db, view.clone(), index_key, &[])?;
        let codec = |source| StoreError::File { path: "zstd".to_owned(), source };
        let mut decoder = Decoder::new().map_err(codec)?;
        // Only a rebuild that was stopped leaves so many: without runs they would all have to be
        // kept in memory.
        let sealed = rows::sealed_size(&db)?;
        if sealed > index.flushed + MOST_RECENT {
            index.show(runs, Vec::new());
            let mut entries = |ids| entries(&db, &mut decoder, &index_key, ids);
            fill(&db, &mut index, sealed, &mut entries, &mut |_| {})?;
            runs = index.view().runs.clone();
        }
        let mut store = SqliteStore {
            db,
            path: path.to_owned(),
            file: FileId::of(path)?,
            identity,
            reader: Arc::new(TableReader { index_key, view, pool: readers }),
            epoch: 0,
            index,
            tail: Tail::default(),
            is_dirty: false,
            encoder: Encoder::new().map_err(codec)?,
            decoder,
        };
        store.load_tail(runs)?;
        store.epoch = store.epoch()?;
        Ok(store)
    }

    /// Reads the tail, and gives the index its runs and the entries that are not in a run yet.
    fn load_tail(&mut self, runs: Vec<Arc<IndexRun>>) -> Result<(), StoreError> {
        let mut tail = Tail { first: rows::sealed_size(&self.db)?, ..Tail::default() };
        let mut select = self
            .db
            .prepare_cached("SELECT record_id, body, evidence FROM tail ORDER BY record_id")
            .map_err(failed("read of tail"))?;
        let mut rows = select.query([]).map_err(failed("read of tail"))?;
        let mut text = String::new();
        while let Some(row) = rows.next().map_err(failed("read of tail"))? {
            let id: i64 = row.get(0).map_err(failed("read of tail"))?;
            let at = || damaged(format!("tail {id}"));
            if id as u64 != tail.first + tail.rows.len() as u64 {
                return Err(at()("a record before it is missing".to_owned()));
            }
            let body = row.get_ref(1).and_then(|body| Ok(body.as_blob()?)).map_err(failed("read of tail"))?;
            let evidence: Arc<str> = row.get::<_, String>(2).map_err(failed("read of tail"))?.into();
            // It goes into a sealed row as it is here: what is damaged must not be sealed.
            check_tail_evidence(id as u64, body, &evidence).map_err(at())?;
            let row = decode_tail(id as u64, body).map_err(at())?;
            check_leaf(&row.lines, row.leaf, &mut text).map_err(at())?;
            tail.rows.push_back((row, evidence));
        }
        tail.stored = tail.rows.len();
        drop(rows);
        drop(select);
        let key = &self.reader.index_key;
        let mut entries = Vec::new();
        let sealed = self.index.flushed..tail.first;
        for record in rows::sealed_records(&self.db, &mut self.decoder, sealed.clone())? {
            entries.push((hash_module(key, &record.lines.module), record.id.0));
        }
        // What is not in the index would be taken for new.
        if !sealed.is_empty() && entries.len() as u64 != sealed.end - sealed.start {
            let place = format!("record {}", sealed.start + entries.len() as u64);
            return Err(damaged(place)("missing".to_owned()));
        }
        for (id, (row, _)) in (tail.first..).zip(&tail.rows) {
            if id >= self.index.flushed {
                entries.push((hash_module(key, &row.lines.module), id));
            }
        }
        self.index.show(runs, entries);
        self.tail = tail;
        Ok(())
    }

    fn size(&self) -> u64 {
        self.tail.first + self.tail.rows.len() as u64
    }
}

impl LogStore for SqliteStore {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn claim(&mut self, epoch: u64) -> Result<(), StoreError> {
        let claimed = self.db.execute("UPDATE writer SET epoch = ?", [epoch as i64]);
        claimed.map_err(|error| failed("update of writer")(error).of_database(&self.path))?;
        self.epoch = epoch;
        Ok(())
    }

    fn epoch(&mut self) -> Result<u64, StoreError> {
        rows::epoch(&self.db)
    }

    fn newest(&mut self) -> Result<Option<StoredHead>, StoreError> {
        rows::heads(&self.db, i64::MAX, 1).map(|mut heads| heads.pop())
    }

    fn begin(&mut self, expected: Option<&TreeHead>, epoch: u64) -> Result<Box<dyn Append + '_>, StoreError> {
        if self.is_dirty {
            self.reload()?;
        }
        if !self.file.is_still(&self.path) {
            let path = self.path.display().to_string();
            return Err(StoreError::Foreign { path, found: FoundInstead::OtherFile });
        }
        let begun = self.db.execute_batch("BEGIN IMMEDIATE").map_err(failed("begin"));
        begun.map_err(|error| error.of_database(&self.path))?;
        let transaction = Transaction { store: self, open: true };
        let found = (transaction.newest()?, rows::epoch(&transaction.store.db)?);
        let expected = (expected.map(|head| (head.size, head.root)), epoch);
        if found != expected {
            let show = |(head, epoch): (Option<(TreeSize, Hash)>, u64)| match head {
                Some((size, root)) => format!("size {} root {root} epoch {epoch}", size.0),
                None => format!("no head, epoch {epoch}"),
            };
            return Err(StoreError::Conflict { expected: show(expected), found: show(found) });
        }
        // Records are stored where the tables end, and signed where the tree ends.
        let (stored, signed) = (transaction.store.size(), expected.0.map_or(0, |(size, _)| size.0));
        if stored != signed {
            let why = format!("the tables hold {stored} records, the newest head has {signed}");
            return Err(StoreError::Damaged { place: "tail".to_owned(), why });
        }
        Ok(Box::new(transaction))
    }

    fn reload(&mut self) -> Result<(), StoreError> {
        let (index, runs) = {
            let key = self.reader.index_key;
            Index::load(&self.db, self.reader.view.clone(), key, &self.index.known())?
        };
        self.index = index;
        self.is_dirty = false;
        // A commit that was reported as failed may have been one.
        self.reader.pool.committed();
        self.load_tail(runs)
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        self.reader.clone()
    }

    fn shrink(&mut self) -> Result<(), StoreError> {
        self.reader.pool.hold(false);
        empty_wal(&self.db)
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        const BUDGET: u64 = 1 << 20;
        loop {
            let epoch = self.epoch;
            self.db.execute_batch("BEGIN IMMEDIATE").map_err(failed("begin"))?;
            let mut transaction = Transaction { store: self, open: true };
            let found = rows::epoch(&transaction.store.db)?;
            if found != epoch {
                // What this store believes of the index may be long past.
                let (expected, found) = (format!("epoch {epoch}"), format!("epoch {found}"));
                return Err(StoreError::Conflict { expected, found });
            }
            let SqliteStore { index, db, .. } = &mut *transaction.store;
            let (change, idle) = index.tidy(db, BUDGET)?;
            transaction.finish(change)?;
            if idle {
                break;
            }
        }
        self.shrink()
    }
}

/// An open append transaction. Dropped without a commit it is rolled back.
struct Transaction<'a> {
    store: &'a mut SqliteStore,
    open: bool,
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open && !self.store.db.is_autocommit() {
            // SQLite has already rolled back where this fails; the next BEGIN would say if it had
            // not.
            let _ = self.store.db.execute_batch("ROLLBACK");
        }
    }
}

impl Transaction<'_> {
    fn newest(&self) -> Result<Option<(TreeSize, Hash)>, StoreError> {
        let newest = rows::heads(&self.store.db, i64::MAX, 1)?.pop();
        Ok(newest.map(|head| (head.tree.size, head.tree.root)))
    }

    /// Makes everything durable, then visible.
    fn finish(&mut self, change: Change) -> Result<(), StoreError> {
        self.store.db.execute_batch("COMMIT").map_err(failed("commit"))?;
        // If we stop here the batch is durable: the next start finds its head ahead of the anchor
        // and rolls that on.
        self.open = false;
        self.store.is_dirty = false;
        self.store.reader.pool.committed();
        self.store.index.publish(change);
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<Change, StoreError> {
        self.store.is_dirty = true;
        insert_incidents(&self.store.db, batch)?;
        if batch.records.is_empty() {
            // Nothing of the log is touched: an incident can be kept beside whatever is damaged.
            return batch
                .head
                .iter()
                .try_for_each(|head| insert_head(&self.store.db, head))
                .map(|()| Change::default());
        }
        let first = self.store.size();
        let entries = (first..)
            .zip(&batch.records)
            .map(|(id, record)| (hash_module(&self.store.reader.index_key, &record.lines.module), id))
            .collect();
        self.take_in(&batch.records, batch)?;
        while self.store.tail.rows.len() as u64 >= TILE_WIDTH {
            self.seal_tile()?;
        }
        self.store_tail()?;
        insert_complete(&self.store.db, &batch.complete)?;
        if let Some(head) = &batch.head {
            insert_head(&self.store.db, head)?;
        }
        let SqliteStore { index, db, .. } = &mut *self.store;
        let change = index.append(db, entries)?;
        self.check_written()?;
        Ok(change)
    }

    /// Reads back how far the tables go now: in damaged pages a row may be written to where nobody
    /// finds it again.
    fn check_written(&self) -> Result<(), StoreError> {
        let (size, stored) = (self.store.size(), rows::stored_size(&self.store.db)?);
        let newest = self.newest()?.map_or(0, |(size, _)| size.0);
        if (stored, newest) == (size, size) {
            return Ok(());
        }
        let why = format!("after {size} records were written it holds {stored} and a head of {newest}");
        Err(StoreError::Damaged { place: "a page of the database".to_owned(), why })
    }

    fn take_in(&mut self, records: &[NewRecord], batch: &Batch) -> Result<(), StoreError> {
        let mut last: Option<(&Arc<Evidence>, Arc<str>)> = None;
        for record in records {
            let json = match &last {
                Some((evidence, json)) if Arc::ptr_eq(evidence, &record.evidence) => json.clone(),
                _ => {
                    let kept = StoredEvidence { appended_at: batch.at, evidence: (*record.evidence).clone() };
                    serde_json::to_string(&kept).expect("evidence has only string keys").into()
                }
            };
            last = Some((&record.evidence, json.clone()));
            self.store
                .tail
                .rows
                .push_back((RecordRow { lines: record.lines.clone(), leaf: record.leaf }, json));
        }
        Ok(())
    }

    /// Moves 256 records from the right edge into segments.
    fn seal_tile(&mut self) -> Result<(), StoreError> {
        let SqliteStore { db, tail, encoder, decoder, .. } = &mut *self.store;
        let sealed: Vec<(RecordRow, Arc<str>)> = tail.rows.drain(..TILE_WIDTH as usize).collect();
        let codec = |source| StoreError::File { path: "zstd".to_owned(), source };
        let mut insert = db
            .prepare_cached("INSERT INTO segment (segment_id, body) VALUES (?, ?)")
            .map_err(failed("insert into segment"))?;
        let mut text = String::new();
        for (id, rows) in (tail.first / SEGMENT_WIDTH..).zip(sealed.chunks(SEGMENT_WIDTH as usize)) {
            let body = encoder.segment(id, rows.iter().map(|(row, _)| row)).map_err(codec)?;
            // Some of these rows have waited in memory since they became part of the tree.
            check_written(decoder, id, &body, &mut text).map_err(miswritten(format!("segment {id}")))?;
            insert.execute(params![id as i64, body]).map_err(failed("insert into segment"))?;
        }
        let mut json = String::from("[");
        for (at, (_, evidence)) in sealed.iter().enumerate() {
            json.push_str(if at == 0 { "" } else { ",\n" });
            json.push_str(evidence);
        }
        json.push(']');
        let body = zstd::bulk::compress(json.as_bytes(), EVIDENCE_ZSTD_LEVEL).map_err(codec)?;
        let tile = tail.first / TILE_WIDTH;
        db.prepare_cached("INSERT INTO evidence (tile_id, body) VALUES (?, ?)")
            .and_then(|mut insert| {
                insert.execute(params![tile as i64, wrap_at(RowPlace::Evidence(tile), &body)])
            })
            .map_err(failed("insert into evidence"))?;
        let end = tail.first + TILE_WIDTH;
        if tail.stored > 0 {
            db.prepare_cached("DELETE FROM tail WHERE record_id < ?")
                .and_then(|mut delete| delete.execute([end as i64]))
                .map_err(failed("delete from tail"))?;
            tail.stored = tail.stored.saturating_sub(TILE_WIDTH as usize);
        }
        tail.first = end;
        Ok(())
    }

    fn store_tail(&mut self) -> Result<(), StoreError> {
        let SqliteStore { db, tail, .. } = &mut *self.store;
        let mut text = String::new();
        let mut insert = db
            .prepare_cached("INSERT INTO tail (record_id, body, evidence) VALUES (?, ?, ?)")
            .map_err(failed("insert into tail"))?;
        for (id, (row, evidence)) in (tail.first..).zip(&tail.rows).skip(tail.stored) {
            let body = encode_tail(id, row, evidence);
            let written = decode_tail(id, &body).and_then(|row| check_leaf(&row.lines, row.leaf, &mut text));
            written.map_err(miswritten(format!("tail {id}")))?;
            insert.execute(params![id as i64, body, evidence]).map_err(failed("insert into tail"))?;
        }
        tail.stored = tail.rows.len();
        Ok(())
    }
}

impl Append for Transaction<'_> {
    fn find(&mut self, module: &ModuleVersion) -> Result<Option<StoredRecord>, StoreError> {
        let SqliteStore { db, decoder, index, reader, .. } = &mut *self.store;
        rows::find(db, decoder, &index.view(), &reader.index_key, module, u64::MAX)
    }

    fn may_have(&mut self, modules: &[&ModuleVersion]) -> Result<Vec<bool>, StoreError> {
        let SqliteStore { db, index, reader, .. } = &mut *self.store;
        let hashes: Vec<u64> = modules.iter().map(|module| hash_module(&reader.index_key, module)).collect();
        runs::may_have(db, &index.view(), &hashes)
    }

    fn commit(mut self: Box<Self>, batch: &Batch) -> Result<(), StoreError> {
        let change = self.write(batch)?;
        self.finish(change)
    }
}

fn miswritten(place: String) -> impl FnOnce(String) -> StoreError {
    move |why| StoreError::Memory { place, why }
}

fn insert_complete(db: &Connection, complete: &Complete) -> Result<(), StoreError> {
    let insert = |id: i64, hashes: &[Hash]| {
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
        db.prepare_cached("INSERT INTO tile (tile_id, body) VALUES (?, ?)")
            .and_then(|mut insert| insert.execute(params![id, wrap_at(RowPlace::Tile(id), &bytes)]))
            .map(drop)
            .map_err(failed("insert into tile"))
    };
    for FullTile { level, number, hashes } in &complete.tiles {
        assert_eq!(hashes.len() as u64, TILE_WIDTH, "only full tiles are stored");
        insert(rows::tile_id(*level, *number), hashes)?;
    }
    for Subtrees { tile, roots } in &complete.subtrees {
        assert_eq!(roots.len() as u64, SUBTREE_WIDTH, "only those of full tiles are stored");
        insert(rows::subtrees_id(*tile), roots)?;
    }
    Ok(())
}

fn insert_head(db: &Connection, head: &StoredHead) -> Result<(), StoreError> {
    let row =
        params![head.tree.size.0 as i64, head.tree.root.as_bytes(), head.note, to_micros(head.signed_at)];
    db.prepare_cached("INSERT INTO head (size, root, note, signed_at) VALUES (?, ?, ?, ?)")
        .and_then(|mut insert| insert.execute(row))
        .map(drop)
        .map_err(failed("insert into head"))
}

fn insert_incidents(db: &Connection, batch: &Batch) -> Result<(), StoreError> {
    for incident in &batch.incidents {
        let row = params![to_micros(incident.at), incident.kind.as_str(), incident.digest(), incident.detail];
        db.prepare_cached("INSERT INTO incident (at, kind, digest, detail) VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING")
            .and_then(|mut insert| insert.execute(row))
            .map_err(failed("insert into incident"))?;
    }
    Ok(())
}
