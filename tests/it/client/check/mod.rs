//! `tallystick check`: what the real `go` command has written, held against a log that runs, and
//! against foreign ones.

mod built;
mod forks;
mod odd;
mod project;

use serde_json::Value;

use super::*;
use crate::cli::Ran as Checked;

const TALLYSTICK: &str = env!("CARGO_BIN_EXE_tallystick");

impl Developer {
    /// Runs `tallystick check` in the project, with the developer's environment.
    fn check(&self, arguments: &[&str]) -> Checked {
        self.check_with(arguments, &[], "")
    }

    fn check_with(&self, arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Checked {
        use std::io::Write as _;
        let mut command = self.program(TALLYSTICK);
        command.arg("check").args(arguments).envs(environment.iter().copied());
        let pipe = std::process::Stdio::piped;
        let mut child = command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
        // A check that refuses its arguments does not read its input.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Checked::of(child.wait_with_output().unwrap())
    }

    fn check_json(&self, arguments: &[&str]) -> (i32, Value) {
        let ran = self.check(&[arguments, &["--json"]].concat());
        let json =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}{}", ran.stdout, ran.stderr));
        (ran.code, json)
    }

    /// Writes the lines of these modules, as x/mod hashes them, into the project's go.sum.
    fn write_go_sum(&self, proxy: &Proxy, modules: &[&str]) {
        let text: String = modules.iter().map(|module| proxy.lines(module).join("\n") + "\n").collect();
        self.write("go.sum", &text);
    }
}

/// Two modules, a log that runs and has looked nothing up yet, and a developer.
struct World {
    proxy: Proxy,
    directory: LogDirectory,
    server: Option<Server>,
    developer: Developer,
}

const LIB: &str = "corp.example/lib@v1.0.0";
const TOOL: &str = "corp.example/Team/Tool@v1.0.0";

impl World {
    /// None where there is no `go` command.
    fn new(test: &str) -> Option<World> {
        if !oracle::is_there(test) {
            return None;
        }
        let proxy = Proxy::new(vec![Spec::new("corp.example/lib"), Spec::new("corp.example/Team/Tool")]);
        let directory = log_over(&proxy);
        let server = directory.serve();
        let developer = Developer::new(&proxy.url(), &server.gosumdb());
        developer.project(&[LIB.to_owned(), TOOL.to_owned()]);
        Some(World { proxy, directory, server: Some(server), developer })
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    fn size(&self) -> u64 {
        self.server().metric("tree_size")
    }

    /// Has the `go` command download what the project requires, which brings it into the log and
    /// into go.sum.
    fn download(&self) {
        self.developer.go(&["mod", "download", "all"]).succeeded();
        let lines = [self.proxy.lines(LIB), self.proxy.lines(TOOL)].concat();
        lines.iter().for_each(|line| assert!(self.developer.go_sum().contains(line), "{line}"));
    }
}

/// The names of the counts that are not zero.
fn counts(report: &Value) -> Vec<(String, u64)> {
    let counts = report["counts"].as_object().unwrap().iter();
    let mut counts: Vec<_> = counts
        .map(|(name, count)| (name.clone(), count.as_u64().unwrap()))
        .filter(|(_, count)| *count > 0)
        .collect();
    counts.sort();
    counts
}

#[test]
fn what_go_has_written_is_proved_and_nothing_is_brought_in() {
    let Some(world) = World::new("what_go_has_written_is_proved_and_nothing_is_brought_in") else { return };
    world.download();
    let (size, requests) = (world.size(), world.server().requests(Some("lookup")));
    let ran = world.developer.check(&[]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let summary =
        format!("4 of 4 hashes are proved in {NAME} at {}, under its head of 2 records", world.server().url);
    assert!(ran.stdout.contains(&summary), "{}", ran.stdout);
    let (code, report) = world.developer.check_json(&["go.sum"]);
    assert_eq!((code, counts(&report)), (0, vec![("proved".to_owned(), 4)]), "{report}");
    assert_eq!((&report["log"], &report["size"]), (&NAME.into(), &2.into()), "{report}");
    assert_eq!(world.size(), size);
    assert_eq!(world.server().requests(Some("lookup")), requests, "a look-up brings in what is missing");
    // The newest head seen, as the log has signed it.
    let heads = world.developer.path(".cache/tallystick/heads");
    let key = world.server().vkey.splitn(3, '+').take(2).collect::<Vec<_>>().join("+");
    let kept = std::fs::read(heads.join(key).join("latest")).unwrap();
    assert_eq!(kept, world.server().get("/latest").body);
}

#[test]
fn what_the_log_does_not_have_is_brought_in_only_when_that_is_wanted() {
    let Some(world) = World::new("what_the_log_does_not_have_is_brought_in_only_when_that_is_wanted") else {
        return;
    };
    world.developer.write_go_sum(&world.proxy, &[LIB, TOOL]);
    let ran = world.developer.check(&["--github", "--junit", "check.xml"]);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(world.size(), 0, "nothing was appended");
    let annotation = format!("::error file=go.sum,line=3,title=tallystick%3A not in log::{TOOL}: ");
    assert!(ran.stdout.contains(&annotation), "{}", ran.stdout);
    assert!(ran.stderr.contains("`tallystick check --notarize` brings it in"), "{}", ran.stderr);
    let junit = std::fs::read_to_string(world.developer.work().join("check.xml")).unwrap();
    assert!(
        junit.contains("<testsuite name=\"go.sum\" tests=\"4\" failures=\"4\" skipped=\"0\">"),
        "{junit}"
    );
    // The advice works.
    let ran = world.developer.check(&["--notarize"]);
    assert_eq!((ran.code, world.size()), (0, 2), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(world.developer.check(&[]).code, 0);
    // What no source has stays out, and is named.
    let strange = world.developer.go_sum().replace("corp.example/lib", "corp.example/strange");
    world.developer.write("go.sum", &strange);
    let (code, report) = world.developer.check_json(&["--notarize"]);
    let want = vec![("not_in_log".to_owned(), 2), ("proved".to_owned(), 2)];
    assert_eq!((code, counts(&report), world.size()), (1, want, 2), "{report}");
}

/// Proxies of modules pass on what the `go` command asks for, and it never asks for the newest
/// head.
#[test]
fn a_proxy_that_knows_no_latest_is_enough() {
    let Some(world) = World::new("a_proxy_that_knows_no_latest_is_enough") else { return };
    world.download();
    let (url, key) = (world.server().url.clone(), world.server().vkey.clone());
    let hidden = |path: &str| path.starts_with("/api/") || path == "/latest";
    let proxy = HostileServer::start(move |path| match path {
        path if hidden(path) => Behaviour::not_found(),
        path => forward(&url, path, |page| page),
    });
    let gosumdb = format!("{key} {}", proxy.url());
    let ran = world.developer.check_with(&["--notarize"], &[("GOSUMDB", &gosumdb)], "");
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let nothing = HostileServer::start(|_| Behaviour::not_found());
    let gosumdb = format!("{key} {}", nothing.url());
    let ran = world.developer.check_with(&["--notarize"], &[("GOSUMDB", &gosumdb)], "");
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("latest cannot be read"), "{}", ran.stderr);
}

#[test]
fn a_line_that_differs_is_named_with_both_hashes() {
    let Some(world) = World::new("a_line_that_differs_is_named_with_both_hashes") else { return };
    world.download();
    let [right, _] = world.proxy.lines(LIB).map(|line| line.split(' ').nth(2).unwrap().to_owned());
    let wrong = format!("h1:{}=", "A".repeat(43));
    world.developer.write("go.sum", &format!("\n{}", world.developer.go_sum().replace(&right, &wrong)));
    let (code, report) = world.developer.check_json(&["go.sum"]);
    assert_eq!(code, 4, "{report}");
    let finding = &report["findings"][0];
    let line = world.developer.go_sum().lines().position(|line| line.contains(&wrong)).unwrap() + 1;
    assert_eq!((&finding["file"], &finding["line"]), (&"go.sum".into(), &line.into()), "{report}");
    assert_eq!(finding["verdict"], "differs");
    let why = finding["why"].as_str().unwrap();
    assert!(why.contains(&wrong) && why.contains(&right), "{why}");
    // In a GitHub job nobody has to ask for annotations, and JSON stays JSON.
    let ran = world.developer.check_with(&["go.sum", "--json"], &[("GITHUB_ACTIONS", "true")], "");
    assert!(
        ran.stderr.contains(&format!("::error file=go.sum,line={line},title=tallystick%3A DIFFERS::")),
        "{}",
        ran.stderr
    );
    assert!(serde_json::from_str::<Value>(&ran.stdout).is_ok(), "{}", ran.stdout);
}

#[test]
fn which_log_it_is_nobody_learns_from_the_server() {
    let Some(mut world) = World::new("which_log_it_is_nobody_learns_from_the_server") else { return };
    world.download();
    let url = world.server().url.clone();
    let key = world.server().vkey.clone();
    let check = |arguments: &[&str], gosumdb: &str| {
        world.developer.check_with(arguments, &[("GOSUMDB", gosumdb)], "")
    };
    let refused = |arguments: &[&str], gosumdb: &str, code: i32, texts: &[&str]| {
        let ran = check(arguments, gosumdb);
        assert_eq!(ran.code, code, "{arguments:?} {gosumdb}: {}{}", ran.stdout, ran.stderr);
        for text in texts {
            assert!(ran.stderr.contains(text), "{arguments:?} {gosumdb}: no {text:?} in {}", ran.stderr);
        }
    };
    refused(
        &["--server", &url],
        "off",
        2,
        &["GOSUMDB is \"off\" here", "fix: give its verifier key with --key"],
    );
    refused(&["--server", &url], "sum.golang.org", 2, &["has another name", "fix: give its key with --key"]);
    refused(&["--server", &url], "sum.corp.example", 2, &["is no verifier key"]);
    let other = format!("sum.golang.org {url}");
    refused(&[], &other, 2, &["has another name"]);
    // The same name, another key.
    let directory = LogDirectory::new(NAME, NO_MODULES);
    let stranger = signer(&directory).verifier().to_string();
    refused(&["--key", &stranger, "--server", &url], "off", 4, &["another key under the same name"]);
    // The key from a file, and no GOSUMDB.
    world.developer.write("log.vkey", &format!("{key}\n"));
    assert_eq!(check(&["--key", "log.vkey", "--server", &url], "off").code, 0);
    assert_eq!(check(&["--key", &key, "--server", &url], &other).code, 0);
    // Nobody answers any more.
    world.server.take().unwrap().stop();
    let ran = world.developer.check(&[]);
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("cannot be asked") && ran.stderr.contains("fix: "), "{}", ran.stderr);
}

/// More records than are proved at once, in a tree of several levels of tiles.
#[test]
fn a_go_sum_of_thousands_of_lines_is_proved_in_batches() {
    const MODULES: u64 = 1_500;
    let directory = LogDirectory::new(NAME, NO_MODULES);
    grow(&directory, MODULES);
    let server = directory.serve();
    let developer = Developer::new("off", &server.gosumdb());
    let text: String = (0..MODULES).map(|i| logs::lines(i).to_text()).collect();
    developer.write("go.sum", &text);
    let (code, report) = developer.check_json(&["go.sum", "--jobs", "8"]);
    assert_eq!((code, counts(&report)), (0, vec![("proved".to_owned(), 2 * MODULES)]), "{report}");
    // One of them is another record's.
    let [wrong, right] = [700, 701].map(|i| logs::lines(i).zip.to_string());
    developer.write("go.sum", &text.replace(&wrong, &right));
    let (code, report) = developer.check_json(&["go.sum"]);
    let place = "go.sum:1401";
    assert_eq!((code, report["findings"][0]["place"].as_str()), (4, Some(place)), "{}", report["findings"]);
}

/// GOPRIVATE is there to keep names from others; GONOSUMDB, where somebody set it, keeps them from every log.
#[test]
fn private_names_are_asked_of_the_own_log() {
    let Some(world) = World::new("private_names_are_asked_of_the_own_log") else { return };
    world.download();
    let check = |environment: &[(&str, &str)]| world.developer.check_with(&["go.sum"], environment, "");
    let private = ("GOPRIVATE", "corp.example");
    let ran = check(&[private, ("GONOSUMDB", "")]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let ran = check(&[private, ("GONOSUMDB", "corp.example/lib,none.example")]);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    let said = "GONOSUMDB keeps its name from sum.corp.example";
    assert_eq!(ran.stdout.matches(said).count(), 2, "{}", ran.stdout);
    assert!(ran.stderr.contains("fix: check it against the log that has it"), "{}", ran.stderr);
}

#[test]
fn sum_golang_org_has_look_ups_only() {
    if !oracle::is_there("sum_golang_org_has_look_ups_only") {
        return;
    }
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sum.golang.org");
    let served = fixture.clone();
    let web = HostileServer::start(move |path| file(&served, path));
    let developer = Developer::new("off", &format!("sum.golang.org {}", web.url()));
    let lines = |module: &str| {
        let answer = std::fs::read_to_string(fixture.join("lookup").join(module)).unwrap();
        answer.lines().skip(1).take(2).map(|line| format!("{line}\n")).collect::<String>()
    };
    let go_sum = lines("rsc.io/quote@v1.5.2") + &lines("github.com/pkg/errors@v0.9.1");
    developer.write("go.sum", &go_sum);
    let ran = developer.check(&["go.sum"]);
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stderr.contains("it can be asked by look-ups only") && ran.stderr.contains("--notarize"),
        "{}",
        ran.stderr
    );
    assert_eq!(web.paths(), ["/api/v1/log"], "no name was told");
    let (code, report) = developer.check_json(&["go.sum", "--notarize"]);
    assert_eq!((code, counts(&report)), (0, vec![("proved".to_owned(), 4)]), "{report}");
    // What GOPRIVATE names is not told to a public log, and nobody believes that it was checked.
    let private = developer.with("GONOSUMDB", "").with("GOPRIVATE", "github.com/pkg");
    let ran = private.check(&["go.sum", "--notarize", "--json"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let want = vec![("not_checked".to_owned(), 2), ("proved".to_owned(), 2)];
    assert_eq!((ran.code, counts(&report)), (1, want), "{report}");
    assert_eq!(
        web.paths().iter().filter(|path| path.contains("github.com/pkg")).count(),
        1,
        "{:?}",
        web.paths()
    );
    // A directory of the log's files brings nothing in.
    let local = format!("sum.golang.org file://{}", fixture.display());
    let ran = private.check_with(&["go.sum"], &[("GOSUMDB", &local)], "");
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    // A proxy that answers a login page is no log.
    let page = HostileServer::start(|path| match path {
        "/api/v1/log" => Behaviour::not_found(),
        _ => Behaviour::ok("<html>please log in</html>"),
    });
    let gosumdb = format!("sum.golang.org {}", page.url());
    let ran = private.check_with(&["go.sum", "--notarize"], &[("GOSUMDB", &gosumdb)], "");
    assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("what answered is not the log"), "{}", ran.stderr);
}
