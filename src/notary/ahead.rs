//! Notarising ahead: what the go.mod of a new module requires enters the log with it, before
//! anybody asks.
//!
//! A client that looks up a module asks next for everything that its go.mod requires. If each of
//! these is a miss, each costs a new head and each head fresh tiles. So the requirements are
//! fetched while the first look-up waits for them (as long as they make progress, at most
//! [`AheadLimits::wait`](super::AheadLimits::wait)), and all enter under one head.
//!
//! Anybody can write a go.mod. So only modules of the *same route* are tried, each look-up has a
//! bounded number of them, they are counted against allowances of their own, and they take places
//! that no client's look-up could have. What fails is forgotten.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::Inner;
use super::flight::Flight;
use super::group::{Ahead, AheadGroup};
use super::routing::Course;
use crate::module::{ModuleVersion, gomod};
use crate::route::Choice;
use crate::share::Claimant;

/// What is kept of the deadline for the append itself.
const MARGIN: Duration = Duration::from_secs(2);
/// A go.mod this small is read right here.
const INLINE_GO_MOD_BYTES: usize = 16 << 10;

/// One of the flights that are ahead; as long as it lives.
struct Counted(Arc<Inner>);

impl Counted {
    fn new(inner: Arc<Inner>) -> Counted {
        inner.ahead_flights.fetch_add(1, Ordering::AcqRel);
        Counted(inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.ahead_flights.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Inner {
    /// Whether the go.mod of this flight's module would be looked at.
    pub(super) fn goes_ahead(&self, flight: &Flight) -> bool {
        let depth = flight.ahead.as_ref().map_or(0, |ahead| ahead.depth);
        let limits = &flight.course.routing.limits.ahead;
        limits.enabled && depth < limits.depth && flight.client != Claimant::Operator
    }

    /// Starts what `go_mod` requires. Who waits for the flight waits for these too, for a while.
    pub(super) async fn go_ahead(self: &Arc<Self>, flight: &Flight, go_mod: Bytes) {
        let depth = flight.ahead.as_ref().map_or(0, |ahead| ahead.depth) + 1;
        let (limits, token) = (&flight.course.routing.limits, flight.course.token());
        let new_group = || AheadGroup::new(limits.ahead.per_lookup);
        let group = flight.ahead.as_ref().map_or_else(new_group, |ahead| ahead.group.clone());
        for module in self.unknown_requirements(&flight.course, go_mod).await {
            let failed = || self.negative.recall(&module, token, self.clock.instant()).is_some();
            if self.flights.contains(&module) || failed() {
                continue;
            }
            let room = self.ahead_flights.load(Ordering::Acquire) < limits.ahead.max_flights;
            let admission = &flight.course.routing.admission;
            if !(room && group.take_one() && admission.admit_ahead(flight.client)) {
                self.counters.ahead_limited.add(1);
                break;
            }
            let ahead = Ahead { depth, group: group.clone() };
            self.dispatch_ahead(module, flight, ahead);
        }
        if flight.is_wanted() {
            let now = self.clock.instant();
            let latest = flight.started + limits.deadline.saturating_sub(MARGIN);
            group.ready(&self.clock, latest.min(now + limits.ahead.wait)).await;
        }
    }

    fn dispatch_ahead(self: &Arc<Self>, module: ModuleVersion, parent: &Flight, ahead: Ahead) {
        let pending_guard = ahead.group.enter();
        let (client, now) = (parent.client, self.clock.instant());
        let course = parent.course.clone();
        let flight = Flight::new(module, course, client, Some(ahead), now, self.misses.clone());
        if let Ok((flight, true)) = self.flights.start(flight, self.max_flights(), || false) {
            let counted = Counted::new(self.clone());
            tokio::spawn(async move { counted.0.clone().run(flight, Some(pending_guard)).await });
        }
    }

    /// What the go.mod requires on this route and the log does not have, in the order of the
    /// go.mod.
    async fn unknown_requirements(self: &Arc<Self>, course: &Course, go_mod: Bytes) -> Vec<ModuleVersion> {
        let (inner, course) = (self.clone(), course.clone());
        let small = go_mod.len() <= INLINE_GO_MOD_BYTES;
        let read = move || {
            let snapshot = inner.log.snapshot();
            let mut modules = gomod::requirements(&go_mod);
            modules.retain(|module| {
                course.routing.choose(module) == Choice::Route(course.index)
                    && matches!(snapshot.find(module), Ok(None))
            });
            modules
        };
        if small {
            return read();
        }
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }
}
