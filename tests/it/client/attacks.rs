//! Attacks on developers: changed files, changed answers, forks. Each must end in the `go` command's own refusal, and no
//! file of the module may be left unpacked.

use tallystick::note::{self, SignerKey};
use tallystick::tlog::{Hash, TreeHead, TreeSize};

use super::*;

const MODULE: &str = "corp.example/lib@v1.0.0";
const OTHER: &str = "corp.example/other@v1.0.0";
/// What the `go` command says when files are not those of the log.
const MISMATCH: &str =
    "SECURITY ERROR\nThis download does NOT match the one reported by the checksum server.";

/// A log of `corp.example/lib`, `…/other` and 298 more. To prove the first record a client needs the full tile that it is in,
/// the partial one beside it and their parent.
fn log_of_300() -> (Proxy, LogDirectory) {
    let proxy = Proxy::new(vec![Spec::new("corp.example/lib"), Spec::new("corp.example/other")]);
    let directory = log_over(&proxy);
    let server = directory.serve();
    for module in [MODULE, OTHER] {
        assert_eq!(server.get(&format!("/lookup/{module}")).status, 200);
    }
    server.stop();
    grow(&directory, 300);
    (proxy, directory)
}

#[test]
fn a_changed_zip_and_a_changed_go_mod() {
    if !oracle::is_there("a_changed_zip_and_a_changed_go_mod") {
        return;
    }
    let mut proxy = Proxy::new(vec![Spec::new("corp.example/lib")]);
    let directory = log_over(&proxy);
    let server = directory.serve();
    let first = Developer::new(&proxy.url(), &server.gosumdb());
    first.download(MODULE).succeeded();
    let [zip, _] = proxy.lines(MODULE);
    let standing = zip.rsplit(' ').next().unwrap().to_owned();
    // Another file in the zip.
    proxy.publish(vec![Spec::new("corp.example/lib").file("lib.go", "package lib // evil\n")]);
    let victim = Developer::new(&proxy.url(), &server.gosumdb());
    let said = victim.download(MODULE).failed_with(&["verifying module: checksum mismatch", MISMATCH]);
    assert!(said.stderr.contains(&format!("\t{NAME}: {standing}\n")), "{}", said.stderr);
    assert!(!victim.has_unpacked(MODULE));
    // One bit of the zip file: it may not even be a zip any more.
    let file = proxy.path().join("corp.example/lib/@v/v1.0.0.zip");
    let good = std::fs::read(&file).unwrap();
    for at in [0, 40, good.len() / 2, good.len() - 3] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let victim = Developer::new(&proxy.url(), &server.gosumdb());
        assert!(!victim.download(MODULE).ok, "byte {at}");
        assert!(!victim.has_unpacked(MODULE));
    }
    // Another go.mod, which a build reads before any zip.
    std::fs::write(proxy.path().join("corp.example/lib/@v/v1.0.0.mod"), "module corp.example/lib // evil\n")
        .unwrap();
    let victim = Developer::new(&proxy.url(), &server.gosumdb());
    victim.project(&["corp.example/lib".to_owned()]);
    let graph = victim.go(&["mod", "graph"]);
    graph.failed_with(&["corp.example/lib@v1.0.0: verifying go.mod: checksum mismatch", MISMATCH]);
    // Nobody's log took any of it in, and who has the module already is not disturbed.
    assert_eq!(server.metric("tree_size"), 1);
    first.download(MODULE).succeeded();
}

/// What a tampering server does to the page of a path.
type Change = fn(&str, Page) -> Page;

/// Changes the text of look-ups.
fn edit(path: &str, page: Page, change: impl Fn(String) -> String) -> Page {
    match path.starts_with("/lookup/") {
        true => Page { body: change(page.text()).into_bytes(), ..page },
        false => page,
    }
}

fn flip(page: Page, at: usize) -> Page {
    let mut body = page.body;
    body[at] ^= 1;
    Page { body, ..page }
}

/// Each lie, and what the `go` command says to it.
fn lies() -> Vec<(&'static str, Change, &'static [&'static str])> {
    vec![
        ("a bit of the partial tile", flip_partial, &["downloaded inconsistent tile"]),
        ("a bit of the full tile", flip_full, &["downloaded inconsistent tile"]),
        ("a bit of the parent tile", flip_parent, &["downloaded inconsistent tile"]),
        (
            "a tile that is cut off",
            |path, mut page| {
                page.body.truncate(page.body.len() - if path.starts_with("/tile/") { 32 } else { 0 });
                page
            },
            &["TileReader returned bad result slice"],
        ),
        (
            "another hash in the record",
            |path, page| edit(path, page, |text| text.replacen(" h1:", " h1:A", 1)),
            &["cannot authenticate record data in server response"],
        ),
        (
            "another record's number",
            |path, page| edit(path, page, |text| text.replacen("0\n", "17\n", 1)),
            &["cannot authenticate record data in server response"],
        ),
        (
            "a record number beyond the tree",
            |path, page| edit(path, page, |text| text.replacen("0\n", "300\n", 1)),
            &["cannot validate record 300 in tree of size 300"],
        ),
        (
            "another root",
            |path, page| edit(path, page, |text| text.replacen("tree\n300\n", "tree\n300\nA", 1)),
            &["reading tree note: invalid signature for key sum.corp.example+"],
        ),
        (
            "another size",
            |path, page| edit(path, page, |text| text.replacen("tree\n300\n", "tree\n301\n", 1)),
            &["reading tree note: invalid signature for key sum.corp.example+"],
        ),
        (
            "lines outside the record",
            |path, page| {
                edit(path, page, |text| text.replacen("\n\n", "\n\ncorp.example/lib v1.0.0 h1:evil=\n", 1))
            },
            &["reading tree note: invalid signature for key sum.corp.example+"],
        ),
        (
            "a note without signatures",
            |path, page| edit(path, page, |text| text[..text.find('\u{2014}').unwrap()].to_owned()),
            &["reading tree note: malformed note"],
        ),
        (
            "an error page that says 200",
            |_, page| Page { body: b"<html>busy</html>".to_vec(), ..page },
            &["malformed record data"],
        ),
    ]
}

fn flip_partial(path: &str, page: Page) -> Page {
    if path == "/tile/8/0/001.p/44" { flip(page, 44 * 32 - 1) } else { page }
}

fn flip_full(path: &str, page: Page) -> Page {
    if path == "/tile/8/0/000" { flip(page, 0) } else { page }
}

fn flip_parent(path: &str, page: Page) -> Page {
    if path == "/tile/8/1/000.p/1" { flip(page, 31) } else { page }
}

#[test]
fn every_changed_answer_is_refused() {
    if !oracle::is_there("every_changed_answer_is_refused") {
        return;
    }
    let (proxy, directory) = log_of_300();
    let server = directory.serve();
    // The log as it is, through the same kind of front: what is refused below is refused for the lie.
    let honest = tampering(&server.url, |_, page| page);
    let developer = Developer::new(&proxy.url(), &format!("{} {}", server.vkey, honest.url()));
    developer.download(MODULE).succeeded();
    developer.download(OTHER).succeeded();
    let refused_with = |what: &str, front: &HostileServer, texts: &[&str]| {
        let victim = Developer::new(&proxy.url(), &format!("{} {}", server.vkey, front.url()));
        let ran = victim.download(MODULE);
        assert!(!ran.ok, "{what} was believed");
        ran.failed_with(&[&format!("{MODULE}: verifying ")]).failed_with(texts);
        assert!(!victim.has_unpacked(MODULE), "{what}");
    };
    for (what, change, texts) in lies() {
        refused_with(what, &tampering(&server.url, change), texts);
    }
    // A true record of another module: nothing in it is what was asked for.
    let url = server.url.clone();
    let other = HostileServer::start(move |path| {
        forward(&url, &path.replace("/lookup/corp.example/lib@", "/lookup/corp.example/other@"), |page| page)
    });
    let absent = "SECURITY ERROR\nThis download does NOT match one reported by the checksum server.";
    refused_with("another record", &other, &["checksum missing from sumdb response", absent]);
    assert_eq!(server.metric("tree_size"), 300);
}

#[test]
fn keys_that_are_not_the_logs() {
    if !oracle::is_there("keys_that_are_not_the_logs") {
        return;
    }
    let proxy = Proxy::new(vec![Spec::new("corp.example/lib")]);
    let directory = log_over(&proxy);
    let server = directory.serve();
    let other = SignerKey::generate(NAME.parse().unwrap(), [7; 32]).verifier().to_string();
    let renamed = server.vkey.replacen(NAME, "sum.evil.example", 1);
    let key_alone = server.vkey.splitn(3, '+').last().unwrap();
    let table: [(String, &[&str]); 4] = [
        (other, &["reading tree note: note has no verifiable signatures"]),
        (renamed, &["invalid GOSUMDB: invalid verifier hash"]),
        // A name and its key, as people try it.
        (NAME.to_owned(), &["invalid GOSUMDB: malformed verifier id"]),
        (key_alone.to_owned(), &["invalid GOSUMDB: malformed verifier id"]),
    ];
    for (key, texts) in table {
        let victim = Developer::new(&proxy.url(), &format!("{key} {}", server.url));
        victim.download(MODULE).failed_with(&[&format!("{MODULE}: verifying ")]).failed_with(texts);
        assert!(!victim.has_unpacked(MODULE), "{key}");
    }
}

/// What every fork must end in: both notes, and the proof.
fn assert_fork_is_told(ran: go::Ran, old: &str, new: &str) {
    let indented = |note: &str| note.replace('\n', "\n\t");
    ran.failed_with(&[
        "SECURITY ERROR\ngo.sum database server misbehavior detected!\n",
        &format!("old database:\n\t{}", indented(old)),
        &format!("new database:\n\t{}", indented(new)),
        "proof of misbehavior:\n\t",
    ]);
}

fn latest(server: &Server) -> String {
    server.get("/latest").text()
}

/// A clone of the data directory, anchor and all, grows on its own: two logs with one key.
#[test]
fn a_cloned_log_that_grew_on_its_own() {
    if !oracle::is_there("a_cloned_log_that_grew_on_its_own") {
        return;
    }
    let proxy = Proxy::of_many("corp.example/lib", 4).0;
    let directory = log_over(&proxy);
    let developer = Developer::new(&proxy.url(), "");
    let download = |developer: &mut Developer, server: &Server, number: u32| {
        developer.set("GOSUMDB", &server.gosumdb());
        developer.download(&format!("corp.example/lib{number}@v1.0.0"))
    };
    let mut developer = developer;
    let server = directory.serve();
    download(&mut developer, &server, 0).succeeded();
    server.stop();
    let clone = directory.copy();
    let server = directory.serve();
    download(&mut developer, &server, 1).succeeded();
    let seen = developer.newest_head(NAME);
    assert!(seen.starts_with("go.sum database tree\n2\n"), "{seen}");
    server.stop();
    // The clone signs two other records, so that its tree is newer than what the developer saw.
    let forked = clone.serve();
    let mut stranger = Developer::new(&proxy.url(), "");
    download(&mut stranger, &forked, 2).succeeded();
    download(&mut stranger, &forked, 3).succeeded();
    let ran = download(&mut developer, &forked, 3);
    assert_fork_is_told(ran, &seen, &latest(&forked));
    assert!(!developer.has_unpacked("corp.example/lib3@v1.0.0"));
    assert_eq!(developer.newest_head(NAME), seen, "the client keeps the head that it saw first");
    // And the other way: who saw the clone is told at the true log.
    forked.stop();
    let server = directory.serve();
    let ran = download(&mut stranger, &server, 1);
    assert!(ran.stderr.contains("go.sum database server misbehavior detected!"), "{}", ran.stderr);
}

/// Whoever has the key signs another root for a size that the developer saw.
#[test]
fn two_heads_of_one_size() {
    if !oracle::is_there("two_heads_of_one_size") {
        return;
    }
    let (proxy, directory) = log_of_300();
    let server = directory.serve();
    let gosumdb = server.gosumdb();
    let mut developer = Developer::new(&proxy.url(), &gosumdb);
    developer.download(OTHER).succeeded();
    let seen = developer.newest_head(NAME);
    assert!(seen.starts_with("go.sum database tree\n300\n"), "{seen}");
    let head = TreeHead { size: TreeSize(300), root: Hash::of_record(b"another tree\n") };
    let forged = note::sign(&head.format(), &[&signer(&directory)]).unwrap();
    let (from, to) = (seen.clone(), forged.clone());
    let front = tampering(&server.url, move |path, page| edit(path, page, |text| text.replace(&from, &to)));
    developer.set("GOSUMDB", &format!("{} {}", server.vkey, front.url()));
    developer.forget_modules();
    let ran = developer.download(OTHER);
    assert_fork_is_told(ran, &forged, &seen);
    assert_eq!(developer.newest_head(NAME), seen);
}
