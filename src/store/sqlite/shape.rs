//! The runs of the [index](super::index): what an entry is, and how the entries of a run are cut
//! into buckets and packed.

use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip::SipHasher13;
use xxhash_rust::xxh3::xxh3_64;

use crate::module::ModuleVersion;

/// Bits of the keyed hash that are kept.
pub(super) const HASH_BITS: u32 = 40;
/// Entries of a bucket, on average, are between this and twice as many: a row of about a kilobyte.
const BUCKET: u64 = 96;

/// Buckets are numbered with 32 bits, of which one stays free so that there is a number after the
/// last.
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
pub(super) type IndexEntry = (u64, u64);

/// An immutable run over the records from `first` to before `finish`.
#[derive(Debug)]
pub(super) struct IndexRun {
    pub(super) id: u64,
    pub(super) shape: Shape,
    /// A digest of number, shape and the database's secret. Each bucket's checksum begins with it,
    /// so that no bucket of another run, and no run with other records or another secret, passes
    /// for what was written.
    pub(super) mark: u64,
}

impl IndexRun {
    pub(super) fn new(id: u64, shape: Shape, key: &[u8; 16]) -> Arc<IndexRun> {
        let numbers = [id, shape.first, shape.finish, u64::from(shape.bits)];
        let mut bytes = key.to_vec();
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        Arc::new(IndexRun { id, shape, mark: xxh3_64(&bytes) })
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
    pub(super) fn encode(self, entries: &[IndexEntry]) -> Vec<u8> {
        let (rest, id) = (self.rest_bytes(), self.id_bytes());
        let mut body = Vec::with_capacity(entries.len() * (rest + id));
        for (hash, record) in entries {
            body.extend(&hash.to_be_bytes()[8 - rest..]);
            body.extend(&(record - self.first).to_be_bytes()[8 - id..]);
        }
        body
    }

    /// All entries of one bucket, sorted; `None` when the body cannot be a bucket's.
    pub(super) fn decode(self, bucket: u64, body: &[u8], out: &mut Vec<IndexEntry>) -> Option<()> {
        let (rest, id) = (self.rest_bytes(), self.id_bytes());
        if !body.len().is_multiple_of(rest + id) {
            return None;
        }
        // The rest is whole bytes and may repeat low bits of the bucket's number: those bits come
        // from the rest.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_give_back_what_was_packed() {
        for (first, finish) in [(0, 1), (0, 100), (5, 16_389), (1 << 20, 1 << 24), (0, 72_000_000)] {
            let shape = Shape::over(first, finish);
            let hash = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - HASH_BITS);
            let bucket = shape.bucket_of(hash(7));
            let mut entries: Vec<IndexEntry> = (0..100_000)
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
        for entries in [16_384, 16_384 * 8, 10_000_000, 72_000_000] {
            let shape = Shape::over(0, entries);
            let average = entries >> shape.bits;
            assert!((BUCKET..=2 * BUCKET).contains(&average), "{average} for {entries}");
        }
    }
}
