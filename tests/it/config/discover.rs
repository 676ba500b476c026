//! Without routes: what is made out of the go command's own settings, and what is refused.

use tallystick::config::{Environment, GoEnvironment};

use super::{EXAMPLE, Shown, load};
use crate::cli::{Ran, Sandbox, installed};
use crate::support::write_program;

/// A `go` command that answers with these settings, and a git beside it, as `direct` needs one.
fn fake_go(sandbox: &Sandbox, json: &str) {
    std::fs::create_dir_all(sandbox.path("bin")).unwrap();
    let script = format!("#!/bin/sh\n[ \"$1\" = env ] && [ \"$2\" = -json ] || exit 1\necho '{json}'\n");
    write_program(&sandbox.path("bin/go"), script.as_bytes());
    write_program(&sandbox.path("bin/git"), b"#!/bin/sh\n");
}

fn discover(go: &str, environment: &[(&str, &str)]) -> Ran {
    let sandbox = Sandbox::new();
    fake_go(&sandbox, go);
    let bin = sandbox.path("bin");
    let mut all = vec![("PATH", bin.to_str().unwrap())];
    all.extend(environment);
    sandbox.run_with(&["config", "show", "--json"], &all)
}

/// A log of which only heads are kept vouches for nothing.
#[test]
fn heads_alone_make_no_route() {
    let sandbox = Sandbox::new();
    fake_go(&sandbox, r#"{"GOPROXY":"https://p.example","GOPRIVATE":"git.corp.example"}"#);
    sandbox.write("t.toml", "[sumdb.\"sum.golang.org\"]\nmode = \"heads\"\n");
    let bin = sandbox.path("bin");
    let run = |what: &[&str]| {
        sandbox.run_with(
            &[&["config"], what, &["--config", "t.toml"]].concat(),
            &[("PATH", bin.to_str().unwrap())],
        )
    };
    let shown = Shown::of(&run(&["show", "--json"]));
    assert_eq!(shown.row("route.1.checksum").0, "compute");
    assert!(!shown.0.to_string().contains("route.2."), "{}", shown.0);
    let checked = run(&["check"]);
    let told = format!("{}{}", checked.stdout, checked.stderr);
    assert!(checked.code == 0 && told.contains("only the heads of sum.golang.org are kept"), "{told}");
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
    let refused: [(&[(&str, &str)], &str); 12] = [
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
        (&[("GOPROXY", "proxy")], "error: environment GOPROXY: GOPROXY is not a URL"),
        (
            &[("GOPRIVATE", "https://corp.example/x")],
            "`https://corp.example/x` in GOPRIVATE or GONOSUMDB is a URL: module paths have no scheme, so that it protects nothing",
        ),
        (&[("GONOSUMDB", "https://corp.example/x")], "  fix: write `corp.example/x` there"),
        (&[("GOPRIVATE", "git.corp.example,corp.example/...")], "  fix: write `corp.example` there"),
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

/// The go command assumes https (`proxyList` in cmd/go/internal/modfetch).
#[test]
fn a_goproxy_without_a_scheme_is_one_with_https() {
    for (goproxy, want) in [
        ("proxy.example,direct", "https://proxy.example"),
        ("localhost:3000", "https://localhost:3000"),
        ("a.example/go", "https://a.example/go"),
    ] {
        let shown = Shown::of(&discover("{}", &[("GOPROXY", goproxy)]));
        assert_eq!(shown.row("route.1.source").0, &serde_json::json!([want]), "{goproxy}");
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
