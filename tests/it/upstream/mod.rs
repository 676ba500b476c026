//! The clients of other servers, against a server that misbehaves in every way, directories, and git repositories.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail where the test would")]

mod direct;
mod direct_faults;
mod direct_login;
mod git_host;
mod goproxy;
mod http;
mod judged;
mod polite;
mod sumdb;

use std::time::{Duration, Instant};

use tallystick::clock::Clock;
use tallystick::module::ModuleVersion;
use tallystick::source::{SourceList, SourceUrl};
use tallystick::upstream::{
    ClientOptions, GoProxy, HttpClient, ModuleLimits, ProxySettings, RemoteSumdb, Vcs, VcsOptions, supported,
};

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

/// Everything here is awaited on a runtime with several threads.
#[test]
fn futures_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let module = ModuleVersion::from_parts("corp.example/x", "v1.0.0").unwrap();
    let list = SourceList::parse("direct").unwrap();
    let vcs = Vcs::new(VcsOptions::new(std::env::temp_dir()));
    let proxy =
        GoProxy::new(list, client(), Some(vcs.clone()), ModuleLimits::default(), std::env::temp_dir());
    let deadline = within(AMPLE);
    is_send(&proxy.fetch_module(&module, deadline));
    is_send(&proxy.fetch_zip(&module, deadline));
    is_send(&vcs.download(&module, &ModuleLimits::default(), deadline));
    let remote = RemoteSumdb::new("x".into(), vec![url("https://sum.invalid")], client());
    is_send(&remote.latest(deadline).next());
    is_send(&supported(&client(), &url("https://sum.invalid"), deadline));
}
