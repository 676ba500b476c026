//! Work for witnesses, as `bench/run` measures it. Prints one line of JSON, or a configuration.
//!
//! ```text
//! witnesses logs COUNT                            [[log]] sections of so many made-up logs
//! witnesses ask URL COUNT CALLERS SECONDS         so many callers, each pushes its share of these logs one record on, and on, and on
//! witnesses publish DIR SECONDS VKEY=URL…         a log in DIR that demands the cosignatures of all these; a lone caller appends
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tallystick::clock::Clock;
use tallystick::config::keys;
use tallystick::dirhash::H1;
use tallystick::gosum::ModuleLines;
use tallystick::log::{Candidate, Conditions, Log, PublishGate};
use tallystick::module::ModuleVersion;
use tallystick::note::{self, CosignatureSigner, SignerKey};
use tallystick::source::SourceUrl;
use tallystick::store::anchor::ANCHOR_FILE;
use tallystick::store::cosignatures::CosignatureStore;
use tallystick::store::sqlite::open_log;
use tallystick::store::{Evidence, Identity};
use tallystick::tlog::{
    Checkpoint, ConsistencyProof, Hash, TreeHead, TreeSize, consistency_proof_indexes, prove_consistency,
    stored_hash_index, tree_hash, tree_hash_indexes,
};
use tallystick::upstream::{ClientOptions, HttpClient, ProxySettings};
use tallystick::witness::{AddCheckpoint, AskedWitness, HEARING, Witnesses, WitnessesOptions};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no tokio runtime")?;
    match arguments[..] {
        ["logs", count] => {
            for number in 0..count.parse()? {
                println!("[[log]]\nkey = \"{}\"", key(number)?.verifier());
            }
        }
        ["ask", url, count, callers, seconds] => {
            let (count, callers) = (count.parse()?, callers.parse()?);
            println!("{}", runtime.block_on(ask(url, count, callers, seconds.parse()?))?);
        }
        ["publish", directory, seconds, ref witnesses @ ..] if !witnesses.is_empty() => {
            println!("{}", runtime.block_on(publish(directory.as_ref(), seconds.parse()?, witnesses))?);
        }
        _ => bail!(
            "usage: witnesses logs COUNT | ask URL COUNT CALLERS SECONDS | publish DIR SECONDS VKEY=URL…"
        ),
    }
    Ok(())
}

fn key(number: u32) -> anyhow::Result<SignerKey> {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    Ok(SignerKey::generate(format!("log{number}.example").parse()?, seed))
}

fn client() -> anyhow::Result<HttpClient> {
    Ok(HttpClient::new(ClientOptions { proxies: ProxySettings::default(), ..ClientOptions::default() })?)
}

/// A made-up log: all its stored hashes.
struct MadeUp {
    key: SignerKey,
    stored: Vec<Hash>,
    size: u64,
}

impl MadeUp {
    fn grow(&mut self) {
        self.stored.push(Hash::of_record(self.size.to_string().as_bytes()));
        let (mut level, mut offset) = (0, self.size);
        while offset % 2 == 1 {
            let left = stored_hash_index(level, offset - 1);
            let right = stored_hash_index(level, offset);
            self.stored.push(Hash::of_node(&self.at(left.0), &self.at(right.0)));
            (level, offset) = (level + 1, offset / 2);
        }
        self.size += 1;
    }

    fn at(&self, index: u64) -> Hash {
        self.stored[index as usize]
    }

    /// The request for one record more.
    fn next(&mut self) -> anyhow::Result<AddCheckpoint> {
        let old = TreeSize(self.size);
        self.grow();
        let size = TreeSize(self.size);
        let read = |indexes: Vec<_>| -> Vec<Hash> {
            indexes.into_iter().map(|index: tallystick::tlog::HashIndex| self.at(index.0)).collect()
        };
        let tree = TreeHead { size, root: tree_hash(size, &read(tree_hash_indexes(size)))? };
        let proof = match old.0 {
            0 => ConsistencyProof::default(),
            _ => prove_consistency(size, old, &read(consistency_proof_indexes(size, old)?))?,
        };
        let text = Checkpoint::new(self.key.name().as_str().parse()?, tree).format();
        Ok(AddCheckpoint { old, proof, checkpoint: note::sign(&text, &[&self.key])? })
    }
}

async fn ask(url: &str, count: u32, callers: u32, seconds: f64) -> anyhow::Result<Value> {
    let url = SourceUrl::parse(&format!("{}/add-checkpoint", url.trim_end_matches('/')))?;
    let (client, start, duration) = (client()?, Instant::now(), Duration::from_secs_f64(seconds));
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (client, url) = (client.clone(), url.clone());
            tokio::spawn(async move {
                let mine = (caller..count).step_by(callers as usize);
                let mut logs = mine
                    .map(|number| Ok(MadeUp { key: key(number)?, stored: Vec::new(), size: 0 }))
                    .collect::<anyhow::Result<Vec<_>>>()?;
                let (mut latencies, mut at) = (Vec::new(), 0);
                while start.elapsed() < duration {
                    let which = at % logs.len();
                    let body = logs[which].next()?.format().into_bytes();
                    let asked = Instant::now();
                    let answer = client.post(&url, body.into(), 1 << 16, asked + duration).await?;
                    ensure!(answer.status == 200, "{}: {:?}", answer.status, answer.body);
                    latencies.push(asked.elapsed());
                    at += 1;
                }
                Ok(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    report(latencies, start.elapsed())
}

fn report(mut latencies: Vec<Duration>, elapsed: Duration) -> anyhow::Result<Value> {
    ensure!(!latencies.is_empty(), "no caller had time for one request");
    latencies.sort_unstable();
    let at = |p: usize| latencies[(latencies.len() * p / 100).min(latencies.len() - 1)].as_secs_f64() * 1e3;
    let per_s = latencies.len() as f64 / elapsed.as_secs_f64();
    Ok(json!({ "count": latencies.len(), "per_s": per_s, "p50_ms": at(50), "p99_ms": at(99) }))
}

async fn publish(directory: &Path, seconds: f64, witnesses: &[&str]) -> anyhow::Result<Value> {
    std::fs::create_dir_all(directory)?;
    let (signer, _) = keys::load_or_create(directory, Some("bench.example"), |_| Ok(()))?;
    let peer = |(number, text): (usize, &&str)| {
        let (vkey, url) = text.rsplit_once('=').context("not VKEY=URL")?;
        anyhow::Ok(AskedWitness {
            name: format!("w{number}"),
            url: SourceUrl::parse(&format!("{url}/"))?,
            key: vkey.parse()?,
        })
    };
    let witnesses = Witnesses::new(WitnessesOptions {
        log: signer.verifier(),
        own: CosignatureSigner::from(&signer),
        peers: witnesses.iter().enumerate().map(peer).collect::<anyhow::Result<_>>()?,
        quorum: witnesses.len(),
        required: true,
        patience: Duration::from_secs(5),
        hearing: HEARING,
        freshness: Duration::from_secs(300),
        store: CosignatureStore::open(&directory.join("cosignatures.db"))?,
        client: client()?,
    });
    let clock = Clock::system();
    let identity = Identity::of(&signer, clock.now());
    let parts = open_log(directory, &directory.join(ANCHOR_FILE), Some(&identity), 1024)?;
    let gate = Arc::new(witnesses.clone()) as Arc<dyn PublishGate>;
    let log = Log::open(parts, vec![signer], clock, Conditions { gate: Some(gate), hold: None })?;
    let asking = tokio::spawn(witnesses.run(log.clone()));
    let (run, evidence) =
        (log.snapshot().size().0, Arc::new(Evidence::Imported { importer: "bench".to_owned() }));
    let (start, mut latencies) = (Instant::now(), Vec::new());
    while start.elapsed().as_secs_f64() < seconds {
        let module =
            ModuleVersion::from_parts(&format!("bench.example/run{run}/m{}", latencies.len()), "v1.0.0")?;
        let hash = H1::from_bytes(*Hash::of_record(module.to_string().as_bytes()).as_bytes());
        let candidate = Candidate::new(ModuleLines { module, zip: hash, go_mod: hash }, evidence.clone());
        let asked = Instant::now();
        log.append(vec![candidate]).await?;
        latencies.push(asked.elapsed());
    }
    let elapsed = start.elapsed();
    asking.abort();
    tokio::task::spawn_blocking(move || log.close()).await?;
    report(latencies, elapsed)
}
