//! The real server behind deploy/nginx.conf: each endpoint answers as it does without nginx, and one connection takes
//! more requests than nginx allows by itself.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tempfile::TempDir;

use super::{Nginx, Pair, client, config, eventually, make_pair, start};
use crate::support::logs::lines;
use crate::support::serve::{LogDirectory, Server};

const SECRET: &[u8] = b"It's a Secret to Everybody";
const RECORDS: u64 = 300;

/// A log with records, a mirror with a hook, and nginx in front.
struct World {
    _directory: LogDirectory,
    _temporary: TempDir,
    server: Server,
    _nginx: Nginx,
    client: reqwest::Client,
    https: String,
    access: std::path::PathBuf,
}

impl World {
    async fn start(test: &str) -> Option<World> {
        let temporary = TempDir::new().unwrap();
        let pair = make_pair(test, temporary.path(), "a")?;
        let directory = LogDirectory::new("sum.corp.example", CONFIG);
        let secret = directory.config().with_file_name("hook.secret");
        std::fs::write(&secret, SECRET).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let server = directory.serve();
        fill(&directory);
        let (nginx, port, access) = serve(temporary.path(), &server, &pair)?;
        let client = client(&pair.cert);
        let https = format!("https://localhost:{port}");
        eventually("nginx answers", async || client.get(format!("{https}/latest")).send().await.is_ok())
            .await;
        Some(World {
            _directory: directory,
            _temporary: temporary,
            server,
            _nginx: nginx,
            client,
            https,
            access,
        })
    }
}

const CONFIG: &str = r#"trusted_proxies = ["127.0.0.1"]
[sumdb."sum.golang.org"]
mode = "heads"
poll = "24h"
urls = ["http://127.0.0.1:1"]
hook_secret_file = "hook.secret"
[[route]]
modules = ["example.com/none"]
source = ["file:///nonexistent"]
checksum = "compute"
"#;

fn fill(directory: &LogDirectory) {
    let mut import = Command::new(env!("CARGO_BIN_EXE_tallystick"));
    import.args(["import", "-", "--trust", "--importer", "test", "--config"]).arg(directory.config());
    let mut import = import.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let records: String = (0..RECORDS).map(|id| lines(id).to_text()).collect();
    std::io::Write::write_all(&mut import.stdin.take().unwrap(), records.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
}

/// nginx in front of a server, with a line for each request: which connection it came on.
fn serve(dir: &Path, server: &Server, pair: &Pair) -> Option<(Nginx, u16, std::path::PathBuf)> {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = server.url.strip_prefix("http://").unwrap().parse().unwrap();
    let access = dir.join("access.log");
    let logged = format!("log_format connection '$connection'; access_log {} connection;", access.display());
    let text = config(dir, port, address, pair).replace("access_log off;", &logged);
    Some((start(dir, &text)?, port, access))
}

struct Case {
    path: String,
    /// None for GET.
    body: Option<Vec<u8>>,
    headers: Vec<(&'static str, String)>,
    status: u16,
}

fn cases(server: &Server) -> Vec<Case> {
    let get = |path: &str, status| Case { path: path.to_owned(), body: None, headers: Vec::new(), status };
    let post = |path: &str, body: Vec<u8>, status| Case {
        path: path.to_owned(),
        body: Some(body),
        headers: Vec::new(),
        status,
    };
    let module = lines(7).module.escaped().to_string();
    let name = server.name();
    let mut cases: Vec<Case> = [
        "/latest".to_owned(),
        format!("/lookup/{module}"),
        "/tile/8/0/000".to_owned(),
        "/tile/8/0/001.p/44".to_owned(),
        "/tile/8/data/001.p/44".to_owned(),
        format!("/sumdb/{name}/supported"),
        format!("/sumdb/{name}/lookup/{module}"),
        "/tlog/checkpoint".to_owned(),
        "/tlog/tile/0/000".to_owned(),
        "/tlog/tile/entries/000".to_owned(),
        "/api/v1/log".to_owned(),
        "/api/v1/records/7".to_owned(),
        format!("/api/v1/modules/{module}"),
        "/api/v1/heads".to_owned(),
        format!("/api/v1/heads/{RECORDS}"),
        format!("/api/v1/proofs/inclusion?module={module}&size={RECORDS}"),
        format!("/api/v1/proofs/consistency?from=100&to={RECORDS}"),
        "/api/v1/openapi.json".to_owned(),
        format!("/api/v1/tlog-proof/{module}"),
    ]
    .iter()
    .map(|path| get(path, 200))
    .collect();
    cases.extend([
        get("/lookup/example.com/absent@v1.0.0", 404),
        get("/api/v1/records/999999", 404),
        // Only its heads are watched.
        get("/sumdb/sum.golang.org/supported", 404),
        get("/nothing", 404),
        get("/api/v1/proofs", 405),
    ]);
    // As large as each may be, and larger.
    let proofs = |bytes: usize| {
        let list: Vec<String> = (0..100).map(|id| format!(r#"{{"record": {id}}}"#)).collect();
        let list = format!("[{}]", list.join(","));
        format!("{list}{}", " ".repeat(bytes - list.len())).into_bytes()
    };
    cases.push(post("/api/v1/proofs", proofs(64 << 10), 200));
    cases.push(post("/api/v1/proofs", proofs((64 << 10) + 1), 413));
    cases.push(post("/api/v1/gossip", vec![b'x'; 64 << 10], 400));
    cases.push(post("/api/v1/gossip", vec![b'x'; (64 << 10) + 1], 413));
    for (bytes, status) in [(2, 202), (1 << 20, 202), ((1 << 20) + 1, 413)] {
        let body = vec![b'x'; bytes];
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
        mac.update(&body);
        let signature: String =
            mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let headers = vec![("X-Hub-Signature-256", format!("sha256={signature}"))];
        cases.push(Case {
            path: "/hooks/mirror/sum.golang.org".to_owned(),
            body: Some(body),
            headers,
            status,
        });
    }
    cases.push(post("/hooks/mirror/sum.golang.org", vec![b'x'; 1 << 20], 401));
    cases
}

type Seen = (u16, Vec<Option<String>>, Vec<u8>);

async fn ask(client: &reqwest::Client, base: &str, case: &Case) -> Seen {
    let url = format!("{base}{}", case.path);
    let request = match &case.body {
        None => client.get(url),
        Some(body) => client.post(url).body(body.clone()),
    };
    let request = case.headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let header = |name| {
        answer
            .headers()
            .get(name)
            .map(|value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned())
    };
    let headers = ["content-type", "cache-control", "etag", "allow"].map(header).to_vec();
    (status, headers, answer.bytes().await.unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_answers_through_nginx_as_without_it() {
    let test = "every_endpoint_answers_through_nginx_as_without_it";
    let Some(world) = World::start(test).await else { return };
    let cases = cases(&world.server);
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    for case in &cases {
        let through = ask(&world.client, &world.https, case).await;
        let direct = ask(&plain, &world.server.url, case).await;
        let bytes = case.body.as_ref().map_or(0, Vec::len);
        assert_eq!(direct.0, case.status, "{} with {bytes} bytes: {}", case.path, text(&direct));
        assert!(through == direct, "{} with {bytes} bytes: {}", case.path, text(&through));
    }
    // No endpoint of the description is left out.
    let description =
        Case { path: "/api/v1/openapi.json".to_owned(), body: None, headers: Vec::new(), status: 200 };
    let description = ask(&plain, &world.server.url, &description).await.2;
    let description: serde_json::Value = serde_json::from_slice(&description).unwrap();
    let asked: BTreeSet<&str> =
        cases.iter().map(|case| case.path.split('?').next().expect("a path")).collect();
    for path in description["paths"].as_object().unwrap().keys() {
        let fixed = path.split('{').next().expect("a first part");
        let is_asked = |asked: &&str| asked.starts_with(fixed) && (fixed != path) == (*asked != fixed);
        assert!(asked.iter().any(is_asked), "no case for {path}");
    }
}

fn text((status, headers, body): &Seen) -> String {
    format!("{status} {headers:?} {}", String::from_utf8_lossy(&body[..body.len().min(300)]))
}

/// nginx closes a connection after 1,000 requests unless it is told otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_takes_thousands_of_requests() {
    const REQUESTS: usize = 2_500;
    const AT_ONCE: usize = 50;
    let Some(world) = World::start("one_connection_takes_thousands_of_requests").await else { return };
    // A line is written when its request is done, on nginx's side: that of the first look, too.
    let log = || std::fs::read_to_string(&world.access).unwrap();
    eventually("the first look is logged", async || !log().is_empty()).await;
    let before = log().lines().count();
    for _ in 0..REQUESTS / AT_ONCE {
        let mut some = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE {
            let request = world.client.get(format!("{}/latest", world.https));
            some.spawn(async move {
                let answer = request.send().await.unwrap();
                assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 200));
                answer.bytes().await.unwrap();
            });
        }
        some.join_all().await;
    }
    eventually("every request is logged", async || log().lines().count() >= before + REQUESTS).await;
    let connections: BTreeSet<String> = log().lines().skip(before).map(str::to_owned).collect();
    assert_eq!(connections.len(), 1, "{connections:?}");
}
