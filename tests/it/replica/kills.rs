//! A run that is killed, at every moment, goes on at the last window and fetches at most the windows that were under way.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

const CHILD: &str = "TALLYSTICK_TEST_REPLICA";

/// This very test in another process: there it replicates, and ends without a word at a moment that the parent chose.
#[test]
fn a_run_that_is_killed_anywhere_goes_on() {
    if let Ok(orders) = std::env::var(CHILD) {
        return child(&orders);
    }
    let Some((peer, directory, mirror)) = setup("a_run_that_is_killed_anywhere_goes_on") else { return };
    let (mut sizes, mut kills) = (Vec::new(), 0);
    for moment in (0..).map(|n| 40 + 45 * n) {
        let orders = format!("{}\n{}\n{}\n{moment}", directory.path().display(), peer.vkey, peer.url());
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "replica::kills::a_run_that_is_killed_anywhere_goes_on", "--nocapture"])
            .env(CHILD, orders)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let reader = mirror.replica().reader();
        let size = reader.size().0;
        assert!(size % 65_536 == 0 || size == peer::SIZE, "{size} is not where a window ends");
        assert!(sizes.last().is_none_or(|before| *before <= size), "what was there stays");
        assert_eq!(reader.head().is_some(), size == peer::SIZE, "the head comes last");
        if size > 0 && sizes.last() != Some(&size) {
            peer.assert_records(&reader, size, 509);
        }
        sizes.push(size);
        if status.success() {
            break;
        }
        kills += 1;
    }
    assert!(kills >= 3, "only {kills} runs were killed: {sizes:?}");
    peer.assert_mirrored(&mirror.replica().reader(), peer::SIZE, 101);
}

/// Replicates, and after some milliseconds, or never, is no more.
fn child(orders: &str) {
    let orders: Vec<&str> = orders.lines().collect();
    let [directory, vkey, url, moment] = orders[..] else { panic!("{orders:?}") };
    let end = Clock::system().instant() + Duration::from_millis(moment.parse().unwrap());
    std::thread::spawn(move || {
        while Clock::system().instant() < end {
            std::thread::yield_now();
        }
        std::process::abort();
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(Mirror::new(Path::new(directory), vkey).sync(&[url.to_owned()])).unwrap();
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
        done = log.replicate(&replica, &head, ReplicateOptions::default(), told) => drop(done.unwrap()),
        _ = stopped => {}
    }
    let size = replica.reader().size().0;
    assert!(size >= 65_536);
    let before = server.paths().len();
    let done = sync(&log, &replica).await.unwrap();
    assert!(done.from.0 >= size && done.from.0 % 65_536 == 0 || done.from.0 == peer::SIZE);
    let tiles = peer::SIZE.div_ceil(256) - done.from.0 / 256;
    assert_eq!(done.progress.requests, tiles);
    assert!((server.paths().len() - before) as u64 <= tiles + 16);
    peer.assert_mirrored(&replica.reader(), peer::SIZE, 1001);
}
