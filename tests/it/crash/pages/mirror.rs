//! Mirrors of a remote log in each mode: no older head, no changed line, no forgotten record.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tallystick::clock::Clock;
use tallystick::mirror::{RemoteLimits, RemoteLog, RemoteLogOptions, ReplicateOptions, replicate};
use tallystick::source::SourceUrl;
use tallystick::store::StoreError;
use tallystick::store::replica::{RecordText, Replica};
use tallystick::tlog::TreeSize;
use tallystick::upstream::{ClientOptions, HttpClient, ProxySettings, RemoteSumdb};

use super::super::server::copy_tree;
use super::{Campaign, Random, damage, fold, refused};
use crate::mirror::small_log::{NAME, SmallLog, answer, nth};
use crate::support::hostile::HostileServer;

/// The sizes at which the mirror saw the log.
const SEEN: [u64; 4] = [200, 300, 520, 700];
const NEWEST: u64 = 700;
/// Every record with a number that this divides was looked up.
const ASKED_STEP: usize = 23;

/// How a mirror is kept, and the files that are damaged.
const MODES: [(&str, &[&str]); 3] = [
    ("heads", &["remote.db"]),
    ("on-demand", &["remote.db"]),
    ("full", &["remote.db", "full.db", "full.db", "full.segments", "full.places"]),
];

fn transport(urls: &[String], client: &HttpClient) -> RemoteSumdb {
    let urls = urls.iter().map(|url| SourceUrl::parse(url).unwrap()).collect();
    RemoteSumdb::new(NAME.to_owned(), urls, client.clone())
}

fn open(
    directory: &Path,
    log: &SmallLog,
    transport: RemoteSumdb,
    replica: Option<Replica>,
) -> Result<RemoteLog, tallystick::mirror::RemoteError> {
    RemoteLog::open(RemoteLogOptions {
        name: NAME.to_owned(),
        key: log.vkey().parse().unwrap(),
        transport,
        database: directory.join("remote.db"),
        clock: Clock::system(),
        replica,
        limits: RemoteLimits::default(),
    })
}

fn open_replica(directory: &Path, log: &SmallLog) -> Result<Option<Replica>, StoreError> {
    let path = directory.join("full.db");
    if !path.exists() {
        return Ok(None);
    }
    Replica::open(&path, NAME, &log.vkey(), 1024, Clock::system().now()).map(Some)
}

/// A mirror that has followed the log from size to size.
async fn write(directory: &Path, mode: &str, log: &SmallLog, client: &HttpClient) {
    let (served, size) = (log.clone(), Arc::new(AtomicU64::new(SEEN[0])));
    let shown = size.clone();
    let server = HostileServer::start(move |path| {
        let size = shown.load(SeqCst);
        answer(served.answer(path, size, |_| size))
    });
    if mode == "full" {
        drop(Replica::open(&directory.join("full.db"), NAME, &log.vkey(), 1024, Clock::system().now()));
    }
    let replica = open_replica(directory, log).unwrap();
    let remote = open(directory, log, transport(&[server.url()], client), replica.clone()).unwrap();
    let deadline = || Clock::system().instant() + Duration::from_secs(60);
    for now in SEEN {
        size.store(now, SeqCst);
        // The call for the size before may still be open.
        let mut head = remote.advance(deadline()).await.unwrap();
        while head.tree != log.head(now) {
            head = remote.advance(deadline()).await.unwrap();
        }
        if let Some(replica) = &replica {
            let options = ReplicateOptions { tries: 1, ..ReplicateOptions::default() };
            replicate(&remote, replica, &head, options, |_| ()).await.unwrap();
        }
    }
    if mode == "on-demand" {
        for n in (0..NEWEST).step_by(ASKED_STEP) {
            remote.lookup(&nth(n), deadline()).await.unwrap();
        }
    }
    drop((remote, replica));
}

/// What the full mirror answers.
fn check_full(replica: &Replica, log: &SmallLog, refusals: &mut u32) -> Result<(), String> {
    let reader = replica.reader();
    if reader.size() != TreeSize(NEWEST)
        || reader.head().map(|head| head.note.clone()) != Some(log.note(NEWEST))
    {
        return Err(format!("the full mirror has {} records and {:?}", reader.size(), reader.head()));
    }
    for n in (0..NEWEST).step_by(7) {
        match reader.find(&nth(n)) {
            Ok(Some(found)) if (found.id.0, found.lines.to_text().as_str()) == (n, log.text(n)) => {}
            Ok(found) => return Err(format!("the full mirror finds {found:?} for record {n}")),
            Err(error) => *refusals += refused(&error).map(|_| 1)?,
        }
        match reader.records(n..n + 1).map(|mut records| records.pop()) {
            Ok(Some(RecordText::Lines(lines))) if lines.to_text() == log.text(n) => {}
            Ok(record) => return Err(format!("record {n} of the full mirror is {record:?}")),
            Err(error) => *refusals += refused(&error).map(|_| 1)?,
        }
    }
    for (level, number) in [(0, 0), (0, 1), (0, 2), (1, 0)] {
        let width = if level == 1 { 2 } else { (NEWEST - number * 256).min(256) };
        let path = match width {
            256 => format!("tile/8/{level}/{number:03}"),
            width => format!("tile/8/{level}/{number:03}.p/{width}"),
        };
        match reader.tile(level, number) {
            Ok(Some(tile))
                if tile.iter().flat_map(|hash| *hash.as_bytes()).collect::<Vec<u8>>()
                    == log.tile(&path, NEWEST).unwrap() => {}
            Ok(tile) => return Err(format!("{path} of the full mirror is {tile:?}")),
            Err(error) => *refusals += refused(&error).map(|_| 1)?,
        }
    }
    Ok(())
}

fn try_once(
    template: &Path,
    files: &[&str],
    log: &SmallLog,
    client: &HttpClient,
    random: &mut Random,
) -> Result<&'static str, String> {
    let place = tempfile::tempdir().unwrap();
    copy_tree(template, place.path());
    damage(&place.path().join(files[random.below(files.len() as u64) as usize]), random);
    let replica = match open_replica(place.path(), log) {
        Err(error) => return refused(&error),
        Ok(replica) => replica,
    };
    let mut refusals = 0;
    replica.as_ref().map_or(Ok(()), |replica| check_full(replica, log, &mut refusals))?;
    let nobody = transport(&["file:///nonexistent".to_owned()], client);
    let remote = match open(place.path(), log, nobody, replica) {
        Err(error) => return refused(&error),
        Ok(remote) => remote,
    };
    for head in [remote.newest(), remote.served()] {
        if head.as_ref().map(|head| &head.note) != Some(&log.note(NEWEST)) {
            return Err(format!("its newest head is {head:?}"));
        }
    }
    for size in SEEN {
        match remote.head(TreeSize(size)) {
            Ok(Some(head)) if head.note == log.note(size) => {}
            // An older head may be lost: it is compared with when the log shows it again.
            Ok(None) if size < NEWEST => refusals += 1,
            Ok(head) => return Err(format!("its head of size {size} is {head:?}")),
            Err(error) => refusals += refused(&error).map(|_| 1)?,
        }
    }
    for n in (0..NEWEST).step_by(ASKED_STEP) {
        match remote.find(&nth(n)) {
            Ok(Some(proven)) if (proven.record.0, proven.text.as_str()) == (n, log.text(n)) => {
                let head = proven.head;
                if head != log.head(head.size.0) {
                    return Err(format!("record {n} is proved under {head}"));
                }
            }
            // What is not found is asked for again; nobody is told that it is not there.
            Ok(None) => refusals += 1,
            Ok(found) => return Err(format!("it finds {found:?} for record {n}")),
            Err(error) => refusals += refused(&error).map(|_| 1)?,
        }
    }
    if remote.is_stopped().is_some() {
        return Err("it says that the log has lied".to_owned());
    }
    Ok(if refusals == 0 { "unharmed" } else { "refused in part" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_mirror_never_shows_an_older_head_or_another_line() {
    let options = ClientOptions { proxies: ProxySettings::default(), ..ClientOptions::default() };
    let (log, client) = (SmallLog::new(NEWEST), HttpClient::new(options).unwrap());
    let template = tempfile::tempdir().unwrap();
    for (mode, files) in MODES {
        let directory = template.path().join(mode);
        std::fs::create_dir(&directory).unwrap();
        write(&directory, mode, &log, &client).await;
        files.iter().filter(|file| file.ends_with(".db")).for_each(|file| fold(&directory.join(file)));
    }
    let what = "mirror (heads, on-demand, full) with random damage in one to three pages";
    let mut campaign = Campaign::new("05-pages-mirror", what, 30);
    while let Some(mut random) = campaign.next() {
        let (mode, files) = MODES[random.below(MODES.len() as u64) as usize];
        let tried = try_once(&template.path().join(mode), files, &log, &client, &mut random);
        campaign.ended(tried.map_err(|why| format!("{mode}: {why}")));
    }
    campaign.finish();
}
