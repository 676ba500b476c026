//! Sources that never answer: whose look-ups wait for them, and whose do not.

use tallystick::module::ModuleVersion;
use tallystick::notary::{AheadLimits, Notary, NotaryLimits};
use tallystick::share::Claimant;
use tokio::task::JoinHandle;

use super::world::{Files, Proxy, Say, World, eventually, file, module};

const GREEDY: Claimant = Claimant::at(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 1, 1, 1)));
const OTHER: Claimant = Claimant::at(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 2, 2, 2)));

/// A proxy that has `corp.example/m0` to `m9` and never answers for `corp.example/hang…`.
async fn proxy() -> Proxy {
    let mut files = Files::default();
    (0..10).for_each(|n| files.add(&good(n), &[]));
    let proxy = Proxy::start(files).await;
    (0..40).for_each(|n| proxy.say(file(&hanging(n), "mod"), Say::Nothing));
    proxy
}

fn good(n: usize) -> ModuleVersion {
    module(&format!("corp.example/m{n}@v1.0.0"))
}

fn hanging(n: usize) -> ModuleVersion {
    module(&format!("corp.example/hang{n}@v1.0.0"))
}

/// Four places, all for one route.
fn limits() -> NotaryLimits {
    let ahead = AheadLimits { enabled: false, max_flights: 0, ..AheadLimits::default() };
    NotaryLimits { concurrency: 4, route_concurrency: 4, max_flights: 16, ahead, ..NotaryLimits::default() }
}

fn ask(notary: &Notary, module: ModuleVersion, client: Claimant) -> JoinHandle<Result<(), String>> {
    let notary = notary.clone();
    tokio::spawn(async move {
        notary.lookup(module, client).await.map(drop).map_err(|error| error.to_client_text())
    })
}

/// Before, they waited until the deadline: places were given to whoever came first.
#[tokio::test]
async fn a_client_whose_names_hang_does_not_keep_another_waiting() {
    let (proxy, world) = (proxy().await, World::new());
    let notary = world.notary_with(vec![world.compute("*", &proxy.url)], limits());
    let waiting: Vec<_> = (0..12).map(|n| ask(&notary, hanging(n), GREEDY)).collect();
    proxy.asked("hang", 4).await;
    for n in 0..10 {
        assert_eq!(ask(&notary, good(n), OTHER).await.unwrap(), Ok(()));
    }
    assert_eq!(world.size(), 10);
    assert!(waiting.iter().all(|lookup| !lookup.is_finished()), "its look-ups wait in their turn");
    assert_eq!(notary.in_flight(), (12, 12));
}

/// The same client is not kept waiting by what it does not wait for any more.
#[tokio::test]
async fn a_flight_that_nobody_waits_for_gives_way_and_comes_back() {
    let (proxy, world) = (proxy().await, World::new());
    let notary = world.notary_with(vec![world.compute("*", &proxy.url)], limits());
    let waiting: Vec<_> = (0..4).map(|n| ask(&notary, hanging(n), GREEDY)).collect();
    proxy.asked("hang", 4).await;
    for lookup in waiting {
        lookup.abort();
        assert!(lookup.await.unwrap_err().is_cancelled());
    }
    assert_eq!(ask(&notary, good(0), GREEDY).await.unwrap(), Ok(()));
    // The one that gave way is asked for again when there is a place.
    proxy.asked("hang", 5).await;
    assert_eq!(notary.in_flight().0, 4);
}

/// Flights are bounded; those that nobody waits for are ended first.
#[tokio::test]
async fn abandoned_flights_do_not_fill_the_house() {
    let (proxy, world) = (proxy().await, World::new());
    let notary = world.notary_with(vec![world.compute("*", &proxy.url)], limits());
    let waiting: Vec<_> = (0..16).map(|n| ask(&notary, hanging(n), GREEDY)).collect();
    eventually(|| notary.in_flight().0 == 16).await;
    for lookup in waiting {
        lookup.abort();
        assert!(lookup.await.unwrap_err().is_cancelled());
    }
    for n in 0..10 {
        assert_eq!(ask(&notary, good(n), OTHER).await.unwrap(), Ok(()));
    }
    assert!(notary.in_flight().0 < 16);
    assert!(notary.counters().limited.value() == 0);
}

/// Whoever joins a look-up takes it on: it counts for the client that holds fewest places.
#[tokio::test]
async fn a_look_up_that_two_clients_wait_for_counts_for_the_one_with_fewer_places() {
    let (proxy, world) = (proxy().await, World::new());
    let notary = world.notary_with(vec![world.compute("*", &proxy.url)], limits());
    let _waiting: Vec<_> = (0..12).map(|n| ask(&notary, hanging(n), GREEDY)).collect();
    proxy.asked("hang", 4).await;
    // It is the last in the greedy client's line, and the first in the other's.
    let (first, joined) = (ask(&notary, good(1), GREEDY), ask(&notary, good(1), OTHER));
    assert_eq!((first.await.unwrap(), joined.await.unwrap()), (Ok(()), Ok(())));
    let asked = proxy.requests().iter().filter(|path| path.contains("m1/@v/v1.0.0.mod")).count();
    assert_eq!(asked, 1, "one flight for both");
}

/// Joining costs nothing but a place to wait in, so those places are shared: before, one client
/// could take every connection.
#[tokio::test]
async fn one_client_cannot_wait_in_every_place_for_one_name() {
    let (proxy, world) = (proxy().await, World::new());
    let notary = world.notary_with(vec![world.compute("*", &proxy.url)], limits());
    let greedy: Vec<_> = (0..40).map(|_| ask(&notary, hanging(0), GREEDY)).collect();
    let finished = |lookups: &[JoinHandle<_>]| lookups.iter().filter(|lookup| lookup.is_finished()).count();
    eventually(|| finished(&greedy) == 24).await;
    assert_eq!(notary.counters().limited.value(), 24, "alone it has all sixteen places");
    for n in 0..10 {
        assert_eq!(ask(&notary, good(n), OTHER).await.unwrap(), Ok(()), "a newcomer has its share");
    }
    let other: Vec<_> = (0..12).map(|_| ask(&notary, hanging(0), OTHER)).collect();
    eventually(|| finished(&other) == 4).await;
    // Each has half. The oldest of the one that had most made room.
    eventually(|| finished(&greedy) == 32).await;
    for lookup in greedy.into_iter().chain(other).filter(|lookup| lookup.is_finished()) {
        let text = lookup.await.unwrap().unwrap_err();
        assert!(text.starts_with("try again: too many look-ups from your address wait"), "{text}");
        assert!(text.contains("fix: run the command again in 2 s"), "{text}");
    }
}
