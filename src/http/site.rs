//! What stands behind the public door.
//!
//! One function sees every request: it measures and counts it, refuses what is too long, sends what a log
//! answers to [`sumdb`], hooks to [`super::hooks`] and the rest to a router. Look-ups, tiles and heads thereby skip the router's
//! pattern matching, and a hit is answered without waiting for anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::http::{Method, Request};
use hyper::body::Incoming;

use super::Client;
use super::answer::problem::ProblemDetails;
use super::answer::{self, Answer};
use super::hooks::{self, Hooks};
use super::listen::Site;
use super::metrics::{Endpoint, Metrics};
use super::proxies::TrustedProxies;
use super::sumdb::{self, Miss, Registry, Reply};
use crate::clock::Clock;
use crate::share::{NoPlace, Waiters};

/// The longest URL, path and query together. A module path has at most 1024 bytes and a version 240; with every letter
/// escaped as `%21x` they still fit.
pub const URL_BYTES_MAX: usize = 8 << 10;

/// Look-ups, tiles and heads that may wait for somebody else at the same time: as many as there are connections by
/// default, since one connection of HTTP/2 can have a hundred of them.
const LOOKUPS_WAITING_MAX: usize = 8_192;
/// Requests with a body that may wait at the same time, most of them for the rest of it: up to 32 MiB of bodies.
const BODIES_WAITING_MAX: usize = 512;

/// When a request that got no place, or lost it, is worth another try.
const NO_PLACE_RETRY: Duration = Duration::from_secs(5);

/// Where requests wait that are not answered at once.
pub struct WaitingRoom {
    /// Look-ups, tiles and heads that somebody else is asked for.
    pub lookups: Waiters,
    /// Requests with a body, and what they wait for.
    pub bodies: Waiters,
}

impl Default for WaitingRoom {
    fn default() -> Self {
        WaitingRoom { lookups: Waiters::new(LOOKUPS_WAITING_MAX), bodies: Waiters::new(BODIES_WAITING_MAX) }
    }
}

/// Look-ups, tiles and heads of every log in the registry, and the API.
pub struct PublicSite {
    /// The logs.
    pub registry: Registry,
    /// `/api/v1` and whatever else is not a log's: see [`super::api::router`]. Its fallback answers unknown paths.
    pub rest: Router,
    /// What makes a mirror look for something new. Its paths are those of the rest where there is none.
    pub hooks: Hooks,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: TrustedProxies,
    /// Where requests wait. A site that replaces another shares its room.
    pub waiting: Arc<WaitingRoom>,
    /// How long a look-up that must be notarised may take. Below the deadline of any load balancer in front.
    pub lookup_deadline: Duration,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// Measures them.
    pub clock: Clock,
}

/// A public site that a reload of the configuration replaces. A request is answered by the site
/// that was there when it began.
pub struct LiveSite(ArcSwap<PublicSite>);

impl LiveSite {
    /// Begins with this site.
    pub fn new(site: PublicSite) -> LiveSite {
        LiveSite(ArcSwap::from_pointee(site))
    }

    /// Replaces the site, for requests from now on.
    pub fn replace(&self, site: PublicSite) {
        self.0.store(Arc::new(site));
    }
}

impl Site for LiveSite {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        self.0.load_full().answer(request, peer).await
    }
}

impl Site for PublicSite {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let started = self.clock.instant();
        let _in_flight = self.metrics.in_flight();
        let is_head = request.method() == Method::HEAD;
        let (endpoint, answer) = self.route(request, peer).await;
        let duration = self.clock.instant().saturating_duration_since(started);
        self.metrics.count(endpoint, answer.status(), duration);
        if is_head { answer::without_body(answer) } else { answer }
    }
}

impl PublicSite {
    /// Who asks: the peer, or whom a trusted proxy names.
    fn client(&self, request: &Request<Incoming>, peer: SocketAddr) -> Client {
        Client { address: self.proxies.client(peer.ip(), request.headers()) }
    }

    async fn route(&self, mut request: Request<Incoming>, peer: SocketAddr) -> (Endpoint, Answer) {
        let uri = request.uri();
        if uri.path_and_query().is_some_and(|text| text.as_str().len() > URL_BYTES_MAX) {
            return (Endpoint::Other, answer::url_too_long(URL_BYTES_MAX));
        }
        if uri.path().starts_with("/api/") {
            let client = self.client(&request, peer);
            request.extensions_mut().insert(client);
            if request.method() != Method::POST {
                return (Endpoint::Api, self.rest.answer(request, peer).await);
            }
            let answered = self.waiting.bodies.hold(client.claimant(), self.rest.answer(request, peer)).await;
            return (Endpoint::Api, answered.unwrap_or_else(no_place_in_api));
        }
        let Ok(path) = sumdb::percent_decode(uri.path()) else {
            let seems = self.registry.route(uri.path());
            return match seems {
                Some((_, ask)) => (ask.endpoint(), ask.malformed()),
                None => (Endpoint::Other, answer::invalid_escape()),
            };
        };
        if let Some(name) = path.strip_prefix(hooks::PATH).filter(|_| !self.hooks.is_empty()) {
            let client = self.client(&request, peer);
            let name = name.to_owned();
            let answering = self.hooks.answer(&name, client, request);
            let answered = self.waiting.bodies.hold(client.claimant(), answering).await;
            return (Endpoint::Hook, answered.unwrap_or_else(no_place));
        }
        let Some((sumdb, ask)) = self.registry.route(&path) else {
            return (Endpoint::Other, self.rest.answer(request, peer).await);
        };
        let endpoint = ask.endpoint();
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return (endpoint, answer::method_not_allowed());
        }
        let client = self.client(&request, peer);
        match sumdb::find(&**sumdb, ask, &client, request.headers()) {
            Reply::Answer(answer) => (endpoint, answer),
            Reply::Miss(miss) => {
                let endpoint = if matches!(miss, Miss::Lookup(_)) { Endpoint::Notarize } else { endpoint };
                let fetching = sumdb::fetch(&**sumdb, miss, client, self.lookup_deadline);
                let fetched = self.waiting.lookups.hold(client.claimant(), fetching).await;
                (endpoint, fetched.unwrap_or_else(no_place))
            }
        }
    }
}

fn no_place(refused: NoPlace) -> Answer {
    answer::try_later(&refused.to_string(), NO_PLACE_RETRY)
}

fn no_place_in_api(refused: NoPlace) -> Answer {
    ProblemDetails::unavailable(refused.to_string(), Some(NO_PLACE_RETRY)).answer()
}
