//! The control socket, and what `serve` says at its start.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use tallystick::store::lock::DirectoryLock;

use super::*;

#[test]
fn the_socket_is_ours_alone_and_goes_with_the_server() {
    let world = World::new();
    let server = world.serve();
    let about = fs::metadata(world.socket()).unwrap();
    assert!(about.file_type().is_socket());
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    assert!(server.stop().0);
    assert!(!world.socket().exists());
    let left: Vec<_> = fs::read_dir(world.sandbox.path("data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".control"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_socket_that_was_left_behind_is_no_server() {
    let world = World::new();
    world.serve().kill();
    assert!(world.socket().exists(), "a killed process cleans nothing up");
    world.succeed(&["lookup", "rsc.io/quote@v1.5.2", "--notarize"]);
    let server = world.serve();
    world.succeed(&["lookup", "rsc.io/quote@v1.5.2"]);
    assert!(server.stop().0);
    assert!(!world.socket().exists());
}

/// Socket paths end at 107 bytes.
#[test]
fn a_long_path_is_no_obstacle() {
    let world = World::new();
    let deep = format!("{}/{}", "d".repeat(120), "e".repeat(120));
    fs::create_dir_all(world.sandbox.path(&deep)).unwrap();
    let config = fs::read_to_string(world.sandbox.path("tallystick.toml")).unwrap();
    world.sandbox.write("tallystick.toml", &config.replace("\"data\"", &format!("\"{deep}\"")));
    world.succeed(&["key", "new"]);
    let server = world.serve();
    assert!(world.sandbox.path(&deep).join("control.sock").exists());
    world.succeed(&["lookup", "rsc.io/quote@v1.5.2", "--notarize"]);
    assert!(server.stop().0);
}

#[test]
fn a_log_that_somebody_has_and_does_not_share_is_exit_5() {
    let world = World::new();
    world.succeed(&["lookup", "rsc.io/quote@v1.5.2", "--notarize"]);
    let lock = DirectoryLock::acquire(&world.sandbox.path("data")).unwrap();
    world.sandbox.write("go.sum", QUOTE);
    let ran = world.run(&["import", "go.sum"]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    // The test has the lock, and is not tallystick.
    let holder = format!("is locked by another program, process {} (", std::process::id());
    assert!(ran.stderr.contains(&holder), "{holder}: {}", ran.stderr);
    assert!(ran.stderr.contains(&format!("fix: end it (`kill {}`)", std::process::id())), "{}", ran.stderr);
    // Who only reads needs no lock.
    world.succeed(&["lookup", "rsc.io/quote@v1.5.2"]);
    world.succeed(&["fsck"]);
    drop(lock);
    world.succeed(&["import", "go.sum"]);
}

#[test]
fn a_second_server_is_exit_5() {
    let world = World::new();
    let server = world.serve();
    let ran = world.run(&["serve"]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(world.socket().exists(), "the socket of the first is not touched");
    world.succeed(&["lookup", "rsc.io/quote@v1.5.2", "--notarize"]);
    assert!(server.stop().0);
}

/// Sends bytes to the socket and returns all that comes back.
fn exchange(world: &World, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(world.socket()).unwrap();
    // A server that refuses early need not read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(path: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: control\r\nConnection: close\r\nContent-Length: {}",
        body.len()
    );
    format!("{head}\r\n\r\n{body}").into_bytes()
}

#[test]
fn the_protocol_is_versioned_and_bounded() {
    let world = World::new();
    let server = world.serve();
    let claims = r#"{"module":"rsc.io/quote@v1.5.2","claims":[]}"#;
    let cases = [
        (post("/v2/lookup", "{}"), "404", ""),
        (post("/v1/lookup", r#"{"module":"rsc.io/quote@v1.5.2"}"#), "200", r#""size":0"#),
        (post("/v1/lookup", r#"{"module":"rsc.io/quote@../x"}"#), "400", "is not a semantic version"),
        (post("/v1/lookup", "nonsense"), "400", "expected"),
        (post("/v1/lookup", &"x".repeat(1 << 20)), "400", "the body is larger than 16384 bytes"),
        (post("/v1/notarize", r#"{"module":"corp.example/none@v1.0.0"}"#), "422", r#""reason":"not-found""#),
        (post("/v1/import", claims), "400", "the importer has no name"),
        (post("/v1/import?importer=a%0Ab", claims), "400", "control or invisible characters"),
        (post("/v1/import?importer=x", "nonsense"), "200", r#""event":"malformed","line":1"#),
        (post("/v1/import?importer=x", &"x".repeat(1 << 20)), "200", "a line has more than 131072 bytes"),
        (post("/v1/import?importer=x", ""), "200", r#""event":"done""#),
        (post("/v1/import-trusted?importer=x", &"x".repeat(1 << 20)), "200", "more than 4096 bytes"),
        (post("/v1/import-trusted?importer=x", QUOTE), "200", r#""new":1,"present":0,"conflicts":0"#),
        (b"GET /v1/lookup HTTP/1.1\r\nHost: control\r\nConnection: close\r\n\r\n".to_vec(), "405", ""),
        (b"nonsense\r\n\r\n".to_vec(), "400", ""),
    ];
    for (request, status, said) in cases {
        let answer = exchange(&world, &request);
        let start = String::from_utf8_lossy(&request[..request.len().min(100)]).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{start}: {answer}");
        assert!(answer.contains(said), "{start}: {answer}");
    }
    // What ends in the middle is no record, and no import.
    let cut = format!(
        "POST /v1/import-trusted?importer=x HTTP/1.1\r\nHost: c\r\nContent-Length: 999\r\n\r\n{QUOTE}"
    );
    let mut stream = UnixStream::connect(world.socket()).unwrap();
    stream.write_all(cut.as_bytes()).unwrap();
    drop(stream);
    let (ended_well, logged) = server.stop();
    assert!(ended_well && !logged.contains("panicked"), "{logged}");
    assert_eq!(world.size(), 1);
}

#[test]
fn a_server_that_stops_tells_its_commands() {
    let world = World::new();
    let server = world.serve();
    let arguments = world.arguments(&["import", "-", "--trust", "--importer", "x"]);
    let mut import = world.sandbox.command(&arguments);
    let mut import =
        import.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It keeps its standard input open: it could go on for ever.
    let mut stdin = import.stdin.take().unwrap();
    for id in 0..4_096 {
        stdin.write_all(crate::support::logs::lines(id).to_text().as_bytes()).unwrap();
    }
    stdin.flush().unwrap();
    // A batch is committed, so the import is under way.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(crate::support::eventually("a batch", async || world.size() == 4_096));
    let (ended_well, logged) = server.stop();
    assert!(ended_well, "{logged}");
    let ran = Ran::of(import.wait_with_output().unwrap());
    drop(stdin);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let said = "error: the server is being stopped\n  4096 records before it are in the log and stay there";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    world.succeed(&["fsck"]);
}

#[test]
fn serve_says_what_clients_need_and_what_would_bypass_it() {
    let world = World::new();
    let server = world.serve_with(&[("GOPRIVATE", "corp.example")]);
    let key = world.json(&["key", "show", "--json"])["vkey"].as_str().unwrap().to_owned();
    let announced = server.announced.clone();
    assert!(announced.contains(&format!("verifier key  {key}")), "{announced}");
    assert!(announced.contains(&format!("  go env -w GOSUMDB=\"{key} http://127.0.0.1:")), "{announced}");
    assert!(announced.contains("  go env -w GONOSUMDB=none\n"), "{announced}");
    let (ended_well, logged) = server.stop();
    assert!(ended_well);
    assert!(logged.contains("GOPRIVATE (the default of GONOSUMDB) is \"corp.example\" here"), "{logged}");
}
