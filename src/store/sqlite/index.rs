//! The index from a module version to its record number: sorted runs, merged in bounded steps.
//!
//! A B-tree keyed by a random hash touches a page per insert and falls to a quarter of its speed
//! between one and ten million rows. So the newest entries wait in memory ([`View::recent`]); when
//! [`FLUSH`] have gathered they become a run, which never changes again; when [`FAN_OUT`] runs of
//! about one size lie side by side they are merged into one. A run is cut by the top bits of the
//! hash into buckets of about a hundred entries, a row each, so that a probe is one point read. For
//! as many of the newest runs as [`RESIDENT`] entries the buckets that were asked for stay in
//! memory, in a [shorter form](super::resident): the memory of an index does not grow with its log.
//!
//! The hash is keyed with a secret of the database, so that nobody can craft versions that collide,
//! and cut to 40 bits: a hit is only a candidate, the segment of sixteen records in which it may
//! be, and is confirmed there. An entry in a bucket is the rest of the hash that the bucket's
//! number does not say, then the record's number less the run's first, both big-endian and only as
//! many bytes as the run needs.
//!
//! The index is derived: it can be dropped and made again from the records.
//!
//! That a module version has no record is believed only from an index that proves itself whole. The
//! live runs cover the records from the first on without a gap; what comes after them is hashed
//! again from the records at each start. Each bucket of a run has a row, also an empty one, and a
//! checksum that says which bucket of which run it is ([`IndexRun`]). A row that is lost, moved or
//! changed is damage and never "not there".

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};

use super::resident::Resident;
use super::shape::{HASH_BITS, IndexEntry, IndexRun};

/// Entries that wait in memory before they become a run. They are hashed again at start, so not too
/// many.
pub(super) const FLUSH: u64 = 16_384;
/// Records that may be in no run when a log is opened: a flush comes with the commit that has as
/// many, and a batch may be as large.
pub(super) const MOST_RECENT: u64 = 4 * FLUSH;
/// Runs of one size class that are merged into one.
pub(super) const FAN_OUT: usize = 8;
/// Entries that are in memory at most: 52 MB. Up to here a look-up reads no page of the index, nor
/// does an append.
pub(super) const RESIDENT: u64 = 13_000_000;

/// The index as readers see it: the runs, oldest first, and what has come since.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) runs: Vec<Arc<IndexRun>>,
    /// What memory holds of each; none of one that is read from disk each time.
    residents: Vec<Option<Arc<Resident>>>,
    /// Entries of the records that are in no run. The writer alone adds to it, after a commit; a
    /// flush replaces the view.
    pub(super) recent: RwLock<BTreeSet<IndexEntry>>,
}

impl View {
    /// The newest of these runs are in memory, as many as have [`RESIDENT`] entries together, with
    /// what `before` has read of them.
    pub(super) fn new(runs: Vec<Arc<IndexRun>>, recent: BTreeSet<IndexEntry>, before: &View) -> View {
        let known = |run: &IndexRun| {
            let at = before.runs.iter().position(|known| known.id == run.id)?;
            before.residents[at].clone()
        };
        let mut room = Some(RESIDENT);
        let resident = |run: &Arc<IndexRun>| {
            // An older run that would fit after one that does not is a smaller gain than a simple
            // rule.
            room = room.and_then(|room| room.checked_sub(run.shape.entries()));
            room.map(|_| known(run).unwrap_or_else(|| Arc::new(Resident::new(run.shape))))
        };
        let mut residents: Vec<_> = runs.iter().rev().map(resident).collect();
        residents.reverse();
        View { runs, residents, recent: RwLock::new(recent) }
    }

    /// Each run with what memory holds of it.
    pub(super) fn each(&self) -> impl Iterator<Item = (&IndexRun, Option<&Resident>)> {
        let residents = self.residents.iter().map(Option::as_deref);
        self.runs.iter().map(Arc::as_ref).zip(residents)
    }

    /// Whether `recent` knows a record under each of these hashes.
    pub(super) fn recent_has(&self, hashes: &[u64]) -> Vec<bool> {
        let recent = self.recent.read().expect("nobody panics while holding this lock");
        hashes.iter().map(|hash| recent.range((*hash, 0)..=(*hash, u64::MAX)).next().is_some()).collect()
    }

    /// The records that `recent` knows under a hash.
    pub(super) fn recent_with(&self, hash: u64) -> Vec<u64> {
        let recent = self.recent.read().expect("nobody panics while holding this lock");
        recent.range((hash, 0)..=(hash, u64::MAX)).map(|(_, record)| *record).collect()
    }
}

/// The runs that should be merged next, if any: the newest [`FAN_OUT`] neighbours of one size
/// class.
pub(super) fn plan_merge(runs: &[Arc<IndexRun>]) -> Option<Vec<Arc<IndexRun>>> {
    let class = |run: &Arc<IndexRun>| (run.shape.entries() / FLUSH).max(1).ilog(FAN_OUT as u64);
    let newest = class(runs.last()?);
    let mut end = runs.len();
    // Classes only fall from the oldest run to the newest, so runs of a class are neighbours.
    for size in newest..=HASH_BITS {
        let start = runs[..end].iter().rposition(|run| class(run) > size).map_or(0, |at| at + 1);
        if end - start >= FAN_OUT {
            return Some(runs[start..start + FAN_OUT].to_vec());
        }
        end = start;
        if end == 0 {
            break;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::shape::Shape;
    use super::*;

    fn run(id: u64, first: u64, finish: u64) -> Arc<IndexRun> {
        IndexRun::new(id, Shape::over(first, finish), &[0; 16])
    }

    #[test]
    fn the_newest_runs_are_in_memory_and_the_largest_never() {
        let resident = |sizes: &[u64]| {
            let mut first = 0;
            let runs = (0..).zip(sizes).map(|(id, entries)| {
                first += entries;
                run(id, first - entries, first)
            });
            let view = View::new(runs.collect(), BTreeSet::new(), &View::default());
            view.each().map(|(_, resident)| resident.is_some()).collect::<Vec<_>>()
        };
        assert!(resident(&[]).is_empty());
        assert_eq!(resident(&[8_388_608, 1_048_576, 131_072, 16_384]), [true; 4]);
        assert_eq!(resident(&[67_108_864, 1_048_576, 131_072]), [false, true, true]);
        assert_eq!(resident(&[8_388_608, 8_388_608, 1_048_576, 16_384]), [false, true, true, true]);
        assert_eq!(resident(&[16_384, RESIDENT, 16_384]), [false, false, true]);
        assert_eq!(resident(&[RESIDENT]), [true]);
        assert_eq!(resident(&[RESIDENT + 1]), [false]);
    }

    #[test]
    fn what_was_read_of_a_run_stays_while_there_is_room() {
        let (old, new) = (run(1, 0, RESIDENT - 10), run(2, RESIDENT - 10, RESIDENT));
        let first = View::new(vec![old.clone()], BTreeSet::new(), &View::default());
        let second = View::new(vec![old.clone(), new.clone()], BTreeSet::new(), &first);
        let (before, after) = (&first.residents[0], &second.residents[0]);
        assert!(Arc::ptr_eq(before.as_ref().unwrap(), after.as_ref().unwrap()));
        let third = View::new(vec![old, new, run(3, RESIDENT, RESIDENT + 1)], BTreeSet::new(), &second);
        assert_eq!(third.residents.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true]);
    }

    #[test]
    fn eight_of_a_size_are_merged_the_small_ones_first() {
        let small = |count: u64, from: u64| {
            (0..count)
                .map(move |i| run(100 + i, from + i * FLUSH, from + (i + 1) * FLUSH))
                .collect::<Vec<_>>()
        };
        assert!(plan_merge(&[]).is_none());
        assert!(plan_merge(&small(7, 0)).is_none());
        assert_eq!(plan_merge(&small(9, 0)).expect("eight of a size").len(), 8);
        let mut runs: Vec<_> = (0..8).map(|i| run(i, i * 8 * FLUSH, (i + 1) * 8 * FLUSH)).collect();
        runs.extend(small(3, 64 * FLUSH));
        let merged = plan_merge(&runs).expect("eight of the larger size");
        assert_eq!((merged[0].id, merged[7].id), (0, 7));
        runs.extend(small(6, 67 * FLUSH));
        assert_eq!(plan_merge(&runs).expect("eight of the smaller size")[0].id, 100);
    }
}
