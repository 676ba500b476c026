//! The configuration: what the operator said, where it was said, and whether it makes sense.
//!
//! A TOML file (unknown keys are errors), overridden by environment variables (`TALLYSTICK_` and the key in capitals,
//! dots as underscores), overridden by flags. Every value keeps its [`Origin`]. Paths in the file are relative to the
//! file's directory; those of flags and variables to the working directory. [`mod@reference`] documents every key.
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
//! Where there is no route at all, [`Config::discover`] makes two out of the `go` command's own settings.

mod check;
mod discover;
mod file;
mod interval;
pub mod keys;
mod layers;
mod load;
mod origin;
mod problem;
pub mod reference;
mod schedule;
mod secret;
mod show;
mod span;
mod sumdb;
mod witness;
mod witnesses;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use discover::{GoEnvironment, Setting};
pub use interval::{VerifyInterval, VerifyIntervalError};
pub use layers::{Environment, Overrides};
pub use origin::Origin;
pub use problem::{ConfigError, Problem, ProblemKind};
pub use schedule::{Schedule, ScheduleError};
pub use secret::{Secret, SecretError, is_exposed, is_writable_by_others};
pub use show::Entry;
pub use span::{Span, SpanError};
pub use witness::{WitnessConfig, WitnessConfigError, WitnessOverrides};
pub use witnesses::{LogWitness, LogWitnesses};

use crate::note::VerifierKey;
use crate::route::{Choice, Route, Untold, choose, may_tell};
use crate::source::{ServerUrl, SourceUrl};

/// The name of Google's checksum database.
pub const SUM_GOLANG_ORG: &str = "sum.golang.org";

/// Its verifier key, as it is built into the `go` command.
pub const SUM_GOLANG_ORG_KEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

/// Everything an operator can set, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The log's name, where it was said; otherwise the key's counts.
    pub name: Option<String>,
    /// The address for clients, where it differs from `listen`.
    pub url: Option<ServerUrl>,
    /// Directory of the log database, the keys and the control socket.
    pub data: PathBuf,
    /// File of the anchor.
    pub anchor: PathBuf,
    /// The public door.
    pub listen: SocketAddr,
    /// Health and metrics.
    pub metrics_listen: SocketAddr,
    /// TLS of the public door.
    pub tls: Option<Tls>,
    /// Peers whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// PEM file of the roots that outgoing connections trust; none: the system's.
    pub roots: Option<PathBuf>,
    /// Git configuration for `direct`.
    pub git_config: Option<PathBuf>,
    /// How other servers' operators reach ours: sent with every request.
    pub contact: Option<String>,
    /// Where sources may redirect to.
    pub redirects: Redirects,
    /// Form of the log lines.
    pub log_format: LogFormat,
    /// Which log lines, where it was said.
    pub log_filter: Option<String>,
    /// The limits.
    pub limits: Limits,
    /// The memory caches.
    pub cache: Cache,
    /// Remote checksum databases by name.
    pub sumdbs: BTreeMap<String, SumDb>,
    /// In order; the first that matches wins.
    pub routes: Vec<RouteSection>,
    /// Who cosigns the log's heads.
    pub witnesses: LogWitnesses,
    /// How old the newest cosignatures of an idle log become.
    pub freshness: Duration,
    /// What is allowed but should be known: each a sentence or two, to be shown at start and by `config check`.
    pub notices: Vec<String>,
    origins: BTreeMap<&'static str, Origin>,
}

/// Certificate and key of the public door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM chain, leaf first.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// Where module sources may redirect to, beside their own host: `host`, `host:port`, `*.domain`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirects {
    /// Other hosts, with public addresses.
    pub hosts: Vec<String>,
    /// Sources whose redirects may lead to addresses that are not public.
    pub private_sources: Vec<String>,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How much work clients can cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections to the public door that are served at the same time.
    pub connections: usize,
    /// The longest that a look-up of an unknown module takes.
    pub deadline: Duration,
    /// Unknown modules in flight.
    pub concurrency: usize,
    /// Largest module zip.
    pub zip_bytes: u64,
    /// Misses of one client in a minute.
    pub client_misses_per_minute: u32,
    /// Misses of all clients in a minute.
    pub misses_per_minute: u32,
    /// How long "not found" is remembered.
    pub negative_cache: Duration,
}

/// Bytes of memory for what was asked lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Tiles.
    pub tile_bytes: u64,
    /// Answers to look-ups.
    pub lookup_bytes: u64,
    /// Pages of the database, all readers together.
    pub database_bytes: u64,
}

/// A remote checksum database.
#[derive(Clone, Debug)]
pub struct SumDb {
    /// Its key; the key's name is the database's.
    pub key: VerifierKey,
    /// Where to ask, in order.
    pub urls: Vec<SourceUrl>,
    /// What is kept of it.
    pub mode: Mode,
    /// How often a server asks for its newest head.
    pub poll: Duration,
    /// When it asks, in place of that.
    pub schedule: Option<Schedule>,
    /// Requests in flight at once, data tiles of a full mirror among them.
    pub jobs: usize,
    /// Requests begun in a second.
    pub requests_per_second: Option<NonZeroU32>,
    /// Bytes received in a second.
    pub bytes_per_second: Option<NonZeroU64>,
    /// The file with the secret that signs `POST /hooks/mirror/<name>`; without one there is no hook.
    pub hook_secret_file: Option<PathBuf>,
    /// In which time a full mirror of it is verified again.
    pub verify_interval: VerifyInterval,
    /// Whether the configuration has a section for it. The built-in one is there for routes and for nothing else.
    pub is_named: bool,
    /// Who set the key.
    pub key_origin: Origin,
    /// Who set the URLs.
    pub urls_origin: Origin,
    /// Who set the mode.
    pub mode_origin: Origin,
    /// Who set the poll interval.
    pub poll_origin: Origin,
    /// Who set the other keys, by the last part of their names.
    pub origins: BTreeMap<&'static str, Origin>,
    /// Who set that interval.
    pub verify_interval_origin: Origin,
}

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

    /// How often the head is asked for where nobody says it: that is all that `heads` does, and look-ups bring heads
    /// along anyway.
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
    /// Who made the route.
    pub origin: Origin,
}

impl Config {
    /// Chooses the route of an unescaped module path.
    pub fn route(&self, path: &str) -> Choice {
        choose(self.declared_routes(), path)
    }

    fn declared_routes(&self) -> impl Iterator<Item = &Route> + Clone {
        self.routes.iter().map(|section| &section.route)
    }

    /// Whether nobody set `key` (a path of [`reference::KEYS`] without `*`).
    pub fn is_by_default(&self, key: &str) -> bool {
        self.origin(key) == Origin::Default
    }

    /// The remote checksum databases that are kept and served here: those with a section of their own, and those that
    /// routes take lines from.
    pub fn mirrored(&self) -> impl Iterator<Item = (&String, &SumDb)> {
        let is_used = |name: &str| self.declared_routes().any(|route| route.sumdb() == Some(name));
        self.sumdbs.iter().filter(move |(name, sumdb)| sumdb.is_named || is_used(name))
    }

    /// Checks whether the remote database `sumdb` may be told a module path; see [`Untold`].
    pub fn may_tell(&self, sumdb: &str, path: &str) -> Result<(), Untold> {
        may_tell(self.declared_routes(), sumdb, path)
    }

    /// Who set `key` (a path of [`reference::KEYS`] without `*`).
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// The address that clients use: `url`, or one made from `listen` (an unspecified address becomes loopback).
    pub fn client_url(&self) -> String {
        if let Some(url) = &self.url {
            return url.request_url().as_str().trim_end_matches('/').to_owned();
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut address = self.listen;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => [127, 0, 0, 1].into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("{scheme}://{address}")
    }
}
