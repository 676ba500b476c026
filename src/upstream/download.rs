//! One answer: its status and headers judged, its body counted, its failures named.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use tokio::time::timeout_at;

use super::error::{FetchError, NOT_HTTP, RedirectRefusal, Stage, UpstreamMessage, Waiting};
use super::gunzip::Gunzip;
use super::handshake::{self, Fix, TlsFault};
use super::network::{NameError, causes, root_cause};
use super::proxy_fault::TunnelFault;
use super::throttle::Throttle;
use crate::clock::Clock;
use crate::source::RedactedUrl;

/// A server that asks for a longer pause is asked again after this long.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// How much of an error body is read, and for how long at most: it is only for people.
const MAX_ERROR_BODY_BYTES: usize = 2048;
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// By so much, and a part of its size, a gzip body may be longer than what is in it.
const GZIP_EXTRA_BYTES: u64 = 64 << 10;
/// Header values that are handed on are cut off here.
const MAX_HEADER_VALUE_BYTES: usize = 256;

/// An answer whose body is still to be read.
pub(super) struct Download {
    pub(super) url: RedactedUrl,
    pub(super) response: reqwest::Response,
    max_bytes: u64,
    /// Bytes as they were sent.
    received: u64,
    /// Bytes as they are handed on.
    decoded: u64,
    gunzip: Option<Gunzip>,
    timer: Timer,
    throttle: Option<Arc<Throttle>>,
}

/// The time limits of one fetch.
#[derive(Clone, Debug)]
pub(super) struct Timer {
    pub(super) clock: Clock,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
    pub(super) read_timeout: Duration,
}

impl Download {
    /// Judges status and headers.
    pub(super) async fn start(
        url: RedactedUrl,
        response: reqwest::Response,
        max_bytes: u64,
        timer: Timer,
        throttle: Option<Arc<Throttle>>,
    ) -> Result<Download, FetchError> {
        if response.status() != StatusCode::OK {
            return Err(failure(url, response, &timer).await);
        }
        let gunzip = Gunzip::of(response.headers());
        let download =
            Download { url, response, max_bytes, received: 0, decoded: 0, gunzip, timer, throttle };
        match download.response.content_length() {
            Some(length) if length > download.max_sent_bytes() => Err(download.too_large()),
            _ => Ok(download),
        }
    }

    /// The next bytes of the body, decoded; none at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if let Some(gunzip) = &mut self.gunzip {
                let piece = gunzip.piece().map_err(|error| self.damaged(&error))?;
                if let Some(piece) = piece {
                    return self.count(piece).map(Some);
                }
            }
            let Some(sent) = self.sent().await? else { break };
            match &mut self.gunzip {
                Some(gunzip) => gunzip.feed(sent),
                None => return self.count(sent).map(Some),
            }
        }
        let Some(gunzip) = self.gunzip.take() else { return Ok(None) };
        let last = gunzip.finish().map_err(|error| self.damaged(&error))?;
        if last.is_empty() { Ok(None) } else { self.count(last).map(Some) }
    }

    /// The next bytes of the body as they were sent.
    async fn sent(&mut self) -> Result<Option<Bytes>, FetchError> {
        let wait = self.timer.until(self.timer.read_timeout);
        let chunk = match timeout_at(wait.into(), self.response.chunk()).await {
            Err(_) => return Err(self.timer.expired(self.url.clone(), Waiting::Body)),
            Ok(Err(e)) => {
                return Err(classify(self.url.clone(), &e, self.received, Waiting::Body, &self.timer));
            }
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(chunk))) => chunk,
        };
        self.received += chunk.len() as u64;
        if self.received > self.max_sent_bytes() {
            return Err(self.too_large());
        }
        // A body that always has bytes ready would never let the timer above run out.
        if self.timer.clock.instant() >= self.timer.deadline {
            return Err(self.timer.expired(self.url.clone(), Waiting::Body));
        }
        if let Some(throttle) = &self.throttle {
            // The server is not to blame for the time that we let it wait.
            self.timer.deadline += throttle.received(chunk.len() as u64).await;
        }
        Ok(Some(chunk))
    }

    fn count(&mut self, decoded: Bytes) -> Result<Bytes, FetchError> {
        self.decoded += decoded.len() as u64;
        if self.decoded > self.max_bytes { Err(self.too_large()) } else { Ok(decoded) }
    }

    /// The most that may be sent. gzip makes what does not compress a little longer.
    fn max_sent_bytes(&self) -> u64 {
        match self.gunzip {
            Some(_) => self.max_bytes.saturating_add(self.max_bytes / 64).saturating_add(GZIP_EXTRA_BYTES),
            None => self.max_bytes,
        }
    }

    fn too_large(&self) -> FetchError {
        FetchError::TooLarge { url: self.url.clone(), max_bytes: self.max_bytes }
    }

    fn damaged(&self, error: &std::io::Error) -> FetchError {
        let why = format!("it is sent with Content-Encoding gzip and cannot be decoded ({error})");
        FetchError::BadContent { url: self.url.clone(), why, ours: false }
    }
}

impl Timer {
    /// The end of a wait of at most `longest`.
    pub(super) fn until(&self, longest: Duration) -> Instant {
        self.deadline.min(self.clock.instant() + longest)
    }

    pub(super) fn expired(&self, url: RedactedUrl, waiting: Waiting) -> FetchError {
        FetchError::Timeout { url, waiting, after: self.clock.instant() - self.started }
    }

    /// Bounds work on local files, which hangs where a network file system does.
    pub(super) async fn limit_file<T>(
        &self,
        url: RedactedUrl,
        work: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        match timeout_at(self.deadline.into(), work).await {
            Ok(done) => done,
            Err(_) => Err(self.expired(url, Waiting::File)),
        }
    }
}

/// Turns an answer that is not a 200 into an error, with what the server said if it is plain text.
async fn failure(url: RedactedUrl, mut response: reqwest::Response, timer: &Timer) -> FetchError {
    let status = response.status().as_u16();
    let now = timer.clock.now();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| parse_retry_after(v, now));
    let plain = short_header(&response, CONTENT_TYPE)
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/plain"));
    let mut text = Vec::new();
    if plain {
        let until = timer.until(ERROR_BODY_TIMEOUT);
        while text.len() < MAX_ERROR_BODY_BYTES {
            let Ok(Ok(Some(chunk))) = timeout_at(until.into(), response.chunk()).await else { break };
            text.extend_from_slice(&chunk[..chunk.len().min(MAX_ERROR_BODY_BYTES)]);
        }
    }
    let text = match Gunzip::of(response.headers()) {
        Some(gunzip) => gunzip.beginning(text),
        None => text,
    };
    let said = UpstreamMessage::clean(&text);
    match status {
        404 | 410 => FetchError::NotFound { url, status, said },
        401 | 403 | 407 => FetchError::Forbidden { url, status, said },
        408 | 425 | 429 | 500..=599 => FetchError::Unavailable { url, status, retry_after, said },
        _ => FetchError::UnexpectedStatus { url, status, said },
    }
}

/// `Retry-After: 120` or an HTTP date.
fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = DateTimeParser::new().parse_timestamp(value).ok()?;
            Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// A header's value if it is short text.
pub(super) fn short_header(response: &reqwest::Response, name: HeaderName) -> Option<String> {
    let value = response.headers().get(name)?.to_str().ok()?;
    (value.len() <= MAX_HEADER_VALUE_BYTES).then(|| value.to_owned())
}

/// Sorts an error of the HTTP library by its cause.
pub(super) fn classify(
    url: RedactedUrl,
    error: &reqwest::Error,
    received: u64,
    waiting: Waiting,
    timer: &Timer,
) -> FetchError {
    let why = root_cause(error);
    let unreachable = |url, stage, why, fix| FetchError::Unreachable { url, stage, why, fix: Some(fix) };
    if let Some(refused) = causes(error).find_map(TunnelFault::of) {
        return refused.into_error(url, &why);
    }
    if error.is_timeout() {
        let waiting = if error.is_connect() { Waiting::Connect } else { waiting };
        return timer.expired(url, waiting);
    }
    if let Some(name) = causes(error).find_map(|cause| cause.downcast_ref::<NameError>()) {
        // Only redirects are confined to public addresses, so the place it came from was allowed
        // and this one is not.
        return match name {
            NameError::Private => {
                let refusal = RedirectRefusal::PrivateAddress;
                FetchError::Redirect { first: url.clone(), to: url.clone(), url, refusal }
            }
            NameError::Failed(_) | NameError::Empty => unreachable(url, Stage::Dns, why, Fix::Resolve),
        };
    }
    if received == 0
        && let Some(tls) = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>())
    {
        let TlsFault { why, fix } = handshake::fault(tls);
        return unreachable(url, Stage::Tls, why, fix);
    }
    // A peer that does not speak TLS often just hangs up.
    let hung_up = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::UnexpectedEof;
    if error.is_connect() && causes(error).filter_map(|c| c.downcast_ref()).any(hung_up) {
        let why = "the server hung up during the handshake".to_owned();
        return unreachable(url, Stage::Tls, why, Fix::NotTls);
    }
    if error.is_connect() {
        return unreachable(url, Stage::Connect, why, Fix::Connect);
    }
    let mut hyper = causes(error).filter_map(|cause| cause.downcast_ref::<hyper::Error>());
    if let Some(cause) = hyper.find(|cause| cause.is_parse() || cause.is_parse_too_large()) {
        // The go command reads far more headers.
        let ours = cause.is_parse_too_large();
        return FetchError::BadContent { url, why: format!("{NOT_HTTP}: {why}"), ours };
    }
    FetchError::Broken { url, received, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_capped() {
        let now: Timestamp = "2026-11-21T13:00:00Z".parse().unwrap();
        for (value, want) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sat, 21 Nov 2026 13:00:30 GMT", Some(30)),
            ("Sat, 21 Nov 2026 12:00:00 GMT", Some(0)),
            ("999999999999", Some(3600)),
            ("Thu, 30 Dec 2027 00:00:00 GMT", Some(3600)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(parse_retry_after(value, now), want.map(Duration::from_secs), "{value:?}");
        }
    }
}
