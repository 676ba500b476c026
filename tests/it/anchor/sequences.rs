//! Random sequences of {append, stop, kill, backup, restore any subset, clone}: whatever was done to the files, there are
//! never two published heads of one size.
//!
//! After each step the log is opened. If it writes although it has not every head that was ever published, then log and
//! anchor must be equally old, which nothing on one machine can tell; the sequence notes that and puts the newest files back
//! before anything is signed, as a witness or a person must make it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tallystick::store::anchor::{Anchor as _, FileAnchor};

use tallystick::log::{Log, State};
use tallystick::tlog::{Hash, TreeHead, TreeSize};

use super::keep_ended_stop;
use crate::crash::campaign::{Random, Tally, seed, times};
use crate::support::logs::{candidate, open_log_with, signer};

const STEPS: u64 = 12;
/// The files of a log, below its root.
const LOG: [&str; 2] = ["data/log.db", "data/log.db-wal"];
const ANCHOR: [&str; 1] = ["anchor"];
const STOPS: [&str; 1] = ["anchor.stops"];

/// What has happened in one sequence.
struct World {
    root: tempfile::TempDir,
    /// Every head that was ever published.
    published: BTreeMap<u64, Hash>,
    /// Copies of all files: the newest of the true history last.
    backups: Vec<PathBuf>,
    newest: PathBuf,
    /// The next record that nobody has seen, and the next directory.
    next: u64,
    names: u64,
    unknowing: u64,
}

fn copy(files: &[&str], from: &Path, to: &Path) {
    for file in files {
        let (from, to) = (from.join(file), to.join(file));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&to);
        if from.exists() {
            fs::copy(from, to).unwrap();
        }
    }
}

fn copy_all(from: &Path, to: &Path) {
    for files in [&LOG[..], &ANCHOR, &STOPS] {
        copy(files, from, to);
    }
    // What a kill or a copy left of the memory that processes share says nothing.
    let _ = fs::remove_file(to.join("data/log.db-shm"));
}

impl World {
    fn new() -> World {
        let root = tempfile::tempdir().unwrap();
        let (live, newest) = (root.path().join("live"), root.path().join("newest"));
        fs::create_dir_all(live.join("data")).unwrap();
        fs::create_dir_all(&newest).unwrap();
        World { root, published: BTreeMap::new(), backups: vec![], newest, next: 0, names: 0, unknowing: 0 }
    }

    fn live(&self) -> PathBuf {
        self.root.path().join("live")
    }

    fn another(&mut self) -> PathBuf {
        self.names += 1;
        let path = self.root.path().join(format!("copy-{}", self.names));
        fs::create_dir(&path).unwrap();
        path
    }

    fn open(&self, root: &Path) -> Log {
        open_log_with(&root.join("data"), &self.live().join("anchor"), vec![signer()]).unwrap()
    }

    fn largest(&self) -> u64 {
        self.published.keys().next_back().copied().unwrap_or(0)
    }

    /// Somebody sees a head.
    fn see(&mut self, tree: TreeHead) -> Result<(), String> {
        match self.published.insert(tree.size.0, tree.root) {
            Some(before) if before != tree.root => {
                Err(format!("two heads of size {}: {before} and {}", tree.size, tree.root))
            }
            _ => Ok(()),
        }
    }

    /// Whether the log may be used now: it writes, and has everything that was published.
    fn may_write(&mut self, log: &Log) -> Result<bool, String> {
        if !matches!(&*log.state(), State::Writing) {
            return Ok(false);
        }
        let size = log.snapshot().size().0;
        if size >= self.largest() {
            return Ok(true);
        }
        let anchored = FileAnchor::at(self.live().join("anchor")).read().unwrap().unwrap().tree.size.0;
        if anchored > size {
            return Err(format!("it writes at {size}, and its anchor knows {anchored}"));
        }
        self.unknowing += 1;
        Ok(false)
    }

    async fn append(&mut self, log: &Log, count: u64) -> Result<(), String> {
        for _ in 0..count {
            let record = candidate(self.next);
            self.next += 1;
            let Ok(receipt) = log.append(vec![record]).await else { return Ok(()) };
            self.see(receipt.snapshot.head().tree)?;
        }
        Ok(())
    }

    /// Keeps what is true now, to go on from when nothing else does.
    fn remember(&mut self) {
        copy_all(&self.live(), &self.newest);
    }

    /// One step. The log is closed before and after.
    async fn step(&mut self, random: &mut Random) -> Result<(), String> {
        let live = self.live();
        match random.below(7) {
            0 | 1 => {}
            2 => self.stop(random),
            3 => {
                // Killed: the files as they are while the process lives.
                let (log, image) = (self.open(&live), self.another());
                if self.may_write(&log)? {
                    self.append(&log, 1 + random.below(3)).await?;
                }
                copy_all(&live, &image);
                drop(log);
                copy_all(&image, &live);
            }
            4 => {
                let (log, backup) = (self.open(&live), self.another());
                copy_all(&live, &backup);
                self.backups.push(backup);
                log.close();
            }
            5 => self.restore(random),
            _ => self.clone_once(random).await?,
        }
        let log = self.open(&live);
        if self.may_write(&log)? {
            self.append(&log, random.below(4)).await?;
            log.close();
            self.remember();
        } else {
            log.close();
            // What the advice of each refusal says: the newest copies.
            let newest = self.newest.clone();
            copy_all(&newest, &live);
            let log = self.open(&live);
            if !matches!(&*log.state(), State::Writing) && self.largest() > 0 {
                return Err(format!("the newest files do not sign: {:?}", log.state()));
            }
            log.close();
        }
        Ok(())
    }

    /// Somebody shows a head that this log does not have, and an operator decides that it goes on.
    fn stop(&mut self, random: &mut Random) {
        let live = self.live();
        let tree = TreeHead { size: TreeSize(100_000 + random.below(1_000)), root: Hash::of_record(b"x") };
        keep_ended_stop(&live.join("anchor"), &signer(), tree);
    }

    /// Any files come back from any backup, with or without what belongs beside them.
    fn restore(&mut self, random: &mut Random) {
        let live = self.live();
        for files in [&LOG[..], &LOG[..1], &ANCHOR, &STOPS] {
            if !self.backups.is_empty() && random.below(2) == 0 {
                let from = self.backups[random.below(self.backups.len() as u64) as usize].clone();
                if files.len() == 1 {
                    let _ = fs::remove_file(live.join("data/log.db-wal"));
                }
                copy(files, &from, &live);
            }
        }
        let _ = fs::remove_file(live.join("data/log.db-shm"));
    }

    /// A copy of the data starts beside the original, with its anchor, and both are written to.
    async fn clone_once(&mut self, random: &mut Random) -> Result<(), String> {
        let (original, copied) = (self.open(&self.live()), self.another());
        copy(&LOG, &self.live(), &copied);
        let clone = self.open(&copied);
        let of_both = [self.may_write(&original)?, self.may_write(&clone)?];
        for _ in 0..4 {
            let at = random.below(2) as usize;
            if of_both[at] {
                self.append([&original, &clone][at], 1).await?;
            }
        }
        drop((original, clone));
        // Whichever has everything is the log from now on.
        let has_all = {
            let log = self.open(&self.live());
            log.snapshot().size().0 >= self.largest() && matches!(&*log.state(), State::Writing)
        };
        if !has_all {
            copy(&LOG, &copied, &self.live());
            let _ = fs::remove_file(self.live().join("data/log.db-shm"));
        }
        let log = self.open(&self.live());
        if self.may_write(&log)? {
            log.close();
            self.remember();
        }
        Ok(())
    }
}

#[tokio::test]
async fn no_sequence_publishes_two_heads_of_one_size() {
    let mut tally =
        Tally::new("09-sequences", "sequence of appends, stops, kills, backups, restores and clones");
    let (mut unknowing, mut heads) = (0, 0);
    for round in 0..times(25) {
        let mut random = Random::new(seed() + round);
        let mut world = World::new();
        for step in 0..STEPS {
            if let Err(why) = world.step(&mut random).await {
                tally.failed(format!("seed {} step {step}: {why}", seed() + round));
                break;
            }
        }
        unknowing += world.unknowing;
        heads += world.published.len();
        tally.tried(1);
    }
    tally.note(format!("{heads} heads; {unknowing} times log and anchor were equally old"));
    tally.finish();
}
