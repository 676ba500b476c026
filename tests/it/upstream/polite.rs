//! What the operators of remote logs notice of us: how fast they are asked, whether a pause that they ask for is kept, what an
//! unchanged head costs them, and how a proxy is asked whether it passes a log on.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::Instant;

use tallystick::clock::Clock;
use tallystick::tlog::Tile;
use tallystick::upstream::Speed;

use super::*;
use crate::support::hostile::{Behaviour, HostileServer};

const NAME: &str = "sum.golang.org";

fn remote(urls: &[String], speed: Speed, clock: Clock) -> RemoteSumdb {
    let client = HttpClient::new(ClientOptions { clock, ..options() }).unwrap();
    RemoteSumdb::with_speed(NAME.into(), urls.iter().map(|text| url(text)).collect(), client, speed)
}

fn unlimited(urls: &[String]) -> RemoteSumdb {
    remote(urls, Speed::default(), Clock::system())
}

fn tile(text: &str) -> Tile {
    Tile::parse(text).unwrap()
}

/// A proxy whose `supported` has the status of the counter, and a body for everything else.
fn proxy(status: &Arc<AtomicU16>) -> HostileServer {
    let status = status.clone();
    HostileServer::start(move |path| match path.ends_with("/supported") {
        true => Behaviour::error(status.load(SeqCst), ""),
        false => Behaviour::ok("from the proxy"),
    })
}

fn through(proxy: &HostileServer) -> String {
    format!("{}/sumdb/{NAME}", proxy.url())
}

async fn latest(remote: &RemoteSumdb) -> String {
    let deadline = remote_deadline();
    match remote.latest(deadline).next().await {
        Ok(answer) => String::from_utf8(answer.body.to_vec()).unwrap(),
        Err(error) => error.to_string(),
    }
}

fn remote_deadline() -> Instant {
    within(AMPLE)
}

/// `go help goproxy`: 404 or 410 to `supported` means that the database is reached another way.
#[tokio::test]
async fn a_proxy_is_asked_when_it_is_needed_and_again_later() {
    for no in [404, 410] {
        let status = Arc::new(AtomicU16::new(no));
        let proxy = proxy(&status);
        let itself = HostileServer::always(Behaviour::ok("itself"));
        let clock = Clock::system();
        let remote = remote(&[through(&proxy), itself.url()], Speed::default(), clock.clone());
        assert!(proxy.paths().is_empty(), "nobody needs it yet");
        for _ in 0..3 {
            assert_eq!(latest(&remote).await, "itself");
        }
        assert_eq!(proxy.paths(), [format!("/sumdb/{NAME}/supported")], "{no}: once is enough for a while");
        let why = remote.health()[0].1.why.clone().unwrap();
        assert!(why.contains("does not pass the checksum database on; set `urls`"), "{why}");
    }
}

#[tokio::test]
async fn a_proxy_that_says_no_for_a_moment_comes_back() {
    let status = Arc::new(AtomicU16::new(404));
    let proxy = proxy(&status);
    let clock = Clock::fixed("2026-11-21T00:00:00Z".parse().unwrap());
    let remote = remote(&[through(&proxy)], Speed::default(), clock.clone());
    let ask = async || {
        let answer = remote.latest(clock.instant() + AMPLE).next().await;
        answer.map(|answer| answer.body).map_err(|error| error.to_string())
    };
    let refused = ask().await.unwrap_err();
    assert!(refused.contains("this proxy does not pass the checksum database on"), "{refused}");
    status.store(200, SeqCst);
    clock.advance(Duration::from_secs(299));
    assert_eq!(ask().await.unwrap_err(), refused);
    clock.advance(Duration::from_secs(2));
    assert_eq!(ask().await.unwrap(), "from the proxy");
    status.store(404, SeqCst);
    assert_eq!(ask().await.unwrap(), "from the proxy", "yes counts for a day");
    let asked = proxy.paths().iter().filter(|path| path.ends_with("/supported")).count();
    assert_eq!(asked, 2);
}

/// Several that start at once ask once, and a proxy that does not say so is a failure like any other.
#[tokio::test]
async fn proxies_are_asked_once_and_their_failures_pass() {
    let status = Arc::new(AtomicU16::new(200));
    let good = proxy(&status);
    let down = unlimited(&[format!("http://127.0.0.1:1/sumdb/{NAME}"), through(&good)]);
    let all: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let down = down.clone();
                async move { latest(&down).await }
            })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), "from the proxy");
    }
    let asked = good.paths().iter().filter(|path| path.ends_with("/supported")).count();
    assert_eq!(asked, 1, "{:?}", good.paths());
    assert!(down.health()[0].1.failures > 0);
}

/// RFC 9110, 10.2.3.
#[tokio::test]
async fn a_server_that_asks_for_a_pause_gets_it() {
    for status in [429, 503] {
        let headers = vec![("Retry-After", "30".to_owned())];
        let busy = HostileServer::always(Behaviour::Answer { status, headers, body: Vec::new() });
        let good = HostileServer::always(Behaviour::ok("note"));
        let clock = Clock::fixed("2026-11-21T00:00:00Z".parse().unwrap());
        let alone = remote(&[busy.url()], Speed::default(), clock.clone());
        let ask = async || alone.latest(clock.instant() + AMPLE).next().await.unwrap_err();
        assert!(ask().await.to_string().contains("unavailable"));
        clock.advance(Duration::from_secs(10));
        for _ in 0..5 {
            let error = ask().await;
            assert!(error.is_transient() && error.retry_after() == Some(Duration::from_secs(20)), "{error}");
            assert!(error.to_string().contains("wants to be left alone for 20s more"), "{error}");
        }
        assert_eq!(busy.paths().len(), 1, "{status}: it was left alone");
        clock.advance(Duration::from_secs(20));
        ask().await;
        assert_eq!(busy.paths().len(), 2);
        let both = unlimited(&[busy.url(), good.url()]);
        assert_eq!((latest(&both).await, latest(&both).await), ("note".to_owned(), "note".to_owned()));
        assert_eq!(busy.paths().len(), 3, "the other is asked meanwhile");
    }
}

/// A log that fetches a module while we wait says so of that module, and of nothing else.
#[tokio::test]
async fn a_look_up_that_is_to_be_repeated_later_does_not_stop_the_others() {
    let server = HostileServer::start(|path| match path.contains("slow") {
        true => {
            let headers = vec![("Retry-After", "30".to_owned())];
            Behaviour::Answer { status: 503, headers, body: Vec::new() }
        }
        false => Behaviour::ok("a record"),
    });
    let clock = Clock::fixed("2026-11-21T00:00:00Z".parse().unwrap());
    let remote = remote(&[server.url()], Speed::default(), clock.clone());
    let lookup = async |path: &str| {
        let module = ModuleVersion::from_parts(path, "v1.0.0").unwrap();
        remote.lookup(&module, clock.instant() + AMPLE).next().await.map(|answer| answer.body)
    };
    for _ in 0..3 {
        let error = lookup("corp.example/slow").await.unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(30)), "{error}");
        assert_eq!(lookup("corp.example/fast").await.unwrap(), "a record");
    }
    let asked = |word: &str| server.paths().iter().filter(|path| path.contains(word)).count();
    assert_eq!((asked("slow"), asked("fast")), (1, 3));
    clock.advance(Duration::from_secs(30));
    assert!(lookup("corp.example/slow").await.is_err());
    assert_eq!(asked("slow"), 2);
}

/// RFC 9110, 13.1: the validators go back as they came, and 304 stands for the body that came with them.
#[tokio::test]
async fn an_unchanged_head_is_not_sent_again() {
    for (header, back) in [("ETag", "if-none-match"), ("Last-Modified", "if-modified-since")] {
        let value = if header == "ETag" { "\"abc\"" } else { "Sat, 21 Nov 2026 13:00:00 GMT" };
        let status = Arc::new(AtomicU16::new(200));
        let served = status.clone();
        let server = HostileServer::start(move |_| {
            let status = served.load(SeqCst);
            let body = if status == 304 { Vec::new() } else { b"a head".to_vec() };
            Behaviour::Answer { status, headers: vec![(header, value.to_owned())], body }
        });
        let remote = unlimited(&[server.url()]);
        assert_eq!(latest(&remote).await, "a head");
        status.store(304, SeqCst);
        assert_eq!(
            (latest(&remote).await, latest(&remote).await),
            ("a head".to_owned(), "a head".to_owned())
        );
        let sent: Vec<_> =
            server.requests().iter().map(|seen| seen.header(back).map(str::to_owned)).collect();
        assert_eq!(sent, [None, Some(value.to_owned()), Some(value.to_owned())]);
        assert_eq!(remote.health()[0].1.failures, 0);
        // A lie is not asked about again.
        let answer = remote.latest(remote_deadline()).next().await.unwrap();
        remote.mark_bad(answer.from, "it does not verify");
        status.store(200, SeqCst);
        assert_eq!(latest(&remote).await, "a head");
        assert_eq!(server.requests().last().unwrap().header(back), None);
        // Tiles never change: nothing is kept of them.
        let body = remote.tile(&tile("tile/8/0/000.p/1"), remote_deadline()).next().await.unwrap().body;
        assert_eq!(body, "a head");
        assert_eq!(server.requests().last().unwrap().header(back), None);
    }
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_no_answer() {
    let server =
        HostileServer::always(Behaviour::Answer { status: 304, headers: Vec::new(), body: Vec::new() });
    assert!(latest(&unlimited(&[server.url()])).await.contains("unexpected status 304"));
}

#[tokio::test]
async fn requests_keep_their_rate() {
    let server = HostileServer::always(Behaviour::ok("tile"));
    let speed = Speed { requests_per_second: NonZeroU32::new(10), bytes_per_second: None };
    let remote = remote(&[server.url()], speed, Clock::system());
    let started = Instant::now();
    let all: Vec<_> = (0..20)
        .map(|n| {
            let remote = remote.clone();
            tokio::spawn(async move {
                let tile = tile(&format!("tile/8/0/{n:03}"));
                // Its own turn comes after this deadline: waiting for it is nobody's failure.
                remote.tile(&tile, within(Duration::from_millis(500))).next().await.unwrap();
            })
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    assert!(
        started.elapsed() >= Duration::from_millis(950),
        "{:?}: ten at once, ten more a second",
        started.elapsed()
    );
    assert_eq!(server.paths().len(), 20);
}

#[tokio::test]
async fn bytes_keep_their_rate_within_and_between_answers() {
    let server = HostileServer::always(Behaviour::ok(vec![b'x'; 60_000]));
    let speed = Speed { requests_per_second: None, bytes_per_second: NonZeroU64::new(100_000) };
    let remote = remote(&[server.url()], speed, Clock::system());
    let started = Instant::now();
    for n in 0..3 {
        let tile = tile(&format!("tile/8/data/{n:03}"));
        remote.tile(&tile, within(Duration::from_millis(700))).next().await.unwrap();
    }
    assert!(started.elapsed() >= Duration::from_millis(780), "{:?} for 180 kB", started.elapsed());
    assert_eq!(remote.health()[0].1.failures, 0);
}

/// The next client's module is another matter, and so is the tree: what one look-up was refused
/// must not keep the newest head from being known.
#[tokio::test]
async fn a_refused_look_up_leaves_heads_and_tiles_going() {
    let server = HostileServer::start(|path| match path.starts_with("/lookup/") {
        true => {
            let headers = vec![("Retry-After", "3600".to_owned())];
            Behaviour::Answer { status: 429, headers, body: Vec::new() }
        }
        false => Behaviour::ok("fine"),
    });
    let clock = Clock::fixed("2026-11-21T00:00:00Z".parse().unwrap());
    let remote = remote(&[server.url()], Speed::default(), clock.clone());
    let lookup = async |path: &str| {
        let module = ModuleVersion::from_parts(path, "v1.0.0").unwrap();
        remote.lookup(&module, clock.instant() + AMPLE).next().await.map(|answer| answer.body)
    };
    let minute = Some(Duration::from_secs(60));
    for path in ["corp.example/a", "corp.example/b", "corp.example/a"] {
        assert_eq!(lookup(path).await.unwrap_err().retry_after(), minute, "no pause is longer");
        assert_eq!(remote.latest(clock.instant() + AMPLE).next().await.unwrap().body, "fine");
        assert_eq!(
            remote.tile(&tile("tile/8/0/000.p/1"), clock.instant() + AMPLE).next().await.unwrap().body,
            "fine"
        );
    }
    let asked = |word: &str| server.paths().iter().filter(|path| path.contains(word)).count();
    assert_eq!((asked("lookup"), asked("latest"), asked("tile")), (1, 3, 3), "look-ups were left alone");
    clock.advance(Duration::from_secs(60));
    assert!(lookup("corp.example/b").await.is_err());
    assert_eq!(asked("lookup"), 2);
}

/// A proxy that once said that it passes the log on is believed when it has had too much of the
/// question.
#[tokio::test]
async fn a_proxy_that_refuses_to_say_again_is_still_asked_for_the_log() {
    let status = Arc::new(AtomicU16::new(200));
    let proxy = proxy(&status);
    let clock = Clock::fixed("2026-11-21T00:00:00Z".parse().unwrap());
    let remote = remote(&[through(&proxy)], Speed::default(), clock.clone());
    let ask = async || remote.latest(clock.instant() + AMPLE).next().await.map(|answer| answer.body);
    assert_eq!(ask().await.unwrap(), "from the proxy");
    for refusal in [429, 500] {
        status.store(refusal, SeqCst);
        clock.advance(Duration::from_secs(25 * 3600));
        assert_eq!(ask().await.unwrap(), "from the proxy", "{refusal}");
    }
    status.store(404, SeqCst);
    clock.advance(Duration::from_secs(301));
    assert!(ask().await.is_err(), "no is no");
}

/// Before, each of them asked again when the one before it had given up.
#[tokio::test]
async fn a_proxy_that_does_not_say_is_waited_for_once() {
    let silent = HostileServer::always(Behaviour::Stall);
    let remote = unlimited(&[through(&silent)]);
    let deadline = within(Duration::from_millis(500));
    let asking: Vec<_> = (0..10)
        .map(|_| {
            let remote = remote.clone();
            tokio::spawn(async move { remote.latest(deadline).next().await.is_err() })
        })
        .collect();
    for one in asking {
        assert!(one.await.unwrap());
    }
    assert_eq!(silent.paths(), [format!("/sumdb/{NAME}/supported")]);
}
