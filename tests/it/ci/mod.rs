//! deploy/ci: the scripts of the job files, run as the CI servers run them, beside a log, in a project that is whole or has one
//! fault. What only a CI server can do (checking out, keeping artifacts) is left out, and that it is asked for is checked.

mod jobs;

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jobs::{Github, Gitlab, Outcome};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::cli::{Ran, installed};
use crate::support::serve::{LogDirectory, Server};

const BILLING: &str = "corp.example/billing";
const OTHER: &str = "corp.example/other";

/// A log that has one of two modules, a project that needs what it is made with, and where both come from.
struct World {
    root: TempDir,
    log: LogDirectory,
    server: Option<Server>,
    /// What an organization sets: the five variables.
    variables: Vec<(&'static str, String)>,
}

impl World {
    fn new(modules: &[&str]) -> World {
        let root = TempDir::new().unwrap();
        for module in [BILLING, OTHER] {
            publish(&root.path().join("goproxy"), module);
        }
        let route = format!(
            "[[route]]\nmodules = [\"corp.example/*\"]\nsource = [\"file://{}\"]\nchecksum = \"compute\"\n",
            root.path().join("goproxy").display()
        );
        let log = LogDirectory::new("sum.corp.example", &route);
        let server = log.serve();
        let mut world = World { root, log, server: Some(server), variables: Vec::new() };
        world.tallystick(&["lookup", &format!("{BILLING}@v1.0.0"), "--notarize"]);
        world.make_project(modules);
        let binary = env!("CARGO_BIN_EXE_tallystick");
        let digest = Sha256::digest(std::fs::read(binary).unwrap());
        let key: serde_json::Value =
            serde_json::from_str(&world.tallystick(&["key", "show", "--json"])).unwrap();
        world.variables = vec![
            ("TALLYSTICK_SERVER", world.server.as_ref().unwrap().url.clone()),
            ("TALLYSTICK_FINGERPRINT", key["fingerprint"].as_str().unwrap().to_owned()),
            ("TALLYSTICK_DOWNLOAD", format!("file://{binary}")),
            ("TALLYSTICK_SHA256", digest.iter().map(|byte| format!("{byte:02x}")).collect()),
            ("TALLYSTICK_MODE", "block".to_owned()),
        ];
        world
    }

    fn tallystick(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tallystick"));
        let output = command.arg("--config").arg(self.log.config()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn project(&self) -> PathBuf {
        self.root.path().join("project")
    }

    /// A project whose go.sum the `go` command itself has written, without any database.
    fn make_project(&self, modules: &[&str]) {
        let project = self.project();
        std::fs::create_dir(&project).unwrap();
        let imports: String = modules.iter().map(|module| format!("import _ \"{module}\"\n")).collect();
        std::fs::write(project.join("main.go"), format!("package main\n\n{imports}\nfunc main() {{}}\n"))
            .unwrap();
        let requires: String = modules.iter().map(|module| format!("require {module} v1.0.0\n")).collect();
        let text = format!("module corp.example/project\n\ngo 1.21\n\n{requires}");
        std::fs::write(project.join("go.mod"), text).unwrap();
        let mut tidy = Command::new("go");
        tidy.args(["mod", "tidy"]).current_dir(&project).envs(self.environment());
        let ran = Ran::of(tidy.env("GOSUMDB", "off").output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }

    /// What a runner has by itself.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let root = self.root.path().display();
        vec![
            ("PATH", std::env::var("PATH").unwrap()),
            ("HOME", format!("{root}/home")),
            ("GOPATH", format!("{root}/go")),
            ("GOCACHE", format!("{root}/gocache")),
            ("GOPROXY", format!("file://{root}/goproxy")),
            ("GOFLAGS", "-modcacherw".to_owned()),
            ("GOTOOLCHAIN", "local".to_owned()),
            ("GOENV", "off".to_owned()),
        ]
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.iter_mut().find(|(known, _)| *known == name).unwrap().1 = value.to_owned();
    }

    /// Runs both job files, each in a checkout of its own.
    fn run(&self) -> [Outcome; 2] {
        let checkout = |name: &str| {
            let directory = self.root.path().join(name);
            // A run before this one may have left its own.
            let _ = std::fs::remove_dir_all(&directory);
            std::fs::create_dir(&directory).unwrap();
            for file in ["go.mod", "go.sum", "main.go"] {
                std::fs::copy(self.project().join(file), directory.join(file)).unwrap();
            }
            directory
        };
        let (environment, variables) = (self.environment(), self.variables.as_slice());
        let github = Github { checkout: &checkout("github"), environment: &environment, variables };
        let gitlab = Gitlab { checkout: &checkout("gitlab"), environment: &environment, variables };
        [github.run(), gitlab.run()]
    }
}

/// Puts a module with one package where GOPROXY finds it.
fn publish(goproxy: &Path, module: &str) {
    let directory = goproxy.join(module).join("@v");
    std::fs::create_dir_all(&directory).unwrap();
    let go_mod = format!("module {module}\n\ngo 1.21\n");
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [("go.mod", go_mod.as_str()), ("x.go", "package x\n")] {
        zip.start_file(format!("{module}@v1.0.0/{name}"), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    std::fs::write(directory.join("v1.0.0.zip"), zip.finish().unwrap().into_inner()).unwrap();
    std::fs::write(directory.join("v1.0.0.mod"), go_mod).unwrap();
    std::fs::write(directory.join("v1.0.0.info"), "{\"Version\":\"v1.0.0\"}").unwrap();
    std::fs::write(directory.join("list"), "v1.0.0\n").unwrap();
}

/// Whether what the jobs need is installed; says loudly what is not.
fn ready(test: &str) -> bool {
    let programs = ["bash", "curl", "sha256sum", "go", "python3"];
    if programs.iter().any(|program| installed(program, test).is_none()) {
        return false;
    }
    let yaml = Command::new("python3").args(["-c", "import yaml"]).stderr(Stdio::null()).status();
    let has_yaml = yaml.is_ok_and(|status| status.success());
    if !has_yaml {
        eprintln!("SKIPPED: {test}: python3 has no yaml (Debian: apt-get install python3-yaml)");
    }
    has_yaml
}

#[test]
fn a_whole_project_passes_and_its_report_is_archived() {
    if !ready("a_whole_project_passes_and_its_report_is_archived") {
        return;
    }
    let world = World::new(&[BILLING]);
    for outcome in world.run() {
        assert_eq!(outcome.code, 0, "{outcome}");
        let server = world.server.as_ref().unwrap();
        assert_eq!(outcome.variable("GOSUMDB"), server.gosumdb(), "{outcome}");
        assert_eq!(outcome.variable("GONOSUMDB"), "none", "{outcome}");
        assert!(outcome.archived.iter().all(|file| file.is_file()), "{:?}", outcome.archived);
    }
}

#[test]
fn what_the_log_does_not_have_blocks_or_alerts() {
    if !ready("what_the_log_does_not_have_blocks_or_alerts") {
        return;
    }
    let mut world = World::new(&[BILLING, OTHER]);
    for outcome in world.run() {
        assert_eq!((outcome.code, outcome.is_warning), (1, false), "{outcome}");
        assert!(outcome.printed.contains(OTHER), "{outcome}");
        assert!(outcome.archived.iter().all(|file| file.is_file()), "{:?}", outcome.archived);
    }
    world.set("TALLYSTICK_MODE", "alert");
    for outcome in world.run() {
        assert!(outcome.is_warning, "{outcome}");
    }
}

#[test]
fn a_line_that_differs_fails_in_either_mode() {
    if !ready("a_line_that_differs_fails_in_either_mode") {
        return;
    }
    let mut world = World::new(&[BILLING]);
    let path = world.project().join("go.sum");
    let text = std::fs::read_to_string(&path).unwrap();
    // Another hash of the right form.
    let (first, rest) = text.split_once('\n').unwrap();
    let (before, hash) = first.split_once("h1:").unwrap();
    let other = if hash.starts_with('A') { "B" } else { "A" };
    std::fs::write(&path, format!("{before}h1:{other}{}\n{rest}", &hash[1..])).unwrap();
    for mode in ["block", "alert"] {
        world.set("TALLYSTICK_MODE", mode);
        for outcome in world.run() {
            assert_eq!((outcome.code, outcome.is_warning), (4, false), "{mode}: {outcome}");
            assert!(outcome.printed.contains("go.sum"), "{mode}: {outcome}");
            assert!(outcome.archived.iter().all(|file| file.is_file()), "{:?}", outcome.archived);
        }
    }
}

#[test]
fn another_server_program_or_key_ends_before_anything_is_downloaded() {
    if !ready("another_server_program_or_key_ends_before_anything_is_downloaded") {
        return;
    }
    let mut world = World::new(&[BILLING]);
    let right = world.variables.clone();
    let zeros = "0".repeat(64);
    for (variable, value, code) in [
        ("TALLYSTICK_FINGERPRINT", zeros.as_str(), 4),
        ("TALLYSTICK_FINGERPRINT", "", 2),
        ("TALLYSTICK_SHA256", &zeros, 1),
    ] {
        world.set(variable, value);
        for outcome in world.run() {
            assert_eq!(outcome.code, code, "{variable}={value}: {outcome}");
        }
        world.variables.clone_from(&right);
    }
    world.server.take().unwrap().stop();
    for outcome in world.run() {
        assert_eq!(outcome.code, 3, "{outcome}");
        assert!(outcome.printed.contains("fix: start the server"), "{outcome}");
    }
}
