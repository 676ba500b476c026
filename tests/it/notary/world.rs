//! What a notary's tests need: modules as proxies serve them, a proxy that records and can be told to misbehave, a log.

use crate::support::logs;
use crate::support::logs::LogOptions;
use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Write as _};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, Uri};
use tallystick::clock::Clock;
use tallystick::log::{Conditions, Log};
use tallystick::module::{ModuleVersion, PathPatterns};
use tallystick::notary::{Notary, NotaryLimits, NotaryOptions, NotaryRoute, RemoteLines};
use tallystick::note::SignerKey;
use tallystick::route::{Checksum, Route};
use tallystick::share::Claimant;
use tallystick::source::SourceList;
use tallystick::upstream::{ClientOptions, GoProxy, HttpClient, ModuleLimits, ProxySettings};
use tokio::sync::watch;

pub(super) fn module(text: &str) -> ModuleVersion {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A client on this machine.
pub(super) fn client() -> Claimant {
    Claimant::at([127, 0, 0, 1].into())
}

/// A zip of these files, deflated.
pub(super) fn zip(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(name.as_str(), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The files of a module proxy: `corp.example/m/@v/v1.0.0.zip` and so on.
#[derive(Clone, Default)]
pub(super) struct Files(pub(super) BTreeMap<String, Vec<u8>>);

impl Files {
    /// A module with a go.mod that requires others, and one source file.
    pub(super) fn add(&mut self, module: &ModuleVersion, requires: &[ModuleVersion]) {
        let mut go_mod = format!("module {}\n\ngo 1.17\n", module.path);
        for other in requires {
            go_mod.push_str(&format!("\nrequire {} {}\n", other.path, other.version));
        }
        let content = vec![
            (format!("{module}/go.mod"), go_mod.clone().into_bytes()),
            (format!("{module}/m.go"), format!("package m // {module}\n").into_bytes()),
        ];
        self.add_files(module, go_mod.as_bytes(), zip(&content));
    }

    /// A module whose `.mod` and `.zip` are exactly these.
    pub(super) fn add_files(&mut self, module: &ModuleVersion, go_mod: &[u8], zip: Vec<u8>) {
        let info = format!(
            r#"{{"Version":"{}","Time":"2026-01-01T00:00:00Z","Origin":{{"VCS":"git","URL":"https://git.corp.example/m","Hash":"abc"}}}}"#,
            module.version
        );
        self.0.insert(file(module, "info"), info.into_bytes());
        self.0.insert(file(module, "mod"), go_mod.to_vec());
        self.0.insert(file(module, "zip"), zip);
    }

    pub(super) fn write(&self, directory: &Path) {
        for (name, content) in &self.0 {
            let path = directory.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }
}

pub(super) fn file(module: &ModuleVersion, extension: &str) -> String {
    format!("{}/@v/{}.{extension}", module.path.escaped(), module.version.escaped())
}

/// What a proxy says instead of a file.
#[derive(Clone)]
pub(super) enum Say {
    /// A status, a body, and whatever else is in the head.
    Status(u16, &'static str, Option<&'static str>),
    /// The file with a wrong length: the connection ends early.
    CutOff,
    /// No answer, ever.
    Nothing,
}

/// A module proxy in this process.
pub(super) struct Proxy {
    pub(super) url: String,
    state: Arc<ProxyState>,
}

struct ProxyState {
    files: Mutex<Files>,
    says: Mutex<HashMap<String, Say>>,
    requests: Mutex<Vec<String>>,
    /// While it is closed, requests wait before they are answered.
    open: watch::Sender<bool>,
}

impl Proxy {
    pub(super) async fn start(files: Files) -> Proxy {
        let state = Arc::new(ProxyState {
            files: Mutex::new(files),
            says: Mutex::default(),
            requests: Mutex::default(),
            open: watch::Sender::new(true),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Proxy { url, state }
    }

    pub(super) fn add(&self, module: &ModuleVersion, requires: &[ModuleVersion]) {
        self.state.files.lock().unwrap().add(module, requires);
    }

    pub(super) fn say(&self, file: String, say: Say) {
        self.state.says.lock().unwrap().insert(file, say);
    }

    pub(super) fn close(&self) {
        self.state.open.send_replace(false);
    }

    pub(super) fn open(&self) {
        self.state.open.send_replace(true);
    }

    /// What was asked for, in order.
    pub(super) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Returns when so many requests have come that contain `part`.
    pub(super) async fn asked(&self, part: &str, times: usize) {
        let asked = || self.requests().iter().filter(|path| path.contains(part)).count() >= times;
        eventually(asked).await;
    }
}

async fn answer(State(state): State<Arc<ProxyState>>, uri: Uri) -> Response<Body> {
    let name = uri.path().trim_start_matches('/').to_owned();
    state.requests.lock().unwrap().push(name.clone());
    let mut open = state.open.subscribe();
    let _ = open.wait_for(|open| *open).await;
    if matches!(state.says.lock().unwrap().get(&name), Some(Say::Nothing)) {
        std::future::pending::<()>().await;
    }
    let content = state.files.lock().unwrap().0.get(&name).cloned();
    let missing = || {
        let answer = Response::builder().status(404).header("content-type", "text/plain");
        answer.body(Body::from("not found: unknown version\n")).unwrap()
    };
    match (state.says.lock().unwrap().get(&name), content) {
        (Some(Say::Status(status, body, retry_after)), _) => {
            let answer = Response::builder().status(*status).header("content-type", "text/plain");
            let answer = match retry_after {
                Some(seconds) => answer.header("retry-after", *seconds),
                None => answer,
            };
            answer.body(Body::from(*body)).unwrap()
        }
        (Some(Say::CutOff), Some(content)) => {
            // Closed when it ends: a connection that stays open would be an answer that stalls, not one that breaks off.
            let answer =
                Response::builder().header("content-length", content.len()).header("connection", "close");
            answer.body(Body::from(content[..content.len() / 2].to_vec())).unwrap()
        }
        (None, Some(content)) => Response::new(Body::from(content)),
        (_, _) => missing(),
    }
}

/// Looks again and again until it is so; fails after ten seconds.
pub(super) async fn eventually(condition: impl Fn() -> bool) {
    let so = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), so).await.expect("it did not come true in ten seconds");
}

/// A log in a directory of its own.
pub(super) struct World {
    pub(super) log: Log,
    pub(super) clock: Clock,
    pub(super) directory: tempfile::TempDir,
}

impl World {
    pub(super) fn new() -> World {
        World::with_clock(Clock::system())
    }

    pub(super) fn with_clock(clock: Clock) -> World {
        let directory = tempfile::tempdir().unwrap();
        let signer = SignerKey::generate("sum.corp.example".parse().unwrap(), [7; 32]);
        let options = LogOptions {
            directory: directory.path().to_owned(),
            anchor: directory.path().join("anchor.db"),
            signers: vec![signer],
            reader_cache_kib: 256,
            clock: clock.clone(),
        };
        let log = logs::open_log_as(options, Conditions::default()).unwrap();
        World { log, clock, directory }
    }

    /// The sources of a route.
    pub(super) fn source(&self, list: &str) -> GoProxy {
        let proxies = ProxySettings { http: None, https: None, no_proxy: None };
        let options = ClientOptions { proxies, clock: self.clock.clone(), ..ClientOptions::default() };
        let client = HttpClient::new(options).unwrap();
        let list = SourceList::parse(list).unwrap();
        GoProxy::new(list, client, None, ModuleLimits::default(), self.directory.path().to_owned())
    }

    /// A route whose lines are computed.
    pub(super) fn compute(&self, patterns: &str, list: &str) -> NotaryRoute {
        let (modules, source) = (PathPatterns::parse(patterns), Some(self.source(list)));
        Route { modules, source, checksum: Checksum::Compute }
    }

    /// A route whose lines a remote log proves.
    pub(super) fn sumdb(
        &self,
        patterns: &str,
        list: Option<&str>,
        remote: Arc<dyn RemoteLines>,
    ) -> NotaryRoute {
        let (modules, source) = (PathPatterns::parse(patterns), list.map(|list| self.source(list)));
        Route { modules, source, checksum: Checksum::Sumdb(remote) }
    }

    pub(super) fn notary(&self, routes: Vec<NotaryRoute>) -> Notary {
        self.notary_with(routes, NotaryLimits::default())
    }

    pub(super) fn notary_with(&self, routes: Vec<NotaryRoute>, limits: NotaryLimits) -> Notary {
        let options = NotaryOptions { log: self.log.clone(), routes, limits, clock: self.clock.clone() };
        Notary::new(options).unwrap()
    }

    pub(super) fn size(&self) -> u64 {
        self.log.snapshot().size().0
    }
}

pub(super) fn per_minute(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

/// The file URL of a directory.
pub(super) fn file_url(directory: &Path) -> String {
    format!("file://{}", directory.display())
}
