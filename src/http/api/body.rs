//! The body of a request to the API: bounded in length and in the time that it may take to come.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{bad_request, problem};
use crate::http::answer::Answer;

/// How long a body may take to come: all of them are small.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// All of a body, or the refusal.
pub(in crate::http) async fn read_body(body: Body, max_bytes: usize) -> Result<Bytes, Answer> {
    match tokio::time::timeout(BODY_PATIENCE, Limited::new(body, max_bytes).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let why = format!("the body is larger than {max_bytes} bytes");
            Err(problem(StatusCode::PAYLOAD_TOO_LARGE, &why))
        }
        Ok(Err(_)) => Err(bad_request("the body did not come whole")),
        Err(_) => {
            let why = format!("the body did not come within {} s", BODY_PATIENCE.as_secs());
            Err(problem(StatusCode::REQUEST_TIMEOUT, &why))
        }
    }
}
