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
//! `[Truncated: too long.]`. [`fit_for_go`] makes any text fit.
//!
//! ```
//! use tallystick::http::answer::fit_for_go;
//! assert_eq!(
//!     fit_for_go("no such version\n\nsee \u{7}corp.example/\u{202e}x"),
//!     r"no such version
//! see \u{7}corp.example/\u{202e}x
//! "
//! );
//! ```

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::module::WireError;
use crate::tlog::TreeSize;
use crate::visible::escape_where;

/// An answer, ready to be sent.
pub type Answer = axum::http::Response<Body>;

/// The most lines of an error's body that the `go` command prints (cmd/go/internal/web/api.go).
pub const GO_ERROR_LINES_MAX: usize = 8;
/// The most bytes of it, counting two bytes for each line break (printed as newline and tab).
pub const GO_ERROR_BYTES_MAX: usize = GO_ERROR_LINES_MAX * 81;
/// The longest that a cache may keep "not found": a module that was published meanwhile must appear soon.
pub const NOT_FOUND_AGE_MAX: Duration = Duration::from_secs(60);

/// How long an answer may be kept, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
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

impl Cache {
    /// The value of `Cache-Control`.
    pub fn header(self) -> HeaderValue {
        match self {
            Cache::Immutable => HeaderValue::from_static("public, max-age=31536000, immutable"),
            Cache::Record => HeaderValue::from_static("public, max-age=3600"),
            Cache::Supported => HeaderValue::from_static("public, max-age=86400"),
            Cache::NotFound(age) if age >= NOT_FOUND_AGE_MAX => {
                HeaderValue::from_static("public, max-age=60")
            }
            Cache::NotFound(age) => {
                let text = format!("public, max-age={}", age.as_secs());
                HeaderValue::try_from(text).expect("digits are a valid header value")
            }
            Cache::Revalidate => HeaderValue::from_static("no-cache"),
            Cache::NoStore => HeaderValue::from_static("no-store"),
        }
    }
}

/// A proof, a page of records: most documents are written without growing what they are written to.
const USUAL_JSON_BYTES: usize = 4 << 10;
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=UTF-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TLOG_SIZE: HeaderValue = HeaderValue::from_static("text/x.tlog.size");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

fn with(status: StatusCode, content_type: HeaderValue, cache: Cache, body: Bytes) -> Answer {
    let mut answer = Answer::new(Body::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, cache.header());
    answer
}

/// 200 with a record and the head that covers it.
pub fn lookup_hit(body: Bytes) -> Answer {
    with(StatusCode::OK, TEXT, Cache::Record, body)
}

/// 200 with the bytes of a hash tile.
pub fn hash_tile(body: Bytes) -> Answer {
    with(StatusCode::OK, BYTES, Cache::Immutable, body)
}

/// 200 with the records of a data tile.
pub fn data_tile(body: Bytes) -> Answer {
    with(StatusCode::OK, TEXT, Cache::Immutable, body)
}

/// 200 with the newest signed head, which a cache must ask for again each time.
pub fn head(note: Bytes, etag: HeaderValue) -> Answer {
    let mut answer = with(StatusCode::OK, TEXT, Cache::Revalidate, note);
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
        with(StatusCode::OK, TEXT, Cache::Record, body)
    };
    answer.headers_mut().insert(CACHE_CONTROL, Cache::Record.header());
    answer.headers_mut().insert(ETAG, etag);
    answer
}

/// 304: the client has the newest version already.
pub fn not_modified(etag: HeaderValue) -> Answer {
    let mut answer = Answer::new(Body::empty());
    *answer.status_mut() = StatusCode::NOT_MODIFIED;
    answer.headers_mut().insert(CACHE_CONTROL, Cache::Revalidate.header());
    answer.headers_mut().insert(ETAG, etag);
    answer
}

/// 200: this server answers for the log that was named.
pub fn supported() -> Answer {
    with(StatusCode::OK, TEXT, Cache::Supported, Bytes::new())
}

/// 400 `invalid tile syntax`, the words of x/mod's server.
pub fn invalid_tile() -> Answer {
    refusal(StatusCode::BAD_REQUEST, Cache::NoStore, "invalid tile syntax")
}

/// 400 `invalid module@version syntax`, the words of x/mod's server, and in a second line what is wrong, where more than the
/// syntax is.
pub fn invalid_lookup(error: &WireError) -> Answer {
    let words = "invalid module@version syntax";
    match error {
        WireError::Syntax => refusal(StatusCode::BAD_REQUEST, Cache::NoStore, words),
        error => refusal(StatusCode::BAD_REQUEST, Cache::NoStore, &format!("{words}\n{error}")),
    }
}

/// 400: a percent-escape that is none, or one that is not UTF-8.
pub fn invalid_escape() -> Answer {
    refusal(StatusCode::BAD_REQUEST, Cache::NoStore, "invalid percent-escape in the URL")
}

/// 400 with the cause.
pub fn bad_request(text: &str) -> Answer {
    refusal(StatusCode::BAD_REQUEST, Cache::NoStore, text)
}

/// 422: a proof that does not hold.
pub fn unprocessable(text: &str) -> Answer {
    refusal(StatusCode::UNPROCESSABLE_ENTITY, Cache::NoStore, text)
}

/// 200 with the signature lines of a witness.
pub fn cosignatures(lines: String) -> Answer {
    with(StatusCode::OK, TEXT, Cache::NoStore, Bytes::from(lines))
}

/// 409 with the size that a witness cosigned last: a decimal number and a newline, `text/x.tlog.size`.
pub fn tlog_size(size: TreeSize) -> Answer {
    with(StatusCode::CONFLICT, TLOG_SIZE, Cache::NoStore, Bytes::from(format!("{size}\n")))
}

/// 404 for a path or a log that this server does not have.
pub fn unknown_path() -> Answer {
    not_found("not found: no such path or checksum database on this server", NOT_FOUND_AGE_MAX)
}

/// 404 for a tile that the log does not have (yet).
pub fn no_tile() -> Answer {
    not_found("not found: the log has no such tile", NOT_FOUND_AGE_MAX)
}

/// 404 with the cause, to be kept at most `age` and at most [`NOT_FOUND_AGE_MAX`].
pub fn not_found(text: &str, age: Duration) -> Answer {
    refusal(StatusCode::NOT_FOUND, Cache::NotFound(age), text)
}

/// 403: policy does not allow it.
pub fn forbidden(text: &str) -> Answer {
    refusal(StatusCode::FORBIDDEN, Cache::NoStore, text)
}

/// 409: other hashes stand in the log for this module version. To the `go` command it is a hard error like
/// 403, but the status that it prints says what is wrong.
pub fn conflict(text: &str) -> Answer {
    refusal(StatusCode::CONFLICT, Cache::NoStore, text)
}

/// 405 with `Allow: GET, HEAD`: nothing on this server is written by HTTP.
pub fn method_not_allowed() -> Answer {
    let mut answer =
        refusal(StatusCode::METHOD_NOT_ALLOWED, Cache::NoStore, "only GET and HEAD are answered here");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

/// 202: it will be done.
pub fn accepted() -> Answer {
    plain(StatusCode::ACCEPTED, "accepted\n")
}

/// 401 for a hook: whatever is wrong with name or signature.
pub fn unsigned() -> Answer {
    let mut answer = refusal(StatusCode::UNAUTHORIZED, Cache::NoStore, "no valid signature");
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("HMAC-SHA256"));
    answer
}

/// 405 with `Allow: POST`, for a hook.
pub fn post_only() -> Answer {
    let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, Cache::NoStore, "only POST is answered here");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    answer
}

/// 408: a body that does not come.
pub fn body_too_slow(patience: Duration) -> Answer {
    let text = format!("the body did not come within {} s", patience.as_secs());
    refusal(StatusCode::REQUEST_TIMEOUT, Cache::NoStore, &text)
}

/// 413: a body that is too large.
pub fn body_too_large(max_bytes: u64) -> Answer {
    let text = format!("the body is larger than {max_bytes} bytes");
    refusal(StatusCode::PAYLOAD_TOO_LARGE, Cache::NoStore, &text)
}

/// 429 with `Retry-After` in whole seconds, at least one.
pub fn too_often(retry_after: Duration) -> Answer {
    let mut answer =
        refusal(StatusCode::TOO_MANY_REQUESTS, Cache::NoStore, "too many requests: try again later");
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(retry_after)));
    answer
}

/// 414: longer than any module version can be.
pub fn url_too_long(max_bytes: usize) -> Answer {
    let text = format!("the URL is longer than {max_bytes} bytes");
    refusal(StatusCode::URI_TOO_LONG, Cache::NoStore, &text)
}

/// 503 with `Retry-After` in whole seconds, at least one.
pub fn try_later(text: &str, retry_after: Duration) -> Answer {
    let mut answer = refusal(StatusCode::SERVICE_UNAVAILABLE, Cache::NoStore, text);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(retry_after)));
    answer
}

/// The same answer, with when trying again makes sense.
pub fn retry_later(mut answer: Answer, retry_after: Duration) -> Answer {
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(retry_after)));
    answer
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).max(1) as u64
}

/// 500. The text says what the client may know; the cause belongs in the log file.
pub fn internal(text: &str) -> Answer {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, Cache::NoStore, text)
}

/// A refusal as the `go` command prints it.
fn refusal(status: StatusCode, cache: Cache, text: &str) -> Answer {
    let mut answer = with(status, TEXT, cache, Bytes::from(fit_for_go(text)));
    // The text may name what the client asked for: no browser may take it for a page.
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// A short text of our own for people and probes (health, readiness), never cached.
pub fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    with(status, TEXT, Cache::NoStore, text.into())
}

/// The figures for Prometheus.
pub fn open_metrics(text: String) -> Answer {
    let content_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    with(StatusCode::OK, content_type, Cache::NoStore, Bytes::from(text))
}

/// 200 with a JSON document. One that must be asked for again each time gets an `ETag`, and 304 if the client has it.
pub fn json(headers: &HeaderMap, cache: Cache, document: &impl Serialize) -> Answer {
    let mut body = Vec::with_capacity(USUAL_JSON_BYTES);
    match serde_json::to_writer(&mut body, document).map(|()| body) {
        Ok(body) if cache == Cache::Revalidate => {
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
            problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                Cache::NoStore,
                "the answer could not be written as JSON",
            )
        }
    }
}

/// 200 with a JSON document that is part of this program, to be asked for again each time.
pub fn json_text(headers: &HeaderMap, text: &'static str) -> Answer {
    let etag = etag_of(text.as_bytes());
    if has_version(headers, &etag) {
        return not_modified(etag);
    }
    let mut answer = with(StatusCode::OK, JSON, Cache::Revalidate, Bytes::from_static(text.as_bytes()));
    answer.headers_mut().insert(ETAG, etag);
    answer
}

/// An error of `/api/v1` (RFC 9457): `{"type":"about:blank","title":…,"status":…,"detail":…}`.
pub fn problem(status: StatusCode, cache: Cache, detail: &str) -> Answer {
    #[derive(Serialize)]
    struct Problem<'a> {
        r#type: &'a str,
        title: &'a str,
        status: u16,
        detail: &'a str,
    }
    let title = status.canonical_reason().unwrap_or("Error");
    let document = Problem { r#type: "about:blank", title, status: status.as_u16(), detail };
    let body = serde_json::to_vec(&document).expect("strings and a number are always JSON");
    with(status, PROBLEM, cache, Bytes::from(body))
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

/// Makes a text fit for the `go` command: graphic characters only (another is named, as in `\u{1b}`), no blank line, at most
/// [`GO_ERROR_LINES_MAX`] lines and [`GO_ERROR_BYTES_MAX`] bytes; a line that would not fit is cut and ends
/// in `...`. The result ends in one newline and is never empty.
pub fn fit_for_go(text: &str) -> String {
    const CUT: &str = "...";
    let mut fitted = String::with_capacity(text.len().min(GO_ERROR_BYTES_MAX) + 1);
    // What `go` has printed so far: our bytes, and one more for each line break, which becomes "\n\t".
    let mut printed = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()).take(GO_ERROR_LINES_MAX) {
        if printed > 0 {
            printed += 2;
        }
        let Some(room) = GO_ERROR_BYTES_MAX.checked_sub(printed).filter(|&room| room > CUT.len()) else {
            break;
        };
        let start = fitted.len();
        fitted += &escape_where(&line.trim_end().replace('\t', " "), is_plain);
        if fitted.len() - start > room {
            let cut = fitted.floor_char_boundary(start + room - CUT.len());
            fitted.truncate(cut);
            fitted.push_str(CUT);
        }
        printed += fitted.len() - start;
        fitted.push('\n');
    }
    if fitted.is_empty() {
        fitted.push_str("no reason given\n");
    }
    fitted
}

/// Characters that every version of Unicode's tables calls graphic: those of ASCII and Latin, and general
/// punctuation. Newer letters would be unknown to an older `go`, which would then drop the whole text.
fn is_plain(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{24f}' | '\u{2010}'..='\u{2027}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `go` prints of a body: formatErrorDetail of cmd/go/internal/web/api.go (Go 1.26), told again.
    fn printed_by_go(body: &str) -> String {
        let odd = |c: char| c.is_control() && !c.is_whitespace() || ('\u{200b}'..='\u{200f}').contains(&c);
        if body.chars().any(odd) {
            return String::new();
        }
        let mut detail = String::new();
        for (i, line) in body.split('\n').enumerate() {
            if line.trim().is_empty() {
                break;
            }
            if i > 0 {
                detail.push_str("\n\t");
            }
            if i >= 8 {
                detail.push_str("[Truncated: too many lines.]");
                break;
            }
            if detail.len() + line.len() > 648 {
                detail.push_str("[Truncated: too long.]");
                break;
            }
            detail.push_str(line);
        }
        detail
    }

    #[test]
    fn every_text_fits_and_is_printed_whole() {
        let long = "x".repeat(10_000);
        let many = "line\n".repeat(50);
        let wide = "é".repeat(1_000);
        let exact = "y".repeat(GO_ERROR_BYTES_MAX);
        let eight = format!("{}\n", "z".repeat(100)).repeat(20);
        let texts = [
            "",
            "\n\n",
            "short",
            "a\n\nb",
            "bell \u{7} and \u{200b}",
            &long,
            &many,
            &wide,
            &exact,
            &eight,
            "a\r\nb\tc",
        ];
        for text in texts {
            let fitted = fit_for_go(text);
            let printed = printed_by_go(&fitted);
            assert_eq!(printed, fitted.trim_end().replace('\n', "\n\t"), "for {text:?}");
            assert!(!printed.contains("[Truncated"), "for {text:?}");
            assert!(!printed.is_empty(), "for {text:?}");
        }
        assert_eq!(fit_for_go("a\u{1b}[2K\u{202e}\r\tb\u{4e00}"), "a\\u{1b}[2K\\u{202e}\\u{d} b\\u{4e00}\n");
        assert_eq!(fit_for_go(&exact), format!("{exact}\n"));
        assert!(fit_for_go(&long).ends_with("xxx...\n"));
        assert_eq!(fit_for_go(&many).lines().count(), 8);
    }

    #[test]
    fn not_found_is_kept_a_minute_at_most() {
        for (age, header) in
            [(0, "public, max-age=0"), (7, "public, max-age=7"), (3600, "public, max-age=60")]
        {
            assert_eq!(Cache::NotFound(Duration::from_secs(age)).header(), header);
        }
    }

    #[test]
    fn retry_after_is_whole_seconds_rounded_up() {
        for (wait, header) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (90_000, "90")] {
            let answer = try_later("busy", Duration::from_millis(wait));
            assert_eq!(answer.headers()[RETRY_AFTER], header);
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
