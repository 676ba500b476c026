//! Answers on the control socket. Nobody caches them, and no `go` command prints them.

use axum::body::Body;
use axum::http::StatusCode;

use super::{Answer, HeaderValue, JSON, bare};

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// 200 with a JSON document.
pub(in crate::http) fn done(json: Vec<u8>) -> Answer {
    bare(StatusCode::OK, JSON, json)
}

/// 422 with a JSON document that says why not.
pub(in crate::http) fn refused(json: Vec<u8>) -> Answer {
    bare(StatusCode::UNPROCESSABLE_ENTITY, JSON, json)
}

/// 200 with one JSON document a line, as they come.
pub(in crate::http) fn lines(stream: Body) -> Answer {
    bare(StatusCode::OK, NDJSON, stream)
}

/// 400: the request cannot be read.
pub(in crate::http) fn malformed(why: String) -> Answer {
    bare(StatusCode::BAD_REQUEST, PLAIN, why)
}
