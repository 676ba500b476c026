//! Errors of `/api/v1`: problem details as RFC 9457 has them, `application/problem+json`.
//!
//! ```json
//! {"type":"about:blank","title":"Not Found","status":404,"detail":"the log has no record of this number"}
//! ```

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::{Answer, CacheControl, NOT_FOUND_AGE_MAX, retry_later, with};
use crate::http::body::BodyError;

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An error of the API, before it is sent or becomes a part of a longer answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct ProblemDetails {
    status: StatusCode,
    detail: String,
    cache: CacheControl,
    retry_after: Option<Duration>,
}

impl ProblemDetails {
    fn new(status: StatusCode, detail: impl Into<String>) -> ProblemDetails {
        ProblemDetails { status, detail: detail.into(), cache: CacheControl::NoStore, retry_after: None }
    }

    /// 400: the request means nothing.
    pub(in crate::http) fn bad_request(detail: impl Into<String>) -> ProblemDetails {
        ProblemDetails::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 403: a signature that is nobody's here.
    pub(in crate::http) fn forbidden(detail: impl Into<String>) -> ProblemDetails {
        ProblemDetails::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404. A cache may keep it for [`NOT_FOUND_AGE_MAX`].
    pub(in crate::http) fn not_found(detail: impl Into<String>) -> ProblemDetails {
        let cache = CacheControl::NotFound(NOT_FOUND_AGE_MAX);
        ProblemDetails { cache, ..ProblemDetails::new(StatusCode::NOT_FOUND, detail) }
    }

    /// 405.
    pub(in crate::http) fn method_not_allowed(detail: impl Into<String>) -> ProblemDetails {
        ProblemDetails::new(StatusCode::METHOD_NOT_ALLOWED, detail)
    }

    /// 413: more than one request may ask for.
    pub(in crate::http) fn too_large(detail: impl Into<String>) -> ProblemDetails {
        ProblemDetails::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// 422: well formed, and still not what the endpoint takes.
    pub(in crate::http) fn unprocessable(detail: impl Into<String>) -> ProblemDetails {
        ProblemDetails::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 429, with `Retry-After`.
    pub(in crate::http) fn too_many(detail: impl Into<String>, retry_after: Duration) -> ProblemDetails {
        ProblemDetails {
            retry_after: Some(retry_after),
            ..ProblemDetails::new(StatusCode::TOO_MANY_REQUESTS, detail)
        }
    }

    /// 500. The detail says what the client may know; the cause belongs in the server's log.
    pub(in crate::http) fn internal(detail: impl Into<String>) -> ProblemDetails {
        ProblemDetails::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// 503, with `Retry-After` where it is known when to come back.
    pub(in crate::http) fn unavailable(
        detail: impl Into<String>,
        retry_after: Option<Duration>,
    ) -> ProblemDetails {
        ProblemDetails { retry_after, ..ProblemDetails::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// The same, which no cache may keep.
    pub(in crate::http) fn uncached(self) -> ProblemDetails {
        ProblemDetails { cache: CacheControl::NoStore, ..self }
    }

    /// The status code as a number.
    pub(in crate::http) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The reason phrase of the status code.
    pub(in crate::http) fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }

    /// What is wrong with this request.
    pub(in crate::http) fn into_detail(self) -> String {
        self.detail
    }

    /// The answer that consists of this problem.
    pub(in crate::http) fn answer(&self) -> Answer {
        #[derive(Serialize)]
        struct Document<'a> {
            r#type: &'a str,
            title: &'a str,
            status: u16,
            detail: &'a str,
        }
        let document = Document {
            r#type: "about:blank",
            title: self.title(),
            status: self.status(),
            detail: &self.detail,
        };
        let body = serde_json::to_vec(&document).expect("strings and a number are always JSON");
        let answer = with(self.status, PROBLEM, self.cache, body);
        match self.retry_after {
            Some(pause) => retry_later(answer, pause),
            None => answer,
        }
    }
}

impl From<BodyError> for ProblemDetails {
    fn from(error: BodyError) -> ProblemDetails {
        ProblemDetails::new(error.status(), error.to_string())
    }
}
