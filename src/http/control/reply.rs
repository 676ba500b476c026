//! Reads requests that are no streams, and makes the answers of the control socket.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::stream::Pipe;
use crate::operate::Refusal;

/// The body of a request that is not a stream comes with its head. Each connection is one of a few.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// A request that is not a stream names one module version.
const MAX_REQUEST_BYTES: usize = 16 << 10;
/// Events that may wait for a reader.
const QUEUE_EVENTS: usize = 64;

/// Reads a request that is not a stream.
pub(super) async fn request_of<T: DeserializeOwned>(request: Request) -> Result<T, String> {
    serde_json::from_slice(&body_of(request).await?).map_err(|error| error.to_string())
}

/// Reads the body of a request that is not a stream.
pub(super) async fn body_of(request: Request) -> Result<Bytes, String> {
    let body = timeout(BODY_PATIENCE, Limited::new(request.into_body(), MAX_REQUEST_BYTES).collect()).await;
    let body = body.map_err(|_| format!("the body did not come within {} s", BODY_PATIENCE.as_secs()))?;
    Ok(body.map_err(|error| error.to_string())?.to_bytes())
}

/// Answers with a result: 200 with the value, 422 with the refusal.
pub(super) fn result<T: Serialize>(result: Result<T, Refusal>) -> Response {
    let (status, body) = match &result {
        Ok(answer) => (StatusCode::OK, serde_json::to_vec(answer)),
        Err(refusal) => (StatusCode::UNPROCESSABLE_ENTITY, serde_json::to_vec(refusal)),
    };
    response(status, "application/json", Body::from(body.expect("only string keys")))
}

/// Answers with a line for each event. Work that is slower than its reader ends when the reader is
/// gone: the channel is closed then.
pub(super) fn events<T: Serialize + Send + 'static>() -> (mpsc::Sender<T>, Response) {
    let (sender, receiver) = mpsc::channel(QUEUE_EVENTS);
    (sender, response(StatusCode::OK, "application/x-ndjson", Body::new(Pipe::of_lines(receiver))))
}

/// Answers that the request cannot be read.
pub(super) fn malformed(why: String) -> Response {
    response(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", Body::from(why))
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let builder = Response::builder().status(status).header(header::CONTENT_TYPE, content_type);
    builder.body(body).expect("a status and a header that are constants")
}
