//! What memory holds of the places of segments, so that most look-ups read nothing but the segment.
//!
//! The places of one tile are known together, in a slot that the tiles with one remainder share: a
//! fixed amount of memory, enough for all tiles of a log of sixteen million records, however large
//! the log is.

use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::SEGMENTS_PER_TILE;

/// 56 bytes each.
const SLOTS: u64 = 1 << 16;

/// Of the tiles that were read lately, where their segments lie.
#[derive(Debug, Default)]
pub(super) struct KnownPlaces(OnceLock<Box<[Mutex<Slot>]>>);

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// No tile has the largest number.
    tile: u64,
    start: u64,
    lengths: [u16; SEGMENTS_PER_TILE],
}

impl Slot {
    const EMPTY: Slot = Slot { tile: u64::MAX, start: 0, lengths: [0; SEGMENTS_PER_TILE] };
}

impl KnownPlaces {
    /// Where a segment of a tile lies, if that is known.
    pub(super) fn get(&self, tile: u64, at: usize) -> Option<Range<u64>> {
        let slot = *self.slot(tile).lock().unwrap_or_else(PoisonError::into_inner);
        if slot.tile != tile {
            return None;
        }
        let before: u64 = slot.lengths[..at].iter().map(|length| u64::from(*length)).sum();
        let start = slot.start + before;
        Some(start..start + u64::from(slot.lengths[at]))
    }

    /// Remembers where the segments of a tile lie, each behind the one before. Not of a tile with
    /// segments that are longer than any of go.sum lines.
    pub(super) fn keep(&self, tile: u64, start: u64, lengths: impl Iterator<Item = u64>) {
        let mut slot = Slot { tile, start, ..Slot::EMPTY };
        for (kept, length) in slot.lengths.iter_mut().zip(lengths) {
            let Ok(length) = length.try_into() else { return };
            *kept = length;
        }
        *self.slot(tile).lock().unwrap_or_else(PoisonError::into_inner) = slot;
    }

    fn slot(&self, tile: u64) -> &Mutex<Slot> {
        let slots = self.0.get_or_init(|| (0..SLOTS).map(|_| Mutex::new(Slot::EMPTY)).collect());
        &slots[(tile % SLOTS) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_last_is_found_and_nothing_else() {
        let known = KnownPlaces::default();
        assert_eq!(known.get(3, 0), None);
        known.keep(3, 1_000, 1..17);
        assert_eq!((known.get(3, 0), known.get(3, 15)), (Some(1_000..1_001), Some(1_120..1_136)));
        assert_eq!((known.get(4, 0), known.get(3 + SLOTS, 0)), (None, None));
        known.keep(3 + SLOTS, 9_000, std::iter::repeat_n(65_535, 16));
        assert_eq!((known.get(3, 0), known.get(3 + SLOTS, 1)), (None, Some(74_535..140_070)));
        known.keep(3, 1_000, std::iter::repeat_n(65_536, 16));
        assert_eq!((known.get(3, 0), known.get(3 + SLOTS, 0)), (None, Some(9_000..74_535)));
    }
}
