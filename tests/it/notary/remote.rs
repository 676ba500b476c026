//! Lines out of a remote checksum database. What it proves is the mirror's business; here it is what comes of it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tallystick::dirhash::{H1, hash_go_mod};
use tallystick::gosum::ModuleLines;
use tallystick::log::evidence_of;
use tallystick::mirror::{RemoteLimits, RemoteLog, RemoteLogOptions};
use tallystick::module::ModuleVersion;
use tallystick::notary::{Delay, NotaryError, ProveError, ProvenLines, Proving, RemoteLines};
use tallystick::share::Claimant;
use tallystick::source::SourceUrl;
use tallystick::store::Evidence;
use tallystick::tlog::{Hash, RecordId, TreeHead, TreeSize};
use tallystick::upstream::{ClientOptions, HttpClient, ProxySettings, RemoteSumdb, UpstreamMessage};

use super::world::{Files, Proxy, World, client, file, module};

#[derive(Default)]
struct Remote {
    go_mods: Mutex<HashMap<ModuleVersion, H1>>,
    errors: Mutex<HashMap<ModuleVersion, ProveError>>,
    asked: Mutex<Vec<ModuleVersion>>,
}

impl Remote {
    fn add(&self, module: &ModuleVersion, go_mod: &[u8]) {
        self.go_mods.lock().unwrap().insert(module.clone(), hash_go_mod(go_mod));
    }
}

impl RemoteLines for Remote {
    fn name(&self) -> &str {
        "sum.golang.org"
    }

    fn prove<'a>(&'a self, module: &'a ModuleVersion, _: Option<Claimant>, _: Instant) -> Proving<'a> {
        self.asked.lock().unwrap().push(module.clone());
        let go_mod = self.go_mods.lock().unwrap().get(module).copied();
        let error = self.errors.lock().unwrap().remove(module);
        Box::pin(async move {
            if let Some(error) = error {
                return Err(error);
            }
            let go_mod =
                go_mod.ok_or(ProveError::NotFound { said: UpstreamMessage::clean(b"unknown revision") })?;
            let lines = ModuleLines { module: module.clone(), zip: H1::from_bytes([1; 32]), go_mod };
            let head = TreeHead { size: TreeSize(77), root: Hash::from_bytes([3; 32]) };
            Ok(ProvenLines { lines, record: RecordId(5), head })
        })
    }
}

#[tokio::test]
async fn lines_and_evidence_come_from_the_proof_and_no_zip_is_asked_for() {
    let remote = Arc::new(Remote::default());
    let proxy = Proxy::start(Files::default()).await;
    let (root, lib, forged) =
        (module("a.example/m@v1.0.0"), module("a.example/lib@v1.0.0"), module("a.example/forged@v1.0.0"));
    proxy.add(&root, std::slice::from_ref(&lib));
    proxy.add(&forged, &[module("a.example/other@v1.0.0")]);
    let go_mod = "module a.example/m\n\ngo 1.17\n\nrequire a.example/lib v1.0.0\n";
    remote.add(&root, go_mod.as_bytes());
    remote.add(&lib, b"module a.example/lib\n");
    remote.add(&forged, b"module a.example/forged\n");
    let world = World::new();
    let notary = world.notary(vec![world.sumdb("*", Some(&proxy.url), remote.clone())]);
    let found = notary.lookup(root.clone(), client()).await.unwrap();
    assert_eq!(found.record.lines.zip, H1::from_bytes([1; 32]));
    assert_eq!(found.snapshot.size().0, 2, "what the vouched go.mod requires comes along");
    let kept = evidence_of(&found.snapshot, found.record.id).unwrap();
    let Evidence::Sumdb { log, record, head_size, head_root } = kept.evidence else { panic!("{kept:?}") };
    assert_eq!((log.as_str(), record, head_size), ("sum.golang.org", 5, 77));
    assert_eq!(head_root, Hash::from_bytes([3; 32]).to_string());
    assert_eq!(proxy.requests(), [file(&root, "mod")]);

    notary.lookup(forged.clone(), client()).await.unwrap();
    assert_eq!(world.size(), 3);
    let asked = remote.asked.lock().unwrap().clone();
    assert_eq!(asked, [root, lib, forged], "a go.mod that nobody vouches for leads nowhere");
}

#[tokio::test]
async fn failures_of_the_remote_log_are_told_apart() {
    let remote = Arc::new(Remote::default());
    let modules: Vec<_> = (0..6).map(|n| module(&format!("a.example/m{n}@v1.0.0"))).collect();
    let said = UpstreamMessage::clean(b"410 Gone");
    let errors = [
        ProveError::NotFound { said: said.clone() },
        ProveError::Forbidden { said },
        ProveError::Unavailable {
            why: "no address answers".into(),
            retry_after: Some(Duration::from_secs(9)),
        },
        ProveError::Misbehavior { summary: "two roots".into() },
        ProveError::Local { why: "/srv/secret is full".into() },
        ProveError::Unproven { why: "https://a.example: tile/8/0/001 does not match its parent".into() },
    ];
    remote.errors.lock().unwrap().extend(modules.iter().cloned().zip(errors));
    let world = World::new();
    let notary = world.notary(vec![world.sumdb("*", None, remote)]);
    let mut failures = Vec::new();
    for module in modules {
        failures.push(notary.lookup(module, client()).await.err().unwrap());
    }
    assert!(matches!(&failures[0], NotaryError::NotFound { said, .. } if said.as_str() == "410 Gone"));
    assert!(matches!(&failures[1], NotaryError::Forbidden { .. }));
    assert!(
        matches!(&failures[2], NotaryError::TryLater { why: Delay::Source { .. }, retry_after, .. } if retry_after.as_secs() == 9)
    );
    assert!(matches!(&failures[3], NotaryError::Misbehavior { .. }));
    assert!(matches!(&failures[4], NotaryError::Internal { .. }));
    assert!(failures[3].to_client_text().contains("sum.golang.org contradicts what it signed before"));
    assert!(!failures[4].to_client_text().contains("secret"));
    assert!(matches!(&failures[5], NotaryError::TryLater { why: Delay::Unproven { .. }, .. }));
    assert!(failures[5].to_client_text().contains("does not verify, so it was refused"));
    assert_eq!((notary.counters().unproven.value(), notary.counters().unavailable.value()), (1, 1));
    assert_eq!(world.size(), 0);
}

/// The real database's answers, verified by the real client, as a `file://` directory.
#[tokio::test]
async fn records_of_the_real_database_enter_with_their_evidence() {
    const KEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sum.golang.org");
    let world = World::new();
    let options = ClientOptions { proxies: ProxySettings::default(), ..ClientOptions::default() };
    let url = SourceUrl::directory(&fixture).unwrap();
    let transport = RemoteSumdb::new("sum.golang.org".into(), vec![url], HttpClient::new(options).unwrap());
    let remote = RemoteLog::open(RemoteLogOptions {
        name: "sum.golang.org".into(),
        key: KEY.parse().unwrap(),
        transport,
        database: world.directory.path().join("remote.db"),
        clock: world.clock.clone(),
        replica: None,
        limits: RemoteLimits::default(),
    });
    let notary = world.notary(vec![world.sumdb("*", None, Arc::new(remote.unwrap()))]);
    for name in ["rsc.io/quote@v1.5.2", "github.com/BurntSushi/toml@v1.3.2", "golang.org/x/text@v0.3.0"] {
        let module = module(name);
        let found = notary.lookup(module.clone(), client()).await.unwrap();
        let answer = std::fs::read_to_string(fixture.join("lookup").join(module.escaped())).unwrap();
        let (number, rest) = answer.split_once('\n').unwrap();
        assert!(rest.starts_with(&found.record.lines.to_text()), "{name}");
        let kept = evidence_of(&found.snapshot, found.record.id).unwrap();
        let Evidence::Sumdb { record, head_size, .. } = kept.evidence else { panic!("{kept:?}") };
        assert_eq!((record.to_string().as_str(), head_size), (number, 66_398_721));
    }
    let error = notary.lookup(module("corp.example/secret@v1.0.0"), client()).await.err().unwrap();
    let text = error.to_client_text();
    assert!(matches!(error, NotaryError::NotFound { .. }), "{error:?}");
    assert!(text.starts_with("not found: sum.golang.org does not have corp.example/secret@v1.0.0"), "{text}");
    assert!(!text.contains("file:") && !text.contains(fixture.to_str().unwrap()), "{text}");
}
