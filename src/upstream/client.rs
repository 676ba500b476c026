//! The HTTP client: GET, bounded in bytes, time, headers and redirects; local files by the same
//! calls.
//!
//! Everything that a server sends is counted as it comes, and once more as it is decoded: `gzip` is
//! not asked for, but undone where it comes, as by the go command (`gunzip`). An `Ok` is always a
//! 200; every other outcome is a [`FetchError`].

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION};
use tokio::time::timeout_at;

use super::download::{Download, Timer, classify, short_header};
use super::error::{FetchError, Waiting};
use super::files;
use super::network::connector;
use super::options::ClientOptions;
use super::proxies::ProxyTable;
use super::redirect::Refused;
use super::setup::ClientError;
use super::space::ScratchSpace;
use super::spool::{Spool, Spooled};
use super::throttle::Throttle;
use crate::clock::Clock;
use crate::source::{RedactedUrl, ServerUrl, SourceUrl};

/// The client of every other server. Clones share connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    pub(super) open: reqwest::Client,
    /// For redirects to other hosts: connects to public addresses only.
    public_only: reqwest::Client,
    proxies: Arc<ProxyTable>,
    options: ClientOptions,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Where it came from, after redirects.
    pub url: RedactedUrl,
    /// `Content-Type`, if it is short text.
    pub content_type: Option<String>,
    /// What a later question may be made conditional on.
    pub validators: Validators,
    /// The body.
    pub body: Bytes,
}

/// What tells versions of one URL apart: `ETag` and `Last-Modified`, if they are short text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`, sent back as `If-None-Match`.
    pub etag: Option<String>,
    /// `Last-Modified`, sent back as `If-Modified-Since`.
    pub last_modified: Option<String>,
}

/// How a server is asked, beside for what and for how long.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// The version that is known: if the server still has that one, it says so and sends nothing.
    pub known: Validators,
    pub(super) throttle: Option<Arc<Throttle>>,
}

impl Validators {
    /// Whether there is nothing to ask with.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

impl HttpClient {
    /// Makes a client; reads the root certificates.
    pub fn new(options: ClientOptions) -> Result<HttpClient, ClientError> {
        let proxies = Arc::new(options.proxies.table()?);
        let (open, public_only) =
            (connector(&options, &proxies, false)?, connector(&options, &proxies, true)?);
        Ok(HttpClient { open, public_only, proxies, options })
    }

    /// The clock that deadlines are measured with.
    pub fn clock(&self) -> &Clock {
        &self.options.clock
    }

    /// Fetches `url` into memory: at most `max_bytes`, until `deadline` at the latest.
    pub async fn get(
        &self,
        url: &SourceUrl,
        max_bytes: u64,
        deadline: Instant,
    ) -> Result<Response, FetchError> {
        self.whole(url, max_bytes, deadline, &Manner::default()).await
    }

    /// As [`HttpClient::get`]; nothing when the server still has the version that `manner` knows.
    pub async fn get_if_changed(
        &self,
        url: &SourceUrl,
        max_bytes: u64,
        deadline: Instant,
        manner: &Manner,
    ) -> Result<Option<Response>, FetchError> {
        match self.whole(url, max_bytes, deadline, manner).await {
            // Without our asking for it, 304 is an answer that makes no sense.
            Err(FetchError::UnexpectedStatus { status: 304, .. }) if !manner.known.is_empty() => Ok(None),
            answer => answer.map(Some),
        }
    }

    async fn whole(
        &self,
        url: &SourceUrl,
        max_bytes: u64,
        deadline: Instant,
        manner: &Manner,
    ) -> Result<Response, FetchError> {
        match url {
            SourceUrl::Local(path) => {
                let timer = self.timer(deadline);
                let body =
                    timer.limit_file(url.redacted(), files::read(path, url.redacted(), max_bytes)).await?;
                let validators = Validators::default();
                Ok(Response { url: url.redacted(), content_type: None, validators, body })
            }
            SourceUrl::Server(remote) => {
                let mut download = self.open(remote, max_bytes, deadline, manner).await?;
                let mut body = Vec::new();
                while let Some(chunk) = download.chunk().await? {
                    body.extend_from_slice(&chunk);
                }
                Ok(Response {
                    content_type: short_header(&download.response, CONTENT_TYPE),
                    validators: Validators {
                        etag: short_header(&download.response, ETAG),
                        last_modified: short_header(&download.response, LAST_MODIFIED),
                    },
                    url: download.url,
                    body: body.into(),
                })
            }
        }
    }

    /// Fetches `url` into memory while it is small, else into an unnamed temporary file in `space`.
    pub async fn get_to_spool(
        &self,
        url: &SourceUrl,
        max_bytes: u64,
        deadline: Instant,
        space: &ScratchSpace,
    ) -> Result<Spooled, FetchError> {
        let mut spool = Spool::new(space);
        let local = |source| FetchError::local(url.redacted(), source);
        match url {
            SourceUrl::Local(path) => {
                let copy = files::copy(path, url.redacted(), max_bytes, spool);
                self.timer(deadline).limit_file(url.redacted(), copy).await
            }
            SourceUrl::Server(remote) => {
                let mut download = self.open(remote, max_bytes, deadline, &Manner::default()).await?;
                if let Some(length) = download.response.content_length() {
                    spool.expect(length).map_err(local)?;
                }
                while let Some(chunk) = download.chunk().await? {
                    spool.push(&chunk).await.map_err(local)?;
                }
                spool.finish().await.map_err(local)
            }
        }
    }

    pub(super) fn timer(&self, deadline: Instant) -> Timer {
        let (clock, read_timeout) = (self.options.clock.clone(), self.options.read_timeout);
        let started = clock.instant();
        Timer { clock, started, deadline: deadline.min(started + self.options.total_timeout), read_timeout }
    }

    /// Sends the request, follows redirects, and returns the first answer that is a 200.
    async fn open(
        &self,
        first: &ServerUrl,
        max_bytes: u64,
        deadline: Instant,
        manner: &Manner,
    ) -> Result<Download, FetchError> {
        let timer = self.timer(deadline);
        let (mut current, mut public_only, mut hops) = (first.clone(), false, 0);
        loop {
            let sent = self.send(&current, public_only, &timer, &manner.known).await;
            let response = sent.map_err(|error| error.of_first(first))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                let throttle = manner.throttle.clone();
                let started = Download::start(current.redacted(), response, max_bytes, timer, throttle).await;
                return started.map_err(|error| self.blame(&current, error));
            }
            let location =
                response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("//");
            let hop = self.options.redirects.follow(first, &current, location, hops).map_err(|refused| {
                let Refused { to, refusal } = refused;
                FetchError::Redirect { url: current.redacted(), first: first.redacted(), to, refusal }
            })?;
            (current, public_only, hops) = (hop.to, hop.public_only, hops + 1);
        }
    }

    async fn send(
        &self,
        target: &ServerUrl,
        public_only: bool,
        timer: &Timer,
        known: &Validators,
    ) -> Result<reqwest::Response, FetchError> {
        let client = if public_only { &self.public_only } else { &self.open };
        let mut request = client.get(target.request_url().clone());
        if let Some(credentials) = target.credentials() {
            request = request.basic_auth(credentials.user().as_str(), Some(credentials.password().as_str()));
        }
        for (header, value) in [(IF_NONE_MATCH, &known.etag), (IF_MODIFIED_SINCE, &known.last_modified)] {
            if let Some(value) = value {
                request = request.header(header, value);
            }
        }
        // The connection has its own, usually shorter limit; silence after it is a silent server.
        let wait = timer.until(timer.read_timeout.max(self.options.connect_timeout));
        match timeout_at(wait.into(), request.send()).await {
            Err(_) => Err(timer.expired(target.redacted(), Waiting::Answer)),
            Ok(sent) => sent
                .map_err(|e| self.blame(target, classify(target.redacted(), &e, 0, Waiting::Answer, timer))),
        }
    }

    /// Returns the proxy that requests for `url` go through, as it may be shown.
    pub fn proxy_of(&self, url: &ServerUrl) -> Option<String> {
        self.proxies.choose(url.request_url()).map(ToString::to_string)
    }

    /// Names the proxy in the error of a request that went through one.
    pub(super) fn blame(&self, target: &ServerUrl, error: FetchError) -> FetchError {
        match self.proxies.choose(target.request_url()) {
            Some(proxy) => proxy.blame(error),
            None => error,
        }
    }
}
