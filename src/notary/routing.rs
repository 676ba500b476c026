//! The routes and limits in force, and their replacement while look-ups are under way.
//!
//! A [`Routing`] never changes: a reload of the configuration replaces the whole of it. Each route
//! carries a fencing token. A route that a reload leaves as it was keeps its token; every other
//! route of the new routing gets a token that none had before. A flight remembers the token of the
//! route that it follows, so that its result can be told from one of the routes in force:
//!
//! ```text
//! reload   ── waits for the append under way ── replaces the routing ── returns
//! flight   ── is dropped as soon as its token is not in force; its look-ups start again
//! gatherer ── holds back reloads ── leaves out candidates without a token in force ── appends
//! ```
//!
//! Architecture invariant: the gatherer asks [`AppendPermit::allows`] about every candidate, and no
//! routing is replaced between that question and the end of the append. So once a reload has
//! returned, no result of a route that it changed can enter the log.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard, watch};

use super::admission::MissAdmission;
use super::limits::NotaryLimits;
use super::route::{self, NotaryRoute};
use crate::clock::Clock;
use crate::module::ModuleVersion;
use crate::route::{Choice, RouteError, choose};

/// The fencing token of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RouteToken(u64);

/// Routes and limits that replace those in force.
pub struct Rerouting {
    routes: Vec<NotaryRoute>,
    keeps: Vec<Option<usize>>,
    limits: NotaryLimits,
}

impl Rerouting {
    /// Checks the new routes. `keeps` says of each which route in force it is, counted from 0: with
    /// the same sources, databases and credentials. Its patterns may differ. What is under way for
    /// such a route goes on.
    pub fn new(
        routes: Vec<NotaryRoute>,
        keeps: Vec<Option<usize>>,
        limits: NotaryLimits,
    ) -> Result<Rerouting, RouteError> {
        assert_eq!(routes.len(), keeps.len(), "each route is a new one or one in force");
        route::check_all(&routes)?;
        Ok(Rerouting { routes, keeps, limits })
    }
}

/// Routes and limits that are in force together.
pub(super) struct Routing {
    pub(super) limits: NotaryLimits,
    pub(super) admission: MissAdmission,
    routes: Vec<NotaryRoute>,
    /// Who is asked by each route, for clients.
    places: Vec<Arc<str>>,
    tokens: Vec<RouteToken>,
}

impl Routing {
    fn new(
        routes: Vec<NotaryRoute>,
        tokens: Vec<RouteToken>,
        limits: NotaryLimits,
        admission: MissAdmission,
    ) -> Routing {
        let places = routes.iter().map(route::place).collect();
        Routing { limits, admission, routes, places, tokens }
    }

    /// Chooses the route. Patterns are matched against the path as people write it, never its
    /// escaped form.
    pub(super) fn choose(&self, module: &ModuleVersion) -> Choice {
        choose(self.routes.iter(), module.path.as_str())
    }

    fn token_of(&self, module: &ModuleVersion) -> Option<RouteToken> {
        match self.choose(module) {
            Choice::Route(index) => Some(self.tokens[index]),
            Choice::NoRoute | Choice::Withheld(_) => None,
        }
    }

    /// Whether this routing still sends a module on this course.
    fn keeps(self: &Arc<Self>, course: &Course, module: &ModuleVersion) -> bool {
        Arc::ptr_eq(self, &course.routing) || self.token_of(module) == Some(course.token())
    }
}

/// A route of the routing that a flight was started under.
#[derive(Clone)]
pub(super) struct Course {
    pub(super) routing: Arc<Routing>,
    /// The route's place in the configuration, from 0.
    pub(super) index: usize,
}

impl Course {
    pub(super) fn route(&self) -> &NotaryRoute {
        &self.routing.routes[self.index]
    }

    /// Who is asked, as clients may read it.
    pub(super) fn place(&self) -> Arc<str> {
        self.routing.places[self.index].clone()
    }

    pub(super) fn token(&self) -> RouteToken {
        self.routing.tokens[self.index]
    }
}

/// The routing in force. Whoever holds one that is not in force any more finishes with it.
pub(super) struct Routings {
    current: watch::Sender<Arc<Routing>>,
    /// Held by the gatherer while it appends, and by a reload while it replaces the routing. Guards
    /// the next token.
    appending: Mutex<u64>,
}

impl Routings {
    pub(super) fn new(
        routes: Vec<NotaryRoute>,
        limits: NotaryLimits,
        clock: &Clock,
    ) -> Result<Routings, RouteError> {
        route::check_all(&routes)?;
        let next = routes.len() as u64;
        let tokens = (0..next).map(RouteToken).collect();
        let admission = MissAdmission::new(&limits, &routes, clock);
        let routing = Routing::new(routes, tokens, limits, admission);
        Ok(Routings { current: watch::Sender::new(Arc::new(routing)), appending: Mutex::new(next) })
    }

    pub(super) fn current(&self) -> Arc<Routing> {
        self.current.borrow().clone()
    }

    /// Replaces the routing when the append under way has ended.
    pub(super) async fn replace(&self, Rerouting { routes, keeps, limits }: Rerouting, clock: &Clock) {
        let mut next = self.appending.lock().await;
        let before = self.current();
        let mut token = |kept: Option<usize>| match kept {
            Some(index) => before.tokens[index],
            None => {
                *next += 1;
                RouteToken(*next)
            }
        };
        let tokens = keeps.into_iter().map(&mut token).collect();
        let admission = before.admission.succeeded_by((&before.limits, &limits), &routes, clock);
        self.current.send_replace(Arc::new(Routing::new(routes, tokens, limits, admission)));
    }

    /// Waits until a module does not take this course any more.
    pub(super) async fn superseded(&self, course: &Course, module: &ModuleVersion) {
        let mut changes = self.current.subscribe();
        while changes.borrow_and_update().keeps(course, module) {
            changes.changed().await.expect("the sender lives as long as we borrow it");
        }
    }

    /// Keeps the routing as it is until the returned permit is dropped.
    pub(super) async fn appending(&self) -> AppendPermit<'_> {
        let held = self.appending.lock().await;
        AppendPermit { routing: self.current(), _held: held }
    }
}

/// Allows the gatherer to append. As long as it lives, no routing is replaced.
pub(super) struct AppendPermit<'a> {
    routing: Arc<Routing>,
    _held: MutexGuard<'a, u64>,
}

impl AppendPermit<'_> {
    /// Whether the result of this course may enter the log.
    pub(super) fn allows(&self, course: &Course, module: &ModuleVersion) -> bool {
        self.routing.keeps(course, module)
    }
}
