//! From a configuration to engines that run: the one place where everything is put together.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};

use super::exit::{Exit, OrExit};
use super::founding;
use crate::clock::Clock;
use crate::config::{self, Config, is_writable_by_others};
use crate::log::{Conditions, Log, LogOpenError, PublishGate, State};
use crate::mirror::{
    Mirror, Mirrors, RemoteError, RemoteLimits, RemoteLog, RemoteLogOptions, ReplicateOptions, Unusable,
};
use crate::notary::{Notary, NotaryLimits, NotaryOptions, RemoteLines};
use crate::note::{CosignatureSigner, SignerKey};
use crate::route::{Checksum, Route};
use crate::source::{SourceList, SourceUrl};
use crate::store::cosignatures::CosignatureStore;
use crate::store::replica::Replica;
use crate::store::sqlite::{self, DATABASE_FILE, SqliteReader};
use crate::store::{Identity, StoreError, private};
use crate::upstream::{
    ClientOptions, GoProxy, HostRule, HttpClient, ModuleLimits, ProxySettings, RedirectRules, RemoteSumdb,
    ScratchSpace, Speed, Vcs, VcsOptions,
};
use crate::witness::{AskedWitness, HEARING, Witnesses, WitnessesOptions};

/// What we call ourselves to other servers, with how their operators reach ours.
fn user_agent(contact: Option<&str>) -> String {
    let contact = contact.map(|contact| format!("; +{contact}")).unwrap_or_default();
    format!("tallystick/{} (private Go checksum database{contact})", env!("CARGO_PKG_VERSION"))
}

/// The log, its notary and the mirrors, ready.
pub(super) struct Engines {
    pub(super) log: Log,
    pub(super) notary: Notary,
    pub(super) mirrors: Mirrors,
    pub(super) witnesses: Witnesses,
    pub(super) clock: Clock,
}

impl Engines {
    /// Opens everything that the configuration names. Nobody is asked for anything.
    pub(super) fn open(config: &Config, signer: SignerKey) -> anyhow::Result<Engines> {
        let clock = Clock::system();
        let client = http_client(config, &clock)?;
        let witnesses = open_witnesses(config, &signer, &client)?;
        let gate: Arc<dyn PublishGate> = Arc::new(witnesses.clone());
        let conditions = Conditions { gate: Some(gate), hold: witnesses.hold() };
        let log = open_log(config, vec![signer], clock.clone(), conditions)?;
        founding::founded(config)?;
        say_what_is_unknown(config, &log);
        // Whoever appends needs them, also where nothing is served: a gate that nobody asks for stays closed.
        tokio::spawn(witnesses.clone().run(log.clone()));
        let mirrors = open_mirrors(config, config.mirrored().map(|(name, _)| name), &client)?;
        for one in mirrors.unusable() {
            let fix = one.remedy();
            tracing::error!(log = one.name, error = %one, fix, "a mirror cannot be used; the others go on");
        }
        let notary = open_notary(config, log.clone(), &mirrors, &client)?;
        Ok(Engines { log, notary, mirrors, witnesses, clock })
    }
}

/// Log and anchor that were put back from one old backup agree, and nothing on this machine can tell.
fn say_what_is_unknown(config: &Config, log: &Log) {
    let size = log.snapshot().size().0;
    if size > 0 && config.witnesses.all.is_empty() && matches!(&*log.state(), State::Writing) {
        tracing::info!(
            tree.size = size,
            "log and anchor agree; if both are old copies of one time, nobody here can know, since no witness is configured"
        );
    }
}

/// Opens the log. Without signers it can only be read.
pub(super) fn open_log(
    config: &Config,
    signers: Vec<SignerKey>,
    clock: Clock,
    conditions: Conditions,
) -> anyhow::Result<Log> {
    let identity = signers.first().map(|signer| Identity::of(signer, clock.now()));
    let parts = sqlite::open_log(&config.data, &config.anchor, identity.as_ref(), reader_cache_kib(config));
    let opened = parts.map_err(LogOpenError::from);
    let opened = opened.and_then(|parts| Log::open(parts, signers, clock, conditions)).map_err(|error| {
        let exit = exit_of(&error);
        (error, exit)
    });
    match opened {
        Ok(log) => Ok(log),
        Err((error @ LogOpenError::Store(StoreError::Damaged { .. }), exit)) => {
            let fix = "`tallystick fsck` names all that is damaged; restore the database from a backup that fsck finds \
                       clean, and leave keys and anchor as they are";
            Err(anyhow::anyhow!("{error}; nothing of this log is served\n  fix: {fix}")).or_exit(exit)
        }
        Err((error, exit)) => Err(error).or_exit(exit),
    }
}

fn exit_of(error: &LogOpenError) -> Exit {
    match error {
        LogOpenError::Store(error) => exit_of_store(error),
        LogOpenError::WrongKey { .. } => Exit::Usage,
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
/// The page cache of one reading connection. The own log and each full mirror have one for each core.
fn reader_cache_kib(config: &Config) -> u32 {
    let cores = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let full = config.sumdbs.values().filter(|sumdb| sumdb.mode == config::Mode::Full).count() as u64;
    u32::try_from(config.cache.database_bytes / cores / (1 + full) / 1024).unwrap_or(u32::MAX)
}

/// How other servers are asked.
pub(super) fn http_client(config: &Config, clock: &Clock) -> anyhow::Result<HttpClient> {
    Ok(HttpClient::new(ClientOptions {
        roots: config.roots.clone(),
        user_agent: user_agent(config.contact.as_deref()),
        redirects: redirect_rules(config)?,
        clock: clock.clone(),
        ..ClientOptions::default()
    })?)
}

/// Opens remote logs by name. One whose database cannot be used is told of, and does not keep the others from being opened.
pub(super) fn open_mirrors<'a>(
    config: &Config,
    names: impl IntoIterator<Item = &'a String>,
    client: &HttpClient,
) -> anyhow::Result<Mirrors> {
    let directory = mirror_directory(config);
    private::make_directory(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    open_each(config, names, client, false)
}

fn open_each<'a>(
    config: &Config,
    names: impl IntoIterator<Item = &'a String>,
    client: &HttpClient,
    is_kept_only: bool,
) -> anyhow::Result<Mirrors> {
    let (mut mirrors, mut unusable) = (Vec::new(), Vec::new());
    for name in names {
        let sumdb =
            config.sumdbs.get(name).with_context(|| format!("no [sumdb.\"{name}\"] in the configuration"))?;
        match open_mirror(config, sumdb, name, client, is_kept_only)? {
            Ok(mirror) => mirrors.push(mirror),
            Err(one) => unusable.push(one),
        }
    }
    Ok(Mirrors::new(mirrors).and_unusable(unusable))
}

/// One of them, without its full mirror if it is only to be looked at.
fn open_mirror(
    config: &Config,
    sumdb: &config::SumDb,
    name: &str,
    client: &HttpClient,
    is_kept_only: bool,
) -> anyhow::Result<Result<Mirror, Unusable>> {
    let (database, full) = (mirror_database(config, name), full_database(config, name));
    let replica = match open_replica(config, sumdb, name, client.clock(), is_kept_only) {
        Ok(replica) => replica,
        Err(error) => return cannot_use(sumdb, name, full, error),
    };
    let (requests_per_second, bytes_per_second) = (sumdb.requests_per_second, sumdb.bytes_per_second);
    let speed = Speed { requests_per_second, bytes_per_second };
    let opened = RemoteLog::open(RemoteLogOptions {
        name: name.to_owned(),
        key: sumdb.key.clone(),
        transport: RemoteSumdb::with_speed(name.to_owned(), sumdb.urls.clone(), client.clone(), speed),
        database: database.clone(),
        clock: client.clock().clone(),
        replica,
        limits: RemoteLimits { requests: sumdb.jobs, ..RemoteLimits::default() },
    });
    match opened {
        Ok(log) => {
            let replicate = ReplicateOptions { jobs: sumdb.jobs, ..ReplicateOptions::default() };
            let mirror = Mirror::new(log, sumdb.mode, sumdb.poll, replicate, full);
            Ok(Ok(mirror.on(sumdb.schedule.clone())))
        }
        Err(RemoteError::Store(error)) => {
            cannot_use(sumdb, name, database, Arc::try_unwrap(error).map_err(anyhow::Error::from)?)
        }
        Err(error) => Err(error).or_exit(Exit::Failed),
    }
}

/// A database of another log, or under another key, is a mistake in the configuration, and one that somebody is writing will be
/// free in a moment; any other that cannot be opened must
/// not stop what does not need it.
fn cannot_use(
    sumdb: &config::SumDb,
    name: &str,
    database: PathBuf,
    error: StoreError,
) -> anyhow::Result<Result<Mirror, Unusable>> {
    if let StoreError::Foreign { path, .. } = &error {
        let fix = format!(
            "fix: move {path} and the files whose names begin like it to another directory; the \
             mirror of {name} then begins again from its server"
        );
        return Err(anyhow!("{error}\n  {fix}")).or_exit(Exit::Usage);
    }
    if let StoreError::Locked { .. } = &error {
        return Err(error).or_exit(Exit::Running);
    }
    Ok(Err(Unusable { name: name.to_owned(), mode: sumdb.mode, database, error }))
}

/// The full mirror of a remote log: in mode `full`, and where the mode was `full` before.
fn open_replica(
    config: &Config,
    sumdb: &config::SumDb,
    name: &str,
    clock: &Clock,
    is_kept_only: bool,
) -> Result<Option<Replica>, StoreError> {
    let path = full_database(config, name);
    if is_kept_only || (sumdb.mode != config::Mode::Full && !path.exists()) {
        return Ok(None);
    }
    Replica::open(&path, name, &sumdb.key.to_string(), reader_cache_kib(config), clock.now()).map(Some)
}

/// The database of the witnesses' cosignatures.
pub(super) fn cosignatures_database(config: &Config) -> PathBuf {
    config.data.join("cosignatures.db")
}

/// The witnesses of the log, which are there before it: where cosignatures are demanded they are its gate.
fn open_witnesses(config: &Config, signer: &SignerKey, client: &HttpClient) -> anyhow::Result<Witnesses> {
    let path = cosignatures_database(config);
    let store = match CosignatureStore::open(&path) {
        // Only what is demanded may keep a log from being served. Why a disk takes nothing, the log's own database says better.
        Err(error) if !config.witnesses.required => {
            tracing::warn!(%error, path = %path.display(), "cosignatures are kept in memory only");
            CosignatureStore::in_memory()
        }
        opened => opened,
    };
    let store = store.with_context(|| {
        format!(
            "the cosignatures in {} cannot be used\n  fix: move that file away; the witnesses are \
             asked again, and the newest head waits until they have answered",
            path.display()
        )
    });
    let store = store.or_exit(Exit::Failed)?;
    let config::LogWitnesses { all, quorum, required, timeout } = &config.witnesses;
    let peer = |witness: &config::LogWitness| AskedWitness {
        name: witness.name.clone(),
        url: SourceUrl::Server(witness.url.clone()),
        key: witness.key.clone(),
    };
    Ok(Witnesses::new(WitnessesOptions {
        log: signer.verifier(),
        own: CosignatureSigner::from(signer),
        peers: all.iter().map(peer).collect(),
        quorum: if all.is_empty() { 0 } else { *quorum },
        required: *required,
        patience: *timeout,
        hearing: HEARING,
        freshness: config.freshness,
        store,
        client: client.clone(),
    }))
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
pub(super) fn full_database(config: &Config, name: &str) -> PathBuf {
    mirror_directory(config).join(format!("{}.full.db", file_name(name)))
}

fn open_notary(config: &Config, log: Log, mirrors: &Mirrors, client: &HttpClient) -> anyhow::Result<Notary> {
    let scratch = config.data.join("scratch");
    private::make_directory(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let anchor = config.anchor.parent().unwrap_or(Path::new("."));
    let scratch = ScratchSpace::new(scratch, &[&config.data, anchor]);
    let git_config = config.git_config.as_deref().map(read_git_config).transpose()?;
    let mut routes = Vec::new();
    for config::RouteSection { route, .. } in &config.routes {
        let checksum = match &route.checksum {
            Checksum::Compute => Checksum::Compute,
            Checksum::Sumdb(name) => {
                let unusable =
                    || mirrors.find_unusable(name).expect("what routes name is opened or cannot be").clone();
                let lines: Arc<dyn RemoteLines> = match mirrors.find(name) {
                    Some(mirror) => Arc::new(mirror.log.clone()),
                    None => unusable(),
                };
                Checksum::Sumdb(lines)
            }
        };
        routes.push(Route {
            modules: route.modules.clone(),
            source: route.source.clone().map(|list| source(config, list, client, &scratch, &git_config)),
            checksum,
        });
    }
    let clock = client.clock().clone();
    Ok(Notary::new(NotaryOptions { log, routes, limits: limits(config), clock })?)
}

/// Git runs what its configuration names, so nobody else may write it. It may be readable: it is where a credential helper is
/// named, and need not hold a secret.
fn read_git_config(path: &Path) -> anyhow::Result<String> {
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
    list: SourceList,
    client: &HttpClient,
    scratch: &ScratchSpace,
    git_config: &Option<String>,
) -> GoProxy {
    let vcs = list.has_direct().then(|| {
        let options = VcsOptions {
            roots: config.roots.clone(),
            proxies: ProxySettings::from_env(),
            git_config: git_config.clone(),
            clock: client.clock().clone(),
            ..VcsOptions::new(scratch.clone())
        };
        Vcs::new(options)
    });
    let limits = ModuleLimits { max_zip_bytes: config.limits.zip_bytes, ..ModuleLimits::default() };
    // Where a remote log gives the lines only small go.mod files are read from the list, never from version control.
    GoProxy::new(list, client.clone(), vcs, limits, scratch.clone())
}

/// What is kept of the remote logs, to be looked at: nobody is asked for anything, and what is not there is left out.
pub(super) fn open_kept_mirrors(config: &Config, client: &HttpClient) -> anyhow::Result<Mirrors> {
    let kept = config.mirrored().map(|(name, _)| name).filter(|name| mirror_database(config, name).exists());
    // The full mirror is only looked at: another process may be writing it.
    open_each(config, kept, client, true)
}

/// A log's name as a file name that cannot leave its directory: everything but letters, digits, `.`, `-` as `%xx`.
pub(super) fn file_name(name: &str) -> String {
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
