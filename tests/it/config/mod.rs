//! The configuration through the real binary (`config check`, `config show`): every error with its words, the origin
//! of every value, what is hidden, and what is made out of the go command's own settings.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics; clippy knows test functions, not their helpers"
)]

mod discover;
mod faults;

use serde_json::Value;
use tallystick::config::reference::SERVER;
use tallystick::config::{Config, Environment, Mode, Overrides};
use tallystick::route::{Checksum, Choice};

use crate::cli::{Ran, Sandbox};

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
    let ran = sandbox.run(&["config", "check", "--config", "t.toml"]);
    // Paths are named in full.
    Ran { stderr: sandbox.without_home(&ran.stderr).replace("~/", ""), ..ran }
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
    assert_eq!(*config.anchor, config.data.join("anchor.db"));
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
        ("rsc.io/quote", 3),
    ];
    for (path, number) in table {
        assert_eq!(config.route(path), Choice::Route(number - 1), "{path}");
    }
    assert_eq!(config.routes[2].route.checksum, Checksum::Sumdb("sum.golang.org".to_owned()));
    // The path right above what is private, and another spelling of it, would be told to the public database.
    for path in ["corp.example", "git.corp.example/A/b", "corp.example/SECRET"] {
        let withheld = matches!(config.route(path), Choice::Withheld(_));
        assert_eq!(withheld, path == "corp.example", "{path}");
    }
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
    assert_eq!(ran.stdout, "ok: t.toml, 1 route\n");
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
    assert!(ran.stderr.contains("warning: trusted_proxies holds the network 0.0.0.0/0"), "{}", ran.stderr);
    // Whether /mnt is another disk is this machine's affair.
    let is_of_disks = |line: &&str| line.contains("is on the same disk") || line.starts_with("  fix: stop");
    let others = ran.stderr.lines().filter(|line| !is_of_disks(line)).count();
    assert_eq!(others, 2, "{}", ran.stderr);
}

#[test]
fn a_wide_network_of_proxies_is_told_with_the_fix_and_the_fix_is_not() {
    let told = |proxies: &str| {
        let ran = check(
            &format!("trusted_proxies = {proxies}\n{EXAMPLE}").replace("file:///srv/goproxy", "file:///"),
        );
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stderr
            .lines()
            .filter(|line| line.contains("trusted_proxies"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for (proxies, wide) in [
        (r#"["10.0.0.9", "10.0.0.16/28", "2001:db8::10/124"]"#, &[][..]),
        (r#"["10.0.0.0/8", "10.0.0.9"]"#, &["10.0.0.0/8"]),
        (
            r#"["10.0.0.32/27", "2001:db8::20/123", "fd00::/8"]"#,
            &["10.0.0.32/27", "2001:db8::20/123", "fd00::/8"],
        ),
    ] {
        let lines = told(proxies);
        assert_eq!(lines.len(), wide.len(), "{proxies}: {lines:?}");
        for (line, network) in lines.iter().zip(wide) {
            assert!(
                line.starts_with(&format!("warning: trusted_proxies holds the network {network}: ")),
                "{line}"
            );
            // The advice, followed.
            let (_, fix) = line.split_once("as in trusted_proxies = ").expect("what to write");
            assert_eq!(told(fix.trim_end_matches('.')), [""; 0], "{fix}");
        }
    }
}

#[test]
fn every_example_of_trusted_proxies_names_single_addresses() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = format!("`trusted_proxies` = {}", SERVER.key("trusted_proxies").unwrap().example);
    let mut texts = vec![example, std::fs::read_to_string(root.join("README.md")).unwrap()];
    let files = std::fs::read_dir(root.join("deploy")).unwrap().map(|entry| entry.unwrap().path());
    texts.extend(files.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).unwrap()));
    let mut seen = 0;
    for text in texts {
        let after = text.match_indices("trusted_proxies").map(|(at, key)| &text[at + key.len()..]);
        for rest in after.filter_map(|rest| rest.trim_start_matches(['`', '*', ' ', '=']).strip_prefix('[')) {
            let (list, _) = rest.split_once(']').expect("a list ends");
            for address in list.split(',') {
                let address = address.trim().trim_matches('"');
                assert!(address.parse::<std::net::IpAddr>().is_ok(), "{address} is a network, or nothing");
                seen += 1;
            }
        }
    }
    assert!(seen >= 3, "the reference, README.md and deploy/nginx.conf show one each, not {seen}");
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
    let full = |name: &str| serde_json::Value::from(sandbox.path(name).to_str().unwrap());
    assert_eq!(shown.row("data"), (&full("f"), "flag --data"));
    assert_eq!(shown.row("anchor"), (&full("f/anchor.db"), "default"));
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
        // Absolute, whatever was written: an error that names it may be read anywhere.
        assert_eq!(shown.row(key).0, sandbox.path(want).to_str().unwrap(), "{key}");
    }
    sandbox.write("etc/empty.toml", "");
    let shown = Shown::of(&sandbox.run(&["config", "show", "--json", "--config", "etc/empty.toml"]));
    assert_eq!(shown.row("data").0, sandbox.path("etc/tallystick-data").to_str().unwrap());
    assert_eq!(
        Shown::of(&sandbox.run(&["config", "show", "--json"])).row("data").0,
        sandbox.path("tallystick-data").to_str().unwrap()
    );
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
    for key in SERVER.keys {
        let path = key.path.replace("sumdb.*", "sumdb.\"sum.golang.org\"");
        let path = path.replace("route.*", "route").replace("witness.*", "witness");
        let (section, name) = path.rsplit_once('.').unwrap_or(("", &path));
        let header = match section {
            "" => String::new(),
            "route" | "witness" => format!("[[{section}]]\n"),
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
    for key in SERVER.keys {
        let row = key.path.replace("sumdb.*", "sumdb.sum.golang.org");
        let row = row.replace("route.*", "route.1").replace("witness.*", "witness.1");
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
        assert!(by_variable.row(&row).0.to_string().contains(&value), "{row}");
        if let Some(default) = defaults.row(&row).0.as_u64() {
            assert!(key.default.starts_with(&default.to_string()), "{row}: {} is not {default}", key.default);
        }
    }
    let rows = shown.0["settings"].as_array().unwrap().len();
    assert_eq!(rows, SERVER.keys.len(), "config show has rows that the reference does not know");
    assert!(SERVER.markdown().lines().count() >= 3 * SERVER.keys.len());
}

/// The first public key of RFC 8032, section 7.1, under the name of another log.
const PARTNER_KEY: &str = "partner.example/log+6c0d67fd+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";

/// Which remote logs are mirrored, and what each may be told: never what is hashed here.
#[test]
fn mirrors_are_those_that_are_named_and_private_paths_stay_here() {
    let named = |config: &Config| config.mirrored().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let config = load(EXAMPLE);
    assert_eq!(named(&config), ["sum.golang.org"]);
    let sumdb = &config.sumdbs["sum.golang.org"];
    assert_eq!((*sumdb.mode, sumdb.poll.0.as_secs()), (Mode::OnDemand, 300));
    for (path, may) in [
        ("corp.example/x", false),
        ("corp.example/X", false),
        ("corp.example", false),
        ("other.example", true),
        ("rsc.io/quote", true),
    ] {
        assert_eq!(config.may_tell("sum.golang.org", path).is_ok(), may, "{path}");
    }
    // Without a section and a route the built-in one is not there; a path without a route is told to strangers only.
    let private = "[[route]]\nmodules = [\"corp.example\"]\nsource = [\"direct\"]\nchecksum = \"compute\"\n";
    assert_eq!(named(&load(private)), Vec::<String>::new());
    let heads = load(&format!("[sumdb.\"sum.golang.org\"]\nmode = \"heads\"\n{private}"));
    assert_eq!(
        (named(&heads), heads.sumdbs["sum.golang.org"].poll.0.as_secs()),
        (vec!["sum.golang.org".to_owned()], 30)
    );
    assert!(
        heads.may_tell("sum.golang.org", "rsc.io/quote").is_ok()
            && heads.may_tell("sum.golang.org", "corp.example/x").is_err()
    );
    // What another database answers for is told to that one only.
    let partner = load(&format!(
        "[sumdb.\"partner.example/log\"]\nkey = \"{PARTNER_KEY}\"\n\
         urls = [\"https://sum.partner.example\"]\n\
         [[route]]\nmodules = [\"partner.example/*\"]\nchecksum = \"partner.example/log\"\n\
         [[route]]\nmodules = [\"vendor.example\"]\nsource = [\"https://proxy.vendor.example\"]\nchecksum = \"sum.golang.org\"\n\
         [[route]]\nmodules = [\"*\"]\nsource = [\"https://proxy.corp.example\"]\nchecksum = \"sum.golang.org\"\n"
    ));
    for (log, path, may) in [
        ("sum.golang.org", "partner.example/secret", false),
        ("partner.example/log", "partner.example/secret", true),
        ("partner.example/log", "rsc.io/quote", false),
    ] {
        assert_eq!(partner.may_tell(log, path).is_ok(), may, "{log} {path}");
    }
    // The proxy of a narrow route is not asked for everything.
    let urls: Vec<String> = partner.sumdbs["sum.golang.org"].urls.iter().map(ToString::to_string).collect();
    assert_eq!(urls, ["https://proxy.corp.example/sumdb/sum.golang.org", "https://sum.golang.org"]);
    let some = load(&EXAMPLE.replace("[\"*\"]", "[\"rsc.io\"]"));
    assert!(
        some.may_tell("sum.golang.org", "rsc.io/quote").is_ok()
            && some.may_tell("sum.golang.org", "other.example/x").is_err()
    );
}
