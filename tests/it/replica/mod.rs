//! Full mirrors: of logs that golang.org/x/mod wrote (`bench/peers/gen`), from honest and hostile sources, killed and damaged.
//! Every byte that is compared was written by Go.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the report; clippy knows only functions marked as tests"
)]

mod damage;
mod export;
mod files;
mod growth;
mod import;
mod kills;
mod liars;
pub(crate) mod peer;
mod reverify;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tallystick::clock::Clock;
use tallystick::mirror::{
    RecordsError, RemoteError, RemoteLimits, RemoteLog, RemoteLogOptions, ReplicateOptions, Replicated,
    replicate,
};
use tallystick::source::SourceUrl;
use tallystick::store::replica::Replica;
use tallystick::upstream::{ClientOptions, HttpClient, ProxySettings, RemoteSumdb};

use peer::Peer;

/// Where a mirror is kept in these tests.
struct Mirror {
    directory: PathBuf,
    vkey: String,
}

impl Mirror {
    fn new(directory: &Path, vkey: &str) -> Mirror {
        Mirror { directory: directory.to_owned(), vkey: vkey.to_owned() }
    }

    fn database(&self) -> PathBuf {
        self.directory.join("replica.db")
    }

    fn replica(&self) -> Replica {
        Replica::open(&self.database(), peer::NAME, &self.vkey, 1024, Clock::system().now()).unwrap()
    }

    /// The log, as one of these URLs serves it.
    fn log(&self, urls: &[String]) -> RemoteLog {
        self.log_with(urls, None)
    }

    /// The same, answered from its full mirror.
    fn log_with(&self, urls: &[String], replica: Option<Replica>) -> RemoteLog {
        let options = ClientOptions { proxies: ProxySettings::default(), ..ClientOptions::default() };
        let urls = urls.iter().map(|url| SourceUrl::parse(url).unwrap()).collect();
        let transport = RemoteSumdb::new(peer::NAME.to_owned(), urls, HttpClient::new(options).unwrap());
        RemoteLog::open(RemoteLogOptions {
            name: peer::NAME.to_owned(),
            key: self.vkey.parse().unwrap(),
            transport,
            database: self.directory.join("remote.db"),
            clock: Clock::system(),
            replica,
            limits: RemoteLimits::default(),
        })
        .unwrap()
    }

    /// Advances to what the URLs call newest and replicates it.
    async fn sync(&self, urls: &[String]) -> Result<Replicated, RecordsError> {
        let log = self.log(urls);
        sync(&log, &self.replica()).await
    }
}

async fn sync(log: &RemoteLog, replica: &Replica) -> Result<Replicated, RecordsError> {
    let head = log.advance(Clock::system().instant() + Duration::from_secs(60)).await?;
    let options = ReplicateOptions { tries: 3, ..ReplicateOptions::default() };
    replicate(log, replica, &head, options, |_| ()).await
}

/// A mirror in a directory of its own, and the log that Go wrote; none, and a loud word, where there is no Go.
fn setup(test: &str) -> Option<(&'static Peer, tempfile::TempDir, Mirror)> {
    let peer = match peer::peer() {
        Ok(peer) => peer,
        Err(why) => {
            eprintln!("SKIPPED: replica::{test}: {why}");
            return None;
        }
    };
    let directory = tempfile::tempdir().unwrap();
    let mirror = Mirror::new(directory.path(), &peer.vkey);
    Some((peer, directory, mirror))
}

fn unproven(result: Result<Replicated, RecordsError>) -> String {
    match result {
        Err(RecordsError::Remote(error @ RemoteError::Unproven(_))) => error.to_string(),
        other => panic!("expected unproven, got {other:?}"),
    }
}
