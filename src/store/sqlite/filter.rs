//! A filter per index run: "surely not here", from memory, so that a new module version touches no run at all.
//!
//! A blocked Bloom filter: the hash picks one 64-byte block (one cache line) and five bits in it. At ten bits a key
//! about one absent key in seventy passes.

use super::index::HASH_BITS;

const BLOCK_BITS: u64 = 512;
const BLOCK_WORDS: usize = 8;
const BITS_PER_KEY: u64 = 10;
const PROBES: u32 = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    words: Vec<u64>,
}

impl Filter {
    /// An empty filter for about `keys` keys.
    pub(super) fn for_keys(keys: u64) -> Filter {
        Filter { words: vec![0; blocks(keys) as usize * BLOCK_WORDS] }
    }

    /// A filter for about `keys` keys that is to be [read](Filter::read_part).
    pub(super) fn unread(keys: u64) -> Filter {
        Filter { words: Vec::with_capacity(blocks(keys) as usize * BLOCK_WORDS) }
    }

    /// Reads the next bytes of what [`Filter::to_bytes`] wrote, whole words of it. Of a large filter there is no second copy.
    pub(super) fn read_part(&mut self, bytes: &[u8]) {
        self.words.extend(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)));
    }

    /// Whether all of it was read.
    pub(super) fn is_whole(&self, keys: u64) -> bool {
        self.words.len() as u64 == blocks(keys) * BLOCK_WORDS as u64
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub(super) fn insert(&mut self, hash: u64) {
        let (block, bits) = self.place(hash);
        for bit in bits {
            self.words[block + bit / 64] |= 1 << (bit % 64);
        }
    }

    /// False only when the hash was never inserted.
    pub(super) fn may_contain(&self, hash: u64) -> bool {
        let (block, mut bits) = self.place(hash);
        bits.all(|bit| self.words[block + bit / 64] >> (bit % 64) & 1 == 1)
    }

    /// First word of the hash's block, and its bits in there.
    fn place(&self, hash: u64) -> (usize, impl Iterator<Item = usize> + use<>) {
        // The runs sort by the hash itself, so blocks and bits are taken from a mixed copy of it.
        let mixed = (hash << (64 - HASH_BITS) | hash).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let blocks = (self.words.len() / BLOCK_WORDS) as u128;
        let block = ((u128::from(mixed) * blocks) >> 64) as usize * BLOCK_WORDS;
        let bits = mixed.wrapping_mul(0x94d0_49bb_1331_11eb);
        (block, (0..PROBES).map(move |probe| (bits >> (10 + 9 * probe)) as usize % BLOCK_BITS as usize))
    }
}

fn blocks(keys: u64) -> u64 {
    keys.saturating_mul(BITS_PER_KEY).div_ceil(BLOCK_BITS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], keys: u64) -> Option<Filter> {
        let mut filter = Filter::unread(keys);
        bytes.chunks(32).for_each(|part| filter.read_part(part));
        filter.is_whole(keys).then_some(filter)
    }

    fn hash(i: u64) -> u64 {
        i.wrapping_mul(0x2545_f491_4f6c_dd1d) >> (64 - HASH_BITS)
    }

    #[test]
    fn forgets_nothing_and_passes_few_others() {
        let mut filter = Filter::for_keys(100_000);
        (0..100_000).for_each(|i| filter.insert(hash(i)));
        assert!((0..100_000).all(|i| filter.may_contain(hash(i))));
        let passed = (100_000..300_000).filter(|i| filter.may_contain(hash(*i))).count();
        assert!(passed < 200_000 / 40, "{passed} of 200000 absent keys passed");
        assert_eq!(read(&filter.to_bytes(), 100_000), Some(filter));
    }

    #[test]
    fn refuses_lengths_that_are_no_filter() {
        assert_eq!(read(&[], 1), None);
        assert_eq!(read(&[0; 63], 1), None);
        assert!(read(&[0; 64], 51).is_some());
        assert_eq!(read(&[0; 64], 52), None);
    }
}
