//! The index from a module version to its record number: sorted runs, merged in bounded steps.
//!
//! A B-tree keyed by a random hash touches a page per insert and falls to a quarter of its speed between one and ten
//! million rows. So the newest entries wait in memory ([`View::recent`]); when [`FLUSH`] have gathered they become a
//! run, which never changes again; when [`FAN_OUT`] runs of about one size lie side by side they are merged into one.
//! A run is cut by the top bits of the hash into buckets of about a hundred entries, a row each, so that a probe is
//! one point read. For as many of the newest runs as [`RESIDENT`] entries the buckets that were asked for stay in memory, in a
//! [shorter form](super::resident): the memory of an index does not grow with its log.
//!
//! The hash is keyed with a secret of the database, so that nobody can craft versions that collide, and cut to 40
//! bits: a hit is only a candidate, the segment of sixteen records in which it may be, and is confirmed there. An entry in
//! a bucket is the rest of the hash that the bucket's number does not say, then the record's number less the run's first,
//! both big-endian and only as many bytes as the run needs.
//!
//! The index is derived: it can be dropped and made again from the records.
//!
//! That a module version has no record is believed only from an index that proves itself whole. The live runs cover the
//! records from the first on without a gap; what comes after them is hashed again from the records at each start. Each
//! bucket of a run has a row, also an empty one, and a checksum that says which bucket of which run it is ([`Run`]).
//! A row that is lost, moved or changed is damage and never "not there".

use std::collections::BTreeSet;
use std::hash::Hasher;
use std::sync::{Arc, RwLock};

use siphasher::sip::SipHasher13;
use xxhash_rust::xxh3::xxh3_64;

use super::resident::Resident;
use crate::module::ModuleVersion;

/// Bits of the keyed hash that are kept.
pub(super) const HASH_BITS: u32 = 40;
/// Entries that wait in memory before they become a run. They are hashed again at start, so not too many.
pub(super) const FLUSH: u64 = 16_384;
/// Records that may be in no run when a log is opened: a flush comes with the commit that has as many, and a batch may be as large.
pub(super) const MOST_RECENT: u64 = 4 * FLUSH;
/// Runs of one size class that are merged into one.
pub(super) const FAN_OUT: usize = 8;
/// Entries that are in memory at most: 52 MB. Up to here a look-up reads no page of the index, nor does an append.
pub(super) const RESIDENT: u64 = 13_000_000;
/// Entries of a bucket, on average, are between this and twice as many: a row of about a kilobyte.
const BUCKET: u64 = 96;

/// Buckets are numbered with 32 bits, of which one stays free so that there is a number after the last.
pub(super) const MAX_BITS: u32 = 31;

/// The hash of a module version under the database's secret.
pub(super) fn hash_module(key: &[u8; 16], module: &ModuleVersion) -> u64 {
    hash_name(key, module.path.as_str(), module.version.as_str())
}

/// The same, of its path and version.
pub(super) fn hash_name(key: &[u8; 16], path: &str, version: &str) -> u64 {
    let mut sip = SipHasher13::new_with_key(key);
    sip.write(path.as_bytes());
    sip.write(b"@");
    sip.write(version.as_bytes());
    sip.finish() >> (64 - HASH_BITS)
}

/// An entry: the hash of a module version and its record.
pub(super) type Entry = (u64, u64);

/// An immutable run over the records from `first` to before `finish`.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: u64,
    pub(super) shape: Shape,
    /// A digest of number, shape and the database's secret. Each bucket's checksum begins with it, so that no bucket
    /// of another run, and no run with other records or another secret, passes for what was written.
    pub(super) mark: u64,
}

impl Run {
    pub(super) fn new(id: u64, shape: Shape, key: &[u8; 16]) -> Arc<Run> {
        let numbers = [id, shape.first, shape.finish, u64::from(shape.bits)];
        let mut bytes = key.to_vec();
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        Arc::new(Run { id, shape, mark: xxh3_64(&bytes) })
    }
}

/// Where a run's entries are, and how they are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) first: u64,
    pub(super) finish: u64,
    /// There are 2^bits buckets.
    pub(super) bits: u32,
}

impl Shape {
    /// The shape of a run over these records.
    pub(super) fn over(first: u64, finish: u64) -> Shape {
        let buckets = ((finish - first) / BUCKET).max(1);
        Shape { first, finish, bits: buckets.ilog2().min(MAX_BITS) }
    }

    pub(super) fn entries(self) -> u64 {
        self.finish - self.first
    }

    pub(super) fn bucket_of(self, hash: u64) -> u64 {
        hash >> (HASH_BITS - self.bits)
    }

    fn rest_bytes(self) -> usize {
        (HASH_BITS - self.bits).div_ceil(8) as usize
    }

    fn id_bytes(self) -> usize {
        (64 - (self.entries() - 1).leading_zeros()).div_ceil(8).max(1) as usize
    }

    /// Packs the sorted entries of one bucket.
    pub(super) fn encode(self, entries: &[Entry]) -> Vec<u8> {
        let (rest, id) = (self.rest_bytes(), self.id_bytes());
        let mut body = Vec::with_capacity(entries.len() * (rest + id));
        for (hash, record) in entries {
            body.extend(&hash.to_be_bytes()[8 - rest..]);
            body.extend(&(record - self.first).to_be_bytes()[8 - id..]);
        }
        body
    }

    /// All entries of one bucket, sorted; `None` when the body cannot be a bucket's.
    pub(super) fn decode(self, bucket: u64, body: &[u8], out: &mut Vec<Entry>) -> Option<()> {
        let (rest, id) = (self.rest_bytes(), self.id_bytes());
        if !body.len().is_multiple_of(rest + id) {
            return None;
        }
        // The rest is whole bytes and may repeat low bits of the bucket's number: those bits come from the rest.
        let known = bucket << (HASH_BITS - self.bits) & !(u64::MAX >> (64 - 8 * rest));
        for entry in body.chunks_exact(rest + id) {
            let hash = known | big_endian(&entry[..rest]);
            let record = self.first + big_endian(&entry[rest..]);
            if self.bucket_of(hash) != bucket || record >= self.finish {
                return None;
            }
            out.push((hash, record));
        }
        Some(())
    }

    /// The records in one bucket whose hash is `hash`; `None` when the body cannot be a bucket's.
    pub(super) fn search(self, hash: u64, body: &[u8]) -> Option<Vec<u64>> {
        let (rest, id) = (self.rest_bytes(), self.id_bytes());
        if !body.len().is_multiple_of(rest + id) {
            return None;
        }
        let sought = hash.to_be_bytes();
        let sought = &sought[8 - rest..];
        let found = body.chunks_exact(rest + id).filter(|entry| &entry[..rest] == sought);
        Some(found.map(|entry| self.first + big_endian(&entry[rest..])).collect())
    }
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The index as readers see it: the runs, oldest first, and what has come since.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) runs: Vec<Arc<Run>>,
    /// What memory holds of each; none of one that is read from disk each time.
    residents: Vec<Option<Arc<Resident>>>,
    /// Entries of the records that are in no run. The writer adds to it after a commit; a flush replaces the view.
    pub(super) recent: RwLock<BTreeSet<Entry>>,
}

impl View {
    /// The newest of these runs are in memory, as many as have [`RESIDENT`] entries together, with what `before` has read of them.
    pub(super) fn new(runs: Vec<Arc<Run>>, recent: BTreeSet<Entry>, before: &View) -> View {
        let known = |run: &Run| {
            let at = before.runs.iter().position(|known| known.id == run.id)?;
            before.residents[at].clone()
        };
        let mut room = Some(RESIDENT);
        let resident = |run: &Arc<Run>| {
            // An older run that would fit after one that does not is a smaller gain than a simple rule.
            room = room.and_then(|room| room.checked_sub(run.shape.entries()));
            room.map(|_| known(run).unwrap_or_else(|| Arc::new(Resident::new(run.shape))))
        };
        let mut residents: Vec<_> = runs.iter().rev().map(resident).collect();
        residents.reverse();
        View { runs, residents, recent: RwLock::new(recent) }
    }

    /// Each run with what memory holds of it.
    pub(super) fn each(&self) -> impl Iterator<Item = (&Run, Option<&Resident>)> {
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

/// The runs that should be merged next, if any: the newest [`FAN_OUT`] neighbours of one size class.
pub(super) fn plan_merge(runs: &[Arc<Run>]) -> Option<Vec<Arc<Run>>> {
    let class = |run: &Arc<Run>| (run.shape.entries() / FLUSH).max(1).ilog(FAN_OUT as u64);
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
    use super::*;

    fn run(id: u64, first: u64, finish: u64) -> Arc<Run> {
        Run::new(id, Shape::over(first, finish), &[0; 16])
    }

    #[test]
    fn buckets_give_back_what_was_packed() {
        for (first, finish) in [(0, 1), (0, 100), (5, 16_389), (1 << 20, 1 << 24), (0, 72_000_000)] {
            let shape = Shape::over(first, finish);
            let hash = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - HASH_BITS);
            let bucket = shape.bucket_of(hash(7));
            let mut entries: Vec<Entry> = (0..100_000)
                .map(|i| (hash(i), first + i % shape.entries()))
                .filter(|entry| shape.bucket_of(entry.0) == bucket)
                .collect();
            entries.sort_unstable();
            let body = shape.encode(&entries);
            let mut decoded = Vec::new();
            shape.decode(bucket, &body, &mut decoded).expect("a bucket that was just packed");
            assert_eq!(decoded, entries, "records {first}..{finish}");
            assert!(shape.search(entries[0].0, &body).expect("a bucket").contains(&entries[0].1));
            assert!(!body.is_empty() && shape.decode(bucket, &body[1..], &mut decoded).is_none());
        }
    }

    #[test]
    fn a_bucket_holds_about_a_hundred_entries() {
        for entries in [FLUSH, FLUSH * 8, 10_000_000, 72_000_000] {
            let shape = Shape::over(0, entries);
            let average = entries >> shape.bits;
            assert!((BUCKET..=2 * BUCKET).contains(&average), "{average} for {entries}");
        }
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
