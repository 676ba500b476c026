//! `tallystick fsck`: is everything in the log's database what it must be?

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::engines::open_reader;
use super::exit::{OrExit, OrStoreExit};
use super::{Common, Exit, ProgressMeter, output};
use crate::config::{Config, keys};
use crate::log::{FsckFinding, FsckReport, ReadOnly, fsck, why_read_only};
use crate::note::VerifierKey;
use crate::store::anchor::{Anchor as _, Anchored, FileAnchor};
use crate::store::lock::DirectoryLock;
use crate::store::sqlite::{DATABASE_FILE, SqliteReader, rebuild_index};
use crate::store::{Identity, LogObserver, LogReader, StoreError};
use crate::tlog::TreeSize;

/// Recompute every hash, tile, index entry and signature from the stored records
#[derive(Debug, Args)]
#[command(after_help = "\
Reads only, and may run beside a server; it looks at the log as it is when it begins, and compares it with its key \
and its anchor. The index, through which records are found, can be made again from them: --rebuild-index does that \
first, and wants the server stopped.

Examples:
  tallystick fsck
  tallystick fsck --data /var/lib/tallystick --json
  tallystick fsck --rebuild-index")]
pub(super) struct FsckCommand {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Make the index again from the records before checking
    #[arg(long)]
    rebuild_index: bool,
}

/// What was looked at, and what is wrong.
#[derive(Debug, Serialize)]
struct FsckOutput {
    log: String,
    vkey: String,
    clean: bool,
    records: u64,
    heads: u64,
    anchor: AnchorState,
    /// Why the next start will sign nothing, as far as log, anchor and stops tell, and what to do about it.
    read_only: Option<String>,
    findings: Vec<Found>,
    /// Findings that are not listed because there are too many.
    unlisted: u64,
}

#[derive(Debug, Serialize)]
struct AnchorState {
    path: String,
    /// The highest head ever published; absent without an anchor that can be read.
    size: Option<u64>,
    root: Option<String>,
}

#[derive(Debug, Serialize)]
struct Found {
    place: String,
    why: String,
}

impl From<FsckFinding> for Found {
    fn from(FsckFinding { place, why }: FsckFinding) -> Found {
        Found { place, why }
    }
}

impl FsckCommand {
    pub(super) fn run(self, common: &Common) -> anyhow::Result<Exit> {
        let config = common.load()?;
        if self.rebuild_index {
            rebuild(&config)?;
        }
        let report = check(&config)?;
        if self.json {
            output::print_json(&report)?;
        } else {
            report.print()?;
        }
        Ok(if report.clean { Exit::Done } else { Exit::Damage })
    }
}

fn check(config: &Config) -> anyhow::Result<FsckOutput> {
    let mut findings = Vec::new();
    // Before the log: the anchor may move ahead of the head that is found there, never the other way round.
    let anchored = read_anchor(config, &mut findings);
    let reader = Arc::new(open_reader(config)?);
    let identity = reader.identity().clone();
    check_key(config, &identity, &mut findings)?;
    let verifier: VerifierKey = identity
        .vkey
        .parse()
        .with_context(|| format!("the database holds the malformed key {}", identity.vkey))
        .or_exit(Exit::Damage)?;
    // Before its head, too: what a start would say of the two.
    let reason = why_read_only(&reader, &FileAnchor::at(&*config.anchor))
        .unwrap_or_else(|error| Some(ReadOnly::from(&error)));
    // A head that cannot be read is found below.
    let newest = reader.heads(TreeSize(u64::MAX), 1).ok().and_then(|mut heads| heads.pop());
    let size = newest.map_or(0, |head| head.tree.size.0);
    check_pages(&reader, &mut findings);
    let mut progress = ProgressMeter::new("records", size);
    let checked = fsck(&*reader, &verifier, anchored.as_ref(), &mut |done| progress.set(done));
    progress.finish();
    let checked = match checked {
        // Without its newest head nothing is known of a log, and that is what is found.
        Err(StoreError::Damaged { place, why }) => {
            FsckReport { findings: vec![FsckFinding { place, why }], ..FsckReport::default() }
        }
        checked => checked.or_store_exit()?,
    };
    findings.extend(checked.findings.into_iter().map(Found::from));
    if let Some((place, why)) = reason.as_ref().and_then(short) {
        let is_new = findings.iter().all(|found| found.place != place);
        findings.extend(is_new.then(|| Found { place: place.to_owned(), why }));
    }
    Ok(FsckOutput {
        log: identity.name,
        vkey: identity.vkey,
        clean: findings.is_empty(),
        records: checked.records,
        heads: checked.heads,
        anchor: AnchorState {
            path: config.anchor.display().to_string(),
            size: anchored.as_ref().map(|anchored| anchored.tree.size.0),
            root: anchored.as_ref().map(|anchored| anchored.tree.root.to_string()),
        },
        read_only: reason.map(|reason| reason.to_string()),
        findings,
        unlisted: checked.unlisted,
    })
}

/// A finding for what keeps the log from signing, where the database itself may be sound.
fn short(reason: &ReadOnly) -> Option<(&'static str, String)> {
    let signs_nothing = "so the log signs nothing after its next start";
    Some(match reason {
        ReadOnly::AnchorMissing { path, .. } => {
            ("anchor", format!("there is none at {path}, {signs_nothing}"))
        }
        ReadOnly::AnchorOld { path, .. } => ("anchor", format!("{path} is an old copy, {signs_nothing}")),
        ReadOnly::AnchorUnreadable { .. } | ReadOnly::AnchorRefused { .. } => {
            ("anchor", format!("it cannot be read, {signs_nothing}"))
        }
        ReadOnly::AnchorForeign { .. } => ("anchor", format!("it is another log's, {signs_nothing}")),
        ReadOnly::Behind { .. } | ReadOnly::Beside { .. } => {
            ("anchor", format!("it has a head that the log does not have, {signs_nothing}"))
        }
        ReadOnly::Contradicted { stop, .. } => ("stops", format!("stop {stop} is open, {signs_nothing}")),
        ReadOnly::StopsUnreadable { .. } => ("stops", format!("their file cannot be used, {signs_nothing}")),
        ReadOnly::StopsMissing { .. } => ("stops", format!("the newest is missing, {signs_nothing}")),
        _ => return None,
    })
}

/// Makes the index again, with nobody else at the log.
fn rebuild(config: &Config) -> anyhow::Result<()> {
    open_reader(config)?;
    let rebuilt = DirectoryLock::acquire(&config.data).and_then(|_lock| {
        let mut progress: Option<ProgressMeter> = None;
        let rebuilt = rebuild_index(&config.data.join(DATABASE_FILE), &mut |done, size| {
            progress.get_or_insert_with(|| ProgressMeter::new("index", size)).set(done);
        });
        if let Some(progress) = progress {
            progress.finish();
        }
        rebuilt
    });
    rebuilt.map(drop).or_store_exit()
}

fn read_anchor(config: &Config, findings: &mut Vec<Found>) -> Option<Anchored> {
    match FileAnchor::at(&*config.anchor).read() {
        Ok(found) => found,
        Err(error) => {
            let why = format!("{} cannot be read: {error}", config.anchor.display());
            findings.push(Found { place: "anchor".to_owned(), why });
            None
        }
    }
}

/// A copy of a log has no key beside it, which is no fault; another log's key is.
fn check_key(config: &Config, identity: &Identity, findings: &mut Vec<Found>) -> anyhow::Result<()> {
    match keys::load_verifier(&config.data, config.name.as_deref()) {
        Ok((path, key)) if key.to_string() != identity.vkey => {
            let why = format!("{} is not the key of this log, which is {}", path.display(), identity.vkey);
            findings.push(Found { place: "key".to_owned(), why });
        }
        Ok(_) | Err(keys::KeyFileError::Missing { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// What SQLite itself finds wrong with its pages.
fn check_pages(reader: &SqliteReader, findings: &mut Vec<Found>) {
    let place = || "pages of the database".to_owned();
    match reader.check_pages() {
        Ok(problems) => findings.extend(problems.into_iter().map(|why| Found { place: place(), why })),
        Err(error) => findings.push(Found { place: place(), why: error.to_string() }),
    }
}

impl FsckOutput {
    fn print(&self) -> anyhow::Result<()> {
        let FsckOutput { log, records, heads, findings, unlisted, anchor, .. } = self;
        if self.clean {
            let anchor =
                anchor.size.map_or_else(|| "no anchor yet".to_owned(), |size| format!("anchor at {size}"));
            let (records, heads) = (output::count(*records, "record"), output::count(*heads, "head"));
            output::print(&format!("{}: clean; {records}, {heads}, {anchor}\n", log))?;
            return Ok(());
        }
        let rows = findings.iter().map(|Found { place, why }| [place.clone(), why.clone()]);
        output::print_table(["place", "what is wrong"], rows)?;
        if *unlisted > 0 {
            output::print(&format!("and {unlisted} more\n"))?;
        }
        let count = findings.len() as u64 + unlisted;
        let all_in = |places: &[&str]| {
            findings.iter().all(|found| places.iter().any(|place| found.place.starts_with(place)))
        };
        let fix = if all_in(&["index"]) {
            "only the index is damaged, which is made again from the records: stop the server and run \
             `tallystick fsck --rebuild-index`"
        } else if all_in(&["key"]) {
            "the log itself is sound: put its own key files back into `keys`, and move the others away"
        } else if let Some(reason) = self.read_only.as_ref().filter(|_| all_in(&["anchor", "stops", "key"])) {
            reason
        } else {
            "restore the database from a backup: the newest sound copy, which has all records that the anchor knows; leave the anchor \
             as it is; nothing in the database can be repaired in place"
        };
        output::error(&format!(
            "{} in {}, which has {}\n  fix: {fix}",
            output::count(count, "finding"),
            log,
            output::count(*records, "record")
        ));
        Ok(())
    }
}
