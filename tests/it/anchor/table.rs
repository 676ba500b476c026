//! The table of what may lie beside what: key, log, anchor and stops, each there, missing, an old copy, copied without
//! its side files, or another log's. Every combination either signs what is safe, or signs nothing and names the one
//! safe next step.
//!
//! The pieces come from one history, at three moments:
//!
//! | moment | log | anchor | stops | cosignatures |
//! |---|---|---|---|---|
//! | 1 | 5 records | at 5, remembers stop 1 | 1, ended | up to 5 |
//! | 2 | 6 records: the database alone, while the server runs | - | - | up to 6, copied likewise |
//! | 3 | 9 records | at 9, remembers stop 2 | 1 and 2, ended | up to 8: head 9 waits |
//!
//! [`expected`] is the decision table for key, log, anchor and stops. [`super::pairs`] adds the
//! cosignatures, and the files of mirrors. A key has no moments; without its side file, the public key, it is whole. The
//! anchor is one file, so that copied alone it is whole, too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tallystick::log::{Conditions, Log, LogOpenError, ReadOnly, State};
use tallystick::tlog::{Hash, TreeHead, TreeSize};

use super::pairs::Cosigning;
use super::{Site, keep_ended_stop};
use crate::support::logs::{candidate, candidates};

/// How a piece is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Found {
    Present,
    Missing,
    Old,
    Bare,
    Foreign,
}
pub(super) use Found::{Bare, Foreign, Missing, Old, Present};

pub(super) const ALL: [Found; 5] = [Present, Missing, Old, Bare, Foreign];

/// One combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) key: Found,
    pub(super) log: Found,
    pub(super) anchor: Found,
    pub(super) stops: Found,
}

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// The log goes on from its newest head.
    Signs,
    /// The log goes on from an old head: everything there is equally old, and nothing here can tell.
    SignsUnknowing,
    /// Key, log and anchor are made.
    Made,
    /// It is served, nothing is signed; the text that names the next step.
    ReadOnly(&'static str),
    /// It does not start; the text that names the next step.
    Refused(&'static str),
}
pub(super) use Outcome::{Made, Refused, Signs, SignsUnknowing};

/// A piece as the decision table sees it: whose it is, and of which moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) is_ours: bool,
    pub(super) moment: u32,
}

pub(super) fn piece(found: Found, bare: u32) -> Option<Piece> {
    let (is_ours, moment) = match found {
        Missing => return None,
        Present => (true, 3),
        Old => (true, 1),
        Bare => (true, bare),
        Foreign => (false, 3),
    };
    Some(Piece { is_ours, moment })
}

/// The decision table.
pub(super) fn expected(cell: Cell) -> Outcome {
    let (key, log) = (piece(cell.key, 3), piece(cell.log, 2));
    let (anchor, stops) = (piece(cell.anchor, 3), piece(cell.stops, 3));
    let remembered = |at: Piece| if at.moment == 1 { 1 } else { 2 };
    match (key, log) {
        (None, Some(_)) => Refused("put its key files back"),
        (None, None) if anchor.is_some() || stops.is_some() => {
            Refused("put the data directory back that belongs to")
        }
        (None, None) => Made,
        (Some(key), None) if anchor.is_some_and(|anchor| anchor.is_ours != key.is_ours) => {
            Refused("set `anchor` to this log's own file")
        }
        (Some(_), None) => Refused("put the newest copy of the database back, and leave keys, anchor"),
        (Some(key), Some(log)) if key.is_ours != log.is_ours => Refused("use the log's own key"),
        (Some(_), Some(log)) => match (anchor, stops) {
            (_, Some(stops)) if stops.is_ours != log.is_ours => {
                Outcome::ReadOnly("put its newest copy back; if that is lost, `tallystick incidents`")
            }
            (None, _) => Outcome::ReadOnly("Put the newest copy of the anchor back"),
            (Some(anchor), _) if anchor.is_ours != log.is_ours => {
                Outcome::ReadOnly("set `anchor` to this log's own; if the right file was overwritten")
            }
            (Some(anchor), _) if log.moment < anchor.moment => {
                Outcome::ReadOnly("Put the newest copy of the database back")
            }
            (Some(anchor), _) if log.moment > anchor.moment => {
                Outcome::ReadOnly("Put the newest copy of the anchor back")
            }
            (Some(anchor), stops) if stops.map_or(0, remembered) < remembered(anchor) => {
                Outcome::ReadOnly("put its newest copy back; if that is lost, `tallystick incidents`")
            }
            _ if log.moment == 3 => Signs,
            _ => SignsUnknowing,
        },
    }
}

/// Every piece in every state that it can be found in, as files.
pub(super) struct Pieces {
    root: tempfile::TempDir,
}

/// The history of one log, which leaves its pieces in `to`.
async fn live(number: u8, to: &Path) {
    let site = Site::of(number);
    fs::create_dir_all(to).unwrap();
    let gate = Cosigning::new(&site);
    let open = || {
        let gate = gate.begin();
        site.open_under(Conditions { gate: Some(gate), hold: None }).unwrap()
    };
    let first = u64::from(number) * 10_000;
    let append = async |log: &Log, from: u64, to: u64| log.append(candidates(first + from..first + to)).await;
    let keep = |what: &str, moment: &str| {
        fs::copy(site.file(what), to.join(format!("{what}-{moment}"))).unwrap();
    };
    // Somebody shows a head that is not this log's, and a person decides that the log goes on.
    let stopped = |number: u64| {
        let tree = TreeHead { size: TreeSize(900 + number), root: Hash::of_record(&[7]) };
        assert_eq!(keep_ended_stop(&site.anchor(), &site.signer(), tree), number);
    };
    let log = open();
    append(&log, 0, 3).await.unwrap();
    log.close();
    stopped(1);
    let log = open();
    append(&log, 3, 5).await.unwrap();
    log.close();
    ["log", "anchor", "stops", "cosignatures"].iter().for_each(|what| keep(what, "Old"));
    stopped(2);
    let log = open();
    append(&log, 5, 6).await.unwrap();
    log.close();
    let log = open();
    append(&log, 6, 8).await.unwrap();
    gate.closes();
    assert!(append(&log, 8, 9).await.is_err(), "head 9 is committed and anchored, and waits");
    ["log", "anchor", "cosignatures"].iter().for_each(|what| keep(what, "Bare"));
    log.close();
    ["log", "anchor", "stops", "cosignatures"].iter().for_each(|what| keep(what, "Present"));
    keep("stops", "Bare");
}

impl Pieces {
    pub(super) async fn new() -> Pieces {
        let root = tempfile::tempdir().unwrap();
        live(1, &root.path().join("ours")).await;
        live(2, &root.path().join("theirs")).await;
        Pieces { root }
    }

    pub(super) fn file(&self, what: &str, found: Found) -> PathBuf {
        match found {
            Foreign => self.root.path().join(format!("theirs/{what}-Present")),
            found => self.root.path().join(format!("ours/{what}-{found:?}")),
        }
    }

    /// A directory with the pieces of a cell.
    pub(super) fn lay(&self, cell: Cell) -> Laid {
        let laid = Laid { key: cell.key, site: Site::of(if cell.key == Foreign { 2 } else { 1 }) };
        for (what, found) in [("log", cell.log), ("anchor", cell.anchor), ("stops", cell.stops)] {
            self.put(what, found, &laid);
        }
        laid
    }

    /// Puts one piece where it belongs.
    pub(super) fn put(&self, what: &str, found: Found, laid: &Laid) {
        if found != Missing {
            fs::copy(self.file(what, found), laid.site.file(what)).unwrap();
        }
    }
}

/// A cell on disk.
pub(super) struct Laid {
    pub(super) key: Found,
    pub(super) site: Site,
}

impl Laid {
    /// Files that say what was signed.
    pub(super) fn truth(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let read = |what| (self.site.file(what), fs::read(self.site.file(what)).ok());
        ["log", "anchor", "stops"].map(read).into()
    }

    /// What the engine makes of it.
    pub(super) async fn open(&self, conditions: Conditions) -> Outcome {
        let log = match self.site.open_under(conditions) {
            Err(error @ LogOpenError::WrongKey { .. }) => return Refused(leak(error.to_string())),
            opened => opened.unwrap(),
        };
        let (before, state) = (log.snapshot().head().tree, log.state());
        let appended = log.append(vec![candidate(77_777)]).await;
        match (&*state, appended) {
            (State::Writing, Ok(receipt)) => {
                let after = receipt.snapshot.head().tree;
                assert_eq!(after.size.0, before.size.0 + 1);
                assert_eq!(receipt.snapshot.root_at(before.size).unwrap(), before.root);
                log.close();
                if before.size.0 == 9 { Signs } else { SignsUnknowing }
            }
            (State::ReadOnly(reason), Err(_)) => {
                assert_eq!(log.snapshot().head().tree, before);
                assert!(!matches!(reason, ReadOnly::Damaged { .. }), "{reason}");
                Outcome::ReadOnly(leak(reason.to_string()))
            }
            (state, appended) => panic!("{state:?}, and {:?}", appended.map(|_| "appended").err()),
        }
    }

    /// What the program makes of it, where the engine is never asked.
    pub(super) fn run(&self) -> Outcome {
        self.put_key();
        let has_nothing = self.key == Missing && !self.site.database().exists();
        let arguments: &[&str] =
            if has_nothing { &["key", "new"] } else { &["import", "-", "--trust", "--importer", "a-test"] };
        let output = Command::new(env!("CARGO_BIN_EXE_tallystick"))
            .args(arguments)
            .arg("--data")
            .arg(self.site.data())
            .env_clear()
            .env("TALLYSTICK_ANCHOR", self.site.anchor())
            .current_dir(self.site.root.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(0) => Made,
            Some(2) => Refused(leak(said)),
            code => panic!("{code:?}: {said}"),
        }
    }

    /// Puts the files of the key where they belong.
    pub(super) fn put_key(&self) {
        let keys = self.site.data().join("keys");
        if self.key != Missing {
            fs::create_dir(&keys).unwrap();
            let path = keys.join("sum.corp.example+00000000.skey");
            fs::write(&path, format!("{}\n", *self.site.signer().to_skey())).unwrap();
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            if self.key != Bare {
                fs::write(path.with_extension("vkey"), format!("{}\n", self.site.signer().verifier()))
                    .unwrap();
            }
        }
    }
}

pub(super) fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

pub(super) fn agrees(expected: Outcome, found: Outcome) -> bool {
    match (expected, found) {
        (Refused(part), Refused(text)) | (Outcome::ReadOnly(part), Outcome::ReadOnly(text)) => {
            text.contains(part)
        }
        (expected, found) => expected == found,
    }
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    // An old copy of a key is the key.
    for key in [Present, Missing, Bare, Foreign] {
        for log in ALL {
            for anchor in ALL {
                for stops in ALL {
                    cells.push(Cell { key, log, anchor, stops });
                }
            }
        }
    }
    cells
}

#[tokio::test]
async fn every_combination_signs_what_is_safe_or_names_the_next_step() {
    let pieces = Pieces::new().await;
    let (mut wrong, mut counts) = (Vec::new(), BTreeMap::<&str, u32>::new());
    for cell in cells() {
        let laid = pieces.lay(cell);
        let before = laid.truth();
        let found = if cell.key == Missing || cell.log == Missing {
            laid.run()
        } else {
            laid.open(Conditions::default()).await
        };
        let expected = expected(cell);
        if !agrees(expected, found) {
            wrong.push(format!("{cell:?}: expected {expected:?}, found {found:?}"));
        }
        let count = match expected {
            Signs => "sign",
            SignsUnknowing => "sign, all equally old",
            Made => "make a new log",
            Outcome::ReadOnly(_) => "are read-only",
            Refused(_) => "are refused",
        };
        *counts.entry(count).or_default() += 1;
        if matches!(expected, Outcome::ReadOnly(_) | Refused(_)) {
            let after = laid.truth();
            assert!(
                before == after,
                "{cell:?}: {:?} changed",
                before.keys().find(|path| before[*path] != after[*path])
            );
        }
    }
    eprintln!("{} combinations: {counts:?}", cells().len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cells().len(), wrong.join("\n"));
}
