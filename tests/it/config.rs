//! The configuration through the real binary (`config check`, `config show`): every error with its words, the origin
//! of every value, what is hidden, and what is made out of the go command's own settings.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use tallystick::config::reference::{self, KEYS};
use tallystick::config::{Checksum, Config, Environment, GoEnvironment, Overrides};

use crate::cli::{Ran, Sandbox, installed};

/// The example of the manual.
const EXAMPLE: &str = r#"
name   = "sum.corp.example"
data   = "data"                        # directory: log database, keys, anchor
listen = "127.0.0.1:8470"

[sumdb."sum.golang.org"]               # a remote checksum database that we verify
key  = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
urls = ["https://sum.golang.org"]      # or the passthrough of a module proxy; tried in order

[[route]]
modules  = ["corp.example/*"]
source   = ["file:///srv/goproxy"]     # a GOPROXY list, http, https or file; "direct" = version control
checksum = "compute"                   # hash what the source serves

[[route]]
modules  = ["*"]
source   = ["https://goproxy.example"]
checksum = "sum.golang.org"            # take the lines from that database, verified; no zip is downloaded
"#;

fn check(text: &str) -> Ran {
    let sandbox = Sandbox::new();
    sandbox.write("t.toml", text);
    sandbox.run(&["config", "check", "--config", "t.toml"])
}

fn load(text: &str) -> Config {
    let sandbox = Sandbox::new();
    sandbox.write("t.toml", text);
    let overrides = Overrides { config: Some(sandbox.path("t.toml")), ..Overrides::default() };
    Config::load(&overrides, &Environment::default()).unwrap()
}

/// `config show --json` as (value, origin) of a key.
struct Shown(Value);

impl Shown {
    fn of(ran: &Ran) -> Shown {
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        Shown(serde_json::from_str(&ran.stdout).unwrap())
    }

    fn row(&self, key: &str) -> (&Value, &str) {
        let row = self.0["settings"].as_array().unwrap().iter().find(|row| row["key"] == key);
        let row = row.unwrap_or_else(|| panic!("no row {key}"));
        (&row["value"], row["origin"].as_str().unwrap())
    }

    fn notices(&self) -> String {
        self.0["notices"].to_string()
    }
}

/// Each fault of a file, with all that the user reads about it.
#[test]
fn every_fault_is_named_with_place_cause_and_fix() {
    let route = |modules: &str, rest: &str| format!("[[route]]\nmodules = {modules}\n{rest}\n");
    let public = route("[\"*\"]", "checksum = \"sum.golang.org\"");
    let compute = "source = [\"https://p.example\"]\nchecksum = \"compute\"";
    let table: Vec<(String, &str)> = vec![
        // The text.
        ("name = ".into(), "t.toml:1: not valid TOML: string values must be quoted, expected literal string\n  fix: correct this line"),
        ("\nname = \"a\"\nname = \"b\"".into(), "t.toml:3: not valid TOML: duplicate key"),
        // Unknown keys.
        ("lisen = 1".into(), "t.toml:1: unknown key `lisen`\n  fix: did you mean `listen`?"),
        ("[limits]\n\ndedline_seconds = 1".into(), "t.toml:3: unknown key `limits.dedline_seconds`\n  fix: did you mean `limits.deadline_seconds`?"),
        ("negative_cache_seconds = 1".into(), "t.toml:1: unknown key `negative_cache_seconds`\n  fix: did you mean `limits.negative_cache_seconds`?"),
        ("[limit]\nconcurrency = 1".into(), "t.toml:1: unknown key `limit`"),
        ("frobnicate = 1".into(), "t.toml:1: unknown key `frobnicate`\n  fix: remove it; `tallystick config show` lists every key"),
        ("[sumdb.\"x.example\"]\nurl = 1".into(), "t.toml:2: unknown key `sumdb.x.example.url`\n  fix: did you mean `sumdb.*.urls`"),
        (format!("{public}sources = []"), "t.toml:4: unknown key `route.1.sources`\n  fix: did you mean `route.*.source`?"),
        // Values.
        ("listen = \"127.0.0.1\"".into(), "t.toml:1: `listen` has a wrong value: invalid socket address syntax\n  fix: write listen = \"127.0.0.1:8470\" (address and port)"),
        ("data = 1".into(), "t.toml:1: `data` has a wrong value: invalid type: integer `1`, expected path string"),
        ("limits = 3".into(), "t.toml:1: not valid TOML: invalid type: integer `3`"),
        ("log_format = \"xml\"".into(), "t.toml:1: `log_format` has a wrong value: it is neither text nor json\n  fix: write log_format = \"json\" (`text` or `json`)"),
        ("log_filter = \"tallystick=loud\"".into(), "t.toml:1: `log_filter` has a wrong value: "),
        ("trusted_proxies = [\"10.0.0.0/40\"]".into(), "t.toml:1: `trusted_proxies` has a wrong value: `10.0.0.0/40` is no address or network"),
        ("url = \"sum.corp.example\"".into(), "t.toml:1: `url` has a wrong value: is not a URL"),
        ("url = \"ftp://sum.corp.example\"".into(), "t.toml:1: `url` has a wrong value: has the scheme `ftp:`"),
        ("url = \"https://a:b@sum.corp.example\"".into(), "t.toml:1: `url` holds credentials or a query, and every client would see them\n  fix: leave them out"),
        ("name = \"a b\"".into(), "t.toml:1: `name` is no name of a log: "),
        ("name = \"sum.golang.org\"".into(), "t.toml:1: `name` is the name of a remote checksum database\n  fix: give this log a name of its own"),
        ("metrics_listen = \"127.0.0.1:8470\"".into(), "t.toml:1: `metrics_listen` is the same address as `listen`\n  fix: give it another port"),
        ("[tls]\ncert = \"c.pem\"".into(), "t.toml:2: `tls.cert` is set without `tls.key`\n  fix: set both, or neither"),
        ("[tls]\nkey = \"k.pem\"".into(), "t.toml:2: `tls.key` is set without `tls.cert`"),
        ("[tls]\ncert = \"c.pem\"\nkey = \"k.pem\"".into(), "t.toml:2: `tls.cert` names c.pem, which cannot be read: No such file"),
        ("roots = \"ca.pem\"".into(), "t.toml:1: `roots` names ca.pem, which cannot be read"),
        ("git_config = \"gitconfig\"".into(), "t.toml:1: `git_config` names gitconfig, which cannot be read"),
        ("[limits]\nnegative_cache_seconds = 61".into(), "t.toml:2: `limits.negative_cache_seconds` has a wrong value: 61 is not between 0 and 60\n  fix: write negative_cache_seconds = 30 (0 to 60)"),
        ("[limits]\ndeadline_seconds = 0".into(), "t.toml:2: `limits.deadline_seconds` has a wrong value: 0 is not between 1 and 600"),
        ("[limits]\nconcurrency = -1".into(), "t.toml:2: `limits.concurrency` has a wrong value: invalid value: integer `-1`, expected u64"),
        ("[limits]\nzip_bytes = 524288001".into(), "524288001 is not between 1 and 524288000"),
        ("[limits]\nclient_misses_per_minute = 0".into(), "0 is not between 1 and 1000000"),
        ("[limits]\nmisses_per_minute = 0".into(), "0 is not between 1 and 10000000"),
        ("[cache]\ntile_bytes = 1099511627777".into(), "`cache.tile_bytes` has a wrong value: 1099511627777 is not between"),
        // Checksum databases.
        ("[sumdb.\"x.example\"]\nurls = [\"https://x.example\"]".into(), "t.toml:1: `sumdb.x.example.key` is missing\n  fix: add key = "),
        ("[sumdb.\"sum.golang.org\"]\nurls = []".into(), "t.toml:2: `sumdb.sum.golang.org.urls` has a wrong value: the list is empty"),
        ("[sumdb.\"sum.golang.org\"]\nurls = [\"file:///x\"]".into(), "t.toml:2: `sumdb.sum.golang.org.urls` has a wrong value: it has the scheme `file:`"),
        ("[sumdb.\"x.example\"]\nkey = \"sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8\"\nurls = [\"https://x.example\"]".into(), "t.toml:2: `sumdb.x.example.key` has a wrong value: it is the key of \"sum.golang.org\""),
        ("[sumdb.\"sum.golang.org\"]\nkey = \"sum.golang.org\"".into(), "t.toml:2: `sumdb.sum.golang.org.key` has a wrong value: "),
        ("[sumdb.\"sum.golang.org\"]\nurls = [\"http://127.0.0.1:8470/sumdb/sum.golang.org\"]".into(), "leads back to this server (http://127.0.0.1:8470/sumdb/sum.golang.org), so that a miss would ask itself"),
        // Routes.
        (route("[\"*\"]", ""), "t.toml:1: not valid TOML: missing field `checksum`"),
        ("[[route]]\nchecksum = \"compute\"".into(), "t.toml:1: not valid TOML: missing field `modules`"),
        (route("[]", compute), "t.toml:2: `route.1.modules` has a wrong value: the list is empty"),
        (route("[\"a.example,b.example\"]", compute), "`a.example,b.example` holds a comma or a space: each pattern is its own element"),
        (route("[\"https://a.example\"]", compute), "`https://a.example` is a URL: module paths have no scheme"),
        (route("[\"/a.example\"]", compute), "`/a.example` has an empty path element"),
        (route("[\"\"]", compute), "`` is empty"),
        (route("[\"a.example/[x\"]", compute), "`a.example/[x` is not a complete pattern"),
        (route("[\"a.example\"]", "source = [\"off\"]\nchecksum = \"compute\""), "t.toml:3: `route.1.source` has a wrong value: it is \"off\", which forbids every source"),
        (route("[\"a.example\"]", "source = [\"ssh://git.a.example\"]\nchecksum = \"compute\""), "it has the scheme `ssh:`"),
        (route("[\"a.example\"]", "source = [\"http://u:s3cret@p.example\"]\nchecksum = \"compute\""), "it holds credentials, which http would send in the clear"),
        (route("[\"a.example\"]", "checksum = \"compute\""), "t.toml:1: `route.1.source` is missing, and checksum = \"compute\" has nothing to hash without it"),
        (route("[\"a.example\"]", "source = [\"file:///nonexistent/dir\"]\nchecksum = \"compute\""), "t.toml:1: `route.1.source` names /nonexistent/dir, which cannot be read"),
        (route("[\"git.a.example\", \"*.a.example/x\"]", "source = [\"direct\"]\nchecksum = \"compute\""), "t.toml:1: route 1: source \"direct\" with `*.a.example/x`, whose host is a wildcard\n  fix: name the host literally"),
        (route("[\"a.example\"]", "checksum = \"sum.a.example\""), "t.toml:1: route 1: checksum = \"sum.a.example\", but there is no [sumdb.\"sum.a.example\"]\n  fix: add [sumdb.\"sum.a.example\"] with key and urls, or use one of: \"sum.golang.org\", \"compute\""),
        (public.clone() + &route("[\"a.example/*\"]", compute), "t.toml:4: route 2: `a.example/*` is never reached, because route 1 matches it first, so that these private paths would be sent to a public database\n  fix: first match wins: move route 2 above route 1"),
        (route("[\"a.example\"]", compute) + &route("[\"b.example\", \"a.example/x/*\"]", compute), "t.toml:5: route 2: `a.example/x/*` is never reached, because route 1 matches it first\n  fix:"),
        ("name = \"sum.a.example\"\n".to_owned() + &route("[\"a.example\"]", "source = [\"https://sum.a.example/go\"]\nchecksum = \"compute\""), "t.toml:2: `route.1.source` leads back to this server (https://sum.a.example/go)"),
        ("url = \"https://go.a.example/sum\"\n".to_owned() + &route("[\"a.example\"]", "source = [\"https://go.a.example/sum\"]\nchecksum = \"compute\""), "`route.1.source` leads back to this server"),
    ];
    for (text, want) in table {
        let ran = check(&text);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{text}: {}", ran.stderr);
        let stderr = ran.stderr.replace(", ./t.toml", ", t.toml");
        assert!(stderr.contains(want), "{text}\n--- wanted\n{want}\n--- got\n{stderr}");
        assert!(stderr.starts_with("error: t.toml:") && stderr.contains("\n  fix: "), "{stderr}");
        assert!(!stderr.contains("s3cret"), "{stderr}");
    }
}

#[test]
fn all_faults_of_a_kind_are_told_at_once_in_the_order_of_the_file() {
    let ran = check("[limits]\nconcurrency = 0\ndeadline_seconds = 0\n[tls]\ncert = \"c\"");
    let lines: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("t.toml:")).collect();
    assert_eq!(lines.len(), 3, "{}", ran.stderr);
    assert!(
        lines[0].contains("t.toml:2:") && lines[1].contains("t.toml:3:") && lines[2].contains("t.toml:5:")
    );
}

#[test]
fn what_is_no_configuration_is_refused() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("directory")).unwrap();
    sandbox.write("large.toml", &"#".repeat((1 << 20) + 1));
    std::fs::write(sandbox.path("bytes.toml"), [0xff, 0xfe]).unwrap();
    let table = [
        ("missing.toml", "cannot read the configuration: No such file or directory"),
        ("directory", "cannot read the configuration: Is a directory"),
        ("bytes.toml", "cannot read the configuration: stream did not contain valid UTF-8"),
        ("large.toml", "the configuration is larger than 1048576 bytes"),
    ];
    for (file, want) in table {
        let ran = sandbox.run(&["config", "check", "--config", file]);
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.starts_with(&format!("error: {file}:1: {want}")), "{}", ran.stderr);
    }
}

/// Every byte of the example replaced, and every prefix of it: an answer or an error, never a panic.
#[test]
fn damaged_files_never_panic() {
    let sandbox = Sandbox::new();
    let overrides = Overrides { config: Some(sandbox.path("t.toml")), ..Overrides::default() };
    let try_load = |text: &[u8]| {
        std::fs::write(sandbox.path("t.toml"), text).unwrap();
        if let Err(error) = Config::load(&overrides, &Environment::default()) {
            assert!(error.to_string().contains("fix: "));
        }
    };
    for i in 0..EXAMPLE.len() {
        try_load(&EXAMPLE.as_bytes()[..i]);
        let mut text = EXAMPLE.as_bytes().to_vec();
        text[i] = [b'"', b'[', b'.', b'\n', b'*', 0, 0xff][i % 7];
        try_load(&text);
    }
}

#[test]
fn the_example_of_the_manual_loads() {
    let config = load(EXAMPLE);
    assert_eq!(config.name.as_deref(), Some("sum.corp.example"));
    assert!(config.data.is_absolute() && config.data.ends_with("data"));
    assert_eq!(config.anchor, config.data.join("anchor.db"));
    assert_eq!(config.client_url(), "http://127.0.0.1:8470");
    assert_eq!(config.sumdbs["sum.golang.org"].urls[0].to_string(), "https://sum.golang.org");
}

/// First match wins; patterns match the unescaped path, as `module.MatchPrefixPatterns` does.
#[test]
fn routes_match_in_order_on_the_unescaped_path() {
    let config = load(
        "[[route]]\nmodules = [\"corp.example/Secret\", \"git.corp.example\"]\nsource = [\"https://a.example\"]\nchecksum = \"compute\"\n\
         [[route]]\nmodules = [\"corp.example/*\"]\nsource = [\"https://b.example\"]\nchecksum = \"compute\"\n\
         [[route]]\nmodules = [\"*\"]\nchecksum = \"sum.golang.org\"\n",
    );
    let table = [
        ("corp.example/Secret", 1),
        ("corp.example/Secret/v2", 1),
        ("corp.example/!secret", 2),
        ("corp.example/secret", 2),
        ("git.corp.example/a/b", 1),
        ("corp.example", 3),
        ("rsc.io/quote", 3),
    ];
    for (path, number) in table {
        assert_eq!(config.route(path).unwrap().0, number, "{path}");
    }
    assert_eq!(
        config.route("rsc.io/quote").unwrap().1.checksum,
        Checksum::SumDb("sum.golang.org".to_owned())
    );
}

#[test]
fn a_path_without_a_route_is_told() {
    let ran = check(
        "[[route]]\nmodules = [\"a.example\"]\nsource = [\"https://p.example\"]\nchecksum = \"compute\"",
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("warning: module paths that no route matches are answered 404"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stdout, "ok: t.toml, 1 routes\n");
}

#[test]
fn what_is_allowed_but_should_be_known_is_told() {
    let ran = check(&EXAMPLE.replace("file:///srv/goproxy", "file:///"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("warning: the anchor data/anchor.db lies beside the data"), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    let text = "anchor = \"/mnt/a\"\nlisten = \"0.0.0.0:8470\"\ntrusted_proxies = [\"0.0.0.0/0\"]\n[[route]]\nmodules = [\"*\"]\nchecksum = \"sum.golang.org\"";
    let ran = check(text);
    assert!(
        ran.stderr.contains("warning: 0.0.0.0:8470 is open to other machines without TLS"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("warning: trusted_proxies holds every address"), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
}

#[test]
fn a_mistyped_variable_is_told_and_those_of_others_are_not() {
    let sandbox = Sandbox::new();
    let environment = [
        ("TALLYSTICK_LISTN", "x"),
        ("TALLYSTICK_PORT", "tcp://10.0.0.1:80"),
        ("TALLYSTICK_SERVICE_HOST", "10.0.0.1"),
    ];
    let shown = Shown::of(&sandbox.run_with(&["config", "show", "--json"], &environment));
    let notices = shown.notices();
    assert!(notices.contains("TALLYSTICK_LISTN is not read; did you mean TALLYSTICK_LISTEN?"), "{notices}");
    assert!(!notices.contains("TALLYSTICK_PORT") && !notices.contains("SERVICE_HOST"), "{notices}");
}

#[test]
fn flags_beat_environment_beats_file_beats_defaults() {
    let sandbox = Sandbox::new();
    sandbox.write("t.toml", "listen = \"127.0.0.1:1\"\nlog_format = \"json\"\n\n[limits]\ndeadline_seconds = 7\nconcurrency = 8\n");
    let environment = [
        ("TALLYSTICK_CONFIG", "t.toml"),
        ("TALLYSTICK_DATA", "e"),
        ("TALLYSTICK_LIMITS_CONCURRENCY", "9"),
        ("TALLYSTICK_LISTEN", ""),
    ];
    let shown = Shown::of(&sandbox.run_with(&["config", "show", "--json", "--data", "f"], &environment));
    assert_eq!(shown.row("data"), (&"f".into(), "flag --data"));
    assert_eq!(shown.row("anchor"), (&"f/anchor.db".into(), "default"));
    assert_eq!(shown.row("limits.concurrency"), (&9.into(), "environment TALLYSTICK_LIMITS_CONCURRENCY"));
    assert_eq!(shown.row("limits.deadline_seconds"), (&7.into(), "t.toml:5"));
    assert_eq!(
        shown.row("listen"),
        (&"127.0.0.1:1".into(), "t.toml:1"),
        "an empty variable counts as not set"
    );
    assert_eq!(shown.row("log_format"), (&"json".into(), "t.toml:2"));
    assert_eq!(shown.row("metrics_listen"), (&"127.0.0.1:8471".into(), "default"));
    let ran = sandbox.run_with(&["config", "show"], &environment);
    let line = ran.stdout.lines().find(|line| line.starts_with("limits.concurrency ")).unwrap();
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["limits.concurrency", "9", "environment", "TALLYSTICK_LIMITS_CONCURRENCY"]
    );
    let ran = sandbox.run_with(&["config", "show"], &[("TALLYSTICK_LIMITS_CONCURRENCY", "many")]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.starts_with(
            "error: environment TALLYSTICK_LIMITS_CONCURRENCY: `limits.concurrency` has a wrong value"
        ),
        "{}",
        ran.stderr
    );
}

/// Paths of the file start at the file, those of flags and variables where the user stands.
#[test]
fn relative_paths_start_where_they_were_written() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("etc")).unwrap();
    sandbox.write(
        "etc/t.toml",
        "data = \"d\"\nanchor = \"../a\"\nroots = \"/r\"\n[tls]\ncert = \"c\"\nkey = \"k\"",
    );
    let arguments = ["config", "show", "--json", "--config", "etc/t.toml"];
    let shown = Shown::of(&sandbox.run_with(&arguments, &[("TALLYSTICK_GIT_CONFIG", "g")]));
    for (key, want) in [
        ("data", "etc/d"),
        ("anchor", "etc/../a"),
        ("roots", "/r"),
        ("tls.cert", "etc/c"),
        ("git_config", "g"),
    ] {
        assert_eq!(shown.row(key).0, want, "{key}");
    }
    sandbox.write("etc/empty.toml", "");
    let shown = Shown::of(&sandbox.run(&["config", "show", "--json", "--config", "etc/empty.toml"]));
    assert_eq!(shown.row("data").0, "etc/tallystick-data");
    assert_eq!(Shown::of(&sandbox.run(&["config", "show", "--json"])).row("data").0, "tallystick-data");
}

#[test]
fn credentials_are_never_shown() {
    let text = EXAMPLE
        .replace(
            "https://goproxy.example",
            "https://ci:s3cret@goproxy.example/go?token=t0ken|https://b.example",
        )
        .replace("https://sum.golang.org\"]", "https://ci:s3cret@goproxy.example/sumdb/sum.golang.org\"]");
    let sandbox = Sandbox::new();
    sandbox.write("t.toml", &text);
    let json = sandbox.run(&["config", "show", "--config", "t.toml", "--json"]);
    let table = sandbox.run(&["config", "show", "--config", "t.toml"]);
    let with_go = sandbox
        .run_with(&["config", "show"], &[("GOPROXY", "https://ci:s3cret@p.example,https://ci:t0ken@[bad")]);
    assert_eq!(with_go.code, 2);
    for ran in [&json, &table, &with_go] {
        for secret in ["s3cret", "t0ken", "ci:"] {
            assert!(
                !ran.stdout.contains(secret) && !ran.stderr.contains(secret),
                "{}{}",
                ran.stdout,
                ran.stderr
            );
        }
    }
    let shown = Shown::of(&json);
    assert_eq!(shown.row("route.2.source").0[0], "https://***@goproxy.example/go?***|https://b.example");
    assert_eq!(
        shown.row("sumdb.sum.golang.org.urls").0[0],
        "https://***@goproxy.example/sumdb/sum.golang.org"
    );
}

/// The reference is what the binary does: each example is valid, each variable is read, each default is the default.
#[test]
fn the_reference_tells_the_truth() {
    let sandbox = Sandbox::new();
    let mut sections: Vec<(String, String)> = vec![(String::new(), String::new())];
    for key in KEYS {
        let path = key.path.replace("sumdb.*", "sumdb.\"sum.golang.org\"").replace("route.*", "route");
        let (section, name) = path.rsplit_once('.').unwrap_or(("", &path));
        let header = match section {
            "" => String::new(),
            "route" => "[[route]]\n".to_owned(),
            section => format!("[{section}]\n"),
        };
        if sections.last().unwrap().0 != header && !sections.iter().any(|(known, _)| *known == header) {
            sections.push((header.clone(), String::new()));
        }
        let section = sections.iter_mut().find(|(known, _)| *known == header).unwrap();
        section.1 += &format!("{name} = {}\n", key.example);
    }
    let text: String = sections.into_iter().map(|(header, lines)| header + &lines).collect();
    sandbox.write("t.toml", &text);
    let shown = Shown::of(&sandbox.run(&["config", "show", "--json", "--config", "t.toml"]));
    let defaults = Shown::of(&sandbox.run(&["config", "show", "--json"]));
    for key in KEYS {
        let row = key.path.replace("sumdb.*", "sumdb.sum.golang.org").replace("route.*", "route.1");
        assert!(shown.row(&row).1.starts_with("t.toml:"), "{row}: {}", shown.row(&row).1);
        let Some(variable) = key.variable() else { continue };
        let value = key.example.trim_matches(['"', '[', ']']).to_owned();
        // The two halves of [tls] only go together.
        let other =
            if row == "tls.cert" { ("TALLYSTICK_TLS_KEY", "k") } else { ("TALLYSTICK_TLS_CERT", "c") };
        let pair = if row.starts_with("tls.") {
            vec![(variable.as_str(), value.as_str()), other]
        } else {
            vec![(variable.as_str(), value.as_str())]
        };
        let by_variable = Shown::of(&sandbox.run_with(&["config", "show", "--json"], &pair));
        assert_eq!(by_variable.row(&row).1, format!("environment {variable}"));
        assert_eq!(by_variable.row(&row).0.to_string().contains(&value), true, "{row}");
        if let Some(default) = defaults.row(&row).0.as_u64() {
            assert!(key.default.starts_with(&default.to_string()), "{row}: {} is not {default}", key.default);
        }
    }
    let rows = shown.0["settings"].as_array().unwrap().len();
    assert_eq!(rows, KEYS.len(), "config show has rows that the reference does not know");
    assert!(reference::markdown().lines().count() >= 3 * KEYS.len());
}

/// A `go` command that answers with these settings.
fn fake_go(sandbox: &Sandbox, json: &str) {
    std::fs::create_dir_all(sandbox.path("bin")).unwrap();
    sandbox.write(
        "bin/go",
        &format!("#!/bin/sh\n[ \"$1\" = env ] && [ \"$2\" = -json ] || exit 1\necho '{json}'\n"),
    );
    std::fs::set_permissions(sandbox.path("bin/go"), std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn discover(go: &str, environment: &[(&str, &str)]) -> Ran {
    let sandbox = Sandbox::new();
    fake_go(&sandbox, go);
    let bin = sandbox.path("bin");
    let mut all = vec![("PATH", bin.to_str().unwrap())];
    all.extend(environment);
    sandbox.run_with(&["config", "show", "--json"], &all)
}

#[test]
fn without_routes_the_go_settings_count() {
    let ran = discover(
        r#"{"GOPROXY":"https://p.example,https://ci:s3cret@q.example/go|direct","GOPRIVATE":"git.corp.example,github.com/corp/*","GONOSUMDB":"git.corp.example,other.example/x","GOSUMDB":"sum.golang.org"}"#,
        &[("GONOSUMDB", "none")],
    );
    let shown = Shown::of(&ran);
    assert_eq!(
        shown.row("route.1.modules"),
        (&serde_json::json!(["git.corp.example", "github.com/corp/*"]), "go env GOPRIVATE")
    );
    assert_eq!(shown.row("route.1.source").0, &serde_json::json!(["direct"]));
    assert_eq!(shown.row("route.1.checksum").0, "compute");
    assert_eq!(shown.row("route.2.modules"), (&serde_json::json!(["*"]), "go env GOPROXY"));
    assert_eq!(
        shown.row("route.2.source").0,
        &serde_json::json!(["https://p.example", "https://***@q.example/go"])
    );
    assert_eq!(shown.row("route.2.checksum").0, "sum.golang.org");
    let urls = serde_json::json!([
        "https://p.example/sumdb/sum.golang.org",
        "https://***@q.example/go/sumdb/sum.golang.org",
        "https://sum.golang.org"
    ]);
    assert_eq!(shown.row("sumdb.sum.golang.org.urls"), (&urls, "go env GOPROXY"));
    assert_eq!(shown.row("sumdb.sum.golang.org.key").1, "default");

    // The environment counts first, and GONOSUMDB alone keeps its modules from the public database, too.
    let ran = discover(
        r#"{"GOPROXY":"https://p.example"}"#,
        &[
            ("GOPROXY", "https://e.example"),
            ("GONOSUMDB", "other.example/x"),
            ("GOSUMDB", "sum.golang.google.cn"),
        ],
    );
    let shown = Shown::of(&ran);
    assert_eq!(
        shown.row("route.1.modules"),
        (&serde_json::json!(["other.example/x"]), "environment GONOSUMDB")
    );
    assert_eq!(
        shown.row("route.2.source"),
        (&serde_json::json!(["https://e.example"]), "environment GOPROXY")
    );
    let urls = &shown.row("sumdb.sum.golang.org.urls").0;
    assert_eq!(urls[1], "https://sum.golang.google.cn");
}

#[test]
fn go_settings_that_give_no_source_have_a_clear_answer() {
    let refused: [(&[(&str, &str)], &str); 9] = [
        (&[("GOPROXY", "off")], "error: environment GOPROXY: GOPROXY is \"off\", which forbids every source"),
        (
            &[("GOPROXY", "http://127.0.0.1:8470")],
            "GOPROXY leads back to this server (http://127.0.0.1:8470), so that every miss would ask itself",
        ),
        (
            &[("GOPROXY", "https://p.example,http://localhost:8470/")],
            "GOPROXY leads back to this server (http://localhost:8470)",
        ),
        (
            &[("GOPROXY", "http://[::1]:8470"), ("TALLYSTICK_LISTEN", "[::]:8470")],
            "GOPROXY leads back to this server",
        ),
        (
            &[("GOPROXY", "https://sum.corp.example/"), ("TALLYSTICK_NAME", "sum.corp.example")],
            "GOPROXY leads back to this server",
        ),
        (&[("GOPROXY", "file:///srv/goproxy")], "GOPROXY names only a directory (file:///srv/goproxy)"),
        (&[("GOPROXY", "p.example")], "error: environment GOPROXY: GOPROXY is not a URL"),
        (
            &[("GOPRIVATE", "*.corp.example")],
            "error: environment GOPRIVATE: `*.corp.example` in GOPRIVATE or GONOSUMDB has a wildcard in its host",
        ),
        (
            &[("GOPRIVATE", "corp.example/[a")],
            "`corp.example/[a` in GOPRIVATE or GONOSUMDB is not a complete pattern",
        ),
    ];
    for (environment, want) in refused {
        let ran = discover("{}", environment);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{want}");
        assert!(ran.stderr.contains(want) && ran.stderr.contains("\n  fix: "), "{want}: {}", ran.stderr);
    }
    let accepted: [(&[(&str, &str)], &str); 3] = [
        (
            &[("GOPROXY", "direct")],
            "GOPROXY is \\\"direct\\\" alone: public lines are asked at https://sum.golang.org itself",
        ),
        (&[], "GOPROXY is not set: public lines are asked at https://sum.golang.org itself"),
        (
            &[("GOPROXY", "https://p.example"), ("GOSUMDB", "off")],
            "GOSUMDB is \\\"off\\\" here; this server still takes public lines",
        ),
    ];
    for (environment, want) in accepted {
        let shown = Shown::of(&discover("{}", environment));
        assert!(shown.notices().contains(want), "{want}: {}", shown.notices());
        assert_eq!(shown.row("route.1.checksum").0, "sum.golang.org");
    }
}

#[test]
fn without_a_go_command_the_environment_is_enough() {
    let sandbox = Sandbox::new();
    let shown =
        Shown::of(&sandbox.run_with(&["config", "show", "--json"], &[("GOPROXY", "https://p.example")]));
    assert_eq!(shown.row("route.1.source").0[0], "https://p.example");
    let shown = Shown::of(&sandbox.run(&["config", "show", "--json"]));
    assert!(shown.notices().contains("the go command cannot be run"), "{}", shown.notices());
    let broken = Shown::of(&discover("no json", &[]));
    assert!(broken.notices().contains("answered no JSON"), "{}", broken.notices());
}

#[test]
fn configured_routes_are_left_alone() {
    let mut config = load(EXAMPLE);
    config
        .discover(&GoEnvironment::of(&Environment::from([("GOPROXY", "off"), ("GOPRIVATE", "*")])))
        .unwrap();
    assert_eq!(config.routes.len(), 2);
}

/// The real `go env`, with the file that `go env -w` writes.
#[test]
fn the_installed_go_command_is_asked() {
    let test = "config::the_installed_go_command_is_asked";
    let Some(go) = installed("go", test) else { return };
    let sandbox = Sandbox::new();
    sandbox.write("goenv", "GOPROXY=https://written.example\nGOPRIVATE=git.corp.example\n");
    let (path, goenv) = (go.parent().unwrap().to_str().unwrap(), sandbox.path("goenv"));
    let environment = [("PATH", path), ("GOENV", goenv.to_str().unwrap())];
    let shown = Shown::of(&sandbox.run_with(&["config", "show", "--json"], &environment));
    assert_eq!(shown.row("route.1.modules"), (&serde_json::json!(["git.corp.example"]), "go env GOPRIVATE"));
    assert_eq!(
        shown.row("route.2.source"),
        (&serde_json::json!(["https://written.example"]), "go env GOPROXY")
    );
}
