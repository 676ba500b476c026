//! Reads requests that are no streams, and makes the answers of the control socket.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::stream::Pipe;
use crate::http::answer::{Answer, control};
use crate::http::body;
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
pub(super) async fn body_of(request: Request) -> Result<Vec<u8>, String> {
    let body = body::read(request.into_body(), MAX_REQUEST_BYTES, BODY_PATIENCE).await;
    body.map_err(|error| error.to_string())
}

/// Answers with a result: the value, or the refusal.
pub(super) fn result<T: Serialize>(result: Result<T, Refusal>) -> Answer {
    const WHY: &str = "only string keys";
    match &result {
        Ok(value) => control::done(serde_json::to_vec(value).expect(WHY)),
        Err(refusal) => control::refused(serde_json::to_vec(refusal).expect(WHY)),
    }
}

/// Answers with a line for each event. Work that is slower than its reader ends when the reader is
/// gone: the channel is closed then.
pub(super) fn events<T: Serialize + Send + 'static>() -> (mpsc::Sender<T>, Answer) {
    let (sender, receiver) = mpsc::channel(QUEUE_EVENTS);
    (sender, control::lines(Body::new(Pipe::of_lines(receiver))))
}
