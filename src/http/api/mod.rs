//! `/api/v1`: the log for programs, as JSON. Hashes are base64, times RFC 3339 in UTC, errors `application/problem+json`.
//!
//! ```text
//! GET /api/v1/log                                     name, origin, keys, newest head
//! GET /api/v1/records/{id}                            record, lines, appended_at, evidence
//! GET /api/v1/modules/{escaped path}@{escaped version}  the same
//! GET /api/v1/heads?before=SIZE&limit=N               {"heads":[…]}, newest first, sizes below SIZE
//! GET /api/v1/heads?at=TIME                           {"heads":[…]}, the one that was newest at that time
//! GET /api/v1/heads/{size}                            size, root, note, signed_at
//! GET /api/v1/proofs/inclusion, /consistency          see [`proofs`]
//! POST /api/v1/proofs                                 several of them
//! GET /api/v1/openapi.json                            all of this, for programs
//! ```
//!
//! Nothing here changes the log: a module version that is not in it is 404, and nobody is asked for it.

pub mod proofs;
mod query;

use std::fmt::Display;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::routing::{get, post};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use self::proofs::{NoProof, Proof, Wanted};
use self::query::{HeadsQuery, parse_number};
use super::answer::problem::ProblemDetails;
use super::answer::{self, Answer, CacheControl};
use super::sumdb::percent_decode;
use super::{Client, ReadError};
use crate::module::ModuleVersion;
use crate::note::VerifierKey;
use crate::share::{Allowance, Exhausted};
use crate::tlog::{Hash, RecordId, TreeSize};

/// Heads in one answer if the client does not say how many.
pub const HEADS_DEFAULT: usize = 20;
/// How long the body of a request may take to come: all of them are small.
pub(super) const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// The most heads in one answer: about 40 KB.
pub const HEADS_MAX: usize = 100;

/// What the API tells about a log. All reads are quick and local.
pub trait LogApi: Send + Sync + 'static {
    /// The log and its newest head.
    fn log(&self) -> Result<LogInfo, ReadError>;
    /// A record of the newest published tree.
    fn record(&self, id: RecordId) -> Result<Option<RecordInfo>, ReadError>;
    /// The record of a module version.
    fn module(&self, module: &ModuleVersion) -> Result<Option<RecordInfo>, ReadError>;
    /// At most `limit` published heads, newest first; with `before`, only those of smaller trees.
    fn heads(&self, before: Option<TreeSize>, limit: usize) -> Result<Vec<HeadInfo>, ReadError>;
    /// The published head of exactly this size.
    fn head(&self, size: TreeSize) -> Result<Option<HeadInfo>, ReadError>;
    /// The published head that was newest at a time.
    fn head_at(&self, time: Timestamp) -> Result<Option<HeadInfo>, ReadError>;
    /// Counts work that a client asks for, in proofs of a record whose number is known.
    fn admit(&self, client: Client, proofs: NonZeroU32) -> Result<(), Exhausted>;
    /// A proof, made from what is stored.
    fn prove(&self, wanted: &Wanted) -> Result<Proof, NoProof>;
}

/// A log.
#[derive(Clone, Debug, Serialize)]
pub struct LogInfo {
    /// The name that clients know it by.
    pub name: String,
    /// The first line of its checkpoints.
    pub origin: String,
    /// The keys whose signatures its heads carry or carried.
    pub keys: Vec<KeyInfo>,
    /// The newest published head.
    pub head: HeadInfo,
}

/// A key of a log.
#[derive(Clone, Debug, Serialize)]
pub struct KeyInfo {
    /// `name+hash+base64`.
    #[serde(serialize_with = "text")]
    pub verifier: VerifierKey,
    /// Since when it signs.
    pub since: Timestamp,
    /// Until when it signed; absent for keys in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A published head.
#[derive(Clone, Debug, Serialize)]
pub struct HeadInfo {
    /// Records in the tree.
    #[serde(serialize_with = "size_number")]
    pub size: TreeSize,
    /// Its root hash.
    #[serde(serialize_with = "text")]
    pub root: Hash,
    /// The signed note, as `/latest` served it.
    pub note: String,
    /// When it was signed.
    pub signed_at: Timestamp,
}

/// A record with where it came from.
#[derive(Clone, Debug, Serialize)]
pub struct RecordInfo {
    /// Its number in the log.
    #[serde(rename = "record", serialize_with = "record_number")]
    pub id: RecordId,
    /// Its go.sum lines, without line ends.
    pub lines: Vec<String>,
    /// When it was committed.
    pub appended_at: Timestamp,
    /// Where its lines came from, as the notary keeps it.
    pub evidence: serde_json::Value,
}

fn text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn size_number<S: Serializer>(size: &TreeSize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(size.0)
}

fn record_number<S: Serializer>(id: &RecordId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(id.0)
}

type SharedApi = Arc<dyn LogApi>;
type Api = State<SharedApi>;

/// The router of everything under `/api/v1`; other paths are 404.
pub fn router(api: Arc<dyn LogApi>) -> Router {
    Router::new()
        .route("/api/v1/log", get(log))
        .route("/api/v1/records/{id}", get(record))
        .route("/api/v1/modules/{*module}", get(module))
        .route("/api/v1/heads", get(heads))
        .route("/api/v1/heads/{size}", get(head))
        .route("/api/v1/proofs", post(proofs::several))
        .route("/api/v1/proofs/inclusion", get(proofs::inclusion))
        .route("/api/v1/proofs/consistency", get(proofs::consistency))
        .route("/api/v1/openapi.json", get(openapi))
        .method_not_allowed_fallback(async || {
            let detail = "this method is not answered here; see /api/v1/openapi.json";
            ProblemDetails::method_not_allowed(detail).answer()
        })
        .fallback(unknown)
        .with_state(api)
}

async fn unknown(uri: Uri) -> Answer {
    if uri.path().starts_with("/api/") {
        ProblemDetails::not_found("no such path in this API; see /api/v1/openapi.json").answer()
    } else {
        answer::unknown_path()
    }
}

async fn log(State(api): Api, headers: HeaderMap) -> Answer {
    match api.log() {
        Ok(log) => answer::json(&headers, CacheControl::Revalidate, &log),
        Err(error) => read_failed(&error).answer(),
    }
}

/// What describes everything here for programs: OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

async fn openapi(headers: HeaderMap) -> Answer {
    answer::json_text(&headers, OPENAPI)
}

async fn record(State(api): Api, uri: Uri, headers: HeaderMap) -> Answer {
    let Some(id) = last_segment_number(&uri) else {
        return ProblemDetails::bad_request("a record number is a decimal number without leading zeros")
            .answer();
    };
    found(&headers, api.record(RecordId(id)), "the log has no record of this number")
}

async fn module(State(api): Api, uri: Uri, headers: HeaderMap) -> Answer {
    let wire = uri.path().strip_prefix("/api/v1/modules/").unwrap_or_default();
    let Ok(wire) = percent_decode(wire) else {
        return ProblemDetails::bad_request("malformed percent-escape in the URL").answer();
    };
    match ModuleVersion::unescape(&wire) {
        Ok(module) => {
            let missing =
                "the log has no record of this module version; a look-up through /lookup/ may add it";
            found(&headers, api.module(&module), missing)
        }
        Err(error) => ProblemDetails::bad_request(error.to_string()).answer(),
    }
}

async fn heads(State(api): Api, uri: Uri, headers: HeaderMap) -> Answer {
    #[derive(Serialize)]
    struct Heads {
        heads: Vec<HeadInfo>,
    }
    let read = match query::heads(uri.query().unwrap_or_default()) {
        Ok(HeadsQuery::List { before, limit }) => api.heads(before, limit),
        Ok(HeadsQuery::At(time)) => match api.head_at(time) {
            Ok(None) => return ProblemDetails::not_found("the log was not there yet at that time").answer(),
            read => read.map(|head| head.into_iter().collect()),
        },
        Err(why) => return ProblemDetails::bad_request(why).answer(),
    };
    match read {
        Ok(heads) => answer::json(&headers, CacheControl::Revalidate, &Heads { heads }),
        Err(error) => read_failed(&error).answer(),
    }
}

async fn head(State(api): Api, uri: Uri, headers: HeaderMap) -> Answer {
    let Some(size) = last_segment_number(&uri) else {
        return ProblemDetails::bad_request("a tree size is a decimal number without leading zeros").answer();
    };
    found(&headers, api.head(TreeSize(size)), "no head of this size was published")
}

fn last_segment_number(uri: &Uri) -> Option<u64> {
    parse_number(uri.path().rsplit('/').next()?)
}

fn found<T: Serialize>(headers: &HeaderMap, read: Result<Option<T>, ReadError>, missing: &str) -> Answer {
    match read {
        Ok(Some(document)) => answer::json(headers, CacheControl::Record, &document),
        Ok(None) => ProblemDetails::not_found(missing).answer(),
        Err(error) => read_failed(&error).answer(),
    }
}

fn too_often(exhausted: Exhausted) -> ProblemDetails {
    let whose = match exhausted.allowance {
        Allowance::Client => "this client has asked",
        Allowance::All => "all clients together have asked",
    };
    let detail = format!("{whose} for too many proofs: try again later, or ask for fewer at once");
    ProblemDetails::too_many(detail, exhausted.retry_after)
}

fn read_failed(error: &ReadError) -> ProblemDetails {
    tracing::error!(%error, "cannot answer a request to the API");
    match error {
        ReadError::Damaged { .. } => ProblemDetails::internal(
            "what is stored for this answer is damaged; the server's log has the details",
        ),
        ReadError::Unavailable { .. } => ProblemDetails::unavailable(
            "the log cannot be read at the moment; try again in a few seconds",
            None,
        ),
    }
}
