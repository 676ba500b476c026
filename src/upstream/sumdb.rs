//! Transport to a remote checksum database: `/latest`, `/lookup/…` and `/tile/…` from one of
//! several URLs.
//!
//! ```text
//! https://sum.golang.org                                    the database itself
//! https://goproxy.example/sumdb/sum.golang.org              the passthrough of a module proxy
//! file:///srv/sum.golang.org                                a static log directory
//! ```
//!
//! Nothing is verified here. Whoever verifies asks an [`Inquiry`] for an answer; if the answer is a
//! lie, it marks its URL with [`RemoteSumdb::mark_bad`] and asks the same inquiry for the next one.
//!
//! Whoever runs those servers should not notice us: everything that is asked keeps one [`Speed`], a
//! server that asks for a pause gets it, and the newest head is asked for with what is known of it,
//! so that one that has not changed costs a 304.

use std::sync::Arc;
use std::time::Instant;

use super::client::HttpClient;
use super::files;
use super::health::{Kind, UrlHealth};
use super::inquiry::{Inquiry, SumdbAnswer};
use super::remote::{Remote, UrlId};
use super::throttle::{Speed, Throttle};
use crate::module::ModuleVersion;
use crate::source::{RedactedUrl, SourceUrl};
use crate::tlog::{Tile, TileLevel};

/// x/mod's limit for a signed note.
const MAX_NOTE_BYTES: u64 = 1_000_000;
/// A record of two lines and a note take less than 2 KB.
const MAX_LOOKUP_BYTES: u64 = 1 << 20;
/// A data tile of sum.golang.org takes some 50 KB: 256 records of 190 bytes.
const MAX_DATA_TILE_BYTES: u64 = 4 << 20;
/// Bytes of one hash.
const HASH_BYTES: u64 = 32;

/// A remote checksum database. Clones share what is known of its URLs.
#[derive(Clone, Debug)]
pub struct RemoteSumdb(Arc<Remote>);

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
        RemoteSumdb(Arc::new(Remote::new(name, urls, client, throttle)))
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

    /// Asks for the newest signed tree head.
    pub fn latest(&self, deadline: Instant) -> Inquiry {
        self.ask("latest".to_owned(), MAX_NOTE_BYTES, false, Kind::Head, deadline)
    }

    /// Asks for the record of a module version, with a tree head.
    pub fn lookup(&self, module: &ModuleVersion, deadline: Instant) -> Inquiry {
        let path = format!("lookup/{}", module.escaped());
        self.ask(path, MAX_LOOKUP_BYTES, true, Kind::Lookup, deadline)
    }

    /// Asks for exactly this tile. A partial tile may be gone where the full one exists: ask for
    /// [`Tile::full`] then.
    pub fn tile(&self, tile: &Tile, deadline: Instant) -> Inquiry {
        self.ask(tile.path(), max_tile_bytes(tile), true, Kind::Tile, deadline)
    }

    /// Whether the URL that is asked first is a directory of this machine.
    pub fn is_local(&self) -> bool {
        self.first().1.local_path().is_some()
    }

    /// A tile from that directory, read on this thread, which must be one that may wait for a disk.
    /// None where it is not had at once: an [`Inquiry`] says why, and asks the other URLs.
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

    /// Demotes a URL that sent what does not verify: a wrong tile, a bad signature, another
    /// module's record. `why` is shown to the operator.
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
        Inquiry::new(self.0.clone(), path, max_bytes, may_be_missing, kind, deadline)
    }
}

fn max_tile_bytes(tile: &Tile) -> u64 {
    match tile.level {
        TileLevel::Hash(_) => u64::from(tile.width) * HASH_BYTES,
        TileLevel::Data => MAX_DATA_TILE_BYTES,
    }
}
