//! The log as its clients see it: the installed `go` command, and x/mod's own client, against `tallystick serve`.
//!
//! Each developer has a home and a cache of their own. Nothing leaves the machine, except in the test that has `live` in
//! its name. Without a `go` command each test says loudly that it was skipped.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail where the test would")]

mod attacks;
mod check;
mod counts;
mod errors;
pub(crate) mod go;
mod gosumdb;
mod mirrored;
mod openapi;
pub(crate) mod oracle;
mod private;
mod proofs;
mod public;
mod sumdb_client;

use crate::support::logs::LogOptions;
use std::path::Path;

use tallystick::clock::Clock;
use tallystick::config::keys;
use tallystick::http::sumdb::percent_decode;
use tallystick::log::Conditions;
use tallystick::note::SignerKey;

use self::go::Developer;
use self::oracle::{Proxy, Spec};
use crate::support::hostile::{Behaviour, HostileServer};
use crate::support::logs;
use crate::support::serve::{LogDirectory, Server};
use crate::support::web::{self, Page};

/// The name of most logs here.
const NAME: &str = "sum.corp.example";

/// For logs that notarise nothing: without any route the server would take its routes from GOPROXY.
const NO_MODULES: &str =
    "[[route]]\nmodules = [\"none.example\"]\nsource = [\"file:///nonexistent\"]\nchecksum = \"compute\"\n";

/// A log that hashes all of `corp.example` from `proxy`.
fn log_over(proxy: &Proxy) -> LogDirectory {
    LogDirectory::new(NAME, &proxy.route("corp.example/*"))
}

/// The log's signing key, for those who play a server that went bad. Nothing else may be using the directory for the first
/// time just now.
fn signer(directory: &LogDirectory) -> SignerKey {
    keys::load_or_create(&directory.data(), Some(NAME), |_| Ok(())).unwrap().0
}

/// Makes the log `size` made-up records long (see `logs::lines`). No server may be running on it.
fn grow(directory: &LogDirectory, size: u64) {
    let signers = vec![signer(directory)];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let data = directory.data();
        let anchor = data.join("anchor.db");
        let options =
            LogOptions { directory: data, anchor, signers, reader_cache_kib: 1024, clock: Clock::system() };
        let log = logs::open_log_as(options, Conditions::default()).unwrap();
        let from = log.snapshot().size().0;
        log.append(logs::candidates(from..size)).await.unwrap();
        assert_eq!(log.snapshot().size().0, size);
        tokio::task::spawn_blocking(|| log.close()).await.unwrap();
    });
}

/// Capital letters on the wire: `!` and the small one.
fn escaped(module: &str) -> String {
    let escape = |c: char| c.is_ascii_uppercase().then_some('!').into_iter().chain([c.to_ascii_lowercase()]);
    module.chars().flat_map(escape).collect()
}

/// A server in front of the log at `url` that changes what it answers, by the path that was asked for.
fn tampering(url: &str, change: impl Fn(&str, Page) -> Page + Send + Sync + 'static) -> HostileServer {
    let url = url.to_owned();
    HostileServer::start(move |path| forward(&url, path, |page| change(path, page)))
}

fn forward(url: &str, path: &str, change: impl FnOnce(Page) -> Page) -> Behaviour {
    match web::get(url, path) {
        Ok(page) => {
            let Page { status, body, .. } = change(page);
            let headers = vec![("Content-Type", "text/plain; charset=UTF-8".to_owned())];
            Behaviour::Answer { status, headers, body }
        }
        Err(error) => Behaviour::error(502, &error.to_string()),
    }
}

/// The `go` command writes `!` as `%21`.
fn decoded(path: &str) -> String {
    percent_decode(path).expect("go sends well-formed paths").into_owned()
}

/// What a server of files answers: those below `directory`.
fn file(directory: &Path, path: &str) -> Behaviour {
    match std::fs::read(directory.join(decoded(path).trim_start_matches('/'))) {
        Ok(body) => Behaviour::ok(body),
        Err(_) => Behaviour::not_found(),
    }
}
