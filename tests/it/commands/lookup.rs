//! `lookup`: it shows what is there, and appends only when it is told to.

use serde_json::json;

use super::*;

#[test]
fn a_public_module_is_shown_with_its_evidence() {
    World::both_ways(|world| {
        // Nothing is appended by looking.
        let before = world.run(&["lookup", "rsc.io/quote@v1.5.2"]);
        assert_eq!((before.code, before.stdout.as_str()), (1, ""), "{}", before.stderr);
        assert_eq!(world.golang.requests().len(), 0);

        let new = world.succeed(&["lookup", "rsc.io/quote@v1.5.2", "--notarize"]);
        insta::allow_duplicates!(insta::assert_snapshot!(without_times(&new), @"
        rsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=
        rsc.io/quote v1.5.2/go.mod h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=

        log         sum.corp.example
        record      0, appended just now
        appended    TIME
        source      sum.golang.org
                    record 942 there, proved under its tree of 66398721 records
                    with the root 5oXTdOltbW8oy+WAHSPYkUE7FskIY/5ZJCYGy+buJ3g=
        head        1 record, signed TIME
                    root YIbrIfbx/MNcPidoYOgRXWdOys26yALyiA3vKAesRjw=
        "));
        let asked = world.golang.requests().len();
        for arguments in
            [&["lookup", "rsc.io/quote@v1.5.2"][..], &["lookup", "rsc.io/quote@v1.5.2", "--notarize"]]
        {
            let again = world.succeed(arguments);
            assert_eq!(again, new.replace(", appended just now", ""));
        }
        assert_eq!(world.golang.requests().len(), asked, "what the log has is not asked for again");
        assert_eq!(world.size(), 1);
    });
}

#[test]
fn a_private_module_is_shown_with_its_evidence() {
    World::both_ways(|world| {
        let shown = world.succeed(&["lookup", "corp.example/billing@v0.4.0", "--notarize"]);
        assert!(shown.starts_with(&billing_lines()), "{shown}");
        let zip = fs::read(world.sandbox.path("goproxy/corp.example/billing/@v/v0.4.0.zip")).unwrap();
        let sha256: String = Sha256::digest(&zip).iter().map(|byte| format!("{byte:02x}")).collect();
        for part in ["computed from file://", "v0.4.0.zip", &format!("SHA-256 {sha256}"), "0123abc"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let evidence =
            world.json(&["lookup", "corp.example/billing@v0.4.0", "--json"])["found"]["evidence"].take();
        assert_eq!(evidence["origin"], json!({ "VCS": "git", "Hash": "0123abc" }), "{evidence}");
        // A private path is never sent to a public upstream.
        assert_eq!(world.golang.requests().len(), 0);
    });
}

#[test]
fn json_has_everything() {
    World::both_ways(|world| {
        world.succeed(&["lookup", "rsc.io/quote@v1.5.2", "--notarize"]);
        let mut answer = world.json(&["lookup", "rsc.io/quote@v1.5.2", "--json"]);
        let key = world.json(&["key", "show", "--json"])["vkey"].clone();
        let note = answer["head"]["note"].take();
        let text =
            "go.sum database tree\n1\nYIbrIfbx/MNcPidoYOgRXWdOys26yALyiA3vKAesRjw=\n\n— sum.corp.example ";
        assert!(note.as_str().unwrap().starts_with(text), "{note}");
        for time in [answer["found"]["appended_at"].take(), answer["head"]["signed_at"].take()] {
            time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        }
        let expected = json!({
            "module": "rsc.io/quote@v1.5.2",
            "found": {
                "record": 0,
                "lines": QUOTE.lines().collect::<Vec<_>>(),
                // The tree of one record has the hash of that record as its root.
                "hash": "YIbrIfbx/MNcPidoYOgRXWdOys26yALyiA3vKAesRjw=",
                "appended_at": null,
                "evidence": {
                    "kind": "sumdb",
                    "log": "sum.golang.org",
                    "record": 942,
                    "head_size": 66398721,
                    "head_root": "5oXTdOltbW8oy+WAHSPYkUE7FskIY/5ZJCYGy+buJ3g=",
                },
            },
            "appended": false,
            "log": "sum.corp.example",
            "vkey": key,
            "head": {
                "size": 1,
                "root": "YIbrIfbx/MNcPidoYOgRXWdOys26yALyiA3vKAesRjw=",
                "signed_at": null,
                "note": null,
            },
        });
        assert_eq!(answer, expected);
        let missing = world.run(&["lookup", "rsc.io/quote@v1.5.1", "--json"]);
        assert_eq!(missing.code, 1);
        let missing: Value = serde_json::from_str(&missing.stdout).unwrap();
        assert_eq!((&missing["module"], &missing["found"]), (&json!("rsc.io/quote@v1.5.1"), &json!(null)));
        assert_eq!(missing["head"]["size"], 1);
    });
}

#[test]
fn what_cannot_be_shown_says_why_and_how_bad_it_is() {
    World::both_ways(|world| {
        let cases: [(&[&str], i32, &str); 4] = [
            (&["lookup", "corp.example/none@v1.0.0", "--notarize"], 1, "not found"),
            (&["lookup", "rsc.io/quote@v1.5.1", "--notarize"], 1, "not found"),
            (&["lookup", "rsc.io/quote@latest"], 2, "rsc.io/quote@latest"),
            (&["lookup", "rsc.io/quote"], 2, "rsc.io/quote"),
        ];
        for (arguments, code, said) in cases {
            let ran = world.run(arguments);
            assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{arguments:?}: {}", ran.stderr);
            assert!(ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
        }
    });
    let mut world = World::new();
    world.golang = HostileServer::start(fixture);
    let ran = world.run(&["lookup", "rsc.io/quote@v1.5.2", "--notarize"]);
    assert_eq!(ran.code, 3, "its sum.golang.org is gone: {}", ran.stderr);
}

#[test]
fn without_a_log_or_a_key_it_says_what_to_do() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&["lookup", "rsc.io/quote@v1.5.2"]);
    assert_eq!(ran.code, 2, "1 is for what the log does not have");
    let said = sandbox.without_home(&ran.stderr);
    assert!(
        said.contains("there is no log in ~/tallystick-data\n  fix: start `tallystick serve` once"),
        "{said}"
    );
    let ran = sandbox.run(&["lookup", "rsc.io/quote@v1.5.2", "--notarize"]);
    assert_eq!(ran.code, 2);
    let said = sandbox.without_home(&ran.stderr);
    assert!(said.contains("there is no key in ~/tallystick-data/keys"), "{said}");
    assert!(!sandbox.path("tallystick-data").exists(), "a question makes nothing");
}
