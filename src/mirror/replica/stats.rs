//! Statistics of a replica: how it grew, as far as its stored heads tell, and which hosts and
//! module paths have the most records.
//!
//! The counts are exact and need bounded memory. One pass finds which names can be among the most
//! frequent (Misra and Gries 1982: a name with more than n / [`COUNTERS`] of n records still has a
//! counter at the end); where counters were taken away on the way, a second pass counts exactly
//! those that are left.

use std::collections::HashMap;
use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};

use crate::store::StoreError;
use crate::store::remote::SeenHead;
use crate::store::replica::ReplicaReader;
use crate::tlog::TreeSize;

/// Names that are counted at once: some ten megabytes.
const COUNTERS: usize = 1 << 16;
/// Points of the growth that are returned, at least half as many where there are more heads.
const MAX_POINTS: usize = 256;
/// Records that are read between two calls of `progress`.
const STEP: u64 = 1 << 16;
/// Heads that are read at once.
const HEADS_AT_ONCE: usize = 1_000;

/// What a replica holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ReplicaStats {
    /// Records under the newest stored head.
    pub(crate) records: u64,
    /// Records that are not the two lines of a module version.
    pub(crate) others: u64,
    /// Stored heads.
    pub(crate) heads: u64,
    /// When heads of which sizes were seen, the oldest first.
    pub(crate) growth: Vec<(Timestamp, u64)>,
    /// Records a day between the first and the last head that is stored; none when less than an
    /// hour lies between them.
    pub(crate) per_day: Option<f64>,
    /// Records that came in the last 24 hours before the newest head, if the heads go back so far.
    pub(crate) last_day: Option<u64>,
    /// The hosts with the most records, the first part of a path.
    pub(crate) hosts: Vec<(String, u64)>,
    /// The module paths with the most records, each a version.
    pub(crate) paths: Vec<(String, u64)>,
}

/// Reads everything. Blocks. `progress` gets how many records of how many are read, and may end it:
/// then the result is none.
pub(crate) fn stats(
    reader: &ReplicaReader,
    top: usize,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Option<ReplicaStats>, StoreError> {
    let mut stats = ReplicaStats::default();
    growth(reader, &mut stats)?;
    let records = reader.head().map_or(0, |head| head.tree.size.0);
    stats.records = records;
    // A log with many paths is read twice; whether it has many shows only at the end of the first
    // pass.
    let total = 2 * records;
    let (mut hosts, mut paths, mut others) = (Counters::default(), Counters::default(), 0);
    let passed = pass(reader, 0..records, &mut |done| progress(done, total), &mut |path, version| {
        if version.is_empty() {
            others += 1;
            return;
        }
        hosts.add(host_of(path));
        paths.add(path);
    })?;
    if passed.is_break() {
        return Ok(None);
    }
    stats.others = others;
    if hosts.is_rough || paths.is_rough {
        hosts.reset();
        paths.reset();
        let passed =
            pass(reader, 0..records, &mut |done| progress(records + done, total), &mut |path, version| {
                if !version.is_empty() {
                    hosts.add_known(host_of(path));
                    paths.add_known(path);
                }
            })?;
        if passed.is_break() {
            return Ok(None);
        }
    }
    (stats.hosts, stats.paths) = (hosts.most(top), paths.most(top));
    Ok(Some(stats))
}

fn host_of(path: &str) -> &str {
    path.split_once('/').map_or(path, |(host, _)| host)
}

/// Goes through the names of records, and can be ended between two steps.
pub(super) fn pass(
    reader: &ReplicaReader,
    ids: std::ops::Range<u64>,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    each: &mut dyn FnMut(&str, &str),
) -> Result<ControlFlow<()>, StoreError> {
    for first in ids.clone().step_by(STEP as usize) {
        let end = (first + STEP).min(ids.end);
        reader.each_name(first..end, |_, path, version| each(path, version))?;
        if progress(end).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn growth(reader: &ReplicaReader, stats: &mut ReplicaStats) -> Result<(), StoreError> {
    let (mut before, mut stride) = (TreeSize(u64::MAX), 1);
    let (mut newest, mut oldest, mut day_ago): (Option<SeenHead>, Option<SeenHead>, Option<u64>) =
        (None, None, None);
    loop {
        let heads = reader.heads(before, HEADS_AT_ONCE)?;
        let is_last = heads.len() < HEADS_AT_ONCE;
        for head in heads {
            before = head.tree.size;
            let last = newest.get_or_insert_with(|| head.clone());
            if head.seen_at <= last.seen_at - SignedDuration::from_hours(24) && day_ago.is_none() {
                day_ago = Some(head.tree.size.0);
            }
            if stats.heads.is_multiple_of(stride) {
                stats.growth.push((head.seen_at, head.tree.size.0));
            }
            stats.heads += 1;
            if stats.growth.len() >= MAX_POINTS {
                stride *= 2;
                let mut at = 0;
                stats.growth.retain(|_| {
                    at += 1;
                    at % 2 == 1
                });
            }
            oldest = Some(head);
        }
        if is_last {
            break;
        }
    }
    let (Some(newest), Some(oldest)) = (newest, oldest) else { return Ok(()) };
    let first = (oldest.seen_at, oldest.tree.size.0);
    if stats.growth.last() != Some(&first) {
        stats.growth.push(first);
    }
    stats.growth.reverse();
    let took = newest.seen_at.duration_since(oldest.seen_at);
    if took >= SignedDuration::from_hours(1) {
        let records = newest.tree.size.0 - oldest.tree.size.0;
        stats.per_day = Some(records as f64 * 86_400.0 / took.as_secs_f64());
    }
    stats.last_day = day_ago.map(|size| newest.tree.size.0 - size);
    Ok(())
}

/// Counters of the most frequent names.
#[derive(Default)]
struct Counters {
    counts: HashMap<Box<str>, u64>,
    /// Whether counters were taken away, so that those that are left are too low.
    is_rough: bool,
}

impl Counters {
    fn add(&mut self, name: &str) {
        if let Some(count) = self.counts.get_mut(name) {
            *count += 1;
        } else if self.counts.len() < COUNTERS {
            self.counts.insert(name.into(), 1);
        } else {
            // One of each, this name's included. As many records were counted before, so it is a
            // step a record.
            self.is_rough = true;
            self.counts.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    fn reset(&mut self) {
        self.counts.values_mut().for_each(|count| *count = 0);
    }

    fn add_known(&mut self, name: &str) {
        if let Some(count) = self.counts.get_mut(name) {
            *count += 1;
        }
    }

    fn most(self, top: usize) -> Vec<(String, u64)> {
        let mut all: Vec<(String, u64)> =
            self.counts.into_iter().map(|(name, count)| (name.into_string(), count)).collect();
        all.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        all.truncate(top);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_are_found_among_more_names_than_counters() {
        // Two names have more than their share of 400,000; 200,000 others come once.
        let names = |n: u64| match n % 4 {
            0 => "often".to_owned(),
            1 => "more/often".to_owned(),
            _ => format!("once/{n}"),
        };
        let (mut counters, total) = (Counters::default(), 400_000);
        (0..total).for_each(|n| counters.add(&names(n)));
        assert!(counters.is_rough && counters.counts.len() <= COUNTERS);
        counters.reset();
        (0..total).chain([1]).for_each(|n| counters.add_known(&names(n)));
        let most = counters.most(2);
        assert_eq!(most, [("more/often".to_owned(), 100_001), ("often".to_owned(), 100_000)]);
    }
}
