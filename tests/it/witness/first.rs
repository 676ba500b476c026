//! The first signature of a process: what the log's witnesses must have said before it is made.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{StatusCode, Uri, header::CONTENT_TYPE};
use tallystick::log::{ReadOnly, State, stops};
use tallystick::source::SourceUrl;
use tallystick::tlog::TreeSize;
use tallystick::upstream::{ClientOptions, HttpClient, ProxySettings};

use super::own::{HOUR, World, keys, liar, peer};
use super::witness_key;
use crate::support::logs::{candidate, candidates, lines};
use crate::support::serve::LogDirectory;
use crate::support::{eventually, poll};

/// Long enough to be told apart from an answer, on a busy machine too.
const HEARING: Duration = Duration::from_secs(2);

fn vkey() -> String {
    witness_key().verifier().to_string()
}

/// A log of 5 records that no witness knows, with a witness at this address.
async fn world_with(url: &str, vkey: &str) -> World {
    let mut world = World::new();
    let running = world.open();
    running.log.append(candidates(0..5)).await.unwrap();
    running.close().await;
    (world.peers, world.quorum) = (vec![peer("w1", url, vkey)], 1);
    world.hearing = HEARING;
    world
}

/// Log and anchor are copies of one time, which agree. The witness knows the newer head.
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_knows_more_keeps_an_old_copy_from_its_first_signature() {
    let (mut world, _witness) = World::with_old_backup().await;
    // What the machine itself remembers of the witness is gone, too.
    std::fs::remove_file(world.path("backup").join("cosignatures.db")).unwrap();

    world.hearing = HOUR;
    let before = database(&world.path("backup"));
    let old = world.open_in(&world.path("backup"));
    // What was signed before is served at once, whatever the witness will say.
    assert_eq!(old.log.snapshot().size(), TreeSize(5));
    assert_eq!(old.log.snapshot().find(&lines(4).module).unwrap().unwrap().id.0, 4);
    let refused = old.log.append(vec![candidate(50)]).await.err().expect("nothing is signed");
    assert!(refused.to_string().contains("a head of 9 records was published"), "{refused}");
    assert!(matches!(&*old.log.state(), State::ReadOnly(ReadOnly::Contradicted { size: 9, .. })));
    assert_eq!(heads(&old.log), [5, 0], "no head was signed");
    old.close().await;
    let kept = stops(&world.path("backup").join("anchor.db")).unwrap();
    assert!(matches!(&kept[..], [stop] if stop.size == 9 && stop.ended.is_none()), "{kept:?}");
    assert_eq!(before, database(&world.path("backup")), "the log's records and heads are as they were");

    // The advice: the copy that has the head is put in place, and the next start signs.
    for file in ["log.db", "anchor.db"] {
        std::fs::copy(world.path("log").join(file), world.path("backup").join(file)).unwrap();
    }
    let restored = world.open_in(&world.path("backup"));
    let receipt = restored.log.append(vec![candidate(50)]).await.unwrap();
    assert_eq!(receipt.snapshot.size(), TreeSize(10));
    restored.close().await;
}

fn heads(log: &tallystick::log::Log) -> Vec<u64> {
    let heads = log.snapshot().heads(TreeSize(u64::MAX), 100).unwrap();
    heads.iter().map(|head| head.tree.size.0).collect()
}

/// How many rows the tables of a log have that say what was signed.
fn database(directory: &Path) -> [i64; 3] {
    let db = rusqlite::Connection::open(directory.join("log.db")).unwrap();
    ["segment", "tail", "head"]
        .map(|table| db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_witness_lets_the_log_sign_at_once() {
    let mut world = World::new();
    let witness = [world.witness("w1")];
    world.hearing = HOUR;
    for round in 0..2 {
        let running = world.open();
        running.log.append(vec![candidate(round)]).await.unwrap();
        running.witnessed(&keys(&witness)).await;
        assert!(matches!(*running.log.state(), State::Writing));
        assert_eq!(running.log.cautioned(), None);
        running.close().await;
    }
    // Nobody appends, and the state says by itself that the log signs.
    let running = world.open();
    eventually("it writes", async || matches!(*running.log.state(), State::Writing)).await;
    running.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_hangs_or_is_dead_holds_the_first_signature_back_for_the_bound_only() {
    // The kernel takes its connections, and nobody answers them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs = format!("http://{}", silent.local_addr().unwrap());
    for url in [hangs.as_str(), "http://127.0.0.1:9"] {
        let world = world_with(url, &vkey()).await;
        let began = Instant::now();
        let running = world.open();
        assert_eq!(running.log.snapshot().size(), TreeSize(5), "{url}: it is served meanwhile");
        running.log.append(vec![candidate(50)]).await.unwrap();
        let waited = began.elapsed();
        assert!(waited >= HEARING && waited < HEARING * 10, "{url}: {waited:?}");
        assert!(matches!(*running.log.state(), State::Writing), "{url}");
        // Only the first one waits.
        let began = Instant::now();
        running.log.append(vec![candidate(51)]).await.unwrap();
        assert!(began.elapsed() < HEARING, "{url}");
        assert_eq!(running.log.cautioned(), None, "{url}: silence is no claim");
        running.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_without_proof_is_told_and_holds_the_first_signature_back_for_the_bound_only() {
    let ahead = (409, "text/x.tlog.size", "1000000\n".to_owned());
    let other = (422, "text/plain", "no\n".to_owned());
    for (answer, words) in [(ahead, "has cosigned 1000000 records"), (other, "cosigned another history")] {
        let mut world = world_with(&liar(answer).await, &vkey()).await;
        // A witness that agrees takes nothing away from the claim.
        let honest = world.witness("honest");
        world.quorum = 1;
        let began = Instant::now();
        let running = world.open();
        let receipt = running.log.append(vec![candidate(50)]).await.unwrap();
        let waited = began.elapsed();
        assert!(waited >= HEARING && waited < HEARING * 10, "{waited:?}");
        assert_eq!(receipt.snapshot.size(), TreeSize(6), "one liar does not stop the log");
        assert!(matches!(*running.log.state(), State::Writing));
        let caution = running.log.cautioned().expect("it stays unresolved");
        for part in [words, "w1 says", "Ask the operator of w1", "put the newest copies of the database"] {
            assert!(caution.contains(part), "{part:?} in {caution}");
        }
        assert!(!caution.contains("honest"), "{caution}");
        assert!(stops(&world.path("log").join("anchor.db")).unwrap().is_empty(), "nothing lasts");
        running.close().await;
        drop(honest);
    }
}

/// A witness that claims a large tree once, and then cosigns.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_the_witness_takes_back_is_forgotten() {
    let mut world = World::new();
    let witness = [world.witness("w1")];
    let target = witness[0].url.clone();
    let asked = Arc::new(AtomicU64::new(0));
    let url = claims_once(target, asked.clone()).await;
    world.peers[0] = peer("w1", &url, &witness[0].vkey);
    world.hearing = HOUR;
    let running = world.open();
    let receipt = running.log.append(vec![candidate(0)]).await.unwrap();
    assert_eq!(receipt.snapshot.size(), TreeSize(1));
    assert!(asked.load(Ordering::SeqCst) >= 2, "it had claimed before");
    assert_eq!(running.log.cautioned(), None);
    running.close().await;
}

/// The advice in a claim, followed to the letter, where the witness is right and cannot prove it.
#[tokio::test(flavor = "multi_thread")]
async fn the_advice_about_a_claim_leads_to_a_log_that_signs() {
    let (mut world, witness) = World::with_old_backup().await;

    // What it has cosigned cannot be fetched: a proxy lets `add-checkpoint` through alone.
    let asked = Arc::new(AtomicU64::new(1));
    let url = claims_once(witness[0].url.clone(), asked).await;
    world.peers[0] = peer("w1", &url, &witness[0].vkey);
    world.hearing = HOUR;
    let old = world.open_in(&world.path("backup"));
    eventually("the claim is told", async || old.log.cautioned().is_some()).await;
    let caution = old.log.cautioned().unwrap();
    for part in ["w1 says that it has cosigned 9 records", "Ask the operator of w1", "stop the server"] {
        assert!(caution.contains(part), "{part:?} in {caution}");
    }
    assert!(matches!(&*old.log.state(), State::ReadOnly(ReadOnly::Unasked { .. })));
    old.close().await;
    assert!(caution.ends_with("put the newest copies of the database and the anchor back"), "{caution}");
    for file in ["log.db", "anchor.db"] {
        std::fs::copy(world.path("log").join(file), world.path("backup").join(file)).unwrap();
    }
    let restored = world.open_in(&world.path("backup"));
    let receipt = restored.log.append(vec![candidate(50)]).await.unwrap();
    assert_eq!(receipt.snapshot.size(), TreeSize(10));
    assert_eq!(restored.log.cautioned(), None);
    restored.close().await;
}

/// Answers the first `add-checkpoint`, if none was counted before, with a larger size, and hands the
/// others on. Shows nothing.
async fn claims_once(target: String, asked: Arc<AtomicU64>) -> String {
    let options = ClientOptions { proxies: ProxySettings::default(), ..ClientOptions::default() };
    let client = HttpClient::new(options).unwrap();
    let site = Router::new().fallback(async move |uri: Uri, body: axum::body::Bytes| {
        let size = (StatusCode::CONFLICT, [(CONTENT_TYPE, "text/x.tlog.size".to_owned())], "77\n".into());
        if uri.path() != "/add-checkpoint" || asked.fetch_add(1, Ordering::SeqCst) == 0 {
            return size;
        }
        let url = SourceUrl::parse(&format!("{target}/add-checkpoint")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let answer = client.post(&url, body, 1 << 16, deadline).await.unwrap();
        let status = StatusCode::from_u16(answer.status).unwrap();
        (status, [(CONTENT_TYPE, answer.content_type.unwrap_or_default())], answer.body)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, site).await });
    url
}

/// The server as a whole: what an operator reads while it waits, and after.
#[test]
fn the_server_says_what_it_waits_for_and_what_is_claimed() {
    const ROUTE: &str = "[[route]]\nmodules = [\"*\"]\nsource = [\"file:///\"]\nchecksum = \"compute\"\n";
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = runtime.block_on(liar((409, "text/x.tlog.size", "1000000\n".to_owned())));
    let section = format!("[[witness]]\nname = \"w1\"\nurl = \"{url}\"\nkey = \"{}\"\n", vkey());
    let data = LogDirectory::new("sum.corp.example", &format!("{ROUTE}{section}"));
    let server = data.serve();
    let claim = "w1 says that it has cosigned 1000000 records";
    let says = |beginning: &str| {
        let ready = server.ready();
        (ready.starts_with(beginning) && ready.contains(claim)).then_some(())
    };
    poll("it says what it waits for", Duration::from_secs(30), || says("ready, read-only: the log asks"));
    assert_eq!(server.metric("read_only"), 1);
    poll("it signs, and says so", Duration::from_secs(30), || says("ready, but a witness contradicts"));
    assert_eq!(server.metric("read_only"), 0);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_closes_while_it_waits_signs_nothing() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut world = world_with(&format!("http://{}", silent.local_addr().unwrap()), &vkey()).await;
    world.hearing = HOUR;
    let running = world.open();
    let log = running.log.clone();
    let waiting = tokio::spawn(async move { log.append(vec![candidate(50)]).await.map(drop) });
    tokio::task::yield_now().await;
    running.close().await;
    assert!(waiting.await.unwrap().is_err());
    world.peers.clear();
    let running = world.open();
    assert_eq!(running.log.snapshot().size(), TreeSize(5));
    running.close().await;
}
