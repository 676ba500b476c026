//! The configuration: what the operator said, where it was said, and whether it makes sense.
//!
//! A TOML file (unknown keys are errors), overridden by environment variables (`TALLYSTICK_` and
//! the key in capitals, dots as underscores), overridden by flags. Every value keeps its
//! [`SettingOrigin`]. Paths in the file are relative to the file's directory; those of flags and
//! variables to the working directory. [`mod@reference`] documents every key.
//!
//! ```toml
//! name   = "sum.corp.example"
//! data   = "data"                        # directory: log database, keys, anchor
//! listen = "127.0.0.1:8470"
//!
//! [sumdb."sum.golang.org"]               # a remote checksum database that we verify
//! key  = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
//! urls = ["https://sum.golang.org"]      # or the passthrough of a module proxy; tried in order
//!
//! [[route]]
//! modules  = ["corp.example/*"]
//! source   = ["file:///srv/goproxy"]     # a GOPROXY list, http, https or file; "direct" = version control
//! checksum = "compute"                   # hash what the source serves
//!
//! [[route]]
//! modules  = ["*"]
//! source   = ["https://goproxy.example"]
//! checksum = "sum.golang.org"            # take the lines from that database, verified; no zip is downloaded
//! ```
//!
//! Where there is no route at all, [`Config::discover`] makes two out of the `go` command's own
//! settings.

mod changes;
mod check;
mod declare;
mod discover;
mod file;
mod interval;
pub mod keys;
mod listen;
mod load;
mod loader;
mod log_format;
mod monitor;
mod netrc;
mod patterns;
mod problem;
pub mod reference;
mod rows;
mod said;
mod schedule;
mod secret;
mod show;
mod span;
mod sumdb;
mod witness;
mod witnesses;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use changes::ConfigChanges;
pub use discover::{GoEnvironment, Setting};
pub use interval::{VerifyInterval, VerifyIntervalError};
pub use listen::{ListenAddress, ListenAddressError};
pub use loader::{Environment, Overrides};
pub use log_format::LogFormat;
pub use monitor::{Followed, MonitorConfig, WebhookSection};
pub use netrc::{Netrc, NetrcError};
pub use problem::{ConfigError, Problem, ProblemKind};
pub use rows::SettingRow;
pub use said::{Said, SettingOrigin};
pub use schedule::{Schedule, ScheduleError};
pub use secret::{Secret, SecretError, is_exposed, is_writable_by_others};
pub use span::{Span, SpanError};
pub use sumdb::SumdbSection;
pub use witness::{WitnessConfig, WitnessOverrides};
pub use witnesses::{LogWitness, LogWitnesses};

use declare::settings;

use crate::route::{Choice, Route, Untold, choose, may_tell};
use crate::source::ServerUrl;

/// The name of Google's checksum database.
pub const SUM_GOLANG_ORG: &str = "sum.golang.org";

/// Its verifier key, as it is built into the `go` command.
pub const SUM_GOLANG_ORG_KEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

settings! {
    /// Everything an operator can set, checked.
    pub struct Config(at, flags: &Overrides) {
        /// The log's name, where it was said; otherwise the key's counts.
        "name" => name: Said<Option<String>> = Said::optional(at.over(flags.name.clone()));
        /// The address for clients, where it differs from `listen`.
        "url" => url: Said<Option<ServerUrl>> = Said::optional(at.parsed());
        /// Directory of the log database, the keys and the control socket.
        "data" => data: Said<PathBuf> = at.path(flags.data.clone())
            .unwrap_or_else(|| at.path_by_default("tallystick-data"));
        /// File of the anchor.
        "anchor" => anchor: Said<PathBuf> =
            at.path(None).unwrap_or_else(|| Said::by_default(data.join("anchor.db")));
        /// The public door.
        "listen" => listen: Said<ListenAddress> =
            at.over(flags.listen.clone()).unwrap_or_else(|| Said::by_default(local(8470)));
        /// Health and metrics.
        "metrics_listen" => metrics_listen: Said<ListenAddress> =
            at.over(flags.metrics_listen.clone()).unwrap_or_else(|| Said::by_default(local(8471)));
        /// TLS of the public door.
        "tls" => tls: TlsFiles = load::tls(&mut at.section());
        /// Peers whose X-Forwarded-For is believed.
        "trusted_proxies" => trusted_proxies: Said<Vec<IpNet>> = load::networks(at);
        /// PEM file of the roots that outgoing connections trust; none: the system's.
        "roots" => roots: Said<Option<PathBuf>> = at.optional_path();
        /// Git configuration for `direct`.
        "git_config" => git_config: Said<Option<PathBuf>> = at.optional_path();
        /// How other servers' operators reach ours: sent with every request.
        "contact" => contact: Said<Option<String>> = load::contact(at);
        /// Where sources may redirect to.
        "redirects" => redirects: Redirects = Redirects::read(&mut at.section());
        /// Form of the log lines.
        "log_format" => log_format: Said<LogFormat> = at.parsed_or(LogFormat::Text);
        /// Which log lines, where it was said.
        "log_filter" => log_filter: Said<Option<String>> = load::log_filter(at);
        /// Who cosigns the log's heads.
        "witnesses" => witnesses: LogWitnesses = {
            at.key = "witness";
            let all = witnesses::list(at);
            at.key = "witnesses";
            LogWitnesses::read(&mut at.section(), all)
        };
        /// How old the newest cosignatures of an idle log become.
        "freshness" => freshness: Said<Span> = witnesses::freshness(at);
        /// The limits.
        "limits" => limits: Limits = Limits::read(&mut at.section());
        /// The memory caches.
        "cache" => cache: Cache = Cache::read(&mut at.section());
    }
    also {
        /// Remote checksum databases by name.
        sumdbs: BTreeMap<String, SumdbSection> = load::sumdbs(at);
        /// In order; the first that matches wins.
        routes: Vec<RouteSection> = load::routes(at);
        /// PEM files of roots that outgoing connections trust beside `roots`, for this run.
        extra_roots: Vec<PathBuf> = flags.cacert.clone();
        /// The file that was read.
        file: Option<PathBuf> = None;
        /// What is allowed but should be known: each a sentence or two, to be shown at start and by
        /// `config check`.
        notices: Vec<String> = Vec::new();
    }
}

fn local(port: u16) -> ListenAddress {
    SocketAddr::from(([127, 0, 0, 1], port)).into()
}

settings! {
    /// Certificate and key of the public door: both or neither.
    pub struct TlsFiles(at) {
        /// PEM chain, leaf first.
        "cert" => cert: Said<Option<PathBuf>> = at.optional_path();
        /// PEM private key.
        "key" => key: Said<Option<PathBuf>> = at.optional_path();
    }
    also {}
}

impl TlsFiles {
    /// Returns the files of certificate and key, where the public door has TLS.
    pub fn files(&self) -> Option<Tls> {
        Some(Tls { cert: self.cert.value.clone()?, key: self.key.value.clone()? })
    }
}

/// Certificate and key of a public door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM chain, leaf first.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

settings! {
    /// Where module sources may redirect to, beside their own host: `host`, `host:port`,
    /// `*.domain`.
    pub struct Redirects(at) {
        /// Other hosts, with public addresses.
        "hosts" => hosts: Said<Vec<String>> = at.list();
        /// Sources whose redirects may lead to addresses that are not public.
        "private_sources" => private_sources: Said<Vec<String>> = at.list();
    }
    also {}
}

settings! {
    /// How much work clients can cause.
    pub struct Limits(at) {
        /// Connections to the public door that are served at the same time.
        "connections" => connections: Said<usize> = at.count(8_192, 2..=1_000_000);
        /// The longest that a look-up of an unknown module takes.
        "deadline_seconds" => deadline: Said<Duration> = at.seconds(50, 1..=600);
        /// Unknown modules in flight.
        "concurrency" => concurrency: Said<usize> = at.count(64, 1..=10_000);
        /// Largest module zip.
        "zip_bytes" => zip_bytes: Said<u64> = at.number(500 << 20, 1..=500 << 20);
        /// Misses of one client in a minute.
        "client_misses_per_minute" => client_misses_per_minute: Said<u32> = at.small(3_000, 1..=1_000_000);
        /// Misses of all clients in a minute.
        "misses_per_minute" => misses_per_minute: Said<u32> = at.small(30_000, 1..=10_000_000);
        /// How long "not found" is remembered.
        "negative_cache_seconds" => negative_cache: Said<Duration> = at.seconds(30, 0..=60);
    }
    also {}
}

settings! {
    /// Bytes of memory for what was asked lately.
    pub struct Cache(at) {
        /// Tiles.
        "tile_bytes" => tile_bytes: Said<u64> = at.number(16 << 20, CACHE_BYTES);
        /// Answers to look-ups.
        "lookup_bytes" => lookup_bytes: Said<u64> = at.number(24 << 20, CACHE_BYTES);
        /// Pages of the database, all readers together.
        "database_bytes" => database_bytes: Said<u64> = at.number(16 << 20, CACHE_BYTES);
    }
    also {}
}

const CACHE_BYTES: RangeInclusive<u64> = 0..=1 << 40;

/// What is kept of a remote checksum database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every record.
    Full,
    /// What was asked for, verified: look-ups and tiles.
    OnDemand,
    /// Tree heads only, each consistent with the one before.
    Heads,
}

impl Mode {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Full => "full",
            Mode::OnDemand => "on-demand",
            Mode::Heads => "heads",
        }
    }

    /// How often the head is asked for where nobody says it: that is all that `heads` does, and
    /// look-ups bring heads along anyway.
    fn default_poll(self) -> Duration {
        Duration::from_secs(match self {
            Mode::Full | Mode::OnDemand => 300,
            Mode::Heads => 30,
        })
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A `[[route]]`, or one that was made out of the `go` command's settings.
#[derive(Clone, Debug)]
pub struct RouteSection {
    /// The route.
    pub route: Route,
    /// Its patterns as they were written, one each.
    pub patterns: Vec<String>,
    /// The file with the logins that `direct` uses.
    pub netrc: Said<Option<PathBuf>>,
    /// Who made the route.
    pub origin: SettingOrigin,
}

impl Config {
    /// Chooses the route of an unescaped module path.
    pub fn route(&self, path: &str) -> Choice {
        choose(self.declared_routes(), path)
    }

    fn declared_routes(&self) -> impl Iterator<Item = &Route> + Clone {
        self.routes.iter().map(|section| &section.route)
    }

    /// The remote checksum databases that are kept and served here: those with a section of their
    /// own, and those that routes take lines from.
    pub fn mirrored(&self) -> impl Iterator<Item = (&String, &SumdbSection)> {
        let is_used = |name: &str| self.declared_routes().any(|route| route.sumdb() == Some(name));
        self.sumdbs.iter().filter(move |(name, sumdb)| sumdb.is_named || is_used(name))
    }

    /// Checks whether the remote database `sumdb` may be told a module path; see [`Untold`].
    pub fn may_tell(&self, sumdb: &str, path: &str) -> Result<(), Untold> {
        may_tell(self.declared_routes(), sumdb, path)
    }

    /// The address that clients use: `url`, or one made from `listen` (an unspecified address
    /// becomes loopback).
    pub fn client_url(&self) -> String {
        self.client_url_at(&self.listen, self.tls.files().is_some())
    }

    /// The same for a server that listens at an address, which `listen` need not be: a port may be
    /// 0, and flags may have said another one.
    pub fn client_url_at(&self, listen: &ListenAddress, has_tls: bool) -> String {
        if let Some(url) = &*self.url {
            return url.request_url().as_str().trim_end_matches('/').to_owned();
        }
        let scheme = if has_tls { "https" } else { "http" };
        format!("{scheme}://{}", listen.for_programs_here())
    }
}
