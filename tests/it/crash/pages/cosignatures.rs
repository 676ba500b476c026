//! The kept cosignatures: none is made up, changed or forgotten.

use std::path::Path;
use std::time::Duration;

use tallystick::log::{OpenedLog, PublishGate};
use tallystick::note::CosignatureSigner;
use tallystick::source::SourceUrl;
use tallystick::store::cosignatures::{CosignatureStore, GateMemory, StoredCosignature};
use tallystick::tlog::{Checkpoint, TreeHead, TreeSize};
use tallystick::upstream::{ClientOptions, HttpClient, ProxySettings};
use tallystick::witness::{AskedWitness, Witnesses, WitnessesOptions};

use super::super::server::copy_tree;
use super::{Campaign, Random, damage, fold, refused};
use crate::support::logs::{leaf, signer, start_time};

/// Heads up to this size were published without cosignatures.
const DEMANDED_AFTER: u64 = 5;
/// The newest head that both witnesses have cosigned.
const COSIGNED: u64 = 60;
/// The epoch of the process that wrote all this.
const EPOCH: u64 = 7;

fn witnesses() -> [CosignatureSigner; 2] {
    [1, 2].map(|n| CosignatureSigner::generate(format!("witness.example/w{n}").parse().unwrap(), [n; 32]))
}

/// A head of any root.
fn head(size: u64) -> TreeHead {
    TreeHead { size: TreeSize(size), root: leaf(size) }
}

/// The cosignature of a head as it is written before the damage.
fn line(witness: &CosignatureSigner, size: u64) -> String {
    let text = Checkpoint::new(signer().name().as_str().parse().unwrap(), head(size)).format();
    witness.cosign(&text, 1_800_000_000 + size).format_line()
}

fn write(path: &Path) {
    let store = CosignatureStore::open(path).unwrap();
    let exempt = Some(TreeSize(DEMANDED_AFTER));
    let memory = GateMemory { log: signer().verifier().to_string(), epoch: EPOCH, exempt };
    store.keep_gate_memory(&memory).unwrap();
    for size in DEMANDED_AFTER + 1..=COSIGNED {
        for witness in &witnesses() {
            let (key, line) = (witness.verifier().to_string(), line(witness, size));
            let row = StoredCosignature { witness: key, tree: head(size), line, received_at: start_time() };
            store.keep(&row).unwrap();
        }
    }
}

/// The log's gate over this memory; nobody is asked.
fn gate(store: CosignatureStore, client: &HttpClient) -> Witnesses {
    let peer = |witness: &CosignatureSigner| AskedWitness {
        name: witness.name().to_string(),
        url: SourceUrl::parse("http://127.0.0.1:1/").unwrap(),
        key: witness.verifier(),
    };
    Witnesses::new(WitnessesOptions {
        log: signer().verifier(),
        own: CosignatureSigner::from(&signer()),
        peers: witnesses().iter().map(peer).collect(),
        quorum: 2,
        required: true,
        patience: Duration::ZERO,
        hearing: Duration::ZERO,
        freshness: Duration::from_secs(3600),
        store,
        client: client.clone(),
    })
}

fn try_once(template: &Path, client: &HttpClient, random: &mut Random) -> Result<&'static str, String> {
    let place = tempfile::tempdir().unwrap();
    copy_tree(template, place.path());
    let path = place.path().join("cosignatures.db");
    damage(&path, random);
    let store = match CosignatureStore::open(&path) {
        Err(error) => return refused(&error),
        Ok(store) => store,
    };
    let origin = signer().name().as_str().parse().unwrap();
    for size in DEMANDED_AFTER + 1..=COSIGNED {
        let Ok(rows) = store.of(&head(size)) else { continue };
        for witness in &witnesses() {
            let shown = rows.iter().filter_map(|row| row.verified(&origin, &witness.verifier()));
            for shown in shown.map(|signature| signature.format_line()) {
                if shown != line(witness, size) {
                    return Err(format!("the line of size {size} is {shown}"));
                }
            }
        }
    }
    let gate = gate(store, client);
    let mut refusals = 0;
    let mut has_passed = |size: u64, expected: bool| match gate.has_passed(&head(size)) {
        Ok(passed) if passed == expected => Ok(()),
        Ok(passed) => Err(format!("the head of size {size} has passed: {passed}")),
        Err(error) => {
            refusals += 1;
            refused(&error).map(drop)
        }
    };
    // Every head after this one passes by its cosignatures only.
    let (newest, before) = (TreeSize(COSIGNED + 1), TreeSize(DEMANDED_AFTER));
    let opened = OpenedLog { newest, before, last_epoch: EPOCH, epoch: Some(EPOCH + 1) };
    match gate.start(&opened) {
        Ok(demanded) if demanded => {}
        Ok(_) => return Err("no cosignatures are demanded any more".to_owned()),
        Err(error) => return refused(&error),
    }
    // A start looks for the newest head that has passed, from the newest committed one down.
    has_passed(COSIGNED + 1, false)?;
    (1..=COSIGNED).rev().try_for_each(|size| has_passed(size, true))?;
    Ok(if refusals == 0 { "unharmed" } else { "refused in part" })
}

#[test]
fn damaged_cosignatures_are_neither_shown_nor_forgotten() {
    let template = tempfile::tempdir().unwrap();
    let path = template.path().join("cosignatures.db");
    write(&path);
    fold(&path);
    let options = ClientOptions { proxies: ProxySettings::default(), ..ClientOptions::default() };
    let client = HttpClient::new(options).unwrap();
    let what = "cosignatures with random damage in one to three pages";
    let mut campaign = Campaign::new("05-pages-cosignatures", what, 40);
    while let Some(mut random) = campaign.next() {
        campaign.ended(try_once(template.path(), &client, &mut random));
    }
    campaign.finish();
}
