//! What `serve` refuses, `config check` has refused before, with the same words.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{route, run};
use crate::cli::Ran;
use crate::support::serve::LogDirectory;

/// Checks a configuration and starts from it. Both must fail.
fn both(data: &LogDirectory) -> (Ran, Ran) {
    let (checked, served) = (run(data, &["config", "check"]), run(data, &["serve"]));
    (checked, served)
}

/// The lines of an error, without what was logged before it.
fn error_of(ran: &Ran) -> &str {
    let start = ran.stderr.find("error: ").unwrap_or_else(|| panic!("{}", ran.stderr));
    &ran.stderr[start..]
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_check_refuses_what_the_server_refuses_with_its_words() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        let path = directory.path().join(name);
        write(&path, text, mode);
        path.display().to_string()
    };
    let (secret, git) = (file("hook", "0123456789abcdef\n", 0o644), file("git", "", 0o666));
    let (pem, empty) = (file("pem", "no certificate", 0o600), file("roots", "nothing", 0o644));
    std::fs::create_dir(directory.path().join("dir")).unwrap();
    let dir = directory.path().join("dir").display().to_string();
    let golang = "[sumdb.\"sum.golang.org\"]\n";
    let table = [
        (
            format!("{golang}hook_secret_file = \"{secret}\"\n"),
            "sumdb.sum.golang.org.hook_secret_file",
            "chmod 600",
        ),
        (format!("git_config = \"{git}\"\n"), "git_config", "chmod go-w"),
        (format!("git_config = \"{dir}/none\"\n"), "git_config", "create it"),
        (format!("[tls]\ncert = \"{pem}\"\nkey = \"{pem}\"\n"), "tls.cert", "PEM form"),
        (format!("roots = \"{empty}\"\n"), "roots", "PEM"),
        (format!("anchor = \"{dir}/none/anchor.db\"\n"), "anchor", "create it"),
        (format!("anchor = \"{dir}\"\n"), "anchor", "name a file"),
        ("[redirects]\nhosts = [\"https://a.example\"]\n".to_owned(), "redirects.hosts", "*.domain"),
    ];
    for (text, key, fix) in table {
        // Sections come last in a file.
        let data = LogDirectory::new("sum.corp.example", &(text.clone() + &route("https://proxy.example")));
        let (checked, served) = both(&data);
        assert_eq!((checked.code, served.code), (2, 2), "{text}: {}{}", checked.stderr, served.stderr);
        assert_eq!(error_of(&checked), error_of(&served), "{text}");
        let error = error_of(&checked);
        assert!(error.contains(&format!("`{key}`")) && error.contains(fix), "{text}: {error}");
        assert!(error.contains(&format!("{}:", data.config().display())), "it names the line: {error}");
        assert!(!data.data().exists(), "nothing was made");
    }
}

#[test]
fn a_data_directory_that_cannot_be_made_is_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let in_the_way = directory.path().join("file");
    std::fs::write(&in_the_way, "").unwrap();
    let data = LogDirectory::new("sum.corp.example", &route("https://proxy.example"));
    let text = format!("data = \"{}/data\"\n{}", in_the_way.display(), route("https://proxy.example"));
    std::fs::write(data.config(), text).unwrap();
    let (checked, served) = both(&data);
    assert_eq!((checked.code, served.code), (2, 2), "{}{}", checked.stderr, served.stderr);
    assert_eq!(error_of(&checked), error_of(&served));
    assert!(error_of(&checked).contains("`data`"), "{}", checked.stderr);
}

#[test]
fn a_key_without_its_log_is_refused_by_both() {
    let data = LogDirectory::new("sum.corp.example", &route("https://proxy.example"));
    assert_eq!(run(&data, &["key", "new"]).code, 0);
    std::fs::remove_file(data.data().join("log.db")).unwrap();
    let (checked, served) = both(&data);
    assert_eq!((checked.code, served.code), (2, 2), "{}{}", checked.stderr, served.stderr);
    assert_eq!(error_of(&checked), error_of(&served));
}

#[test]
fn programs_that_a_route_needs_are_looked_for() {
    let rest = "[[route]]\nmodules = [\"git.example/*\"]\nsource = [\"direct\"]\nchecksum = \"compute\"\n";
    let data = LogDirectory::new("sum.corp.example", rest);
    let empty = tempfile::tempdir().unwrap();
    let with_path = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tallystick"));
        command.args(arguments).arg("--config").arg(data.config()).env_clear().env("PATH", empty.path());
        Ran::of(command.output().unwrap())
    };
    let checked = with_path(&["config", "check"]);
    assert_eq!(checked.code, 2, "{}", checked.stderr);
    let place = format!("{}:", data.config().display());
    for said in [&place, "`route.1.source`", "the program go", "the program git", "fix: install go"] {
        assert!(checked.stderr.contains(said), "{said}: {}", checked.stderr);
    }
    crate::support::write_program(&empty.path().join("git"), b"#!/bin/sh\n");
    crate::support::write_program(&empty.path().join("go"), b"#!/bin/sh\n");
    let checked = with_path(&["config", "check"]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
}

#[test]
fn an_anchor_on_the_disk_of_its_data_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let anchor = directory.path().join("anchor.db");
    let text = format!("anchor = \"{}\"\n{}", anchor.display(), route("https://proxy.example"));
    let data = LogDirectory::new("sum.corp.example", &text);
    let checked = run(&data, &["config", "check"]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    assert!(checked.stderr.contains("is on the same disk as the data"), "{}", checked.stderr);
}
