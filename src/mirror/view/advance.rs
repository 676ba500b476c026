//! How the attempts to reach the newest head end: for status, metrics and the pause before the next one.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use jiff::Timestamp;

use super::{Inner, RemoteError, RemoteLog};
use crate::store::StoreError;
use crate::store::remote::{Attempts, Counts};
use crate::tlog::TreeSize;

/// What this process has seen of a log's advances, after what was kept from before.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    last: Attempts,
    failures: u64,
    failures_in_a_row: u32,
}

/// How far a log is and how its last attempts ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Records in the newest head that is kept; none when no head is known.
    pub size: Option<TreeSize>,
    /// Records in the largest tree that the log's URLs have shown.
    pub shown_size: TreeSize,
    /// When the newest head was reached last.
    pub succeeded_at: Option<Timestamp>,
    /// When that failed last.
    pub failed_at: Option<Timestamp>,
    /// Why it failed then.
    pub failure: Option<String>,
    /// Failures since this process started.
    pub failures: u64,
    /// Failures since the last success.
    pub failures_in_a_row: u32,
}

impl Tally {
    fn succeeded(&mut self, at: Timestamp) {
        self.last.succeeded_at = Some(at);
        self.failures_in_a_row = 0;
    }

    fn failed(&mut self, at: Timestamp, why: String) -> Attempts {
        self.last.failed_at = Some(at);
        self.last.failure = Some(why);
        self.failures += 1;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.last.clone()
    }

    pub(super) fn new(last: Attempts) -> Tally {
        Tally { last, ..Tally::default() }
    }
}

impl RemoteLog {
    /// How far it is.
    pub fn progress(&self) -> Progress {
        let Tally { last, failures, failures_in_a_row } = self.0.tally().clone();
        let size = self.newest().map(|head| head.tree.size);
        Progress {
            size,
            shown_size: last.shown_size.max(size.unwrap_or_default()),
            succeeded_at: last.succeeded_at,
            failed_at: last.failed_at,
            failure: last.failure,
            failures,
            failures_in_a_row,
        }
    }

    /// Remembers that everything under the newest head is here.
    pub(super) async fn note_success(&self) {
        let attempts = {
            let mut tally = self.0.tally();
            tally.succeeded(self.0.clock.now());
            tally.last.clone()
        };
        self.0.keep_attempts(attempts).await;
    }

    /// Remembers that the newest head was reached and the records under it were not.
    pub(super) async fn note_failure(&self, why: &str) {
        let attempts = self.0.tally().failed(self.0.clock.now(), why.to_owned());
        self.0.keep_attempts(attempts).await;
    }

    /// How much is kept beside the full mirror.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        self.0.store.counts()
    }
}

impl Inner {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The largest tree that a URL has shown as the newest. Caches may lag behind the heads that look-ups bring, but an
    /// answer to `/latest` that is older than an earlier one went back.
    pub(super) fn shown_size(&self) -> TreeSize {
        self.tally().last.shown_size
    }

    /// Remembers how an attempt ended, here and for the next process.
    pub(super) async fn note_attempt(&self, result: &Result<TreeSize, RemoteError>) {
        let attempts = {
            let mut tally = self.tally();
            match result {
                Ok(shown) => {
                    tally.last.shown_size = tally.last.shown_size.max(*shown);
                    // Where every record is wanted the head alone is no success.
                    if !self.replicates.load(Ordering::Relaxed) {
                        tally.succeeded(self.clock.now());
                    }
                }
                Err(error) => drop(tally.failed(self.clock.now(), error.to_string())),
            }
            tally.last.clone()
        };
        self.keep_attempts(attempts).await;
    }

    async fn keep_attempts(&self, attempts: Attempts) {
        if let Err(error) = self.store.note_attempts(attempts).await {
            // Nothing depends on it, and a store that fails is heard of at the next look-up.
            tracing::debug!(log = %self.name, %error, "the outcome of an attempt was not kept");
        }
    }
}
