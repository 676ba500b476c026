//! The remote logs, each with its databases.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow};

use super::log::reader_cache_kib;
use crate::cli::exit::{Exit, OrExit};
use crate::clock::Clock;
use crate::config::{self, Config, SumdbSection};
use crate::mirror::{
    Mirror, Mirrors, RemoteError, RemoteLimits, RemoteLog, RemoteLogOptions, ReplicateOptions, Unusable,
};
use crate::store::replica::Replica;
use crate::store::{StoreError, private};
use crate::upstream::{HttpClient, RemoteSumdb, Speed};

/// Opens remote logs by name. One whose database cannot be used is among the unusable ones, and
/// does not keep the others from being opened.
pub(in crate::cli) fn open_mirrors<'a>(
    config: &Config,
    names: impl IntoIterator<Item = &'a String>,
    client: &HttpClient,
) -> anyhow::Result<Mirrors> {
    let directory = mirror_directory(config);
    private::make_directory(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    open_each(config, names, client, false)
}

/// What is kept of the remote logs, to be looked at: nobody is asked for anything, and what is not
/// there is left out.
pub(in crate::cli) fn open_kept_mirrors(config: &Config, client: &HttpClient) -> anyhow::Result<Mirrors> {
    let kept = config.mirrored().map(|(name, _)| name).filter(|name| mirror_database(config, name).exists());
    // The full mirror is only looked at: another process may be writing it.
    open_each(config, kept, client, true)
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
    sumdb: &SumdbSection,
    name: &str,
    client: &HttpClient,
    is_kept_only: bool,
) -> anyhow::Result<Result<Mirror, Unusable>> {
    let (database, full) = (mirror_database(config, name), full_database(config, name));
    let replica = match open_replica(config, sumdb, name, client.clock(), is_kept_only) {
        Ok(replica) => replica,
        Err(error) => return cannot_use(sumdb, name, full, error),
    };
    let opened = RemoteLog::open(RemoteLogOptions {
        name: name.to_owned(),
        key: sumdb.key.value.clone(),
        transport: transport(sumdb, name, client),
        database: database.clone(),
        clock: client.clock().clone(),
        replica,
        limits: limits(sumdb),
    });
    match opened {
        Ok(log) => {
            let replicate = ReplicateOptions { jobs: *sumdb.jobs, ..ReplicateOptions::default() };
            let mirror = Mirror::new(log, *sumdb.mode, sumdb.poll.0, replicate, full);
            Ok(Ok(mirror.on(sumdb.schedule.value.clone())))
        }
        Err(RemoteError::Store(error)) => {
            cannot_use(sumdb, name, database, Arc::try_unwrap(error).map_err(anyhow::Error::from)?)
        }
        Err(error) => Err(error).or_exit(Exit::Failed),
    }
}

/// How a remote log is asked.
fn transport(sumdb: &SumdbSection, name: &str, client: &HttpClient) -> RemoteSumdb {
    let (requests_per_second, bytes_per_second) = (*sumdb.requests_per_second, *sumdb.bytes_per_second);
    let speed = Speed { requests_per_second, bytes_per_second };
    RemoteSumdb::with_speed(name.to_owned(), sumdb.urls.value.clone(), client.clone(), speed)
}

fn limits(sumdb: &SumdbSection) -> RemoteLimits {
    RemoteLimits { requests: *sumdb.jobs, ..RemoteLimits::default() }
}

/// Has the mirrors asked as a reloaded configuration says. Those that it says nothing new about go
/// on as they are, with what is known of their URLs.
pub(in crate::cli) fn redirect_mirrors(
    mirrors: &Mirrors,
    (before, after): (&Config, &Config),
    client: &HttpClient,
    is_new_client: bool,
) {
    let manner = |sumdb: &SumdbSection| {
        (sumdb.urls.value.clone(), *sumdb.requests_per_second, *sumdb.bytes_per_second)
    };
    for mirror in mirrors.iter() {
        let name = mirror.log.name();
        let Some(sumdb) = after.sumdbs.get(name) else { continue };
        if is_new_client || before.sumdbs.get(name).map(manner) != Some(manner(sumdb)) {
            mirror.log.ask_at(transport(sumdb, name, client), &limits(sumdb));
        }
    }
}

/// A database of another log, or under another key, is a mistake in the configuration, and one that
/// somebody is writing will be free in a moment; any other that cannot be opened must not stop what
/// does not need it.
fn cannot_use(
    sumdb: &SumdbSection,
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
    Ok(Err(Unusable { name: name.to_owned(), mode: *sumdb.mode, database, error }))
}

/// The full mirror of a remote log: in mode `full`, and where the mode was `full` before.
fn open_replica(
    config: &Config,
    sumdb: &SumdbSection,
    name: &str,
    clock: &Clock,
    is_kept_only: bool,
) -> Result<Option<Replica>, StoreError> {
    let path = full_database(config, name);
    if is_kept_only || (*sumdb.mode != config::Mode::Full && !path.exists()) {
        return Ok(None);
    }
    Replica::open(&path, name, &sumdb.key.to_string(), reader_cache_kib(config), clock.now()).map(Some)
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
pub(in crate::cli) fn full_database(config: &Config, name: &str) -> PathBuf {
    mirror_directory(config).join(format!("{}.full.db", file_name(name)))
}

/// A log's name as a file name that cannot leave its directory: everything but letters, digits,
/// `.`, `-` as `%xx`.
pub(in crate::cli) fn file_name(name: &str) -> String {
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
