//! Which source is asked: a private path is never sent anywhere but to its own route.

use crate::support::logs;
use crate::support::logs::LogOptions;
use tallystick::log::Conditions;
use tallystick::module::PathPatterns;
use tallystick::notary::{Notary, NotaryError, NotaryLimits, NotaryOptions};
use tallystick::route::{Checksum, Route, RouteError};

use super::world::{Files, Proxy, Say, World, client, file, module};

#[tokio::test]
async fn a_private_path_is_asked_of_its_own_route_only() {
    let (private, public) = (Proxy::start(Files::default()).await, Proxy::start(Files::default()).await);
    let world = World::new();
    let routes = vec![
        world.compute("*.corp.example/Secret,corp.example", &private.url),
        world.compute("*", &public.url),
    ];
    let notary = world.notary(routes);
    let secrets = [
        "corp.example/gone@v1.0.0",
        "corp.example/UpperCase@v1.0.0",
        "git.corp.example/Secret/deep/down@v1.2.3",
        "corp.example/broken@v1.0.0",
        "corp.example/closed@v1.0.0",
    ]
    .map(module);
    private.say(file(&secrets[3], "mod"), Say::Status(500, "", None));
    private.say(file(&secrets[4], "mod"), Say::Status(403, "", None));
    // The public server has them all, so that a leak would be a hit.
    for secret in &secrets {
        public.add(secret, &[]);
        let error = notary.lookup(secret.clone(), client()).await.err().unwrap();
        assert!(!matches!(error, NotaryError::NoRoute { .. }), "{error:?}");
    }
    assert_eq!(public.requests(), Vec::<String>::new());
    assert_eq!((private.requests().len(), world.size()), (5, 0));

    // What goes ahead stays on the route, in both directions.
    let (inner, outer) = (module("corp.example/app@v1.0.0"), module("public.example/lib@v1.0.0"));
    let (secret, other) = (module("corp.example/lib@v1.0.0"), module("public.example/other@v1.0.0"));
    private.add(&inner, &[outer.clone(), secret.clone()]);
    private.add(&secret, &[]);
    public.add(&outer, &[secret.clone(), other.clone()]);
    public.add(&other, &[]);
    notary.lookup(inner, client()).await.unwrap();
    assert_eq!(public.requests(), Vec::<String>::new());
    assert_eq!(world.size(), 2, "the private requirement came along");
    let before = private.requests().len();
    notary.lookup(outer, client()).await.unwrap();
    assert_eq!(private.requests().len(), before);
    assert_eq!(world.size(), 4);
    assert!(public.requests().iter().all(|path| !path.contains("corp.example")), "{:?}", public.requests());
}

/// A Git host takes `Corp` for `corp`, a pattern of GOPRIVATE does not: what is private but for its case goes nowhere, whether a
/// client asks for it or a public go.mod requires it.
#[tokio::test]
async fn a_private_path_in_another_spelling_is_named_to_nobody() {
    let (private, public) = (Proxy::start(Files::default()).await, Proxy::start(Files::default()).await);
    let world = World::new();
    let notary = world.notary(vec![
        world.compute("github.com/Corp/open", &public.url),
        world.compute("github.com/corp/*,git.corp.example/Team", &private.url),
        world.compute("*", &public.url),
    ]);
    let withheld = [
        "github.com/Corp/secret@v1.0.0",
        "github.com/CORP/secret/v2@v2.0.0",
        "git.corp.example/team/x@v1.0.0",
        "github.com/corp@v1.0.0",
        "github.com/Corp@v1.0.0",
    ]
    .map(module);
    let lib = module("public.example/lib@v1.0.0");
    public.add(&lib, &withheld);
    for path in &withheld {
        public.add(path, &[]);
        private.add(path, &[]);
        let error = notary.lookup(path.clone(), client()).await.err().unwrap();
        let NotaryError::Withheld { why, .. } = &error else { panic!("{error:?}") };
        let text = error.to_client_text();
        assert!(text.contains("route 2") && text.contains(&why.to_string()), "{text}");
        assert!(text.contains(&format!("[[route]] for \"{}\"", path.path)), "the remedy: {text}");
    }
    notary.lookup(lib.clone(), client()).await.unwrap();
    assert!(
        public.requests().iter().all(|path| path.starts_with("public.example/lib/")),
        "{:?}",
        public.requests()
    );
    assert_eq!((private.requests(), world.size()), (Vec::new(), 1));

    // The remedy is followed: a route that names the spelling before the private one, and one for the path above after it.
    let open = module("github.com/Corp/open@v1.0.0");
    public.add(&open, &[]);
    notary.lookup(open, client()).await.unwrap();
    for (n, path) in withheld.iter().enumerate() {
        let named = world.compute(path.path.as_str(), &public.url);
        let corp = world.compute("github.com/corp/*,git.corp.example/Team", &private.url);
        let rest = world.compute("*", &public.url);
        let routes = if n < 3 { vec![named, corp, rest] } else { vec![corp, named, rest] };
        world.notary(routes).lookup(path.clone(), client()).await.unwrap();
    }
    assert_eq!(private.requests(), Vec::<String>::new());
    // Public hosts and paths beside the private ones are as public as before.
    let other = module("github.com/other/x@v1.0.0");
    public.add(&other, &[]);
    notary.lookup(other, client()).await.unwrap();
}

#[tokio::test]
async fn a_path_without_a_route_is_not_found() {
    let world = World::new();
    let proxy = Proxy::start(Files::default()).await;
    let notary = world.notary(vec![world.compute("corp.example", &proxy.url)]);
    let error = notary.lookup(module("other.example/m@v1.0.0"), client()).await.err().unwrap();
    assert!(matches!(error, NotaryError::NoRoute { .. }));
    assert_eq!(proxy.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn sources_are_asked_in_the_order_of_the_list() {
    let (first, second) = (Proxy::start(Files::default()).await, Proxy::start(Files::default()).await);
    let (missing, broken) = (module("corp.example/a@v1.0.0"), module("corp.example/b@v1.0.0"));
    for module in [&missing, &broken] {
        second.add(module, &[]);
    }
    first.say(file(&broken, "mod"), Say::Status(500, "", None));
    let world = World::new();
    let comma = world.notary(vec![world.compute("*", &format!("{},{}", first.url, second.url))]);
    assert!(comma.lookup(missing, client()).await.is_ok(), "404: the next one is asked");
    let error = comma.lookup(broken.clone(), client()).await.err().unwrap();
    assert!(matches!(error, NotaryError::TryLater { .. }), "{error:?}");
    let bar = world.notary(vec![world.compute("*", &format!("{}|{}", first.url, second.url))]);
    assert!(bar.lookup(broken, client()).await.is_ok(), "after a bar any error counts");
}

#[tokio::test]
async fn routes_that_would_open_our_network_are_refused() {
    let world = World::new();
    let new = |route| {
        let (log, clock) = (world.log.clone(), world.clock.clone());
        Notary::new(NotaryOptions { log, routes: vec![route], limits: NotaryLimits::default(), clock }).err()
    };
    assert_eq!(new(world.compute("*", "direct")), Some(RouteError::DirectNeedsHost { number: 1 }));
    assert_eq!(
        new(world.compute("*.corp.example", "direct")),
        Some(RouteError::DirectNeedsHost { number: 1 })
    );
    assert_eq!(new(world.compute("git.corp.example/*", "direct")), None);
    let route = Route { modules: PathPatterns::parse("*"), source: None, checksum: Checksum::Compute };
    assert_eq!(new(route), Some(RouteError::NoSource { number: 1 }));
}

#[tokio::test]
async fn a_log_that_signs_nothing_takes_nothing_in() {
    let mut world = World::new();
    let proxy = Proxy::start(Files::default()).await;
    let wanted = module("corp.example/m@v1.0.0");
    proxy.add(&wanted, &[]);
    let notary = world.notary(vec![world.compute("*", &proxy.url)]);
    notary.lookup(wanted.clone(), client()).await.unwrap();
    drop(notary);
    // The same log without its anchor.
    let directory = tempfile::tempdir().unwrap();
    for name in ["log.db", "log.db-wal"] {
        let from = world.directory.path().join(name);
        if from.exists() {
            std::fs::copy(from, directory.path().join(name)).unwrap();
        }
    }
    let signer = tallystick::note::SignerKey::generate("sum.corp.example".parse().unwrap(), [7; 32]);
    let options = LogOptions {
        directory: directory.path().to_owned(),
        anchor: directory.path().join("anchor.db"),
        signers: vec![signer],
        reader_cache_kib: 256,
        clock: world.clock.clone(),
    };
    world.log = logs::open_log_as(options, Conditions::default()).unwrap();
    let notary = world.notary(vec![world.compute("*", &proxy.url)]);
    assert!(notary.lookup(wanted, client()).await.is_ok(), "what it has is served");
    let requests = proxy.requests().len();
    let error = notary.lookup(module("corp.example/new@v1.0.0"), client()).await.err().unwrap();
    assert!(matches!(error, NotaryError::ReadOnly { .. }), "{error:?}");
    assert_eq!(proxy.requests().len(), requests, "the source is left alone");
    let text = error.to_client_text();
    assert!(text.contains("read-only") && !text.contains(directory.path().to_str().unwrap()), "{text}");
}
