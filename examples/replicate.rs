//! Replicates a log once and says how fast, as `bench/run` measures it. Prints one line of JSON.
//!
//! ```text
//! replicate VKEY URL DATABASE [JOBS]      URL is http://…, or file:///… for a static log directory
//! replicate settle VKEY DATABASE          merges the index and empties the write-ahead log
//! replicate find VKEY DATABASE COUNT      random look-ups
//! ```

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;
use tallystick::clock::Clock;
use tallystick::mirror::{self, RemoteLimits, RemoteLog, RemoteLogOptions, ReplicateOptions};
use tallystick::note::VerifierKey;
use tallystick::source::SourceUrl;
use tallystick::store::replica::{RecordText, Replica};
use tallystick::upstream::{ClientOptions, HttpClient, RemoteSumdb};

const CACHE_KIB: u32 = 16 << 10;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments[..] {
        ["settle", vkey, database] => open(vkey, database.as_ref())?.settle()?,
        ["find", vkey, database, count] => find(&open(vkey, database.as_ref())?, count.parse()?)?,
        [vkey, url, database] => runtime.block_on(replicate(vkey, url, database.as_ref(), 32))?,
        [vkey, url, database, jobs] => {
            runtime.block_on(replicate(vkey, url, database.as_ref(), jobs.parse()?))?;
        }
        _ => bail!(
            "usage: replicate VKEY URL DATABASE [JOBS] | settle VKEY DATABASE | find VKEY DATABASE COUNT"
        ),
    }
    Ok(())
}

fn open(vkey: &str, database: &Path) -> anyhow::Result<Replica> {
    let key: VerifierKey = vkey.parse()?;
    Ok(Replica::open(database, key.name().as_str(), vkey, CACHE_KIB, Clock::system().now())?)
}

async fn replicate(vkey: &str, url: &str, database: &Path, jobs: usize) -> anyhow::Result<()> {
    let (clock, key) = (Clock::system(), vkey.parse::<VerifierKey>()?);
    let name = key.name().as_str().to_owned();
    let client = HttpClient::new(ClientOptions::default())?;
    let log = RemoteLog::open(RemoteLogOptions {
        name: name.clone(),
        key,
        transport: RemoteSumdb::new(name, vec![SourceUrl::parse(url)?], client),
        database: database.with_extension("remote"),
        clock: clock.clone(),
        replica: None,
        limits: RemoteLimits::default(),
    })?;
    let replica = open(vkey, database)?;
    let head = log.advance(clock.instant() + Duration::from_secs(60)).await?;
    let started = clock.instant();
    let options = ReplicateOptions { jobs, ..ReplicateOptions::default() };
    let done = mirror::replicate(&log, &replica, &head, options, |_| ()).await?;
    let seconds = (clock.instant() - started).as_secs_f64();
    let records = done.progress.size.0 - done.from.0;
    let status = std::fs::read_to_string("/proc/self/status").context("no /proc")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default().trim();
    println!(
        "{}",
        json!({ "records": records, "seconds": seconds, "records_per_second": records as f64 / seconds,
            "requests": done.progress.requests, "retries": done.progress.retries, "peak_rss": peak })
    );
    Ok(())
}

fn find(replica: &Replica, count: u64) -> anyhow::Result<()> {
    let (reader, clock) = (replica.reader(), Clock::system());
    let size = reader.size().0;
    let mut modules = Vec::new();
    for n in 0..count {
        let id = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % size;
        let RecordText::Lines(lines) = reader.records(id..id + 1)?.remove(0) else {
            bail!("record {id} is odd")
        };
        modules.push((id, lines.module));
    }
    let started = clock.instant();
    for (id, module) in &modules {
        let found = reader.find(module)?.context("a record is not found")?;
        anyhow::ensure!(found.id.0 == *id, "{module} is record {id}, not {}", found.id);
    }
    let seconds = (clock.instant() - started).as_secs_f64();
    println!("{}", json!({ "found": count, "microseconds_each": seconds * 1e6 / count as f64 }));
    Ok(())
}
