//! Every command is driven to each of the exit codes that its help names, here or in the test that [`ELSEWHERE`] names.

use std::collections::BTreeSet;
use std::net::TcpListener;

use tallystick::cli::command;
use tallystick::store::lock::DirectoryLock;

use super::*;

/// Codes to which another test drives the command: the test's file and what it says there.
const ELSEWHERE: &[(&str, u8, &str, &str)] = &[
    ("reload", 0, "reload/mod.rs", "assert_eq!(reload(&data).code, 0)"),
    ("reload", 1, "reload/mod.rs", "assert_eq!(refused.code, 1"),
    ("reload", 2, "reload/mod.rs", "assert_eq!((refused.code, checked.code), (2, 2))"),
    ("reload", 3, "reload/mod.rs", "assert_eq!(ran.code, 3"),
    ("check", 0, "client/check/built.rs", "assert_eq!(ran.code, 0"),
    ("check", 1, "client/check/built.rs", "assert_eq!(ran.code, 1"),
    ("check", 2, "client/check/built.rs", "assert_eq!(ran.code, 2"),
    ("check", 3, "client/check/mod.rs", "assert_eq!(ran.code, 3"),
    ("check", 4, "client/check/built.rs", "assert_eq!(ran.code, 4"),
    ("reload", 0, "reload/mod.rs", "assert_eq!(changed.code, 0"),
    ("reload", 1, "reload/mod.rs", "assert_eq!(refused.code, 1"),
    ("reload", 2, "reload/mod.rs", "assert_eq!((refused.code, checked.code), (2, 2)"),
    ("reload", 3, "reload/mod.rs", "assert_eq!(ran.code, 3"),
    ("mirror status", 4, "mirror/commands.rs", r#"ran(&directory, &["status"], 4)"#),
    ("mirror sync", 0, "mirror/commands.rs", r#"ran(&directory, &["sync"], 0)"#),
    ("mirror sync", 3, "mirror/commands.rs", r#"ran(directory, &["sync"], 3)"#),
    ("mirror sync", 4, "mirror/commands.rs", r#"ran(&directory, &["sync"], 4)"#),
    ("mirror sync", 5, "mirror/commands.rs", r#"ran(directory, &["sync"], 5)"#),
    ("mirror resume", 0, "mirror/commands.rs", r#"&["resume", NAME, "--incident", "1"], 0)"#),
    ("mirror export", 4, "mirror/full.rs", r#"&["export", NAME, "out"], 4)"#),
    ("mirror export", 1, "mirror/operations.rs", r#"&["export", NAME, "/proc/none/log.tar.zst"], 1)"#),
    ("mirror stats", 1, "mirror/operations.rs", r#"&["stats", NAME, "--svg", "/proc/none/growth.svg"], 1)"#),
    ("mirror export", 0, "mirror/operations.rs", r#"&["export", NAME, text(&out)], 0)"#),
    ("mirror import", 0, "mirror/operations.rs", r#"&["import", NAME, text(&out)], 0)"#),
    ("mirror import", 1, "mirror/operations.rs", r#"&["import", NAME, text(&out)], 1)"#),
    ("mirror import", 4, "mirror/operations.rs", r#"&["import", NAME, text(&out)], 4)"#),
    ("mirror verify", 0, "mirror/operations.rs", r#"&["verify", NAME], 0)"#),
    ("mirror verify", 4, "mirror/operations.rs", r#"&["verify", NAME], 4)"#),
    ("mirror stats", 0, "mirror/operations.rs", r#"&["stats", NAME], 0)"#),
    ("mirror diff", 4, "mirror/operations.rs", r#"&["diff"], 4)"#),
    ("audit", 0, "mirror/audited.rs", "assert_eq!(text.code, 0"),
    ("audit", 1, "mirror/audited.rs", "&auditor, 1,"),
    ("audit", 4, "mirror/audited.rs", "assert_eq!(ran.code, 4"),
    ("audit", 5, "mirror/audited.rs", "&auditor, 5,"),
    ("gossip", 0, "mirror/gossip.rs", "assert_eq!(ran.code, 0"),
    ("gossip", 4, "mirror/gossip.rs", "assert_eq!(ran.code, 4"),
    ("monitor", 0, "mirror/monitor.rs", "lab.run().code, 0"),
    ("monitor", 3, "mirror/monitor.rs", "(3, \"\")"),
    ("monitor", 4, "mirror/monitor.rs", "(4, \"\")"),
    ("incidents resolve", 0, "mirror/gossip.rs", "assert_eq!(resolved.code, 0"),
    ("incidents resolve", 5, "mirror/gossip.rs", "assert_eq!(busy.code, 5"),
    ("witness evidence", 4, "witness/http.rs", "assert_eq!(evidence.status.code(), Some(4)"),
    ("witnesses status", 0, "witness/own/mod.rs", r#"run(&["witnesses", "status"])"#),
];

/// The codes that each command's help names.
fn promised() -> BTreeSet<(String, u8)> {
    let mut promised = BTreeSet::new();
    let mut waiting: Vec<(String, clap::Command)> =
        command().get_subcommands().map(|below| (below.get_name().to_owned(), below.clone())).collect();
    while let Some((words, command)) = waiting.pop() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let codes = help.split("Exit codes:\n").nth(1).unwrap_or_default();
        for line in codes.lines().take_while(|line| line.starts_with("  ")) {
            let code = line.trim_start().split(' ').next().unwrap();
            promised.insert((words.clone(), code.parse().unwrap_or_else(|_| panic!("{words}: {line}"))));
        }
        waiting.extend(
            command.get_subcommands().map(|below| (format!("{words} {}", below.get_name()), below.clone())),
        );
    }
    promised
}

#[derive(Default)]
struct Driven(BTreeSet<(String, u8)>);

impl Driven {
    /// A command line whose words begin with those of the command, after the options of all commands.
    #[track_caller]
    fn to(&mut self, code: u8, command: &str, ran: &Ran) {
        assert_eq!(ran.code, i32::from(code), "{command}: {}{}", ran.stdout, ran.stderr);
        self.0.insert((command.to_owned(), code));
    }

    #[track_caller]
    fn run(&mut self, world: &World, command: &str, rest: &[&str], code: u8) {
        let words: Vec<&str> = command.split(' ').chain(rest.iter().copied()).collect();
        let ran = if rest.contains(&"--config") { world.sandbox.run(&words) } else { world.run(&words) };
        self.to(code, command, &ran);
    }
}

/// An address where nobody is.
fn nowhere() -> String {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("http://{closed}")
}

const BILLING_MODULE: &str = "corp.example/billing@v0.4.0";
const WRONG: &str = "h1:AAAAhefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=";

/// A log with a record and an incident.
fn with_incident() -> World {
    let world = World::new();
    world.succeed(&["lookup", BILLING_MODULE, "--notarize"]);
    world.sandbox.write("ok.sum", &billing_lines());
    world.sandbox.write("bad.sum", &format!("corp.example/billing v0.4.0/go.mod {WRONG}\n"));
    assert_eq!(world.run(&["import", "bad.sum", "--importer", "ci"]).code, 4);
    world
}

fn without_anchor() -> World {
    let world = with_incident();
    fs::remove_file(world.sandbox.path("data/anchor.db")).unwrap();
    world
}

fn reading_and_writing(driven: &mut Driven) {
    let world = with_incident();
    world.sandbox.write("none.sum", &format!("corp.example/none v1.0.0/go.mod {WRONG}\n"));
    world.sandbox.write("no.sum", "<<<<<<< HEAD\n");
    let none = "corp.example/none@v1.0.0";
    driven.run(&world, "lookup", &[BILLING_MODULE], 0);
    driven.run(&world, "lookup", &[none], 1);
    driven.run(&world, "lookup", &["no-version"], 2);
    driven.run(&world, "import", &["ok.sum"], 0);
    driven.run(&world, "import", &["none.sum"], 1);
    driven.run(&world, "import", &["no.sum"], 2);
    driven.run(&world, "import", &["bad.sum", "--importer", "ci"], 4);
    driven.run(&world, "prove", &[BILLING_MODULE, "--out", "proofs"], 0);
    driven.run(&world, "prove", &[none], 1);
    driven.run(&world, "prove", &["--gosum", "no.sum"], 2);
    driven.run(&world, "prove", &[BILLING_MODULE, "--server", &nowhere()], 3);
    let vkey = world.json(&["key", "show", "--json"])["vkey"].as_str().unwrap().to_owned();
    let verify = ["proofs", "--key", &vkey];
    driven.run(&world, "verify", &verify, 0);
    driven.run(&world, "verify", &[&verify[..], &["--gosum", "none.sum"]].concat(), 1);
    driven.run(&world, "verify", &[&verify[..], &["--gosum", "no.sum"]].concat(), 2);
    driven.run(&world, "verify", &[&verify[..], &["--gosum", "bad.sum"]].concat(), 4);
    driven.run(&world, "fsck", &[], 0);
    driven.run(&world, "fsck", &["--data", "none"], 2);
    driven.run(&world, "anchor show", &[], 0);
    driven.run(&world, "anchor show", &["--data", "none"], 2);
    driven.run(&world, "anchor settle", &["--size", "1"], 4);
    driven.run(&world, "anchor settle", &["--size", "x"], 2);
    driven.run(&world, "witnesses policy", &[], 0);
    driven.run(&world, "witnesses policy", &["--data", "none"], 2);
    driven.run(&world, "witnesses status", &["--data", "none"], 2);
    driven.run(&world, "incidents", &[], 4);
    driven.run(&world, "incidents", &["--data", "none"], 2);
    driven.run(&world, "incidents resolve", &["7"], 2);
    driven.run(&world, "incidents withdraw", &["1", "--reason", "x", "--importer", "other"], 2);
    driven.run(&world, "incidents withdraw", &["1", "--reason", "x", "--importer", "ci"], 0);
    driven.run(&world, "incidents close", &["1", "--reason", "x"], 2);
    driven.run(&world, "incidents", &[], 0);
    assert_eq!(world.run(&["import", "bad.sum", "--importer", "ci"]).code, 4);
    driven.run(&world, "incidents close", &["3", "--reason", "x"], 0);
    fs::write(world.sandbox.path("data/anchor.db.stops"), "[]x").unwrap();
    driven.run(&world, "incidents resolve", &["1"], 4);

    let world = without_anchor();
    driven.run(&world, "anchor show", &[], 4);
    driven.run(&world, "fsck", &[], 4);
    world.sandbox.write("records.txt", QUOTE);
    driven.run(&world, "lookup", &["rsc.io/quote@v1.5.2", "--notarize"], 4);
    let server = world.serve();
    driven.run(&world, "incidents withdraw", &["1", "--reason", "x", "--importer", "ci"], 1);
    driven.run(&world, "incidents close", &["1", "--reason", "x"], 1);
    assert!(server.stop().0);
    driven.run(&world, "anchor settle", &["--size", "1"], 0);

    let world = with_incident();
    let database = rusqlite::Connection::open(world.database()).unwrap();
    let query = "SELECT sql FROM sqlite_master WHERE name = 'tail_update'";
    let trigger: String = database.query_row(query, [], |row| row.get(0)).unwrap();
    let damage = "DROP TRIGGER tail_update; UPDATE tail SET body = zeroblob(length(body)); ";
    database.execute_batch(&format!("{damage}{trigger};")).unwrap();
    drop(database);
    driven.run(&world, "prove", &[BILLING_MODULE], 4);

    let mut world = World::new();
    world.golang = HostileServer::start(fixture);
    world.sandbox.write("go.sum", QUOTE);
    driven.run(&world, "lookup", &["rsc.io/quote@v1.5.2", "--notarize"], 3);
    driven.run(&world, "import", &["go.sum"], 3);
}

/// Another process has the log open, and is no server that answers.
fn in_use(driven: &mut Driven) {
    let world = with_incident();
    let _lock = DirectoryLock::acquire(&world.sandbox.path("data")).unwrap();
    let commands: [(&str, &[&str]); 14] = [
        ("serve", &[]),
        ("lookup", &["rsc.io/quote@v1.5.2", "--notarize"]),
        ("import", &["ok.sum"]),
        ("prove", &[BILLING_MODULE]),
        ("fsck", &["--rebuild-index"]),
        ("anchor settle", &["--size", "1"]),
        ("incidents withdraw", &["1", "--reason", "x", "--importer", "ci"]),
        ("incidents close", &["1", "--reason", "x"]),
        ("mirror resume", &["sum.golang.org", "--incident", "1"]),
        ("mirror export", &["sum.golang.org", "out"]),
        ("mirror import", &["sum.golang.org", "in"]),
        ("mirror verify", &["sum.golang.org"]),
        ("mirror stats", &["sum.golang.org"]),
        ("mirror diff", &[]),
    ];
    // Each waits for a server to appear.
    let runs: Vec<(&str, Ran)> = std::thread::scope(|scope| {
        let start = |(command, rest): (&'static str, &'static [&'static str])| {
            let world = &world;
            (
                command,
                scope.spawn(move || {
                    world.run(&command.split(' ').chain(rest.iter().copied()).collect::<Vec<_>>())
                }),
            )
        };
        let started: Vec<_> = commands.into_iter().map(start).collect();
        started.into_iter().map(|(command, run)| (command, run.join().unwrap())).collect()
    });
    for (command, ran) in &runs {
        driven.to(5, command, ran);
    }
}

fn serving(driven: &mut Driven) {
    let world = World::new();
    let server = world.serve();
    assert!(server.stop().0);
    driven.0.insert(("serve".to_owned(), 0));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().map(|address| (address, ()));
    let taken = taken.unwrap().0;
    let _holder = TcpListener::bind(taken).unwrap();
    driven.run(&world, "serve", &["--listen", &taken.to_string()], 1);
    driven.run(&world, "serve", &["--listen", "nowhere"], 2);
    let route = "[[route]]\nmodules = [\"*\"]\nsource = [\"file:///tmp\"]\nchecksum = \"compute\"\n";
    world.sandbox.write("ok.toml", &format!("data = \"fresh\"\n{route}"));
    driven.run(&world, "config check", &["--config", "ok.toml"], 0);
    driven.run(&world, "config check", &["--config", "missing.toml"], 2);
    driven.run(&world, "config show", &[], 0);
    driven.run(&world, "config show", &["--config", "missing.toml"], 2);
    driven.run(&world, "completions", &["bash"], 0);
    driven.run(&world, "completions", &["csh"], 2);
    driven.run(&world, "env", &[], 0);
    driven.run(&world, "env", &["--data", "none"], 2);
    driven.run(&world, "env", &["--server", &nowhere()], 3);
    let no_server = HostileServer::start(|_| Behaviour::not_found());
    driven.run(&world, "env", &["--server", &no_server.url()], 1);
    let liar = HostileServer::start(|_| {
        let vkey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        Behaviour::ok(json!({ "name": "x", "keys": [{ "verifier": vkey }] }).to_string())
    });
    driven.run(&world, "env", &["--server", &liar.url()], 4);
    driven.run(&world, "key new", &["--data", "other"], 0);
    driven.run(&world, "key new", &[], 1);
    driven.run(&world, "key new", &["--data", "third", "--name", "a b"], 2);
    driven.run(&world, "key show", &[], 0);
    driven.run(&world, "key show", &["--data", "none"], 2);
    // Posts and pages that are no server's of this kind.
    world.sandbox.write("head", "x\n");
    driven.run(&world, "gossip", &[&no_server.url(), "--head", "head"], 1);
    driven.run(&world, "gossip", &[&no_server.url(), "--gopath", "typo"], 2);
    driven.run(&world, "gossip", &[&nowhere(), "--head", "head"], 3);
    driven.run(&world, "audit", &["none"], 2);
    driven.run(&world, "audit", &[&nowhere()], 3);
    let keys = fs::read_dir(world.sandbox.path("data/keys")).unwrap().map(|entry| entry.unwrap().path());
    keys.for_each(|file| fs::write(file, "PRIVATE+KEY+no").unwrap());
    driven.run(&world, "key show", &[], 4);
    driven.run(&world, "serve", &[], 4);
}

fn mirroring(driven: &mut Driven) {
    let world = World::new();
    world.succeed(&["lookup", BILLING_MODULE, "--notarize"]);
    let none = "sum.none.example";
    driven.run(&world, "mirror status", &[], 0);
    driven.run(&world, "mirror status", &["--config", "missing.toml"], 2);
    driven.run(&world, "mirror sync", &[none], 2);
    driven.run(&world, "mirror resume", &[none, "--incident", "1"], 2);
    driven.run(&world, "mirror export", &["sum.golang.org", "out"], 2);
    driven.run(&world, "mirror import", &["sum.golang.org", "out"], 2);
    driven.run(&world, "mirror verify", &["sum.golang.org"], 2);
    driven.run(&world, "mirror stats", &["sum.golang.org"], 2);
    driven.run(&world, "mirror diff", &[], 0);
    let refusing = HostileServer::start(|_| Behaviour::error(403, "Forbidden"));
    let config = fs::read_to_string(world.sandbox.path("tallystick.toml")).unwrap();
    let urls = format!("mode = \"full\"\nurls = [\"{}\"]", refusing.url());
    let config = config.replace(&format!("urls = [\"{}\"]", world.golang.url()), &urls);
    world.sandbox.write("full.toml", &config);
    driven.run(&world, "mirror sync", &["--config", "full.toml"], 1);
    driven.run(&world, "mirror import", &["sum.golang.org", &nowhere(), "--config", "full.toml"], 3);
    driven.run(&world, "mirror diff", &["--config", "missing.toml"], 2);
}

/// Roles with a configuration and a state of their own.
fn other_roles(driven: &mut Driven) {
    let sandbox = Sandbox::new();
    let mut run = |command: &str, rest: &[&str], code: u8| {
        let words: Vec<&str> = command.split(' ').chain(rest.iter().copied()).collect();
        driven.to(code, command, &sandbox.run(&words));
    };
    run("witness key", &["--data", "w"], 2);
    run("witness status", &["--data", "w"], 2);
    run("witness evidence", &["--data", "w"], 2);
    run("witness", &["--listen", "nowhere"], 2);
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    run("witness", &["--data", "w", "--listen", &taken], 1);
    let witness = ["witness", "--data", "w", "--listen", "127.0.0.1:0"];
    let start = || {
        let mut command = sandbox.command(&witness);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines.find(|line| line.as_ref().unwrap().starts_with("address ")).unwrap().unwrap();
        Server { child, announced: String::new() }
    };
    let mut running = start();
    run("witness", &witness[1..], 5);
    run("witness key", &["--data", "w"], 0);
    run("witness status", &["--data", "w"], 0);
    run("witness evidence", &["--data", "w"], 0);
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    fs::remove_file(sandbox.path("w/witness.db")).unwrap();
    run("witness", &witness[1..], 4);
    let vkey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
    let log =
        format!("[[log]]\nname = \"sum.golang.org\"\nkey = \"{vkey}\"\nurls = [\"http://127.0.0.1:1\"]\n");
    sandbox.write("monitor.toml", &format!("state = \"state\"\nmetrics_listen = \"{taken}\"\n{log}"));
    sandbox.write("bad.toml", "state = 3\n");
    run("monitor", &["bad.toml"], 2);
    run("monitor", &["monitor.toml"], 1);
    let lock = DirectoryLock::acquire(&sandbox.path("state")).unwrap();
    run("monitor", &["monitor.toml", "--once"], 5);
    drop(lock);
    driven.0.insert(("witness".to_owned(), 0));
}

#[test]
fn every_command_ends_with_each_of_its_codes_and_no_other() {
    let mut driven = Driven::default();
    reading_and_writing(&mut driven);
    in_use(&mut driven);
    serving(&mut driven);
    mirroring(&mut driven);
    other_roles(&mut driven);
    for (command, code, file, text) in ELSEWHERE {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(file);
        let found = fs::read_to_string(&path).unwrap().contains(text);
        assert!(found, "{command} {code}: {} no longer has {text}", path.display());
        driven.0.insert(((*command).to_owned(), *code));
    }
    let promised = promised();
    let unpromised: Vec<_> = driven.0.difference(&promised).collect();
    assert!(unpromised.is_empty(), "the help does not name {unpromised:?}");
    let undriven: Vec<_> = promised.difference(&driven.0).collect();
    assert!(undriven.is_empty(), "nothing drives {undriven:?}");
}

/// README names the same codes with the same meanings.
#[test]
fn the_readme_has_the_table_of_the_help() {
    let help = command().get_after_help().unwrap().to_string();
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let codes = help.split("Exit codes:\n").nth(1).unwrap();
    let mut rows = 0;
    for line in codes.lines().take_while(|line| line.starts_with("  ")) {
        let (code, meaning) = line.trim_start().split_once("  ").unwrap();
        assert!(
            readme.contains(&format!("| {code} | {meaning} |\n")),
            "README.md lacks | {code} | {meaning} |"
        );
        rows += 1;
    }
    assert_eq!(rows, 6);
}
