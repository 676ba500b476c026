//! Gathering: candidates that are ready at about the same time enter the log in one append, under
//! one head.
//!
//! Every new head costs every client fresh tiles, so two modules under one head are cheaper than
//! two heads. A candidate waits a few milliseconds, and only while others are on their way:
//!
//! * a lone miss is appended at once; so is the last of several that arrive together
//! * misses that come in a burst (the `go` command asks for GOMAXPROCS modules at a time) are
//!   expected to go on coming so: a candidate then waits for as many as there were a moment ago;
//!   once in vain, and the expectation is gone
//! * what was notarised ahead waits for whoever needs it, or for [`AHEAD_PATIENCE`]
//!
//! While one append is under way the next batch collects by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use super::counters::Counters;
use super::flight::Flight;
use super::misses::OpenMisses;
use super::routing::Routings;
use crate::clock::Clock;
use crate::log::{AppendError, AppendOutcome, Candidate, Log, Snapshot};

/// Candidates in one append at most; far below the log's own limit, so that an append stays short.
const MAX_BATCH: usize = 1_024;
/// Candidates that may wait for the gatherer.
const QUEUE: usize = 1_024;
/// The gathering time is at most so many times the configured one: where fetching takes long
/// anyway, and where a burst is expected, since a client's answers and its next questions lie
/// further apart than two of its questions.
const PATIENCE: u32 = 5;
/// Up to so many misses at a time are taken for one client's. Where more come, most share a head
/// anyway, and those who came early would wait for strangers.
const SMALL_BURST: usize = 4;
/// How long a candidate that nobody waits for is kept back. Whoever needs it makes it go at once.
const AHEAD_PATIENCE: Duration = Duration::from_secs(3);

/// What became of a candidate.
pub(super) enum Appended {
    /// The log's decision, and a view of the log that contains it.
    Decided(AppendOutcome, Snapshot),
    /// The log takes nothing.
    Refused(AppendError),
    /// A reload changed the route that it came by, so it was not appended.
    Rerouted,
}

struct Submission {
    candidate: Candidate,
    flight: Arc<Flight>,
    reply: oneshot::Sender<Appended>,
}

/// The way to the gatherer.
pub(super) struct Gatherer {
    queue: mpsc::Sender<Submission>,
}

/// A candidate that was handed over. Its answer comes when it is in the log.
pub(super) struct Pending(oneshot::Receiver<Appended>);

impl Gatherer {
    /// Starts the gatherer's task, which ends with the last handle.
    pub(super) fn start(
        log: Log,
        clock: Clock,
        window: Duration,
        misses: Arc<OpenMisses>,
        counters: Arc<Counters>,
        routings: Arc<Routings>,
    ) -> Gatherer {
        let (queue, arrivals) = mpsc::channel(QUEUE);
        tokio::spawn(Task { log, clock, window, misses, counters, routings, arrivals }.run());
        Gatherer { queue }
    }

    /// Hands a candidate over. When this returns it will be in the next batch that is made.
    pub(super) async fn submit(&self, candidate: Candidate, flight: Arc<Flight>) -> Option<Pending> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Submission { candidate, flight, reply }).await.ok()?;
        Some(Pending(answer))
    }
}

impl Pending {
    /// Waits until it is in the log; `None` when the gatherer is gone.
    pub(super) async fn appended(self) -> Option<Appended> {
        self.0.await.ok()
    }
}

struct Task {
    log: Log,
    clock: Clock,
    window: Duration,
    misses: Arc<OpenMisses>,
    counters: Arc<Counters>,
    routings: Arc<Routings>,
    arrivals: mpsc::Receiver<Submission>,
}

impl Task {
    async fn run(mut self) {
        while let Some(first) = self.arrivals.recv().await {
            let batch = self.gather(first).await;
            self.append(batch).await;
        }
    }

    /// Collects what belongs under one head.
    async fn gather(&mut self, first: Submission) -> Vec<Submission> {
        let started = self.clock.instant();
        let mut batch = vec![first];
        let mut until = started + AHEAD_PATIENCE;
        let mut wanted_since: Option<Instant> = None;
        loop {
            while batch.len() < MAX_BATCH {
                let Ok(next) = self.arrivals.try_recv() else { break };
                batch.push(next);
            }
            let now = self.clock.instant();
            let wanted = batch.iter().filter(|submission| submission.flight.is_wanted()).count();
            let nobody_fetches = self.misses.fetching() == 0;
            let burst = self.misses.burst(now);
            if wanted > 0 {
                let since = *wanted_since.get_or_insert_with(|| {
                    until = now;
                    now
                });
                let patience = match nobody_fetches {
                    true if burst <= SMALL_BURST => self.window * PATIENCE,
                    true => self.window,
                    false => self.while_fetching(&batch, since),
                };
                // Never earlier than before: when the one that was waited for begins to fetch, it
                // is still waited for.
                until = until.max(since + patience);
            }
            let all_here = wanted > 0 && nobody_fetches && wanted >= burst;
            let hurry = self.misses.is_hurried();
            if all_here || hurry || batch.len() >= MAX_BATCH || now >= until {
                self.misses.learn(wanted, now);
                return batch;
            }
            tokio::select! {
                next = self.arrivals.recv() => match next {
                    Some(next) => batch.push(next),
                    // The notary is gone; what was handed over still enters.
                    None => return batch,
                },
                () = self.misses.changed() => {}
                () = sleep_until(until.into()) => {}
            }
        }
    }

    /// How long to wait for others that are on their way: no longer than the own way took, within
    /// bounds.
    fn while_fetching(&self, batch: &[Submission], since: Instant) -> Duration {
        let wanted = batch.iter().filter(|submission| submission.flight.is_wanted());
        let longest =
            wanted.map(|submission| since.saturating_duration_since(submission.flight.started)).max();
        longest.unwrap_or_default().clamp(self.window, self.window * PATIENCE)
    }

    async fn append(&self, batch: Vec<Submission>) {
        // Held until the append has ended. A reload waits for it, and what the reload makes stale
        // is left out of every later append.
        let permit = self.routings.appending().await;
        let is_allowed =
            |submission: &Submission| permit.allows(&submission.flight.course, &submission.flight.module);
        let (batch, stale): (Vec<_>, Vec<_>) = batch.into_iter().partition(is_allowed);
        for submission in stale {
            let _ = submission.reply.send(Appended::Rerouted);
        }
        if batch.is_empty() {
            return;
        }
        self.counters.batches.add(1);
        let (candidates, replies): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|submission| (submission.candidate, (submission.flight, submission.reply)))
            .unzip();
        // A flight that went away has lost nothing: its record is in the log.
        match self.log.append(candidates).await {
            Ok(receipt) => {
                for ((_, reply), outcome) in replies.into_iter().zip(receipt.outcomes) {
                    let _ = reply.send(Appended::Decided(outcome, receipt.snapshot.clone()));
                }
            }
            Err(error) => {
                for (_, reply) in replies {
                    let _ = reply.send(Appended::Refused(error.clone()));
                }
            }
        }
    }
}
