//! Lines that are computed from what a source serves.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use tallystick::dirhash::H1;
use tallystick::gosum::ModuleLines;
use tallystick::log::{Candidate, evidence_of};
use tallystick::module::{ModuleVersion, PathPatterns};
use tallystick::notary::{Notarized, NotaryError};
use tallystick::route::{Checksum, Route};
use tallystick::source::SourceList;
use tallystick::store::{Evidence, LogStore as _, sqlite::SqliteStore};
use tallystick::upstream::{
    ClientOptions, GoProxy, HttpClient, ModuleLimits, ProxySettings, Vcs, VcsOptions,
};

use super::world::{Files, Proxy, Say, World, client, file, file_url, module, zip};

/// A module with capitals, a legacy one without go.mod, a large one, and a toolchain, which has no go.mod either.
fn modules() -> (Files, Vec<ModuleVersion>) {
    let mut files = Files::default();
    let plain = module("corp.example/Team/Plain@v1.2.3-RC1");
    files.add(&plain, &[module("corp.example/other@v1.0.0")]);
    let legacy = module("corp.example/legacy@v2.0.0+incompatible");
    let toolchain = module("golang.org/toolchain@v0.0.1-go1.26.8.linux-amd64");
    for without_go_mod in [&legacy, &toolchain] {
        let content = [(format!("{without_go_mod}/VERSION"), b"go1.26.8\n".to_vec())];
        let go_mod = format!("module {}\n", without_go_mod.path);
        files.add_files(without_go_mod, go_mod.as_bytes(), zip(&content));
    }
    let large = module("corp.example/large@v1.0.0");
    let mut content = vec![(format!("{large}/go.mod"), b"module corp.example/large\n".to_vec())];
    // More than stays in memory, and not compressible.
    let mut state = 1u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    for n in 0..40 {
        content.push((format!("{large}/file{n}.bin"), (0..100_000).map(|_| noise()).collect()));
    }
    files.add_files(&large, b"module corp.example/large\n", zip(&content));
    (files, vec![plain, legacy, toolchain, large])
}

/// `go mod download -json`, checked by nothing: what the go command itself computes.
pub(super) fn go_sums(proxy: &str, module: &ModuleVersion) -> Option<(String, String)> {
    let cache = tempfile::tempdir().unwrap();
    let output = Command::new("go")
        .args(["mod", "download", "-json", &module.to_string()])
        .current_dir(cache.path())
        .env("GOPROXY", proxy)
        .env("GOPATH", cache.path())
        .env("GOMODCACHE", cache.path().join("mod"))
        .env("GOFLAGS", "-modcacherw")
        .env("GOENV", "off")
        .env("GOTOOLCHAIN", "local")
        .env("GOSUMDB", "off")
        .output()
        .ok()?;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    Some((answer["Sum"].as_str()?.to_owned(), answer["GoModSum"].as_str()?.to_owned()))
}

#[tokio::test]
async fn lines_are_those_of_the_go_command() {
    let (files, modules) = modules();
    let tree = tempfile::tempdir().unwrap();
    files.write(tree.path());
    let world = World::new();
    let notary = world.notary(vec![world.compute("*", &file_url(tree.path()))]);
    let has_go = Command::new("go").arg("version").output().is_ok();
    if !has_go {
        eprintln!("SKIPPED: lines_are_those_of_the_go_command: there is no go command to compare with");
    }
    for (n, module) in modules.iter().enumerate() {
        let Notarized { record, snapshot } = notary.lookup(module.clone(), client()).await.unwrap();
        assert_eq!((record.id.0, snapshot.size().0), (n as u64, n as u64 + 1));
        assert_eq!(snapshot.find(module).unwrap().unwrap(), record);
        // The toolchain is downloaded by the go command in another way.
        if has_go && module.path.as_str() != "golang.org/toolchain" {
            let (sum, go_mod_sum) = go_sums(&file_url(tree.path()), module).unwrap();
            assert_eq!(
                (record.lines.zip.to_string(), record.lines.go_mod.to_string()),
                (sum, go_mod_sum),
                "{module}"
            );
        }
        // A second look-up is answered from the log.
        assert_eq!(notary.lookup(module.clone(), client()).await.unwrap().record, record);
    }
    assert_eq!(notary.counters().appended.value(), 4);
}

#[tokio::test]
async fn evidence_says_where_a_line_comes_from() {
    let mut files = Files::default();
    let wanted = module("corp.example/M@v1.0.0");
    files.add(&wanted, &[]);
    let proxy = Proxy::start(files).await;
    let world = World::new();
    let list = format!("{},https://ci:s3cret@other.example", proxy.url);
    let notary = world.notary(vec![world.compute("*", &list)]);
    let Notarized { record, snapshot } = notary.lookup(wanted, client()).await.unwrap();
    let kept = evidence_of(&snapshot, record.id).unwrap();
    let Evidence::Computed { source, url, zip_sha256, zip_bytes, origin, .. } = kept.evidence else {
        panic!("{kept:?}")
    };
    assert_eq!(source, format!("{},https://***@other.example/", proxy.url.clone() + "/"));
    assert_eq!(url, format!("{}/corp.example/!m/@v/v1.0.0.zip", proxy.url));
    assert_eq!(zip_sha256.len(), 64);
    assert!(zip_bytes > 100);
    let origin: Value = serde_json::from_str(origin.unwrap().get()).unwrap();
    assert_eq!(origin["URL"], "https://git.corp.example/m");
}

#[tokio::test]
async fn files_that_do_not_belong_together_are_refused() {
    let wanted = module("corp.example/m@v1.0.0");
    let go_file = (format!("{wanted}/m.go"), b"package m\n".to_vec());
    let with_go_mod =
        zip(&[(format!("{wanted}/go.mod"), b"module corp.example/m\n".to_vec()), go_file.clone()]);
    let without = zip(std::slice::from_ref(&go_file));
    let elsewhere = zip(&[("corp.example/other@v1.0.0/m.go".to_owned(), vec![])]);
    let mut cut = with_go_mod.clone();
    cut.truncate(cut.len() - 1);
    for (go_mod, zip, why) in [
        ("module corp.example/m\n\nrequire evil.example/x v1.0.0\n", &with_go_mod, "differs"),
        ("module corp.example/m", &with_go_mod, "differs"),
        ("module corp.example/m\n\ngo 1.20\n", &without, "no go.mod"),
        ("module corp.example/m\n", &elsewhere, "zip"),
        ("module corp.example/m\n", &cut, "zip"),
        ("module corp.example/m\n", &Vec::new(), "zip"),
    ] {
        let mut files = Files::default();
        files.add_files(&wanted, go_mod.as_bytes(), zip.clone());
        let tree = tempfile::tempdir().unwrap();
        files.write(tree.path());
        let world = World::new();
        let notary = world.notary(vec![world.compute("*", &file_url(tree.path()))]);
        let error = notary.lookup(wanted.clone(), client()).await.err().unwrap();
        assert!(matches!(error, NotaryError::Refused { .. }), "{error:?}");
        let text = error.to_client_text();
        assert!(text.starts_with("corp.example/m@v1.0.0 is refused: ") && text.contains(why), "{text}");
        assert!(!text.contains(tree.path().to_str().unwrap()), "{text}");
        assert_eq!(world.size(), 0);
    }
    // What go makes up for a zip without go.mod is taken.
    let mut files = Files::default();
    files.add_files(&wanted, b"module corp.example/m\n", without);
    let tree = tempfile::tempdir().unwrap();
    files.write(tree.path());
    let world = World::new();
    let notary = world.notary(vec![world.compute("*", &file_url(tree.path()))]);
    assert!(notary.lookup(wanted, client()).await.is_ok());
}

#[tokio::test]
async fn failures_of_the_source_are_told_apart() {
    let proxy = Proxy::start(Files::default()).await;
    let modules: Vec<_> = (0..6).map(|n| module(&format!("corp.example/m{n}@v1.0.0"))).collect();
    for module in &modules {
        proxy.add(module, &[]);
    }
    proxy.say(file(&modules[0], "mod"), Say::Status(404, "not found: unknown revision v1.0.0\n", None));
    proxy.say(file(&modules[1], "zip"), Say::Status(403, "no licence", None));
    proxy.say(file(&modules[2], "mod"), Say::Status(503, "busy\n", Some("17")));
    proxy.say(file(&modules[3], "zip"), Say::CutOff);
    proxy.say(file(&modules[4], "mod"), Say::Status(400, "what?", None));
    proxy.say(file(&modules[5], "info"), Say::Status(500, "", None));
    let world = World::new();
    let notary = world.notary(vec![world.compute("*", &proxy.url)]);
    let mut texts = Vec::new();
    for module in &modules[..5] {
        let error = notary.lookup(module.clone(), client()).await.err().unwrap();
        texts.push(format!(
            "{}\n{}",
            variant(&error),
            error.to_client_text().replace(&proxy.url, "http://proxy")
        ));
    }
    // How much arrives before the cut is the network's business.
    let cut = texts[3]
        .split("broke off after ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap_or("")
        .to_owned();
    texts[3] = texts[3].replace(&format!("after {cut} bytes"), "after N bytes");
    insta::assert_snapshot!(texts.join("\n\n"), @r"
    NotFound
    not found: http://proxy does not have corp.example/m0@v1.0.0
    It says: not found: unknown revision v1.0.0
    Check path and version. A version that was just published is found within 30 s.

    Forbidden
    http://proxy refuses the checksum database access to corp.example/m1@v1.0.0
    It says: no licence
    The operator of the checksum database must give it credentials that may read this module, or ask whoever runs that server.

    TryLater after 17s
    try again: http://proxy cannot give corp.example/m2@v1.0.0 at the moment
    Cause: it answered with status 503: busy.
    Run the command again in 17 s. Nothing is known to be wrong with the module.

    TryLater after 5s
    try again: http://proxy cannot give corp.example/m3@v1.0.0 at the moment
    Cause: its answer broke off after N bytes.
    Run the command again in 5 s. Nothing is known to be wrong with the module.

    Refused
    corp.example/m4@v1.0.0 is refused: it answered with status 400: what?
    fix: ask whoever runs http://proxy why it refuses this.
    ");
    assert!(notary.lookup(modules[5].clone(), client()).await.is_ok(), "the .info is not needed");
    assert_eq!(world.size(), 1);
}

fn variant(error: &NotaryError) -> String {
    match error {
        NotaryError::NotFound { .. } => "NotFound".to_owned(),
        NotaryError::Forbidden { .. } => "Forbidden".to_owned(),
        NotaryError::TryLater { retry_after, .. } => format!("TryLater after {retry_after:?}"),
        NotaryError::Refused { .. } => "Refused".to_owned(),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn another_hash_for_what_is_in_the_log_is_a_conflict_and_an_incident() {
    let wanted = module("corp.example/m@v1.0.0");
    let mut files = Files::default();
    files.add(&wanted, &[]);
    let proxy = Proxy::start(files).await;
    let world = World::new();
    let notary = world.notary(vec![world.compute("*", &proxy.url)]);
    proxy.close();
    let asking = tokio::spawn({
        let (notary, wanted) = (notary.clone(), wanted.clone());
        async move { notary.lookup(wanted, client()).await.map(|_| ()) }
    });
    proxy.asked("m/@v/v1.0.0.mod", 1).await;
    // Meanwhile somebody imports other lines.
    let lines =
        ModuleLines { module: wanted.clone(), zip: H1::from_bytes([1; 32]), go_mod: H1::from_bytes([2; 32]) };
    let evidence = Evidence::Imported { importer: "old go.sum".to_owned() };
    let receipt = world.log.append(vec![Candidate::new(lines.clone(), Arc::new(evidence))]).await.unwrap();
    assert_eq!(receipt.snapshot.size().0, 1);
    proxy.open();
    let error = asking.await.unwrap().unwrap_err();
    let text = error.to_client_text();
    let NotaryError::Conflict(report) = error else { panic!("{error:?}") };
    assert_eq!((report.record.0, &report.standing), (0, &lines));
    assert!(text.starts_with("corp.example/m@v1.0.0 is in this log with another hash since 20"), "{text}");
    assert!(text.contains(&lines.zip.to_string()) && text.contains("imported by old go.sum"), "{text}");
    assert!(text.contains(&report.offered.zip.to_string()) && text.contains("new version"), "{text}");
    // Who asks now is given the line that stands.
    assert_eq!(notary.lookup(wanted, client()).await.unwrap().record.lines, lines);
    let store = SqliteStore::open(&world.directory.path().join("log.db"), None, 64).unwrap();
    let incidents = store.reader().incidents(10).unwrap();
    assert_eq!(incidents.len(), 1);
    assert!(incidents[0].detail.contains(&report.offered.zip.to_string()), "{incidents:?}");
}

/// Runs git in a repository, with nothing of the user's configuration.
fn git(repository: &Path, arguments: &[&str]) -> bool {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@corp.example", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(repository)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", repository)
        .output();
    output.is_ok_and(|output| output.status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_control_is_a_source_too() {
    let world = World::new();
    let base = tempfile::tempdir().unwrap();
    let repository = base.path().join("m.git");
    std::fs::create_dir(&repository).unwrap();
    let has_go = Command::new("go").arg("version").output().is_ok();
    if !has_go || !git(&repository, &["init", "-q"]) {
        eprintln!("SKIPPED: version_control_is_a_source_too: it takes go and git");
        return;
    }
    let go_mod = "module corp.example/m.git\n";
    std::fs::write(repository.join("go.mod"), go_mod).unwrap();
    std::fs::write(repository.join("m.go"), "package m\n").unwrap();
    for arguments in [&["add", "."][..], &["commit", "-q", "-m", "first"], &["tag", "v1.0.0"]] {
        assert!(git(&repository, arguments), "{arguments:?}");
    }
    // A path with `.git` in it names its repository; the git configuration leads there without a network.
    let vcs = Vcs::new(VcsOptions {
        proxies: ProxySettings::default(),
        git_config: Some(format!(
            "[url \"{}/\"]\n\tinsteadOf = https://corp.example/\n",
            file_url(base.path())
        )),
        ..VcsOptions::new(world.directory.path().to_owned())
    });
    let client_options = ClientOptions { proxies: ProxySettings::default(), ..ClientOptions::default() };
    let source = GoProxy::new(
        SourceList::parse("direct").unwrap(),
        HttpClient::new(client_options).unwrap(),
        Some(vcs),
        ModuleLimits::default(),
        world.directory.path().to_owned(),
    );
    let patterns = PathPatterns::parse("corp.example");
    let route = Route { modules: patterns, source: Some(source), checksum: Checksum::Compute };
    let notary = world.notary(vec![route]);
    let wanted = module("corp.example/m.git@v1.0.0");
    let found = notary.lookup(wanted.clone(), client()).await.unwrap();
    // The same files in a zip of our own have the same hash.
    let content = [("go.mod", go_mod), ("m.go", "package m\n")];
    let content = content.map(|(name, text)| (format!("{wanted}/{name}"), text.as_bytes().to_vec()));
    let mut files = Files::default();
    files.add_files(&wanted, go_mod.as_bytes(), zip(&content));
    let tree = tempfile::tempdir().unwrap();
    files.write(tree.path());
    let other = World::new();
    let by_proxy = other.notary(vec![other.compute("*", &file_url(tree.path()))]);
    let by_proxy = by_proxy.lookup(wanted, client()).await.unwrap();
    assert_eq!(found.record.lines, by_proxy.record.lines);
    let kept = evidence_of(&found.snapshot, found.record.id).unwrap();
    let Evidence::Computed { source, origin, .. } = kept.evidence else { panic!("{kept:?}") };
    let origin: Value = serde_json::from_str(origin.unwrap().get()).unwrap();
    assert_eq!((source.as_str(), origin["VCS"].as_str()), ("direct", Some("git")));
    assert_eq!(origin["Hash"].as_str().unwrap().len(), 40);
    let missing = notary.lookup(module("corp.example/m.git@v1.9.9"), client()).await.err().unwrap();
    assert!(missing.to_client_text().starts_with("not found: version control does not have"), "{missing:?}");
}
