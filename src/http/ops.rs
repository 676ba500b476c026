//! The second door, for operators and their machines: read-only, and not for the public.
//!
//! | path | 200 | 503 |
//! |---|---|---|
//! | `/healthz` | the process is alive: `ok` | never |
//! | `/readyz` | reads are answered: `ready`, `ready, read-only: <why>`, or `ready, but <why>` | `not ready: <why>` |
//! | `/metrics` | the text format of Prometheus, or OpenMetrics for who asks for it in `Accept` | never |
//!
//! A log that is read-only still answers every look-up that hits, so load balancers must keep it: it is ready, and
//! `tallystick_read_only` is what alerts watch.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::get;

use super::answer::{self, Answer};
use super::listen::ListenLimits;
use super::metrics::{Metrics, TextFormat};

/// What the server can do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Everything.
    Ready,
    /// Everything, and a person should look at something.
    Cautioned {
        /// The cause and what to do.
        why: String,
    },
    /// Reads are answered, nothing is appended or signed.
    ReadOnly {
        /// The cause and what to do.
        why: String,
    },
    /// Send nothing here: starting, or going down.
    NotReady {
        /// The cause.
        why: String,
    },
}

/// Knows what the server can do.
pub trait Health: Send + Sync + 'static {
    /// Quick: asked every few seconds.
    fn readiness(&self) -> Readiness;
}

#[derive(Clone)]
struct Ops {
    health: Arc<dyn Health>,
    metrics: Arc<Metrics>,
}

/// Connections of the second door: a scraper and a few probes.
const CONNECTIONS_MAX: usize = 64;

/// What a client of the second door may take.
pub fn limits() -> ListenLimits {
    ListenLimits { connections: CONNECTIONS_MAX, ..ListenLimits::default() }
}

/// The router of the second door.
pub fn router(health: Arc<dyn Health>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(async || answer::healthy("ok\n")))
        .route("/readyz", get(readyz))
        .route("/metrics", get(figures))
        .method_not_allowed_fallback(async || answer::method_not_allowed())
        .fallback(async || answer::unknown_path())
        .with_state(Ops { health, metrics })
}

async fn figures(State(ops): State<Ops>, headers: HeaderMap) -> Answer {
    let format = TextFormat::asked_for(&headers);
    answer::metrics(format, ops.metrics.to_text(format))
}

async fn readyz(State(ops): State<Ops>) -> Answer {
    match ops.health.readiness() {
        Readiness::Ready => answer::healthy("ready\n"),
        Readiness::Cautioned { why } => answer::healthy(format!("ready, but {why}\n")),
        Readiness::ReadOnly { why } => answer::healthy(format!("ready, read-only: {why}\n")),
        Readiness::NotReady { why } => answer::unhealthy(format!("not ready: {why}\n")),
    }
}
