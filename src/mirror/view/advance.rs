//! The newest head: asking for it, one question at a time, and how the attempts ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::timeout_at;

use super::error::RemoteError;
use super::verify::{LogVerifier, NotVerified};
use crate::share::single_flight::{Call, SingleFlight};
use crate::store::remote::Attempts;
use crate::tlog::TreeSize;

/// What is asked for, in errors.
pub(in crate::mirror) const LATEST: &str = "latest";

/// Asks the URLs of a log for its newest head.
pub(super) struct Advances {
    pub(super) verifier: Arc<LogVerifier>,
    /// How long one question goes on.
    pub(super) patience: Duration,
    /// Locked for a few instructions at a time, never over an await.
    tally: Mutex<Tally>,
    flight: SingleFlight<(), Result<(), RemoteError>>,
}

/// What this process has seen of a log's attempts, after what the store remembers from before.
#[derive(Clone, Debug, Default)]
struct Tally {
    last: Attempts,
    failures: u64,
    failures_in_a_row: u32,
    /// When the newest head was asked for last, whatever came of it.
    asked_at: Option<Instant>,
}

/// How far a log is and how its last attempts ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogProgress {
    /// Records in the newest head that is stored; none when no head is known.
    pub(crate) size: Option<TreeSize>,
    /// Records in the largest tree that the log's URLs have shown.
    pub(crate) shown_size: TreeSize,
    /// When the newest head was reached last.
    pub(crate) succeeded_at: Option<Timestamp>,
    /// When that failed last.
    pub(crate) failed_at: Option<Timestamp>,
    /// Why it failed then.
    pub(crate) failure: Option<String>,
    /// Failures since this process started.
    pub(crate) failures: u64,
    /// Failures since the last success.
    pub(crate) failures_in_a_row: u32,
}

impl Tally {
    fn succeeded(&mut self, at: Timestamp) {
        self.last.succeeded_at = Some(at);
        self.failures_in_a_row = 0;
    }

    fn failed(&mut self, at: Timestamp, why: String) {
        self.last.failed_at = Some(at);
        self.last.failure = Some(why);
        self.failures += 1;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
    }
}

impl Advances {
    /// Continues after the attempts of an earlier process.
    pub(super) fn new(verifier: Arc<LogVerifier>, patience: Duration, last: Attempts) -> Advances {
        let tally = Mutex::new(Tally { last, ..Tally::default() });
        Advances { verifier, patience, tally, flight: SingleFlight::default() }
    }

    /// Continues after the attempts at other URLs, whose failures in a row say nothing about these.
    pub(super) fn with(&self, verifier: Arc<LogVerifier>) -> Advances {
        let before = self.tally().clone();
        let tally = Mutex::new(Tally { failures_in_a_row: 0, asked_at: None, ..before });
        Advances { verifier, patience: self.patience, tally, flight: SingleFlight::default() }
    }

    /// Asks for `/latest` and moves to it.
    pub(super) async fn advance(self: &Arc<Self>, deadline: Instant) -> Result<(), RemoteError> {
        self.advance_unless(|| false, deadline).await
    }

    /// Joins a question that is under way, and puts one only if there is not `enough` yet.
    pub(super) async fn advance_unless(
        self: &Arc<Self>,
        enough: impl FnOnce() -> bool,
        deadline: Instant,
    ) -> Result<(), RemoteError> {
        let advances = self.clone();
        let work = || async move {
            let result = advances.ask_latest().await;
            advances.note_attempt(&result).await;
            result.map(drop)
        };
        match self.flight.join_unless((), || enough().then_some(()), work) {
            Ok(call) => self.wait(call, LATEST, deadline).await,
            Err(()) => Ok(()),
        }
    }

    /// Waits for the answer of a call, until `deadline` at the latest. The work goes on.
    pub(super) async fn wait<T: Clone>(
        &self,
        call: Call<Result<T, RemoteError>>,
        path: &str,
        deadline: Instant,
    ) -> Result<T, RemoteError> {
        let answer = timeout_at(deadline.into(), call.answer()).await.ok().flatten();
        answer.unwrap_or_else(|| Err(self.verifier.too_late(path)))
    }

    /// Asks one URL after the other. Returns the size of the tree that was shown as the newest.
    async fn ask_latest(&self) -> Result<TreeSize, RemoteError> {
        let verifier = &self.verifier;
        let deadline = verifier.known().clock.instant() + self.patience;
        verifier.compare_replicated(LATEST, deadline).await?;
        let work = async {
            let mut inquiry = verifier.transport().latest(deadline);
            let mut lies = Vec::new();
            loop {
                let answer = verifier.ask(&mut inquiry, LATEST, &mut lies).await?;
                match self.accept_head(&answer.body, deadline).await {
                    Ok(size) => return Ok(size),
                    Err(NotVerified::Bad(why)) => verifier.refuse(answer, why, &mut lies),
                    Err(NotVerified::Fatal(error)) => return Err(error.after(lies)),
                }
            }
        };
        timeout_at(deadline.into(), work).await.unwrap_or_else(|_| Err(verifier.too_late(LATEST)))
    }

    /// Moves to a head that was shown as the newest. An older one is compared all the same: it may
    /// be of another tree.
    async fn accept_head(&self, message: &[u8], deadline: Instant) -> Result<TreeSize, NotVerified> {
        let head = self.verifier.open_head(message)?;
        let (size, shown) = (head.tree.size, self.shown_size());
        let reconciled = self.verifier.reconcile(head, LATEST, deadline).await;
        if size >= shown {
            return reconciled.map(|_| size);
        }
        let older = format!("an older head of {}, after one of {shown}", size.records());
        Err(match reconciled {
            Ok(_) => NotVerified::Bad(older),
            // A source that went back as a whole does not have the tiles of the larger tree.
            // Another may.
            Err(NotVerified::Fatal(error @ (RemoteError::Unavailable { .. } | RemoteError::Unproven(_)))) => {
                NotVerified::Bad(format!("{older}, and they cannot be compared: {error}"))
            }
            Err(refused) => refused,
        })
    }

    /// Says whether the newest head was asked for less than `pause` ago.
    pub(super) fn asked_within(&self, pause: Duration) -> bool {
        let (asked_at, now) = (self.tally().asked_at, self.verifier.known().clock.instant());
        asked_at.is_some_and(|asked| now.saturating_duration_since(asked) < pause)
    }

    /// Returns the size of the largest tree that a URL has shown as the newest. Caches may lag
    /// behind the heads that look-ups bring, but an answer to `/latest` that is older than an
    /// earlier one went back.
    fn shown_size(&self) -> TreeSize {
        self.tally().last.shown_size
    }

    pub(super) fn progress(&self) -> LogProgress {
        let Tally { last, failures, failures_in_a_row, .. } = self.tally().clone();
        let size = self.verifier.known().newest().map(|head| head.tree.size);
        LogProgress {
            size,
            shown_size: last.shown_size.max(size.unwrap_or_default()),
            succeeded_at: last.succeeded_at,
            failed_at: last.failed_at,
            failure: last.failure,
            failures,
            failures_in_a_row,
        }
    }

    async fn note_attempt(&self, result: &Result<TreeSize, RemoteError>) {
        let (known, now) = (self.verifier.known(), self.verifier.known().clock.now());
        self.note(|tally| {
            tally.asked_at = Some(known.clock.instant());
            match result {
                Ok(shown) => {
                    tally.last.shown_size = tally.last.shown_size.max(*shown);
                    // Where every record is wanted the head alone is no success.
                    if !known.is_full() {
                        tally.succeeded(now);
                    }
                }
                Err(error) => tally.failed(now, error.to_string()),
            }
        })
        .await;
    }

    /// Remembers that everything under the newest head is here.
    pub(super) async fn note_success(&self) {
        self.note(|tally| tally.succeeded(self.verifier.known().clock.now())).await;
    }

    /// Remembers that the newest head was reached and the records under it were not.
    pub(super) async fn note_failure(&self, why: &str) {
        self.note(|tally| tally.failed(self.verifier.known().clock.now(), why.to_owned())).await;
    }

    /// Changes the tally, here and for the next process.
    async fn note(&self, change: impl FnOnce(&mut Tally)) {
        let attempts = {
            let mut tally = self.tally();
            change(&mut tally);
            tally.last.clone()
        };
        let known = self.verifier.known();
        if let Err(error) = known.store.note_attempts(attempts).await {
            // Nothing depends on it, and a store that fails shows at the next look-up.
            tracing::debug!(log = %known.name, %error, "the outcome of an attempt was not kept");
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
