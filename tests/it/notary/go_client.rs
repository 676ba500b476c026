//! The real `go` command against a notary behind the smallest possible server: how many requests a build costs.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, Uri};
use tallystick::log::Log;
use tallystick::module::ModuleVersion;
use tallystick::notary::Notary;
use tallystick::tlog::Tile;
use tokio::process::Command;

use super::world::{Files, World, client, file_url, module};

#[derive(Clone)]
struct Server {
    log: Log,
    notary: Notary,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(world: &World, notary: Notary) -> (Server, String) {
        let server = Server { log: world.log.clone(), notary, requests: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, url)
    }
}

async fn answer(State(server): State<Server>, uri: Uri) -> Response<Body> {
    let path = uri.path().trim_start_matches('/').to_owned();
    server.requests.lock().unwrap().push(path.clone());
    let refuse = |status, text: String| {
        let answer = Response::builder().status(status).header("content-type", "text/plain; charset=UTF-8");
        answer.body(Body::from(text)).unwrap()
    };
    if let Some(module) = path.strip_prefix("lookup/") {
        let module = ModuleVersion::unescape(module).unwrap();
        return match server.notary.lookup(module, client()).await {
            Ok(found) => {
                let (id, lines) = (found.record.id, found.record.lines.to_text());
                Response::new(Body::from(format!("{id}\n{lines}\n{}", found.snapshot.head().note)))
            }
            Err(error) => refuse(404, error.to_client_text()),
        };
    }
    match Tile::parse(&path).ok().and_then(|tile| server.log.snapshot().tile(&tile).unwrap()) {
        Some(tile) => Response::new(Body::from(tile)),
        None => refuse(404, "no such tile".to_owned()),
    }
}

struct Ran {
    success: bool,
    stderr: String,
}

/// Runs go in a module of its own, with a cold cache.
async fn go(world: &World, url: &str, proxy: &Path, go_mod: &str, arguments: &[&str]) -> Option<Ran> {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("go.mod"), go_mod).unwrap();
    let output = Command::new("go")
        .args(arguments)
        .current_dir(home.path())
        .env("GOPROXY", file_url(proxy))
        .env("GOSUMDB", format!("{} {url}", world.log.verifier()))
        .env("GONOSUMDB", "none")
        .env("GOPRIVATE", "")
        .env("GOPATH", home.path().join("gopath"))
        .env("GOMODCACHE", home.path().join("mod"))
        .env("GOFLAGS", "-modcacherw -mod=mod")
        .env("GOENV", "off")
        .env("GOTOOLCHAIN", "local")
        .env("GOMAXPROCS", "2")
        .output()
        .await
        .ok()?;
    Some(Ran {
        success: output.status.success(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn require(modules: &[ModuleVersion]) -> String {
    modules.iter().map(|module| format!("require {} {}\n", module.path, module.version)).collect()
}

fn two_hundred() -> (tempfile::TempDir, ModuleVersion, Vec<ModuleVersion>) {
    let (mut files, root) = (Files::default(), module("corp.example/root@v1.0.0"));
    let modules: Vec<_> = (0..200).map(|n| module(&format!("corp.example/dep{n}@v1.0.0"))).collect();
    for module in &modules {
        files.add(module, &[]);
    }
    files.add(&root, &modules);
    let tree = tempfile::tempdir().unwrap();
    files.write(tree.path());
    (tree, root, modules)
}

const NO_GO: &str = "there is no go command";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_modules_behind_one_cost_215_requests() {
    let (tree, root, _) = two_hundred();
    let world = World::new();
    let notary = world.notary(vec![world.compute("*", &file_url(tree.path()))]);
    let (server, url) = Server::start(&world, notary).await;
    let go_mod = format!("module main.example/m\n\ngo 1.16\n\n{}", require(&[root]));
    let Some(ran) = go(&world, &url, tree.path(), &go_mod, &["mod", "download"]).await else {
        eprintln!("SKIPPED: two_hundred_modules_behind_one_cost_215_requests: {NO_GO}");
        return;
    };
    assert!(ran.success, "{}", ran.stderr);
    let requests = server.requests.lock().unwrap().clone();
    let lookups = requests.iter().filter(|path| path.starts_with("lookup/")).count();
    assert_eq!((lookups, world.size()), (201, 201));
    assert!(requests.len() <= 215, "{} requests", requests.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cause_is_read_at_the_prompt() {
    let (tree, _, _) = two_hundred();
    let (wanted, other) = (module("corp.example/new@v1.0.0"), tempfile::tempdir().unwrap());
    let mut files = Files::default();
    files.add(&wanted, &[]);
    files.write(other.path());
    let world = World::new();
    let notary = world.notary(vec![world.compute("*", &file_url(tree.path()))]);
    let (_, url) = Server::start(&world, notary).await;
    let name = wanted.to_string();
    let Some(ran) = go(&world, &url, other.path(), "module m\n", &["mod", "download", &name]).await else {
        eprintln!("SKIPPED: the_cause_is_read_at_the_prompt: {NO_GO}");
        return;
    };
    assert!(!ran.success);
    let line = "not found: the server's module directory does not have corp.example/new@v1.0.0";
    assert!(ran.stderr.contains(line) && ran.stderr.contains("Check path and version"), "{}", ran.stderr);
}
