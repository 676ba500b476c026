//! The HTTP client: GET, bounded in bytes, time, headers and redirects; local files by the same calls.
//!
//! Everything that a server sends is counted as it comes. Content encodings are neither asked for nor accepted, so a byte
//! counted is a byte hashed. An `Ok` is always a 200; every other outcome is a [`FetchError`].

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName, LOCATION, RETRY_AFTER};
use tokio::time::timeout_at;

use super::error::{FetchError, RedirectRefusal, Said, Stage, Waiting};
use super::files;
use super::network::{ClientError, NameError, ProxySettings, causes, connector, root_cause};
use super::redirect::{RedirectRules, Refused};
use super::spool::{Spool, Spooled};
use super::url::{Kind, RedactedUrl, RemoteUrl, SourceUrl};
use crate::clock::Clock;

/// A server that asks for a longer pause is asked again after this long.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// How much of an error body is read, and for how long at most: it is only for people.
const MAX_ERROR_BODY_BYTES: usize = 2048;
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// Header values that are handed on are cut off here.
const MAX_HEADER_VALUE_BYTES: usize = 256;

/// How the client behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// PEM file of root certificates that are trusted instead of the system's.
    pub roots: Option<PathBuf>,
    /// Outgoing proxies.
    pub proxies: ProxySettings,
    /// Time for name look-up, connection and TLS handshake.
    pub connect_timeout: Duration,
    /// Longest silence while an answer is awaited or read.
    pub read_timeout: Duration,
    /// Longest time for one fetch with all its redirects, whatever deadline the caller gives.
    pub total_timeout: Duration,
    /// What we call ourselves; with a contact, so that an upstream's operator can reach ours.
    pub user_agent: String,
    /// Which redirects are followed.
    pub redirects: RedirectRules,
    /// Time for deadlines and for dates in `Retry-After`.
    pub clock: Clock,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            roots: None,
            proxies: ProxySettings::from_env(),
            connect_timeout: Duration::from_secs(10),
            // sum.golang.org and module proxies fetch from version control while the client waits.
            read_timeout: Duration::from_secs(60),
            total_timeout: Duration::from_secs(600),
            user_agent: concat!("tallystick/", env!("CARGO_PKG_VERSION")).to_owned(),
            redirects: RedirectRules::default(),
            clock: Clock::system(),
        }
    }
}

/// The client of every other server. Clones share connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    open: reqwest::Client,
    /// For redirects to other hosts: connects to public addresses only.
    public_only: reqwest::Client,
    options: ClientOptions,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Where it came from, after redirects.
    pub url: RedactedUrl,
    /// `Content-Type`, if it is short text.
    pub content_type: Option<String>,
    /// `ETag`, if it is short text.
    pub etag: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// An answer whose body is still to be read.
pub(super) struct Download {
    url: RedactedUrl,
    response: reqwest::Response,
    max_bytes: u64,
    received: u64,
    timer: Timer,
}

/// The time limits of one fetch.
#[derive(Clone, Debug)]
struct Timer {
    clock: Clock,
    started: Instant,
    deadline: Instant,
    read_timeout: Duration,
}

impl HttpClient {
    /// Makes a client; reads the root certificates.
    pub fn new(options: ClientOptions) -> Result<HttpClient, ClientError> {
        let (open, public_only) = (connector(&options, false)?, connector(&options, true)?);
        Ok(HttpClient { open, public_only, options })
    }

    /// The clock that deadlines are measured with.
    pub fn clock(&self) -> &Clock {
        &self.options.clock
    }

    /// The options it was made with.
    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// Fetches `url` into memory: at most `max_bytes`, until `deadline` at the latest.
    pub async fn get(
        &self,
        url: &SourceUrl,
        max_bytes: u64,
        deadline: Instant,
    ) -> Result<Response, FetchError> {
        match url.kind() {
            Kind::File(path) => {
                let timer = self.timer(deadline);
                let body =
                    timer.limit_file(url.redacted(), files::read(path, url.redacted(), max_bytes)).await?;
                Ok(Response { url: url.redacted(), content_type: None, etag: None, body })
            }
            Kind::Remote(remote) => {
                let mut download = self.open(remote, max_bytes, deadline).await?;
                let mut body = Vec::new();
                while let Some(chunk) = download.chunk().await? {
                    body.extend_from_slice(&chunk);
                }
                Ok(Response {
                    content_type: short_header(&download.response, CONTENT_TYPE),
                    etag: short_header(&download.response, ETAG),
                    url: download.url,
                    body: body.into(),
                })
            }
        }
    }

    /// Fetches `url` into `file`, from its current position; returns size and SHA-256, computed as the bytes came. After an
    /// error the file holds a part of the body.
    pub async fn get_to_file(
        &self,
        url: &SourceUrl,
        max_bytes: u64,
        deadline: Instant,
        file: std::fs::File,
    ) -> Result<Spooled, FetchError> {
        self.spool(url, max_bytes, deadline, Spool::into_file(file)).await
    }

    /// Fetches `url` into memory while it is small, else into an unnamed temporary file in `directory`.
    pub async fn get_to_spool(
        &self,
        url: &SourceUrl,
        max_bytes: u64,
        deadline: Instant,
        directory: &std::path::Path,
    ) -> Result<Spooled, FetchError> {
        self.spool(url, max_bytes, deadline, Spool::new(directory)).await
    }

    async fn spool(
        &self,
        url: &SourceUrl,
        max_bytes: u64,
        deadline: Instant,
        mut spool: Spool,
    ) -> Result<Spooled, FetchError> {
        let local = |source| FetchError::Local { url: url.redacted(), source };
        match url.kind() {
            Kind::File(path) => {
                let copy = files::copy(path, url.redacted(), max_bytes, spool);
                self.timer(deadline).limit_file(url.redacted(), copy).await
            }
            Kind::Remote(remote) => {
                let mut download = self.open(remote, max_bytes, deadline).await?;
                while let Some(chunk) = download.chunk().await? {
                    spool.push(&chunk).await.map_err(local)?;
                }
                spool.finish().await.map_err(local)
            }
        }
    }

    fn timer(&self, deadline: Instant) -> Timer {
        let (clock, read_timeout) = (self.options.clock.clone(), self.options.read_timeout);
        let started = clock.instant();
        Timer { clock, started, deadline: deadline.min(started + self.options.total_timeout), read_timeout }
    }

    /// Sends the request, follows redirects, and returns the first answer that is a 200.
    async fn open(
        &self,
        first: &RemoteUrl,
        max_bytes: u64,
        deadline: Instant,
    ) -> Result<Download, FetchError> {
        let timer = self.timer(deadline);
        let (mut current, mut public_only, mut hops) = (first.clone(), false, 0);
        loop {
            let response = self.send(&current, public_only, &timer).await?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Download::start(current.redacted(), response, max_bytes, timer).await;
            }
            let location =
                response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("//");
            let hop = self.options.redirects.follow(first, &current, location, hops).map_err(|refused| {
                let Refused { to, refusal } = refused;
                FetchError::Redirect { url: current.redacted(), to, refusal }
            })?;
            (current, public_only, hops) = (hop.to, hop.public_only, hops + 1);
        }
    }

    async fn send(
        &self,
        target: &RemoteUrl,
        public_only: bool,
        timer: &Timer,
    ) -> Result<reqwest::Response, FetchError> {
        let client = if public_only { &self.public_only } else { &self.open };
        let mut request = client.get(target.url.clone());
        if let Some(credentials) = &target.credentials {
            request = request.basic_auth(&credentials.user, Some(credentials.password.as_str()));
        }
        // The connection has its own, usually shorter limit; silence after it is a silent server.
        let wait = timer.until(timer.read_timeout.max(self.options.connect_timeout));
        match timeout_at(wait.into(), request.send()).await {
            Err(_) => Err(timer.expired(target.redacted(), Waiting::Answer)),
            Ok(sent) => sent.map_err(|e| classify(target.redacted(), &e, 0, Waiting::Answer, timer)),
        }
    }
}

impl Download {
    /// Judges status and headers.
    async fn start(
        url: RedactedUrl,
        response: reqwest::Response,
        max_bytes: u64,
        timer: Timer,
    ) -> Result<Download, FetchError> {
        if response.status() != StatusCode::OK {
            return Err(failure(url, response, &timer).await);
        }
        if let Some(encoding) = response.headers().get(CONTENT_ENCODING)
            && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            let encoding = String::from_utf8_lossy(encoding.as_bytes()).chars().take(40).collect::<String>();
            return Err(FetchError::BadContent {
                url,
                why: format!("it is sent with the encoding {encoding:?}, which was not asked for"),
            });
        }
        if response.content_length().is_some_and(|length| length > max_bytes) {
            return Err(FetchError::TooLarge { url, max_bytes });
        }
        Ok(Download { url, response, max_bytes, received: 0, timer })
    }

    /// The next bytes of the body; none at its end.
    async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
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
        if self.received > self.max_bytes {
            return Err(FetchError::TooLarge { url: self.url.clone(), max_bytes: self.max_bytes });
        }
        // A body that always has bytes ready would never let the timer above run out.
        if self.timer.clock.instant() >= self.timer.deadline {
            return Err(self.timer.expired(self.url.clone(), Waiting::Body));
        }
        Ok(Some(chunk))
    }
}

impl Timer {
    /// The end of a wait of at most `longest`.
    fn until(&self, longest: Duration) -> Instant {
        self.deadline.min(self.clock.instant() + longest)
    }

    fn expired(&self, url: RedactedUrl, waiting: Waiting) -> FetchError {
        FetchError::Timeout { url, waiting, after: self.clock.instant() - self.started }
    }

    /// Bounds work on local files, which hangs where a network file system does.
    async fn limit_file<T>(
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
    if plain && !response.headers().contains_key(CONTENT_ENCODING) {
        let until = timer.until(ERROR_BODY_TIMEOUT);
        while text.len() < MAX_ERROR_BODY_BYTES {
            let Ok(Ok(Some(chunk))) = timeout_at(until.into(), response.chunk()).await else { break };
            text.extend_from_slice(&chunk[..chunk.len().min(MAX_ERROR_BODY_BYTES)]);
        }
    }
    let said = Said::clean(&text);
    match status {
        404 | 410 => FetchError::NotFound { url, status, said },
        401 | 403 | 407 => FetchError::Forbidden { url, status, said },
        429 | 500..=599 => FetchError::Unavailable { url, status, retry_after, said },
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

fn short_header(response: &reqwest::Response, name: HeaderName) -> Option<String> {
    let value = response.headers().get(name)?.to_str().ok()?;
    (value.len() <= MAX_HEADER_VALUE_BYTES).then(|| value.to_owned())
}

/// Sorts an error of the HTTP library by its cause.
fn classify(
    url: RedactedUrl,
    error: &reqwest::Error,
    received: u64,
    waiting: Waiting,
    timer: &Timer,
) -> FetchError {
    let why = root_cause(error);
    if error.is_timeout() {
        let waiting = if error.is_connect() { Waiting::Connect } else { waiting };
        return timer.expired(url, waiting);
    }
    if let Some(name) = causes(error).find_map(|cause| cause.downcast_ref::<NameError>()) {
        // Only redirects are confined to public addresses, so the place it came from was allowed and this one is not.
        return match name {
            NameError::Private => {
                FetchError::Redirect { to: url.clone(), url, refusal: RedirectRefusal::PrivateAddress }
            }
            NameError::Failed(_) | NameError::Empty => {
                FetchError::Unreachable { url, stage: Stage::Dns, why }
            }
        };
    }
    if causes(error).any(|cause| cause.is::<rustls::Error>()) && received == 0 {
        return FetchError::Unreachable { url, stage: Stage::Tls, why };
    }
    if error.is_connect() {
        return FetchError::Unreachable { url, stage: Stage::Connect, why };
    }
    let is_not_http = |cause: &hyper::Error| cause.is_parse() || cause.is_parse_too_large();
    if causes(error).filter_map(|cause| cause.downcast_ref::<hyper::Error>()).any(is_not_http) {
        return FetchError::BadContent { url, why: format!("not a valid HTTP answer: {why}") };
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
