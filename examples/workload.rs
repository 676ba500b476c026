//! Work for the library without HTTP, as `bench/run` measures it. Prints one line of JSON.
//!
//! ```text
//! workload append DIR STREAM              record texts, each followed by a blank line, in bulk into the log in DIR
//! workload callers DIR CALLERS SECONDS    so many callers at once, each appends one record after the other
//! workload proofs DIR COUNT               inclusion proofs of random records under the newest head, each verified
//! workload hashzip ZIP MODULE@VERSION     the h1: hash of a zip
//! ```
//! A log that is not there is made, with a key of its own.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tallystick::clock::Clock;
use tallystick::config::keys;
use tallystick::dirhash::{H1, ReadAt, ZipLimits, hash_zip};
use tallystick::gosum::ModuleLines;
use tallystick::log::{AppendOutcome, Candidate, Conditions, Log, Prover};
use tallystick::module::{ModuleVersion, Version};
use tallystick::store::anchor::ANCHOR_FILE;
use tallystick::store::sqlite::open_log;
use tallystick::store::{Evidence, Identity};
use tallystick::tlog::{Hash, RecordId, verify_inclusion};

/// Records in one submission of the bulk append.
const BULK_RECORDS: usize = 8192;
/// Submissions on the way, so that the sequencer never waits for the parser.
const BULK_IN_FLIGHT: usize = 3;
/// Page cache of each reader: what `serve` gives it by default.
const READER_CACHE_KIB: u32 = 16 << 10;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no tokio runtime")?;
    let report = match arguments[..] {
        ["append", directory, stream] => runtime.block_on(append(directory.as_ref(), stream.as_ref())),
        ["callers", directory, callers, seconds] => {
            let duration = Duration::from_secs_f64(seconds.parse()?);
            runtime.block_on(call(directory.as_ref(), callers.parse()?, duration))
        }
        ["proofs", directory, count] => prove(directory.as_ref(), count.parse()?),
        ["hashzip", zip, module] => hash(zip.as_ref(), module),
        _ => bail!(
            "usage: workload append DIR STREAM | callers DIR CALLERS SECONDS | proofs DIR COUNT | hashzip ZIP MODULE@VERSION"
        ),
    }?;
    println!("{report}");
    Ok(())
}

fn open(directory: &Path) -> anyhow::Result<Log> {
    std::fs::create_dir_all(directory)?;
    let (signer, _) = keys::load_or_create(directory, None, |_| Ok(()))?;
    let (clock, anchor) = (Clock::system(), directory.join(ANCHOR_FILE));
    let identity = Identity::of(&signer, clock.now());
    let parts = open_log(directory, &anchor, Some(&identity), READER_CACHE_KIB)?;
    Ok(Log::open(parts, vec![signer], clock, Conditions::default())?)
}

fn evidence() -> Arc<Evidence> {
    Arc::new(Evidence::Imported { importer: "bench".to_owned() })
}

async fn append(directory: &Path, stream: &Path) -> anyhow::Result<Value> {
    let start = Instant::now();
    let log = open(directory)?;
    let before = log.snapshot().size().0;
    let (sender, mut batches) = tokio::sync::mpsc::channel::<Vec<Candidate>>(BULK_IN_FLIGHT);
    let stream = stream.to_owned();
    let parser = std::thread::spawn(move || parse(&stream, &sender));
    let mut pending = std::collections::VecDeque::new();
    let mut records = 0;
    loop {
        let batch = batches.recv().await;
        if batch.is_none() && pending.is_empty() {
            break;
        }
        if let Some(batch) = batch {
            records += batch.len() as u64;
            let log = log.clone();
            pending.push_back(tokio::spawn(async move { log.append(batch).await }));
            if pending.len() < BULK_IN_FLIGHT {
                continue;
            }
        }
        let receipt = pending.pop_front().expect("checked above").await??;
        ensure!(
            receipt.outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Appended(_))),
            "a record was there already"
        );
    }
    parser.join().expect("the parser does not panic")?;
    let after = log.snapshot().size().0;
    ensure!(after == before + records, "{before} records and {records} more are not {after}");
    let seconds = start.elapsed().as_secs_f64();
    log.close();
    let closed_seconds = start.elapsed().as_secs_f64();
    Ok(json!({ "records": records, "size": after, "seconds": seconds, "closed_seconds": closed_seconds }))
}

/// Sends the records of a stream in batches.
fn parse(stream: &PathBuf, sender: &tokio::sync::mpsc::Sender<Vec<Candidate>>) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(stream).with_context(|| stream.display().to_string())?;
    let evidence = evidence();
    let mut batch = Vec::with_capacity(BULK_RECORDS);
    for record in text.split_terminator("\n\n") {
        // The split took the newline of the second line with it.
        let lines = ModuleLines::parse(&format!("{record}\n"))?;
        batch.push(Candidate::new(lines, evidence.clone()));
        if batch.len() == BULK_RECORDS {
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BULK_RECORDS));
            sender.blocking_send(full)?;
        }
    }
    if !batch.is_empty() {
        sender.blocking_send(batch)?;
    }
    Ok(())
}

async fn call(directory: &Path, callers: usize, duration: Duration) -> anyhow::Result<Value> {
    let log = open(directory)?;
    let (run, next) = (log.snapshot().size().0, Arc::new(AtomicU64::new(0)));
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (log, next, evidence) = (log.clone(), next.clone(), evidence());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while start.elapsed() < duration {
                    let lines = unique_lines(run, next.fetch_add(1, Ordering::Relaxed))?;
                    let module = lines.module.clone();
                    let asked = Instant::now();
                    let receipt = log.append(vec![Candidate::new(lines, evidence.clone())]).await?;
                    latencies.push(asked.elapsed());
                    let AppendOutcome::Appended(id) = receipt.outcomes[0] else {
                        bail!("{module} was there already")
                    };
                    ensure!(id.0 < receipt.snapshot.size().0, "the head does not contain record {id}");
                }
                Ok(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let seconds = start.elapsed().as_secs_f64();
    ensure!(!latencies.is_empty(), "no caller had time for one record");
    latencies.sort_unstable();
    let percentile =
        |p: usize| latencies[(latencies.len() * p / 100).min(latencies.len() - 1)].as_secs_f64() * 1e3;
    let report = json!({
        "records": latencies.len(), "records_per_s": latencies.len() as f64 / seconds,
        "p50_ms": percentile(50), "p99_ms": percentile(99), "size": log.snapshot().size().0,
    });
    log.close();
    Ok(report)
}

/// Lines that no other run and no other call makes.
fn unique_lines(run: u64, number: u64) -> anyhow::Result<ModuleLines> {
    let module = ModuleVersion::from_parts(&format!("callers.example/run{run}/module{number}"), "v1.0.0")?;
    let hash = *Hash::of_record(module.to_string().as_bytes()).as_bytes();
    Ok(ModuleLines { module, zip: H1::from_bytes(hash), go_mod: H1::from_bytes(hash) })
}

fn prove(directory: &Path, count: u64) -> anyhow::Result<Value> {
    let log = open(directory)?;
    let snapshot = log.snapshot();
    let (size, root) = (snapshot.size(), snapshot.head().tree.root);
    ensure!(size.0 > 0, "the log is empty");
    let mut spent = Duration::ZERO;
    let mut random = 1_u64;
    let prover = Prover::new();
    for _ in 0..count {
        // Knuth's generator; the high bits are the random ones.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = RecordId((random >> 16) % size.0);
        let start = Instant::now();
        let proof = prover.inclusion(&snapshot, id, size)?.proof;
        spent += start.elapsed();
        let record = snapshot.record(id)?.context("a record is missing")?;
        let leaf = Hash::of_record(record.lines.to_text().as_bytes());
        verify_inclusion(&proof, size, &root, id, &leaf)?;
    }
    drop(snapshot);
    log.close();
    Ok(json!({ "proofs": count, "size": size.0, "us_per_proof": spent.as_secs_f64() * 1e6 / count as f64 }))
}

/// A zip on disk, read as the notary reads one that is too large for memory.
struct ZipFile(File);

impl ReadAt for ZipFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

fn hash(zip: &Path, module: &str) -> anyhow::Result<Value> {
    let (path, version) = module.split_once('@').context("not PATH@VERSION")?;
    let module = ModuleVersion::new(path.parse()?, Version::parse(version)?)?;
    let start = Instant::now();
    let hashed = hash_zip(&ZipFile(File::open(zip)?), &module, &ZipLimits::default())?;
    Ok(json!({ "h1": hashed.h1.to_string(), "seconds": start.elapsed().as_secs_f64() }))
}
