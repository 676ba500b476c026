//! How the commands reach a server, and what they say when they do not: TLS, proxies, the address and key of `env`.

mod env;
mod proxies;
mod tls;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::{Ran, Sandbox};
use crate::support::serve::{LogDirectory, Server};

/// A certificate with its key.
struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

/// Makes a certificate that is its own root, for the names and addresses of `alternatives`. Nothing where openssl cannot be run,
/// which is said loudly.
fn certificate(test: &str, dir: &Path, name: &str, alternatives: &str, is_authority: bool) -> Option<Pair> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=test", "-newkey", "ec"]);
    openssl.args(["-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    made(test, openssl, dir, name, alternatives, is_authority)
}

/// The same, made a year ago for two days. Needs faketime.
fn expired_certificate(test: &str, dir: &Path, name: &str, alternatives: &str) -> Option<Pair> {
    crate::cli::installed("faketime", test)?;
    let mut openssl = Command::new("faketime");
    openssl.args([
        "2025-03-01 12:00:00",
        "openssl",
        "req",
        "-x509",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=test",
    ]);
    openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]).env("TZ", "UTC");
    made(test, openssl, dir, name, alternatives, false)
}

fn made(
    test: &str,
    mut openssl: Command,
    dir: &Path,
    name: &str,
    alternatives: &str,
    is_authority: bool,
) -> Option<Pair> {
    let pair = Pair { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
    openssl.arg("-addext").arg(format!("subjectAltName={alternatives}"));
    if !is_authority {
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    }
    match openssl.arg("-out").arg(&pair.cert).arg("-keyout").arg(&pair.key).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(pair)
        }
        Err(error) => {
            eprintln!("SKIPPED: {test}: openssl cannot be run: {error}");
            None
        }
    }
}

const LOCAL: &str = "DNS:localhost,IP:127.0.0.1";

/// A route that asks nobody.
const NO_SOURCE: &str = r#"[[route]]
modules = ["example.com/none"]
source = ["file:///nonexistent"]
checksum = "compute"
"#;

/// A log that is served with a certificate, or without.
fn served(pair: Option<&Pair>) -> (LogDirectory, Server) {
    let tls = pair.map_or_else(String::new, |pair| {
        format!("[tls]\ncert = \"{}\"\nkey = \"{}\"\n", pair.cert.display(), pair.key.display())
    });
    let directory = LogDirectory::new("sum.corp.example", &format!("{tls}{NO_SOURCE}"));
    let server = directory.serve();
    (directory, server)
}

/// Checks that a run failed with a code, an error that holds a text, and one fix.
fn assert_advised(what: &str, ran: &Ran, code: i32, cause: &str, fix: &str) {
    assert_eq!(ran.code, code, "{what}: {}", ran.stderr);
    assert!(ran.stderr.contains(cause), "{what}: no {cause:?} in {}", ran.stderr);
    let fixes: Vec<&str> =
        ran.stderr.lines().filter_map(|line| line.trim_start().strip_prefix("fix: ")).collect();
    assert_eq!(fixes.len(), 1, "{what}: {}", ran.stderr);
    assert!(fixes[0].contains(fix), "{what}: no {fix:?} in {}", ran.stderr);
}

fn env_of(url: &str) -> [&str; 3] {
    ["env", "--server", url]
}

fn gosumdb(ran: &Ran) -> &str {
    let value = ran.stdout.lines().find_map(|line| line.strip_prefix("export GOSUMDB="));
    value.unwrap_or_else(|| panic!("{} {}", ran.stdout, ran.stderr)).trim_matches('"')
}

fn sandbox() -> Sandbox {
    Sandbox::new()
}
