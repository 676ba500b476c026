//! A small log in memory, for servers of tests. Tree math is x/mod's by definition: every hash is computed from all records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tallystick::module::ModuleVersion;
use tallystick::note::{SignerKey, sign};
use tallystick::tlog::{Checkpoint, Hash, RecordId, Tile, TileLevel, TreeHead, TreeSize, format_record};

use crate::support::hostile::{Behaviour, HostileServer};

pub(crate) const NAME: &str = "sum.test.example";

/// A log whose record `n` is about `example.com/m@v1.0.n`. Two logs with the same seed and different salts have different lines.
#[derive(Clone)]
pub(crate) struct SmallLog {
    key: [u8; 32],
    texts: Vec<String>,
    leaves: Vec<Hash>,
}

pub(crate) fn nth(n: u64) -> ModuleVersion {
    format!("example.com/m@v1.0.{n}").parse().unwrap()
}

impl SmallLog {
    pub(crate) fn new(records: u64) -> SmallLog {
        let mut log = SmallLog { key: [42; 32], texts: Vec::new(), leaves: Vec::new() };
        log.grow(records, 0);
        log
    }

    /// The same records, signed by another key of the same name.
    pub(crate) fn with_key(&self, key: [u8; 32]) -> SmallLog {
        SmallLog { key, ..self.clone() }
    }

    /// Appends up to `records`; the lines depend on the salt.
    pub(crate) fn grow(&mut self, records: u64, salt: u8) {
        for n in self.leaves.len() as u64..records {
            let hash = Hash::of_record(&[&n.to_le_bytes()[..], &[salt]].concat());
            let text = format!("example.com/m v1.0.{n} h1:{hash}\nexample.com/m v1.0.{n}/go.mod h1:{hash}\n");
            self.leaves.push(Hash::of_record(text.as_bytes()));
            self.texts.push(text);
        }
    }

    /// Appends a record of any text.
    pub(crate) fn push(&mut self, text: &str) {
        self.leaves.push(Hash::of_record(text.as_bytes()));
        self.texts.push(text.to_owned());
    }

    /// The text of a record.
    pub(crate) fn text(&self, n: u64) -> &str {
        &self.texts[n as usize]
    }

    /// The first `records` of this log, then others.
    pub(crate) fn fork(&self, at: u64, records: u64) -> SmallLog {
        let mut fork = self.clone();
        fork.texts.truncate(at as usize);
        fork.leaves.truncate(at as usize);
        fork.grow(records, 1);
        fork
    }

    fn signer(&self) -> SignerKey {
        SignerKey::generate(NAME.parse().unwrap(), self.key)
    }

    pub(crate) fn vkey(&self) -> String {
        self.signer().verifier().to_string()
    }

    pub(crate) fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    pub(crate) fn head(&self, size: u64) -> TreeHead {
        TreeHead { size: TreeSize(size), root: root(&self.leaves[..size as usize]) }
    }

    pub(crate) fn note(&self, size: u64) -> String {
        sign(&self.head(size).format(), &[&self.signer()]).unwrap()
    }

    /// The same head as witnesses are shown it.
    pub(crate) fn checkpoint(&self, size: u64) -> String {
        sign(&Checkpoint::new(NAME.parse().unwrap(), self.head(size)).format(), &[&self.signer()]).unwrap()
    }

    pub(crate) fn lookup(&self, n: u64, size: u64) -> Vec<u8> {
        let mut answer = format_record(RecordId(n), self.texts[n as usize].as_bytes()).unwrap();
        answer.extend(self.note(size).as_bytes());
        answer
    }

    pub(crate) fn tile(&self, path: &str, size: u64) -> Option<Vec<u8>> {
        let tile = Tile::parse(path).ok()?;
        let first = tile.number << 8;
        let end = first + u64::from(tile.width);
        let TileLevel::Hash(level) = tile.level else {
            let texts = (end <= size).then(|| &self.texts[first as usize..end as usize])?;
            return Some(texts.iter().flat_map(|text| [text.as_bytes(), b"\n"].concat()).collect());
        };
        let covers = 1u64 << (8 * level);
        if end * covers > size {
            return None;
        }
        let hash = |at: u64| root(&self.leaves[(at * covers) as usize..((at + 1) * covers) as usize]);
        Some((first..end).flat_map(|at| *hash(at).as_bytes()).collect())
    }

    /// What an honest server answers whose newest head has this size; a look-up carries the head of `head_of(n)`.
    pub(crate) fn answer(&self, path: &str, size: u64, head_of: impl Fn(u64) -> u64) -> Option<Vec<u8>> {
        if path == "/latest" {
            return Some(self.note(size).into_bytes());
        }
        if let Some(n) = path.strip_prefix("/lookup/example.com/m@v1.0.") {
            let n: u64 = n.parse().ok()?;
            return (n < size).then(|| self.lookup(n, head_of(n)));
        }
        self.tile(path.trim_start_matches('/'), size)
    }

    /// A server of the whole log, until the flag is set: then of another.
    pub(crate) fn serve_until_it_turns(&self, other: SmallLog) -> (HostileServer, Arc<AtomicBool>) {
        let (honest, turned) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let turns = turned.clone();
        let server = HostileServer::start(move |path| {
            let log = if turns.load(SeqCst) { &other } else { &honest };
            answer(log.answer(path, log.size(), |_| log.size()))
        });
        (server, turned)
    }

    /// An honest server of the whole log.
    pub(crate) fn serve(&self) -> HostileServer {
        let log = self.clone();
        HostileServer::start(move |path| answer(log.answer(path, log.size(), |_| log.size())))
    }
}

pub(crate) fn answer(body: Option<Vec<u8>>) -> Behaviour {
    body.map_or_else(Behaviour::not_found, Behaviour::ok)
}

/// RFC 6962, section 2.1, over leaves that are hashed already.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::EMPTY_TREE,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Hash::of_node(&root(left), &root(right))
        }
    }
}
