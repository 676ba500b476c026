//! A log that shows one tree today and another tomorrow, and one that was set back.

use super::*;

#[test]
fn a_fork_is_shown_with_both_notes() {
    let Some(world) = World::new("a_fork_is_shown_with_both_notes") else { return };
    let World { proxy, directory, server, mut developer } = world;
    server.unwrap().stop();
    let other = directory.copy();
    let first = directory.serve();
    assert_eq!(first.get(&format!("/lookup/{}", escaped(LIB))).status, 200);
    developer.write_go_sum(&proxy, &[LIB]);
    developer.set("GOSUMDB", &first.gosumdb());
    assert_eq!(developer.check(&[]).code, 0);
    let shown_first = first.get("/latest").text();
    first.stop();
    // The same key signs another history.
    let second = other.serve();
    for module in [TOOL, LIB] {
        assert_eq!(second.get(&format!("/lookup/{}", escaped(module))).status, 200);
    }
    developer.set("GOSUMDB", &second.gosumdb());
    let ran = developer.check(&["--json"]);
    assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("go.sum database server misbehavior detected!"), "{}", ran.stderr);
    let shown_second = second.get("/latest").text();
    for note in [&shown_first, &shown_second] {
        note.lines()
            .filter(|line| !line.is_empty())
            .for_each(|line| assert!(ran.stderr.contains(line), "{line}\n{}", ran.stderr));
    }
    assert!(ran.stderr.contains("fix: build nothing with what the log says"), "{}", ran.stderr);
    // It is not forgotten, and a state of its own knows nothing of it.
    assert_eq!(developer.check(&[]).code, 4);
    assert_eq!(developer.check(&["--state", "elsewhere"]).code, 0);
    second.stop();
}

/// The head that the `go` command keeps counts too.
#[test]
fn what_go_was_shown_is_compared_as_well() {
    let Some(world) = World::new("what_go_was_shown_is_compared_as_well") else { return };
    let World { proxy, directory, server, mut developer } = world;
    server.unwrap().stop();
    let other = directory.copy();
    let first = directory.serve();
    developer.set("GOSUMDB", &first.gosumdb());
    developer.download(LIB).succeeded();
    assert_ne!(developer.newest_head(NAME), "");
    first.stop();
    let second = other.serve();
    assert_eq!(second.get(&format!("/lookup/{}", escaped(TOOL))).status, 200);
    developer.write_go_sum(&proxy, &[TOOL]);
    developer.set("GOSUMDB", &second.gosumdb());
    let ran = developer.check(&["go.sum"]);
    assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("misbehavior detected"), "{}", ran.stderr);
    second.stop();
}

#[test]
fn a_log_that_was_set_back_is_told_from_a_fork() {
    let Some(world) = World::new("a_log_that_was_set_back_is_told_from_a_fork") else { return };
    let World { proxy, directory, server, mut developer } = world;
    let first = server.unwrap();
    assert_eq!(first.get(&format!("/lookup/{}", escaped(LIB))).status, 200);
    first.stop();
    let backup = directory.copy();
    let first = directory.serve();
    assert_eq!(first.get(&format!("/lookup/{}", escaped(TOOL))).status, 200);
    developer.write_go_sum(&proxy, &[LIB]);
    developer.set("GOSUMDB", &first.gosumdb());
    assert_eq!(developer.check(&[]).code, 0);
    first.stop();
    let old = backup.serve();
    developer.set("GOSUMDB", &old.gosumdb());
    let ran = developer.check(&[]);
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    let said = "the newest head shown has the size 1, and one of the size 2 was seen before";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    assert!(ran.stderr.contains("the log was set back"), "{}", ran.stderr);
    old.stop();
}

/// What a liar does to a body.
type Change = fn(Vec<u8>) -> Vec<u8>;

#[test]
fn bytes_that_do_not_lead_to_the_signed_root_prove_nothing() {
    let Some(world) = World::new("bytes_that_do_not_lead_to_the_signed_root_prove_nothing") else { return };
    world.download();
    let (url, vkey) = (world.server().url.clone(), world.server().vkey.clone());
    // Another record than the tree has, and a tile that is not the tree's.
    let changes: [(&str, Change); 2] = [
        ("/api/v1/modules/", |body| String::from_utf8(body).unwrap().replacen("h1:", "h1:A", 1).into_bytes()),
        ("/tile/", |mut body| {
            body[3] ^= 1;
            body
        }),
    ];
    for (prefix, change) in changes {
        let liar = tampering(&url, move |path, page| {
            if path.starts_with(prefix) { Page { body: change(page.body), ..page } } else { page }
        });
        let gosumdb = format!("{vkey} {}", liar.url());
        let ran = world.developer.check_with(&["go.sum"], &[("GOSUMDB", &gosumdb)], "");
        assert_eq!(ran.code, 4, "{prefix}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains("is not what the log has signed"), "{prefix}: {}", ran.stderr);
    }
}
