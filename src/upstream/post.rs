//! POST: one request, one answer of any status, bounded as a GET is. Redirects are not followed:
//! what is posted is for that server.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use tokio::time::timeout_at;

use super::HttpClient;
use super::download::{MAX_RETRY_AFTER, Timer, classify, short_header};
use super::error::{FetchError, Waiting};
use crate::source::{RedactedUrl, SourceUrl};

/// An answer to a POST.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Its status.
    pub status: u16,
    /// `Content-Type`, if it is short text.
    pub content_type: Option<String>,
    /// How long the server asks to be left alone, at most [`MAX_RETRY_AFTER`]; seconds only.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Bytes,
}

impl HttpClient {
    /// Posts `body` to `url`: an answer of at most `max_bytes`, until `deadline` at the latest.
    pub async fn post(
        &self,
        url: &SourceUrl,
        body: Bytes,
        max_bytes: u64,
        deadline: Instant,
    ) -> Result<Posted, FetchError> {
        let timer = self.timer(deadline);
        let shown = url.redacted();
        let Some(server) = url.server() else {
            return Err(FetchError::BadContent {
                url: shown,
                why: "a file takes no requests".to_owned(),
                ours: true,
            });
        };
        let mut request = self.open.post(server.request_url().clone()).body(body);
        if let Some(credentials) = server.credentials() {
            request = request.basic_auth(credentials.user().as_str(), Some(credentials.password().as_str()));
        }
        let response = match timeout_at(timer.deadline.into(), request.send()).await {
            Err(_) => return Err(timer.expired(shown, Waiting::Answer)),
            Ok(sent) => sent.map_err(|e| classify(shown.clone(), &e, 0, Waiting::Answer, &timer))?,
        };
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Posted {
            status: response.status().as_u16(),
            content_type: short_header(&response, CONTENT_TYPE),
            retry_after: seconds.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER)),
            body: read(response, max_bytes, shown, &timer).await?,
        })
    }
}

async fn read(
    mut response: reqwest::Response,
    max_bytes: u64,
    url: RedactedUrl,
    timer: &Timer,
) -> Result<Bytes, FetchError> {
    let mut body = Vec::new();
    loop {
        let chunk = match timeout_at(timer.deadline.into(), response.chunk()).await {
            Err(_) => return Err(timer.expired(url, Waiting::Body)),
            Ok(chunk) => {
                chunk.map_err(|e| classify(url.clone(), &e, body.len() as u64, Waiting::Body, timer))?
            }
        };
        let Some(chunk) = chunk else { return Ok(body.into()) };
        body.extend_from_slice(&chunk);
        if body.len() as u64 > max_bytes {
            return Err(FetchError::TooLarge { url, max_bytes });
        }
    }
}
