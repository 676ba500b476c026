//! `env`: the address where the server really listens, the expected key, the formats of CI servers, and the way back.

use super::*;
use crate::cli::installed;

fn text<'a>(value: &'a serde_json::Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

fn run(directory: &LogDirectory, arguments: &[&str]) -> Ran {
    let config = directory.config();
    sandbox().run(&[&["env", "--config", config.to_str().unwrap()], arguments].concat())
}

#[test]
fn env_of_a_data_directory_finds_its_server() {
    let (directory, server) = served(None);
    let ran = run(&directory, &[]);
    assert_eq!((gosumdb(&ran), ran.stderr.as_str()), (server.gosumdb().as_str(), ""));
    server.stop();
    let ran = run(&directory, &[]);
    let doubt = "the address http://127.0.0.1:8470 is that of the configuration";
    assert!(
        ran.stderr.starts_with("warning: no server of /") && ran.stderr.contains(doubt),
        "{}",
        ran.stderr
    );
    assert!(gosumdb(&ran).ends_with(" http://127.0.0.1:8470"));
}

/// Others that name the log's own address, too.
#[test]
fn gossip_and_the_policy_find_the_running_server() {
    let (directory, server) = served(None);
    let config = directory.config();
    let sandbox = sandbox();
    let ran = sandbox.run(&["--config", config.to_str().unwrap(), "witnesses", "policy"]);
    assert!(ran.stdout.contains(&format!(" {}/tlog\n", server.url)), "{} {}", ran.stdout, ran.stderr);
    sandbox.write("head", "no head");
    let ran = sandbox.run(&["--config", config.to_str().unwrap(), "gossip", "--head", "head", "--json"]);
    assert!(ran.stdout.contains("\"status\": 400"), "{} {}", ran.stdout, ran.stderr);
}

#[test]
fn the_configured_address_must_have_the_same_key() {
    let (directory, _server) = served(None);
    let other = LogDirectory::new("other.example", NO_SOURCE);
    let other_server = other.serve();
    let configure =
        |url: &str| directory.configure("sum.corp.example", &format!("url = \"{url}\"\n{NO_SOURCE}"));
    configure(&other_server.url);
    let ran = run(&directory, &[]);
    let cause = format!("another log answers at {}: its key is {}", other_server.url, other_server.vkey);
    assert_advised("another log", &ran, 4, &cause, "set `url` to the address");
    assert_eq!(ran.stdout, "export GOSUMDB=tallystick-env-failed\nfalse\n");
    // A load balancer need not be reachable from here.
    configure("http://sum.invalid");
    let ran = run(&directory, &[]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.stderr.starts_with("warning: nobody could see whether this log answers at http://sum.invalid")
    );
    assert!(gosumdb(&ran).ends_with(" http://sum.invalid"));
}

#[test]
fn an_expected_fingerprint_is_compared() {
    let (directory, server) = served(None);
    let sandbox = sandbox();
    let config = directory.config();
    let key = sandbox.succeed(&["key", "show", "--json", "--config", config.to_str().unwrap()]);
    let key: serde_json::Value = serde_json::from_str(&key).unwrap();
    let right = text(&key, "fingerprint");
    let wrong = right.replace(right.chars().next().unwrap(), if right.starts_with('0') { "1" } else { "0" });
    let asked = sandbox.run(&env_of(&server.url));
    let how = "ask the log's operator for the fingerprint by another way than this network";
    assert!(asked.stderr.contains(how) && asked.stderr.contains(right), "{}", asked.stderr);
    for by in [vec!["--server", server.url.as_str()], vec!["--config", config.to_str().unwrap()]] {
        let with = |more: &[&str]| sandbox.run(&[&["env"], by.as_slice(), more].concat());
        let ran = with(&["--expect-fingerprint", right]);
        assert_eq!((ran.code, gosumdb(&ran), ran.stderr.as_str()), (0, server.gosumdb().as_str(), ""));
        let ran = with(&["--expect-fingerprint", &wrong, "--shell", "github"]);
        assert_advised(
            "wrong",
            &ran,
            4,
            &format!("its fingerprint is\n  {right}\n  and not\n  {wrong}\n"),
            how,
        );
        assert_eq!(ran.stdout, "GOSUMDB=tallystick-env-failed\n");
    }
    assert_eq!(sandbox.run(&["env", "--expect-fingerprint", "3e96"]).code, 2);
}

/// The formats as their readers read them: GitHub's runner splits at the first equals sign, GitLab's server at the first or,
/// in older versions, the last; a shell and python-dotenv read a .env file.
#[test]
fn ci_servers_read_exactly_what_env_means() {
    let (directory, server) = served(None);
    let want = [("GOSUMDB".to_owned(), server.gosumdb()), ("GONOSUMDB".to_owned(), "none".to_owned())];
    for shell in ["github", "gitlab"] {
        let ran = run(&directory, &["--shell", shell]);
        let lines = ran.stdout.lines();
        assert!(ran.stdout.ends_with('\n') && !ran.stdout.contains('#'), "{}", ran.stdout);
        let first: Vec<_> = lines.clone().map(|line| line.split_once('=').unwrap()).collect();
        let last: Vec<_> = lines.map(|line| line.rsplit_once('=').unwrap()).collect();
        assert_eq!(first, want.each_ref().map(|(name, value)| (name.as_str(), value.as_str())));
        assert_eq!(first, last, "{shell}");
        assert!(ran.stderr.starts_with("note: the ") && ran.stderr.contains(" undo "), "{}", ran.stderr);
    }
    let ran = run(&directory, &["--shell", "dotenv"]);
    assert!(ran.stdout.contains("# To undo it"), "{}", ran.stdout);
    let sandbox = sandbox();
    sandbox.write(".env", &ran.stdout);
    let shown = format!("{}|none", server.gosumdb());
    let test = "ci_servers_read_exactly_what_env_means";
    let read = "set -a; . ./.env; printf '%s|%s' \"$GOSUMDB\" \"$GONOSUMDB\"";
    let python =
        "import dotenv; v = dotenv.dotenv_values('.env'); print(v['GOSUMDB'] + '|' + v['GONOSUMDB'], end='')";
    for (program, arguments) in [("sh", ["-c", read]), ("python3", ["-c", python])] {
        let Some(found) = installed(program, test) else { continue };
        let output = Command::new(found).args(arguments).current_dir(sandbox.path("")).output().unwrap();
        let ran = Ran::of(output);
        if ran.stderr.contains("No module named 'dotenv'") {
            eprintln!("SKIPPED: {test}: python-dotenv is not installed");
            continue;
        }
        assert_eq!(ran.stdout, shown, "{program}: {}", ran.stderr);
    }
}

#[test]
fn what_a_format_cannot_hold_is_refused() {
    let sandbox = sandbox();
    sandbox.succeed(&["key", "new", "--name", "a$b='c"]);
    for (shell, character) in [("gitlab", '$'), ("dotenv", '$')] {
        let ran = sandbox.run(&["env", "--shell", shell]);
        let cause = format!("GOSUMDB has the character {character:?}");
        assert_advised(shell, &ran, 2, &cause, "use --shell sh");
        assert_eq!(ran.stdout, "GOSUMDB=tallystick-env-failed\n");
    }
    let ran = sandbox.run(&["env", "--shell", "github"]);
    assert!(ran.code == 0 && ran.stdout.starts_with("GOSUMDB=a$b='c+"), "{}", ran.stdout);
}

/// The comments are the way back: the lines after "To undo" are evaluated as they stand.
#[test]
fn the_undo_lines_restore_what_was_set() {
    let test = "the_undo_lines_restore_what_was_set";
    let sandbox = sandbox();
    sandbox.succeed(&["key", "new"]);
    let sh = r#"eval "$1"; eval "$2"; printf '%s|%s' "${GOSUMDB-unset}" "${GONOSUMDB-unset}""#;
    let fish = "printf '%s\n' $argv[1] | source; printf '%s\n' $argv[2] | source; \
                set -q GOSUMDB; or set GOSUMDB unset; set -q GONOSUMDB; or set GONOSUMDB unset; \
                printf '%s|%s' $GOSUMDB $GONOSUMDB";
    for (program, dialect, arguments) in
        [("sh", "sh", vec!["-c", sh, "sh"]), ("fish", "fish", vec!["-c", fish])]
    {
        let Some(program) = installed(program, test) else { continue };
        for before in [None, Some("it's $old`x`"), Some("two\nlines")] {
            let environment: Vec<(&str, &str)> = before.map(|value| ("GOSUMDB", value)).into_iter().collect();
            let script = sandbox.run_with(&["env", "--shell", dialect], &environment).stdout;
            let undo: Vec<&str> = script.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
            // The two lines for `go env -w` come first.
            let undo = undo[2..].join("\n");
            let mut shell = Command::new(&program);
            shell
                .args(&arguments)
                .args([&script, &undo])
                .env("HOME", sandbox.path(""))
                .env_remove("GONOSUMDB");
            shell.env_remove("GOSUMDB").envs(environment.iter().copied());
            let ran = Ran::of(shell.output().unwrap());
            // What a comment cannot hold is only taken away.
            let want = before.filter(|value| !value.contains('\n')).unwrap_or("unset");
            assert_eq!(ran.stdout, format!("{want}|unset"), "{program:?}: {undo} {}", ran.stderr);
        }
    }
}
