//! Few heads: what comes together is appended together, and what a go.mod requires comes along.

use std::sync::Arc;

use tallystick::module::ModuleVersion;
use tallystick::notary::{AheadLimits, NotaryLimits};
use tallystick::share::Claimant;

use super::world::{Files, Proxy, Say, World, client, eventually, file, file_url, module, per_minute};

fn many(count: usize) -> Vec<ModuleVersion> {
    (0..count).map(|n| module(&format!("corp.example/dep{n}@v1.0.0"))).collect()
}

/// A directory with a module that requires `count` others.
fn tree(count: usize) -> (tempfile::TempDir, ModuleVersion, Vec<ModuleVersion>) {
    let (mut files, root, requires) = (Files::default(), module("corp.example/root@v1.0.0"), many(count));
    for module in &requires {
        files.add(module, &[]);
    }
    files.add(&root, &requires);
    let tree = tempfile::tempdir().unwrap();
    files.write(tree.path());
    (tree, root, requires)
}

#[tokio::test]
async fn what_a_new_module_requires_enters_under_the_same_head() {
    let (tree, root, requires) = tree(200);
    let world = World::new();
    let notary = world.notary(vec![world.compute("*", &file_url(tree.path()))]);
    let found = notary.lookup(root, client()).await.unwrap();
    assert_eq!(found.snapshot.size().0, 201);
    assert_eq!(notary.counters().batches.value(), 1);
    for module in requires {
        let record = found.snapshot.find(&module).unwrap().unwrap();
        assert_eq!(notary.lookup(module, client()).await.unwrap().record, record);
    }
    assert_eq!((world.size(), notary.counters().ahead_appended.value()), (201, 200));
    let heads = found.snapshot.heads(tallystick::tlog::TreeSize(1000), 10).unwrap();
    assert_eq!(heads.iter().map(|head| head.tree.size.0).collect::<Vec<_>>(), [201, 0]);
}

#[tokio::test]
async fn nobodys_go_mod_can_fill_the_log() {
    let (tree, root, _) = tree(100);
    for (limits, size) in [
        (
            NotaryLimits {
                ahead: AheadLimits { per_lookup: 7, ..AheadLimits::default() },
                ..NotaryLimits::default()
            },
            8,
        ),
        (
            NotaryLimits {
                ahead: AheadLimits { enabled: false, ..AheadLimits::default() },
                ..NotaryLimits::default()
            },
            1,
        ),
        (NotaryLimits { client_misses_per_minute: per_minute(5), ..NotaryLimits::default() }, 6),
        (NotaryLimits { misses_per_minute: per_minute(20), ..NotaryLimits::default() }, 11),
    ] {
        let world = World::new();
        let notary = world.notary_with(vec![world.compute("*", &file_url(tree.path()))], limits.clone());
        notary.lookup(root.clone(), client()).await.unwrap();
        eventually(|| notary.in_flight() == (0, 0)).await;
        assert_eq!(world.size(), size, "{limits:?}");
        assert_eq!(notary.counters().limited.value(), 0, "no client's own look-up was refused for it");
    }
    let world = World::new();
    let notary = world.notary(vec![world.compute("*", &file_url(tree.path()))]);
    notary.lookup(root, Claimant::Operator).await.unwrap();
    assert_eq!(world.size(), 1, "the operator asks for what the operator wants");
}

#[tokio::test]
async fn going_ahead_is_bounded_in_depth() {
    let chain = many(5);
    let mut files = Files::default();
    for (n, module) in chain.iter().enumerate() {
        files.add(module, &chain[n + 1..(n + 2).min(chain.len())]);
    }
    let tree = tempfile::tempdir().unwrap();
    files.write(tree.path());
    for (depth, size) in [(1, 2), (2, 3), (3, 4)] {
        let world = World::new();
        let ahead = AheadLimits { depth, ..AheadLimits::default() };
        let limits = NotaryLimits { ahead, ..NotaryLimits::default() };
        let notary = world.notary_with(vec![world.compute("*", &file_url(tree.path()))], limits);
        let found = notary.lookup(chain[0].clone(), client()).await.unwrap();
        assert_eq!(found.snapshot.size().0, size, "depth {depth}");
    }
}

#[tokio::test]
async fn requirements_that_fail_or_hang_do_not_stop_who_requires_them() {
    let proxy = Proxy::start(Files::default()).await;
    let (root, requires) = (module("corp.example/root@v1.0.0"), many(4));
    proxy.add(&root, &requires);
    proxy.add(&requires[0], &[]);
    proxy.say(file(&requires[1], "mod"), Say::Status(500, "", None));
    let world = World::new();
    let notary = world.notary(vec![world.compute("*", &proxy.url)]);
    let found = notary.lookup(root, client()).await.unwrap();
    assert_eq!(found.snapshot.size().0, 2);
    assert_eq!(notary.counters().ahead_failed.value(), 3);

    let slow = Proxy::start(Files::default()).await;
    let (root, lonely) = (module("corp.example/root2@v1.0.0"), module("corp.example/slow@v1.0.0"));
    let mut files = Files::default();
    files.add(&root, std::slice::from_ref(&lonely));
    let tree = tempfile::tempdir().unwrap();
    files.write(tree.path());
    slow.add(&lonely, &[]);
    slow.close();
    let notary = world.notary(vec![world.compute("*", &format!("{},{}", file_url(tree.path()), slow.url))]);
    assert!(notary.lookup(root, client()).await.is_ok());
    slow.asked("slow/@v", 1).await;
    // A client that asks for it now waits for the same work.
    let asking = tokio::spawn({
        let (notary, lonely) = (notary.clone(), lonely.clone());
        async move { notary.lookup(lonely, client()).await.map(|found| found.record.id) }
    });
    eventually(|| notary.counters().joined.value() == 1).await;
    slow.open();
    assert!(asking.await.unwrap().is_ok());
    assert_eq!(slow.requests().iter().filter(|path| path.ends_with(".mod")).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misses_that_come_together_share_a_head() {
    let (tree, _, modules) = tree(200);
    let world = World::new();
    let notary = world.notary(vec![world.compute("*", &file_url(tree.path()))]);
    // A client that asks for two at a time, as the go command does on two processors.
    for pair in modules.chunks(2) {
        let asking: Vec<_> = pair
            .iter()
            .map(|module| {
                let (notary, module) = (notary.clone(), module.clone());
                tokio::spawn(async move { notary.lookup(module, client()).await.map(|_| ()) })
            })
            .collect();
        for one in asking {
            one.await.unwrap().unwrap();
        }
    }
    let batches = notary.counters().batches.value();
    assert!(batches <= 104, "{batches} heads for 100 pairs");
    assert_eq!(world.size(), 200);
}

#[tokio::test]
async fn a_lone_miss_does_not_wait_for_company() {
    let (tree, _, modules) = tree(3);
    let world = World::new();
    // Nobody could wait this long.
    let gather = std::time::Duration::from_secs(3600);
    let limits = NotaryLimits { gather, ..NotaryLimits::default() };
    let notary = Arc::new(world.notary_with(vec![world.compute("*", &file_url(tree.path()))], limits));
    for module in modules {
        notary.lookup(module, client()).await.unwrap();
    }
    assert_eq!(notary.counters().batches.value(), 3);
}
