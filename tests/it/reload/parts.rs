//! Other parts that a reload replaces: witnesses, the URLs of a checksum database, the number of
//! connections; and addresses to listen on.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use super::{PATIENCE, reload, route};
use crate::crash::source::Source;
use crate::support::hostile::{Behaviour, HostileServer};
use crate::support::poll;
use crate::support::serve::{LogDirectory, Server};
use crate::support::witness::WitnessProcess;

#[test]
fn other_witnesses_are_asked_for_the_head_that_waits_for_the_old_ones() {
    let source = Source::start();
    // Nobody cosigns at a port where nobody listens.
    let dead = "[[witness]]\nname = \"dead\"\nurl = \"http://127.0.0.1:9/\"\n";
    let demand =
        "[witnesses]\nrequired = true\nquorum = 1\ntimeout_seconds = 19\n[limits]\ndeadline_seconds = 40\n";
    let rest = |witness: &str| format!("{demand}{witness}{}", route(&source.url()));
    let data = LogDirectory::new("sum.corp.example", &route(&source.url()));
    let server = data.serve();
    let log = server.vkey.clone();
    server.stop();
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    let witness = WitnessProcess::start(&first, "w1.example", std::slice::from_ref(&log));
    let dead = format!("{dead}key = \"{}\"\n", witness.vkey);
    let live = WitnessProcess::start(&second, "w2.example", &[log]);
    let live =
        (format!("[[witness]]\nname = \"live\"\nurl = \"{}/\"\nkey = \"{}\"\n", live.url, live.vkey), live);

    data.configure("sum.corp.example", &rest(&dead));
    let server = data.serve();
    let url = server.url.clone();
    let waiting = std::thread::spawn(move || crate::support::web::get(&url, &Source::lookup(1)));
    poll("it waits", PATIENCE, || (server.metric("misses_in_flight") == 1).then_some(()));
    data.configure("sum.corp.example", &rest(&live.0));
    let ran = reload(&data);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("witness.1.name"), "{}", ran.stdout);
    let answer = waiting.join().unwrap().unwrap();
    let text = answer.text();
    // Where the head had waited for its whole time just before, it is published a moment later.
    assert!(answer.status == 200 || text.contains("cosign"), "{text}");
    poll("the head is cosigned", PATIENCE, || {
        (server.get(&Source::lookup(1)).status == 200 && server.metric("tree_size") == 1).then_some(())
    });
    let checkpoint = server.get("/tlog/checkpoint").text();
    assert!(checkpoint.contains("\u{2014} w2.example "), "{checkpoint}");
    server.stop();
}

#[test]
fn a_checksum_database_is_asked_at_its_new_url_although_the_old_one_hangs() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sum.golang.org");
    let hangs = HostileServer::always(Behaviour::Stall);
    let rest = |url: &str| {
        format!(
            "[sumdb.\"sum.golang.org\"]\nurls = [\"{url}\"]\n\
             [[route]]\nmodules = [\"*\"]\nchecksum = \"sum.golang.org\"\n"
        )
    };
    let data = LogDirectory::new("sum.corp.example", &rest(&hangs.url()));
    let server = data.serve();
    let path = "/lookup/github.com/!burnt!sushi/toml@v1.3.2";
    let url = server.url.clone();
    let waiting = std::thread::spawn(move || crate::support::web::get(&url, path));
    poll("the old URL is asked", PATIENCE, || (!hangs.paths().is_empty()).then_some(()));
    data.configure("sum.corp.example", &rest(&format!("file://{}", fixture.display())));
    let ran = reload(&data);
    assert!(
        ran.code == 0 && ran.stdout.contains("sumdb.sum.golang.org.urls"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    let answer = waiting.join().unwrap().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("github.com/BurntSushi/toml v1.3.2 h1:"), "{}", answer.text());
    // The mirror itself answers by the new URL, too.
    let own = server.get("/sumdb/sum.golang.org/lookup/github.com/!burnt!sushi/toml@v1.3.2");
    assert_eq!(own.status, 200, "{}", own.text());
    server.stop();
}

/// Whether a connection of its own is answered within a moment.
fn is_answered(server: &Server) -> Option<TcpStream> {
    let address = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream.write_all(b"GET /latest HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let answered = stream.read(&mut [0; 1]).is_ok_and(|count| count == 1);
    answered.then_some(stream)
}

#[test]
fn more_connections_are_served_after_a_reload_and_those_that_are_open_stay() {
    let rest = |connections: u32| {
        format!("[limits]\nconnections = {connections}\n{}", route("https://proxy.example"))
    };
    let data = LogDirectory::new("sum.corp.example", &rest(2));
    let server = data.serve();
    data.configure("sum.corp.example", &rest(6));
    let ran = reload(&data);
    assert!(ran.code == 0 && ran.stdout.contains("limits.connections"), "{}{}", ran.stdout, ran.stderr);
    let open: Vec<_> =
        (0..6).map(|n| is_answered(&server).unwrap_or_else(|| panic!("connection {n}"))).collect();
    assert_eq!(server.metric("http_connections_evicted"), 0);
    data.configure("sum.corp.example", &rest(2));
    assert_eq!(reload(&data).code, 0);
    for mut stream in open {
        stream.write_all(b"GET /latest HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).unwrap();
        assert!(String::from_utf8_lossy(&answers).contains("HTTP/1.1 200"), "it stays");
    }
    server.stop();
}

#[test]
fn a_server_listens_wherever_go_would() {
    let data = LogDirectory::new("sum.corp.example", &route("https://proxy.example"));
    let every = |listen: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tallystick"));
        command.args(["serve", "--listen", listen, "--metrics-listen", "localhost:0", "--config"]);
        command.arg(data.config());
        Server::spawn(command)
    };
    for listen in [":0", "localhost:0"] {
        let server = every(listen);
        assert_eq!(server.get("/latest").status, 200, "{listen} at {}", server.url);
        assert_eq!(server.metric("config_reload_success"), 1);
        assert!(server.printed().contains("these addresses were bound"), "{}", server.printed());
        server.stop();
    }
    let refused = super::run(&data, &["serve", "--listen", "name.invalid:8470"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    for said in ["flag --listen", "`listen`", "the name cannot be resolved", "fix: write an address"] {
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    let elsewhere = super::run(&data, &["serve", "--listen", "192.0.2.1:8470"]);
    assert!(
        elsewhere.code == 2 && elsewhere.stderr.contains("is no address of this machine"),
        "{}",
        elsewhere.stderr
    );
}

/// A witness has nothing to reload, and SIGHUP does not end it.
#[test]
fn a_hangup_does_not_end_a_witness() {
    let directory = tempfile::tempdir().unwrap();
    let witness = WitnessProcess::start(directory.path(), "w1.example", &[]);
    witness.hang_up();
    // It is still there to be asked to end, and ends well.
    assert!(witness.stop());
}
