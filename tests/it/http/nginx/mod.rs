//! deploy/nginx.conf, run by the real nginx with other addresses and certificates, in front of our server.

mod endpoints;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::fake::{HIT, NOTE, Setup};
use super::tls::{Pair, client, make_pair};
use crate::support::eventually;

const TEST: &str = "nginx_passes_everything_through";

/// Replaces a line of the recipe that must be there.
fn adapt(recipe: &str, line: &str, with: &str) -> String {
    assert!(recipe.contains(line), "deploy/nginx.conf has no {line:?}");
    recipe.replace(line, with)
}

fn config(dir: &Path, port: u16, server: std::net::SocketAddr, pair: &Pair) -> String {
    let recipe = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/nginx.conf")).unwrap();
    let recipe = adapt(&recipe, "server 127.0.0.1:8470;", &format!("server {server};"));
    let recipe = adapt(&recipe, "listen 443 ssl http2;", &format!("listen 127.0.0.1:{port} ssl http2;"));
    let recipe = adapt(&recipe, "listen [::]:443 ssl http2;", "");
    let recipe = adapt(&recipe, "server_name sum.corp.example;", "server_name localhost;");
    let cert = format!("{};", pair.cert.display());
    let recipe = adapt(&recipe, "/etc/ssl/certs/sum.corp.example.pem;", &cert);
    let recipe =
        adapt(&recipe, "/etc/ssl/private/sum.corp.example.key;", &format!("{};", pair.key.display()));
    let dir = dir.display();
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {dir}/{kind};\n"))
        .concat();
    format!(
        "daemon off;\npid {dir}/pid;\nerror_log {dir}/error.log;\nworker_processes 1;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}{recipe}}}\n"
    )
}

/// nginx, ended with the test.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master passes SIGQUIT's milder brother on to its workers; a killed master would leave them.
        let _ = Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn start(dir: &Path, text: &str) -> Option<Nginx> {
    let path = dir.join("nginx.conf");
    std::fs::write(&path, text).unwrap();
    let binary = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let log = format!("{}/start.log", dir.display());
    let spawned =
        Command::new(binary).arg("-c").arg(&path).arg("-e").arg(log).stderr(Stdio::inherit()).spawn();
    match spawned {
        Ok(child) => Some(Nginx(child)),
        Err(error) => {
            eprintln!("SKIPPED: {TEST}: nginx cannot be run (Debian: apt-get install nginx): {error}");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_passes_everything_through() {
    let dir = TempDir::new().unwrap();
    let Some(pair) = make_pair(TEST, dir.path(), "a") else { return };
    let server = Setup { trusted_proxies: &["127.0.0.1"], ..Setup::default() }.start().await;
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(mut nginx) = start(dir.path(), &config(dir.path(), port, server.addr, &pair)) else { return };
    let client = client(&pair.cert);
    let url = |path: &str| format!("https://localhost:{port}{path}");
    eventually("nginx answers", async || {
        assert!(nginx.0.try_wait().unwrap().is_none(), "nginx ended: see its message above");
        client.get(url("/latest")).send().await.is_ok()
    })
    .await;
    let latest = client.get(url("/latest")).send().await.unwrap();
    assert_eq!(latest.version(), reqwest::Version::HTTP_2);
    assert_eq!(latest.headers()["cache-control"], "no-cache");
    assert_eq!(latest.headers()["content-type"], "text/plain; charset=UTF-8");
    let etag = latest.headers()["etag"].clone();
    assert_eq!(latest.text().await.unwrap(), NOTE);
    let again = client.get(url("/latest")).header("If-None-Match", &etag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), &again.headers()["etag"]), (304, &etag));
    // Status, cache header and body are ours for every path: escapes survive both ways.
    let minute = "public, max-age=60";
    for (path, status, cache_control, body) in [
        ("/lookup/example.com/hit@v1.0.0", 200, "public, max-age=3600", HIT),
        ("/lookup/github.com/!burnt!sushi/toml@v1.3.2-!r!c1", 200, "public, max-age=3600", "unescaped"),
        (
            "/lookup/github.com/%21burnt%21sushi%2Ftoml%40v1.3.2-!r!c1",
            200,
            "public, max-age=3600",
            "unescaped",
        ),
        ("/lookup/example.com/hit%2540v1.0.0", 400, "no-store", "invalid module@version syntax\n"),
        ("/tile/8/0/%30%30", 400, "no-store", "invalid tile syntax\n"),
        ("//latest", 404, minute, "not found: no such path or checksum database on this server\n"),
        (
            "/lookup/example.com/no@v1.0.0",
            404,
            minute,
            "example.com/no@v1.0.0: the first line\nand the remedy \\u{7}\n",
        ),
        (
            "/lookup/example.com/forbidden@v1.0.0",
            403,
            "no-store",
            "example.com/forbidden@v1.0.0: the first line\nand the remedy \\u{7}\n",
        ),
        (
            "/lookup/example.com/busy@v1.0.0",
            503,
            "no-store",
            "example.com/busy@v1.0.0: the first line\nand the remedy \\u{7}\n",
        ),
        ("/lookup/example.com/whoami@v1.0.0", 200, "public, max-age=3600", "127.0.0.1"),
    ] {
        let reply = client.get(url(path)).header("X-Forwarded-For", "6.6.6.6").send().await.unwrap();
        assert_eq!(reply.status().as_u16(), status, "{path}");
        assert_eq!(reply.headers()["cache-control"], cache_control, "{path}");
        assert_eq!(reply.text().await.unwrap(), body, "{path}");
    }
    let busy = client.get(url("/lookup/example.com/busy@v1.0.0")).send().await.unwrap();
    assert_eq!(busy.headers()["retry-after"], "7");
    let tile = client.get(url("/tile/8/0/000")).send().await.unwrap();
    assert_eq!(tile.headers()["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(tile.bytes().await.unwrap().len(), 8192);
    let post = client.post(url("/latest")).send().await.unwrap();
    assert_eq!((post.status().as_u16(), &post.headers()["allow"] == "GET, HEAD"), (405, true));
}

/// What we ask over TLS is asked over HTTP/2 where a server has it.
#[tokio::test(flavor = "multi_thread")]
async fn other_servers_are_asked_over_http_2() {
    use tallystick::source::SourceUrl;
    use tallystick::upstream::{ClientOptions, HttpClient, ProxySettings};
    let dir = TempDir::new().unwrap();
    let Some(pair) = make_pair(TEST, dir.path(), "a") else { return };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (path, cert, key) = (dir.path().display(), pair.cert.display(), pair.key.display());
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {path}/{kind};\n"))
        .concat();
    let text = format!(
        "daemon off;\npid {path}/pid;\nerror_log {path}/error.log;\nworker_processes 1;\nevents {{}}\nhttp {{\naccess_log off;\n\
         {paths}server {{ listen 127.0.0.1:{port} ssl http2; server_name localhost; ssl_certificate {cert}; \
         ssl_certificate_key {key}; location / {{ return 200 \"$server_protocol $http_user_agent\"; }} }}\n}}\n"
    );
    let Some(mut nginx) = start(dir.path(), &text) else { return };
    let options = ClientOptions {
        roots: Some(pair.cert.clone()),
        proxies: ProxySettings::default(),
        user_agent: "test/1".to_owned(),
        ..ClientOptions::default()
    };
    let client = HttpClient::new(options).unwrap();
    let url = SourceUrl::parse(&format!("https://localhost:{port}/latest")).unwrap();
    let mut body = None;
    eventually("nginx answers", async || {
        assert!(nginx.0.try_wait().unwrap().is_none(), "nginx ended: see its message above");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        body = client.get(&url, 1000, deadline).await.ok().map(|response| response.body);
        body.is_some()
    })
    .await;
    assert_eq!(body.unwrap(), "HTTP/2.0 test/1");
}
