//! What we answer: every status code, header value and body of our own is made here.
//!
//! A checksum database has few kinds of answers, and the headers of each are fixed:
//!
//! | answer | `Content-Type` | `Cache-Control` |
//! |---|---|---|
//! | hash tile, entry bundle | `application/octet-stream` | `public, max-age=31536000, immutable` |
//! | data tile | `text/plain; charset=UTF-8` | `public, max-age=31536000, immutable` |
//! | look-up hit, proof file (with `ETag`) | `text/plain; charset=UTF-8` | `public, max-age=3600` |
//! | head, checkpoint | `text/plain; charset=UTF-8` | `no-cache`, with `ETag` |
//! | `supported` | `text/plain; charset=UTF-8` | `public, max-age=86400` |
//! | 202, 401, 408, 413, 429 (hooks) | `text/plain; charset=UTF-8` | `no-store` |
//! | 400, 404, 405, 414 | `text/plain; charset=UTF-8` | `public, max-age=60` (404), else `no-store` |
//! | 200, 409 with a size (witness) | `text/plain; charset=UTF-8`, `text/x.tlog.size` | `no-store` |
//! | 403, 409, 422, 5xx | `text/plain; charset=UTF-8` | `no-store` |
//!
//! The body of an error is user interface. The `go` command prints it after `server response:`, but only if
//! it is text/plain in UTF-8 of graphic characters, and at most 8 lines and 648 bytes of it, up to the first
//! blank line; one odd character drops the whole body, and a line that is too long is replaced by
//! `[Truncated: too long.]`. [`fit_for_go`](crate::visible::fit_for_go) makes any text fit.
//!
//! Errors of the API are [`problem`]s instead.

pub(in crate::http) mod control;
pub(in crate::http) mod problem;
mod refusal;

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};

use self::problem::ProblemDetails;
pub use self::refusal::*;
use super::body::BodyError;
use super::metrics::TextFormat;
use crate::tlog::TreeSize;

/// An answer, ready to be sent.
pub type Answer = axum::http::Response<Body>;

/// The longest that a cache may keep "not found": a module that was published meanwhile must appear soon.
pub const NOT_FOUND_AGE_MAX: Duration = Duration::from_secs(60);

/// How long an answer may be kept, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheControl {
    /// The bytes can never change: tiles.
    Immutable,
    /// A record never changes, the head beside it gets older but stays true. Shorter than any key overlap.
    Record,
    /// A day: whether this server answers for a log.
    Supported,
    /// "Not found", for the seconds given (at most [`NOT_FOUND_AGE_MAX`]).
    NotFound(Duration),
    /// May be kept, but must be asked again each time (`ETag`): heads.
    Revalidate,
    /// Never kept: refusals and failures.
    NoStore,
}

impl CacheControl {
    /// The value of `Cache-Control`.
    pub fn header(self) -> HeaderValue {
        match self {
            CacheControl::Immutable => HeaderValue::from_static("public, max-age=31536000, immutable"),
            CacheControl::Record => HeaderValue::from_static("public, max-age=3600"),
            CacheControl::Supported => HeaderValue::from_static("public, max-age=86400"),
            CacheControl::NotFound(age) if age >= NOT_FOUND_AGE_MAX => {
                HeaderValue::from_static("public, max-age=60")
            }
            CacheControl::NotFound(age) => {
                let text = format!("public, max-age={}", age.as_secs());
                HeaderValue::try_from(text).expect("digits are a valid header value")
            }
            CacheControl::Revalidate => HeaderValue::from_static("no-cache"),
            CacheControl::NoStore => HeaderValue::from_static("no-store"),
        }
    }
}

/// A proof, a page of records: most documents are written without growing what they are written to.
const USUAL_JSON_BYTES: usize = 4 << 10;
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=UTF-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TLOG_SIZE: HeaderValue = HeaderValue::from_static("text/x.tlog.size");

fn with(status: StatusCode, content_type: HeaderValue, cache: CacheControl, body: impl Into<Body>) -> Answer {
    let mut answer = bare(status, content_type, body);
    answer.headers_mut().insert(CACHE_CONTROL, cache.header());
    answer
}

/// The body may be whole, or a stream of which the end is not known yet.
fn bare(status: StatusCode, content_type: HeaderValue, body: impl Into<Body>) -> Answer {
    let mut answer = Answer::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// 200 with a record and the head that covers it.
pub fn lookup_hit(body: Bytes) -> Answer {
    with(StatusCode::OK, TEXT, CacheControl::Record, body)
}

/// 200 with the bytes of a hash tile.
pub fn hash_tile(body: Bytes) -> Answer {
    with(StatusCode::OK, BYTES, CacheControl::Immutable, body)
}

/// 200 with the records of a data tile.
pub fn data_tile(body: Bytes) -> Answer {
    with(StatusCode::OK, TEXT, CacheControl::Immutable, body)
}

/// 200 with the newest signed head, which a cache must ask for again each time.
pub fn head(note: Bytes, etag: HeaderValue) -> Answer {
    let mut answer = with(StatusCode::OK, TEXT, CacheControl::Revalidate, note);
    answer.headers_mut().insert(ETAG, etag);
    answer
}

/// 200 with a proof as a file. What it proves stays true; a newer one is under a newer head.
pub fn proof_file(headers: &HeaderMap, file: String) -> Answer {
    let body = Bytes::from(file);
    let etag = etag_of(&body);
    let mut answer = if has_version(headers, &etag) {
        not_modified(etag.clone())
    } else {
        with(StatusCode::OK, TEXT, CacheControl::Record, body)
    };
    answer.headers_mut().insert(CACHE_CONTROL, CacheControl::Record.header());
    answer.headers_mut().insert(ETAG, etag);
    answer
}

/// 304: the client has the newest version already.
pub fn not_modified(etag: HeaderValue) -> Answer {
    let mut answer = Answer::new(Body::empty());
    *answer.status_mut() = StatusCode::NOT_MODIFIED;
    answer.headers_mut().insert(CACHE_CONTROL, CacheControl::Revalidate.header());
    answer.headers_mut().insert(ETAG, etag);
    answer
}

/// 200: this server answers for the log that was named.
pub fn supported() -> Answer {
    with(StatusCode::OK, TEXT, CacheControl::Supported, Bytes::new())
}

/// 200 with the signature lines of a witness.
pub fn cosignatures(lines: String) -> Answer {
    with(StatusCode::OK, TEXT, CacheControl::NoStore, Bytes::from(lines))
}

/// 409 with the size that a witness cosigned last: a decimal number and a newline, `text/x.tlog.size`.
pub fn tlog_size(size: TreeSize) -> Answer {
    with(StatusCode::CONFLICT, TLOG_SIZE, CacheControl::NoStore, Bytes::from(format!("{size}\n")))
}

/// 202: it will be done.
pub fn accepted() -> Answer {
    with(StatusCode::ACCEPTED, TEXT, CacheControl::NoStore, "accepted\n")
}

/// 200: a probe that is content, with a short text for people.
pub fn healthy(text: impl Into<Bytes>) -> Answer {
    with(StatusCode::OK, TEXT, CacheControl::NoStore, text.into())
}

/// 503: a probe that is not.
pub fn unhealthy(text: impl Into<Bytes>) -> Answer {
    with(StatusCode::SERVICE_UNAVAILABLE, TEXT, CacheControl::NoStore, text.into())
}

/// The figures for Prometheus. Which format it is depends on what was asked for.
pub fn metrics(format: TextFormat, text: String) -> Answer {
    let content_type = HeaderValue::from_static(format.content_type());
    let mut answer = with(StatusCode::OK, content_type, CacheControl::NoStore, Bytes::from(text));
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    answer
}

/// 200 with a JSON document. One that must be asked for again each time gets an `ETag`, and 304 if the client has it.
pub fn json(headers: &HeaderMap, cache: CacheControl, document: &impl Serialize) -> Answer {
    let mut body = Vec::with_capacity(USUAL_JSON_BYTES);
    match serde_json::to_writer(&mut body, document).map(|()| body) {
        Ok(body) if cache == CacheControl::Revalidate => {
            let etag = etag_of(&body);
            if has_version(headers, &etag) {
                return not_modified(etag);
            }
            let mut answer = with(StatusCode::OK, JSON, cache, Bytes::from(body));
            answer.headers_mut().insert(ETAG, etag);
            answer
        }
        Ok(body) => with(StatusCode::OK, JSON, cache, Bytes::from(body)),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            ProblemDetails::internal("the answer could not be written as JSON").answer()
        }
    }
}

/// 200 with a JSON document that is part of this program, to be asked for again each time.
pub fn json_text(headers: &HeaderMap, text: &'static str) -> Answer {
    let etag = etag_of(text.as_bytes());
    if has_version(headers, &etag) {
        return not_modified(etag);
    }
    let mut answer =
        with(StatusCode::OK, JSON, CacheControl::Revalidate, Bytes::from_static(text.as_bytes()));
    answer.headers_mut().insert(ETAG, etag);
    answer
}

impl BodyError {
    fn status(self) -> StatusCode {
        match self {
            BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

/// Adds `Retry-After`, in whole seconds rounded up and at least one.
fn retry_later(mut answer: Answer, retry_after: Duration) -> Answer {
    let seconds = retry_after.as_millis().div_ceil(1000).max(1) as u64;
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

/// The answer to HEAD: the same headers, with the length that GET would have, and no body.
pub fn without_body(mut answer: Answer) -> Answer {
    let length = answer.body().size_hint().exact();
    *answer.body_mut() = Body::empty();
    // A 304 describes no body of its own, so it carries no length.
    if let Some(length) = length.filter(|_| answer.status() != StatusCode::NOT_MODIFIED) {
        answer.headers_mut().entry(CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    answer
}

/// An entity tag made from the bytes: the first half of their SHA-256.
pub fn etag_of(bytes: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(bytes);
    let mut text = String::with_capacity(34);
    text.push('"');
    digest[..16].iter().for_each(|byte| write!(text, "{byte:02x}").expect("a text takes what it is given"));
    text.push('"');
    HeaderValue::try_from(text).expect("hex in quotes is a valid header value")
}

/// Whether `If-None-Match` names this version (weak comparison, RFC 9110 §13.1.2).
pub fn has_version(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().any(|line| {
        line.as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .any(|known| known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == etag.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_found_is_kept_a_minute_at_most() {
        for (age, header) in
            [(0, "public, max-age=0"), (7, "public, max-age=7"), (3600, "public, max-age=60")]
        {
            assert_eq!(CacheControl::NotFound(Duration::from_secs(age)).header(), header);
        }
    }

    #[test]
    fn known_versions() {
        let etag = HeaderValue::from_static("\"abc\"");
        for (sent, known) in [
            ("\"abc\"", true),
            ("W/\"abc\"", true),
            ("\"x\", \"abc\"", true),
            ("*", true),
            ("\"ABC\"", false),
            ("abc", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static(sent));
            assert_eq!(has_version(&headers, &etag), known, "{sent}");
        }
        assert!(!has_version(&HeaderMap::new(), &etag));
    }

    #[test]
    fn head_keeps_the_length() {
        let answer = without_body(hash_tile(Bytes::from(vec![0; 64])));
        assert_eq!(answer.headers()[CONTENT_LENGTH], "64");
        assert_eq!(answer.body().size_hint().exact(), Some(0));
    }
}
