//! The notary: each route with its sources and its checksum database.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};

use super::outgoing::Outgoing;
use crate::cli::exit::{Exit, OrExit};
use crate::clock::Clock;
use crate::config::{self, Config, Netrc, is_writable_by_others};
use crate::log::Log;
use crate::mirror::Mirrors;
use crate::notary::{Notary, NotaryLimits, NotaryOptions, NotaryRoute, RemoteLines};
use crate::route::{Checksum, Route};
use crate::source::{SourceList, SourceUrl};
use crate::store::private;
use crate::upstream::{GoProxy, HttpClient, ModuleLimits, ProxySettings, ScratchSpace, Vcs, VcsOptions};

/// What a route is followed with. Two routes with equal inputs give the same lines, whatever their
/// patterns are. Not shown: sources, Git configuration and
/// netrc hold credentials.
#[derive(PartialEq, Eq)]
pub(in crate::cli) struct RouteInput {
    source: Option<SourceList>,
    checksum: Checksum,
    /// Where the checksum database is asked.
    sumdb_urls: Vec<SourceUrl>,
    outgoing: OutgoingKey,
    /// For what version control gives.
    git_config: Option<String>,
    netrc: Option<Netrc>,
    /// For what is hashed here.
    zip_bytes: Option<u64>,
}

/// The client that a route asks with, by what it was made from.
#[derive(Clone)]
struct OutgoingKey(Outgoing);

impl PartialEq for OutgoingKey {
    fn eq(&self, other: &OutgoingKey) -> bool {
        self.0.is(&other.0)
    }
}

impl Eq for OutgoingKey {}

/// Routes that can be followed, what each is followed with, and the limits.
pub(in crate::cli) struct PlannedRoutes {
    pub(in crate::cli) routes: Vec<NotaryRoute>,
    pub(in crate::cli) inputs: Vec<RouteInput>,
    pub(in crate::cli) git_config: Option<String>,
    pub(in crate::cli) limits: NotaryLimits,
}

impl PlannedRoutes {
    /// Finds for each of these routes the one of `before` that is followed with the same.
    pub(in crate::cli) fn kept_of(&self, before: &[RouteInput]) -> Vec<Option<usize>> {
        self.inputs.iter().map(|input| before.iter().position(|kept| kept == input)).collect()
    }
}

/// Where modules are fetched to before they are hashed.
pub(super) fn open_scratch(config: &Config) -> anyhow::Result<ScratchSpace> {
    let scratch = config.data.join("scratch");
    private::make_directory(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let anchor = config.anchor.parent().unwrap_or(Path::new("."));
    Ok(ScratchSpace::new(scratch, &[&*config.data, anchor]))
}

/// Makes the routes of a configuration ready to be followed. Nobody is asked for anything. Each
/// checksum database that a route names is among `mirrors`.
pub(in crate::cli) fn plan_routes(
    config: &Config,
    mirrors: &Mirrors,
    outgoing: &Outgoing,
    scratch: &ScratchSpace,
) -> anyhow::Result<PlannedRoutes> {
    let git_config = config.git_config.as_deref().map(read_git_config).transpose()?;
    let (mut routes, mut inputs) = (Vec::new(), Vec::new());
    for (i, config::RouteSection { route, .. }) in config.routes.iter().enumerate() {
        let logins = Logins { git_config: git_config.clone(), netrc: config.netrc(i)? };
        let checksum = match &route.checksum {
            Checksum::Compute => Checksum::Compute,
            Checksum::Sumdb(name) => Checksum::Sumdb(remote_lines(mirrors, name)),
        };
        let is_direct = route.source.as_ref().is_some_and(SourceList::has_direct);
        let is_hashed = route.checksum == Checksum::Compute;
        let sumdb = route.sumdb().and_then(|name| config.sumdbs.get(name));
        inputs.push(RouteInput {
            source: route.source.clone(),
            checksum: route.checksum.clone(),
            sumdb_urls: sumdb.map(|sumdb| sumdb.urls.value.clone()).unwrap_or_default(),
            outgoing: OutgoingKey(outgoing.clone()),
            git_config: git_config.clone().filter(|_| is_direct),
            netrc: logins.netrc.clone(),
            zip_bytes: is_hashed.then_some(*config.limits.zip_bytes),
        });
        let client = &outgoing.client;
        routes.push(Route {
            modules: route.modules.clone(),
            source: route.source.clone().map(|list| source(config, list, client, scratch, &logins)),
            checksum,
        });
    }
    Ok(PlannedRoutes { routes, inputs, git_config, limits: limits(config) })
}

/// The lines of a checksum database: proved, or refused where its mirror cannot be used.
fn remote_lines(mirrors: &Mirrors, name: &str) -> Arc<dyn RemoteLines> {
    match mirrors.find(name) {
        Some(mirror) => Arc::new(mirror.log.clone()),
        None => mirrors.find_unusable(name).expect("what routes name is opened or cannot be").clone(),
    }
}

/// The notary of a log, with routes that were planned.
pub(super) fn open_notary(
    log: Log,
    routes: Vec<NotaryRoute>,
    limits: NotaryLimits,
    clock: &Clock,
) -> anyhow::Result<Notary> {
    Ok(Notary::new(NotaryOptions { log, routes, limits, clock: clock.clone() })?)
}

/// Git runs what its configuration names, so nobody else may write it. It may be readable: it is
/// where a credential helper is named, and need not hold a secret.
pub(in crate::cli) fn read_git_config(path: &Path) -> anyhow::Result<String> {
    let cannot_read = || format!("cannot read git_config {}", path.display());
    let mut file = std::fs::File::open(path).with_context(cannot_read)?;
    if is_writable_by_others(&file.metadata().with_context(cannot_read)?) {
        let path = path.display();
        let error = anyhow!(
            "git_config: others can write {path}, and git runs what it says\n  fix: chmod go-w '{path}'"
        );
        return Err(error).or_exit(Exit::Usage);
    }
    let mut text = String::new();
    file.read_to_string(&mut text).with_context(cannot_read)?;
    Ok(text)
}

/// What version control authenticates itself with.
struct Logins {
    git_config: Option<String>,
    netrc: Option<Netrc>,
}

/// A file or directories of root certificates that the environment names, as for the programs that
/// we start.
fn roots_of_environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The sources of a route, ready to be asked.
fn source(
    config: &Config,
    list: SourceList,
    client: &HttpClient,
    scratch: &ScratchSpace,
    logins: &Logins,
) -> GoProxy {
    let vcs = list.has_direct().then(|| {
        // `roots` stands for both variables, as it does for our own requests.
        let (roots, roots_directories) = match &*config.roots {
            Some(roots) => (Some(roots.clone()), None),
            None => {
                let file = roots_of_environment("SSL_CERT_FILE").map(PathBuf::from);
                (file, roots_of_environment("SSL_CERT_DIR"))
            }
        };
        let options = VcsOptions {
            roots,
            roots_directories,
            proxies: ProxySettings::from_env(),
            git_config: logins.git_config.clone(),
            netrc: logins.netrc.clone(),
            clock: client.clock().clone(),
            ..VcsOptions::new(scratch.clone())
        };
        Vcs::new(options)
    });
    let limits = ModuleLimits { max_zip_bytes: *config.limits.zip_bytes, ..ModuleLimits::default() };
    // Where a remote log gives the lines only small go.mod files are read from the list, never from
    // version control.
    GoProxy::new(list, client.clone(), vcs, limits, scratch.clone())
}

pub(in crate::cli) fn limits(config: &Config) -> NotaryLimits {
    let defaults = NotaryLimits::default();
    NotaryLimits {
        deadline: *config.limits.deadline,
        concurrency: *config.limits.concurrency,
        route_concurrency: (*config.limits.concurrency * 3).div_ceil(4),
        client_misses_per_minute: (*config.limits.client_misses_per_minute)
            .try_into()
            .unwrap_or(defaults.client_misses_per_minute),
        misses_per_minute: (*config.limits.misses_per_minute)
            .try_into()
            .unwrap_or(defaults.misses_per_minute),
        negative_cache: *config.limits.negative_cache,
        zip: crate::dirhash::ZipLimits { zip_bytes: *config.limits.zip_bytes, ..defaults.zip.clone() },
        ..defaults
    }
}
