//! `POST /api/v1/gossip`: somebody was shown a signed head; is it of the log that is known here?
//!
//! The body is the note, as it stands in `$GOPATH/pkg/sumdb/<name>/latest`, or a checkpoint (C2SP tlog-checkpoint). The answer says
//! which log has signed it and what follows:
//!
//! ```text
//! {"log": "sum.corp.example", "is_own": true, "verdict": "consistent",
//!  "posted": {"size": 900, "root": "…"}, "known": {"size": 942, "root": "…", "note": "…"}, "hashes": ["…"]}
//! ```
//!
//! | answer | when |
//! |---|---|
//! | 200 `consistent` | both heads are of one log; `hashes` is the consistency proof, where it can be made |
//! | 200 `ahead` | of a larger tree than any known here: an alarm if it is the own log's |
//! | 200 `fork` | both cannot be of one log: `evidence` convicts whoever holds the key ([`crate::mirror::Misbehavior`]) |
//! | 400, 408, 413 | not a note, or one that comes too slowly or is too large |
//! | 403 | a known key's signature does not fit |
//! | 404 | no known key has signed it |
//! | 422 | a known key has signed it, but it is no tree head |
//! | 429 | this client, or all of them, ask too often |
//! | 503 | the URLs of the other log do not give what the comparison needs |

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Router, http};
use serde::Serialize;

use super::answer::problem::ProblemDetails;
use super::answer::{self, CacheControl};
use super::api::BODY_PATIENCE;
use super::metrics::{MetricsSource, Sample, SampleValue};
use super::{Client, body};
use crate::clock::Clock;
use crate::gossip::{Compared, Gossip, GossipError, NOTE_BYTES_MAX, Verdict};
use crate::share::Rates;
use crate::tlog::{Hash, TreeHead};

/// Heads that a client may send in a minute: a site's builds may come from one address, each with a few.
const CLIENT_HEADS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(600).expect("it is not zero");
/// Heads of all clients in a minute: each costs a signature's verification and a proof, a quarter of a millisecond.
const HEADS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(12_000).expect("it is not zero");
/// When to come back if a log's URLs did not answer.
const UNAVAILABLE_PAUSE: Duration = Duration::from_secs(30);

/// Gossip as it is reached by HTTP.
pub struct GossipDoor {
    gossip: Gossip,
    rates: Rates,
    deadline: ArcSwap<Duration>,
    clock: Clock,
}

impl GossipDoor {
    /// `deadline` is how long a client may have to wait for what must be asked of another log.
    pub fn new(gossip: Gossip, deadline: Duration, clock: Clock) -> GossipDoor {
        let rates = Rates::new(CLIENT_HEADS_PER_MINUTE, HEADS_PER_MINUTE, &clock);
        GossipDoor { gossip, rates, deadline: ArcSwap::from_pointee(deadline), clock }
    }

    /// Replaces the deadline, for heads that are shown from now on.
    pub fn set_deadline(&self, deadline: Duration) {
        self.deadline.store(Arc::new(deadline));
    }
}

/// The router of this one path, to be merged with that of the API.
pub fn router(door: Arc<GossipDoor>) -> Router {
    let refused = async || ProblemDetails::method_not_allowed("only POST is answered here").answer();
    Router::new().route("/api/v1/gossip", post(hear).fallback(refused)).with_state(door)
}

#[derive(Serialize)]
struct Tree<'a> {
    size: u64,
    root: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

impl<'a> Tree<'a> {
    fn new(tree: &TreeHead, note: Option<&'a str>) -> Tree<'a> {
        Tree { size: tree.size.0, root: tree.root.to_string(), note }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    log: &'a str,
    is_own: bool,
    verdict: &'static str,
    posted: Tree<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<Tree<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hashes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<String>,
}

async fn hear(
    State(door): State<Arc<GossipDoor>>,
    Extension(client): Extension<Client>,
    body: Body,
) -> http::Response<Body> {
    // Before anything is read.
    if let Err(exhausted) = door.rates.admit(client.claimant()) {
        let why = "too many heads from this client, or in all: try again later";
        return ProblemDetails::too_many(why, exhausted.retry_after).answer();
    }
    let body = match body::read(body, NOTE_BYTES_MAX, BODY_PATIENCE).await {
        Ok(body) => body,
        Err(error) => return ProblemDetails::from(error).answer(),
    };
    let deadline = door.clock.instant() + **door.deadline.load();
    match door.gossip.hear(&body, deadline).await {
        Ok(compared) => answer::json(&HeaderMap::new(), CacheControl::NoStore, &document(&compared)),
        Err(error) => refusal(&error).answer(),
    }
}

fn document(compared: &Compared) -> Document<'_> {
    let texts = |hashes: &[Hash]| hashes.iter().map(Hash::to_string).collect();
    let (verdict, hashes, evidence) = match &compared.verdict {
        Verdict::Consistent(proof) => ("consistent", proof.as_ref().map(|proof| texts(&proof.0)), None),
        Verdict::Ahead => ("ahead", None, None),
        Verdict::Fork(found) => ("fork", None, Some(found.to_text())),
    };
    Document {
        log: &compared.log,
        is_own: compared.is_own,
        verdict,
        posted: Tree::new(&compared.posted, None),
        known: compared.known.as_ref().map(|(tree, note)| Tree::new(tree, Some(note))),
        hashes,
        evidence,
    }
}

fn refusal(error: &GossipError) -> ProblemDetails {
    match error {
        GossipError::Malformed(_) => ProblemDetails::bad_request(error.to_string()),
        GossipError::BadSignature(_) => ProblemDetails::forbidden(error.to_string()),
        // Another key may be configured at any time, and no cache keeps an answer to POST.
        GossipError::UnknownLog => ProblemDetails::not_found(error.to_string()).uncached(),
        GossipError::NotAHead { .. } => ProblemDetails::unprocessable(error.to_string()),
        GossipError::Unavailable { text } => {
            tracing::warn!(why = text, "a head that somebody was shown cannot be compared");
            let why = "what the comparison needs is not to be had of that log at the moment; try again later";
            ProblemDetails::unavailable(why, Some(UNAVAILABLE_PAUSE))
        }
        GossipError::Store(_) | GossipError::Remote(_) => {
            tracing::error!(%error, "a head that somebody was shown cannot be compared");
            let why = "what is stored for this comparison cannot be read; the server's log has the details";
            ProblemDetails::internal(why)
        }
    }
}

/// What was heard, for the metrics page.
pub struct GossipFigures(pub Arc<GossipDoor>);

impl fmt::Debug for GossipFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GossipFigures")
    }
}

impl MetricsSource for GossipFigures {
    fn samples(&self) -> Vec<Sample> {
        let figures = &self.0.gossip.figures;
        let counters = [
            (
                "gossip_consistent",
                "Heads sent by clients that are of the log known here",
                &figures.consistent,
            ),
            (
                "gossip_ahead",
                "Heads sent by clients that are of a larger tree than is known here",
                &figures.ahead,
            ),
            ("gossip_forks", "Heads sent by clients that convict the log which signed them", &figures.forks),
            ("gossip_refused", "Notes sent by clients that are no head of a known log", &figures.refused),
        ];
        let sample = |(name, help, counter): (_, _, &std::sync::atomic::AtomicU64)| {
            Sample::new(name, help, SampleValue::Counter(counter.load(Ordering::Relaxed)))
        };
        counters.map(sample).into()
    }
}
