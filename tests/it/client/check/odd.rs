//! go.sum files that people, editors and merges have spoiled: what the real `go` command does with
//! each, and what we say.

use super::*;

/// What `go` does with a go.sum that begins so; the lines of the two modules follow.
struct Spoiled {
    bytes: Vec<u8>,
    /// Whether `go` reads it.
    go_reads: bool,
    /// The exit code of a check.
    code: i32,
    /// What we say.
    says: &'static str,
}

#[test]
fn what_go_tolerates_is_tolerated_and_what_it_refuses_is_named() {
    let test = "what_go_tolerates_is_tolerated_and_what_it_refuses_is_named";
    let Some(world) = World::new(test) else { return };
    world.download();
    let good = world.developer.go_sum();
    let spoiled =
        |text: String, go_reads, code, says| Spoiled { bytes: text.into_bytes(), go_reads, code, says };
    let conflict = format!("<<<<<<< HEAD\n{good}=======\n{good}>>>>>>> branch\n");
    let utf_16: Vec<u8> = format!("\u{feff}{good}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let [lib, _] = world.proxy.lines(LIB);
    let (_, hash) = lib.rsplit_once(' ').unwrap();
    let table = [
        spoiled(good.replace('\n', "\r\n"), true, 0, "go.sum:1: its lines end in CR LF"),
        spoiled(format!("\n\n{good}\n \t\n"), true, 0, ""),
        spoiled(format!("{good}{}", lib.replace("h1:", "h2:")), true, 0, "its hash is of the kind h2"),
        spoiled(format!("\u{feff}{good}"), true, 0, "begins with a byte order mark"),
        spoiled(format!("{good}>>>>>>> some branch\n"), true, 0, "it names no module version"),
        spoiled(format!("{good}corp.example/other v1.0 {hash}\n"), true, 0, "it names no module version"),
        spoiled(format!("{good}corp.example/lib v1.0.0\n"), false, 2, "wrong number of fields 2"),
        spoiled(conflict, false, 2, "go.sum:1: a merge conflict marker, <<<<<<<"),
        Spoiled { bytes: utf_16, go_reads: false, code: 2, says: "the file is UTF-16 text" },
        spoiled("This is a letter.\n".to_owned(), false, 2, "is not a go.sum file"),
        spoiled(good.replace(hash, &hash[..20]), false, 4, "is malformed"),
    ];
    for Spoiled { bytes, go_reads, code, says } in table {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        std::fs::write(world.developer.work().join("go.sum"), &bytes).unwrap();
        let ran = world.developer.check(&["go.sum"]);
        assert_eq!(ran.code, code, "{shown:?}: {}{}", ran.stdout, ran.stderr);
        assert!(
            ran.stdout.contains(says) || ran.stderr.contains(says),
            "{shown:?}: {}{}",
            ran.stdout,
            ran.stderr
        );
        let go = world.developer.go(&["mod", "download", LIB, TOOL]);
        assert_eq!(go.ok, go_reads, "{shown:?}: {}", go.stderr);
    }
}

/// The advice for a file that was not merged is followed.
#[test]
fn go_mod_tidy_repairs_a_conflict() {
    let Some(world) = World::new("go_mod_tidy_repairs_a_conflict") else { return };
    world.download();
    let good = world.developer.go_sum();
    world.developer.write("main.go", "package main\n\nimport _ \"corp.example/lib\"\n\nfunc main() {}\n");
    world.developer.write("go.sum", &format!("<<<<<<< HEAD\n{good}=======\n{good}>>>>>>> branch\n"));
    let ran = world.developer.check(&[]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("error: go.sum:1: a merge conflict marker")
            && ran.stderr.contains("`go mod tidy`"),
        "{}",
        ran.stderr
    );
    world.developer.go(&["mod", "tidy"]).succeeded();
    let ran = world.developer.check(&[]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
}

/// `verify` counts the lines that nothing vouches for apart, and `import` goes on past them.
#[test]
fn every_command_reads_go_sum_alike() {
    let Some(world) = World::new("every_command_reads_go_sum_alike") else { return };
    world.download();
    let [lib, _] = world.proxy.lines(LIB);
    let odd = format!("{}\n", lib.replace("h1:", "h2:"));
    world.developer.write("go.sum", &(world.developer.go_sum() + &odd));
    let run = |arguments: &[&str]| {
        let mut command = world.developer.program(TALLYSTICK);
        Checked::of(command.args(arguments).output().unwrap())
    };
    let config = world.directory.config();
    let (config, key) = (config.to_str().unwrap(), world.server().vkey.as_str());
    let ran = run(&["--config", config, "prove", "--gosum", "go.sum", "--out", "proofs"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = run(&["verify", "proofs", "--key", key, "--gosum", "go.sum"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("4 of 5 go.sum lines are proved, 1 is not checked"), "{}", ran.stderr);
    assert!(ran.stderr.contains("go.sum:5 is not checked: its hash is of the kind h2"), "{}", ran.stderr);
    let ran = run(&["--config", config, "import", "go.sum"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("go.sum:5: its hash is of the kind h2"), "{}", ran.stderr);
    let ran = run(&["audit", &world.server().url, "--key", key, "--gosum", "go.sum"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("go.sum line 5: its hash is of the kind h2"), "{}", ran.stdout);
    // A file that go does not read is one code for all.
    world.developer.write("bad.sum", &format!("<<<<<<< HEAD\n{odd}"));
    let url = world.server().url.clone();
    for arguments in [
        vec!["--config", config, "import", "bad.sum"],
        vec!["--config", config, "prove", "--gosum", "bad.sum", "--out", "p2"],
        vec!["verify", "proofs", "--key", key, "--gosum", "bad.sum"],
        vec!["audit", &url, "--key", key, "--gosum", "bad.sum"],
        vec!["check", "bad.sum"],
    ] {
        let ran = run(&arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("bad.sum:1: a merge conflict marker, <<<<<<<"),
            "{arguments:?}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains("fix: resolve go.mod first"), "{arguments:?}: {}", ran.stderr);
    }
}
