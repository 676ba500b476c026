//! Refusals and failures of what the `go` command asks: plain text, which it prints at somebody's prompt.

use std::time::Duration;

use axum::http::header::{ALLOW, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use bytes::Bytes;

use super::{Answer, CacheControl, NOT_FOUND_AGE_MAX, TEXT, retry_later, with};
use crate::http::body::BodyError;
use crate::module::WireError;
use crate::visible::fit_for_go;

/// 400 `invalid tile syntax`, the words of x/mod's server.
pub fn invalid_tile() -> Answer {
    refusal(StatusCode::BAD_REQUEST, CacheControl::NoStore, "invalid tile syntax")
}

/// 400 `invalid module@version syntax`, the words of x/mod's server, and in a second line what is wrong, where more than the
/// syntax is.
pub fn invalid_lookup(error: &WireError) -> Answer {
    let words = "invalid module@version syntax";
    match error {
        WireError::Syntax => refusal(StatusCode::BAD_REQUEST, CacheControl::NoStore, words),
        error => refusal(StatusCode::BAD_REQUEST, CacheControl::NoStore, &format!("{words}\n{error}")),
    }
}

/// 400: a percent-escape that is none, or one that is not UTF-8.
pub fn invalid_escape() -> Answer {
    refusal(StatusCode::BAD_REQUEST, CacheControl::NoStore, "invalid percent-escape in the URL")
}

/// 400 with the cause.
pub fn bad_request(text: &str) -> Answer {
    refusal(StatusCode::BAD_REQUEST, CacheControl::NoStore, text)
}

/// 422: a proof that does not hold.
pub fn unprocessable(text: &str) -> Answer {
    refusal(StatusCode::UNPROCESSABLE_ENTITY, CacheControl::NoStore, text)
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
    refusal(StatusCode::NOT_FOUND, CacheControl::NotFound(age), text)
}

/// 403: policy does not allow it.
pub fn forbidden(text: &str) -> Answer {
    refusal(StatusCode::FORBIDDEN, CacheControl::NoStore, text)
}

/// 409: other hashes stand in the log for this module version. To the `go` command it is a hard error like
/// 403, but the status that it prints says what is wrong.
pub fn conflict(text: &str) -> Answer {
    refusal(StatusCode::CONFLICT, CacheControl::NoStore, text)
}

/// 405 with `Allow: GET, HEAD`: nothing on this server is written by HTTP.
pub fn method_not_allowed() -> Answer {
    let mut answer =
        refusal(StatusCode::METHOD_NOT_ALLOWED, CacheControl::NoStore, "only GET and HEAD are answered here");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

/// 401 for a hook: whatever is wrong with name or signature.
pub fn unsigned() -> Answer {
    let mut answer = refusal(StatusCode::UNAUTHORIZED, CacheControl::NoStore, "no valid signature");
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("HMAC-SHA256"));
    answer
}

/// 405 with `Allow: POST`, for a hook.
pub fn post_only() -> Answer {
    let mut answer =
        refusal(StatusCode::METHOD_NOT_ALLOWED, CacheControl::NoStore, "only POST is answered here");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    answer
}

/// 400, 408 or 413: a body that was not read to its end.
pub(in crate::http) fn body_not_read(error: BodyError) -> Answer {
    refusal(error.status(), CacheControl::NoStore, &error.to_string())
}

/// 429 with `Retry-After` in whole seconds, at least one.
pub fn too_often(retry_after: Duration) -> Answer {
    let text = "too many requests: try again later";
    retry_later(refusal(StatusCode::TOO_MANY_REQUESTS, CacheControl::NoStore, text), retry_after)
}

/// 414: longer than any module version can be.
pub fn url_too_long(max_bytes: usize) -> Answer {
    let text = format!("the URL is longer than {max_bytes} bytes");
    refusal(StatusCode::URI_TOO_LONG, CacheControl::NoStore, &text)
}

/// 503 with `Retry-After` in whole seconds, at least one.
pub fn try_later(text: &str, retry_after: Duration) -> Answer {
    retry_later(refusal(StatusCode::SERVICE_UNAVAILABLE, CacheControl::NoStore, text), retry_after)
}

/// 500. The text says what the client may know; the cause belongs in the log file.
pub fn internal(text: &str) -> Answer {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, CacheControl::NoStore, text)
}

/// A refusal as the `go` command prints it.
fn refusal(status: StatusCode, cache: CacheControl, text: &str) -> Answer {
    let mut answer = with(status, TEXT, cache, Bytes::from(fit_for_go(text)));
    // The text may name what the client asked for: no browser may take it for a page.
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::RETRY_AFTER;

    #[test]
    fn retry_after_is_whole_seconds_rounded_up() {
        for (wait, header) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (90_000, "90")] {
            let answer = try_later("busy", Duration::from_millis(wait));
            assert_eq!(answer.headers()[RETRY_AFTER], header);
        }
    }
}
