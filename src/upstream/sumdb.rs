//! Transport to a remote checksum database: `/latest`, `/lookup/…` and `/tile/…` from one of several URLs.
//!
//! ```text
//! https://sum.golang.org                                    the database itself
//! https://goproxy.example/sumdb/sum.golang.org              the passthrough of a module proxy
//! file:///srv/sum.golang.org                                a static log directory
//! ```
//!
//! Nothing is verified here. Whoever verifies asks an [`Inquiry`] for an answer; if the answer is a lie, it marks its URL with
//! [`RemoteSumdb::mark_bad`] and asks the same inquiry for the next one.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::HttpClient;
use super::error::FetchError;
use super::health::{Health, UrlHealth};
use super::url::{RedactedUrl, SourceUrl, UrlError};
use crate::module::ModuleVersion;
use crate::tlog::{Tile, TileLevel};

/// x/mod's limit for a signed note.
const MAX_NOTE_BYTES: u64 = 1_000_000;
/// A record of two lines and a note take less than 2 KB.
const MAX_LOOKUP_BYTES: u64 = 1 << 20;
/// A data tile of sum.golang.org takes some 50 KB: 256 records of 190 bytes.
const MAX_DATA_TILE_BYTES: u64 = 4 << 20;
/// What `supported` says is not read by anyone.
const MAX_SUPPORTED_BYTES: u64 = 64 << 10;
/// Bytes of one hash.
const HASH_BYTES: u64 = 32;

/// A remote checksum database. Clones share what is known of its URLs.
#[derive(Clone, Debug)]
pub struct RemoteSumdb(Arc<Remote>);

#[derive(Debug)]
struct Remote {
    name: String,
    urls: Vec<SourceUrl>,
    client: HttpClient,
    health: Health,
}

/// One of a database's URLs, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UrlId(usize);

/// An answer as it came, unverified.
#[derive(Clone, Debug)]
pub struct SumdbAnswer {
    /// The bytes.
    pub body: Bytes,
    /// Where they came from, after redirects.
    pub url: RedactedUrl,
    /// Which of the database's URLs that was, for [`RemoteSumdb::mark_bad`].
    pub from: UrlId,
}

/// A question that is put to one URL after another. Dropping it costs nothing.
#[derive(Debug)]
pub struct Inquiry {
    remote: RemoteSumdb,
    path: String,
    max_bytes: u64,
    /// Whether a 404 is an honest answer and no failure of the URL.
    may_be_missing: bool,
    /// Whether it names a module.
    is_lookup: bool,
    deadline: Instant,
    order: VecDeque<usize>,
    failures: Vec<FetchError>,
}

/// No URL (more) has an answer.
#[derive(Debug)]
pub struct SumdbError {
    /// The database's name.
    pub name: String,
    /// What was asked for: `latest`, `lookup/…` or `tile/…`.
    pub path: String,
    /// Why each URL failed, in the order asked. Empty when every URL had answered before.
    pub failures: Vec<FetchError>,
}

impl RemoteSumdb {
    /// Panics without a URL: the configuration refuses that.
    pub fn new(name: String, urls: Vec<SourceUrl>, client: HttpClient) -> RemoteSumdb {
        assert!(!urls.is_empty(), "a remote checksum database needs a URL");
        let health = Health::new(urls.len(), client.clock().clone());
        RemoteSumdb(Arc::new(Remote { name, urls, client, health }))
    }

    /// The same database at other URLs, of which nothing is known yet.
    pub fn at(&self, urls: Vec<SourceUrl>) -> RemoteSumdb {
        RemoteSumdb::new(self.0.name.clone(), urls, self.0.client.clone())
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Asks for the newest signed tree head.
    pub fn latest(&self, deadline: Instant) -> Inquiry {
        self.ask("latest".to_owned(), MAX_NOTE_BYTES, false, deadline)
    }

    /// Asks for the record of a module version, with a tree head.
    pub fn lookup(&self, module: &ModuleVersion, deadline: Instant) -> Inquiry {
        let ask = self.ask(format!("lookup/{}", module.escaped()), MAX_LOOKUP_BYTES, true, deadline);
        Inquiry { is_lookup: true, ..ask }
    }

    /// Asks for exactly this tile. A partial tile may be gone where the full one exists: ask for [`Tile::full`] then.
    pub fn tile(&self, tile: &Tile, deadline: Instant) -> Inquiry {
        let max_bytes = match tile.level {
            TileLevel::Hash(_) => u64::from(tile.width) * HASH_BYTES,
            TileLevel::Data => MAX_DATA_TILE_BYTES,
        };
        self.ask(tile.path(), max_bytes, true, deadline)
    }

    /// Demotes a URL that sent what does not verify: a wrong tile, a bad signature, another module's record. `why` is shown to
    /// the operator.
    pub fn mark_bad(&self, url: UrlId, why: &str) {
        self.0.health.lied(url.0, why);
    }

    /// What is known of each URL, in the order of the configuration.
    pub fn health(&self) -> Vec<(RedactedUrl, UrlHealth)> {
        self.0.urls.iter().map(SourceUrl::redacted).zip(self.0.health.snapshot()).collect()
    }

    fn ask(&self, path: String, max_bytes: u64, may_be_missing: bool, deadline: Instant) -> Inquiry {
        let order = self.0.health.order().into();
        Inquiry {
            remote: self.clone(),
            path,
            max_bytes,
            may_be_missing,
            is_lookup: false,
            deadline,
            order,
            failures: Vec::new(),
        }
    }
}

impl Inquiry {
    /// The answer of the next URL that has one. Ask again if the answer turns out to be bad; after the last URL it is an error.
    pub async fn next(&mut self) -> Result<SumdbAnswer, SumdbError> {
        let remote = self.remote.0.clone();
        while let Some(n) = self.order.pop_front() {
            let now = remote.client.clock().instant();
            if now >= self.deadline && !self.failures.is_empty() {
                // A URL is not to blame for the time that the ones before it took.
                break;
            }
            let answer = match remote.urls[n].join(&self.path) {
                Ok(url) => remote.client.get(&url, self.max_bytes, self.share(now)).await,
                Err(e) => Err(unusable(&remote.urls[n], &e)),
            };
            match answer {
                Ok(response) => {
                    remote.health.answered(n);
                    return Ok(SumdbAnswer { body: response.body, url: response.url, from: UrlId(n) });
                }
                Err(error) => {
                    if !(self.may_be_missing && error.is_not_found()) {
                        remote.health.failed(n, &error);
                    }
                    // A proxy that passes the database on speaks for it: what it withholds is not told to the next one.
                    let is_verdict = error.is_not_found() || matches!(error, FetchError::Forbidden { .. });
                    if self.is_lookup && is_verdict && remote.urls[n].is_passthrough_of(&remote.name) {
                        self.order.clear();
                    }
                    self.failures.push(error);
                }
            }
        }
        let failures = std::mem::take(&mut self.failures);
        Err(SumdbError { name: remote.name.clone(), path: self.path.clone(), failures })
    }

    /// With other URLs still to ask, one gets half of the time that is left.
    fn share(&self, now: Instant) -> Instant {
        if self.order.is_empty() {
            return self.deadline;
        }
        now + self.deadline.saturating_duration_since(now) / 2
    }
}

/// Whether a module proxy's [`passthrough`] is one: `GET <proxy>/sumdb/<name>/supported`, 200 for yes, 404 or 410 for no.
pub async fn supported(
    client: &HttpClient,
    passthrough: &SourceUrl,
    deadline: Instant,
) -> Result<bool, FetchError> {
    let url = passthrough.join("supported").map_err(|e| unusable(passthrough, &e))?;
    match client.get(&url, MAX_SUPPORTED_BYTES, deadline).await {
        Ok(_) => Ok(true),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
}

/// Where a module proxy passes a checksum database through: `<proxy>/sumdb/<name>`.
pub fn passthrough(proxy: &SourceUrl, name: &str) -> Result<SourceUrl, UrlError> {
    proxy.join(&format!("sumdb/{name}"))
}

fn unusable(base: &SourceUrl, error: &UrlError) -> FetchError {
    FetchError::BadContent { url: base.redacted(), why: error.to_string() }
}

impl SumdbError {
    /// The most telling failure: "not found" if any URL says so, else one that may pass, else the first.
    pub fn best(&self) -> Option<&FetchError> {
        let find = |wanted: fn(&FetchError) -> bool| self.failures.iter().find(|failure| wanted(failure));
        find(FetchError::is_not_found).or_else(|| find(FetchError::is_transient)).or(self.failures.first())
    }

    /// Whether the database says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.best().is_some_and(FetchError::is_not_found)
    }

    /// Whether it may work later by itself.
    pub fn is_transient(&self) -> bool {
        self.best().is_some_and(FetchError::is_transient)
    }

    /// The shortest pause that a URL asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        self.failures.iter().filter_map(FetchError::retry_after).min()
    }
}

impl fmt::Display for SumdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.best() {
            Some(best) => write!(f, "checksum database {}: {best}", self.name),
            None => write!(f, "checksum database {}: no URL has a good answer for {}", self.name, self.path),
        }
    }
}

impl std::error::Error for SumdbError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.best().map(|best| best as &(dyn std::error::Error + 'static))
    }
}
