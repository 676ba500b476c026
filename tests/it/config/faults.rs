//! Every fault of a configuration file, with all that the user reads about it.

use super::check;

/// Each must end `config check` with 2 and these words.
fn assert_faults(table: Vec<(String, &str)>) {
    for (text, want) in table {
        let ran = check(&text);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{text}: {}", ran.stderr);
        let stderr = ran.stderr;
        assert!(stderr.contains(want), "{text}\n--- wanted\n{want}\n--- got\n{stderr}");
        assert!(stderr.starts_with("error: t.toml:") && stderr.contains("\n  fix: "), "{stderr}");
        assert!(!stderr.contains("s3cret"), "{stderr}");
    }
}

/// Each fault of the settings, with all that the user reads about it.
#[test]
fn every_fault_of_a_setting_is_named_with_place_cause_and_fix() {
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
        ("[sumdb.\"sum.golang.org\"]\nurls = [\"ftp://x\"]".into(), "t.toml:2: `sumdb.sum.golang.org.urls` has a wrong value: it has the scheme `ftp:`"),
        ("[sumdb.\"sum.golang.org\"]\nurls = [\"file://host/x\"]".into(), "t.toml:2: `sumdb.sum.golang.org.urls` has a wrong value: it is not a file:// URL with an absolute path and no host"),
        ("[sumdb.\"sum.golang.org\"]\nurls = [\"file:///nonexistent/x\"]".into(), "t.toml:2: `sumdb.sum.golang.org.urls` names /nonexistent/x, which cannot be read: No such file"),
        ("[sumdb.\"sum.golang.org\"]\nmode = \"all\"".into(), "t.toml:2: `sumdb.sum.golang.org.mode` has a wrong value: it is none of full, on-demand, heads"),
        ("[sumdb.\"sum.golang.org\"]\npoll = \"30\"".into(), "t.toml:2: `sumdb.sum.golang.org.poll` has a wrong value: it is no length of time as in 30s, 5m or 1h\n  fix: write poll = \"30s\" (1s to 24h)"),
        ("[sumdb.\"sum.golang.org\"]\nschedule = \"* * * *\"".into(), "t.toml:2: `sumdb.sum.golang.org.schedule` has a wrong value: it is no schedule as in */5 * * * *: it must have five fields: minute, hour, day, month, day of the week\n  fix: write schedule = \"*/5 * * * *\" (five fields of cron, in UTC)"),
        ("[sumdb.\"sum.golang.org\"]\nschedule = \"61 * * * *\"".into(), "t.toml:2: `sumdb.sum.golang.org.schedule` has a wrong value: it is no schedule"),
        ("[sumdb.\"sum.golang.org\"]\nschedule = \"0 0 30 2 *\"".into(), "no day is ever like that"),
        ("[sumdb.\"sum.golang.org\"]\njobs = 0".into(), "t.toml:2: `sumdb.sum.golang.org.jobs` has a wrong value: 0 is not between 1 and 1024\n  fix: write jobs = 32 (1 to 1024)"),
        ("[sumdb.\"sum.golang.org\"]\njobs = \"many\"".into(), "t.toml:2: `sumdb.sum.golang.org.jobs` has a wrong value: invalid type: string"),
        ("[sumdb.\"sum.golang.org\"]\nrequests_per_second = 0".into(), "`sumdb.sum.golang.org.requests_per_second` has a wrong value: 0 is not between 1 and 1000000"),
        ("[sumdb.\"sum.golang.org\"]\nbytes_per_second = 1000".into(), "`sumdb.sum.golang.org.bytes_per_second` has a wrong value: 1000 is not between 1024 and 1099511627776"),
        ("[sumdb.\"sum.golang.org\"]\nhook_secret_file = \"nosuch\"".into(), "t.toml:2: `sumdb.sum.golang.org.hook_secret_file` names nosuch, which cannot be read: No such file"),
        ("contact = \"ops (at) corp\"".into(), "t.toml:1: `contact` has a wrong value: it is no mailto: or https:// address without spaces and parentheses\n  fix: write contact = \"mailto:ops@corp.example\""),
        ("contact = \"mailto:a@b.example\\r\\nX-Evil: 1\"".into(), "t.toml:1: `contact` has a wrong value: "),
        ("[sumdb.\"sum.golang.org\"]\npoll = \"25h\"".into(), "t.toml:2: `sumdb.sum.golang.org.poll` has a wrong value: 25h is not between 1s and 24h"),
        ("[sumdb.\"sum.golang.org\"]\nmode = \"heads\"\n[[route]]\nmodules = [\"*\"]\nchecksum = \"sum.golang.org\"".into(), "t.toml:3: `route.1.checksum` takes lines from \"sum.golang.org\", whose mode \"heads\" keeps no records\n  fix: set mode = \"on-demand\""),
        ("[sumdb.\"x.example\"]\nkey = \"sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8\"\nurls = [\"https://x.example\"]".into(), "t.toml:2: `sumdb.x.example.key` has a wrong value: it is the key of \"sum.golang.org\""),
        ("[sumdb.\"sum.golang.org\"]\nkey = \"sum.golang.org\"".into(), "t.toml:2: `sumdb.sum.golang.org.key` has a wrong value: "),
        ("[sumdb.\"sum.golang.org\"]\nurls = [\"http://127.0.0.1:8470/sumdb/sum.golang.org\"]".into(), "leads back to this server (http://127.0.0.1:8470/sumdb/sum.golang.org), so that a miss would ask itself"),
    ];
    assert_faults(table);
}

/// A `netrc` that nothing uses, or that is not there.
#[test]
fn a_useless_netrc_is_named() {
    let route = |rest: &str| {
        format!("[[route]]\nmodules = [\"a.example\"]\nnetrc = \"nosuch\"\n{rest}\nchecksum = \"compute\"\n")
    };
    assert_faults(vec![
        (
            route("source = [\"https://p.example\"]"),
            "t.toml:3: `route.1.netrc` is for \"direct\" alone, which the route's `source` does not name\n  fix: remove it",
        ),
        (
            route("source = [\"direct\"]"),
            "t.toml:3: `route.1.netrc` cannot be used: nosuch: No such file or directory (os error 2)\n  fix: make it readable for the user that runs tallystick",
        ),
    ]);
}

/// The same for routes.
#[test]
fn every_fault_of_a_route_is_named_with_place_cause_and_fix() {
    let route = |modules: &str, rest: &str| format!("[[route]]\nmodules = {modules}\n{rest}\n");
    let public = route("[\"*\"]", "checksum = \"sum.golang.org\"");
    let compute = "source = [\"https://p.example\"]\nchecksum = \"compute\"";
    let table: Vec<(String, &str)> = vec![
        (
            format!("{public}sources = []"),
            "t.toml:4: unknown key `route.1.sources`\n  fix: did you mean `route.*.source`?",
        ),
        (route("[\"*\"]", ""), "t.toml:1: not valid TOML: missing field `checksum`"),
        ("[[route]]\nchecksum = \"compute\"".into(), "t.toml:1: not valid TOML: missing field `modules`"),
        (
            route("[\"a.example\"]", "source = [\"off\"]\nchecksum = \"compute\""),
            "t.toml:3: `route.1.source` has a wrong value: it is \"off\", which forbids every source",
        ),
        (
            route("[\"a.example\"]", "source = [\"ssh://git.a.example\"]\nchecksum = \"compute\""),
            "it has the scheme `ssh:`",
        ),
        (
            route("[\"a.example\"]", "source = [\"http://u:s3cret@p.example\"]\nchecksum = \"compute\""),
            "it holds credentials, which http would send in the clear",
        ),
        (
            route("[\"a.example\"]", "checksum = \"compute\""),
            "t.toml:1: `route.1.source` is missing, and checksum = \"compute\" has nothing to hash without it",
        ),
        (
            route("[\"a.example\"]", "source = [\"file:///nonexistent/dir\"]\nchecksum = \"compute\""),
            "t.toml:1: `route.1.source` names /nonexistent/dir, which cannot be read",
        ),
        (
            route("[\"git.a.example\", \"*.a.example/x\"]", "source = [\"direct\"]\nchecksum = \"compute\""),
            "t.toml:1: route 1: source \"direct\" with `*.a.example/x`, whose host is a wildcard\n  fix: name the host literally",
        ),
        (
            route("[\"a.example\"]", "checksum = \"sum.a.example\""),
            "t.toml:1: route 1: checksum = \"sum.a.example\", but there is no [sumdb.\"sum.a.example\"]\n  fix: add [sumdb.\"sum.a.example\"] with key and urls, or use one of: \"sum.golang.org\", \"compute\"",
        ),
        (
            public.clone() + &route("[\"a.example/*\"]", compute),
            "t.toml:4: route 2: `a.example/*` is never reached, because route 1 matches it first, so that these private paths would be sent to a public database\n  fix: first match wins: move route 2 above route 1",
        ),
        (
            route("[\"a.example\"]", compute) + &route("[\"b.example\", \"a.example/x/*\"]", compute),
            "t.toml:5: route 2: `a.example/x/*` is never reached, because route 1 matches it first\n  fix:",
        ),
        (
            "name = \"sum.a.example\"\n".to_owned()
                + &route(
                    "[\"a.example\"]",
                    "source = [\"https://sum.a.example/go\"]\nchecksum = \"compute\"",
                ),
            "t.toml:2: `route.1.source` leads back to this server (https://sum.a.example/go)",
        ),
        (
            "url = \"https://go.a.example/sum\"\n".to_owned()
                + &route(
                    "[\"a.example\"]",
                    "source = [\"https://go.a.example/sum\"]\nchecksum = \"compute\"",
                ),
            "`route.1.source` leads back to this server",
        ),
    ];
    assert_faults(table);
}

#[test]
fn patterns_that_protect_nothing_are_refused() {
    let table = [
        ("", "the list is empty"),
        (
            "\"a.example,b.example\"",
            "`a.example,b.example` holds a comma or a space: each pattern is its own element",
        ),
        (
            "\"https://a.example\"",
            "`https://a.example` is a URL: module paths have no scheme (`a.example` is probably meant)",
        ),
        ("\"/a.example\"", "`/a.example` has an empty path element (`a.example` is probably meant)"),
        (
            "\"a.example:8443/x\"",
            "`a.example:8443/x` holds `:`, which no module path has (`a.example/x` is probably meant)",
        ),
        ("\"\"", "`` is empty"),
        ("\"a.example/[x\"", "`a.example/[x` is not a complete pattern"),
    ];
    let texts = table.map(|(list, why)| {
        let text = format!("[[route]]\nmodules = [{list}]\nsource = [\"direct\"]\nchecksum = \"compute\"");
        (text, format!("t.toml:2: `route.1.modules` has a wrong value: {why}\n  fix: write modules = "))
    });
    assert_faults(texts.iter().map(|(text, want)| (text.clone(), want.as_str())).collect());
}

/// The files of its mirror are named by it.
#[test]
fn a_log_whose_name_makes_no_file_name_is_refused() {
    for (name, is_refused) in [("a".repeat(235), false), ("a".repeat(236), true), ("a/".repeat(60), true)] {
        let signer = tallystick::note::SignerKey::generate(name.parse().unwrap(), [7; 32]);
        let text =
            format!("[sumdb.\"{name}\"]\nkey = \"{}\"\nurls = [\"https://a.example\"]\n", signer.verifier());
        match is_refused {
            true => assert_faults(vec![(text, "bytes as the name of a file, and 235 are the most")]),
            false => assert!(!check(&text).stderr.contains("as the name of a file")),
        }
    }
}
