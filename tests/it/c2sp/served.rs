//! `/tlog/` as foreign programs see it: Tessera's client library and its `cmd/fsck` read and verify a running server.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tallystick::note::{CosignatureVerifier, VerifierKey, open};
use tallystick::tlog::*;

use crate::support::eventually;
use crate::support::logs::lines;
use crate::support::serve::{LogDirectory, Server};

const NAME: &str = "sum.corp.example/log";
const NO_MODULES: &str =
    "[[route]]\nmodules = [\"*\"]\nsource = [\"file:///nonexistent\"]\nchecksum = \"compute\"\n";

/// Appends records 0 to `size`, through the running server.
fn grow(data: &LogDirectory, size: u64) {
    let file = data.config().with_file_name("records.txt");
    std::fs::write(&file, (0..size).map(|id| lines(id).to_text() + "\n").collect::<String>()).unwrap();
    let config = data.config();
    let output = Command::new(env!("CARGO_BIN_EXE_tallystick"))
        .args(["--config", config.to_str().unwrap(), "import", file.to_str().unwrap()])
        .args(["--trust", "--importer", "test"])
        .current_dir(config.parent().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn tessera_reads_and_verifies_a_running_server() {
    let test = "tessera_reads_and_verifies_a_running_server";
    let (Some(tiles), Some(fsck)) =
        (super::build(test, "tiles"), super::build(test, "github.com/transparency-dev/tessera/cmd/fsck"))
    else {
        return;
    };
    let data = LogDirectory::new(NAME, NO_MODULES);
    let server = data.serve();
    let vkey = data.config().with_file_name("log.vkey");
    std::fs::write(&vkey, &server.vkey).unwrap();
    // A lone record, a full tile, a partial one beside it, and three levels of tiles.
    for size in [1, 256, 300, 66_000] {
        grow(&data, size);
        let url = format!("{}/tlog/", server.url);
        let output = Command::new(&tiles).args([&url, &server.vkey]).output().unwrap();
        assert!(output.status.success(), "{size}: {}", String::from_utf8_lossy(&output.stderr));
        let read: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(read["size"], json!(size));
        let entries = read["entries"].as_array().unwrap();
        for (id, entry) in entries.iter().enumerate() {
            assert_eq!(entry.as_str().unwrap(), STANDARD.encode(lines(id as u64).to_text()), "record {id}");
        }
        // Its command ends with 0 in any case; what it found it logs.
        let output = Command::new(&fsck)
            .args([
                "-ui=false",
                "-logtostderr",
                "-v=1",
                "-storage_url",
                &url,
                "-public_key",
                vkey.to_str().unwrap(),
            ])
            .output()
            .unwrap();
        let logged = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && logged.contains("Completed ranges") && !logged.contains("failed"),
            "{logged}"
        );
    }
    // Both find a log that is not the key's, so that what they say above means something.
    let other = tallystick::note::SignerKey::generate(NAME.parse().unwrap(), [9; 32]).verifier().to_string();
    let url = format!("{}/tlog/", server.url);
    assert!(!Command::new(&tiles).args([&url, &other]).output().unwrap().status.success());
    std::fs::write(&vkey, other).unwrap();
    let arguments =
        ["-ui=false", "-logtostderr", "-storage_url", &url, "-public_key", vkey.to_str().unwrap()];
    let output = Command::new(&fsck).args(arguments).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("fsck failed"));
    server.stop();
}

struct Page {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Page {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn ask(server: &Server, path: &str, etag: Option<&str>) -> Page {
    let mut request = reqwest::Client::new().get(format!("{}{path}", server.url));
    if let Some(etag) = etag {
        request = request.header("if-none-match", etag);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Page { status, headers, body: response.bytes().await.unwrap().to_vec() }
}

async fn get(server: &Server, path: &str) -> Page {
    ask(server, path, None).await
}

/// The newest checkpoint, once the log has dated it: that follows its publication.
async fn dated(server: &Server) -> Page {
    let key = CosignatureVerifier::from(&server.vkey.parse::<VerifierKey>().unwrap());
    let mut page = get(server, "/tlog/checkpoint").await;
    eventually("the checkpoint is dated", async || {
        page = get(server, "/tlog/checkpoint").await;
        open(&page.body, &[&key]).is_ok()
    })
    .await;
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checkpoint_is_latest_under_an_origin_of_its_own() {
    let data = LogDirectory::new(NAME, NO_MODULES);
    let server = data.serve();
    let key: VerifierKey = server.vkey.parse().unwrap();
    for size in [0, 3, 300] {
        grow(&data, size);
        let (page, latest) = (dated(&server).await, get(&server, "/latest").await);
        assert_eq!(page.status, 200);
        let note = open(&page.body, &[&key]).unwrap();
        let checkpoint = Checkpoint::parse(&note.text).unwrap();
        assert_eq!(checkpoint.origin.as_str(), NAME);
        assert_eq!(checkpoint.tree, TreeHead::parse(&open(&latest.body, &[&key]).unwrap().text).unwrap());
        assert_eq!((checkpoint.tree.size.0, checkpoint.extension_lines().count()), (size, 0));
        // The log's signature, and its cosignature with the time.
        assert_eq!((note.signatures.len(), note.unverified.len()), (1, 1));
        assert_eq!(page.header("content-type").to_lowercase(), "text/plain; charset=utf-8");
        assert_eq!(page.header("cache-control"), "no-cache");
        let again = ask(&server, "/tlog/checkpoint", Some(page.header("etag"))).await;
        assert_eq!((again.status, again.body.len()), (304, 0));
        grow(&data, size + 1);
        assert_eq!(ask(&server, "/tlog/checkpoint", Some(page.header("etag"))).await.status, 200);
    }
    server.stop();
    // The same after a start, from what is stored.
    let server = data.serve();
    let page = get(&server, "/tlog/checkpoint").await;
    assert_eq!(Checkpoint::parse(&open(&page.body, &[&key]).unwrap().text).unwrap().tree.size.0, 301);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_signs_nothing_says_so() {
    let data = LogDirectory::new(NAME, NO_MODULES);
    let database = data.data().join("log.db");
    let server = data.serve();
    grow(&data, 3);
    server.stop();
    let backup = std::fs::read(&database).unwrap();
    let server = data.serve();
    grow(&data, 5);
    server.stop();
    // What was published is larger than what is there: it is served as far as it goes, and nothing is signed.
    std::fs::write(&database, backup).unwrap();
    let server = data.serve();
    assert_eq!(get(&server, "/latest").await.status, 200);
    assert_eq!(get(&server, "/tlog/tile/0/000.p/3").await.status, 200);
    for path in ["/tlog/checkpoint", &format!("/api/v1/tlog-proof/{}", lines(1).module.escaped())] {
        let page = get(&server, path).await;
        let text = String::from_utf8(page.body.clone()).unwrap();
        assert_eq!((page.status, page.header("retry-after")), (503, "60"), "{path}: {text}");
        assert!(text.contains("the log signs nothing at the moment"), "{text}");
        assert_eq!(page.header("cache-control"), "no-store");
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_are_those_of_the_checksum_database() {
    let data = LogDirectory::new(NAME, NO_MODULES);
    let server = data.serve();
    grow(&data, 700);
    for (ours, theirs) in [
        ("tile/0/000", "tile/8/0/000"),
        ("tile/0/001", "tile/8/0/001"),
        ("tile/0/002.p/188", "tile/8/0/002.p/188"),
        ("tile/0/002.p/1", "tile/8/0/002.p/1"),
        ("tile/1/000.p/2", "tile/8/1/000.p/2"),
    ] {
        let (page, known) =
            (get(&server, &format!("/tlog/{ours}")).await, get(&server, &format!("/{theirs}")).await);
        assert_eq!((page.status, &page.body), (200, &known.body), "{ours}");
        assert_eq!(page.header("content-type"), "application/octet-stream");
        assert_eq!(page.header("cache-control"), "public, max-age=31536000, immutable");
    }
    for (path, records) in
        [("000", 0..256), ("001", 256..512), ("002.p/188", 512..700), ("002.p/1", 512..513)]
    {
        let page = get(&server, &format!("/tlog/tile/entries/{path}")).await;
        let texts: Vec<String> = records.map(|id| lines(id).to_text()).collect();
        // Written out as the specification has it: two bytes of length, then the record.
        let bundle: Vec<u8> = texts
            .iter()
            .flat_map(|text| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat())
            .collect();
        assert_eq!((page.status, page.body == bundle), (200, true), "{path}");
        assert_eq!(page.header("content-type"), "application/octet-stream");
        assert_eq!(page.header("cache-control"), "public, max-age=31536000, immutable");
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_refused() {
    let data = LogDirectory::new(NAME, NO_MODULES);
    let server = data.serve();
    grow(&data, 300);
    for (path, status) in [
        ("tile/0/002", 404),
        ("tile/0/001", 404),
        ("tile/0/001.p/45", 404),
        ("tile/1/000.p/2", 404),
        ("tile/1/000", 404),
        ("tile/63/000.p/1", 404),
        ("tile/entries/001", 404),
        ("tile/entries/001.p/45", 404),
        ("tile/entries/x001/000", 404),
        ("tile/64/000", 400),
        ("tile/8/0/000", 400),
        ("tile/data/000", 400),
        ("tile/8/data/000", 400),
        ("tile/0/0", 400),
        ("tile/0/000.p/0", 400),
        ("tile/0/000.p/256", 400),
        ("tile/00/000", 400),
        ("tile/-1/000", 400),
        ("tile/entries/000.p/256", 400),
        ("tile/entries", 400),
        ("tile/", 400),
        ("tile/0/%zz", 400),
        ("", 404),
        ("latest", 404),
        ("checkpoint/", 404),
        ("lookup/rsc.io/quote@v1.5.2", 404),
        ("sumdb/sum.corp.example/log/latest", 404),
    ] {
        let page = get(&server, &format!("/tlog/{path}")).await;
        assert_eq!(page.status, status, "{path}: {}", String::from_utf8_lossy(&page.body));
        assert!(!page.header("cache-control").contains("immutable"), "{path}");
    }
    let client = reqwest::Client::new();
    let posted = client.post(format!("{}/tlog/checkpoint", server.url)).send().await.unwrap();
    assert_eq!(posted.status().as_u16(), 405);
    let head = client.head(format!("{}/tlog/tile/0/000", server.url)).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()), (200, "8192"));
    server.stop();
}
