//! What memory holds of a run, so that a look-up reads no page of the index, and a new module
//! version none at all.
//!
//! An entry on disk is 40 bits of a hash and a record's number, six or seven bytes. In memory it is
//! four: the number of the record's segment in the low bits, counted from the run's first, and
//! above it bits of the hash. A bucket is cut into eight slots by the bits that follow those which
//! say the bucket, so that what is compared lies in a line or two of the processor's cache, and the
//! bits above the segment are those that follow the slot's. Module versions that share all of them
//! are told apart by the records, which have to be read anyway. Of a run of eight million, where a
//! slot has 16 entries and 13 bits are left, one absent module version in five hundred leads to a
//! segment that does not have it.
//!
//! A run is read piece by piece, when something of a piece is first asked for: a start reads
//! nothing, and a mirror that only grows holds nothing.

use std::ops::Range;
use std::sync::OnceLock;

use super::segment::SEGMENT_WIDTH;
use super::shape::{HASH_BITS, IndexEntry, Shape};
use crate::store::StoreError;

/// Buckets that are read at a time: some eight thousand entries from five pages.
const PIECE_BUCKETS: u64 = 64;
const ENTRY_BITS: u32 = u32::BITS;
/// Hashes whose slots are found before any is looked at: as many reads of memory as a processor has
/// under way, several times.
const AT_ONCE: usize = 64;
/// There are 2^3 slots in a bucket.
const SLOT_BITS: u32 = 3;

/// The entries of one run.
#[derive(Debug)]
pub(super) struct Resident {
    shape: Shape,
    segment_bits: u32,
    /// Each is set once, by whichever thread first asks for something in it.
    pieces: Box<[OnceLock<Piece>]>,
}

/// The entries of [`PIECE_BUCKETS`] buckets.
#[derive(Debug)]
struct Piece {
    /// Where the entries of each slot begin, and where the last end.
    starts: Box<[u32]>,
    entries: Box<[u32]>,
}

impl Resident {
    /// Nothing of a run yet, which must have less than 2^32 segments.
    pub(super) fn new(shape: Shape) -> Resident {
        let segments = (shape.finish - 1) / SEGMENT_WIDTH - shape.first / SEGMENT_WIDTH + 1;
        let pieces = (1_u64 << shape.bits).div_ceil(PIECE_BUCKETS);
        Resident {
            shape,
            segment_bits: u64::BITS - (segments - 1).leading_zeros(),
            pieces: (0..pieces).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The segments in which there may be a record with this hash: all that have one, and few
    /// others. `read` gives the sorted entries of the buckets that it is told, which are read once.
    pub(super) fn segments(
        &self,
        hash: u64,
        read: impl FnOnce(Range<u64>) -> Result<Vec<IndexEntry>, StoreError>,
    ) -> Result<Vec<u64>, StoreError> {
        let sought = self.fingerprint(hash);
        let entries = self.slot(hash, read)?;
        let found = entries.iter().filter(|entry| u64::from(**entry) >> self.segment_bits == sought);
        let segment = |entry| self.first_segment() + (u64::from(entry) & ((1 << self.segment_bits) - 1));
        Ok(found.map(|entry| segment(*entry)).collect())
    }

    /// Sets `may` for each hash under which there may be a record. Nothing is said of those in a
    /// piece that is damaged: `may` is set for them, too.
    pub(super) fn may_have(
        &self,
        hashes: &[u64],
        may: &mut [bool],
        mut read: impl FnMut(Range<u64>) -> Result<Vec<IndexEntry>, StoreError>,
    ) -> Result<(), StoreError> {
        // First where they would be, then whether they are there: two walks in which no step waits
        // for the one before it.
        let mut slots: [&[u32]; AT_ONCE] = [&[]; AT_ONCE];
        for (hashes, may) in hashes.chunks(AT_ONCE).zip(may.chunks_mut(AT_ONCE)) {
            for ((hash, may), slot) in hashes.iter().zip(&mut *may).zip(&mut slots) {
                *slot = match self.slot(*hash, &mut read) {
                    Err(StoreError::Damaged { .. }) => {
                        *may = true;
                        &[]
                    }
                    slot => slot?,
                };
            }
            for ((hash, may), slot) in hashes.iter().zip(may).zip(&slots) {
                let sought = self.fingerprint(*hash);
                let is = |entry: &u32| u64::from(*entry) >> self.segment_bits == sought;
                *may |= slot.iter().any(is);
            }
        }
        Ok(())
    }

    /// The entries among which those of a hash are.
    fn slot(
        &self,
        hash: u64,
        read: impl FnOnce(Range<u64>) -> Result<Vec<IndexEntry>, StoreError>,
    ) -> Result<&[u32], StoreError> {
        let bucket = self.shape.bucket_of(hash);
        let cell = &self.pieces[(bucket / PIECE_BUCKETS) as usize];
        let piece = match cell.get() {
            Some(piece) => piece,
            None => {
                let from = bucket - bucket % PIECE_BUCKETS;
                let buckets = from..(from + PIECE_BUCKETS).min(1 << self.shape.bits);
                let piece = self.piece(buckets.clone(), &read(buckets)?);
                cell.get_or_init(|| piece)
            }
        };
        let at = (self.slot_of(hash) % (PIECE_BUCKETS << SLOT_BITS)) as usize;
        Ok(&piece.entries[piece.starts[at] as usize..piece.starts[at + 1] as usize])
    }

    fn piece(&self, buckets: Range<u64>, entries: &[IndexEntry]) -> Piece {
        let (first, slots) = (buckets.start << SLOT_BITS, (buckets.end - buckets.start) << SLOT_BITS);
        let mut starts = vec![0; slots as usize + 1];
        for (hash, _) in entries {
            starts[(self.slot_of(*hash) - first) as usize + 1] += 1;
        }
        for slot in 1..starts.len() {
            starts[slot] += starts[slot - 1];
        }
        let entry = |&(hash, record): &IndexEntry| {
            let segment = record / SEGMENT_WIDTH - self.first_segment();
            (self.fingerprint(hash) << self.segment_bits | segment) as u32
        };
        Piece { starts: starts.into(), entries: entries.iter().map(entry).collect() }
    }

    fn first_segment(&self) -> u64 {
        self.shape.first / SEGMENT_WIDTH
    }

    /// Bits of the hash after those which say the slot.
    fn rest_bits(&self) -> u32 {
        HASH_BITS - self.shape.bits - SLOT_BITS
    }

    fn slot_of(&self, hash: u64) -> u64 {
        hash >> self.rest_bits()
    }

    /// The first of them, as many as an entry has room for.
    fn fingerprint(&self, hash: u64) -> u64 {
        let bits = self.rest_bits().min(ENTRY_BITS - self.segment_bits);
        hash >> (self.rest_bits() - bits) & ((1 << bits) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(i: u64) -> u64 {
        i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - HASH_BITS)
    }

    /// All entries of a run over these records, as its buckets hold them.
    fn sorted(shape: Shape) -> Vec<IndexEntry> {
        let mut entries: Vec<IndexEntry> = (shape.first..shape.finish).map(|id| (hash(id), id)).collect();
        entries.sort_unstable();
        entries
    }

    fn in_buckets(shape: Shape, entries: &[IndexEntry], buckets: Range<u64>) -> Vec<IndexEntry> {
        entries.iter().filter(|entry| buckets.contains(&shape.bucket_of(entry.0))).copied().collect()
    }

    #[test]
    fn every_record_leads_to_its_segment_and_few_others_to_any() {
        for (first, finish) in [(0, 1), (0, 17), (5, 300), (16_384, 32_768), (100, 1_000_100)] {
            let shape = Shape::over(first, finish);
            let (entries, resident) = (sorted(shape), Resident::new(shape));
            let mut reads = 0;
            let mut segments = |hash| {
                let read = |buckets: Range<u64>| {
                    reads += 1;
                    Ok(in_buckets(shape, &entries, buckets))
                };
                resident.segments(hash, read).unwrap()
            };
            for id in (first..finish).step_by(1 + (finish - first) as usize / 5_000) {
                assert!(
                    segments(hash(id)).contains(&(id / SEGMENT_WIDTH)),
                    "record {id} of {first}..{finish}"
                );
            }
            let there: Vec<u64> = (first..finish).map(hash).collect();
            let mut may = vec![false; there.len()];
            let all = |buckets: Range<u64>| Ok(in_buckets(shape, &entries, buckets));
            resident.may_have(&there, &mut may, all).unwrap();
            assert!(may.iter().all(|may| *may), "{first}..{finish}");
            let absent: Vec<u64> = (finish..finish + 20_000).map(hash).collect();
            let mut may = vec![false; absent.len()];
            resident.may_have(&absent, &mut may, all).unwrap();
            let agree = |(hash, may): (&u64, &bool)| segments(*hash).is_empty() != *may;
            assert!(absent.iter().zip(&may).all(agree), "{first}..{finish}");
            let absent = (finish..finish + 20_000).filter(|id| !segments(hash(*id)).is_empty()).count();
            assert!(absent < 60, "{absent} of 20000 absent ones, {first}..{finish}");
            assert!(reads <= (1_u64 << shape.bits).div_ceil(PIECE_BUCKETS), "{reads} reads for {shape:?}");
        }
    }

    #[test]
    fn the_largest_run_in_memory_has_bits_enough_to_tell_most_apart() {
        let resident = Resident::new(Shape::over(7, 7 + super::super::index::RESIDENT));
        assert_eq!(resident.segment_bits, 20);
        let last = Resident::new(Shape::over(15, 16 + 16 * (1 << 20)));
        assert_eq!(last.segment_bits, 21, "with the part of a segment before the first whole one");
    }

    #[test]
    fn a_piece_that_cannot_be_read_is_tried_again() {
        let shape = Shape::over(0, 100);
        let resident = Resident::new(shape);
        let broken =
            || StoreError::Damaged { place: "index_bucket 0".to_owned(), why: "for once".to_owned() };
        assert!(resident.segments(hash(7), |_| Err(broken())).is_err());
        let entries = sorted(shape);
        assert_eq!(
            resident.segments(hash(7), |buckets| Ok(in_buckets(shape, &entries, buckets))).unwrap(),
            [0]
        );
    }
}
