//! A reload replaces the routes while look-ups are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tallystick::dirhash::hash_go_mod;
use tallystick::log::evidence_of;
use tallystick::module::ModuleVersion;
use tallystick::notary::{Notary, NotaryError, NotaryLimits, NotaryRoute, Rerouting};
use tallystick::store::evidence::Evidence;

use super::world::{Files, Proxy, World, client, module, per_minute};

async fn reroute(notary: &Notary, routes: Vec<NotaryRoute>, keeps: &[Option<usize>]) {
    let rerouting = Rerouting::new(routes, keeps.to_vec(), NotaryLimits::default()).unwrap();
    notary.reroute(rerouting).await;
}

/// Both proxies have the module, with another go.mod each.
async fn two_proxies(modules: &[ModuleVersion]) -> (Proxy, Proxy) {
    let (old, new) = (Proxy::start(Files::default()).await, Proxy::start(Files::default()).await);
    for module in modules {
        old.add(module, &[]);
        new.add(module, &["other.example/m@v1.0.0".parse().unwrap()]);
    }
    (old, new)
}

/// Which of two proxies a record came from.
fn is_of(world: &World, module: &ModuleVersion, proxy: &Proxy) -> bool {
    let snapshot = world.log.snapshot();
    let record = snapshot.find(module).unwrap().expect("it is in the log");
    match evidence_of(&snapshot, record.id).unwrap().evidence {
        Evidence::Computed { source, .. } => source.trim_end_matches('/') == proxy.url,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flight_whose_route_changes_starts_again_and_its_result_is_never_appended() {
    let module = module("corp.example/m@v1.0.0");
    let (old, new) = two_proxies(std::slice::from_ref(&module)).await;
    let world = World::new();
    let notary = world.notary(vec![world.compute("*", &old.url)]);
    old.close();
    let waiting = tokio::spawn({
        let (notary, module) = (notary.clone(), module.clone());
        async move { notary.lookup(module, client()).await }
    });
    old.asked("corp.example", 1).await;
    reroute(&notary, vec![world.compute("*", &new.url)], &[None]).await;
    let notarized = waiting.await.unwrap().unwrap();
    let go_mod = format!("module {}\n\ngo 1.17\n\nrequire other.example/m v1.0.0\n", module.path);
    assert_eq!(notarized.record.lines.go_mod, hash_go_mod(go_mod.as_bytes()));
    old.open();
    assert!(is_of(&world, &module, &new) && world.size() == 1);
    assert_eq!(notary.counters().rerouted.value(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flight_whose_route_stays_goes_on_whatever_its_place_is() {
    let module = module("corp.example/m@v1.0.0");
    let (old, new) = two_proxies(std::slice::from_ref(&module)).await;
    let world = World::new();
    let notary = world.notary(vec![world.compute("corp.example", &old.url)]);
    old.close();
    let waiting = tokio::spawn({
        let (notary, module) = (notary.clone(), module.clone());
        async move { notary.lookup(module, client()).await }
    });
    old.asked("corp.example", 1).await;
    let first = world.compute("public.example", &new.url);
    reroute(&notary, vec![first, world.compute("corp.example,b.example", &old.url)], &[None, Some(0)]).await;
    // Another client joins the flight of before.
    let joined = tokio::spawn({
        let (notary, module) = (notary.clone(), module.clone());
        async move { notary.lookup(module, client()).await }
    });
    super::world::eventually(|| notary.counters().joined.value() == 1).await;
    old.open();
    assert!(waiting.await.unwrap().is_ok() && joined.await.unwrap().is_ok());
    assert!(is_of(&world, &module, &old));
    assert_eq!((notary.counters().rerouted.value(), new.requests().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flight_without_a_route_any_more_is_told_so() {
    let module = module("corp.example/m@v1.0.0");
    let (old, _) = two_proxies(std::slice::from_ref(&module)).await;
    let world = World::new();
    let notary = world.notary(vec![world.compute("corp.example", &old.url)]);
    old.close();
    let waiting = tokio::spawn({
        let (notary, module) = (notary.clone(), module.clone());
        async move { notary.lookup(module, client()).await }
    });
    old.asked("corp.example", 1).await;
    reroute(&notary, vec![world.compute("b.example", &old.url)], &[Some(0)]).await;
    let error = waiting.await.unwrap().err().unwrap();
    assert!(matches!(error, NotaryError::NoRoute { .. }), "{error:?}");
    old.open();
    assert_eq!(world.size(), 0);
}

/// Reloads against flights at every stage: fetching, hashing, gathering, appending. What is in the
/// log when a reload returns may be of the old route; whatever enters after it is not.
#[tokio::test(flavor = "multi_thread")]
async fn no_interleaving_appends_a_result_of_a_route_that_was_changed() {
    const ROUNDS: usize = 60;
    const AT_ONCE: usize = 6;
    let name = |round, n| module(&format!("corp.example/r{round}/m{n}@v1.0.0"));
    let all: Vec<_> = (0..ROUNDS).flat_map(|round| (0..AT_ONCE).map(move |n| (round, n))).collect();
    let all: Vec<_> = all.into_iter().map(|(round, n)| name(round, n)).collect();
    let proxies = two_proxies(&all).await;
    let proxies = [&proxies.0, &proxies.1];
    let world = World::new();
    let limits = NotaryLimits {
        client_misses_per_minute: per_minute(1_000_000),
        misses_per_minute: per_minute(1_000_000),
        ..NotaryLimits::default()
    };
    let notary = world.notary_with(vec![world.compute("*", &proxies[0].url)], limits);
    let mut late = 0;
    for round in 0..ROUNDS {
        let done = Arc::new(AtomicBool::new(false));
        let flights: Vec<_> = (0..AT_ONCE)
            .map(|n| {
                let (notary, module, done) = (notary.clone(), name(round, n), done.clone());
                tokio::spawn(async move {
                    let looked_up = notary.lookup(module, client()).await;
                    done.store(true, Ordering::SeqCst);
                    looked_up
                })
            })
            .collect();
        // A little later in each round, until the flights are over.
        for _ in 0..round * 40 {
            if done.load(Ordering::SeqCst) {
                break;
            }
            tokio::task::yield_now().await;
        }
        let to = proxies[(round + 1) % 2];
        reroute(&notary, vec![world.compute("*", &to.url)], &[None]).await;
        let size = world.size();
        for flight in flights {
            flight.await.unwrap().unwrap();
        }
        for n in 0..AT_ONCE {
            let module = name(round, n);
            let record = world.log.snapshot().find(&module).unwrap().expect("it was looked up");
            if record.id.0 >= size {
                late += 1;
                assert!(is_of(&world, &module, to), "round {round}: {module} came by the old route");
            }
        }
    }
    assert!(late > 0, "some flights were under way when their route was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_a_changed_route_are_forgotten_and_those_of_others_are_not() {
    let (kept, changed) = (module("kept.example/m@v1.0.0"), module("corp.example/m@v1.0.0"));
    let (old, new) = (Proxy::start(Files::default()).await, Proxy::start(Files::default()).await);
    let other = Proxy::start(Files::default()).await;
    new.add(&changed, &[]);
    let world = World::new();
    let routes = |corp: &Proxy| {
        vec![world.compute("kept.example", &other.url), world.compute("corp.example", &corp.url)]
    };
    let notary = world.notary(routes(&old));
    for module in [&kept, &changed] {
        let error = notary.lookup(module.clone(), client()).await.err().unwrap();
        assert!(matches!(error, NotaryError::NotFound { .. }), "{error:?}");
    }
    reroute(&notary, routes(&new), &[Some(0), None]).await;
    notary.lookup(changed, client()).await.unwrap();
    assert!(notary.lookup(kept, client()).await.is_err());
    assert_eq!(other.requests().len(), 1, "its route is the one of before");
    assert_eq!(notary.counters().negative_hits.value(), 1);
}
