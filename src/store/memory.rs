//! The store in memory, for tests: what the traits promise without a disk, and every way to fail on
//! demand.
//!
//! A [`Disk`] is what outlives a process: several stores may be opened on it, one after another or
//! at once, as several processes would. [`Faults`] belong to a disk. A fault is either queued and
//! hits the next step of its kind, or drawn at random from a seed, so that a test that fails can be
//! run again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use super::evidence::{KeptIncident, StoredEvidence};
use super::{
    Append, Batch, FoundInstead, Identity, LogReader, LogStore, SUBTREE_WIDTH, StoreError, StoredHead,
    StoredRecord, Subtrees,
};
use crate::module::ModuleVersion;
use crate::tlog::{Hash, RecordId, TILE_WIDTH, TreeHead, TreeSize};

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `begin` reports a conflict that is none.
    BeginConflict,
    /// `commit` writes nothing and reports a conflict that is none.
    CommitConflict,
    /// `commit` writes nothing because the disk is full.
    CommitFull,
    /// `commit` writes nothing because the disk fails.
    CommitFailed,
    /// `commit` writes everything, and then reports that the disk failed.
    CommitFailedAfterwards,
    /// `reload` fails.
    ReloadFailed,
    /// The writer's thread panics in `commit`, having written nothing.
    CommitPanic,
}

impl Fault {
    fn hits(self, step: Step) -> bool {
        match self {
            Fault::BeginConflict => step == Step::Begin,
            Fault::ReloadFailed => step == Step::Reload,
            _ => step == Step::Commit,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Begin,
    Commit,
    Reload,
}

/// What goes wrong on a disk. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    list: Arc<Mutex<FaultList>>,
}

#[derive(Debug, Default)]
struct FaultList {
    queued: VecDeque<Fault>,
    /// Generator state, one fault in how many steps, and which.
    random: Option<(u64, u64, Vec<Fault>)>,
    /// How many faults have happened.
    happened: u64,
}

impl Faults {
    /// Adds a fault: it happens at the next step of its kind, after those that were added before
    /// it.
    pub fn queue(&self, fault: Fault) {
        self.lock().queued.push_back(fault);
    }

    /// From now on, about one in `one_in` steps fails with one of `faults`, as the seed decides. No
    /// faults: no failures.
    pub fn at_random(&self, seed: u64, one_in: u64, faults: &[Fault]) {
        self.lock().random = (!faults.is_empty()).then(|| (seed, one_in.max(1), faults.to_vec()));
    }

    /// How many faults have happened.
    pub fn happened(&self) -> u64 {
        self.lock().happened
    }

    fn lock(&self) -> MutexGuard<'_, FaultList> {
        self.list.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn at(&self, step: Step) -> Option<Fault> {
        let mut list = self.lock();
        let fault = match list.queued.iter().position(|fault| fault.hits(step)) {
            Some(at) => list.queued.remove(at),
            None => list.random.as_mut().and_then(|(state, one_in, faults)| {
                let drawn = next_random(state);
                let fault = faults[(drawn >> 32) as usize % faults.len()];
                (drawn.is_multiple_of(*one_in) && fault.hits(step)).then_some(fault)
            }),
        };
        list.happened += u64::from(fault.is_some());
        fault
    }
}

/// SplitMix64 by Sebastiano Vigna, public domain: small, and every seed is a good one.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// What a memory store keeps: it outlives the store, as a file would.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// Changed by whichever store commits or claims, read by all.
    contents: Arc<RwLock<Contents>>,
    /// What goes wrong on this disk.
    pub faults: Faults,
}

#[derive(Debug, Default)]
struct Contents {
    identity: Option<Identity>,
    epoch: u64,
    records: Vec<StoredRecord>,
    leaves: Vec<Hash>,
    /// As JSON, so that it goes through the same form as on a real disk.
    evidence: Vec<String>,
    by_module: HashMap<ModuleVersion, usize>,
    tiles: BTreeMap<(u8, u64), Vec<Hash>>,
    subtrees: BTreeMap<u64, Vec<Hash>>,
    heads: BTreeMap<u64, StoredHead>,
    incidents: Vec<([u8; 32], KeptIncident)>,
}

/// A log in memory, the writer's half.
#[derive(Debug)]
pub struct MemoryStore {
    disk: Disk,
    identity: Identity,
}

impl MemoryStore {
    /// Opens the log on `disk`, and creates it for `identity` when there is none. A log of another
    /// key is refused.
    pub fn open(disk: &Disk, identity: Option<&Identity>) -> Result<MemoryStore, StoreError> {
        let mut contents = disk.contents.write().expect("nobody panics while holding this lock");
        let foreign = |found| StoreError::Foreign { path: "memory".to_owned(), found };
        let standing = match (&contents.identity, identity) {
            (Some(standing), Some(wanted)) if standing.vkey != wanted.vkey => {
                let (vkey, wanted) = (standing.vkey.clone(), wanted.vkey.clone());
                return Err(foreign(FoundInstead::OtherLog { vkey, wanted }));
            }
            (Some(standing), _) => standing.clone(),
            (None, Some(wanted)) => wanted.clone(),
            (None, None) => return Err(foreign(FoundInstead::NoLog)),
        };
        contents.identity = Some(standing.clone());
        drop(contents);
        Ok(MemoryStore { disk: disk.clone(), identity: standing })
    }
}

impl Disk {
    fn read<T>(&self, read: impl FnOnce(&Contents) -> T) -> T {
        read(&self.contents.read().expect("nobody panics while holding this lock"))
    }

    fn write<T>(&self, write: impl FnOnce(&mut Contents) -> T) -> T {
        write(&mut self.contents.write().expect("nobody panics while holding this lock"))
    }
}

fn conflict(expected: String, found: String) -> StoreError {
    StoreError::Conflict { expected, found }
}

fn spurious() -> StoreError {
    conflict("no conflict".to_owned(), "an injected one".to_owned())
}

fn disk_failed(action: &'static str) -> StoreError {
    StoreError::Database { action, source: "injected".into() }
}

impl LogStore for MemoryStore {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn claim(&mut self, epoch: u64) -> Result<(), StoreError> {
        self.disk.write(|contents| {
            if epoch <= contents.epoch {
                return Err(disk_failed("update of writer"));
            }
            contents.epoch = epoch;
            Ok(())
        })
    }

    fn epoch(&mut self) -> Result<u64, StoreError> {
        Ok(self.disk.read(|contents| contents.epoch))
    }

    fn newest(&mut self) -> Result<Option<StoredHead>, StoreError> {
        Ok(self.disk.read(|contents| contents.heads.last_key_value().map(|(_, head)| head.clone())))
    }

    fn begin(&mut self, expected: Option<&TreeHead>, epoch: u64) -> Result<Box<dyn Append + '_>, StoreError> {
        if self.disk.faults.at(Step::Begin).is_some() {
            return Err(spurious());
        }
        self.disk.read(|contents| contents.check(expected, epoch))?;
        Ok(Box::new(Transaction { disk: &self.disk, expected: expected.copied(), epoch }))
    }

    fn reload(&mut self) -> Result<(), StoreError> {
        match self.disk.faults.at(Step::Reload) {
            Some(_) => Err(disk_failed("reload")),
            None => Ok(()),
        }
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        Arc::new(self.disk.clone())
    }

    fn shrink(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

struct Transaction<'a> {
    disk: &'a Disk,
    expected: Option<TreeHead>,
    epoch: u64,
}

impl Append for Transaction<'_> {
    fn find(&mut self, module: &ModuleVersion) -> Result<Option<StoredRecord>, StoreError> {
        self.disk.find(module, TreeSize(u64::MAX))
    }

    fn commit(self: Box<Self>, batch: &Batch) -> Result<(), StoreError> {
        let fault = self.disk.faults.at(Step::Commit);
        match fault {
            Some(Fault::CommitConflict) => return Err(spurious()),
            Some(Fault::CommitFull) => return Err(StoreError::Full),
            Some(Fault::CommitFailed) => return Err(disk_failed("commit")),
            Some(Fault::CommitPanic) => panic!("injected"),
            _ => {}
        }
        self.disk.write(|contents| {
            contents.check(self.expected.as_ref(), self.epoch)?;
            let newest = contents.heads.last_key_value().map(|(size, _)| *size);
            if batch.head.as_ref().is_some_and(|head| Some(head.tree.size.0) <= newest) {
                return Err(disk_failed("insert into head"));
            }
            contents.take_in(batch);
            Ok(())
        })?;
        match fault {
            Some(Fault::CommitFailedAfterwards) => Err(disk_failed("commit")),
            _ => Ok(()),
        }
    }
}

impl Contents {
    fn check(&self, expected: Option<&TreeHead>, epoch: u64) -> Result<(), StoreError> {
        let found = self.heads.last_key_value().map(|(_, head)| head.tree);
        if (found.as_ref(), self.epoch) == (expected, epoch) {
            return Ok(());
        }
        let show = |head: Option<&TreeHead>, epoch| match head {
            Some(head) => format!("size {} root {} epoch {epoch}", head.size, head.root),
            None => format!("no head, epoch {epoch}"),
        };
        Err(conflict(show(expected, epoch), show(found.as_ref(), self.epoch)))
    }

    fn take_in(&mut self, batch: &Batch) {
        for record in &batch.records {
            let id = self.records.len();
            let before = self.by_module.insert(record.lines.module.clone(), id);
            assert_eq!(before, None, "{} is in the log already", record.lines.module);
            self.records.push(StoredRecord { id: RecordId(id as u64), lines: record.lines.clone() });
            self.leaves.push(record.leaf);
            let kept = StoredEvidence { appended_at: batch.at, evidence: (*record.evidence).clone() };
            self.evidence.push(serde_json::to_string(&kept).expect("evidence has only string keys"));
        }
        for tile in &batch.complete.tiles {
            assert_eq!(tile.hashes.len() as u64, TILE_WIDTH, "only full tiles are stored");
            let before = self.tiles.insert((tile.level, tile.number), tile.hashes.clone());
            assert!(before.is_none(), "tile {} of level {} is there already", tile.number, tile.level);
        }
        for Subtrees { tile, roots } in &batch.complete.subtrees {
            assert_eq!(roots.len() as u64, SUBTREE_WIDTH, "only those of full tiles are stored");
            let before = self.subtrees.insert(*tile, roots.clone());
            assert!(before.is_none(), "the subtrees of tile {tile} are there already");
        }
        for incident in &batch.incidents {
            let (digest, id) = (incident.digest(), self.incidents.len() as u64 + 1);
            if self.incidents.iter().all(|(seen, _)| *seen != digest) {
                let (at, kind) = (incident.at, incident.kind.as_str().to_owned());
                let detail = incident.detail.clone();
                self.incidents.push((digest, KeptIncident { id, at, kind, detail }));
            }
        }
        if let Some(head) = &batch.head {
            assert_eq!(head.tree.size.0, self.records.len() as u64, "a head that does not fit its records");
            self.heads.insert(head.tree.size.0, head.clone());
        }
    }
}

/// The part of `0..len` that `ids` asks for.
fn within(ids: Range<u64>, len: usize) -> Range<usize> {
    let end = ids.end.min(len as u64) as usize;
    (ids.start.min(end as u64) as usize)..end
}

impl LogReader for Disk {
    fn find(&self, module: &ModuleVersion, below: TreeSize) -> Result<Option<StoredRecord>, StoreError> {
        Ok(self.read(|contents| {
            let id = contents.by_module.get(module).filter(|id| (**id as u64) < below.0);
            id.map(|id| contents.records[*id].clone())
        }))
    }

    fn records(&self, ids: Range<u64>) -> Result<Vec<StoredRecord>, StoreError> {
        Ok(self.read(|contents| contents.records[within(ids, contents.records.len())].to_vec()))
    }

    fn leaves(&self, ids: Range<u64>) -> Result<Vec<Hash>, StoreError> {
        Ok(self.read(|contents| contents.leaves[within(ids, contents.leaves.len())].to_vec()))
    }

    fn tile(&self, level: u8, number: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        Ok(self.read(|contents| contents.tiles.get(&(level, number)).cloned()))
    }

    fn subtrees(&self, tile: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        Ok(self.read(|contents| contents.subtrees.get(&tile).cloned()))
    }

    fn evidence(&self, id: RecordId) -> Result<Option<StoredEvidence>, StoreError> {
        let json = self.read(|contents| contents.evidence.get(id.0 as usize).cloned());
        let damaged = |error: serde_json::Error| StoreError::Damaged {
            place: format!("evidence of record {id}"),
            why: error.to_string(),
        };
        json.map(|json| serde_json::from_str(&json).map_err(damaged)).transpose()
    }

    fn head(&self, size: TreeSize) -> Result<Option<StoredHead>, StoreError> {
        Ok(self.read(|contents| contents.heads.get(&size.0).cloned()))
    }

    fn heads(&self, before: TreeSize, limit: usize) -> Result<Vec<StoredHead>, StoreError> {
        Ok(self.read(|contents| {
            contents.heads.range(..before.0).rev().take(limit).map(|(_, head)| head.clone()).collect()
        }))
    }

    fn incidents(&self, limit: usize) -> Result<Vec<KeptIncident>, StoreError> {
        Ok(self.read(|contents| {
            contents.incidents.iter().rev().take(limit).map(|(_, incident)| incident.clone()).collect()
        }))
    }
}
