//! The pairs of the table that have the cosignatures or the files of a mirror in them: each of the two
//! pieces in every state beside each other one, all else present.
//!
//! The rules, from which [`served`] and [`of_a_mirror`] follow:
//!
//! - Neither cosignatures nor mirrors decide whether a log signs: key, log, anchor and stops do, as
//!   [`table::expected`] says.
//! - Where cosignatures are demanded, a head is served only if this log's cosignatures of it are there,
//!   or a head was built upon it. So head 9, which waits, is never served, whatever memory lies there.
//! - A mirror's files that are missing, old or damaged keep no log from starting. Another log's are a
//!   mistake of the operator, who is told to move them away; following that, the log starts.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tallystick::log::{Conditions, Log, NotPassed, OpenedLog, PublishGate, ReadOnly, Snapshot, State};
use tallystick::note::CosignatureSigner;
use tallystick::source::SourceUrl;
use tallystick::store::StoreError;
use tallystick::store::cosignatures::{CosignatureStore, StoredCosignature};
use tallystick::tlog::{Checkpoint, Hash, TreeHead, TreeSize};
use tallystick::upstream::{ClientOptions, HttpClient, ProxySettings};
use tallystick::witness::{AskedWitness, Witnesses, WitnessesOptions};

use super::Site;
use super::table::{
    ALL, Bare, Cell, Foreign, Found, Laid, Made, Missing, Old, Outcome, Pieces, Present, Refused, Signs,
    SignsUnknowing, agrees, expected, leak,
};
use crate::mirror::small_log::{NAME, SmallLog};
use crate::support::logs::start_time;

/// The witness of all logs here. Nobody answers at its address: it says only what is stored.
fn witness_key() -> CosignatureSigner {
    CosignatureSigner::generate("witness.example/w1".parse().unwrap(), [5; 32])
}

/// The witnesses of a log as its gate, with the memory that lies beside the log.
fn gate(site: &Site, required: bool) -> Witnesses {
    let options = ClientOptions { proxies: ProxySettings::default(), ..ClientOptions::default() };
    let key = witness_key().verifier();
    let url = SourceUrl::parse("http://127.0.0.1:9/").unwrap();
    Witnesses::new(WitnessesOptions {
        log: site.signer().verifier(),
        own: CosignatureSigner::from(&site.signer()),
        peers: vec![AskedWitness { name: "w1".to_owned(), url, key }],
        quorum: 1,
        required,
        patience: Duration::from_millis(1),
        hearing: Duration::from_millis(1),
        freshness: Duration::from_secs(3600),
        store: CosignatureStore::open(&site.file("cosignatures")).unwrap(),
        client: HttpClient::new(options).unwrap(),
    })
}

/// Stores the cosignature of a head, as if the witness had answered.
fn cosign(cosignatures: &Path, tree: TreeHead) {
    let text = Checkpoint::new("sum.corp.example".parse().unwrap(), tree).format();
    let (key, now) = (witness_key(), start_time());
    let line = key.cosign(&text, now.as_second().unsigned_abs()).format_line();
    let stored = StoredCosignature { witness: key.verifier().to_string(), tree, line, received_at: now };
    CosignatureStore::open(cosignatures).unwrap().keep(&stored).unwrap();
}

/// A gate whose witness cosigns every head at once, until it closes.
pub(super) struct Cosigning<'a> {
    site: &'a Site,
    is_closed: Arc<AtomicBool>,
}

impl<'a> Cosigning<'a> {
    pub(super) fn new(site: &'a Site) -> Cosigning<'a> {
        Cosigning { site, is_closed: Arc::default() }
    }

    /// The gate of the next process.
    pub(super) fn begin(&self) -> Arc<dyn PublishGate> {
        let cosignatures = self.site.file("cosignatures");
        let witnesses = gate(self.site, true);
        Arc::new(Open { witnesses, cosignatures, is_closed: self.is_closed.clone() })
    }

    pub(super) fn closes(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }
}

struct Open {
    witnesses: Witnesses,
    cosignatures: PathBuf,
    is_closed: Arc<AtomicBool>,
}

impl PublishGate for Open {
    fn start(&self, opened: &OpenedLog) -> Result<bool, StoreError> {
        self.witnesses.start(opened)
    }

    fn has_passed(&self, tree: &TreeHead) -> Result<bool, StoreError> {
        self.witnesses.has_passed(tree)
    }

    fn pass(&self, snapshot: &Snapshot) -> Result<(), NotPassed> {
        if !self.is_closed.load(Ordering::SeqCst) {
            cosign(&self.cosignatures, snapshot.head().tree);
        }
        self.witnesses.pass(snapshot)
    }
}

/// A cell of the table with what it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wide {
    cell: Cell,
    cosignatures: Found,
    mirror: Found,
}

const ALL_PRESENT: Wide = Wide {
    cell: Cell { key: Present, log: Present, anchor: Present, stops: Present },
    cosignatures: Present,
    mirror: Present,
};

/// Sets one piece of a combination.
type Set = fn(&mut Wide, Found);
const KEY: Set = |wide, found| wide.cell.key = found;
const LOG: Set = |wide, found| wide.cell.log = found;
const ANCHOR: Set = |wide, found| wide.cell.anchor = found;
const STOPS: Set = |wide, found| wide.cell.stops = found;
const COSIGNATURES: Set = |wide, found| wide.cosignatures = found;
const MIRROR: Set = |wide, found| wide.mirror = found;

/// Every state of one piece beside every state of each of the others, each combination once.
fn pairs(one: Set, others: &[Set]) -> Vec<Wide> {
    let mut all = Vec::new();
    for other in others {
        for (first, second) in ALL.iter().flat_map(|first| ALL.iter().map(move |second| (first, second))) {
            let mut wide = ALL_PRESENT;
            one(&mut wide, *first);
            other(&mut wide, *second);
            if !all.contains(&wide) {
                all.push(wide);
            }
        }
    }
    all
}

/// The size that is served where cosignatures are demanded, and whether it is the log's newest.
fn served(log: Found, cosignatures: Found) -> (u64, bool) {
    let (newest, before) = match log {
        Present => (9, 8),
        Bare => (6, 5),
        Old => (5, 3),
        Missing | Foreign => unreachable!("such a log is not opened"),
    };
    let cosigned = match cosignatures {
        Present => 8,
        Bare => 6,
        Old => 5,
        Missing | Foreign => 0,
    };
    if cosigned >= newest { (newest, true) } else { (before, false) }
}

/// Opens a combination with a gate that demands cosignatures, and compares what is served.
async fn check_gate(laid: &Laid, wide: &Wide) -> Result<(), String> {
    let open = || {
        let gate: Arc<dyn PublishGate> = Arc::new(gate(&laid.site, true));
        laid.site.open_under(Conditions { gate: Some(gate), hold: None })
    };
    let log: Log = match (open(), expected(wide.cell)) {
        (Err(error), Refused(part)) if error.to_string().contains(part) => return Ok(()),
        (Err(error), expected) => return Err(format!("{expected:?}, but {error}")),
        (Ok(log), _) => log,
    };
    let (size, is_newest) = served(wide.cell.log, wide.cosignatures);
    let (found, state) = (log.snapshot().size().0, log.state());
    log.close();
    if found != size {
        return Err(format!("{found} records are served, not {size}"));
    }
    match (expected(wide.cell), &*state) {
        (Outcome::ReadOnly(part), State::ReadOnly(reason)) if reason.to_string().contains(part) => Ok(()),
        (Signs | SignsUnknowing, State::Writing) if is_newest => Ok(()),
        (Signs | SignsUnknowing, State::ReadOnly(ReadOnly::Unwitnessed { size, .. }))
            if !is_newest && *size > found =>
        {
            let newest = heads(laid).pop().expect("it has heads");
            assert_eq!(newest.size.0, *size);
            // The advice is to wait for the witnesses. They answer, and the log goes on.
            cosign(&laid.site.file("cosignatures"), newest);
            let log = open().unwrap();
            let goes_on = matches!(*log.state(), State::Writing) && log.snapshot().head().tree == newest;
            goes_on.then_some(()).ok_or_else(|| format!("it does not go on: {:?}", log.state()))
        }
        (expected, state) => Err(format!("expected {expected:?}, found {state:?}")),
    }
}

#[tokio::test]
async fn no_memory_of_cosignatures_forks_a_log_or_publishes_what_waits() {
    let pieces = Pieces::new().await;
    let mut all = pairs(COSIGNATURES, &[KEY, LOG, ANCHOR, STOPS]);
    // Where all the rest is of one old time, nothing but the cosignatures tells.
    let of_one_time = Cell { key: Present, log: Old, anchor: Old, stops: Old };
    all.extend(ALL.map(|cosignatures| Wide { cell: of_one_time, cosignatures, ..ALL_PRESENT }));
    let (mut wrong, mut counts) = (Vec::new(), BTreeMap::<&str, u32>::new());
    for wide in &all {
        let lay = || {
            let laid = pieces.lay(wide.cell);
            pieces.put("cosignatures", wide.cosignatures, &laid);
            laid
        };
        let laid = lay();
        if wide.cell.key == Missing || wide.cell.log == Missing {
            let (expected, found) = (expected(wide.cell), laid.run());
            if !agrees(expected, found) {
                wrong.push(format!("{wide:?}: expected {expected:?}, found {found:?}"));
            }
            *counts.entry("are refused").or_default() += 1;
            continue;
        }
        if let Err(why) = check_gate(&laid, wide).await {
            wrong.push(format!("{wide:?}, cosignatures demanded: {why}"));
        }
        // Where none are demanded, they decide nothing.
        let laid = lay();
        let before = laid.truth();
        let gate: Arc<dyn PublishGate> = Arc::new(gate(&laid.site, false));
        let found = laid.open(Conditions { gate: Some(gate), hold: None }).await;
        let expected = expected(wide.cell);
        if !agrees(expected, found) {
            wrong.push(format!("{wide:?}: expected {expected:?}, found {found:?}"));
        }
        let is_unchanged = laid.truth() == before;
        if !is_unchanged && !matches!(found, Signs | SignsUnknowing) {
            wrong.push(format!("{wide:?}: {found:?}, and something was written"));
        }
        *counts.entry(if is_unchanged { "sign nothing" } else { "sign" }).or_default() += 1;
    }
    eprintln!("{} combinations with cosignatures: {counts:?}", all.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

/// The files of a mirror in every state, made by `tallystick mirror sync`.
struct Mirrors {
    root: tempfile::TempDir,
}

/// Puts a module where the route of [`configuration`] finds it.
fn publish(directory: &Path) {
    let to = directory.join("goproxy/corp.example/billing/@v");
    fs::create_dir_all(&to).unwrap();
    let go_mod = "module corp.example/billing\n";
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("corp.example/billing@v0.4.0/go.mod", options).unwrap();
    zip.write_all(go_mod.as_bytes()).unwrap();
    fs::write(to.join("v0.4.0.zip"), zip.finish().unwrap().into_inner()).unwrap();
    fs::write(to.join("v0.4.0.mod"), go_mod).unwrap();
    fs::write(to.join("v0.4.0.info"), r#"{"Version":"v0.4.0"}"#).unwrap();
}

fn configuration(directory: &Path, key: &str, url: &str) -> String {
    let proxy = directory.join("goproxy");
    format!(
        "name = \"sum.corp.example\"\ndata = \"data\"\nanchor = \"other-disk/anchor.db\"\n\
         [sumdb.\"{NAME}\"]\nkey = \"{key}\"\nurls = [\"{url}\"]\nmode = \"full\"\n\
         [[route]]\nmodules = [\"corp.example/*\"]\nsource = [\"file://{}\"]\nchecksum = \"compute\"\n",
        proxy.display()
    )
}

fn tallystick(directory: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tallystick"))
        .args(arguments)
        .args(["--config", "tallystick.toml"])
        .env_clear()
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

impl Mirrors {
    fn new() -> Mirrors {
        let mirrors = Mirrors { root: tempfile::tempdir().unwrap() };
        let (old, log) = (SmallLog::new(300), SmallLog::new(700));
        let work = tempfile::tempdir().unwrap();
        let sync = |log: &SmallLog| {
            let server = log.serve();
            fs::write(
                work.path().join("tallystick.toml"),
                configuration(work.path(), &log.vkey(), &server.url()),
            )
            .unwrap();
            let (code, said) = tallystick(work.path(), &["mirror", "sync", "--once"]);
            assert_eq!(code, 0, "{said}");
        };
        let keep = |found: Found| {
            let to = mirrors.root.path().join(format!("{found:?}"));
            copy_tree(&work.path().join("data/mirror"), &to);
        };
        sync(&old);
        keep(Old);
        sync(&log);
        keep(Present);
        keep(Bare);
        // Its databases alone.
        for entry in fs::read_dir(mirrors.root.path().join("Bare")).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else if path.extension().is_none_or(|extension| extension != "db") {
                fs::remove_file(path).unwrap();
            }
        }
        fs::remove_dir_all(work.path().join("data")).unwrap();
        sync(&log.with_key([43; 32]));
        keep(Foreign);
        mirrors
    }

    fn put(&self, found: Found, laid: &Laid) {
        let root = laid.site.root.path();
        let text = configuration(root, &SmallLog::new(0).vkey(), "http://127.0.0.1:9");
        fs::write(root.join("tallystick.toml"), text).unwrap();
        publish(root);
        if found != Missing {
            copy_tree(&self.root.path().join(format!("{found:?}")), &laid.site.data().join("mirror"));
        }
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    crate::support::serve::copy_tree(from, to);
}

/// What a look-up that notarizes makes of a combination.
fn of_a_mirror(wide: &Wide) -> Outcome {
    match expected(wide.cell) {
        Refused(part) => Refused(part),
        // The mirror's files are not this mirror's: nothing is begun with them.
        _ if wide.mirror == Foreign => Refused("fix: move"),
        outcome => outcome,
    }
}

/// The heads of the log, as they are committed.
fn heads(laid: &Laid) -> Vec<TreeHead> {
    if !laid.site.database().exists() {
        return Vec::new();
    }
    let db = rusqlite::Connection::open(laid.site.database()).unwrap();
    let mut select = db.prepare("SELECT size, root FROM head ORDER BY size").unwrap();
    let head = |row: &rusqlite::Row<'_>| {
        let (size, root): (i64, [u8; 32]) = (row.get(0)?, row.get(1)?);
        Ok(TreeHead { size: TreeSize(size.unsigned_abs()), root: Hash::from_bytes(root) })
    };
    select.query_map([], head).unwrap().map(Result::unwrap).collect()
}

fn notarize(laid: &Laid) -> (Outcome, bool) {
    let before = heads(laid);
    let arguments = ["lookup", "corp.example/billing@v0.4.0", "--notarize"];
    let (code, said) = tallystick(laid.site.root.path(), &arguments);
    let after = heads(laid);
    assert!(after.starts_with(&before), "no head is taken back or replaced: {said}");
    let signed = after.len() > before.len();
    match code {
        0 if before.last().is_some_and(|head| head.size.0 == 9) => (Signs, signed),
        0 if before.is_empty() => (Made, signed),
        0 => (SignsUnknowing, signed),
        2 => (Refused(leak(said)), signed),
        _ => (Outcome::ReadOnly(leak(said)), signed),
    }
}

#[tokio::test]
async fn no_file_of_a_mirror_forks_a_log_or_keeps_it_from_starting() {
    let (pieces, mirrors) = (Pieces::new().await, Mirrors::new());
    let all = pairs(MIRROR, &[KEY, LOG, ANCHOR, STOPS, COSIGNATURES]);
    let (mut wrong, mut counts) = (Vec::new(), BTreeMap::<&str, u32>::new());
    for wide in &all {
        let laid = pieces.lay(wide.cell);
        pieces.put("cosignatures", wide.cosignatures, &laid);
        mirrors.put(wide.mirror, &laid);
        laid.put_key();
        let (found, signed) = notarize(&laid);
        let expected = of_a_mirror(wide);
        if !agrees(expected, found) || signed != matches!(expected, Signs | SignsUnknowing) {
            wrong.push(format!("{wide:?}: expected {expected:?}, found {found:?}, signed: {signed}"));
        }
        *counts.entry(if signed { "sign" } else { "sign nothing" }).or_default() += 1;
        if wide.mirror == Foreign && agrees(Refused("fix: move"), found) {
            // Following that, the log does what it does without a mirror.
            let found = follow_move(found, &laid);
            if !agrees(super::table::expected(wide.cell), found) {
                wrong.push(format!("{wide:?}, when the advice was followed: {found:?}"));
            }
        }
    }
    eprintln!("{} combinations with a mirror: {counts:?}", all.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

/// Moves away what the text names, until it names nothing more. Returns what is found then.
fn follow_move(found: Outcome, laid: &Laid) -> Outcome {
    let mut found = found;
    while let Refused(text) = found
        && let Some(name) = text.split("fix: move ").nth(1).and_then(|rest| rest.split(' ').next())
    {
        let path = laid.site.root.path().join(name);
        assert!(path.exists(), "{name} in {text}");
        let directory = path.parent().unwrap();
        let stem = path.file_name().unwrap().to_str().unwrap();
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_name().to_str().unwrap().starts_with(stem) {
                let away = laid.site.root.path().join(format!("away-{}", entry.file_name().display()));
                fs::rename(entry.path(), away).unwrap();
            }
        }
        found = notarize(laid).0;
    }
    found
}
