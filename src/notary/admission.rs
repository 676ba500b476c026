//! The admission: which misses may start, and which of them are worked on now.
//!
//! Places are bounded by the server that is asked, by the route and in all, and shared among
//! clients as [`Turns`] does it:
//!
//! ```text
//! a miss that a client waits for    host (three quarters of a route) ─ server, route (three quarters of all) ─ all
//! a module that nobody asked for    places of its own
//! ```
//!
//! A miss whose client went away keeps its place until somebody else needs it. The work of a place
//! that is revoked is dropped and starts again later; every fetch can be repeated.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::limits::NotaryLimits;
use super::route::NotaryRoute;
use crate::clock::Clock;
use crate::module::ModuleVersion;
use crate::route::Checksum;
use crate::share::turns::{Bound, Line, Turn, Want};
use crate::share::{Claimant, Exhausted, Rates, Shed, Turns};
use crate::source::{ModuleSource, SourceUrl};

type Places = Turns<ModuleVersion, Claimant>;

/// A miss that is worked on in a place.
pub(super) trait QueuedMiss {
    /// Which module version it is for.
    fn module(&self) -> &ModuleVersion;
    /// Who started it.
    fn client(&self) -> Claimant;
    /// Its route, from 0.
    fn route(&self) -> usize;
    /// Whether a client waits for it.
    fn is_wanted(&self) -> bool;
    /// Returns when a client waits for it. For one waiter.
    fn until_wanted(&self) -> impl Future<Output = ()> + Send;
}

/// Rates and places, shared by all flights of one routing.
pub(super) struct MissAdmission {
    allowances: Arc<Allowances>,
    places: Places,
    routes: Vec<RouteLines>,
    ahead_places: Places,
    ahead_line: Line,
    /// Hashing and inflating keep a processor busy; more at once would only take it from look-ups
    /// that hit. By a number, since a hash goes on when its flight was stopped and starts again.
    hashing: Turns<u64, Claimant>,
    hashing_line: Line,
    hashings: Arc<AtomicU64>,
}

/// How many misses may start.
struct Allowances {
    misses: Rates,
    ahead: Rates,
}

impl Allowances {
    fn new(limits: &NotaryLimits, clock: &Clock) -> Allowances {
        let all = limits.misses_per_minute;
        let half = NonZeroU32::new(all.get() / 2).unwrap_or(NonZeroU32::MIN);
        Allowances {
            misses: Rates::new(limits.client_misses_per_minute, all, clock),
            ahead: Rates::new(limits.client_misses_per_minute, half, clock),
        }
    }
}

/// The lines of one route.
enum RouteLines {
    /// All modules come from the same servers.
    One(Line),
    /// Modules may come from version control at the host that their path names. Such a route names
    /// its hosts, so there are few.
    ByHost { bounds: Vec<Bound>, host_places: usize, lines: Mutex<HashMap<String, Line>> },
}

impl MissAdmission {
    pub(super) fn new(limits: &NotaryLimits, routes: &[NotaryRoute], clock: &Clock) -> MissAdmission {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        let (hashing, hashing_line) = Turns::with_places(processors);
        let (ahead_places, ahead_line) = Places::with_places(limits.ahead.concurrency);
        let places = Places::default();
        MissAdmission {
            allowances: Arc::new(Allowances::new(limits, clock)),
            routes: lines(&places, limits, routes),
            places,
            ahead_places,
            ahead_line,
            hashing,
            hashing_line,
            hashings: Arc::default(),
        }
    }

    /// The admission after a reload. Flights that go on keep their places in this one; processors
    /// are shared by both, and so is what clients have used of an allowance that stays the same.
    pub(super) fn succeeded_by(
        &self,
        (before, limits): (&NotaryLimits, &NotaryLimits),
        routes: &[NotaryRoute],
        clock: &Clock,
    ) -> MissAdmission {
        let rates = |limits: &NotaryLimits| (limits.client_misses_per_minute, limits.misses_per_minute);
        let mut next = MissAdmission::new(limits, routes, clock);
        if rates(before) == rates(limits) {
            next.allowances = self.allowances.clone();
        }
        MissAdmission {
            hashing: self.hashing.clone(),
            hashing_line: self.hashing_line,
            hashings: self.hashings.clone(),
            ..next
        }
    }

    /// Counts a miss.
    pub(super) fn admit(&self, client: Claimant) -> Result<(), Exhausted> {
        self.allowances.misses.admit(client)
    }

    /// Counts a module that is notarized ahead.
    pub(super) fn admit_ahead(&self, client: Claimant) -> bool {
        self.allowances.ahead.admit(client).is_ok()
    }

    /// Notes that a client waits for a module version, until the returned value is dropped.
    pub(super) fn want(&self, module: &ModuleVersion, client: Claimant) -> Want<ModuleVersion, Claimant> {
        self.places.want(module.clone(), client)
    }

    /// Ends a flight that nobody waits for and that has no answer yet. Returns whether there was
    /// one.
    pub(super) fn shed(&self) -> bool {
        self.places.shed()
    }

    /// Works in a place. A flight that no client has asked for has few; as soon as one asks, it
    /// stands with the others. `work` is told which client waits, and is dropped and called again
    /// when its place was needed for another client.
    pub(super) async fn in_place<F: Future>(
        &self,
        miss: &impl QueuedMiss,
        mut work: impl FnMut(Option<Claimant>) -> F,
    ) -> Result<F::Output, Shed> {
        let module = miss.module();
        if !miss.is_wanted() {
            let _starter = self.ahead_places.want(module.clone(), miss.client());
            while !miss.is_wanted() {
                let mut turn = self.ahead_places.turn(module.clone(), self.ahead_line);
                tokio::select! {
                    granted = turn.granted() => granted?,
                    () = miss.until_wanted() => break,
                }
                tokio::select! {
                    biased;
                    done = work(None) => return Ok(done),
                    ended = turn.ended() => ended?,
                }
            }
        }
        self.places.run(module, self.line(miss), work).await
    }

    /// Waits for a processor, which the returned value holds.
    pub(super) async fn hashing(&self, client: Option<Claimant>) -> Processor {
        let number = self.hashings.fetch_add(1, Ordering::Relaxed);
        let want = client.map(|client| self.hashing.want(number, client));
        let mut turn = self.hashing.turn(number, self.hashing_line);
        // Hashing cannot be stopped, so it takes turns but is never revoked: a hash is done in
        // seconds. Nobody sheds here.
        let _ = turn.granted().await;
        Processor { _turn: turn, _want: want }
    }

    fn line(&self, miss: &impl QueuedMiss) -> Line {
        match &self.routes[miss.route()] {
            RouteLines::One(line) => *line,
            RouteLines::ByHost { bounds, host_places, lines } => {
                let host = miss.module().path.as_str().split('/').next().unwrap_or_default();
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                *lines.entry(host.to_owned()).or_insert_with(|| {
                    let host = self.places.bound(*host_places);
                    self.places.line(&[&[host], &bounds[..]].concat())
                })
            }
        }
    }
}

/// A processor that hashes for a client.
pub(super) struct Processor {
    _turn: Turn<u64, Claimant>,
    _want: Option<Want<u64, Claimant>>,
}

fn lines(places: &Places, limits: &NotaryLimits, routes: &[NotaryRoute]) -> Vec<RouteLines> {
    let concurrency = limits.concurrency.max(1);
    let per_route = limits.route_concurrency.clamp(1, concurrency);
    let all = places.bound(concurrency);
    // One server may be the source of several routes.
    let mut servers: HashMap<String, Bound> = HashMap::new();
    let lines = |route: &NotaryRoute| {
        let server = server(route).map(|server| {
            let new = || places.bound(per_route);
            *servers.entry(server).or_insert_with(new)
        });
        let bounds: Vec<Bound> = server.into_iter().chain([places.bound(per_route), all]).collect();
        let is_direct = |route: &NotaryRoute| {
            let source = route.source.as_ref();
            matches!(route.checksum, Checksum::Compute)
                && source.is_some_and(|source| source.list().has_direct())
        };
        match is_direct(route) {
            true => RouteLines::ByHost {
                bounds,
                host_places: (per_route * 3).div_ceil(4),
                lines: Mutex::default(),
            },
            false => RouteLines::One(places.line(&bounds)),
        }
    };
    routes.iter().map(lines).collect()
}

/// The server that a route asks first: by name, or host and port.
fn server(route: &NotaryRoute) -> Option<String> {
    match (&route.checksum, &route.source) {
        (Checksum::Sumdb(remote), _) => Some(format!("checksum database {}", remote.name())),
        (Checksum::Compute, Some(source)) => match &source.list().entries().first()?.source {
            ModuleSource::Proxy(SourceUrl::Server(url)) => Some(format!("{}:{}", url.host(), url.port())),
            ModuleSource::Proxy(SourceUrl::Local(_)) | ModuleSource::Direct => None,
        },
        (Checksum::Compute, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::module::PathPatterns;
    use crate::notary::flight::Flight;
    use crate::notary::misses::OpenMisses;
    use crate::notary::routing::{Course, Routings};
    use crate::source::SourceList;
    use crate::upstream::{ClientOptions, GoProxy, HttpClient, ModuleLimits};

    fn direct(patterns: &str) -> NotaryRoute {
        let client = HttpClient::new(ClientOptions::default()).unwrap();
        let list = SourceList::parse("direct").unwrap();
        let source = GoProxy::new(
            list,
            client,
            None,
            ModuleLimits::default(),
            std::path::PathBuf::from("/nonexistent"),
        );
        let modules = PathPatterns::parse(patterns);
        NotaryRoute { modules, source: Some(source), checksum: Checksum::Compute }
    }

    fn flight(module: &str, client: u8, course: &Course, clock: &Clock) -> Flight {
        let client = Claimant::at([127, 0, 0, client].into());
        Flight::new(
            module.parse().unwrap(),
            course.clone(),
            client,
            None,
            clock.instant(),
            Arc::new(OpenMisses::default()),
        )
    }

    #[tokio::test]
    async fn a_slow_host_has_three_quarters_of_a_route_and_clients_share_them() {
        let clock = Clock::system();
        let limits = NotaryLimits { concurrency: 8, route_concurrency: 8, ..NotaryLimits::default() };
        let routings = Routings::new(vec![direct("slow.example,quick.example")], limits, &clock).unwrap();
        let course = Course { routing: routings.current(), index: 0 };
        let routing = &course.routing;
        let begun = Arc::new(AtomicUsize::new(0));
        for client in 0..20 {
            let flight = flight(&format!("slow.example/m{client}@v1.0.0"), client, &course, &clock);
            let (routing, begun) = (routing.clone(), begun.clone());
            tokio::spawn(async move {
                let admission = &routing.admission;
                let _want = admission.want(&flight.module, flight.client);
                let hang = |_| {
                    begun.fetch_add(1, Ordering::SeqCst);
                    std::future::pending::<()>()
                };
                admission.in_place(&flight, hang).await
            });
        }
        while begun.load(Ordering::SeqCst) < 6 {
            tokio::task::yield_now().await;
        }
        let quick = flight("quick.example/m@v1.0.0", 100, &course, &clock);
        let _want = routing.admission.want(&quick.module, quick.client);
        let client = routing.admission.in_place(&quick, |client| async move { client }).await.unwrap();
        assert_eq!(client, Some(quick.client));
        assert_eq!(begun.load(Ordering::SeqCst), 6, "clients that hold one place each revoke nothing");
    }
}
