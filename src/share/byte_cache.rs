//! A cache of bytes that is bounded by the memory it takes.

use std::hash::Hash;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// Bytes that were used lately, by key. The entries together weigh what they take, and never more
/// than the limit.
pub(crate) struct ByteCache<K>(Cache<K, Bytes, EntryWeight>);

/// An entry weighs its bytes and what it costs beside them: key, hash table, bookkeeping, the
/// allocator's part.
#[derive(Clone, Copy)]
struct EntryWeight {
    overhead_bytes: u64,
}

impl<K> Weighter<K, Bytes> for EntryWeight {
    fn weight(&self, _: &K, body: &Bytes) -> u64 {
        body.len() as u64 + self.overhead_bytes
    }
}

impl<K: Eq + Hash> ByteCache<K> {
    /// Makes an empty cache of `max_bytes` in all. `usual_bytes` is about what one entry weighs, so
    /// many entries have room at first; `overhead_bytes` is what an entry costs beside its bytes.
    pub(crate) fn new(max_bytes: u64, usual_bytes: u64, overhead_bytes: u64) -> ByteCache<K> {
        let entries = (max_bytes / usual_bytes) as usize;
        ByteCache(Cache::with_weighter(entries, max_bytes, EntryWeight { overhead_bytes }))
    }

    /// Returns the bytes of a key, if they are still here.
    pub(crate) fn get(&self, key: &K) -> Option<Bytes> {
        self.0.get(key)
    }

    /// Adds bytes, or replaces those of the same key.
    pub(crate) fn insert(&self, key: K, body: Bytes) {
        self.0.insert(key, body);
    }

    /// Returns what all entries together weigh.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.weight()
    }
}
