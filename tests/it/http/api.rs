//! `/api/v1`, and the second door.

use std::num::NonZeroU32;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tallystick::http::api::proofs::{Leaf, NoProof, Proof, Wanted};
use tallystick::http::api::{HeadInfo, KeyInfo, LogApi, LogInfo, OPENAPI, RecordInfo};
use tallystick::http::listen::{Door, PeerAddress};
use tallystick::http::metrics::Traffic;
use tallystick::http::ops::{self, Health, Readiness};
use tallystick::http::proxies::TrustedProxies;
use tallystick::http::{Client, ReadError};
use tallystick::log::Inclusion;
use tallystick::module::ModuleVersion;
use tallystick::share::Exhausted;
use tallystick::tlog::{Hash, InclusionProof, RecordId, TreeHead, TreeSize};
use tokio::net::TcpListener;

use super::fake::TestServer;

const IMMUTABLE: &str = "public, max-age=31536000, immutable";
const VKEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

pub(super) struct FakeApi;

fn head(size: u64) -> HeadInfo {
    let root = Hash::EMPTY_TREE;
    let signed_at = "2026-11-21T13:00:00Z".parse().unwrap();
    HeadInfo { size: TreeSize(size), root, note: format!("note {size}\n"), signed_at }
}

fn record(id: u64) -> RecordInfo {
    RecordInfo {
        id: RecordId(id),
        lines: vec!["a v1 h1:x".to_owned(), "a v1/go.mod h1:y".to_owned()],
        appended_at: "2026-11-21T13:00:00.25Z".parse().unwrap(),
        evidence: json!({"source": "file"}),
    }
}

impl LogApi for FakeApi {
    fn admit(&self, _: Client, _: NonZeroU32) -> Result<(), Exhausted> {
        Ok(())
    }

    fn log(&self) -> Result<LogInfo, ReadError> {
        let since = "2026-01-02T03:04:05Z".parse().unwrap();
        let keys = vec![KeyInfo { verifier: VKEY.parse().unwrap(), since, until: None }];
        Ok(LogInfo { name: "n".to_owned(), origin: "o".to_owned(), keys, head: head(0) })
    }

    fn record(&self, id: RecordId) -> Result<Option<RecordInfo>, ReadError> {
        match id.0 {
            0..10 => Ok(Some(record(id.0))),
            10 => Err(ReadError::Damaged { what: "SECRET DETAIL".to_owned() }),
            11 => Err(ReadError::Unavailable { why: "SECRET DETAIL".to_owned() }),
            _ => Ok(None),
        }
    }

    fn module(&self, module: &ModuleVersion) -> Result<Option<RecordInfo>, ReadError> {
        Ok((module.to_string() == "github.com/BurntSushi/toml@v1.3.2").then(|| record(3)))
    }

    fn heads(&self, before: Option<TreeSize>, limit: usize) -> Result<Vec<HeadInfo>, ReadError> {
        let before = before.map_or(1000, |size| size.0);
        Ok((0..before).rev().take(limit).map(head).collect())
    }

    fn head(&self, size: TreeSize) -> Result<Option<HeadInfo>, ReadError> {
        Ok((size.0 < 1000).then(|| head(size.0)))
    }

    fn head_at(&self, time: Timestamp) -> Result<Option<HeadInfo>, ReadError> {
        Ok((time >= head(5).signed_at).then(|| head(5)))
    }

    fn prove(&self, wanted: &Wanted) -> Result<Proof, NoProof> {
        match wanted {
            Wanted::Inclusion { leaf: Leaf::Record(record), size } => {
                let tree = TreeHead { size: size.unwrap_or(TreeSize(9)), root: Hash::EMPTY_TREE };
                let (leaf, proof) = (Hash::EMPTY_TREE, InclusionProof(vec![Hash::EMPTY_TREE]));
                Ok(Proof::Inclusion(Inclusion { record: *record, leaf, tree, proof, note: None }))
            }
            Wanted::Inclusion { .. } => {
                Err(NoProof::Read(ReadError::Damaged { what: "SECRET DETAIL".to_owned() }))
            }
            Wanted::Consistency { .. } => {
                Err(NoProof::Read(ReadError::Unavailable { why: "SECRET DETAIL".to_owned() }))
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents() {
    let server = TestServer::start().await;
    // The hash of the empty tree is SHA-256 of nothing (protocol.md).
    let root = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let head = |size: u64| json!({"size": size, "root": root, "note": format!("note {size}\n"), "signed_at": "2026-11-21T13:00:00Z"});
    let record = |id: u64| {
        json!({
            "record": id, "lines": ["a v1 h1:x", "a v1/go.mod h1:y"], "appended_at": "2026-11-21T13:00:00.25Z",
            "evidence": {"source": "file"},
        })
    };
    let proof = |record: u64, size: u64| json!({"record": record, "size": size, "leaf": root, "root": root, "hashes": [root]});
    let log = json!({
        "name": "n", "origin": "o", "keys": [{"verifier": VKEY, "since": "2026-01-02T03:04:05Z"}], "head": head(0),
    });
    for (path, cache_control, document) in [
        ("/api/v1/log", "no-cache", log),
        ("/api/v1/records/7", "public, max-age=3600", record(7)),
        ("/api/v1/modules/github.com/!burnt!sushi/toml@v1.3.2", "public, max-age=3600", record(3)),
        ("/api/v1/modules/github.com/%21burnt%21sushi%2Ftoml%40v1.3.2", "public, max-age=3600", record(3)),
        ("/api/v1/heads/5", "public, max-age=3600", head(5)),
        ("/api/v1/heads?at=2026-11-21T13:00:00Z", "no-cache", json!({"heads": [head(5)]})),
        ("/api/v1/heads?at=2026-11-21", "no-cache", json!({"heads": [head(5)]})),
        ("/api/v1/proofs/inclusion?record=7&size=8", IMMUTABLE, proof(7, 8)),
        ("/api/v1/proofs/inclusion?record=7", "no-cache", proof(7, 9)),
        ("/api/v1/openapi.json", "no-cache", serde_json::from_str(OPENAPI).unwrap()),
        ("/api/v1/heads?limit=2&before=5", "no-cache", json!({"heads": [head(4), head(3)]})),
        ("/api/v1/heads?before=1", "no-cache", json!({"heads": [head(0)]})),
    ] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")), "{path}");
        assert_eq!(reply.header("cache-control"), Some(cache_control), "{path}");
        assert_eq!(serde_json::from_str::<Value>(&reply.body).unwrap(), document, "{path}");
        let etag = reply.header("etag");
        assert_eq!(etag.is_some(), cache_control == "no-cache", "{path}");
        if let Some(etag) = etag {
            let again = server.ask("GET", path, &[("If-None-Match", etag)]).await;
            assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
        }
        let head = server.ask("HEAD", path, &[]).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert_eq!(head.header("content-length"), Some(reply.body.len().to_string().as_str()), "{path}");
    }
    let heads =
        |reply: &str| serde_json::from_str::<Value>(reply).unwrap()["heads"].as_array().unwrap().len();
    assert_eq!(heads(&server.get("/api/v1/heads").await.body), 20);
    assert_eq!(heads(&server.get("/api/v1/heads?limit=100").await.body), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn problems() {
    let server = TestServer::start().await;
    for (path, status, title) in [
        ("/api/v1/records/99", 404, "Not Found"),
        ("/api/v1/records/07", 400, "Bad Request"),
        ("/api/v1/records/x", 400, "Bad Request"),
        ("/api/v1/records/-1", 400, "Bad Request"),
        ("/api/v1/records/99999999999999999999", 400, "Bad Request"),
        ("/api/v1/records/10", 500, "Internal Server Error"),
        ("/api/v1/records/11", 503, "Service Unavailable"),
        ("/api/v1/records/", 404, "Not Found"),
        ("/api/v1/modules/example.com/no@v1.0.0", 404, "Not Found"),
        ("/api/v1/modules/example.com/No@v1.0.0", 400, "Bad Request"),
        ("/api/v1/modules/example.com", 400, "Bad Request"),
        ("/api/v1/modules/example.com/a@v2.0.0", 400, "Bad Request"),
        ("/api/v1/heads/1000", 404, "Not Found"),
        ("/api/v1/heads/+1", 400, "Bad Request"),
        ("/api/v1/heads?limit=101", 400, "Bad Request"),
        ("/api/v1/heads?limit=0", 400, "Bad Request"),
        ("/api/v1/heads?at=yesterday", 400, "Bad Request"),
        ("/api/v1/heads?at=2026-11-20", 404, "Not Found"),
        ("/api/v1/proofs/inclusion?module=example.com/a@v1.0.0", 500, "Internal Server Error"),
        ("/api/v1/proofs/consistency?from=1", 503, "Service Unavailable"),
        ("/api/v1/proofs/consistency?to=1", 400, "Bad Request"),
        ("/api/v1/records/%zz", 400, "Bad Request"),
        ("/api/v1/modules/example.com/%zz@v1.0.0", 400, "Bad Request"),
        ("/api/v1/modules/example.com/%ff@v1.0.0", 400, "Bad Request"),
        ("/api/v1/", 404, "Not Found"),
        ("/api/v2/log", 404, "Not Found"),
    ] {
        let reply = server.get(path).await;
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{path}");
        let cache_control = if status == 404 { "public, max-age=60" } else { "no-store" };
        assert_eq!(reply.header("cache-control"), Some(cache_control), "{path}");
        let problem: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(problem["status"], status, "{path}");
        assert_eq!(problem["title"], title, "{path}");
        assert_eq!(problem["type"], "about:blank", "{path}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{path}");
        assert!(!reply.body.contains("SECRET"), "{path}");
    }
    let post = server.ask("POST", "/api/v1/log", &[]).await;
    assert_eq!((post.status, post.header("content-type")), (405, Some("application/problem+json")));
    assert!(post.header("allow").is_some_and(|allow| allow.contains("GET") && allow.contains("HEAD")));
}

struct FakeHealth(Readiness);

impl Health for FakeHealth {
    fn readiness(&self) -> Readiness {
        self.0.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_door() {
    let counted = TestServer::start().await;
    for path in
        ["/latest", "/lookup/example.com/hit@v1.0.0", "/lookup/example.com/new@v1.0.0", "/tile/8/0/000", "/x"]
    {
        counted.get(path).await;
    }
    for (readiness, status, text) in [
        (Readiness::Ready, 200, "ready\n"),
        (Readiness::ReadOnly { why: "disk".to_owned() }, 200, "ready, read-only: disk\n"),
        (Readiness::NotReady { why: "starting".to_owned() }, 503, "not ready: starting\n"),
    ] {
        let site = Arc::new(ops::router(Arc::new(FakeHealth(readiness)), counted.metrics.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let door = Door {
            site,
            tls: None,
            limits: ops::limits(),
            proxies: TrustedProxies::default(),
            traffic: Traffic::default(),
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = tokio::spawn(door.serve(listener, async {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let get = async |path: &str| {
            let reply = client.get(format!("{url}{path}")).send().await.unwrap();
            (reply.status().as_u16(), reply.headers()["cache-control"].clone(), reply.text().await.unwrap())
        };
        assert_eq!(get("/readyz").await, (status, "no-store".parse().unwrap(), text.to_owned()));
        assert_eq!(get("/healthz").await, (200, "no-store".parse().unwrap(), "ok\n".to_owned()));
        assert_eq!(get("/latest").await.0, 404, "the log is not behind this door");
        let (status, _, metrics) = get("/metrics").await;
        assert_eq!(status, 200);
        for line in [
            r#"tallystick_http_requests_total{endpoint="latest",status="2xx"} 1"#,
            r#"tallystick_http_requests_total{endpoint="lookup",status="2xx"} 1"#,
            r#"tallystick_http_requests_total{endpoint="notarize",status="2xx"} 1"#,
            r#"tallystick_http_requests_total{endpoint="hash_tile",status="2xx"} 1"#,
            r#"tallystick_http_requests_total{endpoint="other",status="4xx"} 1"#,
            r#"tallystick_http_request_duration_seconds_count{endpoint="lookup"} 1"#,
            "tallystick_http_connections_accepted_total 5",
            "tallystick_http_requests_in_flight 0",
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
        }
        assert!(!metrics.contains("example.com"), "no module path in metrics");
        let _ = stop.send(());
        served.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_is_told_its_peer() {
    let router = axum::Router::new().fallback(async |request: axum::extract::Request| {
        request.extensions().get::<PeerAddress>().expect("a peer").0.ip().to_string()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let door = Door {
        site: Arc::new(router),
        tls: None,
        limits: ops::limits(),
        proxies: TrustedProxies::default(),
        traffic: Traffic::default(),
    };
    let serving = tokio::spawn(door.serve(listener, std::future::pending()));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(client.get(url).send().await.unwrap().text().await.unwrap(), "127.0.0.1");
    serving.abort();
}
