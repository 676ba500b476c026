//! Advice about files that are another log's, lie in the wrong place, or cannot be used.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::support::witness::{WitnessProcess, command};

impl Drill {
    /// The file of the key with this extension.
    fn key_file(&self, extension: &str) -> PathBuf {
        let files = fs::read_dir(self.path("keys")).unwrap().map(|entry| entry.unwrap().path());
        let is_it = |path: &PathBuf| path.extension().is_some_and(|found| found == extension);
        files.filter(is_it).min().expect("a key")
    }

    /// A file of another log, with a log and a key of the same name.
    fn foreign(&self, file: &str) {
        let other = Drill::new();
        let (from, to) = (other.path(file), self.path(file));
        if from.is_dir() {
            crate::crash::server::copy_tree(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

#[test]
fn an_anchor_of_another_log() {
    let drill = Drill::new();
    drill.foreign("anchor.db");
    let words = ["belongs to another log", "put the newest copy of this log's own in its place"];
    drill.refused(&words);
    drill.found(&words);
    drill.put_back("new", &["anchor.db"]);
    drill.goes_on();

    // The configuration names the wrong file.
    let drill = Drill::new();
    fs::copy(drill.path("anchor.db"), drill.path("own.db")).unwrap();
    drill.foreign("anchor.db");
    drill.refused(&["set `anchor` to this log's own"]);
    drill.configure("anchor = \"data/own.db\"\n", "");
    drill.goes_on();
}

#[test]
fn a_fork_of_the_log() {
    let drill = Drill::new();
    drill.put_back("old", &["log.db", "anchor.db"]);
    drill.world.sandbox.write("fork.txt", &MORE.replace("corp.example/more", "corp.example/fork"));
    drill.world.succeed(&["import", "fork.txt", "--trust", "--importer", "drill"]);
    drill.keep("fork");
    drill.put_back("new", &["anchor.db"]);
    let words = ["a fork of the real log", "Put the real log's database back, and leave the anchor as it is"];
    drill.refused(&words);
    drill.found(&words);
    drill.put_back("new", &["log.db"]);
    drill.goes_on();
}

#[test]
fn a_damaged_database() {
    let drill = Drill::new();
    let mut bytes = fs::read(drill.path("log.db")).unwrap();
    bytes[100..].fill(0xff);
    fs::write(drill.path("log.db"), bytes).unwrap();
    let text =
        drill.refused(&["`tallystick fsck` names all that is damaged", "leave keys and anchor as they are"]);
    assert!(text.contains("restore the database from a backup"), "{text}");
    assert_eq!(drill.world.run(&["fsck"]).code, 4, "{}", drill.world.run(&["fsck"]).stderr);
    // A backup that is not the newest one is told from it, since the anchor was left as it is.
    drill.put_back("old", &["log.db"]);
    drill.refused(&["a head of 2 records", "leave the anchor as it is"]);
    drill.put_back("new", &["log.db"]);
    drill.goes_on();
}

#[test]
fn an_anchor_that_cannot_be_opened() {
    let drill = Drill::new();
    fs::rename(drill.path("anchor.db"), drill.path("own.db")).unwrap();
    fs::create_dir(drill.path("anchor.db")).unwrap();
    drill.refused(&["cannot be opened", "Set `anchor` to the log's own anchor file"]);
    drill.configure("anchor = \"data/own.db\"\n", "");
    drill.goes_on();
}

#[test]
fn an_anchor_beside_the_data_is_moved() {
    let drill = Drill::new();
    drill.stop();
    let text = drill.refused(&["stop 1"]);
    drill.follow(&text, "tallystick incidents resolve");
    let path = drill.world.sandbox.path("tallystick.toml");
    let proxy = format!("file://{}", drill.world.sandbox.path("goproxy").display());
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("file:///nonexistent", &proxy)).unwrap();
    let text = drill.world.run(&["config", "check"]).stderr;
    let words =
        "Stop the server, move ~/data/anchor.db and, if it exists, ~/data/anchor.db.stops to another disk";
    assert!(drill.world.sandbox.without_home(&text).contains(words), "{text}");
    let elsewhere = drill.world.sandbox.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for file in ["anchor.db", "anchor.db.stops"] {
        fs::rename(drill.path(file), elsewhere.join(file)).unwrap();
    }
    drill.configure("anchor = \"elsewhere/anchor.db\"\n", "");
    drill.goes_on();
    assert!(!drill.world.run(&["config", "check"]).stderr.contains("lies beside"));
}

#[test]
fn a_key_without_its_log_gets_the_database_and_keeps_the_anchor() {
    let drill = Drill::new();
    drill.lose("log.db");
    let advice = "put the newest copy of the database back, and leave keys, anchor and stops as they are";
    drill.refused(&["this key has signed a log that is missing", advice]);
    // Whoever takes an old copy for the newest one is told so. Its old anchor would have let it sign.
    drill.put_back("old", &["log.db"]);
    drill.refused(&["a head of 2 records", "leave the anchor as it is"]);
    drill.put_back("new", &["log.db"]);
    drill.goes_on();

    // The anchor is lost too.
    let drill = Drill::new();
    ["log.db", "anchor.db"].iter().for_each(|file| drill.lose(file));
    drill.refused(&[advice]);
    drill.put_back("new", &["log.db"]);
    let text = drill.refused(&["only if this is the newest copy"]);
    drill.follow(&text, "tallystick anchor settle");
    drill.goes_on();

    // The anchor is another log's.
    let drill = Drill::new();
    fs::copy(drill.path("anchor.db"), drill.path("own.db")).unwrap();
    drill.lose("log.db");
    drill.foreign("anchor.db");
    drill.refused(&["which is another log's", "set `anchor` to this log's own file"]);
    drill.configure("anchor = \"data/own.db\"\n", "");
    drill.refused(&[advice]);
    drill.put_back("new", &["log.db"]);
    drill.goes_on();

    // The anchor is damaged.
    let drill = Drill::new();
    drill.lose("log.db");
    fs::write(drill.path("anchor.db"), [0xff; 200]).unwrap();
    drill.refused(&["put the newest copies of database and keys back, and leave the anchor as it is"]);
    drill.put_back("new", &["log.db"]);
    drill.refused(&["cannot be read", "only if this is the newest copy"]);
    drill.world.succeed(&["anchor", "settle", "--size", "2"]);
    drill.goes_on();
}

#[test]
fn an_anchor_is_settled_only_for_what_the_log_has() {
    let refused = |drill: &Drill, size: &str, words: &str| {
        let before = fs::read(drill.path("log.db")).unwrap();
        let ran = drill.world.run(&["anchor", "settle", "--size", size]);
        assert!(ran.code == 4 && ran.stderr.contains(words), "{}", ran.stderr);
        assert!(fs::read(drill.path("log.db")).unwrap() == before, "nothing is signed");
        ran.stderr
    };
    // The anchor is sound, and the log is an old copy.
    let drill = Drill::new();
    drill.put_back("old", &["log.db"]);
    refused(&drill, "1", "put the log back that has this head");
    drill.put_back("new", &["log.db"]);
    drill.goes_on();

    // The anchor is lost, and the log is not the one that the operator has in mind.
    let drill = Drill::new();
    drill.put_back("old", &["log.db"]);
    drill.lose("anchor.db");
    refused(&drill, "2", "find the newest one");
    drill.put_back("new", &["log.db"]);
    drill.world.succeed(&["anchor", "settle", "--size", "2"]);
    drill.goes_on();

    // The anchor is lost, and the stops cannot be read.
    let drill = Drill::new();
    drill.lose("anchor.db");
    fs::write(drill.path("anchor.db.stops"), "no list of stops").unwrap();
    let text = refused(&drill, "2", "the anchor can be settled after that");
    drill.follow(&text, "tallystick incidents resolve");
    drill.world.succeed(&["anchor", "settle", "--size", "2"]);
    drill.goes_on();
}

#[test]
fn stops_alone_get_no_new_key() {
    let drill = Drill::new();
    drill.stop();
    let text = drill.refused(&["stop 1"]);
    drill.follow(&text, "tallystick incidents resolve");
    drill.keep("resolved");
    ["log.db", "keys", "anchor.db"].iter().for_each(|file| drill.lose(file));
    for command in [&["serve"][..], &["key", "new"]] {
        let ran = drill.world.run(command);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("keeps what a log was stopped for"), "{}", ran.stderr);
    }
    drill.put_back("resolved", &["log.db", "keys"]);
    drill.refused(&["Put the newest copy of the anchor back"]);
    drill.put_back("resolved", &["anchor.db"]);
    drill.goes_on();
}

#[test]
fn a_key_that_others_can_read() {
    let drill = Drill::new();
    let path = drill.key_file("skey");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let text = drill.refused(&["others can read or replace the log's signing key"]);
    let named = text.split("chmod 600 '").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
    let named = drill.world.sandbox.path(named);
    assert_eq!(named.canonicalize().unwrap(), path.canonicalize().unwrap());
    fs::set_permissions(named, fs::Permissions::from_mode(0o600)).unwrap();
    drill.goes_on();
}

#[test]
fn key_files_that_are_lost_or_wrong() {
    let drill = Drill::new();
    drill.lose("keys");
    drill.refused(&["put its key files back"]);
    drill.put_back("new", &["keys"]);
    drill.goes_on();

    let drill = Drill::new();
    let path = drill.key_file("skey");
    fs::write(&path, "no key\n").unwrap();
    drill.refused(&["put the right key file back from your backup"]);
    drill.put_back("new", &["keys"]);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    drill.goes_on();

    let drill = Drill::new();
    let path = drill.key_file("vkey");
    let other = Drill::new();
    fs::copy(other.key_file("vkey"), &path).unwrap();
    drill.refused(&["is not the verifier key of the secret key beside it", "remove it"]);
    fs::remove_file(&path).unwrap();
    drill.goes_on();
    assert!(path.exists(), "it is made again");

    let drill = Drill::new();
    drill.foreign("keys");
    drill.refused(&["leave only the log's key there"]);
    drill.lose("keys");
    drill.put_back("new", &["keys"]);
    drill.goes_on();

    let drill = Drill::new();
    drill.lose("keys");
    drill.foreign("keys");
    drill.refused(&["use the log's own key"]);
    drill.lose("keys");
    drill.put_back("new", &["keys"]);
    drill.goes_on();
}

#[test]
fn a_key_that_is_there_and_has_its_name() {
    let drill = Drill::new();
    let ran = drill.world.run(&["key", "new"]);
    assert_ne!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("a key is never overwritten"), "{}", ran.stderr);
    drill.world.succeed(&["key", "show"]);
    let path = drill.world.sandbox.path("tallystick.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("name = \"sum.corp.example\"", "name = \"other.example\"")).unwrap();
    drill.refused(&["leave the name out or set it to \"sum.corp.example\""]);
    fs::write(&path, text).unwrap();
    drill.goes_on();
    let ran = drill.world.run(&["lookup", BILLING_MODULE, "--notarize", "--data", "nowhere"]);
    assert_ne!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("name the right directory with --data"), "{}", ran.stderr);
    drill.world.succeed(&["lookup", BILLING_MODULE, "--notarize", "--data", "data"]);
}

#[test]
fn cosignatures_that_cannot_be_used() {
    let drill = Drill::new();
    let vkey = drill.world.json(&["key", "show", "--json"])["vkey"].as_str().unwrap().to_owned();
    let witness = WitnessProcess::start(&drill.world.sandbox.path("w1"), "witness.example/w1", &[vkey]);
    let section = format!(
        "[[witness]]\nname = \"w1\"\nurl = \"{}\"\nkey = \"{}\"\n[witnesses]\nrequired = true\n",
        witness.url, witness.vkey
    );
    drill.configure("", &section);
    drill.world.succeed(&["lookup", QUOTE_MODULE, "--notarize"]);
    let path = drill.path("cosignatures.db");
    let _ = fs::remove_file(drill.path("cosignatures.db-wal"));
    fs::write(&path, [0xff; 8192]).unwrap();
    drill.refused(&["the cosignatures in ~/data/cosignatures.db cannot be used", "move that file away"]);
    fs::rename(&path, drill.path("cosignatures.away")).unwrap();
    drill.goes_on();
}

#[test]
fn a_witness_whose_key_or_memory_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let (data, kept) = (directory.path().join("w1"), directory.path().join("kept"));
    let log = Drill::new().world.json(&["key", "show", "--json"])["vkey"].as_str().unwrap().to_owned();
    let logs = [log];
    assert!(WitnessProcess::start(&data, "witness.example/w1", &logs).stop());
    crate::crash::server::copy_tree(&data, &kept);
    let refused = |words: &str| {
        let output = command(&data, &["--listen", "127.0.0.1:0"], &logs).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{said}");
    };
    fs::remove_dir_all(data.join("keys")).unwrap();
    refused("put the key files back from your backup");
    crate::crash::server::copy_tree(&kept.join("keys"), &data.join("keys"));
    assert!(WitnessProcess::start(&data, "witness.example/w1", &logs).stop());
    fs::remove_file(data.join("witness.db")).unwrap();
    refused("put the newest copy of that file back");
    fs::copy(kept.join("witness.db"), data.join("witness.db")).unwrap();
    assert!(WitnessProcess::start(&data, "witness.example/w1", &logs).stop());
}
