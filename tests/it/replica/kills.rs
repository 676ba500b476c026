//! A run that is killed, at every moment, goes on at the last window and fetches at most the windows that were under way.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::crash::campaign::{Random, Tally, seed, times};

const CHILD: &str = "TALLYSTICK_TEST_REPLICA";

/// Kills that are tried unless somebody asks for more.
const KILLS: u64 = 20;

/// This very test in another process: there it replicates, and ends without a word at a moment that the parent chose.
#[test]
fn a_run_that_is_killed_anywhere_goes_on() {
    if let Ok(orders) = std::env::var(CHILD) {
        return child(&orders);
    }
    let mut tally = Tally::new("07-mirror-kills", "kill of a run that replicates");
    let mut random = Random::new(seed());
    let (mut kills, mut logs, mut whole) = (0, 0, None);
    while kills < times(KILLS) {
        let Some((peer, directory, mirror)) = setup("a_run_that_is_killed_anywhere_goes_on") else { return };
        // How long a whole run takes on this machine, now.
        let started = Clock::system().instant();
        let longest = *whole.get_or_insert_with(|| {
            let (_, directory, mirror) =
                setup("a_run_that_is_killed_anywhere_goes_on").expect("it was there");
            assert!(run(&directory, &mirror, peer, u64::MAX), "a run that nobody kills ends");
            (Clock::system().instant() - started).as_millis() as u64
        });
        let mut before = 0;
        while !run(&directory, &mirror, peer, random.below(longest)) {
            kills += 1;
            tally.tried(1);
            let reader = mirror.replica().reader();
            let size = reader.size().0;
            assert!(size % 65_536 == 0 || size == peer::SIZE, "{size} is not where a window ends");
            assert!(before <= size, "{before} records were there, and now {size}");
            assert_eq!(reader.head().is_some(), size == peer::SIZE, "the head comes last");
            if size > before {
                peer.assert_records(&reader, size, 5_003);
            }
            before = size;
        }
        logs += 1;
        peer.assert_mirrored(&mirror.replica().reader(), peer::SIZE, 1_009);
    }
    tally.note(format!("{logs} logs ended in the signed root"));
    tally.finish();
}

/// Runs the child until `moment`, in milliseconds. Says whether it came to its end before.
fn run(directory: &tempfile::TempDir, mirror: &Mirror, peer: &Peer, moment: u64) -> bool {
    command(directory.path(), mirror, peer, moment).status().unwrap().success()
}

/// A child that replicates.
pub(super) fn command(directory: &Path, mirror: &Mirror, peer: &Peer, moment: u64) -> Command {
    let orders = format!("{}\n{}\n{}\n{moment}", directory.display(), mirror.vkey, peer.url());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "replica::kills::a_run_that_is_killed_anywhere_goes_on", "--nocapture"]);
    command.env(CHILD, orders).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Replicates, and after some milliseconds, or never, is no more.
fn child(orders: &str) {
    let orders: Vec<&str> = orders.lines().collect();
    let [directory, vkey, url, moment] = orders[..] else { panic!("{orders:?}") };
    if let Some(end) = Clock::system().instant().checked_add(Duration::from_millis(moment.parse().unwrap())) {
        std::thread::spawn(move || {
            while Clock::system().instant() < end {
                std::thread::yield_now();
            }
            std::process::abort();
        });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mirror = Mirror::new(Path::new(directory), vkey);
    let replica = mirror.replica();
    if runtime.block_on(sync(&mirror.log(&[url.to_owned()]), &replica)).is_err() {
        // A server looks what is in the file before it goes on.
        replica.edge();
        std::process::abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_given_up_fetches_at_most_the_windows_under_way_again() {
    let Some((peer, _directory, mirror)) = setup("a_run_that_is_given_up") else { return };
    let server = peer.serve_honestly(peer::SIZE);
    let (log, replica) = (mirror.log(&[server.url()]), mirror.replica());
    let head = log.advance(Clock::system().instant() + Duration::from_secs(60)).await.unwrap();
    let (first, stopped) = tokio::sync::oneshot::channel();
    let first = std::sync::Mutex::new(Some(first));
    let told = |_| {
        if let Some(first) = first.lock().unwrap().take() {
            let _ = first.send(());
        }
    };
    tokio::select! {
        done = replicate(&log, &replica, &head, ReplicateOptions::default(), told) => drop(done.unwrap()),
        _ = stopped => {}
    }
    let size = replica.reader().size().0;
    assert!(size >= 65_536);
    let before = server.paths().len();
    let done = sync(&log, &replica).await.unwrap();
    assert!(done.from.0 >= size && done.from.0 % 65_536 == 0 || done.from.0 == peer::SIZE);
    let tiles = peer::SIZE.div_ceil(256) - done.from.0 / 256;
    assert_eq!(done.progress.requests, tiles);
    // Requests of the run that was given up may still have been on their way.
    let late = ReplicateOptions::default().jobs as u64;
    assert!((server.paths().len() - before) as u64 <= tiles + 16 + late);
    peer.assert_mirrored(&replica.reader(), peer::SIZE, 1001);
}
