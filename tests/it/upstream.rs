//! The clients of other servers, against a server that misbehaves in every way, directories, and git repositories.

#[path = "support/hostile.rs"]
pub(crate) mod hostile;

#[path = "upstream/direct.rs"]
mod direct;
#[path = "upstream/goproxy.rs"]
mod goproxy;
#[path = "upstream/http.rs"]
mod http;
#[path = "upstream/sumdb.rs"]
mod sumdb;

use std::time::{Duration, Instant};

use tallystick::clock::Clock;
use tallystick::upstream::{ClientOptions, HttpClient, ProxySettings, SourceUrl};

/// Time enough for any answer on this machine.
const AMPLE: Duration = Duration::from_secs(20);

/// A client without proxies, whatever the environment says.
fn options() -> ClientOptions {
    ClientOptions { proxies: ProxySettings::default(), ..ClientOptions::default() }
}

fn client() -> HttpClient {
    HttpClient::new(options()).unwrap()
}

fn within(time: Duration) -> Instant {
    Clock::system().instant() + time
}

fn url(text: &str) -> SourceUrl {
    SourceUrl::parse(text).unwrap()
}
