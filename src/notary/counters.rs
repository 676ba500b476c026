//! What the notary counts. Plain numbers, so that whoever shows them decides how.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Its value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

/// Misses by what became of them, and what else a notary did since it was started.
#[derive(Debug, Default)]
pub struct Counters {
    /// New records that clients asked for.
    pub appended: Counter,
    /// Records that were there already when the candidate came to the log.
    pub present: Counter,
    /// The source has no such module version, or no route matches.
    pub not_found: Counter,
    /// The source refused access.
    pub forbidden: Counter,
    /// A source was not available or too slow.
    pub unavailable: Counter,
    /// Answers of a remote log's addresses that do not verify.
    pub unproven: Counter,
    /// Files that cannot be taken in, such as a .mod that differs from the zip's, and paths that
    /// are named to nobody.
    pub refused: Counter,
    /// Lines that contradict what the log has.
    pub conflict: Counter,
    /// A remote log contradicted itself.
    pub misbehavior: Counter,
    /// The log signs nothing.
    pub read_only: Counter,
    /// Our own failures.
    pub internal: Counter,
    /// Misses that were refused because an allowance, or the client's share of those that wait, was
    /// used up.
    pub limited: Counter,
    /// Misses that found the work under way.
    pub joined: Counter,
    /// Misses that were answered from remembered failures.
    pub negative_hits: Counter,
    /// Look-ups that were told to try later while the work went on.
    pub late: Counter,
    /// Flights that were dropped because a reload changed their route.
    pub rerouted: Counter,
    /// Appends to the log.
    pub batches: Counter,
    /// New records that were begun before a client asked.
    pub ahead_appended: Counter,
    /// Modules that were tried ahead in vain.
    pub ahead_failed: Counter,
    /// Modules that a limit kept from being tried ahead.
    pub ahead_limited: Counter,
}
