//! One flight per module version: the work for a miss, which all who ask for the module wait for.
//!
//! A flight is a task of its own. Who asked first may go away, the flight goes on: others may wait
//! for it, and who comes back finds its result in the log. A flight that was started ahead of any
//! client is *wanted* from the moment that one asks.
//!
//! A flight whose route a reload changes ends with [`FlightEnd::Rerouted`]. Who waits for it asks
//! again, and joins or starts a flight on the new route.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use super::admission::QueuedMiss;
use super::group::Ahead;
use super::misses::OpenMisses;
use super::routing::Course;
use super::{Notarized, NotaryError};
use crate::module::ModuleVersion;
use crate::share::Claimant;

/// What a flight brings home.
pub(super) type FlightAnswer = Result<Notarized, FlightEnd>;

/// Why a flight brings nothing home.
#[derive(Clone)]
pub(super) enum FlightEnd {
    /// It failed.
    Failed(NotaryError),
    /// A reload changed its route: whoever waits starts again.
    Rerouted,
}

impl From<NotaryError> for FlightEnd {
    fn from(error: NotaryError) -> FlightEnd {
        FlightEnd::Failed(error)
    }
}

/// The work for one module version.
pub(super) struct Flight {
    pub(super) module: ModuleVersion,
    /// The route that it follows.
    pub(super) course: Course,
    pub(super) started: Instant,
    /// Who started it; what is notarised ahead on its account is counted for this client.
    pub(super) client: Claimant,
    /// Set where no client asked for it at first.
    pub(super) ahead: Option<Ahead>,
    wanted: AtomicBool,
    wanted_now: Notify,
    /// Whether it is still on its way to the gatherer. Guards the changes of `wanted`, so that the
    /// misses is counted right.
    fetching: Mutex<bool>,
    misses: Arc<OpenMisses>,
    answer: watch::Sender<Option<FlightAnswer>>,
}

impl Flight {
    /// A flight that somebody waits for, unless it is ahead.
    pub(super) fn new(
        module: ModuleVersion,
        course: Course,
        client: Claimant,
        ahead: Option<Ahead>,
        started: Instant,
        misses: Arc<OpenMisses>,
    ) -> Flight {
        let wanted = ahead.is_none();
        if wanted {
            misses.opened(true, started);
        }
        Flight {
            module,
            course,
            started,
            client,
            ahead,
            wanted: AtomicBool::new(wanted),
            wanted_now: Notify::new(),
            fetching: Mutex::new(true),
            misses,
            answer: watch::Sender::new(None),
        }
    }

    /// Whether a client waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Says that a client waits for it.
    pub(super) fn want(&self, now: Instant) {
        let fetching = self.fetching();
        if !self.wanted.swap(true, Ordering::AcqRel) {
            self.misses.opened(*fetching, now);
            self.wanted_now.notify_one();
        }
    }

    /// Says that its candidate is ready, or that there will be none. Others no longer wait for it.
    pub(super) fn fetched(&self) {
        let mut fetching = self.fetching();
        if std::mem::replace(&mut *fetching, false) && self.is_wanted() {
            self.misses.fetched();
        }
    }

    /// Waits for the answer.
    pub(super) async fn answer(&self) -> FlightAnswer {
        let mut answer = self.answer.subscribe();
        let answer = answer.wait_for(Option::is_some).await.expect("the flight holds the sender itself");
        answer.clone().expect("it was waited for")
    }

    fn complete(&self, answer: FlightAnswer) {
        self.fetched();
        // Under the lock, so that nobody begins to want it between the count and the answer.
        let _fetching = self.fetching();
        if self.is_wanted() {
            self.misses.closed();
        }
        self.answer.send_replace(Some(answer));
    }

    fn fetching(&self) -> MutexGuard<'_, bool> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueuedMiss for Flight {
    fn module(&self) -> &ModuleVersion {
        &self.module
    }

    fn client(&self) -> Claimant {
        self.client
    }

    fn route(&self) -> usize {
        self.course.index
    }

    fn is_wanted(&self) -> bool {
        Flight::is_wanted(self)
    }

    async fn until_wanted(&self) {
        while !self.is_wanted() {
            self.wanted_now.notified().await;
        }
    }
}

/// All flights, by module version.
#[derive(Default)]
pub(super) struct ModuleFlights {
    by_module: Mutex<HashMap<ModuleVersion, Arc<Flight>>>,
    completed: Notify,
}

/// Why a flight was not started.
pub(super) struct TooMany;

impl ModuleFlights {
    /// The flight of a module version, which is wanted from now on.
    pub(super) fn join(&self, module: &ModuleVersion, now: Instant) -> Option<Arc<Flight>> {
        let flights = self.flights();
        let flight = flights.get(module)?;
        flight.want(now);
        Some(flight.clone())
    }

    /// Starts a flight, unless there is one for that module already (then that one is returned, and
    /// wanted if this one is) or there are `max` of them and `shed` could not end one.
    pub(super) fn start(
        &self,
        flight: Flight,
        max: usize,
        shed: impl FnOnce() -> bool,
    ) -> Result<(Arc<Flight>, bool), TooMany> {
        let mut flights = self.flights();
        if let Some(other) = flights.get(&flight.module) {
            let other = other.clone();
            if flight.is_wanted() {
                other.want(flight.started);
                flight.fetched();
                flight.misses.closed();
            }
            return Ok((other, false));
        }
        if flights.len() >= max && !shed() {
            if flight.is_wanted() {
                flight.fetched();
                flight.misses.closed();
            }
            return Err(TooMany);
        }
        let flight = Arc::new(flight);
        flights.insert(flight.module.clone(), flight.clone());
        Ok((flight, true))
    }

    /// Whether a module version is on its way.
    pub(super) fn contains(&self, module: &ModuleVersion) -> bool {
        self.flights().contains_key(module)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.flights().len()
    }

    /// Waits until all have completed.
    pub(super) async fn all_completed(&self) {
        loop {
            let completed = self.completed.notified();
            tokio::pin!(completed);
            completed.as_mut().enable();
            if self.len() == 0 {
                return;
            }
            completed.await;
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<ModuleVersion, Arc<Flight>>> {
        self.by_module.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers those who wait, whatever becomes of the task: a panic must not leave them hanging, nor
/// block the module for ever.
pub(super) struct Completion<'a> {
    flights: &'a ModuleFlights,
    flight: &'a Flight,
    answer: Option<FlightAnswer>,
}

impl<'a> Completion<'a> {
    pub(super) fn new(flights: &'a ModuleFlights, flight: &'a Flight) -> Completion<'a> {
        Completion { flights, flight, answer: None }
    }

    pub(super) fn with(mut self, answer: FlightAnswer) {
        self.answer = Some(answer);
    }
}

impl Drop for Completion<'_> {
    fn drop(&mut self) {
        let died = || NotaryError::internal(&self.flight.module, "the task of this look-up ended early");
        let answer = self.answer.take().unwrap_or_else(|| Err(died().into()));
        // Out of the map first: who comes now looks into the log, where the record is, or starts
        // again.
        self.flights.flights().remove(&self.flight.module);
        self.flight.complete(answer);
        self.flights.completed.notify_waiters();
    }
}
