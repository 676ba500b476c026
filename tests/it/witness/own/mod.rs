//! The own log before its witnesses: honest ones, that run as processes; dead, frozen, forgetful and lying ones.

mod kept;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri, header::CONTENT_TYPE};
use tallystick::clock::Clock;
use tallystick::log::{
    AppendError, AppendOutcome, Conditions, Log, LogOpenError, PublishGate, ReadOnly, State,
};
use tallystick::note::{self, CosignatureSigner, CosignatureVerifier, Policy, cosigned_at};
use tallystick::source::SourceUrl;
use tallystick::store::cosignatures::CosignatureStore;
use tallystick::tlog::{Checkpoint, TreeSize};
use tallystick::upstream::{ClientOptions, HttpClient, ProxySettings};
use tallystick::witness::{AskedWitness, PeerFigures, Witnesses, WitnessesOptions};

use super::witness_key;
use crate::support::logs::{LogOptions, candidate, candidates, lines, signer};
use crate::support::serve::LogDirectory;
use crate::support::witness::WitnessProcess;
use crate::support::{eventually, logs, poll};

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// A log with witnesses, in a directory.
pub(super) struct World {
    directory: tempfile::TempDir,
    pub(super) peers: Vec<AskedWitness>,
    pub(super) quorum: usize,
    pub(super) required: bool,
    pub(super) patience: Duration,
    pub(super) hearing: Duration,
    freshness: Duration,
}

/// A log that is open, and the task that asks its witnesses.
pub(super) struct Running {
    pub(super) log: Log,
    witnesses: Witnesses,
    task: tokio::task::JoinHandle<()>,
}

pub(super) fn peer(name: &str, url: &str, vkey: &str) -> AskedWitness {
    let url = SourceUrl::parse(&format!("{url}/")).unwrap();
    AskedWitness { name: name.to_owned(), url, key: vkey.parse().unwrap() }
}

fn start_witness(data: &Path, name: &str) -> WitnessProcess {
    WitnessProcess::start(data, name, &[signer().verifier().to_string()])
}

impl World {
    pub(super) fn new() -> World {
        let (directory, peers) = (tempfile::tempdir().unwrap(), Vec::new());
        let (patience, hearing) = (Duration::from_secs(20), Duration::from_secs(1));
        World { directory, peers, quorum: 0, required: false, patience, hearing, freshness: HOUR }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Adds a witness of ours, that runs, and that the log waits for.
    pub(super) fn witness(&mut self, name: &str) -> WitnessProcess {
        let witness = start_witness(&self.path(name), &format!("witness.example/{name}"));
        self.peers.push(peer(name, &witness.url, &witness.vkey));
        self.quorum += 1;
        witness
    }

    /// Where a witness that was started again is now.
    fn moved(&mut self, at: usize, witness: &WitnessProcess) {
        let name = self.peers[at].name.clone();
        self.peers[at] = peer(&name, &witness.url, &witness.vkey);
    }

    pub(super) fn open(&self) -> Running {
        self.open_in(&self.path("log"))
    }

    /// A log of 9 records that its witness has cosigned, and in `backup` its copy of 5 records with
    /// the anchor of that time.
    pub(super) async fn with_old_backup() -> (World, [WitnessProcess; 1]) {
        let mut world = World::new();
        let witness = [world.witness("w1")];
        let running = world.open();
        running.log.append(candidates(0..5)).await.unwrap();
        running.witnessed(&keys(&witness)).await;
        running.close().await;
        // A backup with its anchor, which therefore agrees.
        copy(&world.path("log"), &world.path("backup"));
        let running = world.open();
        running.log.append(candidates(5..9)).await.unwrap();
        running.witnessed(&keys(&witness)).await;
        running.close().await;
        (world, witness)
    }

    pub(super) fn open_in(&self, directory: &Path) -> Running {
        std::fs::create_dir_all(directory).unwrap();
        let witnesses = self.witnesses(CosignatureStore::open(&directory.join("cosignatures.db")).unwrap());
        let gate: Option<Arc<dyn PublishGate>> = Some(Arc::new(witnesses.clone()));
        let log = self.open_log(directory, Conditions { gate, hold: witnesses.hold() }).unwrap();
        let task = tokio::spawn(witnesses.clone().run(log.clone()));
        Running { log, witnesses, task }
    }

    fn witnesses(&self, store: CosignatureStore) -> Witnesses {
        let options = ClientOptions { proxies: ProxySettings::default(), ..ClientOptions::default() };
        Witnesses::new(WitnessesOptions {
            log: signer().verifier(),
            own: CosignatureSigner::from(&signer()),
            peers: self.peers.clone(),
            quorum: self.quorum,
            required: self.required,
            patience: self.patience,
            hearing: self.hearing,
            freshness: self.freshness,
            store,
            client: HttpClient::new(options).unwrap(),
        })
    }

    fn open_log(&self, directory: &Path, conditions: Conditions) -> Result<Log, LogOpenError> {
        let options = LogOptions {
            directory: directory.to_owned(),
            anchor: directory.join("anchor.db"),
            signers: vec![signer()],
            reader_cache_kib: 1024,
            clock: Clock::system(),
        };
        logs::open_log_as(options, conditions)
    }
}

impl Running {
    fn peer(&self, at: usize) -> PeerFigures {
        self.witnesses.figures().0.swap_remove(at)
    }

    /// Whether the newest checkpoint has these witnesses' cosignatures, and the log's own with the time.
    fn has(&self, keys: &[CosignatureVerifier]) -> bool {
        let Some(checkpoint) = self.log.checkpoint() else { return false };
        let opened = note::open(checkpoint.as_bytes(), &[&self.log.verifier()]).expect("it is the log's");
        assert_eq!(Checkpoint::parse(&opened.text).unwrap().tree, self.log.snapshot().head().tree);
        let own = CosignatureVerifier::from(&self.log.verifier());
        keys.iter().chain([&own]).all(|key| note::open(checkpoint.as_bytes(), &[key]).is_ok())
    }

    pub(super) async fn witnessed(&self, keys: &[CosignatureVerifier]) {
        eventually("the newest head is cosigned", async || self.has(keys)).await;
    }

    pub(super) async fn close(self) {
        self.task.abort();
        let _ = self.task.await;
        let log = self.log;
        drop(self.witnesses);
        tokio::task::spawn_blocking(move || log.close()).await.unwrap();
    }
}

pub(super) fn keys(witnesses: &[WitnessProcess]) -> Vec<CosignatureVerifier> {
    witnesses.iter().map(|witness| witness.vkey.parse().unwrap()).collect()
}

fn waits(result: &Result<tallystick::log::Receipt, AppendError>) -> bool {
    matches!(result, Err(AppendError::ReadOnly(ReadOnly::Unwitnessed { .. })))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_head_is_cosigned_and_the_tree_note_stays_as_it_was() {
    let mut world = World::new();
    let witnesses = [world.witness("w1"), world.witness("w2"), world.witness("w3")];
    let running = world.open();
    running.witnessed(&keys(&witnesses)).await;
    let mut size = 0;
    for count in [1, 2, 40, 300] {
        running.log.append(candidates(size..size + count)).await.unwrap();
        size += count;
        running.witnessed(&keys(&witnesses)).await;
        let note = running.log.snapshot().head().note.clone();
        assert_eq!(note.lines().filter(|line| line.starts_with('—')).count(), 1, "{note}");
    }
    assert!((0..3).all(|at| running.peer(at).size == size && running.peer(at).alarms == 0));
    assert!(running.witnesses.figures().1, "the quorum is met");
    running.close().await;
    // What is kept is enough for the start: nobody is asked for what was cosigned before.
    drop(witnesses);
    let running = world.open();
    assert_eq!(running.log.snapshot().size(), TreeSize(size));
    eventually("what was kept is shown", async || running.witnesses.figures().1).await;
    running.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demanded_head_waits_for_its_cosignatures_and_nothing_is_lost() {
    let mut world = World::new();
    let witnesses = [world.witness("w1"), world.witness("w2")];
    (world.required, world.patience) = (true, Duration::from_millis(1500));
    let running = world.open();
    let receipt = running.log.append(candidates(0..3)).await.unwrap();
    assert_eq!(receipt.snapshot.size(), TreeSize(3));
    assert!((0..2).all(|at| running.peer(at).size == 3), "both had cosigned before it was published");

    witnesses[1].freeze();
    let refused = running.log.append(vec![candidate(3)]).await;
    assert!(waits(&refused), "{:?}", refused.err());
    assert_eq!(running.log.snapshot().size(), TreeSize(3), "what was published is served");
    assert!(matches!(*running.log.state(), State::ReadOnly(ReadOnly::Unwitnessed { size: 4, .. })));
    // Nothing is built beside it.
    assert!(waits(&running.log.append(vec![candidate(4)]).await));
    assert_eq!(running.log.snapshot().size(), TreeSize(3));

    witnesses[1].go_on();
    eventually("the log goes on by itself", async || running.log.append(Vec::new()).await.is_ok()).await;
    assert!(matches!(*running.log.state(), State::Writing));
    let receipt = running.log.append(vec![candidate(3), candidate(4)]).await.unwrap();
    let [AppendOutcome::Present(first), AppendOutcome::Appended(second)] = &receipt.outcomes[..] else {
        panic!("{:?}", receipt.outcomes);
    };
    assert_eq!((first.0, second.0), (3, 4), "the record that had waited is there, once");
    let heads = running.log.snapshot().heads(TreeSize(u64::MAX), 100).unwrap();
    assert_eq!(heads.iter().map(|head| head.tree.size.0).collect::<Vec<_>>(), [5, 4, 3, 0]);
    running.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_publish_what_was_not_cosigned() {
    let mut world = World::new();
    let witness = world.witness("w1");
    (world.required, world.patience) = (true, Duration::from_millis(1000));
    let running = world.open();
    running.log.append(candidates(0..300)).await.unwrap();
    witness.freeze();
    assert!(waits(&running.log.append(candidates(300..520)).await));
    running.close().await;
    drop(witness);

    // Committed, anchored, and not published: by this process neither.
    let running = world.open();
    assert_eq!(running.log.snapshot().size(), TreeSize(300));
    assert!(matches!(*running.log.state(), State::ReadOnly(ReadOnly::Unwitnessed { size: 520, .. })));
    assert!(running.log.snapshot().find(&lines(400).module).unwrap().is_none());
    assert_eq!(running.log.snapshot().find(&lines(200).module).unwrap().unwrap().id.0, 200);
    assert!(waits(&running.log.append(vec![candidate(600)]).await));
    running.close().await;

    let witness = start_witness(&world.path("w1"), "witness.example/w1");
    world.moved(0, &witness);
    let running = world.open();
    eventually("it is published", async || running.log.append(Vec::new()).await.is_ok()).await;
    assert_eq!(running.log.snapshot().size(), TreeSize(520));
    assert_eq!(running.log.snapshot().find(&lines(400).module).unwrap().unwrap().id.0, 400);
    let receipt = running.log.append(vec![candidate(600)]).await.unwrap();
    assert_eq!(receipt.snapshot.size(), TreeSize(521));
    running.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_before_cosignatures_were_demanded_stays_published() {
    let mut world = World::new();
    let running = world.open();
    running.log.append(candidates(0..5)).await.unwrap();
    running.close().await;
    let dead = witness_key().verifier().to_string();
    world.peers = vec![peer("w1", "http://127.0.0.1:9", &dead)];
    (world.quorum, world.required, world.patience) = (1, true, Duration::from_millis(100));
    for round in 0..2 {
        let running = world.open();
        assert_eq!(running.log.snapshot().size(), TreeSize(5), "round {round}");
        assert!(waits(&running.log.append(vec![candidate(7)]).await));
        running.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_witness_takes_nothing_away_but_the_newest_head() {
    let mut world = World::new();
    let witness = world.witness("w1");
    world.required = true;
    let running = world.open();
    for count in [2, 3, 4] {
        let size = running.log.snapshot().size().0;
        running.log.append(candidates(size..size + count)).await.unwrap();
    }
    running.close().await;
    drop(witness);
    // No head has a cosignature of this one.
    world.peers = vec![peer("w2", "http://127.0.0.1:9", &witness_key().verifier().to_string())];
    let running = world.open();
    assert_eq!(running.log.snapshot().size(), TreeSize(5), "head 9 was built upon it");
    assert!(matches!(*running.log.state(), State::ReadOnly(ReadOnly::Unwitnessed { size: 9, .. })));
    running.close().await;
}

/// A witness that answers every request so.
pub(super) async fn liar(answer: (u16, &'static str, String)) -> String {
    let site = Router::new().fallback(async move |uri: Uri| match uri.path() {
        "/add-checkpoint" => {
            let status = StatusCode::from_u16(answer.0).expect("a status");
            (status, [(CONTENT_TYPE, answer.1)], answer.2.clone())
        }
        _ => (StatusCode::NOT_FOUND, [(CONTENT_TYPE, "text/plain")], "nothing\n".to_owned()),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, site).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn liars_are_counted_and_the_log_goes_on() {
    let mut world = World::new();
    let honest = [world.witness("honest")];
    let key = witness_key();
    let other = CosignatureSigner::generate("witness.example/w1".parse().unwrap(), [6; 32]);
    let text =
        Checkpoint::new("sum.corp.example".parse().unwrap(), super::SmallLog::new("x").head(5)).format();
    let line = |signer: &CosignatureSigner, at: u64| format!("{}\n", signer.cosign(&text, at).format_line());
    let (plain, size) = ("text/plain", "text/x.tlog.size");
    let answers = [
        ("garbage", (200, plain, "<html>welcome</html>".to_owned()), true),
        ("empty", (200, plain, String::new()), true),
        ("another key", (200, plain, line(&other, 1)), true),
        ("another size", (200, plain, line(&key, 1)), true),
        ("ahead", (409, size, "1000000\n".to_owned()), true),
        ("another history", (409, plain, "no\n".to_owned()), true),
        ("bad proof", (422, plain, "no\n".to_owned()), true),
        ("unknown", (404, plain, "who?\n".to_owned()), false),
        ("untrusted", (403, plain, "no\n".to_owned()), false),
        ("broken", (500, plain, "oh\n".to_owned()), false),
        ("endless", (200, plain, "x".repeat(1 << 20)), false),
        ("moved", (301, plain, "away\n".to_owned()), false),
    ];
    for (name, answer, _) in &answers {
        let url = liar(answer.clone()).await;
        world.peers.push(peer(&name.replace(' ', "-"), &url, &key.verifier().to_string()));
    }
    world.peers.push(peer("dead", "http://127.0.0.1:9", &key.verifier().to_string()));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    world.peers.push(peer("silent", &url, &key.verifier().to_string()));

    let running = world.open();
    for i in 0..20 {
        running.log.append(vec![candidate(i)]).await.unwrap();
    }
    running.witnessed(&keys(&honest)).await;
    assert!(matches!(*running.log.state(), State::Writing));
    for (at, (name, _, is_alarm)) in (1..).zip(&answers) {
        eventually(name, async || {
            let figures = running.peer(at);
            figures.failed > 0 && (figures.alarms > 0) == *is_alarm
        })
        .await;
        assert_eq!(running.peer(at).cosigned, 0, "{name}");
    }
    let checkpoint = running.log.checkpoint().unwrap();
    assert_eq!(checkpoint.lines().filter(|line| line.starts_with('—')).count(), 3, "{checkpoint}");
    running.close().await;
}

/// A witness that says that it has cosigned a large tree, and shows the log's own newest checkpoint, for which it makes the log
/// grow first: the round that asks it is always older. Counts what it has shown.
async fn leads_astray(log: Arc<OnceLock<Log>>, shown: Arc<AtomicU64>) -> String {
    let site = Router::new().fallback(async move |uri: Uri| {
        if uri.path() == "/add-checkpoint" {
            return (StatusCode::CONFLICT, [(CONTENT_TYPE, "text/x.tlog.size")], "1000000\n".to_owned());
        }
        let Some(log) = log.get() else {
            return (StatusCode::SERVICE_UNAVAILABLE, [(CONTENT_TYPE, "text/plain")], String::new());
        };
        let newest = shown.fetch_add(1, Ordering::SeqCst) + 100;
        // Without this the head that is shown might be the one that is asked for.
        let appended = log.append(vec![candidate(newest)]).await;
        let page = if appended.is_ok() { log.checkpoint().expect("a log that signs") } else { String::new() };
        (StatusCode::OK, [(CONTENT_TYPE, "text/plain")], page)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, site).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_shows_the_newest_head_to_an_older_round_stops_nothing() {
    let (log, shown) = (Arc::new(OnceLock::new()), Arc::new(AtomicU64::new(0)));
    let mut world = World::new();
    let url = leads_astray(log.clone(), shown.clone()).await;
    world.peers = vec![peer("w1", &url, &witness_key().verifier().to_string())];
    // The round asks for one head for as long as the test takes.
    (world.quorum, world.patience) = (1, HOUR);
    let running = world.open();
    assert!(log.set(running.log.clone()).is_ok());
    eventually("it was looked into some times", async || shown.load(Ordering::SeqCst) >= 3).await;
    assert!(matches!(*running.log.state(), State::Writing), "{:?}", running.log.state());
    assert!(running.peer(0).alarms >= 3, "a person is told all the same");
    let receipt = running.log.append(vec![candidate(1)]).await.unwrap();
    assert!(receipt.snapshot.size().0 >= 4);
    running.task.abort();
}

fn stopped_at(running: &Running, at: u64, cause: &str) -> bool {
    matches!(&*running.log.state(), State::ReadOnly(ReadOnly::Contradicted { size, why, .. }) if *size == at && why.contains(cause))
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_proves_that_the_log_was_rolled_back_or_forked() {
    let (mut world, _witness) = World::with_old_backup().await;
    copy(&world.path("backup"), &world.path("fork"));

    let rolled_back = world.open_in(&world.path("backup"));
    eventually("it is known to be behind", async || stopped_at(&rolled_back, 9, "rolled back")).await;
    assert!(rolled_back.log.append(vec![candidate(50)]).await.is_err(), "it signs nothing more");
    let incidents = || {
        let path = world.path("backup").join("log.db");
        let reader = tallystick::store::sqlite::SqliteReader::open(&path, 1024).unwrap();
        tallystick::store::LogReader::incidents(&reader, 10).unwrap()
    };
    eventually("the evidence is kept", async || incidents().iter().any(|one| one.kind == "misbehaviour"))
        .await;
    assert!(rolled_back.peer(0).alarms > 0);
    rolled_back.close().await;
    // The witness is gone, and was not told of; a restart signs nothing all the same.
    let peers = std::mem::take(&mut world.peers);
    let rolled_back = world.open_in(&world.path("backup"));
    assert!(stopped_at(&rolled_back, 9, "rolled back"), "{:?}", rolled_back.log.state());
    assert_eq!(rolled_back.log.snapshot().size(), TreeSize(5), "it is served");
    assert!(rolled_back.log.append(vec![candidate(50)]).await.is_err());
    rolled_back.close().await;
    // The copy that has the head is put in place: nobody need say anything.
    for entry in std::fs::read_dir(world.path("log")).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), world.path("backup").join(entry.file_name())).unwrap();
    }
    let restored = world.open_in(&world.path("backup"));
    assert!(matches!(*restored.log.state(), State::Writing), "{:?}", restored.log.state());
    restored.close().await;
    world.peers = peers;

    // The copy grows beyond what was cosigned, before it can reach the witness.
    let peers = std::mem::take(&mut world.peers);
    let fork = world.open_in(&world.path("fork"));
    fork.log.append(candidates(100..110)).await.unwrap();
    fork.close().await;
    world.peers = peers;
    let fork = world.open_in(&world.path("fork"));
    eventually("it is known to be another", async || stopped_at(&fork, 9, "is a fork")).await;
    assert!(fork.log.append(vec![candidate(60)]).await.is_err());
    fork.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_lost_its_memory_is_told_everything_again() {
    let mut world = World::new();
    let witness = world.witness("w1");
    let running = world.open();
    running.log.append(candidates(0..20)).await.unwrap();
    running.witnessed(&keys(std::slice::from_ref(&witness))).await;
    running.close().await;
    assert!(witness.stop());
    std::fs::remove_file(world.path("w1").join("witness.db")).unwrap();
    let keys_alone = ["--listen", "127.0.0.1:0"];
    let logs = [signer().verifier().to_string()];
    let refused = crate::support::witness::command(&world.path("w1"), &keys_alone, &logs).output().unwrap();
    assert_eq!(refused.status.code(), Some(4), "it must be told to begin again");
    let again = WitnessProcess::start_with(&world.path("w1"), "witness.example/w1", &logs, &["--new-memory"]);
    world.moved(0, &again);
    let running = world.open();
    running.log.append(candidates(20..30)).await.unwrap();
    running.witnessed(&keys(std::slice::from_ref(&again))).await;
    assert_eq!(running.peer(0).size, 30);
    running.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_log_is_dated_again_and_again() {
    let mut world = World::new();
    let witness = [world.witness("w1")];
    world.freshness = Duration::from_millis(300);
    let running = world.open();
    running.log.append(candidates(0..3)).await.unwrap();
    running.witnessed(&keys(&witness)).await;
    let own = CosignatureVerifier::from(&running.log.verifier());
    let times = || {
        let checkpoint = running.log.checkpoint().unwrap();
        [&own, &keys(&witness)[0]].map(|key| {
            note::open(checkpoint.as_bytes(), &[key]).ok().and_then(|n| cosigned_at(&n.signatures[0]))
        })
    };
    let [first_own, first_witness] = times();
    eventually("both are dated again", async || {
        let [own, witness] = times();
        own > first_own && witness > first_witness
    })
    .await;
    assert_eq!(running.log.snapshot().size(), TreeSize(3));
    running.close().await;
}

#[test]
fn the_server_says_how_its_witnesses_do() {
    const ROUTE: &str = "[[route]]\nmodules = [\"*\"]\nsource = [\"file:///\"]\nchecksum = \"compute\"\n";
    let data = LogDirectory::new("sum.corp.example", ROUTE);
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tallystick"));
        let output = command.args(arguments).arg("--config").arg(data.config()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["key", "new"]);
    let shown: serde_json::Value = serde_json::from_str(&run(&["key", "show", "--json"])).unwrap();
    let log = shown["vkey"].as_str().unwrap().to_owned();
    let directory = tempfile::tempdir().unwrap();
    let witness = WitnessProcess::start(&directory.path().join("w"), "witness.example/w1", &[log]);
    let section =
        format!("[[witness]]\nname = \"w1\"\nurl = \"{}\"\nkey = \"{}\"\n", witness.url, witness.vkey);
    data.configure("sum.corp.example", &format!("{ROUTE}{section}[witnesses]\nrequired = true\n"));
    let server = data.serve();

    let policy = run(&["witnesses", "policy"]);
    let policy = Policy::parse(policy.as_bytes()).unwrap_or_else(|error| panic!("{error}: {policy}"));
    let own: CosignatureVerifier = shown["cosigner_vkey"].as_str().unwrap().parse().unwrap();
    let keys: Vec<&CosignatureVerifier> =
        policy.witnesses().iter().filter_map(|witness| witness.key.known()).chain([&own]).collect();
    assert_eq!(keys.len(), 2, "the policy's witness, and the log itself");
    poll("the checkpoint is cosigned", Duration::from_secs(30), || {
        let page = server.get("/tlog/checkpoint");
        (note::open(&page.body, &keys).is_ok_and(|note| note.signatures.len() == 2)).then_some(())
    });
    let status: serde_json::Value = serde_json::from_str(&run(&["witnesses", "status", "--json"])).unwrap();
    assert_eq!((status["cosigned"].as_u64(), status["quorum"].as_u64()), (Some(1), Some(1)), "{status}");
    assert!(run(&["witnesses", "status"]).contains("cosigned by 1 of 1 (1 are enough, demanded"));
    assert_eq!(server.metric("witness_quorum"), 1);
    server.stop();
}
