//! One flight per module version, allowances, deadlines, remembered failures.

use std::time::Duration;

use tallystick::clock::Clock;
use tallystick::notary::{Delay, NotaryError, NotaryLimits};
use tallystick::share::{Allowance, Claimant};

use super::world::{Files, Proxy, Say, World, client, eventually, file, module, per_minute};

fn start() -> jiff::Timestamp {
    "2026-11-21T13:00:00Z".parse().unwrap()
}

fn later(error: NotaryError) -> (Delay, Duration) {
    match error {
        NotaryError::TryLater { why, retry_after, .. } => (why, retry_after),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_flight_serves_all_who_ask_and_outlives_the_first() {
    let wanted = module("corp.example/m@v1.0.0");
    let mut files = Files::default();
    files.add(&wanted, &[]);
    let proxy = Proxy::start(files).await;
    let world = World::new();
    let notary = world.notary(vec![world.compute("*", &proxy.url)]);
    proxy.close();
    let ask = || {
        let (notary, wanted) = (notary.clone(), wanted.clone());
        tokio::spawn(async move { notary.lookup(wanted, client()).await.unwrap().record.id })
    };
    let first = ask();
    proxy.asked(".mod", 1).await;
    let others: Vec<_> = (0..50).map(|_| ask()).collect();
    eventually(|| notary.counters().joined.value() == 50).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    proxy.open();
    for other in others {
        assert_eq!(other.await.unwrap().0, 0);
    }
    let mut requests = proxy.requests();
    requests.sort();
    let files = ["info", "mod", "zip"].map(|extension| file(&wanted, extension));
    assert_eq!(requests, files, "each file was asked for once");
    assert_eq!((world.size(), notary.in_flight()), (1, (0, 0)));
}

#[tokio::test]
async fn a_flight_goes_on_when_nobody_waits() {
    let wanted = module("corp.example/m@v1.0.0");
    let mut files = Files::default();
    files.add(&wanted, &[]);
    let proxy = Proxy::start(files).await;
    let world = World::new();
    let limits = NotaryLimits { deadline: Duration::from_millis(50), ..NotaryLimits::default() };
    let notary = world.notary_with(vec![world.compute("*", &proxy.url)], limits);
    proxy.close();
    let error = notary.lookup(wanted.clone(), client()).await.err().unwrap();
    assert!(error.to_client_text().contains("It is still being fetched"), "{}", error.to_client_text());
    assert!(matches!(later(error).0, Delay::StillWorking { .. }));
    proxy.open();
    eventually(|| world.size() == 1).await;
    assert!(notary.lookup(wanted, client()).await.is_ok());
    assert_eq!(notary.counters().late.value(), 1);
}

#[tokio::test]
async fn the_work_has_a_deadline_too() {
    let proxy = Proxy::start(Files::default()).await;
    let world = World::new();
    let limits = NotaryLimits { flight_deadline: Duration::from_millis(50), ..NotaryLimits::default() };
    let notary = world.notary_with(vec![world.compute("*", &proxy.url)], limits);
    proxy.close();
    let error = notary.lookup(module("corp.example/m@v1.0.0"), client()).await.err().unwrap();
    assert!(matches!(later(error).0, Delay::Source { .. }));
    assert_eq!(notary.in_flight(), (0, 0));
}

#[tokio::test]
async fn failures_are_remembered_for_a_while_only() {
    let (missing, busy) = (module("corp.example/m@v1.0.0"), module("corp.example/busy@v1.0.0"));
    let proxy = Proxy::start(Files::default()).await;
    proxy.say(file(&busy, "mod"), Say::Status(503, "", None));
    let world = World::with_clock(Clock::fixed(start()));
    let notary = world.notary(vec![world.compute("*", &proxy.url)]);
    let times = |name: &str| proxy.requests().iter().filter(|path| path.contains(name)).count();
    let max_age = |error| match error {
        NotaryError::NotFound { max_age, .. } => max_age.as_secs(),
        other => panic!("{other:?}"),
    };
    assert_eq!(max_age(notary.lookup(missing.clone(), client()).await.err().unwrap()), 30);
    world.clock.advance(Duration::from_secs(29));
    assert_eq!(max_age(notary.lookup(missing.clone(), client()).await.err().unwrap()), 1);
    assert_eq!((times("m/@v"), notary.counters().negative_hits.value()), (1, 1));
    proxy.add(&missing, &[]);
    world.clock.advance(Duration::from_secs(1));
    assert!(notary.lookup(missing, client()).await.is_ok());

    later(notary.lookup(busy.clone(), client()).await.err().unwrap());
    later(notary.lookup(busy.clone(), client()).await.err().unwrap());
    assert_eq!(times("busy"), 1, "a source that is down is left alone for a moment");
    world.clock.advance(Duration::from_secs(2));
    later(notary.lookup(busy, client()).await.err().unwrap());
    assert_eq!(times("busy"), 2);
}

#[tokio::test]
async fn misses_are_limited_per_client_and_in_all() {
    let proxy = Proxy::start(Files::default()).await;
    let modules: Vec<_> = (0..8).map(|n| module(&format!("corp.example/m{n}@v1.0.0"))).collect();
    for module in &modules {
        proxy.add(module, &[]);
    }
    let world = World::with_clock(Clock::fixed(start()));
    let limits = NotaryLimits {
        client_misses_per_minute: per_minute(2),
        misses_per_minute: per_minute(4),
        ..NotaryLimits::default()
    };
    let notary = world.notary_with(vec![world.compute("*", &proxy.url)], limits);
    let ask = |n: usize, last: u8| notary.lookup(modules[n].clone(), Claimant::at([10, 0, 0, last].into()));
    assert!(ask(0, 1).await.is_ok() && ask(1, 1).await.is_ok());
    let error = ask(2, 1).await.err().unwrap();
    assert!(error.to_client_text().contains("from your address"), "{}", error.to_client_text());
    assert_eq!(later(error), (Delay::Limited(Allowance::Client), Duration::from_secs(30)));
    for _ in 0..10 {
        assert!(ask(0, 1).await.is_ok(), "hits are not limited");
    }
    assert!(ask(2, 2).await.is_ok() && ask(3, 2).await.is_ok());
    assert_eq!(later(ask(4, 3).await.err().unwrap()).0, Delay::Limited(Allowance::All));
    assert!(notary.lookup(modules[5].clone(), Claimant::Operator).await.is_ok());
    assert_eq!((world.size(), notary.counters().limited.value()), (5, 2));
    world.clock.advance(Duration::from_secs(30));
    assert!(ask(6, 1).await.is_ok());
}

#[tokio::test]
async fn places_are_limited_and_a_slow_route_does_not_take_them_all() {
    let (slow, quick) = (Proxy::start(Files::default()).await, Proxy::start(Files::default()).await);
    let wanted = module("quick.example/m@v1.0.0");
    quick.add(&wanted, &[]);
    let world = World::new();
    let limits = NotaryLimits { concurrency: 3, route_concurrency: 2, ..NotaryLimits::default() };
    let routes = vec![world.compute("slow.example", &slow.url), world.compute("*", &quick.url)];
    let notary = world.notary_with(routes, limits);
    slow.close();
    for n in 0..5 {
        let (notary, module) = (notary.clone(), module(&format!("slow.example/m{n}@v1.0.0")));
        tokio::spawn(async move { notary.lookup(module, client()).await.map(|_| ()) });
    }
    slow.asked(".mod", 2).await;
    assert!(notary.lookup(wanted, client()).await.is_ok());
    assert_eq!(slow.requests().len(), 2, "the others wait for their turn");
    assert_eq!(notary.in_flight(), (5, 5));
    slow.open();
    slow.asked(".mod", 5).await;
    assert!(notary.stop(Duration::from_secs(10)).await);
    assert_eq!(notary.in_flight(), (0, 0));
    let error = notary.lookup(module("quick.example/other@v1.0.0"), client()).await.err().unwrap();
    assert_eq!(later(error).0, Delay::Stopping);
}
