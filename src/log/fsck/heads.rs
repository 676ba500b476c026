//! The heads of a log from the oldest to the newest, a window at a time: there may be as many as
//! records.

use std::collections::VecDeque;

use super::Findings;
use crate::store::{LogReader, StoredHead};
use crate::tlog::TreeSize;

/// Sizes that are looked through at a time.
const WINDOW: u64 = 4_096;
/// Heads that are asked for first; more when a window has more.
const FEWEST: usize = 64;

/// Heads in the order of their sizes.
pub(super) struct Heads<'a> {
    reader: &'a dyn LogReader,
    upcoming: VecDeque<StoredHead>,
    /// Every head below this was handed out or is in `upcoming`.
    seen: u64,
    end: u64,
}

impl<'a> Heads<'a> {
    /// The heads up to and with the size `newest`.
    pub(super) fn new(reader: &'a dyn LogReader, newest: TreeSize) -> Heads<'a> {
        Heads { reader, upcoming: VecDeque::new(), seen: 0, end: newest.0 + 1 }
    }

    /// The head of exactly this size, if there is one. Sizes must be asked for in order; smaller
    /// heads are skipped.
    pub(super) fn of_size(&mut self, size: u64, findings: &mut Findings) -> Option<StoredHead> {
        while self.seen <= size && self.seen < self.end {
            self.look_further(findings);
        }
        while self.upcoming.front().is_some_and(|head| head.tree.size.0 < size) {
            self.upcoming.pop_front();
        }
        self.upcoming.pop_front_if(|head| head.tree.size.0 == size)
    }

    /// Whether there may be a head of this size: false saves computing a root for nothing.
    pub(super) fn may_have(&self, size: u64) -> bool {
        self.seen <= size || self.upcoming.front().is_some_and(|head| head.tree.size.0 <= size)
    }

    fn look_further(&mut self, findings: &mut Findings) {
        let (from, before) = (self.seen, (self.seen + WINDOW).min(self.end));
        self.seen = before;
        let mut limit = FEWEST;
        loop {
            match self.reader.heads(TreeSize(before), limit) {
                Ok(heads) => {
                    // Newest first; the list may reach back to what was seen before.
                    let whole =
                        heads.len() < limit || heads.last().is_some_and(|head| head.tree.size.0 < from);
                    if whole {
                        let new = heads.into_iter().filter(|head| head.tree.size.0 >= from).rev();
                        return self.upcoming.extend(new);
                    }
                    limit *= 2;
                }
                Err(error) => {
                    findings.add_error(|| format!("heads of sizes {from} to {}", before - 1), &error);
                    return self.look_closer(from, before);
                }
            }
        }
    }

    /// Takes what can be read of a window that cannot be read whole, which is told already.
    fn look_closer(&mut self, from: u64, before: u64) {
        let heads = (from..before).filter_map(|size| self.reader.head(TreeSize(size)).ok().flatten());
        self.upcoming.extend(heads);
    }
}
