//! README.md's "An auditor's afternoon", played as it is written, on other ports and without its build.
//!
//! The test that gates main plays it against a module proxy and a checksum database of its own, made from
//! fixtures by x/mod. `./tests/run live` plays it against what the environment names, as a reader would.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::cli::installed;
use crate::client::oracle::{self, Proxy, Spec};
use crate::mirror::small_log::{self, SmallLog};
use crate::support::hostile::{Behaviour, HostileServer};
use crate::support::live;

/// A few seconds, and some downloads.
const PATIENCE: Duration = Duration::from_secs(240);
/// The go.sum line of `rsc.io/quote` that sum.golang.org has.
const REAL_QUOTE: &str = "rsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=";
/// Records after the drill against the fixtures: sampler before quote that requires it, x/tools before
/// x/mod, and one of pdf and qr.
const FIXTURE_RECORDS: u64 = 5;

/// What the section prints, in this order, for this line of `rsc.io/quote`.
fn printed(quote: &str) -> Vec<String> {
    let record = format!("record 1 of 2 is\n{quote}\n");
    let parts = [
        "cosigned by 2 of 2",
        "1 of 1 files verified",
        "w1.example w2.example",
        &record,
        "clean     every record, tile and head agrees",
        "head      66398721 records, root 5oXTdOltbW8oy+WAHSPYkUE7FskIY/5ZJCYGy+buJ3g=\n  records   30 read",
        "clean     what was read of it agrees",
        "\n4\n",
        "this database is a fork of the real log",
        "ALARM: the log has signed two trees",
        "\n4\n",
    ];
    parts.map(str::to_owned).into()
}

/// The sizes in `text` after `before`, as far as they are followed by `after`.
fn sizes<'a>(text: &'a str, before: &'a str, after: &'a str) -> impl Iterator<Item = u64> + 'a {
    text.split(before).skip(1).filter_map(move |rest| rest.split_once(after)?.0.parse().ok())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The commands of the section.
fn commands() -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split("\n### ").find(|section| section.starts_with("An auditor's afternoon\n"));
    let parts = section.expect("README.md has the section").split("\n```");
    parts.filter_map(|part| part.strip_prefix("sh\n")).map(|block| format!("{block}\n")).collect()
}

/// Ports that are free, and stay so: the system gives out larger ones.
fn free_ports(count: usize) -> Vec<String> {
    let first = 20_000 + (std::process::id() % 1_000) as u16 * 10;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (first..32_000).filter(is_free).take(count).map(|port| port.to_string()).collect()
}

/// The same on ports that are free, and waiting for what a person waits for.
fn adapted(directory: &Path, world: &World) -> String {
    let ports = free_ports(6);
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_tallystick"));
    let place = directory.join("afternoon").display().to_string();
    let witness_port = format!("$((n == 1 ? {} : {}))", ports[0], ports[1]);
    let wait = "until tallystick incidents --data stolen | grep -q misbehaviour; do sleep 0.1; done\n\
                until [ -e monitor/*.incident-1.txt ]; do sleep 0.1; done\n\
                until ! tallystick witness evidence --data w1 >/dev/null; do sleep 0.1; done\n";
    let routes =
        format!("cat >>tallystick.toml <<'ROUTES'\n{}ROUTES\nexport TALLYSTICK_CONFIG=", world.routes);
    let mut text = commands();
    for (written, here) in [
        ("cargo build --release\n", ""),
        ("$PWD/target/release", binary.parent().unwrap().to_str().unwrap()),
        ("/tmp/afternoon", &place),
        ("127.0.0.1:847$((4 + n))", &format!("127.0.0.1:{witness_port}")),
        ("127.0.0.1:847%s", "127.0.0.1:%s"),
        (" $n $((4 + n)) ", &format!(" $n {witness_port} ")),
        ("8470", &ports[2]),
        ("8480", &ports[3]),
        ("8481", &ports[4]),
        (
            "tallystick witnesses status\n",
            "until tallystick witnesses status | grep 'by 2 of 2'; do sleep 0.1; done\n",
        ),
        ("sleep 2\n", wait),
        ("export TALLYSTICK_CONFIG=", &routes),
    ] {
        assert!(text.contains(written), "README.md no longer has {written:?}");
        text = text.replace(written, here);
    }
    let first = format!(
        "exec 2>&1\nexport TALLYSTICK_LISTEN=127.0.0.1:{} TALLYSTICK_METRICS_LISTEN=127.0.0.1:{}\n",
        ports[2], ports[5]
    );
    first + &world.environment + &text
}

/// A shell with all that it started, ended with it.
struct Shell(Child);

impl Drop for Shell {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        // It may be gone already.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

fn play(directory: &Path, world: &World) -> String {
    let script = directory.join("afternoon.sh");
    std::fs::write(&script, adapted(directory, world)).unwrap();
    let mut command = Command::new("bash");
    command.arg(&script).current_dir(root()).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
    for name in ["GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GONOPROXY", "TALLYSTICK_CONFIG", "TALLYSTICK_DATA"] {
        command.env_remove(name);
    }
    let mut shell = Shell(command.spawn().unwrap());
    let (sender, printed) = mpsc::channel();
    let mut pipe = shell.0.stdout.take().unwrap();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = pipe.read_to_end(&mut text);
        let _ = sender.send(read.map(|_| String::from_utf8_lossy(&text).into_owned()));
    });
    match printed.recv_timeout(PATIENCE) {
        Ok(text) => text.unwrap(),
        Err(_) => {
            drop(shell);
            panic!("it does not end; it printed\n{}", printed.recv().unwrap().unwrap());
        }
    }
}

/// What is set up before the section begins; nothing, where it is played against the environment.
#[derive(Default)]
struct World {
    /// Lines of the shell.
    environment: String,
    /// The end of the logs' configuration.
    routes: String,
}

/// A module proxy and a checksum database that serve what the section needs.
struct Fixtures {
    server: HostileServer,
    vkey: String,
    quote: String,
}

/// What `go mod download -json` says of a module, as far as it is needed here.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    info: PathBuf,
    sum: String,
    go_mod_sum: String,
}

/// golang.org/x/mod as the build of the oracle brought it to this machine.
fn x_mod() -> Downloaded {
    let mut command = Command::new("go");
    command.args(["mod", "download", "-json", "golang.org/x/mod@v0.42.0"]);
    let output = command.current_dir(root().join("tests/oracle")).env("GOTOOLCHAIN", "local").output();
    serde_json::from_slice(&output.unwrap().stdout).expect("the oracle was built with it")
}

impl Fixtures {
    /// The modules of the section are made up, but for x/mod, which verifies: that one and what the
    /// programs of the oracle name come from this machine's module cache.
    fn start() -> Fixtures {
        let quote = "module rsc.io/quote\n\nrequire rsc.io/sampler v1.3.0\n";
        let proxy = Proxy::new(vec![
            Spec::new("rsc.io/quote").version("v1.5.2").file("go.mod", quote),
            Spec::new("rsc.io/sampler").version("v1.3.0"),
            Spec::new("rsc.io/pdf").version("v0.1.1"),
            Spec::new("rsc.io/qr").version("v0.2.0"),
            Spec::new("golang.org/x/tools").version("v0.51.0"),
        ]);
        let x_mod = x_mod();
        let cache = x_mod.info.ancestors().nth(5).expect("host/x/mod/@v/version.info").to_owned();
        let (path, version) = ("golang.org/x/mod", "v0.42.0");
        let mut lines = BTreeMap::from([(
            format!("{path}@{version}"),
            [
                format!("{path} {version} {}", x_mod.sum),
                format!("{path} {version}/go.mod {}", x_mod.go_mod_sum),
            ],
        )]);
        for module in
            ["rsc.io/quote@v1.5.2", "rsc.io/sampler@v1.3.0", "rsc.io/pdf@v0.1.1", "rsc.io/qr@v0.2.0"]
        {
            lines.insert(module.to_owned(), proxy.lines(module));
        }
        let tools = "golang.org/x/tools@v0.51.0";
        lines.insert(tools.to_owned(), proxy.lines(tools));
        let quote = lines["rsc.io/quote@v1.5.2"][0].clone();
        let (mut log, mut numbers) = (SmallLog::new(0), BTreeMap::new());
        for (number, (module, lines)) in lines.iter().enumerate() {
            log.push(&format!("{}\n{}\n", lines[0], lines[1]));
            numbers.insert(format!("/lookup/{module}"), number as u64);
        }
        let (vkey, size) = (log.vkey(), log.size());
        let answer = move |path: &str| match numbers.get(path) {
            Some(number) => Some(log.lookup(*number, size)),
            None if path.starts_with("/lookup/") => None,
            None => log.answer(path, size, |_| size).or_else(|| {
                let file = path.trim_start_matches('/');
                [proxy.path(), &cache].iter().find_map(|base| std::fs::read(base.join(file)).ok())
            }),
        };
        let server = HostileServer::start(move |path| match answer(path) {
            Some(body) => Behaviour::ok(body),
            None => Behaviour::not_found(),
        });
        Fixtures { server, vkey, quote }
    }

    /// What the shell and the configuration of every log say, so that both ask this server.
    fn world(&self) -> World {
        let (url, vkey, name) = (self.server.url(), &self.vkey, small_log::NAME);
        World {
            environment: format!("export GOPROXY={url} GOTOOLCHAIN=local\n"),
            routes: format!(
                "[sumdb.\"{name}\"]\nkey = \"{vkey}\"\nurls = [\"{url}\"]\n\n\
                 [[route]]\nmodules = [\"*\"]\nsource = [\"{url}\"]\nchecksum = \"{name}\"\n"
            ),
        }
    }
}

/// Whether all programs are there that the section calls; says loudly what is not.
fn can_be_played(test: &str) -> bool {
    if ["bash", "curl", "jq", "go", "unshare"].iter().any(|program| installed(program, test).is_none()) {
        return false;
    }
    let alone = Command::new("unshare").args(["-rn", "true"]).output().unwrap();
    if !alone.status.success() {
        eprintln!("SKIPPED: {test}: unshare: {}", String::from_utf8_lossy(&alone.stderr));
    }
    alone.status.success() && oracle::is_there(test)
}

/// Plays the section and checks what it prints; returns the sizes of the two trees that were signed.
fn check(world: &World, quote: &str) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let text = play(directory.path(), world);
    let mut rest = text.as_str();
    for expected in printed(quote) {
        let (_, after) = rest
            .split_once(&expected)
            .unwrap_or_else(|| panic!("no {expected:?} where it belongs in\n{text}"));
        rest = after;
    }
    // The incident that gossip printed, then the three texts: of the witness, of the monitor, of the log.
    let size = sizes(rest, "signed two trees of ", " records").next();
    let size = size.unwrap_or_else(|| panic!("no incident in\n{text}"));
    let convicted =
        format!("has signed two trees, of {size} and of {size} records, that no one log can have\n");
    assert_eq!(rest.matches(&convicted).count(), 3, "{text}");
    assert!(!directory.path().join("afternoon").exists(), "it cleans up");
    size
}

#[test]
fn it_can_be_played_as_it_is_written() {
    if can_be_played("afternoon::it_can_be_played_as_it_is_written") {
        let fixtures = Fixtures::start();
        assert_eq!(check(&fixtures.world(), &fixtures.quote), FIXTURE_RECORDS);
    }
}

/// How many records there are depends on what the proxy serves, since a go.mod's modules are notarized ahead.
#[test]
fn live_it_can_be_played_against_the_environment() {
    const TEST: &str = "afternoon::live_it_can_be_played_against_the_environment";
    if live::is_wanted(TEST) && can_be_played(TEST) {
        assert!(check(&World::default(), REAL_QUOTE) >= FIXTURE_RECORDS);
    }
}
