//! Every piece of advice about key, log, anchor, stops and cosignatures, followed to the letter: from the state that
//! prints it, the log signs nothing before, and goes on without a fork after. What witnesses claim without proof is
//! drilled in `witness::first`.

mod keys_and_files;

use std::path::PathBuf;
use tallystick::store::anchor::{Anchor as _, FileAnchor};

use tallystick::config::keys;
use tallystick::log::Stop;
use tallystick::note;
use tallystick::tlog::{Hash, TreeHead, TreeSize};

use super::*;

const QUOTE_MODULE: &str = "rsc.io/quote@v1.5.2";
const BILLING_MODULE: &str = "corp.example/billing@v0.4.0";

/// A log with one record, all of whose files were kept, and then another record.
struct Drill {
    world: World,
    kept: tempfile::TempDir,
}

impl Drill {
    fn new() -> Drill {
        let drill = Drill { world: World::new(), kept: tempfile::tempdir().unwrap() };
        drill.world.succeed(&["lookup", QUOTE_MODULE, "--notarize"]);
        drill.keep("old");
        drill.world.succeed(&["lookup", BILLING_MODULE, "--notarize"]);
        drill.keep("new");
        drill
    }

    fn path(&self, file: &str) -> PathBuf {
        self.world.sandbox.path("data").join(file)
    }

    fn keep(&self, name: &str) {
        crate::crash::server::copy_tree(&self.world.sandbox.path("data"), &self.kept.path().join(name));
    }

    /// Puts files back as they were kept.
    fn put_back(&self, name: &str, files: &[&str]) {
        for file in files {
            let from = self.kept.path().join(name).join(file);
            if from.is_dir() {
                crate::crash::server::copy_tree(&from, &self.path(file));
            } else {
                fs::copy(from, self.path(file)).unwrap();
            }
        }
    }

    /// Puts lines before everything else in the configuration, and sections behind it.
    fn configure(&self, lines: &str, sections: &str) {
        let path = self.world.sandbox.path("tallystick.toml");
        let text = fs::read_to_string(path).unwrap();
        self.world.sandbox.write("tallystick.toml", &format!("{lines}{text}{sections}"));
    }

    fn lose(&self, file: &str) {
        let path = self.path(file);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }

    /// Nothing is signed; the refusal has these words. Returns it.
    fn refused(&self, words: &[&str]) -> String {
        let before = fs::read(self.path("log.db")).ok();
        self.world.sandbox.write("records.txt", "");
        let ran = self.world.run(&["lookup", "corp.example/none@v1.0.0", "--notarize"]);
        assert_ne!(ran.code, 0, "{}", ran.stderr);
        let said = self.world.sandbox.without_home(&ran.stderr);
        for word in words {
            assert!(ran.stderr.contains(word) || said.contains(word), "{word:?} in {said}");
        }
        assert!(fs::read(self.path("log.db")).ok() == before, "nothing is signed");
        ran.stderr
    }

    /// fsck says the same.
    fn found(&self, words: &[&str]) {
        let ran = self.world.run(&["fsck"]);
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        for word in words {
            assert!(ran.stderr.contains(word), "{word:?} in {}", ran.stderr);
        }
    }

    /// Runs the command of this beginning that a text names between backticks.
    fn follow(&self, text: &str, beginning: &str) {
        let named = text.split('`').skip(1).step_by(2).find(|command| command.starts_with(beginning));
        let command = named.unwrap_or_else(|| panic!("{beginning:?} in {text}"));
        let arguments: Vec<&str> = command.split(' ').skip(1).collect();
        self.world.succeed(&arguments);
    }

    /// The log is the newest one, and signs.
    fn goes_on(&self) {
        assert_eq!(self.world.run(&["fsck"]).code, 0, "{}", self.world.run(&["fsck"]).stderr);
        self.world.succeed(&["lookup", BILLING_MODULE, "--notarize"]);
        self.world.sandbox.write("more.txt", MORE);
        self.world.succeed(&["import", "more.txt", "--trust", "--importer", "drill"]);
        let shown = self.world.json(&["anchor", "show", "--json"]);
        assert_eq!((&shown["head"]["size"], &shown["agrees"]), (&json!(3), &json!(true)), "{shown}");
    }

    /// The file of stops with one for a head that this log does not have, as a process leaves it.
    fn stop(&self) {
        let key = keys::load(&self.world.sandbox.path("data"), None).unwrap().unwrap();
        let tree = TreeHead { size: TreeSize(99), root: Hash::of_record(b"x") };
        let stop = Stop {
            number: 1,
            at: "2026-11-22T04:00:00Z".parse().unwrap(),
            size: 99,
            root: tree.root.to_string(),
            why: "a drill".to_owned(),
            note: note::sign(&tree.format(), &[&key]).unwrap(),
            incident: String::new(),
            ended: None,
        };
        fs::write(self.path("anchor.db.stops"), serde_json::to_vec(&[stop]).unwrap()).unwrap();
        FileAnchor::at(self.path("anchor.db")).open().unwrap().unwrap().0.remember_stops(1).unwrap();
    }
}

const MORE: &str = "corp.example/more v1.0.0 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=\n\
                    corp.example/more v1.0.0/go.mod h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=\n";

#[test]
fn an_old_copy_of_the_log() {
    let drill = Drill::new();
    drill.put_back("old", &["log.db"]);
    drill.refused(&["a head of 2 records", "newest copy of the database back", "leave the anchor as it is"]);
    drill.found(&["newest copy of the database back", "leave the anchor as it is"]);
    let said = drill.world.run(&["fsck"]).stderr;
    assert!(!said.contains("anchor back"), "the anchor of the same backup would fork the log: {said}");
    drill.put_back("new", &["log.db"]);
    drill.goes_on();
}

#[test]
fn a_lost_anchor() {
    let drill = Drill::new();
    drill.lose("anchor.db");
    drill.found(&["newest copy of the anchor", "one from the same backup as this database proves nothing"]);
    drill.refused(&["newest copy of the anchor"]);
    drill.put_back("new", &["anchor.db"]);
    drill.goes_on();

    let drill = Drill::new();
    drill.lose("anchor.db");
    let text = drill.refused(&["only if this is the newest copy"]);
    drill.follow(&text, "tallystick anchor settle");
    drill.goes_on();
}

#[test]
fn an_old_copy_of_the_anchor() {
    let drill = Drill::new();
    drill.put_back("old", &["anchor.db"]);
    drill.found(&["old copy", "newest copy of the anchor"]);
    let text = drill.refused(&["old copy", "only if this is the newest copy"]);
    drill.follow(&text, "tallystick anchor settle");
    drill.goes_on();
}

#[test]
fn a_damaged_anchor() {
    let drill = Drill::new();
    let mut bytes = fs::read(drill.path("anchor.db")).unwrap();
    bytes.fill(0xff);
    fs::write(drill.path("anchor.db"), bytes).unwrap();
    drill.found(&["newest copy of the anchor"]);
    let text = drill.refused(&["cannot be read", "only if this is the newest copy"]);
    assert!(text.contains("anchor settle --size RECORDS"), "{text}");
    drill.world.succeed(&["anchor", "settle", "--size", "2"]);
    drill.goes_on();
}

#[test]
fn a_stop_and_the_loss_of_its_file() {
    let drill = Drill::new();
    drill.stop();
    let text = drill.refused(&["a drill", "stop 1"]);
    drill.found(&["stop 1"]);
    drill.follow(&text, "tallystick incidents resolve");
    drill.keep("resolved");
    drill.lose("anchor.db.stops");
    drill.found(&["remembers stop 1"]);
    drill.refused(&["remembers stop 1"]);
    drill.put_back("resolved", &["anchor.db.stops"]);
    drill.goes_on();

    for spoiled in [None, Some("no list of stops"), Some("[]")] {
        let drill = Drill::new();
        drill.stop();
        match spoiled {
            Some(text) => fs::write(drill.path("anchor.db.stops"), text).unwrap(),
            None => drill.lose("anchor.db.stops"),
        }
        let text = drill.refused(&["incidents resolve --lost"]);
        drill.found(&["incidents resolve --lost"]);
        let shown = drill.world.run(&["incidents"]);
        assert!(shown.code == 4 && shown.stderr.contains("incidents resolve --lost"), "{}", shown.stderr);
        drill.follow(&text, "tallystick incidents resolve");
        drill.goes_on();
    }
}

#[test]
fn a_stop_that_is_not_lost_is_not_forgotten() {
    let drill = Drill::new();
    drill.stop();
    let ran = drill.world.run(&["incidents", "resolve", "--lost"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("resolve each by its number"), "{}", ran.stderr);
    drill.refused(&["stop 1"]);
}

#[test]
fn a_key_alone_makes_no_log() {
    let drill = Drill::new();
    let everything = ["log.db", "anchor.db"];
    everything.iter().for_each(|file| drill.lose(file));
    drill.world.sandbox.write("more.txt", MORE);
    for command in [
        &["serve"][..],
        &["import", "more.txt", "--trust", "--importer", "drill"],
        &["lookup", QUOTE_MODULE, "--notarize"],
    ] {
        let ran = drill.world.run(command);
        assert_eq!(ran.code, 2, "{command:?}: {}", ran.stderr);
        let said = drill.world.sandbox.without_home(&ran.stderr);
        assert!(said.contains("a key in ~/data/keys, but no log in ~/data"), "{said}");
        assert!(!drill.path("log.db").exists() && !drill.path("anchor.db").exists(), "{command:?}");
    }
    // With an anchor that remembers, --new-log is no way out.
    drill.put_back("new", &["anchor.db"]);
    let ran = drill.world.run(&["serve", "--new-log"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("remembers a head of 2 records"), "{}", ran.stderr);
    assert!(!drill.path("log.db").exists());
    drill.put_back("new", &everything);
    drill.goes_on();
}

#[test]
fn a_key_that_never_signed_gets_its_log() {
    let drill = Drill::new();
    // The key of another log, put there by hand.
    let made = World::new();
    ["log.db", "anchor.db", "keys"].iter().for_each(|file| drill.lose(file));
    crate::crash::server::copy_tree(&made.sandbox.path("data/keys"), &drill.path("keys"));
    drill.world.sandbox.write("more.txt", MORE);
    let import = ["import", "more.txt", "--trust", "--importer", "drill"];
    assert_eq!(drill.world.run(&import).code, 2);
    drill.world.succeed(&[&import[..], &["--new-log"]].concat());
    drill.world.succeed(&import);
    assert_eq!(drill.world.run(&["fsck"]).code, 0);
}

#[test]
fn a_first_start_that_was_killed_goes_on() {
    let world = World::new();
    let data = world.sandbox.path("data");
    let vkey = world.json(&["key", "show", "--json"])["vkey"].as_str().unwrap().to_owned();
    // As it is between the key and the log.
    fs::remove_file(data.join("log.db")).unwrap();
    fs::write(data.join("log.new"), format!("{vkey}\n")).unwrap();
    let server = world.serve();
    assert!(server.stop().0);
    assert!(!data.join("log.new").exists(), "it is no first start any more");
    // The mark of another key is none.
    ["log.db", "anchor.db"].iter().for_each(|file| fs::remove_file(data.join(file)).unwrap());
    fs::write(data.join("log.new"), "another\n").unwrap();
    assert_eq!(world.run(&["serve"]).code, 2);
}

#[test]
fn an_anchor_alone_gets_no_new_key() {
    let drill = Drill::new();
    ["log.db", "keys"].iter().for_each(|file| drill.lose(file));
    for command in [&["serve"][..], &["key", "new"]] {
        let ran = drill.world.run(command);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("remembers a head of 2 records"), "{}", ran.stderr);
        assert!(!drill.path("log.db").exists());
        assert!(!drill.path("keys").exists() || fs::read_dir(drill.path("keys")).unwrap().next().is_none());
    }
    drill.put_back("new", &["log.db", "keys"]);
    drill.goes_on();
}
