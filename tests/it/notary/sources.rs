//! What a source may do beside serving files, next to the `go` command: encodings, redirects, odd names, lists.

use std::collections::HashMap;
use std::io::Write as _;
use std::process::Command;

use tallystick::module::PathPatterns;
use tallystick::notary::{NotaryError, NotaryRoute, Remedy};
use tallystick::route::{Checksum, Route};
use tallystick::source::SourceList;
use tallystick::upstream::{
    ClientOptions, GoProxy, HostRule, HttpClient, ModuleLimits, ProxySettings, RedirectRules,
};

use super::computed::go_sums;
use super::world::{Files, World, client, file_url, module, zip};
use crate::support::hostile::{Behaviour, HostileServer};

/// A proxy that serves these files, each as `dress` says.
fn serving(files: Files, dress: impl Fn(&str, &[u8]) -> Behaviour + Send + Sync + 'static) -> HostileServer {
    HostileServer::start(move |path| {
        let name = path.split('?').next().unwrap_or_default().trim_start_matches('/');
        match files.0.get(name) {
            Some(content) => dress(path, content),
            None => Behaviour::not_found(),
        }
    })
}

fn with(name: &'static str, value: &str, body: Vec<u8>) -> Behaviour {
    Behaviour::Answer { status: 200, headers: vec![(name, value.to_owned())], body }
}

/// Storage that sends an encoding whatever was asked for: `go` undoes gzip and ignores the rest, and the same zip is hashed.
#[tokio::test]
async fn encodings_are_taken_as_the_go_command_takes_them() {
    let has_go = Command::new("go").arg("version").output().is_ok();
    if !has_go {
        eprintln!("SKIPPED: encodings_are_taken_as_the_go_command_takes_them: there is no go command");
    }
    for encoding in ["gzip", "GZip", "", "aws-chunked", "identity"] {
        let wanted = module("corp.example/m@v1.0.0");
        let mut files = Files::default();
        files.add(&wanted, &[]);
        let proxy = serving(files, move |_, content| {
            let mut body = content.to_vec();
            if encoding.eq_ignore_ascii_case("gzip") {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(content).unwrap();
                body = encoder.finish().unwrap();
            }
            with("Content-Encoding", encoding, body)
        });
        let world = World::new();
        // What comes second is never notarized for it.
        let list = format!("{}|https://other.invalid", proxy.url());
        let found = world.notary(vec![world.compute("*", &list)]).lookup(wanted.clone(), client()).await;
        let lines = found.unwrap_or_else(|error| panic!("{encoding:?}: {error}")).record.lines;
        if has_go {
            let go = go_sums(&proxy.url(), &wanted).unwrap_or_else(|| panic!("go refuses {encoding:?}"));
            assert_eq!((lines.zip.to_string(), lines.go_mod.to_string()), go, "{encoding:?}");
        }
    }
}

/// A route with these rules for redirects.
fn redirected(world: &World, list: &str, hosts: &[String], private: &[String]) -> NotaryRoute {
    let rules = |texts: &[String]| texts.iter().map(|text| HostRule::parse(text).unwrap()).collect();
    let redirects =
        RedirectRules { hosts: rules(hosts), private_hosts: rules(private), ..RedirectRules::default() };
    let proxies = ProxySettings::default();
    let http = HttpClient::new(ClientOptions { proxies, redirects, ..ClientOptions::default() }).unwrap();
    let scratch = world.directory.path().to_owned();
    let list = SourceList::parse(list).unwrap();
    let source = GoProxy::new(list, http, None, ModuleLimits::default(), scratch);
    Route { modules: PathPatterns::parse("*"), source: Some(source), checksum: Checksum::Compute }
}

/// Each refusal names the host and what the operator does about it; the advice is followed until the module is there.
#[tokio::test]
async fn a_refused_redirect_names_its_host_and_the_setting_that_allows_it() {
    let wanted = module("corp.example/m@v1.0.0");
    let mut files = Files::default();
    files.add(&wanted, &[]);
    let storage = serving(files, |_, content| Behaviour::ok(content));
    let storage_host = format!("localhost:{}", storage.port());
    let to = format!("http://{storage_host}");
    let proxy = HostileServer::start(move |path| Behaviour::Redirect(format!("{to}{path}?signature=s3cret")));
    let second = HostileServer::always(Behaviour::ok("x"));
    let list = format!("{}|{}", proxy.url(), second.url());
    let (mut hosts, mut private): (Vec<String>, Vec<String>) = Default::default();
    let mut allowed = Vec::new();
    for _ in 0..3 {
        let world = World::new();
        let notary = world.notary(vec![redirected(&world, &list, &hosts, &private)]);
        let error = match notary.lookup(wanted.clone(), client()).await {
            Ok(_) => {
                assert_eq!(allowed, ["hosts", "private_sources"]);
                assert!(second.requests().is_empty(), "what we do not allow leads to nobody else");
                return;
            }
            Err(error) => error,
        };
        let NotaryError::Refused { remedy: Remedy::Allow { change }, .. } = &error else {
            panic!("{error:?}")
        };
        for text in [error.to_client_text(), error.to_string()] {
            assert!(text.contains(&storage_host) && text.contains(&**change), "{text}");
            assert!(!text.contains("s3cret") && !text.contains("repaired"), "{text}");
        }
        let host = change.split('"').nth(1).unwrap().to_owned();
        if change.contains("private_sources in [redirects]") {
            private.push(host);
            allowed.push("private_sources");
        } else {
            assert!(change.contains("hosts in [redirects]"), "{change}");
            hosts.push(host);
            allowed.push("hosts");
        }
    }
    panic!("the advice did not help: {hosts:?} {private:?}");
}

/// A client chooses the name, so it never is a failure of ours; `go` says "file name too long".
#[tokio::test]
async fn a_name_that_no_file_can_have_is_not_found() {
    let tree = tempfile::tempdir().unwrap();
    let mut files = Files::default();
    files.add(&module("corp.example/m@v1.0.0"), &[]);
    files.write(tree.path());
    std::fs::write(tree.path().join("corp.example/file"), "").unwrap();
    let world = World::new();
    let notary = world.notary(vec![world.compute("*", &file_url(tree.path()))]);
    for name in [
        format!("corp.example/{}@v1.0.0", "a".repeat(300)),
        format!("corp.example/m@v1.0.0-{}", "A".repeat(130)),
        format!("corp.example/{}m@v1.0.0", "a/".repeat(500)),
        "corp.example/file/m@v1.0.0".to_owned(),
    ] {
        let error = notary.lookup(module(&name), client()).await.err().unwrap();
        assert!(matches!(error, NotaryError::NotFound { .. }), "{error:?}");
        let text = error.to_client_text();
        assert!(text.starts_with("not found: ") && !text.contains(tree.path().to_str().unwrap()), "{text}");
    }
    assert_eq!((notary.counters().internal.value(), world.size()), (0, 0));
}

/// Every source that was asked has its line, and the one whose failure counts is the one that is named.
#[tokio::test]
async fn every_source_of_a_list_that_failed_is_named() {
    let wanted = module("corp.example/m@v1.0.0");
    let sources: HashMap<&str, HostileServer> = [
        ("missing", Behaviour::not_found()),
        ("busy", Behaviour::error(503, "busy")),
        ("closed", Behaviour::Empty),
        ("rejects", Behaviour::error(400, "what?")),
    ]
    .into_iter()
    .map(|(name, does)| (name, HostileServer::always(does)))
    .collect();
    let world = World::new();
    let ask = async |names: &[&str]| {
        let urls: Vec<String> = names.iter().map(|name| sources[name].url()).collect();
        let notary = world.notary(vec![world.compute("*", &urls.join("|"))]);
        let mut text = notary.lookup(wanted.clone(), client()).await.err().unwrap().to_client_text();
        sources
            .iter()
            .for_each(|(name, server)| text = text.replace(&server.url(), &format!("http://{name}")));
        text
    };
    insta::assert_snapshot!(ask(&["missing", "busy", "closed"]).await, @r"
    try again: http://busy cannot give corp.example/m@v1.0.0 at the moment
    Cause: it answered with status 503: busy.
    http://missing: it answered with status 404: not found: no such module
    http://closed: its answer broke off after 0 bytes
    Run the command again in 5 s. Nothing is known to be wrong with the module.
    ");
    insta::assert_snapshot!(ask(&["missing", "rejects"]).await, @r"
    corp.example/m@v1.0.0 is refused: it answered with status 400: what?
    fix: ask whoever runs http://rejects why it refuses this.
    http://missing: it answered with status 404: not found: no such module
    ");
}

/// A character that the go command does not unpack is named by its number.
#[tokio::test]
async fn a_forbidden_character_in_a_zip_is_named() {
    for (name, number) in
        [("a→b.txt", "U+2192"), ("ⅷ", "U+2177"), ("a?b", "U+003F"), ("a\u{202e}b", "U+202E")]
    {
        let wanted = module("corp.example/m@v1.0.0");
        let mut files = Files::default();
        let content = zip(&[(format!("{wanted}/{name}"), Vec::new())]);
        files.add_files(&wanted, b"module corp.example/m\n", content);
        let tree = tempfile::tempdir().unwrap();
        files.write(tree.path());
        let world = World::new();
        let notary = world.notary(vec![world.compute("*", &file_url(tree.path()))]);
        let text = notary.lookup(wanted.clone(), client()).await.err().unwrap().to_client_text();
        assert!(text.contains(&format!("allows no {number} in file names")), "{text}");
    }
}
