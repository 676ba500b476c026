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
//!
//! Whoever runs those servers should not notice us: everything that is asked keeps one [`Speed`], a server that asks for a pause
//! gets it, and the newest head is asked for with what is known of it, so that one that has not changed costs a 304.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use super::client::{HttpClient, Validators};
use super::error::FetchError;
use super::files;
use super::health::{Health, Kind, UrlHealth};
use super::inquiry::{Inquiry, SumdbAnswer};
use super::passing::Passing;
use super::throttle::{Speed, Throttle};
use crate::module::ModuleVersion;
use crate::source::{RedactedUrl, SourceUrl, UnsafePath};
use crate::tlog::{Tile, TileLevel};

/// x/mod's limit for a signed note.
const MAX_NOTE_BYTES: u64 = 1_000_000;
/// A record of two lines and a note take less than 2 KB.
const MAX_LOOKUP_BYTES: u64 = 1 << 20;
/// A data tile of sum.golang.org takes some 50 KB: 256 records of 190 bytes.
const MAX_DATA_TILE_BYTES: u64 = 4 << 20;
/// What `supported` says is not read by anyone.
const MAX_SUPPORTED_BYTES: u64 = 64 << 10;
/// A head takes some 200 bytes, with many signatures a few thousand. Larger ones are fetched again each time.
const MAX_KEPT_HEAD_BYTES: usize = 64 << 10;
/// Bytes of one hash.
const HASH_BYTES: u64 = 32;

/// A remote checksum database. Clones share what is known of its URLs.
#[derive(Clone, Debug)]
pub struct RemoteSumdb(pub(super) Arc<Remote>);

#[derive(Debug)]
pub(super) struct Remote {
    pub(super) name: String,
    pub(super) urls: Vec<SourceUrl>,
    pub(super) passing: Vec<Passing>,
    pub(super) client: HttpClient,
    pub(super) health: Health,
    pub(super) throttle: Arc<Throttle>,
    /// The head that each URL sent last, where it can be asked whether it still has that one.
    heads: Mutex<Vec<Option<KeptHead>>>,
}

/// A head as a URL sent it, unverified.
#[derive(Clone, Debug)]
pub(super) struct KeptHead {
    pub(super) validators: Validators,
    pub(super) body: Bytes,
    pub(super) url: RedactedUrl,
}

/// One of a database's URLs, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UrlId(pub(super) usize);

impl RemoteSumdb {
    /// Panics without a URL: the configuration refuses that.
    pub fn new(name: String, urls: Vec<SourceUrl>, client: HttpClient) -> RemoteSumdb {
        RemoteSumdb::with_speed(name, urls, client, Speed::default())
    }

    /// As [`RemoteSumdb::new`], asked no faster than that.
    pub fn with_speed(name: String, urls: Vec<SourceUrl>, client: HttpClient, speed: Speed) -> RemoteSumdb {
        let throttle = Arc::new(Throttle::new(speed, client.clock().clone()));
        RemoteSumdb::with(name, urls, client, throttle)
    }

    fn with(name: String, urls: Vec<SourceUrl>, client: HttpClient, throttle: Arc<Throttle>) -> RemoteSumdb {
        assert!(!urls.is_empty(), "a remote checksum database needs a URL");
        let health = Health::new(urls.len(), client.clock().clone());
        let passing = urls.iter().map(|url| Passing::of(url, &name)).collect();
        let heads = Mutex::new(vec![None; urls.len()]);
        RemoteSumdb(Arc::new(Remote { name, urls, passing, client, health, throttle, heads }))
    }

    /// The same database at other URLs, of which nothing is known yet, asked no faster in all.
    pub fn at(&self, urls: Vec<SourceUrl>) -> RemoteSumdb {
        let remote = &self.0;
        RemoteSumdb::with(remote.name.clone(), urls, remote.client.clone(), remote.throttle.clone())
    }

    /// The same database at each of its URLs alone, in the order of the configuration.
    pub fn each(&self) -> Vec<RemoteSumdb> {
        self.0.urls.iter().map(|url| self.at(vec![url.clone()])).collect()
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Asks for the newest signed tree head.
    pub fn latest(&self, deadline: Instant) -> Inquiry {
        self.ask("latest".to_owned(), MAX_NOTE_BYTES, false, Kind::Head, deadline)
    }

    /// Asks for the record of a module version, with a tree head.
    pub fn lookup(&self, module: &ModuleVersion, deadline: Instant) -> Inquiry {
        let path = format!("lookup/{}", module.escaped());
        self.ask(path, MAX_LOOKUP_BYTES, true, Kind::Lookup, deadline)
    }

    /// Asks for exactly this tile. A partial tile may be gone where the full one exists: ask for [`Tile::full`] then.
    pub fn tile(&self, tile: &Tile, deadline: Instant) -> Inquiry {
        self.ask(tile.path(), max_tile_bytes(tile), true, Kind::Tile, deadline)
    }

    /// Whether the URL that is asked first is a directory of this machine.
    pub fn is_local(&self) -> bool {
        self.first().1.local_path().is_some()
    }

    /// A tile from that directory, read on this thread, which must be one that may wait for a disk. None where it is not had at
    /// once: an [`Inquiry`] says why, and asks the other URLs.
    pub fn read_local(&self, tile: &Tile) -> Option<SumdbAnswer> {
        let (n, base) = self.first();
        let url = base.join(&tile.path()).ok()?;
        let path = url.local_path()?;
        let body = files::read_blocking(path, &url.redacted(), max_tile_bytes(tile)).ok()?;
        Some(SumdbAnswer { body, url: url.redacted(), from: UrlId(n) })
    }

    fn first(&self) -> (usize, &SourceUrl) {
        let n = self.0.health.order(Kind::Tile)[0];
        (n, &self.0.urls[n])
    }

    /// Demotes a URL that sent what does not verify: a wrong tile, a bad signature, another module's record. `why` is shown to
    /// the operator.
    pub fn mark_bad(&self, url: UrlId, why: &str) {
        self.0.health.lied(url.0, why);
        // Else it would say "not changed", and the lie would be read again.
        self.0.keep_head(url.0, None);
    }

    /// What is known of each URL, in the order of the configuration.
    pub fn health(&self) -> Vec<(RedactedUrl, UrlHealth)> {
        self.0.urls.iter().map(SourceUrl::redacted).zip(self.0.health.snapshot()).collect()
    }

    fn ask(
        &self,
        path: String,
        max_bytes: u64,
        may_be_missing: bool,
        kind: Kind,
        deadline: Instant,
    ) -> Inquiry {
        Inquiry::new(self.clone(), path, max_bytes, may_be_missing, kind, deadline)
    }
}

impl Remote {
    /// The head that a URL sent last.
    pub(super) fn kept_head(&self, n: usize) -> Option<KeptHead> {
        self.heads()[n].clone()
    }

    /// Remembers the head that a URL sent, if it can be asked about it and is no more than one.
    pub(super) fn keep_head(&self, n: usize, head: Option<KeptHead>) {
        let is_kept = |head: &KeptHead| !head.validators.is_empty() && head.body.len() <= MAX_KEPT_HEAD_BYTES;
        self.heads()[n] = head.filter(is_kept);
    }

    fn heads(&self) -> MutexGuard<'_, Vec<Option<KeptHead>>> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn max_tile_bytes(tile: &Tile) -> u64 {
    match tile.level {
        TileLevel::Hash(_) => u64::from(tile.width) * HASH_BYTES,
        TileLevel::Data => MAX_DATA_TILE_BYTES,
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
pub fn passthrough(proxy: &SourceUrl, name: &str) -> Result<SourceUrl, UnsafePath> {
    proxy.join(&format!("sumdb/{name}"))
}

pub(super) fn unusable(base: &SourceUrl, error: &UnsafePath) -> FetchError {
    FetchError::BadContent { url: base.redacted(), why: error.to_string() }
}
