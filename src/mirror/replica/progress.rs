//! How a replica is filled: what a run may use, what it will take, how far it is, what it did.

use std::time::{Duration, Instant};

use crate::tlog::TreeSize;

/// How a log is replicated.
#[derive(Clone, Copy, Debug)]
pub struct ReplicateOptions {
    /// Data tiles in flight at once.
    pub jobs: usize,
    /// How often a tile that no URL has now is asked for, later and later.
    pub tries: u32,
}

impl Default for ReplicateOptions {
    fn default() -> ReplicateOptions {
        // Enough for a line with 100 ms of delay, little enough for the log's operators; eight
        // tries are over a minute.
        ReplicateOptions { jobs: 32, tries: 8 }
    }
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaProgress {
    /// The records that are stored.
    pub size: TreeSize,
    /// The size of the head that the run goes to.
    pub target: TreeSize,
    /// Requests for data tiles so far.
    pub requests: u64,
    /// Bytes of data tiles so far.
    pub bytes: u64,
    /// How often a tile had to be asked for again because no URL had it.
    pub retries: u64,
}

/// What a run has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicated {
    /// The records that were there before.
    pub from: TreeSize,
    /// How it ended.
    pub progress: ReplicaProgress,
}

/// What bringing a log up to date did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synced {
    /// Records before, under the newest head or, in `full` mode, here; none when no head was known.
    pub from: Option<TreeSize>,
    /// Records now.
    pub to: TreeSize,
}

/// What a run in `full` mode will take, as far as that can be said before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// Records that are not here yet.
    pub records: u64,
    /// Requests for data tiles, and for the hash tiles above them.
    pub requests: u64,
    /// Bytes to be received, if the records are as long as those of sum.golang.org.
    pub bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes that are free there.
    pub free_bytes: u64,
}

/// A run that is replicating.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaRun {
    /// What it will take.
    pub foreseen: Foreseen,
    /// When it began.
    pub began: Instant,
    /// Where it began.
    pub from: TreeSize,
    /// How far it is.
    pub progress: ReplicaProgress,
}

impl ReplicaRun {
    /// Returns records a second since it began, once there are any.
    pub fn rate(&self, now: Instant) -> Option<f64> {
        let seconds = now.saturating_duration_since(self.began).as_secs_f64();
        let records = self.progress.size.0.saturating_sub(self.from.0);
        (records > 0 && seconds > 0.0).then(|| records as f64 / seconds)
    }

    /// Returns how long the rest will take at that rate.
    pub fn eta(&self, now: Instant) -> Option<Duration> {
        let left = self.progress.target.0.saturating_sub(self.progress.size.0);
        let seconds = left as f64 / self.rate(now)?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}
