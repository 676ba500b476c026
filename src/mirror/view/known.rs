//! What is kept of a log, in two databases: what was asked for, and in full mode every record. Whoever wants a tile, a record
//! or a head asks here and need not know which of the two has it.
//!
//! A row of the full mirror that is damaged counts as missing: the server logs it, asks the log's URLs for the same
//! bytes again, and verifies them like everything from there.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;

use super::KeptRecord;
use crate::module::ModuleVersion;
use crate::store::remote::{RemoteStore, SeenHead};
use crate::store::replica::{Replica, ReplicaReader};
use crate::store::{StoreError, StoredRecord, TILE_WIDTH};
use crate::tlog::{HASH_SIZE, Hash, RecordId, Tile, TileLevel, TreeSize};

/// A data tile of sum.golang.org takes some 50 KB.
const USUAL_DATA_BYTES: usize = 128 << 10;

thread_local! {
    /// Where a data tile grows until its size is known: else growing and shrinking leaves holes in the memory.
    static DATA: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Both databases.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) store: Arc<RemoteStore>,
    pub(super) replica: Option<Replica>,
}

impl Kept {
    fn reader(&self) -> Option<ReplicaReader> {
        self.replica.as_ref().map(Replica::reader)
    }

    /// The newest head whose every record is in the full mirror.
    pub(super) fn full_head(&self) -> Option<Arc<SeenHead>> {
        self.reader()?.head()
    }

    /// The head of exactly this size.
    pub(super) fn head(&self, size: TreeSize) -> Result<Option<SeenHead>, StoreError> {
        if let Some(head) = self.store.head(size)? {
            return Ok(Some(head));
        }
        let (Some(reader), Some(after)) = (self.reader(), size.0.checked_add(1)) else { return Ok(None) };
        let head = reader.heads(TreeSize(after), 1)?.pop();
        Ok(head.filter(|head| head.tree.size == size))
    }

    /// The record of a module version in the full mirror.
    pub(super) fn find_in_full(&self, module: &ModuleVersion) -> Result<Option<StoredRecord>, StoreError> {
        let Some(reader) = self.reader() else { return Ok(None) };
        or_none("a record", reader.find(module))
    }

    /// The record of a module version.
    pub(super) fn find(&self, module: &ModuleVersion) -> Result<Option<KeptRecord>, StoreError> {
        if let Some(StoredRecord { id, lines }) = self.find_in_full(module)? {
            return Ok(Some(KeptRecord { id, text: lines.to_text() }));
        }
        let record = self.store.find(module)?;
        Ok(record.map(|record| KeptRecord { id: record.id, text: record.text }))
    }

    /// The hash of a record.
    pub(super) fn leaf(&self, id: RecordId) -> Result<Option<Hash>, StoreError> {
        if let Some(record) = self.store.record(id)? {
            return Ok(Some(Hash::of_record(record.text.as_bytes())));
        }
        let Some(reader) = self.reader() else { return Ok(None) };
        Ok(or_none("a record", reader.leaves(id.0..id.0 + 1).map(Some))?.and_then(|mut leaves| leaves.pop()))
    }

    /// The first `width` hashes of a tile.
    pub(super) fn tile(&self, level: u8, number: u64, width: u32) -> Result<Option<Bytes>, StoreError> {
        if let Some(reader) = self.reader() {
            let width = width as usize;
            let hashes = or_none("a hash tile", reader.tile(level, number))?;
            if let Some(hashes) = hashes.filter(|hashes| hashes.len() >= width) {
                let mut body = Vec::with_capacity(width * HASH_SIZE);
                hashes[..width].iter().for_each(|hash| body.extend_from_slice(hash.as_bytes()));
                return Ok(Some(body.into()));
            }
        }
        self.store.tile(level, number, width)
    }

    /// A data tile of the full mirror, if all of it is there: its records, each followed by a blank line.
    pub(super) fn data_tile(&self, tile: &Tile) -> Result<Option<Bytes>, StoreError> {
        let (Some(reader), TileLevel::Data) = (self.reader(), tile.level) else { return Ok(None) };
        let Some(first) = tile.number.checked_mul(TILE_WIDTH) else { return Ok(None) };
        let end = first.saturating_add(u64::from(tile.width));
        if end > reader.size().0 {
            return Ok(None);
        }
        DATA.with_borrow_mut(|data| {
            data.clear();
            reader.push_data(first..end, data)?;
            // It may be kept for long, and is weighed by what it holds: exactly that is taken.
            let body = Bytes::copy_from_slice(data.as_bytes());
            data.shrink_to(USUAL_DATA_BYTES);
            Ok(Some(body))
        })
    }
}

fn or_none<T>(what: &str, read: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::error!(%error, "{what} of a full mirror is damaged, and is asked for again");
            Ok(None)
        }
        read => read,
    }
}
