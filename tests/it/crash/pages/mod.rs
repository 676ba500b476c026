//! Random damage in the pages of the database: the server may refuse, it must not lie and not fall over.
//!
//! The files beside the log have a row each: mirrors, cosignatures, the memory of a witness, stops
//! and the anchor. After the damage the program refuses by name, or answers exactly what was there.

mod cosignatures;
mod files;
mod mirror;
mod witness;

use std::fs;
use std::path::Path;

use super::campaign::{Random, Tally, seed, times};
use super::history::History;
use super::server::Place;
use super::source::Source;
use super::wire::Connection;
use std::collections::BTreeMap;

const PAGE_BYTES: u64 = 16 << 10;
/// One full tile, and a right edge.
const RECORDS: u64 = 300;
/// Seeds with which a program before version 3 of the database failed: an older head, a neighbor's number, a tile that was
/// not found, an answer that was cut, a record that was signed twice. They are tried each time.
const FAILED_ONCE: [u64; 6] = [1_148, 8_355, 3_253, 5_554, 10_082, 8_050];

/// The tries of one row of the files beside the log.
struct Campaign {
    tally: Tally,
    kinds: BTreeMap<&'static str, u64>,
    seeds: std::ops::Range<u64>,
    seed: u64,
}

impl Campaign {
    fn new(row: &'static str, what: &'static str, short: u64) -> Campaign {
        let seeds = seed()..seed() + times(short);
        Campaign { tally: Tally::new(row, what), kinds: BTreeMap::new(), seeds, seed: 0 }
    }

    /// The random numbers of the next try.
    fn next(&mut self) -> Option<Random> {
        self.seed = self.seeds.next()?;
        Some(Random::new(self.seed))
    }

    /// Notes how a try ended.
    fn ended(&mut self, result: Result<&'static str, String>) {
        self.tally.tried(1);
        match result {
            Ok(kind) => *self.kinds.entry(kind).or_insert(0) += 1,
            Err(why) => self.tally.failed(format!("seed {}: {why}", self.seed)),
        }
    }

    fn finish(mut self) {
        self.tally.note(format!("{:?}", self.kinds));
        self.tally.finish();
    }
}

/// Damages one to three pages of a file: bits flip, or a page is lost, or shows another page.
fn damage(path: &Path, random: &mut Random) {
    let page_bytes = if fs::metadata(path).expect("the file").len() < 8192 { 512 } else { 4096 };
    let mut bytes = fs::read(path).expect("the file");
    for _ in 0..=random.below(3) {
        let start = random.below((bytes.len() as u64).div_ceil(page_bytes)) * page_bytes;
        let end = (start + page_bytes).min(bytes.len() as u64);
        let page = start as usize..end as usize;
        match random.below(10) {
            0 => bytes[page].fill(0),
            1 => {
                let from = random.below((bytes.len() - page.len()) as u64 / page_bytes + 1) * page_bytes;
                bytes.copy_within(from as usize..from as usize + page.len(), page.start);
            }
            _ => {
                for _ in 0..=random.below(40) {
                    bytes[page.start + random.below(page.len() as u64) as usize] ^= 1 << random.below(8);
                }
            }
        }
    }
    fs::write(path, bytes).expect("the file");
}

/// Brings a database into one file, as its program leaves it when it ends.
fn fold(path: &Path) {
    let raw = rusqlite::Connection::open(path).expect("a database");
    raw.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("nobody else has it");
}

/// A refusal must say what is wrong.
fn refused(error: &dyn std::fmt::Display) -> Result<&'static str, String> {
    let text = error.to_string();
    if text.len() > 10 { Ok("refused") } else { Err(format!("it refuses without a reason: {text:?}")) }
}

/// What a server with a damaged database says, held against what the undamaged one said.
fn check(place: &Place, history: &mut History, source: &Source) -> Result<&'static str, String> {
    let server = match place.try_serve() {
        Ok(server) => server,
        Err(ended) if ended.fault().is_none() && matches!(ended.code, Some(1 | 2 | 4)) => {
            return Ok("refused");
        }
        Err(ended) => return Err(format!("it ended badly: {ended:?}")),
    };
    let mut refusals = 0;
    let mut connection = Connection::open(server.address).map_err(|error| error.to_string())?;
    let mut get =
        |path: &str| connection.get(path).map_err(|error| format!("{path}: {error}: {}", server.stderr()));
    let mut paths: Vec<(String, Option<u64>)> =
        (0..RECORDS).step_by(7).map(|number| (Source::lookup(number), Some(number))).collect();
    paths.push((Source::lookup(1_000_000), Some(1_000_000)));
    paths.extend(
        ["/latest", "/tile/8/0/000", "/tile/8/data/000", "/tile/8/1/000.p/1"]
            .map(|path| (path.to_owned(), None)),
    );
    for (path, number) in paths {
        let answer = get(&path)?;
        match (answer.status, number) {
            (200, Some(number)) => history.observe_lookup(number, &answer, 0, source)?,
            (200, None) if path == "/latest" => drop(history.observe_head(&answer.text(), 0)?),
            (200, None) => {}
            (500 | 503, _) => refusals += 1,
            (status, _) => return Err(format!("{path}: {status} {}", answer.text())),
        }
    }
    // Tiles are taken together: what is served must be the tree of a head that was signed.
    let whole = history.clone().verify_all(&server, source, &mut Random::new(1));
    let ended = server.kill();
    if ended.stderr.contains("panicked") {
        return Err(format!("it panicked: {}", ended.stderr));
    }
    match whole {
        Ok(_) if refusals == 0 => Ok("unharmed"),
        // The text of a verification says whether bytes were wrong or a request was refused.
        Err(why) if why.contains(": 500 ") || why.contains(": 503 ") => Ok("refused in part"),
        Ok(_) => Ok("refused in part"),
        Err(why) => Err(why),
    }
}

#[test]
fn random_damage_is_never_served() {
    let source = Source::start();
    let template = Place::new(&source.url());
    let server = template.serve();
    let mut history = History::new(server.verifier.clone());
    let mut connection = Connection::open(server.address).expect("it listens");
    for number in 0..RECORDS {
        let answer = connection.get(&Source::lookup(number)).expect("an answer");
        history.observe_lookup(number, &answer, history.floor(), &source).unwrap();
    }
    assert_eq!(server.stop().code, Some(0));
    let mut tally = Tally::new("05-pages", "database with random damage in one to three pages");
    let mut kinds = BTreeMap::new();
    for round in (0..times(12)).map(|round| seed() + round).chain(FAILED_ONCE) {
        let mut random = Random::new(round);
        let place = template.copied();
        let path = place.path("data/log.db");
        let mut bytes = fs::read(&path).expect("the database");
        for _ in 0..=random.below(3) {
            let page = random.below(bytes.len() as u64 / PAGE_BYTES) * PAGE_BYTES;
            for _ in 0..=random.below(40) {
                bytes[(page + random.below(PAGE_BYTES)) as usize] ^= 1 << random.below(8);
            }
        }
        fs::write(&path, bytes).expect("the database");
        match check(&place, &mut history.clone(), &source) {
            Ok(kind) => *kinds.entry(kind).or_insert(0) += 1,
            Err(why) => tally.failed(format!("seed {round}: {why}")),
        }
        tally.tried(1);
    }
    tally.note(format!("{kinds:?}"));
    tally.finish();
}
