//! The writer's side of the index: flushing, merging a step at a time, sweeping what was merged.
//!
//! Everything here happens inside the append transaction, a bounded amount per commit, so
//! maintenance costs no fsync of its own and no append waits for a large merge. A merge that a
//! crash interrupts is swept at the next start and begun again; nothing reads a run before it is
//! live.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rusqlite::Connection;

use super::errors::failed;
use super::index::{FLUSH, View, plan_merge};
use super::runs::{self, FIRST_MERGED, LIVE, MERGING, SWEPT};
use super::shape::{IndexEntry, IndexRun, MAX_BITS, Shape};
use crate::store::StoreError;

/// A record is rewritten three times until its log has 67 million, so this keeps merges ahead of
/// appends. Much more would make appends slow while a large merge is under way, and fast in
/// between.
const MERGED_PER_APPEND: u64 = 4;
/// What a commit of a single record does for the index at most.
const LEAST_MERGED: u64 = 1_024;
/// Rows of dead runs that a commit deletes.
const SWEPT_PER_COMMIT: u64 = 128;

/// A merge under way.
struct Merge {
    sources: Vec<Arc<IndexRun>>,
    run: Arc<IndexRun>,
    /// Entries that have moved.
    moved: u64,
    /// The hash space is walked in as many steps as the coarsest source has buckets.
    steps: u64,
    next: u64,
}

/// What the writer knows about the index beyond what readers see.
pub(super) struct Index {
    view: Arc<ArcSwap<View>>,
    key: [u8; 16],
    merge: Option<Merge>,
    /// Merged runs that a reader may still be using; their rows go when nobody holds them.
    dead: Vec<Arc<IndexRun>>,
    next_flush: u64,
    next_merged: u64,
    /// Records below this are in runs.
    pub(super) flushed: u64,
}

/// The changes of a transaction, shown to readers once it is committed.
#[derive(Default)]
pub(super) struct Change {
    recent: Vec<IndexEntry>,
    flushed: Option<Arc<IndexRun>>,
    /// Runs that were merged, and the one that replaces them.
    merged: Option<(Vec<Arc<IndexRun>>, Arc<IndexRun>)>,
}

/// The runs as the tables have them.
pub(super) struct Loaded {
    /// What is searched, oldest first.
    pub(super) live: Vec<Arc<IndexRun>>,
    /// What is to be swept.
    dead: Vec<Arc<IndexRun>>,
    ids: Vec<u64>,
    /// Records below this are in the live runs.
    pub(super) flushed: u64,
}

/// Reads the runs. Those that are `known` stay the same objects.
pub(super) fn load_runs(
    db: &Connection,
    key: &[u8; 16],
    known: &[Arc<IndexRun>],
) -> Result<Loaded, StoreError> {
    let mut select = db
        .prepare_cached("SELECT run_id, state, first, finish, bits FROM index_run")
        .map_err(failed("read of index_run"))?;
    let rows = select
        .query_map([], |row| {
            let number = |at| row.get::<_, i64>(at).map(|value| value as u64);
            let shape = Shape { first: number(2)?, finish: number(3)?, bits: row.get(4)? };
            Ok((number(0)?, row.get::<_, i64>(1)?, shape))
        })
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed("read of index_run"))?;
    let ids = rows.iter().map(|row| row.0).collect();
    let again = |id, shape| known.iter().find(|run| (run.id, run.shape) == (id, shape)).cloned();
    let (mut live, dead): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.1 == LIVE);
    let run = |(id, _, shape)| again(id, shape).unwrap_or_else(|| IndexRun::new(id, shape, key));
    live.sort_by_key(|(_, _, shape)| shape.first);
    let mut flushed = 0;
    for (id, _, Shape { first, finish, bits }) in &live {
        if *first != flushed || finish <= first || *bits > MAX_BITS {
            let why = format!("run {id} has records {first} to {finish}, {flushed} expected");
            return Err(StoreError::Damaged { place: "index_run".to_owned(), why });
        }
        flushed = *finish;
    }
    let live = live.into_iter().map(run).collect();
    Ok(Loaded { live, dead: dead.into_iter().map(run).collect(), ids, flushed })
}

impl Index {
    /// Reads the runs, and sweeps what a crash has left half merged. Readers see nothing of it
    /// before [`Index::show`].
    ///
    /// `known` are the runs of an index of the same database that this one replaces: a reader may
    /// be using them, so they must stay the same objects, or the count of their owners would not
    /// say when their rows may go.
    pub(super) fn load(
        db: &Connection,
        view: Arc<ArcSwap<View>>,
        key: [u8; 16],
        known: &[Arc<IndexRun>],
    ) -> Result<(Index, Vec<Arc<IndexRun>>), StoreError> {
        let Loaded { live, dead, ids, flushed } = load_runs(db, &key, known)?;
        let next = |from: u64, to: u64| {
            ids.iter().filter(|id| (from..to).contains(*id)).max().map_or(from, |id| id + 1)
        };
        let (next_flush, next_merged) = (next(0, FIRST_MERGED), next(FIRST_MERGED, u64::MAX));
        Ok((Index { view, key, merge: None, dead, next_flush, next_merged, flushed }, live))
    }

    /// Shows readers an index that was just loaded, with the entries that are durable as records
    /// and in no run yet. All at once: a reader that saw only a part of it would miss records.
    pub(super) fn show(&self, runs: Vec<Arc<IndexRun>>, recent: Vec<IndexEntry>) {
        let recent = recent.into_iter().collect();
        self.view.store(Arc::new(View::new(runs, recent, &self.view.load())));
    }

    /// Every run that a reader may be using.
    pub(super) fn known(&self) -> Vec<Arc<IndexRun>> {
        self.view.load().runs.iter().chain(&self.dead).cloned().collect()
    }

    pub(super) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Adds entries that are not in a run yet and are already durable as records.
    fn remember(&self, entries: impl IntoIterator<Item = IndexEntry>) {
        self.view.load().recent.write().expect("nobody panics while holding this lock").extend(entries);
    }

    /// Takes in the entries of a batch, and does its share of the upkeep.
    pub(super) fn append(&mut self, db: &Connection, entries: Vec<IndexEntry>) -> Result<Change, StoreError> {
        let appended = entries.len() as u64;
        let mut change = Change { recent: entries, ..Change::default() };
        let waiting =
            self.view.load().recent.read().expect("nobody panics while holding this lock").len() as u64;
        if waiting + appended >= FLUSH {
            change.flushed = Some(self.flush(db, &change.recent)?);
        }
        self.step(db, (appended * MERGED_PER_APPEND).max(LEAST_MERGED), &mut change)?;
        self.sweep(db, SWEPT_PER_COMMIT.max(appended / 16))?;
        Ok(change)
    }

    /// Writes everything recent as a run.
    fn flush(&mut self, db: &Connection, new: &[IndexEntry]) -> Result<Arc<IndexRun>, StoreError> {
        let view = self.view.load();
        let mut entries: Vec<IndexEntry> =
            view.recent.read().expect("nobody panics while holding this lock").iter().copied().collect();
        entries.extend(new);
        entries.sort_unstable();
        let shape = Shape::over(self.flushed, self.flushed + entries.len() as u64);
        let run = IndexRun::new(self.next_flush, shape, &self.key);
        runs::insert_run(db, &run, LIVE)?;
        runs::insert_buckets(db, &run, 0..1 << shape.bits, &entries)?;
        self.next_flush += 1;
        Ok(run)
    }

    /// Goes on with the merge, or begins one, until about `budget` entries have moved.
    fn step(&mut self, db: &Connection, budget: u64, change: &mut Change) -> Result<(), StoreError> {
        if self.merge.is_none() {
            self.merge = match plan_merge(&self.view.load().runs) {
                Some(sources) => Some(self.begin(db, sources)?),
                None => return Ok(()),
            };
        }
        let merge = self.merge.as_mut().expect("a merge was just begun");
        let mut moved = 0;
        while moved < budget && merge.next < merge.steps {
            moved += merge.step(db)?;
        }
        if merge.next == merge.steps {
            let merge = self.merge.take().expect("the merge that was just stepped");
            merge.check()?;
            runs::set_state(db, merge.run.id, LIVE)?;
            merge.sources.iter().try_for_each(|run| runs::set_state(db, run.id, SWEPT))?;
            change.merged = Some((merge.sources, merge.run));
        }
        Ok(())
    }

    fn begin(&mut self, db: &Connection, sources: Vec<Arc<IndexRun>>) -> Result<Merge, StoreError> {
        let (first, last) = (sources.first().expect("runs to merge"), sources.last().expect("runs to merge"));
        let shape = Shape::over(first.shape.first, last.shape.finish);
        let steps = 1 << sources.iter().map(|run| run.shape.bits).min().expect("runs to merge");
        let run = IndexRun::new(self.next_merged, shape, &self.key);
        runs::insert_run(db, &run, MERGING)?;
        self.next_merged += 1;
        Ok(Merge { sources, run, moved: 0, steps, next: 0 })
    }

    fn sweep(&mut self, db: &Connection, limit: u64) -> Result<(), StoreError> {
        // One owner is this list. Another is a reader in the middle of a look-up, which must find
        // its rows.
        if let Some(at) = self.dead.iter().position(|run| Arc::strong_count(run) == 1)
            && runs::sweep(db, self.dead[at].id, limit)?
        {
            self.dead.swap_remove(at);
        }
        Ok(())
    }

    /// Shows readers what a committed transaction has changed.
    pub(super) fn publish(&mut self, change: Change) {
        if change.flushed.is_none() && change.merged.is_none() {
            self.remember(change.recent);
            return;
        }
        let view = self.view.load_full();
        let mut runs = view.runs.clone();
        if let Some((sources, run)) = change.merged {
            let at = runs.iter().position(|run| run.id == sources[0].id).expect("sources are live until now");
            runs.splice(at..at + sources.len(), [run]);
            self.dead.extend(sources);
        }
        let recent = match change.flushed {
            Some(run) => {
                self.flushed = run.shape.finish;
                runs.push(run);
                BTreeSet::new()
            }
            None => {
                let mut recent = view.recent.read().expect("nobody panics while holding this lock").clone();
                recent.extend(change.recent);
                recent
            }
        };
        self.view.store(Arc::new(View::new(runs, recent, &view)));
    }

    /// One share of the upkeep with nothing appended. True when there is nothing left to do.
    pub(super) fn tidy(&mut self, db: &Connection, budget: u64) -> Result<(Change, bool), StoreError> {
        let mut change = Change::default();
        self.step(db, budget, &mut change)?;
        self.sweep(db, budget / 64)?;
        let idle = self.merge.is_none() && change.merged.is_none() && self.dead.is_empty();
        Ok((change, idle))
    }
}

impl Merge {
    /// Merges one stretch of the hash space. Returns how many entries it held.
    fn step(&mut self, db: &Connection) -> Result<u64, StoreError> {
        let mut entries = Vec::new();
        for source in &self.sources {
            let buckets = (1 << source.shape.bits) / self.steps;
            runs::read_buckets(db, source, self.next * buckets, (self.next + 1) * buckets, &mut entries)?;
        }
        // What each run gave is sorted already, and this kind of sorting finds such stretches and
        // merges them.
        entries.sort();
        let buckets = (1 << self.run.shape.bits) / self.steps;
        runs::insert_buckets(db, &self.run, self.next * buckets..(self.next + 1) * buckets, &entries)?;
        self.next += 1;
        self.moved += entries.len() as u64;
        Ok(entries.len() as u64)
    }

    /// Whether everything has moved, before what it came from goes.
    fn check(&self) -> Result<(), StoreError> {
        let IndexRun { id, shape, .. } = *self.run;
        if self.moved == shape.entries() {
            return Ok(());
        }
        let why = format!("{} entries were merged where {} belong", self.moved, shape.entries());
        Err(StoreError::Damaged { place: format!("index run {id}"), why })
    }
}
