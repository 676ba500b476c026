//! The rows of an own log, read through one connection and checked against their checksums.

use std::ops::Range;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::errors::{damaged, failed, from_micros};
use super::index::View;
use super::runs;
use super::segment::{
    Decoder, RecordRow, RowPlace, SEGMENT_WIDTH, check_tail_evidence, decode_tail, is_placed, segment_leaves,
    unwrap_at,
};
use super::shape::hash_module;
use crate::module::ModuleVersion;
use crate::store::evidence::{KeptIncident, StoredEvidence, digest_of};
use crate::store::{SUBTREE_WIDTH, StoreError, StoredHead, StoredRecord};
use crate::tlog::{Hash, RecordId, TILE_WIDTH, TreeHead, TreeSize, tile_root};

/// The longest evidence of a tile, unpacked: 256 records with an `Origin` each.
const MAX_EVIDENCE_BYTES: usize = 16 << 20;
/// Epochs count starts: a larger one is a flipped bit.
const MAX_EPOCH: u64 = 1 << 40;
/// In the table `tile`, the level under which the subtrees of level-0 tiles are. Trees have levels
/// 0 to 7.
const SUBTREES_LEVEL: u8 = 64;

/// A row of `tile`, which holds this many hashes.
pub(super) fn hashes(db: &Connection, id: i64, count: u64) -> Result<Option<Vec<Hash>>, StoreError> {
    let body = blob(db, "SELECT body FROM tile WHERE tile_id = ?", id, "read of tile")?;
    let at = || damaged(format!("tile {id}"));
    let Some(body) = body else { return Ok(None) };
    let body = unwrap_at(RowPlace::Tile(id), &body).map_err(at())?;
    if body.len() as u64 != count * 32 {
        return Err(at()(format!("{} bytes", body.len())));
    }
    Ok(Some(body.chunks_exact(32).map(|hash| Hash::from_slice(hash).expect("32 bytes")).collect()))
}

pub(super) fn incidents(db: &Connection, limit: usize) -> Result<Vec<KeptIncident>, StoreError> {
    let mut select = db
        .prepare_cached(
            "SELECT incident_id, at, kind, detail, digest FROM incident ORDER BY incident_id DESC LIMIT ?",
        )
        .map_err(failed("read of incident"))?;
    let rows = select
        .query_map([limit as i64], |row| {
            Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed("read of incident"))?;
    let incident = |(id, at, kind, detail, digest): (i64, i64, String, String, [u8; 32])| {
        let place = || damaged(format!("incident {id}"));
        let at = from_micros(at).map_err(place())?;
        if digest_of(&kind, &detail) != digest {
            return Err(place()("the digest does not match".to_owned()));
        }
        Ok(KeptIncident { id: id as u64, at, kind, detail })
    };
    rows.into_iter().map(incident).collect()
}

pub(super) fn tile_id(level: u8, number: u64) -> i64 {
    (u64::from(level) << 48 | number) as i64
}

/// The subtrees of level-0 tiles have the largest numbers: the row that is inserted most often is
/// the table's last.
pub(super) fn subtrees_id(tile: u64) -> i64 {
    tile_id(SUBTREES_LEVEL, tile)
}

/// The record of a module version, by way of the index and confirmed by the record itself.
pub(super) fn find(
    db: &Connection,
    decoder: &mut Decoder,
    view: &View,
    key: &[u8; 16],
    module: &ModuleVersion,
    below: u64,
) -> Result<Option<StoredRecord>, StoreError> {
    candidates(db, view, hash_module(key, module), |candidate| {
        if candidate.segment * SEGMENT_WIDTH >= below {
            return Ok(None);
        }
        let found = find_in(db, decoder, candidate, module)?;
        Ok(found.filter(|record| record.id.0 < below))
    })
}

/// A segment in which the index says that a record may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct CandidateSegment {
    pub(super) segment: u64,
    /// The index has all records below this one, so the tables must have them.
    stored: u64,
}

/// Goes through the segments in which the index says that a record under this hash may be, until
/// one has it.
pub(super) fn candidates<T>(
    db: &Connection,
    view: &View,
    hash: u64,
    mut confirm: impl FnMut(CandidateSegment) -> Result<Option<T>, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut unreadable = None;
    let mut confirmed = |candidate| match confirm(candidate) {
        // Most likely it has another record whose hash begins like this one.
        Err(error @ StoreError::Damaged { .. }) => {
            unreadable = Some(error);
            Ok(None)
        }
        found => found,
    };
    for record in view.recent_with(hash) {
        let candidate = CandidateSegment { segment: record / SEGMENT_WIDTH, stored: record + 1 };
        if let Some(found) = confirmed(candidate)? {
            return Ok(Some(found));
        }
    }
    // The oldest runs are the largest, so most records are found in the first that are asked.
    for (run, resident) in view.each() {
        for segment in runs::probe(db, run, resident, hash)? {
            if let Some(found) = confirmed(CandidateSegment { segment, stored: run.shape.finish })? {
                return Ok(Some(found));
            }
        }
    }
    unreadable.map_or(Ok(None), Err)
}

/// The record of a module version in a segment, sealed or not.
fn find_in(
    db: &Connection,
    decoder: &mut Decoder,
    candidate: CandidateSegment,
    module: &ModuleVersion,
) -> Result<Option<StoredRecord>, StoreError> {
    let first = candidate.segment * SEGMENT_WIDTH;
    let mut select = db
        .prepare_cached("SELECT body FROM segment WHERE segment_id = ?")
        .map_err(failed("read of segment"))?;
    let sealed = select
        .query_row([candidate.segment as i64], |row| {
            let body = row.get_ref(0)?.as_blob()?;
            let unplaced = (!is_placed(body)).then(|| body.to_vec());
            Ok((decoder.find(candidate.segment, body, module), unplaced))
        })
        .optional()
        .map_err(failed("read of segment"))?;
    let Some((found, unplaced)) = sealed else { return find_in_tail(db, candidate, module) };
    let found = found.map_err(damaged(format!("segment {}", candidate.segment)))?;
    if let Some(body) = unplaced {
        prove_place(db, candidate.segment, &body)?;
    }
    Ok(found.map(|(at, lines)| StoredRecord { id: RecordId(first + at as u64), lines }))
}

/// Proves by the tree that the segment of an older program, whose checksum does not say where it
/// belongs, is in its place: the roots of segments lie in a row for each tile. Programs that did
/// not keep them are older still, and are believed.
fn prove_place(db: &Connection, segment: u64, body: &[u8]) -> Result<(), StoreError> {
    let at = || damaged(format!("segment {segment}"));
    let Some(roots) = hashes(db, subtrees_id(segment / SUBTREE_WIDTH), SUBTREE_WIDTH)? else { return Ok(()) };
    let leaves: Vec<Hash> = segment_leaves(segment, body).map_err(at())?.collect();
    if tile_root(&leaves) == roots[(segment % SUBTREE_WIDTH) as usize] {
        return Ok(());
    }
    Err(at()("the tree has other records there".to_owned()))
}

/// The record of a module version among rows of the right edge. All rows that belong to the segment
/// must be there. A damaged one is an error only if none of the others is it.
fn find_in_tail(
    db: &Connection,
    candidate: CandidateSegment,
    module: &ModuleVersion,
) -> Result<Option<StoredRecord>, StoreError> {
    let first = candidate.segment * SEGMENT_WIDTH;
    let (end, stored) = (first + SEGMENT_WIDTH, candidate.stored.min(first + SEGMENT_WIDTH));
    let mut select = db
        .prepare_cached(
            "SELECT record_id, body FROM tail WHERE record_id >= ? AND record_id < ? ORDER BY record_id",
        )
        .map_err(failed("read of tail"))?;
    let mut rows = select.query(params![first as i64, end as i64]).map_err(failed("read of tail"))?;
    let (mut next, mut unreadable) = (first, None);
    while let Some(row) = rows.next().map_err(failed("read of tail"))? {
        let id = row.get::<_, i64>(0).map_err(failed("read of tail"))? as u64;
        if id != next {
            break;
        }
        next += 1;
        let body = row.get_ref(1).and_then(|body| Ok(body.as_blob()?)).map_err(failed("read of tail"))?;
        match decode_tail(id, body) {
            Ok(RecordRow { lines, .. }) if lines.module == *module => {
                return Ok(Some(StoredRecord { id: RecordId(id), lines }));
            }
            Ok(_) => {}
            Err(why) => unreadable = Some(damaged(format!("tail {id}"))(why)),
        }
    }
    match unreadable {
        Some(error) => Err(error),
        None if next >= stored => Ok(None),
        None => {
            let why = "the index knows it and the tables do not".to_owned();
            Err(damaged(format!("record {next}"))(why))
        }
    }
}

/// The records in `ids`, sealed or not.
pub(super) fn records(
    db: &Connection,
    decoder: &mut Decoder,
    ids: Range<u64>,
) -> Result<Vec<StoredRecord>, StoreError> {
    let mut records = sealed_records(db, decoder, ids.clone())?;
    let from = ids.start + records.len() as u64;
    tail_rows(db, from..ids.end, |id, body| {
        records.push(StoredRecord { id, lines: decode_tail(id.0, body)?.lines });
        Ok(())
    })?;
    Ok(records)
}

/// The records in `ids` that are sealed.
pub(super) fn sealed_records(
    db: &Connection,
    decoder: &mut Decoder,
    ids: Range<u64>,
) -> Result<Vec<StoredRecord>, StoreError> {
    let mut records = Vec::new();
    segments(db, ids.clone(), |segment, body| {
        let numbered = (segment * SEGMENT_WIDTH..).map(RecordId).zip(decoder.all(segment, body)?);
        records.extend(
            numbered.filter(|(id, _)| ids.contains(&id.0)).map(|(id, lines)| StoredRecord { id, lines }),
        );
        Ok(())
    })?;
    Ok(records)
}

/// Goes through the segments that hold `ids`, with their numbers. Each is in its place.
pub(super) fn segments(
    db: &Connection,
    ids: Range<u64>,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), String>,
) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let numbers = ids.start / SEGMENT_WIDTH..ids.end.div_ceil(SEGMENT_WIDTH);
    let each = |segment, body: &[u8]| {
        each(segment, body).map_err(damaged(format!("segment {segment}")))?;
        if is_placed(body) { Ok(()) } else { prove_place(db, segment, body) }
    };
    SEGMENTS.each(db, numbers, each).map(drop)
}

pub(super) fn tail_rows(
    db: &Connection,
    ids: Range<u64>,
    mut each: impl FnMut(RecordId, &[u8]) -> Result<(), String>,
) -> Result<(), StoreError> {
    let each = |id, body: &[u8]| each(RecordId(id), body).map_err(damaged(format!("tail {id}")));
    TAIL.each(db, ids, each).map(drop)
}

/// Where bodies lie in rows that are numbered without a gap.
pub(super) struct Numbered {
    pub(super) table: &'static str,
    pub(super) action: &'static str,
    /// Gives number and body, from one number to before another.
    pub(super) select: &'static str,
}

const SEGMENTS: Numbered = Numbered {
    table: "segment",
    action: "read of segment",
    select: "SELECT segment_id, body FROM segment WHERE segment_id >= ? AND segment_id < ? ORDER BY segment_id",
};
const TAIL: Numbered = Numbered {
    table: "tail",
    action: "read of tail",
    select: "SELECT record_id, body FROM tail WHERE record_id >= ? AND record_id < ? ORDER BY record_id",
};

impl Numbered {
    /// Goes through the rows with these numbers. Returns the first number that is not there: the
    /// table may end before.
    pub(super) fn each(
        &self,
        db: &Connection,
        numbers: Range<u64>,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), StoreError>,
    ) -> Result<u64, StoreError> {
        let mut next = numbers.start;
        if numbers.is_empty() {
            return Ok(next);
        }
        let mut select = db.prepare_cached(self.select).map_err(failed(self.action))?;
        let range = params![numbers.start as i64, numbers.end as i64];
        let mut rows = select.query(range).map_err(failed(self.action))?;
        // To ask for a row after the last would read the page that it is in.
        while next < numbers.end {
            let Some(row) = rows.next().map_err(failed(self.action))? else { break };
            let id: i64 = row.get(0).map_err(failed(self.action))?;
            let body = row.get_ref(1).and_then(|body| Ok(body.as_blob()?)).map_err(failed(self.action))?;
            if id as u64 != next {
                return Err(damaged(format!("{} {next}", self.table))("missing".to_owned()));
            }
            each(next, body)?;
            next += 1;
        }
        Ok(next)
    }
}

pub(super) fn evidence(db: &Connection, id: RecordId) -> Result<Option<StoredEvidence>, StoreError> {
    let at = || damaged(format!("evidence of record {}", id.0));
    let tile = (id.0 / TILE_WIDTH) as i64;
    if let Some(body) = blob(db, "SELECT body FROM evidence WHERE tile_id = ?", tile, "read of evidence")? {
        let json = unwrap_at(RowPlace::Evidence(tile as u64), &body)
            .and_then(|body| {
                zstd::bulk::decompress(body, MAX_EVIDENCE_BYTES).map_err(|error| error.to_string())
            })
            .map_err(at())?;
        let mut all: Vec<StoredEvidence> =
            serde_json::from_slice(&json).map_err(|error| at()(error.to_string()))?;
        if all.len() as u64 != TILE_WIDTH {
            return Err(at()(format!("{} of {TILE_WIDTH} are there", all.len())));
        }
        return Ok(Some(all.swap_remove((id.0 % TILE_WIDTH) as usize)));
    }
    let tail = db
        .prepare_cached("SELECT body, evidence FROM tail WHERE record_id = ?")
        .and_then(|mut select| {
            select
                .query_row([id.0 as i64], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?)))
                .optional()
        })
        .map_err(failed("read of tail"))?;
    let Some((body, json)) = tail else { return Ok(None) };
    check_tail_evidence(id.0, &body, &json).map_err(at())?;
    serde_json::from_str(&json).map(Some).map_err(|error| at()(error.to_string()))
}

pub(super) fn blob(
    db: &Connection,
    sql: &str,
    id: i64,
    action: &'static str,
) -> Result<Option<Vec<u8>>, StoreError> {
    db.prepare_cached(sql)
        .and_then(|mut select| select.query_row([id], |row| row.get(0)).optional())
        .map_err(failed(action))
}

/// Up to `limit` heads of the own log smaller than `before`, newest first.
pub(super) fn heads(db: &Connection, before: i64, limit: usize) -> Result<Vec<StoredHead>, StoreError> {
    let select = "SELECT size, root, note, signed_at FROM head WHERE size < ? ORDER BY size DESC LIMIT ?";
    heads_as(db, select, before, limit, |tree, note, signed_at| StoredHead { tree, note, signed_at })
}

/// The head of exactly this size, if one was signed.
pub(super) fn head(db: &Connection, size: i64) -> Result<Option<StoredHead>, StoreError> {
    let select = "SELECT size, root, note, signed_at FROM head WHERE size = ? LIMIT ?";
    heads_as(db, select, size, 1, |tree, note, signed_at| StoredHead { tree, note, signed_at })
        .map(|mut heads| heads.pop())
}

/// Heads of any log. `select` gives size, root, note and a time for a size and a limit.
pub(super) fn heads_as<T>(
    db: &Connection,
    select: &str,
    size: i64,
    limit: usize,
    make: impl Fn(TreeHead, String, Timestamp) -> T,
) -> Result<Vec<T>, StoreError> {
    let mut select = db.prepare_cached(select).map_err(failed("read of head"))?;
    let rows = select
        .query_map(params![size, limit as i64], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?, row.get(2)?, row.get(3)?))
        })
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed("read of head"))?;
    let head = |(size, root, note, at): (i64, [u8; 32], String, i64)| {
        let place = || damaged(format!("head {size}"));
        let at = from_micros(at).map_err(place())?;
        let tree = TreeHead { size: TreeSize(size as u64), root: Hash::from_bytes(root) };
        // The row has no checksum: size and root are in it twice, and the note's signature is
        // checked by who reads it.
        if !note.starts_with(&tree.format()) {
            return Err(place()("its note says something else".to_owned()));
        }
        Ok(make(tree, note, at))
    };
    // Each is smaller than the one before it, unless the pages of the table contradict each other.
    if !rows.is_sorted_by(|a, b| a.0 > b.0) {
        return Err(damaged("head".to_owned())("the rows are not in the order of their sizes".to_owned()));
    }
    rows.into_iter().map(head).collect()
}

/// The epoch of the process that may write.
pub(super) fn epoch(db: &Connection) -> Result<u64, StoreError> {
    db.prepare_cached("SELECT epoch FROM writer")
        .and_then(|mut select| select.query_row([], |row| row.get::<_, i64>(0)))
        .map_err(failed("read of writer"))
        .and_then(|epoch| match u64::try_from(epoch) {
            Ok(epoch) if epoch < MAX_EPOCH => Ok(epoch),
            _ => Err(damaged("writer".to_owned())(format!("{epoch} is no epoch"))),
        })
}

/// How many records are sealed.
pub(super) fn sealed_size(db: &Connection) -> Result<u64, StoreError> {
    let segments: i64 = db
        .query_row("SELECT coalesce(max(segment_id), -1) + 1 FROM segment", [], |row| row.get(0))
        .map_err(failed("read of segment"))?;
    Ok(segments as u64 * SEGMENT_WIDTH)
}

/// How many records the tables hold.
pub(super) fn stored_size(db: &Connection) -> Result<u64, StoreError> {
    let size: i64 = db
        .prepare_cached(
            "SELECT max((SELECT coalesce(max(segment_id) + 1, 0) * 16 FROM segment),
                        (SELECT coalesce(max(record_id) + 1, 0) FROM tail))",
        )
        .and_then(|mut select| select.query_row([], |row| row.get(0)))
        .map_err(failed("read of tail"))?;
    Ok(size as u64)
}
