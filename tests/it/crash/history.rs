//! Everything that clients were told, and whether the log still says so.
//!
//! What is checked at each answer, under kills, pauses and restarts:
//!
//! - the note is signed by the log's key, and every head of one size is the same note, byte for byte
//! - the head covers the record, and is not older than any head that was seen before the question was asked
//! - a module version has one number and one text for ever, and a number has one module version
//!
//! What is checked when all is over: from the data tiles that are served now the tree is built again, and it must have
//! the root of every head ever seen; hash tiles must prove the same by consistency proofs; every acknowledged
//! record is where it was, in the tiles and in its look-up.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use tallystick::note::{self, VerifierKey};
use tallystick::tlog::{
    Hash, HashIndex, TILE_HEIGHT, Tile, TileLevel, TilePlan, TreeHead, TreeSize, consistency_proof_indexes,
    parse_record, prove_consistency, split_data_tile, verify_consistency,
};

use super::campaign::Random;
use super::server::Server;
use super::source::Source;
use super::wire::{Answer, Connection};
use crate::support::tree::Tree;

/// Look-ups of records of long ago, in each verification.
const OLD_LOOKUPS: u64 = 20;

/// A record as it was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Acknowledged {
    id: u64,
    text: String,
}

/// What was ever said by one log.
#[derive(Clone)]
pub(crate) struct History {
    verifier: VerifierKey,
    acknowledged: HashMap<u64, Acknowledged>,
    modules: HashMap<u64, u64>,
    heads: BTreeMap<u64, (Hash, String)>,
    /// Modules that were acknowledged since the last verification.
    fresh: Vec<u64>,
    /// Every head up to this size was held against the tree.
    verified: u64,
    pub(crate) answers: u64,
}

impl History {
    pub(crate) fn new(verifier: VerifierKey) -> History {
        History {
            verifier,
            acknowledged: HashMap::new(),
            modules: HashMap::new(),
            heads: BTreeMap::new(),
            fresh: Vec::new(),
            verified: 0,
            answers: 0,
        }
    }

    pub(crate) fn records(&self) -> usize {
        self.acknowledged.len()
    }

    pub(crate) fn heads(&self) -> usize {
        self.heads.len()
    }

    /// The largest head seen: no answer to a question that is asked from now on may be older.
    pub(crate) fn floor(&self) -> u64 {
        self.heads.last_key_value().map_or(0, |(size, _)| *size)
    }

    /// Takes in the note of an answer to a question that was asked when the floor was `floor`.
    pub(crate) fn observe_head(&mut self, note: &str, floor: u64) -> Result<TreeHead, String> {
        self.answers += 1;
        let head = TreeHead::parse(note).map_err(|error| format!("{error} in {note:?}"))?;
        if head.size.0 < floor {
            return Err(format!("a head of size {} after one of size {floor}", head.size.0));
        }
        match self.heads.get(&head.size.0) {
            Some((_, known)) if known == note => {}
            Some((_, known)) => return Err(format!("two notes of one size:\n{known}\n{note}")),
            None => {
                note::open(note.as_bytes(), &[&self.verifier])
                    .map_err(|error| format!("{error}: {note:?}"))?;
                self.heads.insert(head.size.0, (head.root, note.to_owned()));
            }
        }
        Ok(head)
    }

    /// Another client of the same log, who knows the same heads.
    pub(crate) fn another(&self) -> History {
        History { heads: self.heads.clone(), ..History::new(self.verifier.clone()) }
    }

    /// Asks for the newest head again and again, until the server is gone or it is over: a head that was seen for a
    /// moment only is a head that was published.
    pub(crate) fn watch(&mut self, server: &Server, over: &AtomicBool) -> Result<(), String> {
        let Ok(mut connection) = Connection::open(server.address) else { return Ok(()) };
        while !over.load(Ordering::SeqCst) {
            let Ok(answer) = connection.get("/latest") else { return Ok(()) };
            if answer.status != 200 {
                return Err(format!("/latest: {} {}", answer.status, answer.text()));
            }
            self.observe_head(&answer.text(), self.floor())?;
        }
        Ok(())
    }

    /// Takes in the heads that another client of the same log has seen.
    pub(crate) fn absorb(&mut self, other: History) -> Result<(), String> {
        for (size, (root, note)) in other.heads {
            let known = self.heads.entry(size).or_insert_with(|| (root, note.clone()));
            if known.1 != note {
                return Err(format!("two notes of one size:\n{}\n{note}", known.1));
            }
        }
        Ok(())
    }

    /// Takes in the answer to a look-up of module `number`.
    pub(crate) fn observe_lookup(
        &mut self,
        number: u64,
        answer: &Answer,
        floor: u64,
        source: &Source,
    ) -> Result<(), String> {
        let told = |why: String| format!("look-up of module {number}: {why}: {:?}", answer.text());
        if answer.status != 200 {
            return Err(told(format!("status {}", answer.status)));
        }
        let (id, text, note) = parse_record(&answer.body).map_err(|error| told(error.to_string()))?;
        let note = std::str::from_utf8(note).map_err(|error| told(error.to_string()))?;
        let head = self.observe_head(note, floor).map_err(told)?;
        if head.size.0 <= id.0 {
            return Err(told("the head does not cover the record".to_owned()));
        }
        let told_now = Acknowledged { id: id.0, text: String::from_utf8_lossy(text).into_owned() };
        match self.acknowledged.get(&number) {
            Some(known) if *known == told_now => return Ok(()),
            Some(known) => return Err(told(format!("before it was {known:?}"))),
            None => {}
        }
        if !source.is_possible(number, &told_now.text) {
            return Err(told("the source never had these lines".to_owned()));
        }
        if let Some(other) = self.modules.insert(told_now.id, number) {
            return Err(told(format!("record {} was module {other}", told_now.id)));
        }
        self.acknowledged.insert(number, told_now);
        self.fresh.push(number);
        Ok(())
    }

    /// Holds everything against what the server says now. Returns the size of the log.
    pub(crate) fn verify_all(
        &mut self,
        server: &Server,
        source: &Source,
        random: &mut Random,
    ) -> Result<u64, String> {
        let mut connection = Connection::open(server.address).map_err(|error| error.to_string())?;
        let latest = get(&mut connection, "/latest")?;
        let head = self.observe_head(&latest.text(), self.floor())?;
        let texts = self.read_records(&mut connection, &head)?;
        for (number, acknowledged) in &self.acknowledged {
            if texts.get(acknowledged.id as usize) != Some(&acknowledged.text) {
                let now = texts.get(acknowledged.id as usize);
                return Err(format!(
                    "module {number} was acknowledged as {acknowledged:?}, now it is {now:?}"
                ));
            }
        }
        self.prove(&mut connection, &head, random)?;
        let mut asked = std::mem::take(&mut self.fresh);
        let known: Vec<u64> = self.modules.values().copied().collect();
        asked.extend((0..OLD_LOOKUPS).filter_map(|_| known.get(random.below(known.len() as u64) as usize)));
        for number in asked {
            let answer = get(&mut connection, &Source::lookup(number))?;
            self.observe_lookup(number, &answer, self.floor(), source)?;
        }
        Ok(head.size.0)
    }

    /// Looks up every record that was ever acknowledged.
    pub(crate) fn ask_all(&mut self, server: &Server, source: &Source) -> Result<(), String> {
        let mut connection = Connection::open(server.address).map_err(|error| error.to_string())?;
        let known: Vec<u64> = self.acknowledged.keys().copied().collect();
        for number in known {
            let answer = get(&mut connection, &Source::lookup(number))?;
            self.observe_lookup(number, &answer, self.floor(), source)?;
        }
        Ok(())
    }

    /// All records from the data tiles, with every head that was seen since the last time held against them. Heads
    /// before that were held against the same records, because the root of the last of them says so.
    fn read_records(&mut self, connection: &mut Connection, head: &TreeHead) -> Result<Vec<String>, String> {
        let (mut texts, mut tree, mut modules) = (Vec::new(), Tree::default(), HashSet::new());
        for tile in tiles_of(TileLevel::Data, head.size.0) {
            let body = get(connection, &format!("/{}", tile.path()))?.body;
            let records = split_data_tile(&body).map_err(|error| format!("{}: {error}", tile.path()))?;
            if records.len() != tile.width as usize {
                return Err(format!("{} has {} records", tile.path(), records.len()));
            }
            for record in records {
                tree.push(Hash::of_record(record.as_bytes()));
                let text = record.to_owned();
                let key: Vec<&str> = text.split(' ').take(2).collect();
                if !modules.insert(key.join("@")) {
                    return Err(format!("two records of one module version: {text}"));
                }
                texts.push(text);
            }
        }
        for (size, (root, _)) in self.heads.range(self.verified..) {
            if tree.head_at(*size).root != *root {
                return Err(format!(
                    "the head of size {size} is not that of the records that are served now"
                ));
            }
        }
        self.verified = head.size.0;
        Ok(texts)
    }

    /// Proves by hash tiles that the head is consistent with the one before it and with a few of long ago.
    fn prove(&self, connection: &mut Connection, head: &TreeHead, random: &mut Random) -> Result<(), String> {
        let sizes: Vec<u64> = self.heads.range(1..head.size.0.max(1)).map(|(size, _)| *size).collect();
        let any = |random: &mut Random| sizes.get(random.below(sizes.len() as u64) as usize).copied();
        for old in [sizes.last().copied(), any(random), any(random)].into_iter().flatten() {
            let wrong = |error: &dyn std::fmt::Display| format!("proof from {old} to {}: {error}", head.size);
            let indexes = consistency_proof_indexes(head.size, TreeSize(old)).map_err(|e| wrong(&e))?;
            let hashes = read_hashes(connection, head, &indexes)?;
            let proof = prove_consistency(head.size, TreeSize(old), &hashes).map_err(|e| wrong(&e))?;
            verify_consistency(&proof, head.size, &head.root, TreeSize(old), &self.heads[&old].0)
                .map_err(|e| wrong(&e))?;
        }
        Ok(())
    }
}

/// The tiles of one level of a tree.
fn tiles_of(level: TileLevel, size: u64) -> impl Iterator<Item = Tile> {
    (0..size.div_ceil(256)).map(move |number| Tile {
        height: TILE_HEIGHT,
        level,
        number,
        width: (size - number * 256).min(256) as u32,
    })
}

fn read_hashes(
    connection: &mut Connection,
    head: &TreeHead,
    indexes: &[HashIndex],
) -> Result<Vec<Hash>, String> {
    let plan = TilePlan::new(head, TILE_HEIGHT, indexes).map_err(|error| error.to_string())?;
    let tile = |tile: &Tile| get(connection, &format!("/{}", tile.path())).map(|answer| answer.body);
    let data = plan.tiles().iter().map(tile).collect::<Result<Vec<_>, _>>()?;
    plan.finish(&data).map_err(|error| error.to_string())
}

fn get(connection: &mut Connection, path: &str) -> Result<Answer, String> {
    let answer = connection.get(path).map_err(|error| format!("{path}: {error}"))?;
    match answer.status {
        200 => Ok(answer),
        status => Err(format!("{path}: {status} {}", answer.text())),
    }
}
