//! Log lines for programs: with `log_format = "json"` every line on stderr is a JSON object, and nothing is on stdout that is no
//! result.

use super::*;
use crate::crash::clocks::LIBRARIES;

/// Reads events until one has this message. All lines before it are events, too.
fn until(lines: &mut impl Iterator<Item = std::io::Result<String>>, message: &str) -> Value {
    loop {
        let line = lines.next().expect("stderr is not closed before that").unwrap();
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for field in ["timestamp", "level", "message", "target"] {
            assert!(event[field].is_string(), "{field}: {line}");
        }
        if event["message"].as_str().unwrap().contains(message) {
            return event;
        }
    }
}

#[test]
fn a_server_that_logs_json_writes_nothing_else() {
    let world = World::new();
    let mut command = world.sandbox.command(&world.arguments(&["serve"]));
    command.env("TALLYSTICK_LOG_FORMAT", "json").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Server { child: command.spawn().unwrap(), announced: String::new() };
    let mut lines = BufReader::new(server.child.stderr.take().unwrap()).lines();
    let event = until(&mut lines, "listening");
    assert_eq!(
        (&event["version"], &event["log"]),
        (&json!(env!("CARGO_PKG_VERSION")), &json!("sum.corp.example"))
    );
    assert_eq!(
        (&event["tree.size"], &event["vkey"]),
        (&json!(0), &world.json(&["key", "show", "--json"])["vkey"])
    );
    let url = event["address"].as_str().unwrap();
    assert_eq!(crate::support::web::get(url, "/latest").unwrap().status, 200);
    let metrics = event["metrics"].as_str().unwrap().trim_end_matches("/metrics");
    assert_eq!(crate::support::web::get(metrics, "/metrics").unwrap().status, 200);
    server.signal(rustix::process::Signal::TERM);
    until(&mut lines, "stopping");
    for line in lines {
        serde_json::from_str::<Value>(&line.unwrap()).unwrap();
    }
    let mut printed = String::new();
    server.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert_eq!((printed.as_str(), server.child.wait().unwrap().code()), ("", Some(0)));
}

/// Words of a command, its environment, its exit code, and what it says.
type ErrorCase<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a str);

/// Errors at the start, of the command line, and of a configuration that cannot be used.
#[test]
fn errors_are_events_too() {
    let world = World::new();
    let config = fs::read_to_string(world.sandbox.path("tallystick.toml")).unwrap();
    world.sandbox.write("json.toml", &format!("log_format = \"json\"\n{config}"));
    world.sandbox.write("bad.toml", "log_format = \"json\"\nlistne = \"127.0.0.1:0\"\n");
    world.sandbox.write("broken.toml", "log_format = \"json\"\nlisten = \n");
    world.sandbox.write("witness.toml", "log_format = \"json\"\nliste = 3\n");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let env: &[(&str, &str)] = &[("TALLYSTICK_LOG_FORMAT", "json")];
    let cases: [ErrorCase<'_>; 8] = [
        (&["--config", "json.toml", "serve", "--listen", &address], &[], 1, "cannot listen on"),
        (
            &["--config", "json.toml", "lookup", "rsc.io/quote@v1.5.2", "--data", "none"],
            &[],
            2,
            "there is no log in",
        ),
        (&["--config", "bad.toml", "serve"], &[], 2, "unknown key `listne`"),
        (&["--config", "broken.toml", "serve"], &[], 2, "not valid TOML"),
        (&["--config", "missing.toml", "serve"], env, 2, "cannot read the configuration"),
        (&["sreve"], env, 2, "unrecognized subcommand 'sreve'"),
        (&["witness", "--config", "witness.toml"], &[], 2, "liste"),
        (&["env", "--data", "none"], env, 2, "there is no key in"),
    ];
    for (words, environment, code, said) in cases {
        let ran = world.sandbox.run_with(words, environment);
        assert_eq!(ran.code, code, "{words:?}: {}", ran.stderr);
        let events: Vec<Value> = ran
            .stderr
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{words:?}: {error}: {line}"))
            })
            .collect();
        let last = events.last().unwrap_or_else(|| panic!("{words:?}: nothing is said"));
        assert_eq!(last["level"], "ERROR", "{last}");
        assert!(last["message"].as_str().unwrap().contains(said), "{said}: {last}");
        assert!(!last["message"].as_str().unwrap().contains("fix: "), "the remedy has its own field: {last}");
    }
}

/// A server that was started with its clock ten years ahead, and then with the right one.
#[test]
fn a_clock_that_went_back_is_told() {
    const NAME: &str = "commands::logs::a_clock_that_went_back_is_told";
    let Some(library) = LIBRARIES.into_iter().find(|library| Path::new(library).exists()) else {
        return eprintln!("SKIPPED: {NAME}: libfaketime is not installed");
    };
    let world = World::new();
    let ahead = [
        ("LD_PRELOAD", library),
        ("FAKETIME", "+10y"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    let server = world.serve_with(&ahead);
    world.succeed(&["lookup", "corp.example/billing@v0.4.0", "--notarize"]);
    assert!(server.stop().0);
    let server = world.serve();
    let metrics = server.announced.lines().find_map(|line| line.strip_prefix("metrics       ")).unwrap();
    let text = crate::support::web::get(metrics.trim_end_matches("/metrics"), "/metrics").unwrap().text();
    let behind = text.lines().find_map(|line| line.strip_prefix("tallystick_clock_behind_seconds ")).unwrap();
    assert!(behind.parse::<f64>().unwrap() > 9.0 * 365.0 * 86_400.0, "{behind}");
    // It goes on, and what it signs verifies.
    world.sandbox.write("records.txt", QUOTE);
    world.succeed(&["import", "records.txt", "--trust", "--importer", "x"]);
    world.succeed(&["fsck"]);
    let (ended_well, logged) = server.stop();
    assert!(ended_well);
    assert!(logged.contains("at a time that this machine's clock has not reached"), "{logged}");
}

/// A dependency whose zip does not match leaves a line, although nobody asked for it.
#[test]
fn a_dependency_that_does_not_verify_leaves_a_line() {
    let mut world = World::new();
    world.golang = HostileServer::start(|path| match path {
        // rsc.io/quote requires it; what its record says is not what the tree says.
        path if path.contains("rsc.io/sampler") => Behaviour::ok(b"942\nnonsense\n".to_vec()),
        path => fixture(path),
    });
    let config = fs::read_to_string(world.sandbox.path("tallystick.toml")).unwrap();
    let old = config.split("urls = [\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let source = world.sandbox.path("public").display().to_string();
    let config =
        config.replace(&old, &world.golang.url()).replace("file:///nonexistent", &format!("file://{source}"));
    world.sandbox.write("tallystick.toml", &config);
    let directory = world.sandbox.path("public/rsc.io/quote/@v");
    fs::create_dir_all(&directory).unwrap();
    // The real go.mod, whose hash is in QUOTE.
    fs::write(directory.join("v1.5.2.mod"), "module \"rsc.io/quote\"\n\nrequire \"rsc.io/sampler\" v1.3.0\n")
        .unwrap();
    let server = world.serve();
    let url =
        server.announced.lines().find_map(|line| line.strip_prefix("address       ")).unwrap().to_owned();
    assert_eq!(crate::support::web::get(&url, "/lookup/rsc.io/quote@v1.5.2").unwrap().status, 200);
    let (_, logged) = server.stop();
    let line = logged
        .lines()
        .find(|line| line.contains("not notarized ahead"))
        .unwrap_or_else(|| panic!("{logged}"));
    assert!(line.contains("ERROR") && line.contains("rsc.io/sampler@v1.3.0"), "{line}");
}
