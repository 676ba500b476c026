//! `fsck` from the command line; what it can find is the matter of `damage::fsck`.

use super::*;
use crate::support::raw::behind_triggers;

#[test]
fn a_log_in_order_is_clean() {
    World::both_ways(|world| {
        world.succeed(&["lookup", "rsc.io/quote@v1.5.2", "--notarize"]);
        let clean = world.succeed(&["fsck"]);
        assert_eq!(clean, "sum.corp.example: clean; 1 record, 2 heads, anchor at 1\n");
        let mut report = world.json(&["fsck", "--json"]);
        let path = report["anchor"]["path"].take();
        assert!(path.as_str().unwrap().ends_with("data/anchor.db"), "{path}");
        let expected = json!({
            "log": "sum.corp.example",
            "vkey": world.json(&["key", "show", "--json"])["vkey"],
            "clean": true,
            "records": 1,
            "heads": 2,
            "anchor": { "path": null, "size": 1, "root": "YIbrIfbx/MNcPidoYOgRXWdOys26yALyiA3vKAesRjw=" },
            "read_only": null,
            "findings": [],
            "unlisted": 0,
        });
        assert_eq!(report, expected);
    });
}

#[test]
fn damage_is_named_with_its_place_and_ends_with_4() {
    World::both_ways(|world| {
        world.succeed(&["lookup", "rsc.io/quote@v1.5.2", "--notarize"]);
        let zero = "UPDATE head SET root = zeroblob(32) WHERE size = 1";
        assert_eq!(behind_triggers(&world.database(), |raw| raw.execute(zero, [])).unwrap(), 1);
        let ran = world.run(&["fsck"]);
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        assert!(ran.stdout.starts_with("PLACE"), "{}", ran.stdout);
        assert!(ran.stdout.contains("head 1"), "{}", ran.stdout);
        assert!(ran.stderr.contains("restore the database from a backup"), "{}", ran.stderr);
        let report: Value = serde_json::from_str(&world.run(&["fsck", "--json"]).stdout).unwrap();
        assert_eq!(report["clean"], false);
        assert!(!report["findings"].as_array().unwrap().is_empty());
    });
}

#[test]
fn key_and_anchor_must_be_those_of_the_log() {
    let world = World::new();
    world.succeed(&["lookup", "rsc.io/quote@v1.5.2", "--notarize"]);
    let other = World::new();
    other.succeed(&["lookup", "corp.example/billing@v0.4.0", "--notarize"]);

    let anchor = world.sandbox.path("data/anchor.db");
    fs::rename(&anchor, world.sandbox.path("anchor.old")).unwrap();
    let ran = world.run(&["fsck"]);
    assert_eq!(ran.code, 4);
    assert!(ran.stdout.contains("there is none at"), "{}", ran.stdout);

    fs::copy(other.sandbox.path("data/anchor.db"), &anchor).unwrap();
    let ran = world.run(&["fsck"]);
    assert_eq!(ran.code, 4);
    assert!(ran.stdout.contains("it belongs to the log sum.corp.example+"), "{}", ran.stdout);

    fs::rename(world.sandbox.path("anchor.old"), &anchor).unwrap();
    fs::remove_dir_all(world.sandbox.path("data/keys")).unwrap();
    world.succeed(&["fsck"]);
    for entry in fs::read_dir(other.sandbox.path("data/keys")).unwrap() {
        let path = entry.unwrap().path();
        fs::create_dir_all(world.sandbox.path("data/keys")).unwrap();
        fs::copy(&path, world.sandbox.path("data/keys").join(path.file_name().unwrap())).unwrap();
    }
    let ran = world.run(&["fsck"]);
    assert_eq!(ran.code, 4);
    assert!(ran.stdout.contains("is not the key of this log"), "{}", ran.stdout);
}

#[test]
fn without_a_log_there_is_nothing_to_check() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&["fsck"]);
    assert_eq!(ran.code, 2);
    let said = sandbox.without_home(&ran.stderr);
    assert!(said.contains("there is no log in ~/tallystick-data"), "{said}");
}
