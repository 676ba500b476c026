//! The reading half: what was committed, checked against its checksums.

use std::ops::Range;
use std::sync::Arc;

use rusqlite::Connection;

use super::super::errors::damaged;
use super::super::packed::{RecordParts, needs_dictionary};
use super::super::readers::ReadConnection;
use super::super::rows::{CandidateSegment, blob, candidates, tile_id};
use super::super::seen_heads::{self, SeenHead};
use super::super::segment::{Decoder, SEGMENT_WIDTH, Why, unwrap};
use super::super::shape::hash_name;
use super::segments::{Segments, segment_name};
use super::{RecordText, ReplicaReader, ReplicaShared, codec_failed};
use crate::module::ModuleVersion;
use crate::store::{StoreError, StoredRecord};
use crate::tlog::{HASH_SIZE, Hash, RecordId, TILE_HEIGHT, TILE_WIDTH, TreeSize, hashes_at};

impl ReplicaReader {
    /// How many records are there: all of them verified.
    pub fn size(&self) -> TreeSize {
        TreeSize(self.0.state.load().size())
    }

    /// The newest signed head whose every record is there. While a mirror advances, its size is
    /// ahead of it.
    pub fn head(&self) -> Option<Arc<SeenHead>> {
        self.0.state.load().head.clone()
    }

    /// Up to `limit` heads smaller than `before`, newest first.
    pub fn heads(&self, before: TreeSize, limit: usize) -> Result<Vec<SeenHead>, StoreError> {
        let before = i64::try_from(before.0).unwrap_or(i64::MAX);
        self.0.readers.read(|reader| seen_heads::heads(&reader.db, before, limit))
    }

    /// The record of a module version.
    pub fn find(&self, module: &ModuleVersion) -> Result<Option<StoredRecord>, StoreError> {
        // The state first: the index that is loaded after it has all of its records.
        let ReplicaShared { state, view, readers, index_key, condemned, segments } = &*self.0;
        let condemned = condemned.load();
        let (state, view) = (state.load(), view.load());
        let hash = hash_name(index_key, module.path.as_str(), module.version.as_str());
        readers.read(|ReadConnection { db, decoder, .. }| {
            candidates(db, &view, hash, |CandidateSegment { segment, .. }| {
                let ids = segment * SEGMENT_WIDTH..((segment + 1) * SEGMENT_WIDTH).min(state.size());
                if ids.is_empty() {
                    return Ok(None);
                }
                condemned.check(&ids)?;
                if ids.start < state.edge.sealed() {
                    return find_in(db, decoder, segments, segment, module);
                }
                Ok(ids.map(RecordId).find_map(|id| {
                    let lines = RecordParts::of(state.at_edge(id)?).lines_of(module)?;
                    Some(StoredRecord { id, lines })
                }))
            })
        })
    }

    /// The records in `ids`, in order; fewer when the mirror ends before.
    pub fn records(&self, ids: Range<u64>) -> Result<Vec<RecordText>, StoreError> {
        let mut records = Vec::with_capacity(ids.end.saturating_sub(ids.start).min(TILE_WIDTH) as usize);
        self.each(ids, |parts| records.push(RecordText::of(parts)))?;
        Ok(records)
    }

    /// Appends the texts of the records in `ids` as a data tile has them, each followed by a blank
    /// line. Returns how many there are: fewer when the mirror ends before.
    pub fn push_data(&self, ids: Range<u64>, data: &mut String) -> Result<u64, StoreError> {
        let mut count = 0;
        self.each(ids, |parts| {
            parts.push_text(data);
            data.push('\n');
            count += 1;
        })?;
        Ok(count)
    }

    /// The hashes of the records in `ids`, computed from them, in order; fewer when the mirror ends
    /// before.
    pub fn leaves(&self, ids: Range<u64>) -> Result<Vec<Hash>, StoreError> {
        let mut leaves = Vec::with_capacity(ids.end.saturating_sub(ids.start).min(TILE_WIDTH) as usize);
        let mut text = String::new();
        self.each(ids, |parts| {
            text.clear();
            parts.push_text(&mut text);
            leaves.push(Hash::of_record(text.as_bytes()));
        })?;
        Ok(leaves)
    }

    /// A hash tile as wide as it is in the mirror, up to 256 hashes; none when the mirror has no
    /// hash of it.
    pub fn tile(&self, level: u8, number: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        let state = self.0.state.load();
        let hashes = hashes_at(TILE_HEIGHT, level, state.edge.size);
        let Some(width) = number.checked_mul(TILE_WIDTH).and_then(|first| hashes.checked_sub(first)) else {
            return Ok(None);
        };
        if width == 0 {
            return Ok(None);
        }
        if level == 0 {
            let first = number * TILE_WIDTH;
            return self.leaves(first..first + width.min(TILE_WIDTH)).map(Some);
        }
        if width < TILE_WIDTH {
            return Ok(Some(state.edge.level(level).to_vec()));
        }
        self.0.condemned.load().check_tile(level, number)?;
        let id = tile_id(level, number);
        let select = "SELECT body FROM tile WHERE tile_id = ?";
        let body = self.0.readers.read(|reader| blob(&reader.db, select, id, "read of tile"))?;
        let tile = body.ok_or_else(|| "missing".to_owned()).and_then(|body| full_tile(&body));
        tile.map(Some).map_err(damaged(format!("tile {id}")))
    }

    /// Goes through the records in `ids` that are there.
    pub(super) fn each(
        &self,
        ids: Range<u64>,
        mut each: impl FnMut(&RecordParts<'_>),
    ) -> Result<(), StoreError> {
        self.0.condemned.load().check(&ids)?;
        let state = self.0.state.load();
        let (end, sealed) = (ids.end.min(state.size()), state.edge.sealed());
        if ids.start < end.min(sealed) {
            self.0.readers.read(|ReadConnection { db, decoder, .. }| {
                each_sealed(db, decoder, &self.0.segments, ids.start..end.min(sealed), |_, parts| each(parts))
            })?;
        }
        for id in ids.start.max(sealed)..end {
            each(&RecordParts::of(state.at_edge(RecordId(id)).expect("the edge has what is not sealed")));
        }
        Ok(())
    }
}

fn full_tile(body: &[u8]) -> Result<Vec<Hash>, Why> {
    let hashes = unwrap(body)?.chunks_exact(HASH_SIZE);
    if hashes.len() as u64 != TILE_WIDTH || !hashes.remainder().is_empty() {
        return Err(format!("{} bytes", body.len()));
    }
    Ok(hashes.map(|hash| Hash::from_slice(hash).expect("the chunks are 32 bytes long")).collect())
}

/// The record of a module version in a segment that is there.
fn find_in(
    db: &Connection,
    decoder: &mut Decoder,
    segments: &Segments,
    segment: u64,
    module: &ModuleVersion,
) -> Result<Option<StoredRecord>, StoreError> {
    let body = segments.read(segment)?;
    provide_dictionary(db, decoder, &body, segment)?;
    let found = decoder.find_packed(segment, &body, module).map_err(damaged(segment_name(segment)))?;
    let record = |(at, lines)| StoredRecord { id: RecordId(segment * SEGMENT_WIDTH + at as u64), lines };
    Ok(found.map(record))
}

/// Goes through the records in `ids`, which are all in full tiles.
pub(super) fn each_sealed(
    db: &Connection,
    decoder: &mut Decoder,
    segments: &Segments,
    ids: Range<u64>,
    mut each: impl FnMut(u64, &RecordParts<'_>),
) -> Result<(), StoreError> {
    let numbers = ids.start / SEGMENT_WIDTH..ids.end.div_ceil(SEGMENT_WIDTH);
    segments.each(numbers, |segment, body| {
        provide_dictionary(db, decoder, body, segment)?;
        let records = decoder.packed(segment, body).map_err(damaged(segment_name(segment)))?;
        for (id, parts) in (segment * SEGMENT_WIDTH..).zip(records).filter(|(id, _)| ids.contains(id)) {
            each(id, &parts);
        }
        Ok(())
    })
}

/// Gives the decoder the dictionary, if a segment cannot be read without it.
fn provide_dictionary(
    db: &Connection,
    decoder: &mut Decoder,
    body: &[u8],
    segment: u64,
) -> Result<(), StoreError> {
    if !needs_dictionary(body) || decoder.has_dictionary() {
        return Ok(());
    }
    let dictionary = dictionary(db)?
        .ok_or_else(|| damaged(segment_name(segment))("the dictionary is missing".to_owned()))?;
    decoder.set_dictionary(&dictionary).map_err(codec_failed)
}

/// The dictionary of the names, if it was made already.
pub(super) fn dictionary(db: &Connection) -> Result<Option<Vec<u8>>, StoreError> {
    let select = "SELECT body FROM dictionary WHERE dictionary_id = ?";
    let Some(row) = blob(db, select, 1, "read of dictionary")? else { return Ok(None) };
    let body = unwrap(&row).map_err(damaged("dictionary".to_owned()))?;
    Ok(Some(body.to_vec()))
}
