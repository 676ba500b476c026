//! Re-verification: what a replica has stored is computed again from its records, a slice at a
//! time.
//!
//! ```text
//! one slice = 65,536 records, the last one with the right edge
//!   records ──▶ leaves ──▶ roots of level-0 tiles ═ stored hashes of level 1
//!           ──▶ level 2 … ──▶ signed root of the newest head
//!   each record's name ──▶ index ──▶ its number
//!   each stored head whose size lies in the slice: signed by the log's key, with the root that the
//!           tree had at its size
//! ```
//!
//! Most damage shows in a checksum, and what a checksum refuses is never answered. Re-verification
//! finds what nobody has asked for yet, and what a checksum does not show: a row that was written
//! wrong, or by somebody else. It condemns such a row: as long as this process lives the answer for
//! the row is an error.
//!
//! `serve` goes through the whole store once in [`verify_interval`](crate::config), slice by slice
//! at equal pauses, beginning anywhere, so that a server that is often started again does not look
//! at the beginning only.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::crew::blocking;
use crate::log::FsckFinding;
use crate::note::{self, VerifierKey};
use crate::store::StoreError;
use crate::store::remote::SeenHead;
use crate::store::replica::ReplicaReader;
use crate::tlog::{
    Hash, HashIndex, TILE_HEIGHT, TILE_WIDTH, Tile, TileError, TileLevel, TilePlan, TreeHead, TreeSize,
    stored_hash_index, tile_root, tree_hash, tree_hash_indexes,
};

/// Records of a slice: those below one hash tile of level 1.
const SLICE_RECORDS: u64 = TILE_WIDTH * TILE_WIDTH;
/// Findings that are listed. A damaged disk has more than anybody reads; the others are counted.
const MAX_FINDINGS: usize = 1_000;
/// Heads that are read at once.
const HEADS_AT_ONCE: usize = 1_000;
/// While nothing is stored yet, the background task looks this often.
const IDLE_PAUSE: Duration = Duration::from_secs(60);
/// However large the replica is: between two slices others come to their turn.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reverified {
    /// Records that were read, hashed and looked up.
    pub records: u64,
    /// Heads whose signature and root were compared.
    pub heads: u64,
    /// What is wrong.
    pub findings: Vec<FsckFinding>,
    /// How many findings are not listed because there are too many.
    pub unlisted: u64,
}

impl Reverified {
    /// Returns whether everything is as it must be.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn add(&mut self, place: impl Into<String>, why: impl Into<String>) {
        if self.findings.len() >= MAX_FINDINGS {
            self.unlisted += 1;
            return;
        }
        let finding = FsckFinding { place: place.into(), why: why.into() };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// Adds what a reader returned, at its own place or else at the place that was asked for.
    fn add_error(&mut self, asked: &str, error: &StoreError) {
        match error {
            StoreError::Damaged { place, why } => self.add(place, why),
            error => self.add(asked, error.to_string()),
        }
    }

    fn join(&mut self, other: Reverified) {
        self.records += other.records;
        self.heads += other.heads;
        self.unlisted += other.unlisted;
        other.findings.into_iter().for_each(|FsckFinding { place, why }| self.add(place, why));
    }
}

/// Returns how many slices a replica has.
pub fn slices(reader: &ReplicaReader) -> u64 {
    reader.head().map_or(0, |head| head.tree.size.0.div_ceil(SLICE_RECORDS))
}

/// Verifies everything, on all cores. `progress` gets how many records are done, and may end it.
/// Blocks.
pub fn verify(
    reader: &ReplicaReader,
    key: &VerifierKey,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Reverified {
    let mut all = Reverified::default();
    let (count, threads) = (slices(reader), std::thread::available_parallelism().map_or(2, usize::from));
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(threads);
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let slice = next.fetch_add(1, Ordering::Relaxed);
                    if slice >= count || sender.send(verify_slice(reader, key, slice)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for verified in receiver {
            all.join(verified);
            if progress(all.records).is_break() {
                break;
            }
        }
    });
    all
}

/// Verifies one slice. What cannot be read is a finding too. What is wrong although it can be read
/// is condemned. Blocks, for about a second.
pub fn verify_slice(reader: &ReplicaReader, key: &VerifierKey, slice: u64) -> Reverified {
    let Some(head) = reader.head() else { return Reverified::default() };
    let size = head.tree.size.0;
    let ids = (slice * SLICE_RECORDS).min(size)..((slice + 1) * SLICE_RECORDS).min(size);
    let mut check = Slice { reader, head, verified: Reverified::default() };
    if ids.is_empty() {
        return check.verified;
    }
    let hashes = check.signed_hashes(&ids);
    let readable = check.records(ids.clone(), hashes.as_deref());
    for ids in readable {
        let place = format!("index of records {} to {}", ids.start, ids.end - 1);
        match reader.unindexed(ids) {
            Ok(lost) => {
                for id in lost {
                    check
                        .verified
                        .add(format!("index of record {id}"), "the record is not found by its name");
                }
            }
            Err(error) => check.verified.add_error(&place, &error),
        }
    }
    check.heads(&ids, key);
    check.verified
}

struct Slice<'a> {
    reader: &'a ReplicaReader,
    head: Arc<SeenHead>,
    verified: Reverified,
}

impl Slice<'_> {
    /// Returns the roots of the slice's full data tiles and the leaves of its unfinished one, from
    /// the stored hash tiles, which are verified up to the signed root. None when they do not lead
    /// there.
    fn signed_hashes(&mut self, ids: &Range<u64>) -> Option<Vec<Hash>> {
        let full = ids.start / TILE_WIDTH..ids.end / TILE_WIDTH;
        let rest = (ids.end / TILE_WIDTH * TILE_WIDTH).max(ids.start)..ids.end;
        let mut indexes: Vec<HashIndex> = full.map(|number| stored_hash_index(TILE_HEIGHT, number)).collect();
        indexes.extend(rest.map(|id| stored_hash_index(0, id)));
        self.hashes(&indexes)
    }

    fn hashes(&mut self, indexes: &[HashIndex]) -> Option<Vec<Hash>> {
        let plan = TilePlan::new(&self.head.tree, TILE_HEIGHT, indexes).expect("the hashes are of this tree");
        let mut bodies = Vec::with_capacity(plan.tiles().len());
        for tile in plan.tiles() {
            let TileLevel::Hash(level) = tile.level else { panic!("a plan has hash tiles only") };
            match self.reader.tile(level, tile.number) {
                Ok(hashes) => {
                    let hashes = hashes.unwrap_or_default();
                    let width = hashes.len().min(tile.width as usize);
                    bodies
                        .push(hashes[..width].iter().flat_map(|hash| *hash.as_bytes()).collect::<Vec<u8>>());
                }
                Err(error) => {
                    self.verified.add_error(&tile.path(), &error);
                    return None;
                }
            }
        }
        let error = match plan.finish(&bodies) {
            Ok(hashes) => return Some(hashes),
            Err(error) => error,
        };
        // Where tiles contradict each other, the finding names the lower one, and neither is
        // answered any more.
        let wrong = match &error {
            TileError::Mismatch { tile, parent } => vec![*tile, *parent],
            TileError::Edge { tiles, .. } => tiles.clone(),
            _ => Vec::new(),
        };
        for tile in wrong.iter().filter(|tile| !tile.is_partial()) {
            if let TileLevel::Hash(level @ 1..) = tile.level {
                self.reader.condemn_tile(level, tile.number);
            }
        }
        let place = wrong.first().map_or_else(|| "hash tiles".to_owned(), Tile::path);
        self.verified.add(place, error.to_string());
        None
    }

    /// Reads and hashes the records. Returns those that can be read, in as few ranges as they are.
    fn records(&mut self, ids: Range<u64>, hashes: Option<&[Hash]>) -> Vec<Range<u64>> {
        let mut readable: Vec<Range<u64>> = Vec::new();
        for (at, first) in ids.clone().step_by(TILE_WIDTH as usize).enumerate() {
            let tile = first..(first + TILE_WIDTH).min(ids.end);
            let place = format!("records {} to {}", tile.start, tile.end - 1);
            self.verified.records += tile.end - tile.start;
            let leaves = match self.reader.leaves(tile.clone()) {
                Ok(leaves) => leaves,
                Err(error) => {
                    self.verified.add_error(&place, &error);
                    continue;
                }
            };
            let is_full = tile.end - tile.start == TILE_WIDTH;
            let same = hashes.is_none_or(|hashes| match is_full {
                true => tile_root(&leaves) == hashes[at],
                false => leaves == hashes[at..],
            });
            if !same {
                let why = "their hashes are not those that were verified and signed";
                self.verified.add(place, why);
                self.reader.condemn(tile);
                continue;
            }
            match readable.last_mut().filter(|last| last.end == tile.start) {
                Some(last) => last.end = tile.end,
                None => readable.push(tile),
            }
        }
        readable
    }

    /// Verifies the heads of sizes in the slice, its end included.
    fn heads(&mut self, ids: &Range<u64>, key: &VerifierKey) {
        let mut before = TreeSize(ids.end + 1);
        loop {
            let heads = match self.reader.heads(before, HEADS_AT_ONCE) {
                Ok(heads) => heads,
                Err(error) => return self.verified.add_error("heads", &error),
            };
            for head in &heads {
                if head.tree.size.0 <= ids.start {
                    return;
                }
                before = head.tree.size;
                self.head(head, key);
            }
            if heads.len() < HEADS_AT_ONCE {
                return;
            }
        }
    }

    fn head(&mut self, head: &SeenHead, key: &VerifierKey) {
        self.verified.heads += 1;
        let place = format!("head {}", head.tree.size);
        let opened = note::open(head.note.as_bytes(), &[key]).map_err(|error| error.to_string());
        match opened.and_then(|note| TreeHead::parse(&note.text).map_err(|error| error.to_string())) {
            Ok(signed) if signed == head.tree => {}
            Ok(signed) => self.verified.add(&place, format!("its note is signed for the {signed}")),
            Err(error) => self.verified.add(&place, error),
        }
        let Some(hashes) = self.hashes(&tree_hash_indexes(head.tree.size)) else { return };
        let root = tree_hash(head.tree.size, &hashes).expect("as many hashes as were planned");
        if root != head.tree.root {
            self.verified
                .add(&place, format!("it says the root {}, the records have {root}", head.tree.root));
        }
    }
}

/// What the background task of one replica has done, for metrics.
#[derive(Debug, Default)]
pub struct ReverifyFigures {
    /// Records that were verified again.
    pub records: AtomicU64,
    /// Findings.
    pub findings: AtomicU64,
    /// How often the whole store was gone through.
    pub rounds: AtomicU64,
}

/// Verifies a replica again and again, once in each `interval`, until it is dropped. Logs and sends
/// each finding once while the process lives.
pub async fn reverify(
    name: String,
    reader: ReplicaReader,
    key: VerifierKey,
    interval: Duration,
    figures: Arc<ReverifyFigures>,
    found: mpsc::Sender<Vec<FsckFinding>>,
) {
    let mut reported: Vec<FsckFinding> = Vec::new();
    // If there is no randomness it begins at the beginning.
    let mut slice = u64::from(getrandom::u32().unwrap_or(0));
    let mut done = 0;
    loop {
        let count = slices(&reader);
        if count == 0 {
            sleep(IDLE_PAUSE.min(interval)).await;
            continue;
        }
        sleep(interval.div_f64(count as f64).max(LEAST_PAUSE)).await;
        slice %= count;
        let (store, verifier) = (reader.clone(), key.clone());
        let verified = blocking(move || verify_slice(&store, &verifier, slice)).await;
        slice += 1;
        done += 1;
        figures.records.fetch_add(verified.records, Ordering::Relaxed);
        if done >= count {
            done = 0;
            figures.rounds.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(log = name, "the whole mirror was verified again");
        }
        let new = verified.findings.into_iter().filter(|finding| !reported.contains(finding));
        let new: Vec<FsckFinding> = new.take(MAX_FINDINGS.saturating_sub(reported.len())).collect();
        if new.is_empty() {
            continue;
        }
        figures.findings.fetch_add(new.len() as u64, Ordering::Relaxed);
        for FsckFinding { place, why } in &new {
            tracing::error!(log = name, place, why, "what is stored of a remote log is damaged");
        }
        reported.extend(new.iter().cloned());
        // Nobody receives it when the process is ending.
        let _ = found.send(new).await;
    }
}
