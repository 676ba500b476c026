//! From a configuration to engines that run: the one place where everything is put together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::exit::{Exit, OrExit};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::log::{DATABASE_FILE, Log, LogOptions, OpenError};
use crate::mirror::{
    Mirror, Mirrors, RemoteError, RemoteLimits, RemoteLog, RemoteLogOptions, ReplicateOptions,
};
use crate::notary::{Checksum, Notary, NotaryLimits, NotaryOptions, Route};
use crate::note::SignerKey;
use crate::store::StoreError;
use crate::store::replica::Replica;
use crate::store::sqlite::SqliteReader;
use crate::upstream::{
    ClientOptions, GoProxy, GoProxyList, HostRule, HttpClient, ModuleLimits, ProxySettings, RedirectRules,
    RemoteSumdb, SourceUrl, Vcs, VcsOptions, supported,
};

/// What we call ourselves to other servers.
const USER_AGENT: &str = concat!("tallystick/", env!("CARGO_PKG_VERSION"), " (private Go checksum database)");
/// How long a proxy may take to say whether it passes a checksum database on.
const SUPPORTED_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// The log, its notary and the mirrors, ready.
pub(super) struct Engines {
    pub(super) log: Log,
    pub(super) notary: Notary,
    pub(super) mirrors: Mirrors,
    pub(super) clock: Clock,
}

impl Engines {
    /// Opens everything that the configuration names. Asks proxies whether they pass checksum databases on.
    pub(super) async fn open(config: &Config, signer: SignerKey) -> anyhow::Result<Engines> {
        let clock = Clock::system();
        let log = open_log(config, vec![signer], clock.clone())?;
        let client = http_client(config, &clock)?;
        let mirrors = open_mirrors(config, config.mirrored().map(|(name, _)| name), &client).await?;
        let notary = open_notary(config, log.clone(), &mirrors, &client)?;
        Ok(Engines { log, notary, mirrors, clock })
    }
}

/// Opens the log. Without signers it can only be read.
pub(super) fn open_log(config: &Config, signers: Vec<SignerKey>, clock: Clock) -> anyhow::Result<Log> {
    let options = LogOptions {
        directory: config.data.clone(),
        anchor: config.anchor.clone(),
        signers,
        reader_cache_kib: reader_cache_kib(config),
        clock,
    };
    let opened = Log::open(options).map_err(|error| {
        let exit = exit_of(&error);
        (error, exit)
    });
    match opened {
        Ok(log) => Ok(log),
        Err((error, exit)) => Err(error).or_exit(exit),
    }
}

fn exit_of(error: &OpenError) -> Exit {
    match error {
        OpenError::Store(error) => exit_of_store(error),
        OpenError::WrongKey { .. } => Exit::Usage,
    }
}

pub(super) fn exit_of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::Locked { .. } => Exit::Running,
        StoreError::Damaged { .. } => Exit::Damage,
        StoreError::Foreign { .. } | StoreError::NewerSchema { .. } => Exit::Usage,
        _ => Exit::Failed,
    }
}

/// Opens the log's database for reading only, beside a server or without one.
pub(super) fn open_reader(config: &Config) -> anyhow::Result<SqliteReader> {
    let path = config.data.join(DATABASE_FILE);
    anyhow::ensure!(
        path.exists(),
        "there is no log in {}\n  fix: start `tallystick serve` once, or name the right directory with --data",
        config.data.display()
    );
    match SqliteReader::open(&path, reader_cache_kib(config)) {
        Ok(reader) => Ok(reader),
        Err(error) => {
            let exit = exit_of_store(&error);
            Err(error).or_exit(exit)
        }
    }
}

/// The page cache of each reading connection.
fn reader_cache_kib(config: &Config) -> u32 {
    let cores = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    u32::try_from(config.cache.database_bytes / cores / 1024).unwrap_or(u32::MAX)
}

/// How other servers are asked.
pub(super) fn http_client(config: &Config, clock: &Clock) -> anyhow::Result<HttpClient> {
    Ok(HttpClient::new(ClientOptions {
        roots: config.roots.clone(),
        user_agent: USER_AGENT.to_owned(),
        redirects: redirect_rules(config)?,
        clock: clock.clone(),
        ..ClientOptions::default()
    })?)
}

/// Opens remote logs by name. Asks proxies whether they pass them on.
pub(super) async fn open_mirrors(
    config: &Config,
    names: impl IntoIterator<Item = &String>,
    client: &HttpClient,
) -> anyhow::Result<Mirrors> {
    let directory = mirror_directory(config);
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut mirrors = Vec::new();
    for name in names {
        let sumdb =
            config.sumdbs.get(name).with_context(|| format!("no [sumdb.\"{name}\"] in the configuration"))?;
        let urls = answering_urls(sumdb, name, client).await?;
        let replica = open_replica(config, sumdb, name, client.clock())?;
        let log = open_remote_at(sumdb, name, mirror_database(config, name), replica, urls, client)?;
        mirrors.push(mirror(config, sumdb, name, log));
    }
    Ok(Mirrors::new(mirrors))
}

fn mirror(config: &Config, sumdb: &config::SumDb, name: &str, log: RemoteLog) -> Mirror {
    let database = full_database(config, name);
    Mirror::new(log, sumdb.mode, sumdb.poll, ReplicateOptions::default(), database)
}

/// The full mirror of a remote log: in mode `full`, and where the mode was `full` before.
fn open_replica(
    config: &Config,
    sumdb: &config::SumDb,
    name: &str,
    clock: &Clock,
) -> anyhow::Result<Option<Replica>> {
    let path = full_database(config, name);
    if sumdb.mode != config::Mode::Full && !path.exists() {
        return Ok(None);
    }
    match Replica::open(&path, name, &sumdb.key.to_string(), reader_cache_kib(config), clock.now()) {
        Ok(replica) => Ok(Some(replica)),
        Err(error) => {
            let exit = exit_of_store(&error);
            Err(error).or_exit(exit)
        }
    }
}

/// Where the databases of remote logs are.
fn mirror_directory(config: &Config) -> PathBuf {
    config.data.join("mirror")
}

/// The database of what look-ups needed of a remote log.
fn mirror_database(config: &Config, name: &str) -> PathBuf {
    mirror_directory(config).join(format!("{}.db", file_name(name)))
}

/// The database of every record of a remote log.
fn full_database(config: &Config, name: &str) -> PathBuf {
    mirror_directory(config).join(format!("{}.full.db", file_name(name)))
}

fn open_notary(config: &Config, log: Log, mirrors: &Mirrors, client: &HttpClient) -> anyhow::Result<Notary> {
    let scratch = config.data.join("scratch");
    std::fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let git_config = config.git_config.as_deref().map(std::fs::read_to_string).transpose();
    let git_config = git_config.context("cannot read git_config")?;
    let mut routes = Vec::new();
    for route in &config.routes {
        let checksum = match &route.checksum {
            config::Checksum::Compute => Checksum::Compute,
            config::Checksum::SumDb(name) => {
                let mirror = mirrors.find(name).expect("what routes name is opened");
                Checksum::Sumdb(Arc::new(mirror.log.clone()))
            }
        };
        routes.push(Route {
            patterns: route.modules.clone(),
            source: source(config, route, client, &scratch, &git_config)?,
            checksum,
        });
    }
    let clock = client.clock().clone();
    Ok(Notary::new(NotaryOptions { log, routes, limits: limits(config), clock })?)
}

/// Where sources may redirect to.
pub(super) fn redirect_rules(config: &Config) -> anyhow::Result<RedirectRules> {
    let rules = |key: &str, texts: &[String]| {
        let rules = texts.iter().map(|text| HostRule::parse(text)).collect::<Result<Vec<_>, _>>();
        rules.with_context(|| key.to_owned()).or_exit(Exit::Usage)
    };
    let (hosts, private) = (&config.redirects.hosts, &config.redirects.private_sources);
    Ok(RedirectRules {
        hosts: rules("redirects.hosts", hosts)?,
        private_hosts: rules("redirects.private_sources", private)?,
        ..RedirectRules::default()
    })
}

/// The sources of a route, ready to be asked.
fn source(
    config: &Config,
    route: &config::Route,
    client: &HttpClient,
    scratch: &Path,
    git_config: &Option<String>,
) -> anyhow::Result<Option<GoProxy>> {
    let text = route.source.expose();
    if text.is_empty() {
        return Ok(None);
    }
    let list = GoProxyList::parse(&text)?;
    let vcs = list.has_direct().then(|| {
        let options = VcsOptions {
            roots: config.roots.clone(),
            proxies: ProxySettings::from_env(),
            git_config: git_config.clone(),
            clock: client.clock().clone(),
            ..VcsOptions::new(scratch.to_owned())
        };
        Vcs::new(options)
    });
    let limits = ModuleLimits { max_zip_bytes: config.limits.zip_bytes, ..ModuleLimits::default() };
    // Where a remote log gives the lines only small go.mod files are read from the list, never from version control.
    Ok(Some(GoProxy::new(list, client.clone(), vcs, limits, scratch.to_owned())))
}

/// Those of a remote log's URLs that answer for it.
async fn answering_urls(
    sumdb: &config::SumDb,
    name: &str,
    client: &HttpClient,
) -> anyhow::Result<Vec<SourceUrl>> {
    let mut urls = Vec::new();
    for url in &sumdb.urls {
        let source = SourceUrl::parse(&url.expose())?;
        // What cannot be reached now may be later, so it stays.
        let deadline = client.clock().instant() + SUPPORTED_PATIENCE;
        if source.is_passthrough_of(name) && !supported(client, &source, deadline).await.unwrap_or(true) {
            tracing::info!(url = %source.redacted(), "this proxy does not pass the checksum database on");
            continue;
        }
        urls.push(source);
    }
    if urls.is_empty() {
        let why = format!(
            "no URL of [sumdb.\"{name}\"] passes that database on: set `urls` to an address of it, or to a proxy that does"
        );
        return Err(anyhow::anyhow!(why)).or_exit(Exit::Usage);
    }
    Ok(urls)
}

/// What is kept of the remote logs, to be looked at: nobody is asked for anything, and what is not there is left out.
pub(super) fn open_kept_mirrors(config: &Config, client: &HttpClient) -> anyhow::Result<Mirrors> {
    let mut mirrors = Vec::new();
    for (name, sumdb) in config.mirrored() {
        let database = mirror_database(config, name);
        if database.exists() {
            let urls = sumdb.urls.iter().map(|url| SourceUrl::parse(&url.expose()));
            let urls = urls.collect::<Result<Vec<_>, _>>()?;
            // The full mirror is only looked at: another process may be writing it.
            let log = open_remote_at(sumdb, name, database, None, urls, client)?;
            mirrors.push(mirror(config, sumdb, name, log));
        }
    }
    Ok(Mirrors::new(mirrors))
}

fn open_remote_at(
    sumdb: &config::SumDb,
    name: &str,
    database: PathBuf,
    replica: Option<Replica>,
    urls: Vec<SourceUrl>,
    client: &HttpClient,
) -> anyhow::Result<RemoteLog> {
    let opened = RemoteLog::open(RemoteLogOptions {
        name: name.to_owned(),
        key: sumdb.key.clone(),
        transport: RemoteSumdb::new(name.to_owned(), urls, client.clone()),
        database,
        clock: client.clock().clone(),
        replica,
        limits: RemoteLimits::default(),
    });
    opened.or_else(|error| {
        let exit = match &error {
            RemoteError::Store(error) => exit_of_store(error),
            _ => Exit::Failed,
        };
        Err(error).or_exit(exit)
    })
}

/// A log's name as a file name that cannot leave its directory: everything but letters, digits, `.`, `-` as `%xx`.
fn file_name(name: &str) -> String {
    let mut file = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => file.push(byte.into()),
            b'.' if !file.is_empty() => file.push('.'),
            _ => file += &format!("%{byte:02x}"),
        }
    }
    file
}

pub(super) fn limits(config: &Config) -> NotaryLimits {
    let defaults = NotaryLimits::default();
    NotaryLimits {
        deadline: config.limits.deadline,
        concurrency: config.limits.concurrency,
        route_concurrency: (config.limits.concurrency * 3).div_ceil(4),
        client_misses_per_minute: config
            .limits
            .client_misses_per_minute
            .try_into()
            .unwrap_or(defaults.client_misses_per_minute),
        misses_per_minute: config.limits.misses_per_minute.try_into().unwrap_or(defaults.misses_per_minute),
        negative_cache: config.limits.negative_cache,
        zip: crate::dirhash::ZipLimits { zip_bytes: config.limits.zip_bytes, ..defaults.zip.clone() },
        ..defaults
    }
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn names_of_logs_cannot_leave_their_directory() {
        assert_eq!(file_name("sum.golang.org"), "sum.golang.org");
        assert_eq!(file_name("corp.example/log"), "corp.example%2flog");
        assert_eq!(file_name("../x"), "%2e.%2fx");
    }
}
