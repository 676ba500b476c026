//! The notary: may this module enter, where does its line come from, what evidence is kept. Look-up
//! misses end here.
//!
//! ```text
//! lookup ─ log has it? ─ route ─ flight under way? ─ failed lately? ─ log writes? ─ allowance ─┐   lookup (below), admission
//!                                                                                             │
//!          ┌───────────────────────── a flight: one task per module version ──────────────────┘   flight, admission, limits
//!          │ place → compute: fetch .mod, .zip, .info; hash; compare                               compute
//!          │         or ask the remote log for a proof                                             lines
//!          │       → what the go.mod requires, ahead                                               ahead
//!          │       → gather with others → append                                                   gather
//!          └ answer to all who wait                                                                error, negative
//!
//! reload ─ replaces routes and limits between two appends; flights of changed routes start again    routing
//! ```
//!
//! Architecture invariant: the first route that matches a path decides, and nothing that has to do
//! with a module is ever asked of another route's source. The notary never writes to the log but by
//! [`Log::append`], which alone decides what is new. A reload replaces the routes while flights are
//! under way; no result of a route that it changed is appended after it (see `routing`).

mod admission;
mod ahead;
mod compute;
mod counters;
mod direct;
mod error;
mod flight;
mod gather;
mod group;
mod limits;
mod lines;
mod misses;
mod negative;
mod remote;
mod route;
mod routing;
mod sink;
mod unfetchable;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use crate::clock::Clock;
use crate::dirhash::hash_go_mod;
use crate::log::{AppendError, AppendOutcome, Candidate, Log, ReadOnly, Snapshot, State, evidence_of};
use crate::module::ModuleVersion;
use crate::route::{Checksum, Choice, RouteError};
use crate::share::turns::Want;
use crate::share::{Claimant, Shed, Waiters};
use crate::store::{Evidence, StoreError, StoredRecord};
use compute::{Computing, Found};
pub use counters::{Counter, Counters};
pub use error::{ConflictReport, Delay, NotaryError, Remedy};
use flight::{Completion, Flight, FlightAnswer, FlightEnd, ModuleFlights, TooMany};
use gather::{Appended, Gatherer};
use group::AheadPending;
use limits::DEFAULT_RETRY_AFTER;
pub use limits::{AheadLimits, MAX_NEGATIVE_CACHE, NotaryLimits};
pub use lines::{ProveError, ProvenLines, Proving, RemoteLines};
use misses::OpenMisses;
use negative::Negative;
pub use route::NotaryRoute;
pub use routing::Rerouting;
use routing::{Course, Routing, Routings};
use sink::DropModules;
pub use sink::{HashedModule, ModuleSink};
pub use unfetchable::Unfetchable;

/// When there are too many misses at once, and when the server restarts.
const CROWDED_RETRY_AFTER: Duration = Duration::from_secs(2);
/// When a look-up took too long and goes on.
const LATE_RETRY_AFTER: Duration = Duration::from_secs(10);
/// How much longer than the proof itself the go.mod may take that only serves to go ahead.
const GO_MOD_PATIENCE: Duration = Duration::from_millis(300);
/// Candidates that are ready do not wait for a flight that has taken this long.
const SLOW: Duration = Duration::from_secs(1);

/// What a notary works with.
pub struct NotaryOptions {
    /// Where records go.
    pub log: Log,
    /// Where modules come from; the first that matches counts.
    pub routes: Vec<NotaryRoute>,
    /// What misses may cost.
    pub limits: NotaryLimits,
    /// What time it is.
    pub clock: Clock,
}

/// A record that is in the log, and a view of the log that contains it.
#[derive(Clone)]
pub struct Notarized {
    /// The record.
    pub record: StoredRecord,
    /// The view: its head is signed, durable and published.
    pub snapshot: Snapshot,
}

/// Brings module versions into the log. Clones share everything.
#[derive(Clone)]
pub struct Notary(Arc<Inner>);

struct Inner {
    log: Log,
    routings: Arc<Routings>,
    clock: Clock,
    sink: Arc<dyn ModuleSink>,
    waiters: Arc<Waiters>,
    flights: ModuleFlights,
    /// How many of them were started ahead of any client.
    ahead_flights: AtomicUsize,
    negative: Negative,
    misses: Arc<OpenMisses>,
    gatherer: Gatherer,
    counters: Arc<Counters>,
    stopping: AtomicBool,
}

impl Notary {
    /// A notary that keeps no files of modules; starts a task on the current runtime.
    pub fn new(options: NotaryOptions) -> Result<Notary, RouteError> {
        Notary::with_sink(options, Arc::new(DropModules))
    }

    /// A notary that hands the files whose hashes it computed to `sink`.
    pub fn with_sink(options: NotaryOptions, sink: Arc<dyn ModuleSink>) -> Result<Notary, RouteError> {
        let NotaryOptions { log, routes, limits, clock } = options;
        let (misses, counters) = (Arc::new(OpenMisses::default()), Arc::new(Counters::default()));
        let (gather, max_flights) = (limits.gather, limits.max_flights);
        let routings = Arc::new(Routings::new(routes, limits, &clock)?);
        let (of_misses, of_counters, of_routings) = (misses.clone(), counters.clone(), routings.clone());
        let gatherer =
            Gatherer::start(log.clone(), clock.clone(), gather, of_misses, of_counters, of_routings);
        Ok(Notary(Arc::new(Inner {
            log,
            routings,
            waiters: Arc::new(Waiters::new(max_flights)),
            flights: ModuleFlights::default(),
            ahead_flights: AtomicUsize::new(0),
            negative: Negative::new(),
            stopping: AtomicBool::new(false),
            clock,
            sink,
            misses,
            gatherer,
            counters,
        })))
    }

    /// The record of a module version: the one that the log has, or a new one if it may enter.
    /// Waits at most [`NotaryLimits::deadline`]; the work goes on when the caller goes away.
    pub async fn lookup(&self, module: ModuleVersion, client: Claimant) -> Result<Notarized, NotaryError> {
        let inner = &self.0;
        if let Some(found) = inner.find(&module)? {
            return Ok(found);
        }
        let (started, waited) = (inner.clock.instant(), inner.routings.current().limits.deadline);
        let crowded = || {
            inner.counters.limited.add(1);
            try_later(&module, Delay::Waiting, CROWDED_RETRY_AFTER)
        };
        // Joining a flight is admission too: whoever waits needs a place to wait in.
        let waiter = inner.waiters.enter(client).ok_or_else(crowded)?;
        let mut is_counted = false;
        loop {
            let (flight, _want) = inner.board(&module, client, is_counted).await?;
            let answer = timeout_at((started + waited).into(), flight.answer());
            let answer = tokio::select! {
                biased;
                answer = answer => answer,
                () = waiter.evicted() => return Err(crowded()),
            };
            match answer {
                Ok(Ok(notarized)) => return Ok(notarized),
                Ok(Err(FlightEnd::Failed(error))) => return Err(error),
                Ok(Err(FlightEnd::Rerouted)) => is_counted = true,
                Err(_) => {
                    inner.counters.late.add(1);
                    let why = Delay::StillWorking { place: flight.course.place(), waited };
                    return Err(try_later(&flight.module, why, LATE_RETRY_AFTER));
                }
            }
            // It may have entered the log before its route was changed.
            if let Some(found) = inner.find(&module)? {
                return Ok(found);
            }
        }
    }

    /// Replaces routes and limits. Look-ups under way on a route that is changed start again on
    /// the new one; when this returns, no result of the old one can enter the log any more. Waits
    /// for the append under way, so for no longer than one commit takes.
    pub async fn reroute(&self, rerouting: Rerouting) {
        self.0.routings.replace(rerouting, &self.0.clock).await;
    }

    /// The look-ups that wait. Whoever else lets clients wait shares the bound.
    pub fn waiters(&self) -> Arc<Waiters> {
        self.0.waiters.clone()
    }

    /// What it has counted.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    /// Misses that are worked on or wait for it, and those of them that a client waits for.
    pub fn in_flight(&self) -> (usize, usize) {
        (self.0.flights.len(), self.0.misses.open())
    }

    /// Starts nothing more, and waits for what is under way, at most `patience`. Returns whether
    /// all is done.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.0.stopping.store(true, Ordering::Release);
        self.0.misses.hurry();
        timeout(patience, self.0.flights.all_completed()).await.is_ok()
    }
}

impl Inner {
    fn find(&self, module: &ModuleVersion) -> Result<Option<Notarized>, NotaryError> {
        let snapshot = self.log.snapshot();
        let found = snapshot.find(module).map_err(|error| damaged(module, &error))?;
        Ok(found.map(|record| Notarized { record, snapshot }))
    }

    /// Joins the flight of a miss, or starts it. For as long as the returned want lives, the flight
    /// counts for this client.
    async fn board(
        self: &Arc<Self>,
        module: &ModuleVersion,
        client: Claimant,
        is_counted: bool,
    ) -> Result<(Arc<Flight>, Want<ModuleVersion, Claimant>), NotaryError> {
        let (now, routing) = (self.clock.instant(), self.routings.current());
        let want = routing.admission.want(module, client);
        let flight = match self.flights.join(module, now) {
            Some(flight) => {
                self.counters.joined.add(1);
                flight
            }
            None => self.dispatch(module.clone(), client, &routing, is_counted, now).await?,
        };
        if Arc::ptr_eq(&flight.course.routing, &routing) {
            return Ok((flight, want));
        }
        // It was started before the last reload, whose routing has other places.
        let want = flight.course.routing.admission.want(module, client);
        Ok((flight, want))
    }

    /// Starts the flight of a miss, if it may have one.
    async fn dispatch(
        self: &Arc<Self>,
        module: ModuleVersion,
        client: Claimant,
        routing: &Arc<Routing>,
        is_counted: bool,
        now: Instant,
    ) -> Result<Arc<Flight>, NotaryError> {
        let course = match routing.choose(&module) {
            Choice::Route(index) => Course { routing: routing.clone(), index },
            Choice::NoRoute => {
                self.counters.not_found.add(1);
                return Err(NotaryError::NoRoute { module });
            }
            Choice::Withheld(why) => {
                self.counters.refused.add(1);
                return Err(NotaryError::Withheld { module, why });
            }
        };
        if let Some(error) = self.negative.recall(&module, course.token(), now) {
            self.counters.negative_hits.add(1);
            return Err(error);
        }
        if self.stopping.load(Ordering::Acquire) {
            return Err(try_later(&module, Delay::Stopping, CROWDED_RETRY_AFTER));
        }
        if let Some(reason) = self.read_only().await {
            self.counters.read_only.add(1);
            return Err(NotaryError::ReadOnly { module, reason: Box::new(reason) });
        }
        if !is_counted && let Err(exhausted) = routing.admission.admit(client) {
            self.counters.limited.add(1);
            let retry_after = exhausted.retry_after.max(Duration::from_secs(1));
            return Err(try_later(&module, Delay::Limited(exhausted.allowance), retry_after));
        }
        let flight = Flight::new(module.clone(), course, client, None, now, self.misses.clone());
        match self.flights.start(flight, self.max_flights(), || routing.admission.shed()) {
            Ok((flight, true)) => {
                let (inner, started) = (self.clone(), flight.clone());
                tokio::spawn(async move { inner.run(started, None).await });
                Ok(flight)
            }
            Ok((other, false)) => Ok(other),
            Err(TooMany) => {
                self.counters.limited.add(1);
                Err(try_later(&module, Delay::Crowded, CROWDED_RETRY_AFTER))
            }
        }
    }

    /// Those of clients and those that are ahead have room beside each other.
    fn max_flights(&self) -> usize {
        let limits = &self.routings.current().limits;
        limits.max_flights.saturating_add(limits.ahead.max_flights)
    }

    /// Why the log takes nothing. A full disk is looked at again: there may be space now.
    async fn read_only(&self) -> Option<ReadOnly> {
        match &*self.log.state() {
            // The append waits for the witnesses' answers, which takes no longer than a look-up
            // may.
            State::Writing | State::ReadOnly(ReadOnly::Unasked { .. }) => None,
            State::ReadOnly(ReadOnly::DiskFull { .. }) => match self.log.append(Vec::new()).await {
                Ok(_) => None,
                Err(AppendError::ReadOnly(reason)) => Some(reason),
            },
            State::ReadOnly(reason) => Some(reason.clone()),
        }
    }

    /// Runs a flight until it is completed. `pending_guard` is dropped when others need not wait
    /// for it any more.
    async fn run(self: Arc<Self>, flight: Arc<Flight>, pending_guard: Option<AheadPending>) {
        let completion = Completion::new(&self.flights, &flight);
        let deadline = flight.started + flight.course.routing.limits.flight_deadline;
        let notarizing = timeout_at(deadline.into(), self.notarize(&flight, deadline, pending_guard));
        let answer = tokio::select! {
            biased;
            () = self.routings.superseded(&flight.course, &flight.module) => Err(FlightEnd::Rerouted),
            answer = notarizing => answer.unwrap_or_else(|_| {
                let place = flight.course.place();
                let why = Delay::Source { place, why: "it takes too long".into() };
                Err(try_later(&flight.module, why, DEFAULT_RETRY_AFTER).into())
            }),
        };
        let answer = answer.map_err(|end| match end {
            FlightEnd::Failed(error) => self.remember(error, &flight.course).into(),
            FlightEnd::Rerouted => FlightEnd::Rerouted,
        });
        self.count(&flight, &answer);
        completion.with(answer);
    }

    async fn notarize(
        self: &Arc<Self>,
        flight: &Arc<Flight>,
        deadline: Instant,
        pending_guard: Option<AheadPending>,
    ) -> FlightAnswer {
        // The flight before this one may have completed between the look into the log and the start
        // of this one.
        if let Some(found) = self.find(&flight.module)? {
            return Ok(found);
        }
        let admission = &flight.course.routing.admission;
        let fetching = admission.in_place(&**flight, |client| self.fetch(flight, client, deadline));
        tokio::pin!(fetching);
        let found = match timeout(SLOW, &mut fetching).await {
            Ok(found) => found,
            Err(_) => {
                flight.fetched();
                fetching.await
            }
        };
        let found =
            found.map_err(|Shed| try_later(&flight.module, Delay::Crowded, CROWDED_RETRY_AFTER))??;
        let lines = found.lines.clone();
        let candidate = Candidate::new(found.lines, Arc::new(found.evidence));
        flight.fetched();
        if let Some(go_mod) = found.go_mod
            && self.goes_ahead(flight)
        {
            self.go_ahead(flight, go_mod).await;
        }
        let gone = || NotaryError::internal(&flight.module, "the gatherer has ended");
        let pending = self.gatherer.submit(candidate, flight.clone()).await.ok_or_else(gone)?;
        drop(pending_guard);
        let (outcome, snapshot) = match pending.appended().await.ok_or_else(gone)? {
            Appended::Decided(outcome, snapshot) => (outcome, snapshot),
            Appended::Refused(AppendError::ReadOnly(reason)) => {
                let (module, reason) = (flight.module.clone(), Box::new(reason));
                return Err(NotaryError::ReadOnly { module, reason }.into());
            }
            Appended::Rerouted => return Err(FlightEnd::Rerouted),
        };
        match outcome {
            AppendOutcome::Appended(id) | AppendOutcome::Present(id) => {
                let counter = match (&outcome, &flight.ahead) {
                    (AppendOutcome::Present(_), _) => &self.counters.present,
                    (_, Some(_)) => &self.counters.ahead_appended,
                    (_, None) => &self.counters.appended,
                };
                counter.add(1);
                Ok(Notarized { record: StoredRecord { id, lines }, snapshot })
            }
            AppendOutcome::Conflict(conflict) => {
                let kept = evidence_of(&snapshot, conflict.standing.id);
                let kept = kept.map_err(|error| damaged(&flight.module, &error))?;
                let report = ConflictReport::new(*conflict, kept.appended_at, kept.evidence);
                Err(NotaryError::Conflict(Box::new(report)).into())
            }
        }
    }

    /// The lines and their evidence, by the flight's route, for the client that waits.
    async fn fetch(
        &self,
        flight: &Flight,
        client: Option<Claimant>,
        deadline: Instant,
    ) -> Result<Found, NotaryError> {
        let (route, routing) = (flight.course.route(), &flight.course.routing);
        let (module, place) = (&flight.module, flight.course.place());
        match (&route.checksum, &route.source) {
            (Checksum::Compute, Some(source)) => {
                let (limits, admission) = (&routing.limits.zip, &routing.admission);
                let (clock, sink) = (&self.clock, &*self.sink);
                let computing = Computing { source, place, limits, admission, clock, sink, client };
                computing.lines(module, deadline).await
            }
            (Checksum::Compute, None) => Err(NotaryError::internal(module, "its route has no source")),
            (Checksum::Sumdb(remote), source) => {
                let mut go_mod = JoinSet::new();
                if let Some(source) = source.clone().filter(|_| self.goes_ahead(flight)) {
                    let (module, deadline) = (module.clone(), deadline);
                    go_mod.spawn(async move { source.fetch_mod(&module, deadline).await });
                }
                let proven = remote.prove(module, client, deadline).await;
                let proven = proven.map_err(|error| unproven(module, place, remote.name(), error))?;
                let go_mod = match timeout(GO_MOD_PATIENCE, go_mod.join_next()).await {
                    Ok(Some(Ok(Ok(fetched)))) => Some(fetched.content),
                    _ => None,
                };
                // Only the go.mod that the remote log vouches for says what a build needs.
                let go_mod = go_mod.filter(|go_mod: &Bytes| hash_go_mod(go_mod) == proven.lines.go_mod);
                Ok(Found { evidence: evidence(remote.name(), &proven), lines: proven.lines, go_mod })
            }
        }
    }

    fn remember(&self, mut error: NotaryError, course: &Course) -> NotaryError {
        let keep = course.routing.limits.negative_cache;
        if let NotaryError::NotFound { max_age, .. } = &mut error {
            *max_age = keep.min(MAX_NEGATIVE_CACHE);
        }
        self.negative.remember(&error, course.token(), keep, self.clock.instant());
        error
    }

    /// Counts how a flight ended, and logs it: here and nowhere else.
    fn count(&self, flight: &Flight, answer: &FlightAnswer) {
        let duration_ms = self.clock.instant().saturating_duration_since(flight.started).as_millis() as u64;
        let (counters, module) = (&self.counters, &flight.module);
        let error = match answer {
            Ok(notarized) => {
                tracing::info!(%module, record.id = notarized.record.id.0, duration_ms, "notarised");
                return;
            }
            Err(FlightEnd::Failed(error)) => error,
            Err(FlightEnd::Rerouted) => {
                counters.rerouted.add(1);
                tracing::info!(%module, duration_ms, "dropped: a reload has changed its route");
                return;
            }
        };
        if !flight.is_wanted() {
            counters.ahead_failed.add(1);
            if needs_a_person(error) {
                tracing::error!(%error, duration_ms, "not notarized ahead: a person should look who sends this");
            } else {
                // Nobody asked, and whoever does is told.
                tracing::debug!(%error, duration_ms, "not notarized ahead");
            }
            return;
        }
        let counter = match error {
            NotaryError::NoRoute { .. } | NotaryError::NotFound { .. } => &counters.not_found,
            NotaryError::Unfetchable { why, .. } if why.stops_all() => &counters.internal,
            NotaryError::Forbidden { .. } | NotaryError::Unfetchable { .. } => &counters.forbidden,
            NotaryError::TryLater { why: Delay::Unproven { .. }, .. } => &counters.unproven,
            NotaryError::TryLater { .. } => &counters.unavailable,
            NotaryError::Conflict(_) => &counters.conflict,
            NotaryError::Misbehavior { .. } => &counters.misbehavior,
            NotaryError::ReadOnly { .. } => &counters.read_only,
            NotaryError::Refused { .. } | NotaryError::Withheld { .. } => &counters.refused,
            NotaryError::Internal { .. } => &counters.internal,
        };
        counter.add(1);
        match error {
            NotaryError::NoRoute { .. } | NotaryError::NotFound { .. } => {
                tracing::debug!(%error, duration_ms, "not notarised");
            }
            NotaryError::TryLater { why: Delay::Unproven { .. }, .. } => {
                tracing::error!(%error, duration_ms, "not notarised: a person should look who sends this");
            }
            NotaryError::Forbidden { .. } | NotaryError::TryLater { .. } | NotaryError::Refused { .. } => {
                tracing::warn!(%error, duration_ms, "not notarised");
            }
            NotaryError::Unfetchable { why, .. } if !why.stops_all() => {
                tracing::warn!(%error, duration_ms, "not notarised");
            }
            _ => tracing::error!(%error, duration_ms, "not notarised"),
        }
    }
}

/// Whether the error tells of something wrong with a source or with this log, whoever asked: it does
/// not verify, it contradicts the log, or it failed by our own fault.
fn needs_a_person(error: &NotaryError) -> bool {
    match error {
        NotaryError::TryLater { why, .. } => matches!(why, Delay::Unproven { .. }),
        NotaryError::Conflict(_) | NotaryError::Misbehavior { .. } | NotaryError::Internal { .. } => true,
        NotaryError::Unfetchable { why, .. } => why.stops_all(),
        NotaryError::NoRoute { .. }
        | NotaryError::NotFound { .. }
        | NotaryError::Forbidden { .. }
        | NotaryError::ReadOnly { .. }
        | NotaryError::Refused { .. }
        | NotaryError::Withheld { .. } => false,
    }
}

fn try_later(module: &ModuleVersion, why: Delay, retry_after: Duration) -> NotaryError {
    NotaryError::TryLater { module: module.clone(), why, retry_after }
}

fn damaged(module: &ModuleVersion, error: &StoreError) -> NotaryError {
    NotaryError::internal(module, error)
}

fn evidence(log: &str, proven: &ProvenLines) -> Evidence {
    Evidence::Sumdb {
        log: log.to_owned(),
        record: proven.record.0,
        head_size: proven.head.size.0,
        head_root: proven.head.root.to_string(),
    }
}

fn unproven(module: &ModuleVersion, place: Arc<str>, log: &str, error: ProveError) -> NotaryError {
    let module = module.clone();
    match error {
        ProveError::NotFound { said } => {
            NotaryError::NotFound { module, place, said, max_age: Duration::ZERO }
        }
        ProveError::Forbidden { said } => NotaryError::Forbidden { module, place, said },
        ProveError::Unavailable { why, retry_after } => {
            let retry_after = retry_after.unwrap_or(DEFAULT_RETRY_AFTER);
            NotaryError::TryLater { module, why: Delay::Source { place, why: why.into() }, retry_after }
        }
        ProveError::Unproven { why } => {
            try_later(&module, Delay::Unproven { place, why: why.into() }, DEFAULT_RETRY_AFTER)
        }
        ProveError::Misbehavior { summary } => {
            NotaryError::Misbehavior { module, log: log.into(), summary: summary.into() }
        }
        ProveError::Local { why } => NotaryError::internal(&module, why),
    }
}
