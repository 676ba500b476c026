//! One request and its answer, of any status, bounded as a fetch is. Redirects are not followed: what
//! is posted is for that server, and whoever typed a URL meant that server.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{RequestBuilder, Response};
use tokio::time::timeout_at;

use super::HttpClient;
use super::download::{MAX_RETRY_AFTER, Timer, classify, short_header};
use super::error::{FetchError, UpstreamMessage, Waiting};
use crate::source::{RedactedUrl, ServerUrl, SourceUrl};

/// An answer of any status.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
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
    /// Asks for `url`: an answer of at most `max_bytes`, until `deadline` at the latest.
    pub async fn ask(
        &self,
        url: &ServerUrl,
        max_bytes: u64,
        deadline: Instant,
    ) -> Result<HttpAnswer, FetchError> {
        self.exchange(self.open.get(url.request_url().clone()), url, max_bytes, deadline).await
    }

    /// Posts `body` to `url`: an answer of at most `max_bytes`, until `deadline` at the latest.
    pub async fn post(
        &self,
        url: &SourceUrl,
        body: Bytes,
        max_bytes: u64,
        deadline: Instant,
    ) -> Result<HttpAnswer, FetchError> {
        let Some(server) = url.server() else {
            let why = "a file takes no requests".to_owned();
            return Err(FetchError::BadContent { url: url.redacted(), why, ours: true });
        };
        let request = self.open.post(server.request_url().clone()).body(body);
        self.exchange(request, server, max_bytes, deadline).await
    }

    /// Posts `body` with headers to `url`, and returns the status of the answer. Its body is not
    /// read.
    pub async fn notify(
        &self,
        url: &ServerUrl,
        headers: &[(&'static str, String)],
        body: Bytes,
        deadline: Instant,
    ) -> Result<u16, FetchError> {
        let request = self.open.post(url.request_url().clone()).body(body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        Ok(self.begin(request, url, &self.timer(deadline)).await?.status().as_u16())
    }

    async fn exchange(
        &self,
        request: RequestBuilder,
        url: &ServerUrl,
        max_bytes: u64,
        deadline: Instant,
    ) -> Result<HttpAnswer, FetchError> {
        let timer = self.timer(deadline);
        let response = self.begin(request, url, &timer).await?;
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(HttpAnswer {
            status: response.status().as_u16(),
            content_type: short_header(&response, CONTENT_TYPE),
            retry_after: seconds.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER)),
            body: read(response, max_bytes, url.redacted(), &timer).await?,
        })
    }

    /// Sends a request, and waits for the head of the answer.
    async fn begin(
        &self,
        mut request: RequestBuilder,
        url: &ServerUrl,
        timer: &Timer,
    ) -> Result<Response, FetchError> {
        if let Some(credentials) = url.credentials() {
            request = request.basic_auth(credentials.user().as_str(), Some(credentials.password().as_str()));
        }
        let failed = |error: reqwest::Error| {
            self.blame(url, classify(url.redacted(), &error, 0, Waiting::Answer, timer))
        };
        let response = match timeout_at(timer.deadline.into(), request.send()).await {
            Err(_) => return Err(timer.expired(url.redacted(), Waiting::Answer)),
            Ok(sent) => sent.map_err(failed)?,
        };
        let status = response.status().as_u16();
        if status == 407 {
            // No server answers that, only a proxy does.
            let said = UpstreamMessage::default();
            return Err(self.blame(url, FetchError::Forbidden { url: url.redacted(), status, said }));
        }
        Ok(response)
    }
}

async fn read(
    mut response: Response,
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
