//! `tallystick mirror export|import|verify|stats|diff`: what is done with a full mirror by hand.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use clap::Args;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::{Keeper, plot};
use crate::cli::control::{Needs, Session, refused};
use crate::cli::engines::{exit_of_store, full_database};
use crate::cli::exit::OrExit;
use crate::cli::{Exit, Progress, output};
use crate::config::Config;
use crate::http::control::Refusal;
use crate::http::control::by_hand::{
    Part, StatsAnswer, Tell, WorkAnswer, WorkEvent, WorkProgress, WorkRequest, work,
};
use crate::store::lock::DirectoryLock;
use crate::store::replica::drop_index;

/// Paths that `diff` shows to a person; JSON has all.
const MAX_SHOWN_PATHS: usize = 100;

#[derive(Debug, Args)]
#[command(after_help = "\
The files are `latest` and `tile/8/…`, with every record and every hash: any web server can serve them to mirrors and \
auditors, and everything in them follows from the signed head. Into the directory of an earlier export only what is new \
is written. With --from only what is new since that size, and a file `delta` with the proof that the one tree goes on \
from the other: for whoever has a copy of that size or larger. An export that is ended before it is done leaves nothing \
that looks whole.

Examples:
  tallystick mirror export sum.golang.org /srv/sum.golang.org
  tallystick mirror export sum.golang.org /media/usb/log.tar.zst
  tallystick mirror export sum.golang.org delta.tar.zst --from 71000000")]
pub(super) struct Export {
    /// The log
    #[arg(value_name = "NAME")]
    name: String,
    /// A directory, or an archive to be made
    #[arg(value_name = "DIR|FILE.tar.zst")]
    to: PathBuf,
    /// Only what is new since this size
    #[arg(long, value_name = "SIZE")]
    from: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Takes in what `mirror export` wrote, or any static checksum database with `latest` and `tile/8/…`. Its head must be signed \
by the log's key and belong to one log with every head known here, and nothing is stored that does not follow from it. What \
is verified before an import ends stays; another import or a sync goes on there. Needs mode = \"full\".

Exit codes: 0 taken in (also: nothing new), 1 not what it should be, 2 a delta with a gap before it, 3 something in it does \
not verify, 4 the log contradicts itself, 5 a sync or an import is running already.

Examples:
  tallystick mirror import sum.golang.org /media/usb/log.tar.zst
  tallystick mirror import sum.golang.org /srv/sum.golang.org
  tallystick mirror import sum.golang.org https://mirror.corp.example/sum.golang.org")]
pub(super) struct Import {
    /// The log
    #[arg(value_name = "NAME")]
    name: String,
    /// A directory, an archive, or an URL below which both are served
    #[arg(value_name = "DIR|FILE.tar.zst|URL")]
    source: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Reads every record, hashes it up to the signed root of the newest head, looks it up by its name, and compares every \
stored head. A server does the same in the background, once in `verify_interval`.

Exit codes: 0 clean, 4 damage found (each fault is named with its place).

Examples:
  tallystick mirror verify sum.golang.org
  tallystick mirror verify sum.golang.org --json
  tallystick mirror verify sum.golang.org --rebuild-index")]
pub(super) struct Verify {
    /// The log
    #[arg(value_name = "NAME")]
    name: String,
    /// First make the index again from the records; only while no server runs
    #[arg(long)]
    rebuild_index: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The growth is that of the heads that are stored, since this mirror began.

Examples:
  tallystick mirror stats sum.golang.org
  tallystick mirror stats sum.golang.org --svg growth.svg
  tallystick mirror stats sum.golang.org --json")]
pub(super) struct Stats {
    /// The log
    #[arg(value_name = "NAME")]
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Draw the growth into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Every record of the own log is looked up in the mirror. Other lines for the same module version must be impossible: each is \
kept as an incident.

Exit codes: 0 no disagreement, 4 at least one.

Examples:
  tallystick mirror diff
  tallystick mirror diff sum.golang.org --modules 'golang.org/x,rsc.io/*'
  tallystick mirror diff --json")]
pub(super) struct Diff {
    /// The log [default: all with a full mirror]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Only these paths, a list as in GOPRIVATE; shows those too that only the mirror has
    #[arg(long, value_name = "PATTERN")]
    modules: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

type Worked = Result<(WorkAnswer, Vec<Part>), Refusal>;

impl Keeper {
    /// Has it done, with a bar.
    async fn work(&mut self, request: WorkRequest) -> anyhow::Result<Worked> {
        let bar: Arc<Mutex<Option<Bar>>> = Arc::default();
        let shown = bar.clone();
        let tell: Tell =
            Arc::new(move |at| show(&mut shown.lock().unwrap_or_else(PoisonError::into_inner), at));
        let worked = match self {
            Keeper::Own { mirrors, .. } => Ok(work(mirrors, None, request, tell).await),
            Keeper::Server(session) => follow(session, &request, &tell).await,
        };
        let bar = bar.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(bar) = bar {
            bar.progress.finish();
        }
        worked
    }
}

async fn follow(session: &mut Session, request: &WorkRequest, tell: &Tell) -> anyhow::Result<Worked> {
    let (mut told, mut parts) = (session.follow("/v1/mirror/work", request).await?, Vec::new());
    loop {
        match told.next().await? {
            WorkEvent::Progress(at) => tell(at),
            WorkEvent::Part(part) => parts.push(part),
            WorkEvent::Done(answer) => return Ok(Ok((answer, parts))),
            WorkEvent::Refused(refusal) => return Ok(Err(refusal)),
        }
    }
}

struct Bar {
    what: String,
    progress: Progress,
}

fn show(bar: &mut Option<Bar>, WorkProgress { what, done, total }: WorkProgress) {
    if let Some(other) = bar.take_if(|bar| bar.what != what) {
        other.progress.finish();
    }
    let bar = bar.get_or_insert_with(|| {
        let mut progress = match total {
            Some(total) => Progress::new("records", total),
            None => Progress::bytes("unpacked", None),
        };
        progress.begin_at(done);
        Bar { what, progress }
    });
    bar.progress.set(done);
}

fn unexpected(answer: &WorkAnswer) -> anyhow::Error {
    anyhow::anyhow!("the server's answer is not what this program knows: {answer:?}")
}

impl Export {
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<Exit> {
        let Export { name, to, from } = self;
        let to = std::path::absolute(&to).with_context(|| format!("cannot write {}", to.display()))?;
        let mut keeper = Keeper::open(config, Some(&name)).await?;
        let request = WorkRequest::Export { log: name.clone(), to: to.clone(), from };
        let (answer, _) = keeper.work(request).await?.or_else(refused)?;
        let WorkAnswer::Export { from, size, files, bytes, .. } = answer else {
            return Err(unexpected(&answer));
        };
        let to = to.display();
        output::print(&match from {
            0 => format!("{name}: {size} records in {files} files, {} in {to}\n", HumanBytes(bytes)),
            from if from == size => format!("{name}: nothing new, {size} records in {to}\n"),
            from => {
                format!(
                    "{name}: from {from} to {size} records, {files} files, {} in {to}\n",
                    HumanBytes(bytes)
                )
            }
        })?;
        Ok(Exit::Done)
    }
}

impl Import {
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<Exit> {
        let Import { name, source } = self;
        let source = if source.contains("://") {
            source
        } else {
            let path = std::path::absolute(&source).with_context(|| format!("cannot read {source}"))?;
            path.into_os_string()
                .into_string()
                .map_err(|_| anyhow::anyhow!("{source}: its path is not UTF-8"))?
        };
        let mut keeper = Keeper::open(config, Some(&name)).await?;
        let request = WorkRequest::Import { log: name.clone(), source };
        let (answer, _) = keeper.work(request).await?.or_else(refused)?;
        let WorkAnswer::Import { from, to } = answer else { return Err(unexpected(&answer)) };
        output::print(&match from {
            Some(from) if from == to => format!("{name}: nothing new, {to} records\n"),
            Some(from) => format!("{name}: {to} records, {} more than before\n", to.saturating_sub(from)),
            None => format!("{name}: {to} records\n"),
        })?;
        Ok(Exit::Done)
    }
}

impl Verify {
    /// Throws the index away, with nobody else at the mirrors; who opens the mirror next makes it again.
    fn drop_index(&self, config: &Config) -> anyhow::Result<()> {
        let path = full_database(config, &self.name);
        anyhow::ensure!(
            path.exists(),
            "there is no full mirror of {} in {}",
            self.name,
            config.data.display()
        );
        let dropped = DirectoryLock::acquire(&config.data).and_then(|_lock| drop_index(&path));
        dropped.or_else(|error| {
            let exit = exit_of_store(&error);
            Err(error).or_exit(exit)
        })
    }

    pub(super) async fn run(self, config: &Config) -> anyhow::Result<Exit> {
        if self.rebuild_index {
            self.drop_index(config)?;
        }
        let mut keeper = Keeper::open(config, Some(&self.name)).await?;
        let request = WorkRequest::Verify { log: self.name.clone() };
        let (answer, findings) = keeper.work(request).await?.or_else(refused)?;
        let WorkAnswer::Verify { records, heads, unlisted } = answer else { return Err(unexpected(&answer)) };
        let (name, clean) = (&self.name, findings.is_empty());
        let exit = if clean { Exit::Done } else { Exit::Damage };
        if self.json {
            let findings: Vec<Value> = findings.iter().map(inner).collect();
            output::print_json(&json!({
                "log": name, "clean": clean, "records": records, "heads": heads, "findings": findings,
                "unlisted": unlisted,
            }))?;
            return Ok(exit);
        }
        if clean {
            output::print(&format!("{name}: clean; {records} records, {heads} heads\n"))?;
            return Ok(exit);
        }
        let rows = findings.iter().filter_map(|part| match part {
            Part::Finding { place, why } => Some([place.clone(), why.clone()]),
            _ => None,
        });
        output::print_table(["place", "what is wrong"], rows.clone())?;
        if unlisted > 0 {
            output::print(&format!("and {unlisted} more\n"))?;
        }
        let remedy = if unlisted == 0 && rows.clone().all(|[place, _]| place.starts_with("index")) {
            format!(
                "stop the server and make the index again from the records: `tallystick mirror verify {name} --rebuild-index`"
            )
        } else {
            "stop the server, move the mirror's `.full.*` files away and let it be replicated or imported again"
                .to_owned()
        };
        let count = findings.len() as u64 + unlisted;
        output::error(&format!(
            "{count} finding{} in the mirror of {name}, which has {records} records\n  fix: look at the disk first; then {remedy}",
            if count == 1 { "" } else { "s" }
        ));
        Ok(exit)
    }
}

/// A part without the word that says what it is.
fn inner(part: &Part) -> Value {
    match serde_json::to_value(part) {
        Ok(Value::Object(fields)) => fields.into_iter().next().map(|(_, value)| value).unwrap_or_default(),
        _ => Value::Null,
    }
}

impl Stats {
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<Exit> {
        let mut keeper = Keeper::open(config, Some(&self.name)).await?;
        let request = WorkRequest::Stats { log: self.name.clone() };
        let (answer, _) = keeper.work(request).await?.or_else(refused)?;
        let WorkAnswer::Stats(stats) = answer else { return Err(unexpected(&answer)) };
        if let Some(file) = &self.svg {
            let drawn = plot::svg(&self.name, &stats.growth);
            std::fs::write(file, drawn).with_context(|| format!("cannot write {}", file.display()))?;
        }
        if self.json {
            output::print_json(&json!({ "log": self.name, "stats": stats }))?;
            return Ok(Exit::Done);
        }
        print_stats(&self.name, &stats)?;
        Ok(Exit::Done)
    }
}

fn print_stats(name: &str, stats: &StatsAnswer) -> anyhow::Result<()> {
    let StatsAnswer { records, others, heads, per_day, last_day, growth, hosts, paths } = stats;
    let mut text = format!("{name}\n  records     {records}");
    if *others > 0 {
        text += &format!(", {others} of them no module versions");
    }
    text += &format!("\n  heads       {heads}\n");
    if let (Some((first, _)), Some((last, _))) = (growth.first(), growth.last()) {
        text += &format!("  from        {}\n  to          {}\n", super::time(*first), super::time(*last));
    }
    let rate = per_day.map(|rate| format!("{rate:.0} records a day"));
    let day = last_day.map(|day| format!("{day} in the last 24 hours"));
    let rates: Vec<String> = rate.into_iter().chain(day).collect();
    if !rates.is_empty() {
        text += &format!("  growth      {}\n", rates.join(", "));
    }
    text += &plot::text(growth).map_or(String::new(), |plot| format!("\n{plot}"));
    output::print(&text)?;
    for (what, counts) in [("host", hosts), ("module path", paths)] {
        if counts.is_empty() {
            continue;
        }
        output::print("\n")?;
        let share = |count: u64| format!("{:.1} %", count as f64 * 100.0 / (*records).max(1) as f64);
        let rows = counts.iter().map(|(name, count)| [name.clone(), count.to_string(), share(*count)]);
        output::print_table([what, "records", "share"], rows)?;
    }
    Ok(())
}

impl Diff {
    /// `config` as it was loaded: the own log is opened with it, if no server has it open.
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<Exit> {
        let mut keeper = Keeper::Server(Session::open(config, Needs::Routes).await?);
        let compared = self.compare(&mut keeper).await;
        let Keeper::Server(session) = keeper else { unreachable!("it was made here") };
        session.close().await?;
        compared
    }

    async fn compare(&self, keeper: &mut Keeper) -> anyhow::Result<Exit> {
        let names = match &self.name {
            Some(name) => vec![name.clone()],
            None => {
                let all = keeper.status().await?;
                all.into_iter().filter(|status| status.full.is_some()).map(|status| status.log).collect()
            }
        };
        if names.is_empty() {
            output::note("no full mirror is kept here: set mode = \"full\" in a [sumdb.\"…\"]");
        }
        let (mut exit, mut all) = (Exit::Done, Vec::new());
        for name in names {
            let request = WorkRequest::Diff { log: name.clone(), modules: self.modules.clone() };
            let (answer, parts) = keeper.work(request).await?.or_else(refused)?;
            let WorkAnswer::Diff { own, mirror, both, disagree, unlisted } = answer else {
                return Err(unexpected(&answer));
            };
            if disagree > 0 {
                exit = Exit::Damage;
            }
            if self.json {
                let of = |is: fn(&Part) -> bool| -> Vec<Value> {
                    parts.iter().filter(|part| is(part)).map(inner).collect()
                };
                all.push(json!({
                    "log": name, "own": own, "mirror": mirror, "both": both, "disagree": disagree,
                    "unlisted": unlisted,
                    "paths": of(|part| matches!(part, Part::Path { .. })),
                    "disagreements": of(|part| matches!(part, Part::Disagreement { .. })),
                }));
            } else {
                print_diff(&name, [own, mirror, both, disagree], &parts)?;
            }
        }
        if self.json {
            output::print_json(&all)?;
        }
        Ok(exit)
    }
}

fn print_diff(name: &str, [own, mirror, both, disagree]: [u64; 4], parts: &[Part]) -> anyhow::Result<()> {
    let paths: Vec<[String; 4]> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Path { path, own, mirror, both } => {
                Some([path.clone(), own.to_string(), mirror.to_string(), both.to_string()])
            }
            _ => None,
        })
        .collect();
    let hidden = paths.len().saturating_sub(MAX_SHOWN_PATHS);
    if !paths.is_empty() {
        output::print_table(
            ["module path", "own log", name, "the same"],
            paths.into_iter().take(MAX_SHOWN_PATHS),
        )?;
        if hidden > 0 {
            output::print(&format!("and {hidden} more paths: --json shows all\n"))?;
        }
        output::print("\n")?;
    }
    output::print(&format!(
        "{name}: {own} versions in the own log, {mirror} in the mirror, {both} the same\n"
    ))?;
    if disagree == 0 {
        return Ok(());
    }
    for part in parts {
        if let Part::Disagreement { module, own_record, own, mirror_record, mirror } = part {
            let indent = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
            let told = format!(
                "{module}\n  own log, record {own_record}\n{}  {name}, record {mirror_record}\n{}",
                indent(own),
                indent(mirror)
            );
            output::print(&told)?;
        }
    }
    output::error(&format!(
        "{disagree} module version{} of which {name} has other lines than the own log: kept as incidents\n  fix: one of the \
         two was deceived; compare both with what others have, and do not build these versions until you know which",
        if disagree == 1 { "" } else { "s" }
    ));
    Ok(())
}
