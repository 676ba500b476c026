//! `tallystick serve` with a private Git host behind a corporate CA, an outgoing proxy and a login,
//! and what its clients read when one of them is missing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::direct::{Place, git, make_repository};
use super::git_host::{Asked, Certificate, serve_proxy, serve_tls};
use crate::cli::Sandbox;
use crate::support::poll;
use crate::support::serve::{LogDirectory, Server};

const PASSWORD: &str = "s3cret-word";
/// printf ci:s3cret-word | base64
const LOGIN: &str = "Y2k6czNjcmV0LXdvcmQ=";

/// The pages of gl.example: a subgroup whose repository is named only with a login, and a page that
/// repeats the login.
fn page(asked: &Asked) -> (u16, Vec<u8>) {
    let import = |root: &str, repository: &str| {
        format!("<html><head><meta name=\"go-import\" content=\"{root} git {repository}\"></head></html>")
            .into_bytes()
    };
    match (asked.path.split('?').next().unwrap_or_default(), &asked.authorization) {
        ("/group/sub/Repo", Some(_)) => {
            (200, import("gl.example/group/sub/Repo", "https://corp.example/Repo"))
        }
        ("/group/sub/Repo", None) => {
            (200, import("gl.example/group/sub", "https://gl.example/group/sub.git"))
        }
        ("/echo", Some(login)) => (403, format!("no: {login} {PASSWORD}").into_bytes()),
        ("/broken", _) => (502, b"try again".to_vec()),
        (path, None) if path.starts_with("/auth") => (401, Vec::new()),
        _ => (404, b"nothing here".to_vec()),
    }
}

/// Status, `Retry-After` and text of a look-up.
fn look_up(server: &Server, module: &str) -> (u16, Option<String>, String) {
    let host = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /lookup/{module} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let retry_after = head.lines().find_map(|line| line.strip_prefix("retry-after: ")).map(str::to_owned);
    (status, retry_after, body.to_owned())
}

/// Waits until the server's log says something, and returns the log.
fn printed(server: &Server, words: &str) -> String {
    poll(words, Duration::from_secs(30), || Some(server.printed()).filter(|log| log.contains(words)))
}

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn configure(directory: &LogDirectory, netrc: &str) {
    directory.configure(
        "sum.corp.example",
        &format!(
            "git_config = \"gitconfig\"\n[[route]]\nmodules = [\"gl.example\", \"corp.example\", \"down.example\", \"other.example\"]\n\
             source = [\"direct\"]\nchecksum = \"compute\"\n{netrc}"
        ),
    );
}

/// Two versions of the module, the newer one for a Go that does not exist yet.
fn release_subgroup(place: &Place) {
    let repository = place.repository("Repo");
    for (version, go_mod) in [
        ("v1.1.0", "module gl.example/group/sub/Repo\n"),
        ("v1.2.0", "module gl.example/group/sub/Repo\n\ngo 1.99\n"),
    ] {
        std::fs::write(repository.join("go.mod"), go_mod).unwrap();
        assert!(
            git(&repository, &["commit", "-q", "-a", "-m", version]) && git(&repository, &["tag", version])
        );
    }
}

#[test]
fn a_subgroup_behind_a_login_a_ca_and_a_proxy_is_notarized() {
    const TEST: &str = "a_subgroup_behind_a_login_a_ca_and_a_proxy_is_notarized";
    let place = Place::new();
    let Some(certificate) = Certificate::make(place.dir.path(), &["gl.example"], TEST) else { return };
    if !make_repository(&place, TEST) {
        return;
    }
    release_subgroup(&place);
    let port = serve_tls(&certificate, page);
    let proxy = format!("http://127.0.0.1:{}", serve_proxy(port, "down.example", "502 Bad Gateway"));
    let directory = LogDirectory::new("sum.corp.example", "");
    let at = |name: &str| directory.config().with_file_name(name);
    std::fs::write(at("gitconfig"), place.options.git_config.as_deref().unwrap()).unwrap();
    write_private(&at("netrc"), &format!("machine gl.example login ci password {PASSWORD}\n"));
    let pem = certificate.pem.to_str().unwrap();
    let environment = [("SSL_CERT_FILE", pem), ("HTTPS_PROXY", &*proxy)];
    let config = directory.config();
    let serve = || {
        let arguments = ["--config", config.to_str().unwrap()];
        Server::start(place.dir.path(), &arguments, &environment)
    };
    let module = "gl.example/group/sub/!repo";

    configure(&directory, "");
    let server = serve();
    let (status, _, text) = look_up(&server, &format!("{module}@v1.1.0"));
    assert!(status == 404 && text.contains("`netrc` of the [[route]]"), "{status} {text}");
    server.stop();

    configure(&directory, "netrc = \"netrc\"\n");
    let left = directory.data().join("scratch/direct-left");
    std::fs::create_dir(&left).unwrap();
    let server = serve();
    assert!(!left.exists(), "what a killed server leaves there holds logins");
    let (status, _, text) = look_up(&server, &format!("{module}@v1.1.0"));
    assert_eq!(status, 200, "{text}\n{}", server.printed());
    for (asked, want, says) in [
        (&*format!("{module}@v1.2.0"), 403, "it needs Go 1.99, and this server's Go is"),
        (&*format!("{module}@v1.9.9"), 404, "unknown revision v1.9.9"),
        ("gl.example/nosuch/x.git@v1.0.0", 404, "fatal: repository 'https://gl.example/nosuch/x/' not found"),
        (
            "gl.example/echo@v1.0.0",
            403,
            "the Git host refuses access to this server\nCause: unrecognized import path",
        ),
        ("gl.example/a/x.hg@v1.0.0", 403, "GOVCS disallows using hg"),
        ("other.example/x@v1.0.0", 403, "the certificate of the Git host is not valid"),
        ("gl.example/broken@v1.0.0", 503, "502 "),
        ("down.example/x@v1.0.0", 503, "Bad Gateway"),
    ] {
        let (status, retry_after, text) = look_up(&server, asked);
        assert!(status == want && text.contains(says), "{asked}: {status} {text}");
        assert!(text.lines().count() > 1 && !text.contains(PASSWORD) && !text.contains(LOGIN), "{text}");
        assert_eq!(retry_after.is_some(), status == 503, "{asked}");
        assert_eq!(text.contains("try again:"), status == 503, "{asked}: {text}");
        assert_eq!(text.contains("fix, for its operator: "), status == 403, "{asked}: {text}");
    }
    printed(&server, "fix: install Go 1.99 or newer");
    let printed = printed(&server, "down.example/x@v1.0.0: try again in 5 s");
    assert!(!printed.contains(PASSWORD) && !printed.contains(LOGIN), "{printed}");
    server.stop();
}

#[test]
fn a_server_without_go_says_so_and_fetches_once_it_has_one() {
    const TEST: &str = "a_server_without_go_says_so_and_fetches_once_it_has_one";
    let place = Place::new();
    if !make_repository(&place, TEST) {
        return;
    }
    let directory = LogDirectory::new("sum.corp.example", "");
    configure(&directory, "");
    let gitconfig = directory.config().with_file_name("gitconfig");
    std::fs::write(&gitconfig, place.options.git_config.as_deref().unwrap()).unwrap();
    let config = directory.config();
    let bin = place.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let path = bin.to_str().unwrap();
    let start = |path: &str| {
        Server::start(place.dir.path(), &["--config", config.to_str().unwrap()], &[("PATH", path)])
    };
    let server = start(path);
    let (status, retry_after, text) = look_up(&server, "corp.example/!repo.git@v1.0.0");
    assert_eq!((status, retry_after), (500, None), "{text}");
    assert!(text.contains("this server cannot run the go command, which \"direct\" needs"), "{text}");
    assert!(text.contains("The checksum database is at fault, not the module."), "{text}");
    assert!(text.contains("install Go and git on the server, and put both into the PATH"), "{text}");
    printed(&server, &format!("go was looked for in PATH={path}"));
    server.stop();
    let server = start(&format!("{path}:{}", std::env::var("PATH").unwrap()));
    let (status, _, text) = look_up(&server, "corp.example/!repo.git@v1.0.0");
    assert_eq!(status, 200, "{text}");
    server.stop();
}

/// Git and go get the file as it is, `GOAUTH` is nothing else, and what they print of it is hidden.
#[tokio::test]
async fn the_netrc_is_copied_for_go_and_git_alone() {
    use tallystick::config::Netrc;
    let mut place = Place::with_go(
        "cat \"$HOME/.netrc\" >&2; printf %s ci:s3cret-word | base64 >&2; ls -l \"$HOME/.netrc\" >&2; env | grep GOAUTH >&2; exit 1",
    );
    let path = place.dir.path().join("netrc");
    write_private(&path, &format!("machine gl.example login ci password {PASSWORD}\n"));
    place.options.netrc = Some(Netrc::read(&path).unwrap());
    let error = place.download("gl.example/x", "v1.0.0", super::AMPLE).await.err().unwrap();
    let text = format!("{error} {error:?}");
    assert!(!text.contains(PASSWORD) && !text.contains(LOGIN), "{text}");
    for seen in ["machine gl.example login ci password ***", "-rw-------", "GOAUTH=netrc"] {
        assert!(text.contains(seen), "{seen} is not in {text}");
    }
    assert!(!format!("{:?}", place.options).contains(PASSWORD));
}

#[test]
fn a_netrc_that_cannot_be_used_is_refused_by_check_and_by_serve_alike() {
    let directory = LogDirectory::new("sum.corp.example", "");
    configure(&directory, "netrc = \"netrc\"\n");
    let (config, netrc) = (directory.config(), directory.config().with_file_name("netrc"));
    std::fs::write(config.with_file_name("gitconfig"), "").unwrap();
    let config = config.to_str().unwrap();
    let sandbox = Sandbox::new();
    let faults = [
        (None, "No such file or directory"),
        (
            Some("machine gl.example login ci password s3cret-word"),
            "has mode 0644: others can read or replace its passwords\n  fix: chmod 600",
        ),
        (
            Some("default login ci password s3cret-word"),
            ":1: `default` would send its password to every host",
        ),
        (
            Some("machine gl.example login ci"),
            ":1: this machine has no login or no password\n  fix: write one line for each host: machine",
        ),
    ];
    for (text, says) in faults {
        if let Some(text) = text {
            let mode = if says.contains("0644") { 0o644 } else { 0o600 };
            std::fs::write(&netrc, text).unwrap();
            std::fs::set_permissions(&netrc, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        for command in [
            &["config", "check"][..],
            &["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"],
        ] {
            let ran = sandbox.run(&[command, &["--config", config]].concat());
            assert_eq!(ran.code, 2, "{}", ran.stderr);
            assert!(
                ran.stderr.contains("`route.1.netrc` cannot be used: ") && ran.stderr.contains(says),
                "{}",
                ran.stderr
            );
            assert!(!ran.stderr.contains(PASSWORD), "{}", ran.stderr);
        }
    }
    write_private(&netrc, &format!("machine gl.example login ci password {PASSWORD}\n"));
    let path = std::env::var("PATH").unwrap();
    let ran = sandbox.run_with(&["config", "check", "--config", config], &[("PATH", &path)]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let shown = sandbox.run(&["config", "show", "--config", config]);
    assert!(shown.stdout.contains("route.1.netrc") && !shown.stdout.contains(PASSWORD), "{}", shown.stdout);
}
