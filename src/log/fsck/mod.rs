//! fsck: everything that is stored, computed again from the records.
//!
//! The lines of the records are the ground: from them follow the leaves, from the leaves every tile
//! of every level and the root of every head that was ever signed, and each record must be found
//! under its module version, at its number and at no other. What does not follow is a
//! [`FsckFinding`]. A place that cannot be read is one too, and the work goes on behind it; where a
//! leaf cannot be known, the stored hash above it stands in, so that what follows can be checked.
//!
//! Only readers are used: it may run beside a server that writes, and looks at the log as it was
//! when it began.

mod heads;
mod index;
mod tiles;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::mpsc;

use crate::note::VerifierKey;
use crate::store::anchor::Anchored;
use crate::store::{Complete, FullTile, LogReader, StoreError, StoredRecord, Subtrees};
use crate::tlog::{Hash, RecordId, TILE_HEIGHT, TILE_WIDTH, TreeHead, TreeSize};
use heads::Heads;
use tiles::TiledTower;

/// Findings that are listed. A damaged disk has more than anybody reads; the others are counted.
const MAX_FINDINGS: usize = 1_000;
/// Tiles of records that may wait for the index to be checked: bounds memory, a megabyte at the
/// most.
const QUEUE_TILES: usize = 8;
/// Incidents that are read.
const MAX_INCIDENTS: usize = 10_000;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsckFinding {
    /// Where.
    pub place: String,
    /// What does not fit.
    pub why: String,
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default)]
pub struct FsckReport {
    /// Records whose hashes, index entry and evidence were checked.
    pub records: u64,
    /// Heads whose root and signature were checked.
    pub heads: u64,
    /// What is wrong, the tree first, then the index.
    pub findings: Vec<FsckFinding>,
    /// How many findings were not listed because there were too many.
    pub unlisted: u64,
}

impl FsckReport {
    /// Whether everything is as it must be.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Findings, each once.
#[derive(Default)]
struct Findings {
    list: Vec<FsckFinding>,
    seen: HashSet<(String, String)>,
    unlisted: u64,
}

impl Findings {
    fn add(&mut self, place: String, why: String) {
        if self.list.len() >= MAX_FINDINGS {
            self.unlisted += 1;
        } else if self.seen.insert((place.clone(), why.clone())) {
            self.list.push(FsckFinding { place, why });
        }
    }

    /// What a reader said: it knows its own places, otherwise it is the place that was asked for.
    fn add_error(&mut self, asked: impl FnOnce() -> String, error: &StoreError) {
        match error {
            StoreError::Damaged { place, why } => self.add(place.clone(), why.clone()),
            error => self.add(asked(), error.to_string()),
        }
    }
}

/// Checks the log behind `reader` against its verifier key, and against its anchor where there is
/// one.
///
/// Beside a running server read the anchor first: it may move ahead of the head that is found here,
/// never the other way round. `progress` is told how many records are done. The error is one of
/// reading the newest head, without which nothing is known; everything else that cannot be read is
/// a finding. Needs about a megabyte beside the reader's own memory, however large the log.
pub fn fsck(
    reader: &dyn LogReader,
    verifier: &VerifierKey,
    anchored: Option<&Anchored>,
    progress: &mut dyn FnMut(u64),
) -> Result<FsckReport, StoreError> {
    let newest = reader.heads(TreeSize(u64::MAX), 1)?.pop();
    let size = newest.map_or(TreeSize(0), |head| head.tree.size);
    let mut check = Check {
        reader,
        verifier,
        anchored,
        size,
        heads: Heads::new(reader, size),
        tower: Some(TiledTower::default()),
        findings: Findings::default(),
        report: FsckReport::default(),
    };
    let of_index = std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel::<Vec<StoredRecord>>(QUEUE_TILES);
        let index = scope.spawn(move || index::check(reader, size, receiver));
        check.anchor();
        check.head(TreeSize(0));
        let mut first = 0;
        while first < size.0 {
            let ids = first..(first + TILE_WIDTH).min(size.0);
            first = ids.end;
            let records = check.tile(ids);
            // The other side ends only when this one does.
            let _ = sender.send(records);
            progress(first);
        }
        check.rest();
        drop(sender);
        index.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let Check { findings: Findings { list, unlisted, .. }, mut report, .. } = check;
    report.records = size.0;
    report.findings = list;
    report.unlisted = unlisted + of_index.unlisted;
    report.findings.extend(of_index.list);
    Ok(report)
}

struct Check<'a> {
    reader: &'a dyn LogReader,
    verifier: &'a VerifierKey,
    anchored: Option<&'a Anchored>,
    size: TreeSize,
    heads: Heads<'a>,
    /// Absent when a hash is lost that nothing stands in for.
    tower: Option<TiledTower>,
    findings: Findings,
    report: FsckReport,
}

impl Check<'_> {
    fn anchor(&mut self) {
        let Some(anchored) = self.anchored else { return };
        if anchored.vkey != self.verifier.to_string() {
            let why = format!("it belongs to the log {}", anchored.vkey);
            self.findings.add("anchor".to_owned(), why);
        }
        if anchored.tree.size > self.size {
            let why = format!(
                "a head of {} was published, the log ends at record {}: it was rolled back or restored from an old backup",
                anchored.tree.size.records(),
                self.size
            );
            self.findings.add("anchor".to_owned(), why);
        }
    }

    /// The records of one level-0 tile, as far as the log goes. Returns those that can be read.
    fn tile(&mut self, ids: Range<u64>) -> Vec<StoredRecord> {
        let records = self.records(ids.clone());
        let mut leaves: Vec<Option<Hash>> = vec![None; (ids.end - ids.start) as usize];
        for record in &records {
            let leaf = Hash::of_record(record.lines.to_text().as_bytes());
            leaves[(record.id.0 - ids.start) as usize] = Some(leaf);
        }
        self.compare_leaves(&ids, &mut leaves);
        self.grow(ids, &leaves);
        records
    }

    /// Reads records in ever smaller pieces, until what cannot be read is known by number.
    fn records(&mut self, ids: Range<u64>) -> Vec<StoredRecord> {
        let length = ids.end - ids.start;
        let error = match self.reader.records(ids.clone()) {
            Ok(records) if records.len() as u64 == length => return records,
            Ok(_) => None,
            Err(error) => Some(error),
        };
        if length > 1 {
            let piece = if length > 16 { 16 } else { 1 };
            let pieces = ids.clone().step_by(piece as usize).map(|first| first..(first + piece).min(ids.end));
            return pieces.flat_map(|piece| self.records(piece)).collect();
        }
        let place = format!("record {}", ids.start);
        match error {
            Some(error) => self.findings.add_error(|| place, &error),
            None => self.findings.add(place, "missing".to_owned()),
        }
        Vec::new()
    }

    /// The stored leaves must be those of the lines. Where the lines cannot be read, the stored
    /// leaf stands in.
    fn compare_leaves(&mut self, ids: &Range<u64>, leaves: &mut [Option<Hash>]) {
        let whole = self.reader.leaves(ids.clone()).ok().filter(|stored| stored.len() == leaves.len());
        for (at, leaf) in leaves.iter_mut().enumerate() {
            let id = ids.start + at as u64;
            let stored = match &whole {
                Some(stored) => Ok(Some(stored[at])),
                None => self.reader.leaves(id..id + 1).map(|mut stored| stored.pop()),
            };
            let place = || format!("leaf of record {id}");
            match (stored, &leaf) {
                (Ok(Some(stored)), Some(computed)) if stored == *computed => {}
                (Ok(Some(stored)), Some(computed)) => {
                    self.findings.add(place(), format!("{stored} is stored, the lines give {computed}"));
                }
                (Ok(Some(stored)), None) => *leaf = Some(stored),
                (Ok(None), _) => self.findings.add(place(), "missing".to_owned()),
                (Err(error), _) => self.findings.add_error(place, &error),
            }
        }
    }

    /// Adds the leaves of a tile to the tree, and checks what is complete by then.
    fn grow(&mut self, ids: Range<u64>, leaves: &[Option<Hash>]) {
        let mut complete = Complete::default();
        if let Some(leaves) = leaves.iter().copied().collect::<Option<Vec<Hash>>>() {
            for (id, leaf) in ids.clone().zip(leaves) {
                if let Some(tower) = &mut self.tower {
                    tower.push(0, leaf, &mut complete);
                }
                self.head(TreeSize(id + 1));
            }
        } else {
            self.step_over(&ids, &mut complete);
        }
        complete.tiles.iter().for_each(|tile| self.compare_tile(tile));
        complete.subtrees.iter().for_each(|subtrees| self.compare_subtrees(subtrees));
    }

    /// A tile with an unknown leaf: its root may still be stored, in the tile above it.
    fn step_over(&mut self, ids: &Range<u64>, complete: &mut Complete) {
        let number = ids.start / TILE_WIDTH;
        let above = match self.reader.tile(1, number / TILE_WIDTH) {
            Ok(above) if ids.end - ids.start == TILE_WIDTH => above,
            _ => None,
        };
        let root = above.and_then(|hashes| hashes.get((number % TILE_WIDTH) as usize).copied());
        let sizes = ids.start + 1..=ids.end - u64::from(root.is_some());
        let place = format!("tree of sizes {} to {}", sizes.start(), sizes.end());
        self.findings.add(place, "cannot be checked, because a leaf is lost".to_owned());
        match (root, &mut self.tower) {
            (Some(root), Some(tower)) => {
                tower.push(TILE_HEIGHT, root, complete);
                self.head(TreeSize(ids.end));
            }
            _ => self.tower = None,
        }
    }

    fn compare_tile(&mut self, tile: &FullTile) {
        let place = || format!("tile {} of level {}", tile.number, tile.level);
        match self.reader.tile(tile.level, tile.number) {
            Ok(Some(stored)) => self.compare_hashes(&stored, &tile.hashes, place),
            Ok(None) => self.findings.add(place(), "missing".to_owned()),
            Err(error) => self.findings.add_error(place, &error),
        }
    }

    fn compare_subtrees(&mut self, subtrees: &Subtrees) {
        let place = || format!("subtrees of tile {} of level 0", subtrees.tile);
        match self.reader.subtrees(subtrees.tile) {
            Ok(Some(stored)) => self.compare_hashes(&stored, &subtrees.roots, place),
            // An older program did not keep them. Proofs are then made from the leaves.
            Ok(None) => {}
            Err(error) => self.findings.add_error(place, &error),
        }
    }

    fn compare_hashes(&mut self, stored: &[Hash], computed: &[Hash], place: impl Fn() -> String) {
        if stored != computed {
            let differs = stored.iter().zip(computed).position(|(stored, computed)| stored != computed);
            let at = differs.unwrap_or(stored.len().min(computed.len()));
            self.findings.add(place(), format!("hash {at} is not the one that follows from the records"));
        }
    }

    /// The head of this size, if one was signed, and the anchor, if it is there: both must be the
    /// tree's.
    fn head(&mut self, size: TreeSize) {
        let tree: Option<TreeHead> = match &self.tower {
            Some(tower) if self.heads.may_have(size.0) || self.is_anchored(size) => Some(tower.head()),
            _ => None,
        };
        if let (Some(tree), Some(anchored)) = (tree, self.anchored)
            && self.is_anchored(size)
            && anchored.tree != tree
        {
            let why = format!(
                "at size {size} {} was published, the records have {}",
                anchored.tree.root, tree.root
            );
            self.findings.add("anchor".to_owned(), why);
        }
        let Some(head) = self.heads.of_size(size.0, &mut self.findings) else { return };
        self.report.heads += 1;
        if let Some(tree) = tree
            && head.tree != tree
        {
            let why = format!("it says the root {}, the records have {}", head.tree.root, tree.root);
            self.findings.add(format!("head {size}"), why);
        }
        if let Err(why) = super::head::check_note(&head, self.verifier) {
            self.findings.add(format!("head {size}"), why);
        }
    }

    fn is_anchored(&self, size: TreeSize) -> bool {
        self.anchored.is_some_and(|anchored| anchored.tree.size == size)
    }

    /// What is there and should not be, and what nobody looks at otherwise.
    fn rest(&mut self) {
        if self.tower.is_none() {
            let why =
                "the heads behind the first lost leaf of the right edge were not compared with the records";
            self.findings.add("heads".to_owned(), why.to_owned());
        }
        // In this order: a server that writes at the same time moves its head with its records.
        let beyond =
            self.reader.records(self.size.0..self.size.0 + 1).is_ok_and(|records| !records.is_empty());
        let newest = self.reader.heads(TreeSize(u64::MAX), 1).ok().and_then(|mut heads| heads.pop());
        if beyond && newest.is_none_or(|head| head.tree.size == self.size) {
            let place = format!("record {}", RecordId(self.size.0));
            self.findings.add(place, "beyond the newest head".to_owned());
        }
        if let Err(error) = self.reader.incidents(MAX_INCIDENTS) {
            self.findings.add_error(|| "incidents".to_owned(), &error);
        }
    }
}
