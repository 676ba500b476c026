//! `/api/v1`: the log for programs, as JSON. Hashes are base64, times RFC 3339 in UTC, errors `application/problem+json`.
//!
//! ```text
//! GET /api/v1/log                                     name, origin, keys, newest head
//! GET /api/v1/records/{id}                            record, lines, appended_at, evidence
//! GET /api/v1/modules/{escaped path}@{escaped version}  the same
//! GET /api/v1/heads?before=SIZE&limit=N               {"heads":[…]}, newest first, sizes below SIZE
//! GET /api/v1/heads/{size}                            size, root, note, signed_at
//! ```
//!
//! Nothing here changes the log: a module version that is not in it is 404, and nobody is asked for it.

use std::fmt::Display;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::get;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::ReadError;
use super::answer::{self, Answer, Cache, NOT_FOUND_AGE_MAX};
use super::sumdb::percent_decode;
use crate::module::ModuleVersion;
use crate::note::VerifierKey;
use crate::tlog::{Hash, RecordId, TreeSize};

/// Heads in one answer if the client does not say how many.
pub const HEADS_DEFAULT: usize = 20;
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

type Api = State<Arc<dyn LogApi>>;

/// The router of everything under `/api/v1`; other paths are 404.
pub fn router(api: Arc<dyn LogApi>) -> Router {
    Router::new()
        .route("/api/v1/log", get(log))
        .route("/api/v1/records/{id}", get(record))
        .route("/api/v1/modules/{*module}", get(module))
        .route("/api/v1/heads", get(heads))
        .route("/api/v1/heads/{size}", get(head))
        .method_not_allowed_fallback(async || {
            problem(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here")
        })
        .fallback(unknown)
        .with_state(api)
}

async fn unknown(uri: Uri) -> Answer {
    if uri.path().starts_with("/api/") {
        not_found("no such path in this API; see /api/v1/log")
    } else {
        answer::unknown_path()
    }
}

async fn log(State(api): Api, headers: HeaderMap) -> Answer {
    match api.log() {
        Ok(log) => answer::json(&headers, Cache::Revalidate, &log),
        Err(error) => read_failed(&error),
    }
}

async fn record(State(api): Api, uri: Uri, headers: HeaderMap) -> Answer {
    let Some(id) = last_segment_number(&uri) else {
        return bad_request("a record number is a decimal number without leading zeros");
    };
    found(&headers, api.record(RecordId(id)), "the log has no record of this number")
}

async fn module(State(api): Api, uri: Uri, headers: HeaderMap) -> Answer {
    let wire = uri.path().strip_prefix("/api/v1/modules/").unwrap_or_default();
    let Ok(wire) = percent_decode(wire) else {
        return bad_request("malformed percent-escape in the URL");
    };
    match ModuleVersion::unescape(&wire) {
        Ok(module) => {
            let missing =
                "the log has no record of this module version; a look-up through /lookup/ may add it";
            found(&headers, api.module(&module), missing)
        }
        Err(error) => bad_request(&error.to_string()),
    }
}

async fn heads(State(api): Api, uri: Uri, headers: HeaderMap) -> Answer {
    #[derive(Serialize)]
    struct Heads {
        heads: Vec<HeadInfo>,
    }
    let (before, limit) = match heads_query(uri.query().unwrap_or_default()) {
        Ok(query) => query,
        Err(why) => return bad_request(&why),
    };
    match api.heads(before, limit) {
        Ok(heads) => answer::json(&headers, Cache::Revalidate, &Heads { heads }),
        Err(error) => read_failed(&error),
    }
}

async fn head(State(api): Api, uri: Uri, headers: HeaderMap) -> Answer {
    let Some(size) = last_segment_number(&uri) else {
        return bad_request("a tree size is a decimal number without leading zeros");
    };
    found(&headers, api.head(TreeSize(size)), "no head of this size was published")
}

/// `before=SIZE&limit=N`, both optional, in any order, nothing else.
fn heads_query(query: &str) -> Result<(Option<TreeSize>, usize), String> {
    let (mut before, mut limit) = (None, None);
    for (name, value) in query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
    {
        let slot = match name {
            "before" => &mut before,
            "limit" => &mut limit,
            _ => return Err("unknown parameter: there are before=SIZE and limit=N".to_owned()),
        };
        let Some(number) = parse_number(value) else {
            return Err(format!("{name} must be a decimal number without leading zeros"));
        };
        if slot.replace(number).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    let limit = match limit {
        None => HEADS_DEFAULT,
        Some(limit) if (1..=HEADS_MAX as u64).contains(&limit) => limit as usize,
        Some(_) => return Err(format!("limit must be from 1 to {HEADS_MAX}")),
    };
    Ok((before.map(TreeSize), limit))
}

fn last_segment_number(uri: &Uri) -> Option<u64> {
    parse_number(uri.path().rsplit('/').next()?)
}

/// Decimal digits that print back to themselves. The log has at most 2^63 - 1 records.
fn parse_number(digits: &str) -> Option<u64> {
    let canonical =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|number| canonical && *number <= i64::MAX as u64)
}

fn found<T: Serialize>(headers: &HeaderMap, read: Result<Option<T>, ReadError>, missing: &str) -> Answer {
    match read {
        Ok(Some(document)) => answer::json(headers, Cache::Record, &document),
        Ok(None) => not_found(missing),
        Err(error) => read_failed(&error),
    }
}

fn not_found(detail: &str) -> Answer {
    answer::problem(StatusCode::NOT_FOUND, Cache::NotFound(NOT_FOUND_AGE_MAX), detail)
}

fn bad_request(detail: &str) -> Answer {
    problem(StatusCode::BAD_REQUEST, detail)
}

fn problem(status: StatusCode, detail: &str) -> Answer {
    answer::problem(status, Cache::NoStore, detail)
}

fn read_failed(error: &ReadError) -> Answer {
    tracing::error!(%error, "cannot answer a request to the API");
    match error {
        ReadError::Damaged { .. } => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "what is stored for this answer is damaged; the server's log has the details",
        ),
        ReadError::Unavailable { .. } => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "the log cannot be read at the moment; try again in a few seconds",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        for (query, parsed) in [
            ("", (None, HEADS_DEFAULT)),
            ("limit=1", (None, 1)),
            ("limit=100&before=0", (Some(TreeSize(0)), 100)),
            ("before=9223372036854775807", (Some(TreeSize(i64::MAX as u64)), HEADS_DEFAULT)),
            ("&before=7&", (Some(TreeSize(7)), HEADS_DEFAULT)),
        ] {
            assert_eq!(heads_query(query), Ok(parsed), "{query}");
        }
        for bad in [
            "limit=0",
            "limit=101",
            "limit=",
            "limit",
            "limit=+1",
            "limit=01",
            "limit=1&limit=2",
            "before=-1",
            "before=9223372036854775808",
            "before=99999999999999999999999",
            "at=2026-01-01T00:00:00Z",
            "=",
        ] {
            assert!(heads_query(bad).is_err(), "{bad}");
        }
    }
}
