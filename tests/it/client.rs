//! The log as its clients see it: the installed `go` command, and x/mod's own client, against `tallystick serve`.
//!
//! Each developer has a home and a cache of their own. Nothing leaves the machine, except in tests that have `live` in
//! their names. Without a `go` command each test says loudly that it was skipped.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail where the test would")]

#[path = "client/go.rs"]
mod go;
#[path = "client/oracle.rs"]
mod oracle;
#[path = "client/private.rs"]
mod private;

use self::go::Developer;
use self::oracle::{Proxy, Spec};
use crate::support::serve::{LogDirectory, Server};

/// The name of most logs here.
const NAME: &str = "sum.corp.example";

/// A log that hashes all of `corp.example` from `proxy`.
fn log_over(proxy: &Proxy) -> LogDirectory {
    LogDirectory::new(NAME, &proxy.route("corp.example/*"))
}

/// What x/mod wants for an escaped module on the wire: capital letters are `!` and the small one.
fn escaped(module: &str) -> String {
    module
        .chars()
        .flat_map(|c| c.is_ascii_uppercase().then_some('!').into_iter().chain([c.to_ascii_lowercase()]))
        .collect()
}
