//! Public modules: their lines come from sum.golang.org, proved; here from its real answers as static files, and in the test
//! with `live` in its name from the log itself.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::support::live;

const GOLANG_KEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sum.golang.org")
}

/// The look-ups of the fixture by their escaped names.
fn recorded() -> Vec<(String, String)> {
    let (mut found, mut waiting) = (Vec::new(), vec![fixture().join("lookup")]);
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let name = path.strip_prefix(fixture().join("lookup")).unwrap().to_str().unwrap().to_owned();
            found.push((name, std::fs::read_to_string(path).unwrap()));
        }
    }
    found
}

fn unescaped(name: &str) -> String {
    let mut parts = name.split('!');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + &part[..1].to_ascii_uppercase() + &part[1..])
}

/// A log that takes all lines from sum.golang.org at `url`, and go.mod files from `source`.
fn log_of_public_modules(url: &str, source: &str) -> LogDirectory {
    let sumdb = format!("[sumdb.\"sum.golang.org\"]\nkey = \"{GOLANG_KEY}\"\nurls = [\"{url}\"]\n");
    let route =
        format!("[[route]]\nmodules = [\"*\"]\nsource = [\"{source}\"]\nchecksum = \"sum.golang.org\"\n");
    LogDirectory::new(NAME, &(sumdb + &route))
}

#[test]
fn every_recorded_module_is_answered_as_sum_golang_org_did() {
    if !oracle::is_there("every_recorded_module_is_answered_as_sum_golang_org_did") {
        return;
    }
    let recorded = recorded();
    assert_eq!(recorded.len(), 30);
    let web = HostileServer::start(|path| file(&fixture(), path));
    let nothing = tempfile::tempdir().unwrap();
    let nothing = format!("file://{}", nothing.path().display());
    let directory = log_of_public_modules(&web.url(), &nothing);
    let server = directory.serve();
    let modules: Vec<String> = recorded.iter().map(|(name, _)| unescaped(name)).collect();
    let looked = oracle::look_up(&server.vkey, &server.url, &modules, json!({"workers": 4}));
    for ((name, text), found) in recorded.iter().zip(&looked.results) {
        let mut lines = text.lines();
        let (record, zip) = (lines.next().unwrap(), lines.next().unwrap());
        assert_eq!(found.error, "", "{name}");
        assert_eq!(found.lines.as_deref(), Some(&[zip.to_owned()][..]), "{name}");
        let ours: Value =
            serde_json::from_slice(&server.get(&format!("/api/v1/modules/{name}")).body).unwrap();
        let evidence = &ours["evidence"];
        assert_eq!(
            (evidence["log"].as_str(), evidence["record"].as_u64()),
            (Some("sum.golang.org"), record.parse().ok()),
            "{name}: {ours}"
        );
    }
    assert_eq!(server.metric("tree_size"), 30);
}

/// Modules whose go.mod is known by heart: the `go` command needs no zip to load a module graph, and checks each go.mod.
#[test]
fn a_module_graph_of_public_modules() {
    if !oracle::is_there("a_module_graph_of_public_modules") {
        return;
    }
    let known = [
        ("github.com/pkg/errors", "v0.9.1", "module github.com/pkg/errors\n"),
        ("github.com/google/uuid", "v1.6.0", "module github.com/google/uuid\n"),
        ("github.com/davecgh/go-spew", "v1.1.1", "module github.com/davecgh/go-spew\n"),
    ];
    let proxy = tempfile::tempdir().unwrap();
    for (path, version, go_mod) in known {
        let at = proxy.path().join(path).join("@v");
        std::fs::create_dir_all(&at).unwrap();
        std::fs::write(at.join(format!("{version}.info")), format!("{{\"Version\":\"{version}\"}}")).unwrap();
        std::fs::write(at.join(format!("{version}.mod")), go_mod).unwrap();
    }
    let goproxy = format!("file://{}", proxy.path().display());
    let web = HostileServer::start(|path| file(&fixture(), path));
    let directory = log_of_public_modules(&web.url(), &goproxy);
    let server = directory.serve();
    let requires: Vec<String> = known.iter().map(|(path, version, _)| format!("{path}@{version}")).collect();
    let developer = Developer::new(&goproxy, &server.gosumdb());
    developer.project(&requires);
    let list = developer.go(&["list", "-m", "all"]).succeeded().stdout;
    assert!(list.contains("github.com/pkg/errors v0.9.1\n"), "{list}");
    let recorded = recorded();
    for module in &requires {
        let (_, text) = recorded.iter().find(|(name, _)| name == module).unwrap();
        let line = text.lines().nth(2).unwrap();
        assert!(developer.go_sum().contains(line), "{line} is not in\n{}", developer.go_sum());
    }
    assert_eq!(server.metric("tree_size"), 3);
    // One byte more in one of them, and no build accepts it.
    std::fs::write(
        proxy.path().join("github.com/pkg/errors/@v/v0.9.1.mod"),
        "module github.com/pkg/errors \n",
    )
    .unwrap();
    let victim = Developer::new(&goproxy, &server.gosumdb());
    victim.project(&requires);
    victim.go(&["list", "-m", "all"]).failed_with(&[
        "github.com/pkg/errors@v0.9.1: verifying go.mod: checksum mismatch",
        "SECURITY ERROR\nThis download does NOT match the one reported by the checksum server.",
    ]);
}

/// The variables that a machine may need to reach the network at all.
fn network() -> Vec<(&'static str, String)> {
    let names = ["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"];
    let names = names.into_iter().chain(["SSL_CERT_FILE", "SSL_CERT_DIR"]);
    names.filter_map(|name| Some((name, std::env::var(name).ok()?))).collect()
}

/// This one leaves the machine, through the GOPROXY of the environment, and only where live tests are
/// wanted: a server without any configuration.
#[test]
fn live_a_public_module_through_goproxy() {
    const TEST: &str = "live_a_public_module_through_goproxy";
    if !live::is_wanted(&format!("client::public::{TEST}")) || !oracle::is_there(TEST) {
        return;
    }
    let module = "rsc.io/quote@v1.5.2";
    let output = std::process::Command::new("go").args(["env", "GOPROXY"]).output().unwrap();
    let goproxy = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let network = network();
    let online = |developer: Developer| {
        network.iter().fold(developer, |developer, (name, value)| developer.with(name, value))
    };
    // What the `go` command alone can do here, we must be able to do.
    let alone = online(Developer::new(&goproxy, "sum.golang.org")).download(module);
    if !alone.ok {
        eprintln!("SKIPPED: client::{TEST}: go itself cannot verify {module}: {}", alone.stderr.trim_end());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut environment: Vec<(&str, &str)> = vec![("GOPROXY", &goproxy)];
    environment.extend(network.iter().map(|(name, value)| (*name, value.as_str())));
    let server = Server::start(directory.path(), &["--data", "data"], &environment);
    online(Developer::new(&goproxy, &server.gosumdb())).download(module).succeeded();
    let ours: Value = serde_json::from_slice(&server.get(&format!("/api/v1/modules/{module}")).body).unwrap();
    let evidence = &ours["evidence"];
    assert_eq!((&evidence["log"], &evidence["record"]), (&json!("sum.golang.org"), &json!(942)), "{ours}");
    assert!(server.name().starts_with("tallystick.local/"), "{}", server.name());
}
