//! A mirror as clients use it: x/mod's client and the real `go` command, with the key of sum.golang.org itself.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::*;

const GOLANG: &str = "sum.golang.org";
const GOLANG_KEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

fn fixture() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sum.golang.org")
}

/// A log that mirrors sum.golang.org from `url`, and has no other way to modules.
fn mirror_of_golang(url: &str) -> LogDirectory {
    LogDirectory::new(NAME, &format!("[sumdb.\"{GOLANG}\"]\nurls = [\"{url}\"]\n{NO_MODULES}"))
}

fn mirrored(server: &Server, name: &str) -> String {
    format!("{}/sumdb/{name}", server.url)
}

/// The look-ups of the fixture: escaped name, record number and text.
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
            let answer = std::fs::read_to_string(path).unwrap();
            found.push((name, answer.split_once("\n\n").unwrap().0.to_owned() + "\n"));
        }
    }
    assert_eq!(found.len(), 30);
    found
}

fn unescaped(name: &str) -> String {
    let mut parts = name.split('!');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + &part[..1].to_ascii_uppercase() + &part[1..])
}

/// Looks all of them up as a client that has seen nothing.
#[track_caller]
fn look_all_up(server: &Server, recorded: &[(String, String)]) {
    let modules: Vec<String> = recorded.iter().map(|(name, _)| unescaped(name)).collect();
    let looked = oracle::look_up(GOLANG_KEY, &mirrored(server, GOLANG), &modules, json!({"workers": 4}));
    assert_eq!(looked.security, Vec::<String>::new());
    for ((name, text), found) in recorded.iter().zip(&looked.results) {
        assert_eq!(found.error, "", "{name}");
        assert_eq!(found.lines.as_deref(), Some(&[text.lines().nth(1).unwrap().to_owned()][..]), "{name}");
    }
    assert_eq!(looked.latest, std::fs::read_to_string(fixture().join("latest")).unwrap());
}

#[test]
fn xmod_verifies_a_mirror_of_the_public_log_with_and_without_a_network() {
    if !oracle::is_there("xmod_verifies_a_mirror_of_the_public_log_with_and_without_a_network") {
        return;
    }
    let recorded = recorded();
    let upstream = HostileServer::start(|path| file(&fixture(), path));
    let directory = mirror_of_golang(&upstream.url());
    let server = directory.serve();
    look_all_up(&server, &recorded);
    let note = std::fs::read_to_string(fixture().join("latest")).unwrap();
    for (name, text) in &recorded {
        let page = server.get(&format!("/sumdb/{GOLANG}/lookup/{name}"));
        assert_eq!((page.status, page.text()), (200, format!("{text}\n{note}")), "{name}");
    }
    let mut asked = upstream.paths();
    drop(upstream);
    // A developer with empty caches, and the network cut off: also after a restart.
    look_all_up(&server, &recorded);
    server.stop();
    let server = directory.serve();
    look_all_up(&server, &recorded);
    // The head, a look-up of each module and every tile that the fixture has: each of them once.
    asked.sort();
    let twice: Vec<&[String]> = asked.chunk_by(|a, b| a == b).filter(|same| same.len() > 1).collect();
    assert!(twice.is_empty(), "asked for more than once: {twice:?}");
    assert!(asked.len() <= 1 + 30 + 80, "{} requests for 30 modules", asked.len());
    server.stop();
}

#[test]
fn a_directory_is_an_upstream() {
    if !oracle::is_there("a_directory_is_an_upstream") {
        return;
    }
    let directory = mirror_of_golang(&format!("file://{}", fixture().display()));
    let server = directory.serve();
    look_all_up(&server, &recorded());
    assert_eq!(server.get(&format!("/sumdb/{GOLANG}/lookup/example.com/none@v1.0.0")).status, 404);
    server.stop();
}

/// Modules whose go.mod is known by heart, from a proxy of files.
fn proxy_of_known() -> (tempfile::TempDir, Vec<String>) {
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
    (proxy, known.iter().map(|(path, version, _)| format!("{path}@{version}")).collect())
}

/// `GOSUMDB="sum.golang.org http://us/sumdb/sum.golang.org"`, and `GOSUMDB=sum.golang.org` behind a GOPROXY that has us
/// under `/sumdb/`: the `go` command uses the key that is built into it.
#[test]
fn the_go_command_believes_the_mirror_by_the_key_that_is_built_in() {
    if !oracle::is_there("the_go_command_believes_the_mirror_by_the_key_that_is_built_in") {
        return;
    }
    let (proxy, requires) = proxy_of_known();
    let goproxy = format!("file://{}", proxy.path().display());
    let upstream = HostileServer::start(|path| file(&fixture(), path));
    let directory = mirror_of_golang(&upstream.url());
    let server = directory.serve();
    let (url, files) = (server.url.clone(), proxy.path().to_owned());
    let front = HostileServer::start(move |path| match path.starts_with("/sumdb/") {
        true => forward(&url, path, |page| page),
        false => file(&files, path),
    });
    let by_url = format!("{GOLANG} {}", mirrored(&server, GOLANG));
    let mut cut = Some(upstream);
    for (goproxy, gosumdb) in [(&goproxy, by_url.as_str()), (&front.url(), GOLANG), (&goproxy, &by_url)] {
        let developer = Developer::new(goproxy, gosumdb);
        developer.project(&requires);
        developer.go(&["list", "-m", "all"]).succeeded();
        let recorded = recorded();
        for module in &requires {
            let (_, text) = recorded.iter().find(|(name, _)| name == module).unwrap();
            let line = text.lines().nth(2).unwrap();
            assert!(developer.go_sum().contains(line), "{line} is not in\n{}", developer.go_sum());
        }
        assert!(developer.newest_head(GOLANG).starts_with("go.sum database tree\n66398721\n"));
        // The next developers have no network behind us.
        drop(cut.take());
    }
    assert!(front.paths().contains(&format!("/sumdb/{GOLANG}/supported")), "{:?}", front.paths());
    // One byte more in one of them, and no build accepts it.
    let at = proxy.path().join("github.com/pkg/errors/@v/v0.9.1.mod");
    std::fs::write(at, "module github.com/pkg/errors \n").unwrap();
    let victim = Developer::new(&goproxy, &by_url);
    victim.project(&requires);
    victim
        .go(&["list", "-m", "all"])
        .failed_with(&["github.com/pkg/errors@v0.9.1: verifying go.mod: checksum mismatch"]);
    server.stop();
}

/// Another Tallystick is the upstream, which grows; clients that have seen it at a later size come to the mirror.
#[test]
fn a_growing_log_is_mirrored_for_clients_of_every_age() {
    if !oracle::is_there("a_growing_log_is_mirrored_for_clients_of_every_age") {
        return;
    }
    let (proxy, paths) = Proxy::of_many("corp.example/lib", 12);
    let modules: Vec<String> = paths.iter().map(|path| format!("{path}@v1.0.0")).collect();
    let upstream = log_over(&proxy);
    grow(&upstream, 600);
    let upstream = upstream.serve();
    let sumdb = format!("[sumdb.\"{NAME}\"]\nkey = \"{}\"\nurls = [\"{}\"]\n", upstream.vkey, upstream.url);
    let directory = LogDirectory::new("mirror.corp.example", &format!("{sumdb}{NO_MODULES}"));
    let server = directory.serve();
    let through = mirrored(&server, NAME);
    let mut latest = String::new();
    for (round, modules) in modules.chunks(4).enumerate() {
        // New records, brought in by a client of the upstream, whose head the next client has already.
        let direct = oracle::look_up(&upstream.vkey, &upstream.url, &modules[..2], json!({"latest": latest}));
        assert!(direct.results.iter().all(|found| found.error.is_empty()), "{round}: {direct:?}");
        latest = direct.latest;
        for known in ["", &latest] {
            let looked = oracle::look_up(&upstream.vkey, &through, modules, json!({"latest": known}));
            assert_eq!(looked.security, Vec::<String>::new());
            for (module, found) in modules.iter().zip(&looked.results) {
                let line = proxy.lines(module)[0].clone();
                assert_eq!(
                    (found.error.as_str(), found.lines.as_deref()),
                    ("", Some(&[line][..])),
                    "{round} {module}"
                );
            }
        }
    }
    assert_eq!(server.log_metric("mirror_size", NAME), 612);
    upstream.stop();
    let looked = oracle::look_up(GOLANG_KEY, &through, &modules, json!({}));
    assert!(looked.results.iter().all(|found| !found.error.is_empty()), "another key: {looked:?}");
    server.stop();
}

/// Whatever an upstream changes, x/mod's client gets the true lines or an error of ours, and never a security error.
#[test]
fn a_lying_upstream_never_reaches_a_client() {
    if !oracle::is_there("a_lying_upstream_never_reaches_a_client") {
        return;
    }
    let (name, text) = recorded().into_iter().find(|(name, _)| name == "rsc.io/quote@v1.5.2").unwrap();
    type Change = fn(&str, Vec<u8>) -> Behaviour;
    let lies: [(&str, Change); 6] = [
        ("a flipped byte in each tile", |path, mut body| {
            if path.starts_with("/tile/") {
                body[9] ^= 1;
            }
            Behaviour::ok(body)
        }),
        ("another line", |path, body| match path.starts_with("/lookup/") {
            true => Behaviour::ok(String::from_utf8(body).unwrap().replace("w5fc", "w5fd")),
            false => Behaviour::ok(body),
        }),
        ("another module's record", |path, body| match path.starts_with("/lookup/") {
            true => file(&fixture(), "/lookup/github.com/pkg/errors@v0.9.1"),
            false => Behaviour::ok(body),
        }),
        ("a truncated body", |_, body| Behaviour::Truncated {
            claimed: body.len() as u64,
            body: body[..9].to_vec(),
        }),
        ("an error page", |_, _| Behaviour::ok("<html>please log in</html>")),
        ("resets", |_, _| Behaviour::Reset),
    ];
    let lie = Arc::new(Mutex::new(0));
    let which = lie.clone();
    let upstream =
        HostileServer::start(move |path| match std::fs::read(fixture().join(&decoded(path)[1..])) {
            Ok(body) => lies[*which.lock().unwrap()].1(path, body),
            Err(_) => Behaviour::not_found(),
        });
    let directory = mirror_of_golang(&upstream.url());
    let server = directory.serve();
    for (number, (what, _)) in lies.iter().enumerate() {
        *lie.lock().unwrap() = number;
        let looked = oracle::look_up(GOLANG_KEY, &mirrored(&server, GOLANG), &[unescaped(&name)], json!({}));
        assert_eq!(looked.security, Vec::<String>::new(), "{what}");
        assert!(looked.results[0].error.contains("503"), "{what}: {looked:?}");
    }
    drop(upstream);
    let honest = HostileServer::start(|path| file(&fixture(), path));
    let directory = mirror_of_golang(&honest.url());
    let server = directory.serve();
    let looked = oracle::look_up(GOLANG_KEY, &mirrored(&server, GOLANG), &[unescaped(&name)], json!({}));
    assert_eq!(looked.results[0].lines.as_deref(), Some(&[text.lines().nth(1).unwrap().to_owned()][..]));
}
