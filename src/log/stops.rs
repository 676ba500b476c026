//! Stops: heads with the own log's signature that this database does not have, and a person's word
//! about each.
//!
//! Such a head proves that the log was rolled back together with its anchor, or that another copy
//! of it signs too. Whoever brings one (gossip, a witness) ends signing at once. A process forgets,
//! so the head is kept in a file beside the anchor, `<anchor>.stops`:
//!
//! ```text
//! [
//!   {"number": 1, "at": "2026-11-22T04:00:00Z", "size": 942, "root": "qyuG…", "why": "the log ends at record 500, but …",
//!    "note": "go.sum database tree\n942\n…", "incident": "<digest>", "ended": null}
//! ]
//! sha256 K5c3…=                                     of all bytes before this line, base64
//! ```
//!
//! Older programs wrote the list without the last line; such a file is read as it is. A wrong
//! checksum is damage.
//!
//! A start with an open stop serves what there is and signs nothing. A stop ends in two ways: the
//! database has that head after all, as when the right copy was put in its place; the next start
//! sees that by itself. Or an operator says so ([`end_stop`]), and answers for it: clients that
//! hold the other tree will refuse this log. The same head is then no reason to stop again; another
//! one is.
//!
//! The file is replaced whole. One that cannot be read is a stop too. Only the process with the
//! directory's lock writes it.
//!
//! The anchor remembers the number of the newest stop, so that a start without this file, or with
//! an older copy of it, signs nothing. Where the file is lost for good an operator answers for what
//! was in it ([`forget_stops`]).

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::state::ReadOnly;
use crate::clock::Clock;
use crate::note::{self, VerifierKey};
use crate::store::StoreError;
use crate::store::anchor::Anchor;
use crate::store::durable::write_durably;
use crate::store::lock::DirectoryLock;
use crate::tlog::{Hash, TreeHead, TreeSize};

/// Stops that are open at a time; the first is enough to stop, and each more costs the file a note.
const OPEN_MAX: usize = 64;
/// What the line with the checksum begins with.
const SUM: &str = "sha256 ";

/// A head that this log does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Its number among those of this log, from 1.
    pub number: u64,
    /// When it was brought here.
    pub at: Timestamp,
    /// Its size.
    pub size: u64,
    /// Its root, base64.
    pub root: String,
    /// What follows from it.
    pub why: String,
    /// The head as it is signed.
    pub note: String,
    /// The digest of the incident that tells of it, hexadecimal.
    pub incident: String,
    /// Since when it is no reason to stop.
    pub ended: Option<Timestamp>,
}

/// Why there is nothing to be known of the stops, or nothing to be done about one.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A stop is one of another log.
    #[error("{}: stop {number} is not about a head that this log's key has signed, so the file is another log's", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The stop.
        number: u64,
    },
    /// The file is there, whole, and has every stop that the anchor remembers.
    #[error(
        "no stop is lost: the file of stops is whole\n  fix: `tallystick incidents` shows the stops; resolve each by its number"
    )]
    NotLost,
    /// The log is in use, or its anchor cannot be had.
    #[error(transparent)]
    Lock(#[from] StoreError),
    /// There is no such stop, or it has ended.
    #[error("no stop {number} is open\n  fix: `tallystick incidents` shows those that are")]
    NotOpen {
        /// What was asked for.
        number: u64,
    },
}

impl Stop {
    /// The head.
    fn is_of(&self, head: &TreeHead) -> bool {
        self.size == head.size.0 && self.root == head.root.to_string()
    }

    pub(super) fn tree(&self) -> Option<TreeHead> {
        Some(TreeHead { size: TreeSize(self.size), root: self.root.parse::<Hash>().ok()? })
    }

    /// Why the log that has this anchor signs nothing while this is open.
    pub fn reason(&self, anchor: &Path) -> ReadOnly {
        let path = file_of(anchor).display().to_string();
        ReadOnly::Contradicted {
            stop: self.number,
            at: self.at,
            size: self.size,
            why: self.why.clone(),
            path,
        }
    }
}

/// The file with the stops of the log that has this anchor.
fn file_of(anchor: &Path) -> PathBuf {
    let mut path = OsString::from(anchor);
    path.push(".stops");
    path.into()
}

/// All stops of the log that has this anchor, open or not, the oldest first.
pub fn stops(anchor: &Path) -> Result<Vec<Stop>, StopError> {
    let path = file_of(anchor);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(StopError::Io { path, source }),
    };
    parse(&text).map_err(|why| StopError::Damaged { path, why })
}

fn parse(text: &[u8]) -> Result<Vec<Stop>, String> {
    let list = match split_sum(text) {
        Some((list, sum)) if sum == sum_line(list).as_bytes() => list,
        Some(_) => return Err("the checksum does not match".to_owned()),
        None => text,
    };
    serde_json::from_slice(list).map_err(|error| error.to_string())
}

/// Splits off the last line, if it is a checksum's. JSON has no line that begins like it.
fn split_sum(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let before = text.strip_suffix(b"\n").unwrap_or(text);
    let start = before.iter().rposition(|byte| *byte == b'\n')? + 1;
    let (list, sum) = text.split_at(start);
    sum.starts_with(SUM.as_bytes()).then_some((list, sum))
}

fn sum_line(list: &[u8]) -> String {
    format!("{SUM}{}\n", Hash::from_bytes(Sha256::digest(list).into()))
}

fn save(anchor: &Path, stops: &[Stop]) -> Result<(), StopError> {
    let mut text = serde_json::to_vec_pretty(stops).expect("stops have only string keys");
    text.push(b'\n');
    let sum = sum_line(&text);
    text.extend(sum.as_bytes());
    let path = file_of(anchor);
    write_durably(&path, &text).map_err(|source| StopError::Io { path, source })
}

/// Ends a stop: the operator decides that the log in `directory` may sign despite the conflicting
/// head. No process may have the log open.
pub(crate) fn end_stop(
    directory: &Path,
    anchor: &Path,
    number: u64,
    clock: &Clock,
) -> Result<Stop, StopError> {
    let _lock = DirectoryLock::acquire(directory)?;
    let mut all = stops(anchor)?;
    let open = all.iter_mut().find(|stop| stop.number == number && stop.ended.is_none());
    let stop = open.ok_or(StopError::NotOpen { number })?;
    stop.ended = Some(clock.now());
    let ended = stop.clone();
    save(anchor, &all)?;
    Ok(ended)
}

/// An operator says that the file of stops is lost, and answers for what was in it: the log in
/// `directory` may sign, unless a stop that is still known is open. Nobody may have the log open.
/// Returns where a file that cannot be used was put.
pub(crate) fn forget_stops(
    directory: &Path,
    anchor: &dyn Anchor,
    vkey: &str,
    clock: &Clock,
) -> Result<Option<PathBuf>, StopError> {
    let _lock = DirectoryLock::acquire(directory)?;
    let (mut opened, anchor) = (anchor.open()?, anchor.path());
    let remembered = opened.as_ref().map_or(0, |(_, anchored)| anchored.stops);
    let (left, aside) =
        match stops(anchor).and_then(|stops| check_signed_by(&stops, anchor, vkey).map(|()| stops)) {
            Ok(stops) if newest(&stops) >= remembered => return Err(StopError::NotLost),
            Ok(stops) => (newest(&stops), None),
            Err(_) => {
                let path = file_of(anchor);
                let aside = format!("{}.unusable-{}", path.display(), clock.now().strftime("%Y%m%dT%H%M%SZ"));
                std::fs::rename(&path, &aside).map_err(|source| StopError::Io { path, source })?;
                (0, Some(aside.into()))
            }
        };
    if let Some((anchor, _)) = &mut opened {
        anchor.remember_stops(left)?;
    }
    Ok(aside)
}

pub(super) fn newest(stops: &[Stop]) -> u64 {
    stops.iter().map(|stop| stop.number).max().unwrap_or(0)
}

/// Refuses the stops of another log: each is about a head that the log's key has signed.
pub(super) fn check_signed_by(stops: &[Stop], anchor: &Path, vkey: &str) -> Result<(), StopError> {
    let verifier = vkey.parse::<VerifierKey>().ok();
    let is_ours = |stop: &Stop| {
        verifier.as_ref().is_some_and(|verifier| note::open(stop.note.as_bytes(), &[verifier]).is_ok())
    };
    match stops.iter().find(|stop| !is_ours(stop)) {
        None => Ok(()),
        Some(stop) => Err(StopError::Foreign { path: file_of(anchor), number: stop.number }),
    }
}

/// Tells the anchor that there is such a stop. Where there is no anchor the log signs nothing
/// anyway.
fn remember(anchor: &dyn Anchor, newest: u64) -> Result<(), StoreError> {
    match anchor.read()? {
        Some(anchored) if anchored.stops < newest => match anchor.open()? {
            Some((mut anchor, _)) => anchor.remember_stops(newest),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// What a log knows of its stops while it is open.
#[derive(Default)]
pub(super) struct Stops {
    /// None for logs without a disk, in tests.
    anchor: Option<Arc<dyn Anchor>>,
    clock: Clock,
    /// What the file has, or should have: whoever changes it writes the file under this lock.
    known: Mutex<Vec<Stop>>,
}

impl Stops {
    pub(super) fn load(anchor: Arc<dyn Anchor>, clock: Clock) -> Result<Stops, StopError> {
        Ok(Stops { known: Mutex::new(stops(anchor.path())?), anchor: Some(anchor), clock })
    }

    fn place(&self) -> &Path {
        self.anchor.as_ref().map_or(Path::new(""), |anchor| anchor.path())
    }

    /// The number of the newest one, 0 if there was none.
    pub(super) fn newest(&self) -> u64 {
        newest(&self.known())
    }

    /// Refuses stops that are another log's.
    pub(super) fn check_signed_by(&self, vkey: &str) -> Result<(), StopError> {
        check_signed_by(&self.known(), self.place(), vkey)
    }

    fn reason(&self, stop: &Stop) -> ReadOnly {
        stop.reason(self.place())
    }

    /// All of them, open or not.
    pub(super) fn all(&self) -> Vec<Stop> {
        self.known().clone()
    }

    fn known(&self) -> MutexGuard<'_, Vec<Stop>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the log may not sign, if so. `has` tells whether it has a head: a stop for a head that
    /// it has ends here.
    pub(super) fn standing(
        &self,
        has: impl Fn(&TreeHead) -> Result<bool, StoreError>,
    ) -> Result<Option<ReadOnly>, StoreError> {
        let mut known = self.known();
        let mut after = known.clone();
        for stop in after.iter_mut().filter(|stop| stop.ended.is_none()) {
            let Some(tree) = stop.tree() else { continue };
            if has(&tree)? {
                tracing::info!(
                    stop = stop.number,
                    tree.size = stop.size,
                    "the log has the head that it was stopped for"
                );
                stop.ended = Some(self.clock.now());
            }
        }
        if after != *known {
            self.replace(&mut known, after);
        }
        let open = known.iter().find(|stop| stop.ended.is_none());
        Ok(open.map(|stop| self.reason(stop)))
    }

    /// Keeps a head that contradicts the log, durably, and says why nothing may be signed. None: an
    /// operator has ended the stop for it.
    pub(super) fn stop(
        &self,
        head: &TreeHead,
        note: &str,
        why: String,
        incident: String,
    ) -> Option<ReadOnly> {
        let mut known = self.known();
        if let Some(stop) = known.iter().find(|stop| stop.is_of(head)) {
            return stop.ended.is_none().then(|| self.reason(stop));
        }
        let number = newest(&known) + 1;
        let (size, root, note, at) = (head.size.0, head.root.to_string(), note.to_owned(), self.clock.now());
        let stop = Stop { number, at, size, root, why, note, incident, ended: None };
        let reason = self.reason(&stop);
        if known.iter().filter(|stop| stop.ended.is_none()).count() < OPEN_MAX {
            let after = known.iter().cloned().chain([stop]).collect();
            self.replace(&mut known, after);
        }
        Some(reason)
    }

    /// What could not be written is tried again when the next one is: for as long as this process
    /// lives it knows.
    fn replace(&self, known: &mut Vec<Stop>, after: Vec<Stop>) {
        *known = after;
        let Some(anchor) = &self.anchor else { return };
        // First the file, then the anchor: if we stop in between, the file alone stops the next
        // start.
        let kept = save(anchor.path(), known).and_then(|()| Ok(remember(&**anchor, newest(known))?));
        if let Err(error) = kept {
            tracing::error!(%error, "why this log must not sign could not be kept: the next start would not know");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::anchor::FileAnchor;

    fn head(size: u64) -> TreeHead {
        TreeHead { size: TreeSize(size), root: Hash::of_record(&size.to_be_bytes()) }
    }

    #[test]
    fn a_stop_is_kept_until_it_is_ended_and_the_same_head_then_stops_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let anchor = directory.path().join("anchor.db");
        let clock = Clock::fixed("2026-11-22T04:00:00Z".parse().unwrap());
        let load = || Stops::load(Arc::new(FileAnchor::at(&anchor)), clock.clone()).unwrap();
        let stop = |of: &Stops, size| of.stop(&head(size), "note", format!("why {size}"), String::new());
        let open = || load().standing(|_| Ok(false)).unwrap().map(|reason| reason.to_string());
        assert_eq!(open(), None);
        let known = load();
        assert!(stop(&known, 9).unwrap().to_string().contains("incidents resolve 1"));
        assert!(stop(&known, 9).is_some(), "again");
        assert!(stop(&known, 12).is_some());
        assert_eq!(stops(&anchor).unwrap().len(), 2);
        assert!(open().unwrap().contains("why 9"));

        end_stop(directory.path(), &anchor, 1, &clock).unwrap();
        let again = end_stop(directory.path(), &anchor, 1, &clock);
        assert!(matches!(again, Err(StopError::NotOpen { number: 1 })), "{again:?}");
        assert!(open().unwrap().contains("why 12"));
        assert!(stop(&load(), 9).is_none(), "a person has decided about this head");
        assert!(stop(&load(), 10).is_some(), "and not about this");
        // The copy that has those heads was put in place.
        assert!(
            load().standing(|tree| Ok(tree.size.0 > 10)).unwrap().unwrap().to_string().contains("why 10")
        );
        assert!(load().standing(|tree| Ok(*tree == head(10))).unwrap().is_none());
        assert!(stops(&anchor).unwrap().iter().all(|stop| stop.ended.is_some()));
    }

    #[test]
    fn what_is_no_list_of_stops_is_damage() {
        let directory = tempfile::tempdir().unwrap();
        let anchor = directory.path().join("anchor.db");
        Stops::load(Arc::new(FileAnchor::at(&anchor)), Clock::system()).unwrap().stop(
            &head(3),
            "",
            String::new(),
            String::new(),
        );
        let sound = std::fs::read(file_of(&anchor)).unwrap();
        for bad in [&sound[..sound.len() / 2], b"", b"{}", b"[{}]", b"\0\0\0\0"] {
            std::fs::write(file_of(&anchor), bad).unwrap();
            assert!(matches!(stops(&anchor), Err(StopError::Damaged { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_list_with_any_changed_bit_is_damage_and_one_of_an_older_program_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let anchor = directory.path().join("anchor.db");
        let known = Stops::load(Arc::new(FileAnchor::at(&anchor)), Clock::system()).unwrap();
        for size in [3, 5] {
            known.stop(&head(size), "a note\n", "why".to_owned(), "digest".to_owned()).unwrap();
        }
        let (sound, written) = (std::fs::read(file_of(&anchor)).unwrap(), stops(&anchor).unwrap());
        for bit in 0..sound.len() * 8 {
            let mut bad = sound.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(file_of(&anchor), bad).unwrap();
            match stops(&anchor) {
                Err(StopError::Damaged { .. }) => {}
                other => panic!("bit {bit}: {other:?}"),
            }
        }
        for cut in 0..sound.len() {
            std::fs::write(file_of(&anchor), &sound[..cut]).unwrap();
            assert!(stops(&anchor).map_or(true, |found| found == written), "cut at {cut}");
        }
        let older = serde_json::to_vec_pretty(&written).unwrap();
        std::fs::write(file_of(&anchor), [&older[..], b"\n"].concat()).unwrap();
        assert_eq!(stops(&anchor).unwrap(), written);
        end_stop(directory.path(), &anchor, 1, &Clock::system()).unwrap();
        let now = std::fs::read_to_string(file_of(&anchor)).unwrap();
        assert!(now.lines().last().unwrap().starts_with(SUM), "the next write adds it: {now}");
    }

    #[test]
    fn open_stops_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let anchor = directory.path().join("anchor.db");
        let known = Stops::load(Arc::new(FileAnchor::at(&anchor)), Clock::system()).unwrap();
        for size in 1..=OPEN_MAX as u64 + 3 {
            assert!(known.stop(&head(size), "", String::new(), String::new()).is_some());
        }
        assert_eq!(stops(&anchor).unwrap().len(), OPEN_MAX);
    }
}
