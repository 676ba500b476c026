//! A witness over HTTP, as specified by [C2SP tlog-witness].
//!
//! | request | answer |
//! |---|---|
//! | `POST <prefix>/add-checkpoint` | 200 with signature lines; 400, 403, 404, 409, 422 as [`CosignRefusal`] says; 408, 413 for the body; 503 when too many wait, or the disk is full; 500 after a failed write |
//! | `GET <prefix>/<hex SHA-256 of the origin>/checkpoint` | 200 with the newest checkpoint that was cosigned, 404 where none was |
//!
//! The size that a log should prove from comes with 409 as `text/x.tlog.size`. A 409 of another type says that the log has signed
//! two trees of one size.
//!
//! [C2SP tlog-witness]: https://c2sp.org/tlog-witness

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Method, Request};
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use super::LatestHead;
use super::answer::{self, Answer, NOT_FOUND_AGE_MAX};
use super::body;
use super::listen::Site;
use super::metrics::{Endpoint, Metrics, MetricsSource, Sample, SampleValue};
use super::ops::{Health, Readiness};
use crate::clock::Clock;
use crate::share::{Claimant, Waiters};
use crate::witness::{CosignOutcome, CosignRefusal, MAX_REQUEST_BYTES, Witness};

/// How long a body may take to come: it fits in a few packets.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// Requests that may wait at the same time, most of them for their body: with [`MAX_REQUEST_BYTES`] for each this
/// bounds the memory that all clients can take.
const REQUESTS_WAITING_MAX: usize = 512;
/// Requests that are checked at a time: a commit for so many takes a fraction of a second. A turn is taken only when
/// the whole body is there, so that a client cannot keep it.
const REQUESTS_IN_FLIGHT: usize = 256;
/// How long one waits for its turn: clients have time-outs of a few seconds.
const TURN_PATIENCE: Duration = Duration::from_secs(5);
const BUSY_RETRY: Duration = Duration::from_secs(5);

/// What stands behind the door of a witness.
pub struct WitnessSite {
    witness: Arc<Witness>,
    prefix: String,
    waiting: Waiters,
    turns: Semaphore,
    metrics: Arc<Metrics>,
    clock: Clock,
}

impl WitnessSite {
    /// `prefix` is empty, or begins with a slash and does not end in one.
    pub fn new(witness: Arc<Witness>, prefix: String, metrics: Arc<Metrics>, clock: Clock) -> WitnessSite {
        let (waiting, turns) = (Waiters::new(REQUESTS_WAITING_MAX), Semaphore::new(REQUESTS_IN_FLIGHT));
        WitnessSite { witness, prefix, waiting, turns, metrics, clock }
    }

    async fn route(&self, request: Request<Incoming>, client: IpAddr) -> (Endpoint, Answer) {
        let Some(path) = request.uri().path().strip_prefix(&*self.prefix).map(str::to_owned) else {
            return (Endpoint::Other, answer::unknown_path());
        };
        let is_get = request.method() == Method::GET || request.method() == Method::HEAD;
        if path == "/add-checkpoint" {
            if request.method() != Method::POST {
                return (Endpoint::Witness, answer::post_only());
            }
            let answered = self.waiting.hold(Claimant::at(client), self.add_checkpoint(request)).await;
            let answered =
                answered.unwrap_or_else(|refused| answer::try_later(&refused.to_string(), BUSY_RETRY));
            return (Endpoint::Witness, answered);
        }
        match path.strip_prefix('/').and_then(|rest| rest.strip_suffix("/checkpoint")) {
            Some(_) if !is_get => (Endpoint::Witness, answer::method_not_allowed()),
            Some(hash) => (Endpoint::Witness, self.checkpoint(hash, request.headers())),
            None => (Endpoint::Other, answer::unknown_path()),
        }
    }

    async fn add_checkpoint(&self, request: Request<Incoming>) -> Answer {
        let body = match body::read(request.into_body(), MAX_REQUEST_BYTES, BODY_PATIENCE).await {
            Ok(body) => body,
            Err(error) => return answer::body_not_read(error),
        };
        let Ok(Ok(_turn)) = tokio::time::timeout(TURN_PATIENCE, self.turns.acquire()).await else {
            return answer::try_later("too many checkpoints wait to be cosigned", BUSY_RETRY);
        };
        // A client that goes away must not leave a half: what was begun is finished, and forgotten.
        let witness = self.witness.clone();
        let cosigned = tokio::spawn(async move { witness.add_checkpoint(&body).await }).await;
        match cosigned {
            Ok(Ok(lines)) => answer::cosignatures(lines),
            Ok(Err(refusal)) => refused(&refusal),
            Err(_) => answer::internal("internal error: this request failed in the witness; see its log"),
        }
    }

    fn checkpoint(&self, hash: &str, headers: &HeaderMap) -> Answer {
        let Some(known) = self.witness.checkpoint(hash) else {
            return answer::not_found(
                "not found: this witness has cosigned no checkpoint of such a log",
                // A first cosignature may come at any time.
                NOT_FOUND_AGE_MAX / 60,
            );
        };
        LatestHead::new(known.note.clone()).answer_to(headers)
    }
}

/// The status codes of C2SP tlog-witness.
fn refused(refusal: &CosignRefusal) -> Answer {
    let text = refusal.to_string();
    match refusal {
        CosignRefusal::Malformed { .. } | CosignRefusal::OldAboveSize { .. } => answer::bad_request(&text),
        CosignRefusal::Untrusted => answer::forbidden(&text),
        CosignRefusal::UnknownOrigin => answer::not_found(&text, Duration::ZERO),
        CosignRefusal::Stale { size } | CosignRefusal::Fork { size, is_stale: true } => {
            answer::tlog_size(*size)
        }
        CosignRefusal::Fork { .. } => answer::conflict(&text),
        CosignRefusal::BadProof { .. } => answer::unprocessable(&text),
        CosignRefusal::Full => answer::try_later(&text, BUSY_RETRY),
        CosignRefusal::Broken => answer::internal(&text),
    }
}

impl Site for WitnessSite {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let started = self.clock.instant();
        let _in_flight = self.metrics.in_flight();
        let is_head = request.method() == Method::HEAD;
        let (endpoint, answer) = self.route(request, peer.ip()).await;
        let duration = self.clock.instant().saturating_duration_since(started);
        self.metrics.count(endpoint, answer.status(), duration);
        if is_head { answer::without_body(answer) } else { answer }
    }
}

/// A witness's figures for the metrics page, and whether it cosigns.
pub struct WitnessFigures(pub Arc<Witness>);

impl std::fmt::Debug for WitnessFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WitnessFigures")
    }
}

impl MetricsSource for WitnessFigures {
    fn samples(&self) -> Vec<Sample> {
        let count =
            |name, help, outcome| Sample::new(name, help, SampleValue::Counter(self.0.count(outcome)));
        vec![
            Sample::new(
                "witness_logs",
                "Logs that this witness cosigns for",
                SampleValue::Gauge(self.0.logs() as f64),
            ),
            count("witness_cosigned", "Checkpoints cosigned", CosignOutcome::Cosigned),
            count("witness_malformed", "Requests that could not be read", CosignOutcome::Malformed),
            count("witness_unknown", "Checkpoints of logs that are not known here", CosignOutcome::Unknown),
            count("witness_untrusted", "Checkpoints without a trusted signature", CosignOutcome::Untrusted),
            count(
                "witness_stale",
                "Requests that began at another size than the newest",
                CosignOutcome::Stale,
            ),
            count("witness_forks", "Signed checkpoints of one size with another root", CosignOutcome::Fork),
            count(
                "witness_bad_proofs",
                "Signed checkpoints whose proof did not hold",
                CosignOutcome::BadProof,
            ),
            count("witness_failed", "Requests that failed by our own fault", CosignOutcome::Failed),
        ]
    }
}

impl Health for WitnessFigures {
    fn readiness(&self) -> Readiness {
        match &*self.0.broken().borrow() {
            None => Readiness::Ready,
            Some(error) => {
                Readiness::NotReady { why: format!("a write has failed, start it again: {error}") }
            }
        }
    }
}
