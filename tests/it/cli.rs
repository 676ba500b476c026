//! The real binary: what it prints, what it writes, how it ends.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics; clippy knows test functions, not their helpers"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Barrier;

use clap::{CommandFactory, Parser};
use tallystick::cli::Cli;
use tallystick::config::keys::{self, KeyFileError};
use tallystick::config::reference::SERVER;

const SUM_GOLANG_ORG: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

/// A directory of its own, in which the binary runs with an environment of its own and without a `go` command.
pub(crate) struct Sandbox {
    directory: tempfile::TempDir,
}

/// How a run ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> Sandbox {
        Sandbox { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A text with `~` for this directory.
    pub(crate) fn without_home(&self, text: &str) -> String {
        text.replace(self.directory.path().to_str().unwrap(), "~")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tallystick"));
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        command.env_clear().env("HOME", self.directory.path()).env("PATH", "/nonexistent");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    pub(crate) fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        Ran::of(self.command(arguments).envs(environment.iter().copied()).output().unwrap())
    }

    /// The stdout of a run that must succeed.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        ran.stdout
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.succeed(arguments)).unwrap()
    }

    fn key_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.path("tallystick-data/keys"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
    }
}

impl Ran {
    pub(crate) fn of(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A program of the machine, by the tests' own PATH; says loudly that a test cannot run without it.
pub(crate) fn installed(program: &str, test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: {test}: {program} is not installed");
    }
    found
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Names that a shell could misread; all are valid key names, which exclude spaces, control characters and `+` only.
const HOSTILE_NAMES: [&str; 5] =
    ["sum.corp.example", "it's", "$(touch/x)`id`$HOME\"", r"back\slash\\", "q\u{2019}!*?[a];&|<>(){}#~"];

#[test]
fn every_shell_reads_back_exactly_what_env_means() {
    let test = "cli::every_shell_reads_back_exactly_what_env_means";
    let sh = r#"eval "$1"; printf '%s|%s' "$GOSUMDB" "$GONOSUMDB""#;
    let fish = "printf '%s\n' $argv[1] | source; printf '%s|%s' $GOSUMDB $GONOSUMDB";
    let shells = [
        ("sh", "sh", vec!["-c", sh, "sh"]),
        ("dash", "sh", vec!["-c", sh, "sh"]),
        ("bash", "sh", vec!["-c", sh, "sh"]),
        ("zsh", "sh", vec!["-c", sh, "sh"]),
        ("fish", "fish", vec!["-c", fish]),
        ("pwsh", "powershell", vec!["-NoProfile", "-Command"]),
    ];
    for (program, dialect, arguments) in shells {
        let Some(program) = installed(program, test) else { continue };
        for name in HOSTILE_NAMES {
            let sandbox = Sandbox::new();
            sandbox.succeed(&["key", "new", "--name", name]);
            let script = sandbox.succeed(&["env", "--shell", dialect]);
            let vkey = sandbox.json(&["key", "show", "--json"])["vkey"].as_str().unwrap().to_owned();
            let script = match dialect {
                "powershell" => format!("{script}\n[Console]::Out.Write(\"$env:GOSUMDB|$env:GONOSUMDB\")"),
                _ => script,
            };
            let output = Command::new(&program)
                .args(&arguments)
                .arg(script)
                .env("HOME", sandbox.path(""))
                .output()
                .unwrap();
            let ran = Ran::of(output);
            assert_eq!(
                ran.stdout,
                format!("{vkey} http://127.0.0.1:8470|none"),
                "{program:?}: {}",
                ran.stderr
            );
        }
    }
}

#[test]
fn the_go_command_takes_the_go_env_lines() {
    let test = "cli::the_go_command_takes_the_go_env_lines";
    let (Some(go), Some(sh)) = (installed("go", test), installed("sh", test)) else { return };
    for name in HOSTILE_NAMES {
        let sandbox = Sandbox::new();
        sandbox.succeed(&["key", "new", "--name", name]);
        let answer = sandbox.json(&["env", "--json"]);
        let in_sandbox = |program: &Path| {
            let mut command = Command::new(program);
            let goenv = ("GOENV", sandbox.path("goenv"));
            command.env_remove("GOSUMDB").env_remove("GONOSUMDB").envs([goenv, ("HOME", sandbox.path(""))]);
            command
        };
        for line in answer["go_env_w"].as_array().unwrap() {
            let ran = Ran::of(in_sandbox(&sh).args(["-c", line.as_str().unwrap()]).output().unwrap());
            assert_eq!(ran.code, 0, "{line}: {}", ran.stderr);
        }
        for (variable, value) in answer["env"].as_object().unwrap() {
            let ran = Ran::of(in_sandbox(&go).args(["env", variable]).output().unwrap());
            assert_eq!(ran.stdout.trim_end(), value.as_str().unwrap());
        }
    }
}

#[test]
fn env_says_where_clients_connect() {
    let table = [
        ("listen = \"127.0.0.1:9000\"", "http://127.0.0.1:9000"),
        ("listen = \"0.0.0.0:9000\"", "http://127.0.0.1:9000"),
        ("listen = \"[::]:9000\"", "http://[::1]:9000"),
        ("url = \"https://sum.corp.example/\"", "https://sum.corp.example"),
        ("[tls]\ncert = \"c\"\nkey = \"k\"", "https://127.0.0.1:8470"),
    ];
    for (text, want) in table {
        let sandbox = Sandbox::new();
        sandbox.write("t.toml", text);
        sandbox.succeed(&["key", "new", "--config", "t.toml"]);
        assert_eq!(sandbox.json(&["env", "--config", "t.toml", "--json"])["url"], want, "{text}");
    }
}

#[test]
fn env_warns_where_goprivate_would_skip_the_log() {
    let sandbox = Sandbox::new();
    sandbox.succeed(&["key", "new"]);
    let ran = sandbox.run_with(&["env"], &[("GOPRIVATE", "corp.example/*")]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.stderr.starts_with("warning: GOPRIVATE (the default of GONOSUMDB) is \"corp.example/*\" here"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stdout.contains("warning"), "stdout is for eval");
    let json = sandbox.run_with(&["env", "--json"], &[("GOPRIVATE", "corp.example/*")]);
    let answer: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let warnings: Vec<&str> =
        answer["warnings"].as_array().unwrap().iter().filter_map(|w| w.as_str()).collect();
    let [bypass, address] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(bypass.starts_with("GOPRIVATE") && address.starts_with("no server of /"), "{warnings:?}");
}

/// Answers each connection with the next of `answers`, from another thread.
fn server(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..count]);
            }
            assert!(request.starts_with(b"GET /api/v1/log HTTP/1.1\r\n"));
            // The client may have hung up on an answer that is too long.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// The fingerprint is `printf %s <vkey> | sha256sum`.
#[test]
fn env_of_a_server_shows_the_fingerprint_to_compare() {
    let body = format!(
        r#"{{"name":"sum.golang.org","origin":"x","head":{{}},"keys":[{{"verifier":"old+00000000+AA","since":"2025-01-01T00:00:00Z","until":"2026-01-01T00:00:00Z"}},{{"verifier":"{SUM_GOLANG_ORG}","since":"2026-01-01T00:00:00Z"}}]}}"#
    );
    let url = server(vec![http("200 OK", &body)]);
    let ran = Sandbox::new().run(&["env", "--server", &format!("{url}/")]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout
            .starts_with(&format!("export GOSUMDB=\"{SUM_GOLANG_ORG} {url}\"\nexport GONOSUMDB=none\n")),
        "{}",
        ran.stdout
    );
    let fingerprint = "3e96 17dc e573 0053 cb82 f048 1b9d 289c d3c3 84a9 219e f550 9c91 aa60 d214 794e";
    assert!(ran.stderr.contains(fingerprint), "{}", ran.stderr);
}

#[test]
fn env_of_a_server_that_is_none_says_what_is_wrong() {
    let log = |name: &str, keys: &str| http("200 OK", &format!(r#"{{"name":"{name}","keys":[{keys}]}}"#));
    let key = |vkey: &str| format!(r#"{{"verifier":"{vkey}"}}"#);
    let table = [
        (http("404 Not Found", ""), 1, "answered 404 Not Found for /api/v1/log"),
        (http("503 Service Unavailable", ""), 3, "answered 503 Service Unavailable"),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n".to_owned(),
            1,
            "redirects elsewhere",
        ),
        (http("200 OK", "<html>"), 1, "is no Tallystick server"),
        (http("200 OK", &" ".repeat(70_000)), 1, "is longer than 65536 bytes"),
        (log("x", ""), 1, "names no key in use"),
        (log("x", &key("x+1")), 1, "gave a malformed key"),
        (
            log("other.example", &key(SUM_GOLANG_ORG)),
            4,
            "calls its log \"other.example\", but gave the key of \"sum.golang.org\"",
        ),
        (String::new(), 3, "the answer broke off after 0 bytes"),
    ];
    for (answer, code, text) in table {
        let url = server(vec![answer]);
        let ran = Sandbox::new().run(&["env", "--server", &url]);
        // Whoever evaluates it must not go on with another database.
        let refusal = "export GOSUMDB=tallystick-env-failed\nfalse\n";
        assert_eq!((ran.code, ran.stdout.as_str()), (code, refusal), "{text}: {}", ran.stderr);
        assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
    }
    // Nobody listens on a port that was just given back.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ran = Sandbox::new().run(&["env", "--server", &format!("http://ci:s3cret@{closed}")]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(!ran.stderr.contains("s3cret") && ran.stderr.contains("http://***@127.0.0.1"), "{}", ran.stderr);
}

#[test]
fn key_files_have_their_modes_and_are_never_overwritten() {
    let sandbox = Sandbox::new();
    sandbox.succeed(&["key", "new", "--name", "sum.corp.example/a"]);
    let files = sandbox.key_files();
    let [skey, vkey] = files.as_slice() else { panic!("{files:?}") };
    assert!(skey.file_name().unwrap().to_str().unwrap().starts_with("sum.corp.example%2Fa+"), "{skey:?}");
    assert_eq!((skey.extension().unwrap(), vkey.extension().unwrap()), ("skey".as_ref(), "vkey".as_ref()));
    assert_eq!((mode(skey), mode(vkey)), (0o600, 0o644));
    assert_eq!(
        (mode(&sandbox.path("tallystick-data/keys")), mode(&sandbox.path("tallystick-data"))),
        (0o700, 0o700)
    );
    let before = fs::read(skey).unwrap();
    assert!(before.starts_with(b"PRIVATE+KEY+sum.corp.example/a+") && before.ends_with(b"\n"));
    for arguments in [vec!["key", "new"], vec!["key", "new", "--name", "another.example"]] {
        let ran = sandbox.run(&arguments);
        assert_eq!(ran.code, 1);
        assert!(ran.stderr.contains("a key is never overwritten"), "{}", ran.stderr);
    }
    assert_eq!(sandbox.key_files(), files);
    assert_eq!(fs::read(skey).unwrap(), before);
}

#[test]
fn the_default_name_is_the_keys_own() {
    let (one, two) = (Sandbox::new(), Sandbox::new());
    let names = [&one, &two].map(|sandbox| {
        sandbox.succeed(&["key", "new"]);
        sandbox.json(&["key", "show", "--json"])["name"].as_str().unwrap().to_owned()
    });
    assert_ne!(names[0], names[1]);
    for name in names {
        let digits = name.strip_prefix("tallystick.local/").unwrap();
        assert!(digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    }
}

/// Each refusal comes before the server opens anything.
#[test]
fn serve_refuses_a_key_that_it_should_not_use() {
    type Spoil = fn(&Sandbox);
    let skey = |sandbox: &Sandbox| sandbox.key_files().remove(0);
    let table: [(&[&str], Spoil, i32, &str); 6] = [
        (
            &["serve", "--name", "other.example"],
            |_| {},
            2,
            "the name is \"other.example\", but the key in ~/tallystick-data/keys is that of \"sum.corp.example\"",
        ),
        (
            &["serve"],
            |sandbox| {
                // 0640 is accepted where root owns the file, as in a container.
                fs::set_permissions(sandbox.key_files().remove(0), fs::Permissions::from_mode(0o644)).unwrap()
            },
            2,
            "has mode 0644",
        ),
        (
            &["serve"],
            |sandbox| fs::write(sandbox.key_files().remove(0), "PRIVATE+KEY+no").unwrap(),
            4,
            "fix: put the right key file back",
        ),
        (
            &["serve"],
            |sandbox| fs::write(sandbox.key_files().remove(0), " ".repeat(5000)).unwrap(),
            4,
            "it is longer than 4096 bytes",
        ),
        (
            &["serve"],
            |sandbox| fs::write(sandbox.key_files().remove(1), SUM_GOLANG_ORG).unwrap(),
            4,
            "is not the verifier key of the secret key beside it",
        ),
        (
            &["serve"],
            |sandbox| {
                let other = Sandbox::new();
                other.succeed(&["key", "new", "--name", "sum.corp.example"]);
                let from = other.key_files().remove(0);
                fs::copy(&from, sandbox.path("tallystick-data/keys").join(from.file_name().unwrap()))
                    .unwrap();
            },
            2,
            "tallystick-data/keys holds 2 keys",
        ),
    ];
    for (arguments, spoil, code, text) in table {
        let sandbox = Sandbox::new();
        sandbox.succeed(&["key", "new", "--name", "sum.corp.example"]);
        let secret = fs::read_to_string(skey(&sandbox)).unwrap();
        spoil(&sandbox);
        let ran = sandbox.run(arguments);
        assert_eq!(ran.code, code, "{text}: {}", ran.stderr);
        let said = sandbox.without_home(&ran.stderr);
        assert!(said.contains(text) && said.contains("fix: "), "{text}: {}", ran.stderr);
        assert!(!ran.stderr.contains(secret.trim_end()));
    }
}

#[test]
fn a_missing_public_file_is_made_again() {
    let sandbox = Sandbox::new();
    let shown = sandbox.succeed(&["key", "new", "--json"]);
    fs::remove_file(sandbox.key_files().remove(1)).unwrap();
    assert_eq!(sandbox.succeed(&["key", "show", "--json"]), shown);
    assert_eq!(sandbox.key_files().len(), 2);
}

/// What a crash while a key is made can leave behind: the temporary file, or the secret file alone.
#[test]
fn an_unfinished_key_is_no_key() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("tallystick-data/keys")).unwrap();
    sandbox.write("tallystick-data/keys/.new-AbCdEf", "PRIVATE+KEY+su");
    assert_eq!(sandbox.run(&["key", "show"]).code, 2);
    sandbox.succeed(&["key", "new"]);
}

#[test]
fn two_first_starts_make_one_key() {
    let sandbox = Sandbox::new();
    let data = sandbox.path("data");
    let barrier = Barrier::new(8);
    let made: Vec<(String, bool)> = std::thread::scope(|scope| {
        let start = || {
            barrier.wait();
            let (key, is_new) = keys::load_or_create(&data, None, |_| Ok(())).unwrap();
            (key.verifier().to_string(), is_new)
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(made.iter().filter(|(_, is_new)| *is_new).count(), 1);
    assert!(made.iter().all(|(key, _)| *key == made[0].0));
    assert!(matches!(keys::create(&data, None, |_| Ok(())), Err(KeyFileError::Exists { .. })));
}

#[test]
fn bad_names_make_no_key() {
    for name in ["", "a b", "a+b", "a\u{7}b", &"x".repeat(201)] {
        let sandbox = Sandbox::new();
        let ran = sandbox.run(&["key", "new", "--name", name]);
        assert_eq!(ran.code, 2, "{name:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("fix: use the host name"), "{}", ran.stderr);
        assert!(!sandbox.path("tallystick-data/keys").exists() || sandbox.key_files().is_empty());
    }
}

#[test]
fn completions_are_there_for_every_shell() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = sandbox.succeed(&["completions", shell]);
        for word in ["serve", "lookup", "fsck", "metrics-listen"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
        if let "bash" | "zsh" | "fish" = shell
            && let Some(program) = installed(shell, "cli::completions_are_there_for_every_shell")
        {
            sandbox.write("script", &script);
            let ran = Ran::of(Command::new(program).arg("-n").arg(sandbox.path("script")).output().unwrap());
            assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{shell}");
        }
    }
}

/// All commands with their subcommands.
fn commands() -> Vec<clap::Command> {
    let mut all = vec![Cli::command()];
    let mut next = 0;
    while next < all.len() {
        let below: Vec<clap::Command> = all[next].get_subcommands().cloned().collect();
        all.extend(below);
        next += 1;
    }
    all
}

/// The words of an example, without what the shell does around the command.
fn words(line: &str) -> Vec<String> {
    let line = &line[line.find("tallystick ").unwrap()..];
    let end = [" | ", " > ", ")", "\")"].iter().filter_map(|end| line.find(end)).min().unwrap_or(line.len());
    line[..end].split_whitespace().map(str::to_owned).collect()
}

#[test]
fn every_example_in_the_help_parses() {
    let mut examples = 0;
    for command in commands().iter().filter(|command| command.get_name() != "help") {
        let Some(help) = command.get_after_help().map(ToString::to_string) else {
            continue;
        };
        let (_, listed) =
            help.split_once("Examples:\n").unwrap_or_else(|| panic!("{}: no examples", command.get_name()));
        for line in listed.lines().take_while(|line| line.starts_with("  ")) {
            examples += 1;
            let words = words(line);
            Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
    }
    assert!(examples >= 20, "only {examples} examples were found");
    for command in Cli::command().get_subcommands() {
        assert!(command.get_after_help().is_some(), "{} --help has no examples", command.get_name());
    }
}

#[test]
fn every_flag_of_the_reference_is_a_flag_of_serve() {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let flags: Vec<String> = serve
        .get_arguments()
        .chain(command.get_arguments())
        .filter_map(|argument| argument.get_long().map(|long| format!("--{long}")))
        .collect();
    for flag in SERVER.keys.iter().filter_map(|key| key.flag) {
        assert!(flags.iter().any(|known| known == flag), "{flag}");
    }
}

#[test]
fn commands_end_with_the_code_of_the_design() {
    let table: [(&[&str], i32, &str); 11] = [
        (&["--help"], 0, ""),
        (&["--version"], 0, ""),
        (&["serve", "--help"], 0, ""),
        (&[], 2, "Usage: tallystick"),
        (&["sreve"], 2, "serve"),
        (&["serve", "--listen", "nowhere"], 2, "invalid socket address"),
        (&["lookup", "rsc.io/quote"], 2, "MODULE@VERSION"),
        (&["import", "go.sum", "--trust"], 2, "--importer"),
        (&["env", "--json", "--shell", "sh"], 2, "cannot be used with"),
        (&["env"], 2, "there is no key in ~/tallystick-data/keys"),
        (&["key", "show", "--config", "missing.toml"], 2, "missing.toml:1: cannot read the configuration"),
    ];
    for (arguments, code, text) in table {
        let sandbox = Sandbox::new();
        let ran = sandbox.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.stderr);
        let stderr = sandbox.without_home(&ran.stderr);
        assert!(stderr.contains(text), "{arguments:?}: {}", ran.stderr);
        assert!(
            !ran.stderr.contains('\u{1b}') && !ran.stdout.contains('\u{1b}'),
            "colours without a terminal"
        );
    }
}
