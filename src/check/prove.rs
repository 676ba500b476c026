//! Claims, proved under one head of the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::HashClaim;
use super::error::CheckError;
use super::heads::HeadMemory;
use crate::audit::{AuditError, LookedUp, Target, in_order};
use crate::clock::Clock;
use crate::dirhash::H1;
use crate::gosum::ModuleLines;
use crate::mirror::Misbehavior;
use crate::module::ModuleVersion;
use crate::note::{self, VerifierKey};
use crate::tlog::{
    ConsistencyProof, Hash, HashIndex, TILE_HEIGHT, Tile, TilePlan, TreeHead, TreeSize,
    consistency_proof_indexes, parse_record, prove_consistency, stored_hash_index, tree_hash,
    tree_hash_indexes,
};

/// Module versions of one check. The module cache of a build server has some ten thousand.
const MAX_MODULES: usize = 200_000;
/// Records, or heads, that are proved with one plan of tiles: of each, three tiles of 8 KiB at most
/// are not shared.
const PROVED_AT_ONCE: usize = 512;
/// How often another process may keep a newer head while ours is compared.
const MAX_RACES: usize = 16;

/// How a server is asked for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// A Tallystick server, which tells what it has and brings nothing in.
    Records,
    /// By look-ups, as the `go` command does: they bring in what is missing.
    Lookups,
}

/// Against what claims are checked.
pub(crate) struct CheckOptions {
    /// Where the log is.
    pub(crate) target: Target,
    /// Whose signature counts.
    pub(crate) key: VerifierKey,
    /// How records are asked for.
    pub(crate) asking: Asking,
    /// Where the newest head seen is kept; none where nothing is remembered.
    pub(crate) memory: Option<HeadMemory>,
    /// Heads that others have kept, such as the `go` command: notes, and where they are from.
    pub(crate) known: Vec<(String, Vec<u8>)>,
    /// Requests in flight at once.
    pub(crate) jobs: usize,
    /// What time it is.
    pub(crate) clock: Clock,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClaimVerdict {
    /// A proved record says the same.
    Proved {
        /// Its number.
        record: u64,
    },
    /// There is no record of the module version.
    NotInLog,
    /// The log refuses to say.
    Refused {
        /// What it said.
        said: String,
    },
    /// A proved record says another hash.
    Differs {
        /// Its number.
        record: u64,
        /// Its hash.
        logged: H1,
    },
}

/// A check that came to its end.
#[derive(Debug)]
pub(crate) struct CheckedClaims {
    /// The log's name.
    pub(crate) log: String,
    /// Its key.
    pub(crate) vkey: String,
    /// Where it was asked.
    pub(crate) url: String,
    /// How it was asked.
    pub(crate) asking: Asking,
    /// The head under which everything was proved.
    pub(crate) head: TreeHead,
    /// One for each claim, in their order.
    pub(crate) verdicts: Vec<ClaimVerdict>,
}

/// Proves claims. `progress` is told how many of how many steps are done.
pub(crate) async fn check(
    options: CheckOptions,
    claims: &[HashClaim],
    progress: impl Fn(u64, u64),
) -> Result<CheckedClaims, CheckError> {
    let CheckOptions { target, key, asking, memory, known, jobs, clock } = options;
    let mut modules: Vec<ModuleVersion> = claims.iter().map(|claim| claim.module.clone()).collect();
    modules.sort_unstable();
    modules.dedup();
    if modules.len() > MAX_MODULES {
        return Err(CheckError::TooMany { modules: modules.len(), most: MAX_MODULES });
    }
    let total = 2 * modules.len() as u64;
    let url = target.url.to_string();
    let mut check = Check { target: Arc::new(target), heads: Heads::new(key, clock), jobs, shown: None };
    let without_latest = match check.ask_latest().await {
        // Some proxies pass on only what the go command asks for. Look-ups have signed heads of
        // their own.
        Err(CheckError::Server(error @ AuditError::Unreadable { may_pass: false, .. }))
            if asking == Asking::Lookups =>
        {
            Some(error)
        }
        asked => {
            asked?;
            None
        }
    };
    for (origin, note) in known {
        // A head by another key of the same name says nothing about this one's log.
        if check.heads.open(&note).is_ok() {
            check.add_head(&origin, note).await?;
        }
    }
    let answers = check.ask(asking, &modules, |done| progress(done, total)).await?;
    match without_latest {
        Some(error) if check.shown.is_none() => return Err(error.into()),
        Some(_) => {}
        None if answers.records.values().any(|record| record.id >= check.heads.top().tree.size.0) => {
            check.ask_latest().await?;
        }
        None => {}
    }
    check.compare_and_remember(memory.as_ref()).await?;
    check.prove(&answers.records, |done| progress(modules.len() as u64 + done, total)).await?;
    progress(total, total);
    let verdict = |claim: &HashClaim| match answers.records.get(&claim.module) {
        None => match answers.refused.get(&claim.module) {
            Some(said) => ClaimVerdict::Refused { said: said.clone() },
            None => ClaimVerdict::NotInLog,
        },
        Some(Answered { id, lines, .. }) => match lines.hash(claim.kind) {
            logged if logged == claim.hash => ClaimVerdict::Proved { record: *id },
            logged => ClaimVerdict::Differs { record: *id, logged },
        },
    };
    let verdicts = claims.iter().map(verdict).collect();
    let head = check.heads.top().tree;
    let key = &check.heads.key;
    Ok(CheckedClaims { log: key.name().to_string(), vkey: key.to_string(), url, asking, head, verdicts })
}

/// A record as it was answered.
struct Answered {
    id: u64,
    leaf: Hash,
    lines: ModuleLines,
}

/// What was answered.
#[derive(Default)]
struct Answers {
    records: BTreeMap<ModuleVersion, Answered>,
    refused: BTreeMap<ModuleVersion, String>,
}

struct Check {
    target: Arc<Target>,
    heads: Heads,
    jobs: usize,
    /// The size of the largest head that the server showed; those that were kept do not count.
    shown: Option<TreeSize>,
}

impl Check {
    async fn ask_latest(&mut self) -> Result<(), CheckError> {
        let note = self.target.latest().await?;
        let log = self.heads.key.name().to_string();
        let head = self.heads.open(&note).map_err(|why| CheckError::Head { log, why })?;
        self.shown = self.shown.max(Some(head.size));
        self.add_head("latest", note).await
    }

    /// Takes in a head, and refuses it at once where one of the same size is another.
    async fn add_head(&mut self, origin: &str, note: Vec<u8>) -> Result<(), CheckError> {
        let unproven = |why| CheckError::Unproven { place: origin.to_owned(), why };
        let tree = self.heads.open(&note).map_err(unproven)?;
        let note = String::from_utf8(note).expect("a note that was opened is UTF-8");
        let head = KeptHead { origin: origin.to_owned(), tree, note };
        match self.heads.by_size.get(&tree.size.0) {
            Some(same) if same.tree.root != tree.root => {
                Err(self.heads.fork(same, &head, tree.root, ConsistencyProof::default()))
            }
            Some(_) => Ok(()),
            None => {
                self.heads.by_size.insert(tree.size.0, head);
                Ok(())
            }
        }
    }

    async fn ask(
        &mut self,
        asking: Asking,
        modules: &[ModuleVersion],
        progress: impl Fn(u64),
    ) -> Result<Answers, CheckError> {
        let asks = modules.iter().map(|module| ask_one(self.target.clone(), asking, module.clone()));
        let answers = in_order(self.jobs, asks, progress).await?;
        let mut found = Answers::default();
        for (module, answer) in modules.iter().zip(answers) {
            let place = format!("the record of {module}");
            let unproven = |why: String| CheckError::Unproven { place: place.clone(), why };
            let RawRecord { id, text, note } = match answer {
                None => continue,
                Some(Answer::Refused(said)) => {
                    found.refused.insert(module.clone(), said);
                    continue;
                }
                Some(Answer::Record { id, text }) => RawRecord { id, text, note: None },
                Some(Answer::Lookup(body)) => parse_lookup(&body).map_err(unproven)?,
            };
            let lines = ModuleLines::find(&text, module);
            let lines = lines.ok_or_else(|| unproven(format!("record {id} is not of it: {text:?}")))?;
            if let Some(note) = note {
                self.shown = self.shown.max(Some(self.heads.open(&note).map_err(unproven)?.size));
                self.add_head(&place, note).await?;
            }
            found
                .records
                .insert(module.clone(), Answered { id, leaf: Hash::of_record(text.as_bytes()), lines });
        }
        Ok(found)
    }

    /// Proves that every head is of one log with the largest, among them the one that is
    /// remembered, and remembers the largest.
    async fn compare_and_remember(&mut self, memory: Option<&HeadMemory>) -> Result<(), CheckError> {
        for _ in 0..MAX_RACES {
            let Some(memory) = memory else { return self.compare().await };
            let before = memory.read()?;
            if let Some(note) = &before {
                let path = memory.path().display().to_string();
                if let Err(why) = self.heads.open(note) {
                    return Err(CheckError::Memory { path, why });
                }
                self.add_head(&path, note.clone()).await?;
            }
            self.compare().await?;
            let top = self.heads.top().note.as_bytes();
            if before.as_deref() == Some(top) || memory.replace(before.as_deref(), top)? {
                return Ok(());
            }
        }
        let memory = memory.map(|memory| memory.path().display().to_string()).unwrap_or_default();
        Err(CheckError::Memory { path: memory, why: "other processes change it again and again".to_owned() })
    }

    async fn compare(&self) -> Result<(), CheckError> {
        let top = self.heads.top();
        let is_older = |head: &&KeptHead| head.tree.size < top.tree.size && head.tree.size > TreeSize(0);
        let older: Vec<&KeptHead> = self.heads.by_size.values().filter(is_older).collect();
        for some in older.chunks(PROVED_AT_ONCE) {
            let indexes: Vec<HashIndex> =
                some.iter().flat_map(|head| tree_hash_indexes(head.tree.size)).collect();
            let hashes = self.hashes(&indexes).await?;
            let mut hashes = hashes.as_slice();
            for head in some {
                let (own, rest) = hashes.split_at(tree_hash_indexes(head.tree.size).len());
                hashes = rest;
                let root = tree_hash(head.tree.size, own).expect("as many hashes as were asked for");
                if root != head.tree.root {
                    return Err(self.convict(head, root).await?);
                }
            }
        }
        Ok(())
    }

    /// Makes the proof that the largest head and an older one contradict each other.
    async fn convict(&self, older: &KeptHead, root: Hash) -> Result<CheckError, CheckError> {
        let top = self.heads.top();
        let (size, old) = (top.tree.size, older.tree.size);
        let indexes = consistency_proof_indexes(size, old).expect("the older tree is smaller and not empty");
        let hashes = self.hashes(&indexes).await?;
        let proof = prove_consistency(size, old, &hashes).expect("as many hashes as were asked for");
        Ok(self.heads.fork(older, top, root, proof))
    }

    /// Proves every record under the largest head.
    async fn prove(
        &self,
        answers: &BTreeMap<ModuleVersion, Answered>,
        progress: impl Fn(u64),
    ) -> Result<(), CheckError> {
        let top = self.heads.top().tree;
        let mut records: Vec<(&ModuleVersion, &Answered)> = answers.iter().collect();
        // Neighbors share tiles.
        records.sort_unstable_by_key(|(_, record)| record.id);
        let unproven = |module: &ModuleVersion, why| CheckError::Unproven {
            place: format!("the record of {module}"),
            why,
        };
        let mut done = 0;
        for some in records.chunks(PROVED_AT_ONCE) {
            for (module, record) in some {
                if record.id >= top.size.0 {
                    let why = format!("cannot validate record {} in tree of size {}", record.id, top.size);
                    return Err(unproven(module, why));
                }
            }
            let indexes: Vec<HashIndex> =
                some.iter().map(|(_, record)| stored_hash_index(0, record.id)).collect();
            for ((module, record), logged) in some.iter().zip(self.hashes(&indexes).await?) {
                if record.leaf != logged {
                    let why = format!(
                        "record {} has the hash {}, and the tree has {logged}",
                        record.id, record.leaf
                    );
                    return Err(unproven(module, why));
                }
            }
            done += some.len() as u64;
            progress(done);
        }
        Ok(())
    }

    /// Reads hashes of the largest tree, verified up to its signed root.
    async fn hashes(&self, indexes: &[HashIndex]) -> Result<Vec<Hash>, CheckError> {
        let top = self.heads.top();
        if indexes.is_empty() {
            return Ok(Vec::new());
        }
        let plan = TilePlan::new(&top.tree, TILE_HEIGHT, indexes);
        let unproven = |why: String| CheckError::Unproven { place: format!("the tree of {}", top.tree), why };
        let plan = plan.map_err(|error| unproven(error.to_string()))?;
        let asks = plan.tiles().iter().map(|tile| read_tile(self.target.clone(), *tile));
        let data = in_order(self.jobs, asks, |_| ()).await;
        let data = data.map_err(|error| match &error {
            AuditError::Unreadable { may_pass: false, .. } if self.shown < Some(top.tree.size) => {
                CheckError::Older {
                    shown: self.shown.unwrap_or_default().0,
                    seen: top.tree.size.0,
                    place: top.origin.clone(),
                    why: error.to_string(),
                }
            }
            _ => CheckError::Server(error),
        })?;
        plan.finish(&data).map_err(|error| unproven(error.to_string()))
    }
}

/// A signed head.
#[derive(Clone, Debug)]
struct KeptHead {
    origin: String,
    tree: TreeHead,
    note: String,
}

/// The heads that belong to one log, until it is shown that they do not.
struct Heads {
    key: VerifierKey,
    by_size: BTreeMap<u64, KeptHead>,
    clock: Clock,
}

impl Heads {
    fn new(key: VerifierKey, clock: Clock) -> Heads {
        Heads { key, by_size: BTreeMap::new(), clock }
    }

    fn open(&self, note: &[u8]) -> Result<TreeHead, String> {
        let opened = note::open(note, &[&self.key]).map_err(|error| error.to_string())?;
        let tree = TreeHead::parse(&opened.text).map_err(|error| error.to_string())?;
        if tree.size == TreeSize(0) && tree.root != Hash::EMPTY_TREE {
            return Err("an empty tree with a root of its own".to_owned());
        }
        Ok(tree)
    }

    /// The largest.
    fn top(&self) -> &KeptHead {
        self.by_size.values().next_back().expect("without a head the check has ended")
    }

    fn fork(&self, older: &KeptHead, newer: &KeptHead, root: Hash, proof: ConsistencyProof) -> CheckError {
        CheckError::Fork(Box::new(Misbehavior {
            log: self.key.name().to_string(),
            older: older.note.clone(),
            newer: newer.note.clone(),
            root_in_newer: root,
            proof,
            seen_at: self.clock.now(),
        }))
    }
}

/// What a server answered for a module version.
enum Answer {
    Record { id: u64, text: String },
    Lookup(bytes::Bytes),
    Refused(String),
}

/// A record as it came, and the head that came along.
struct RawRecord {
    id: u64,
    text: String,
    note: Option<Vec<u8>>,
}

fn parse_lookup(body: &[u8]) -> Result<RawRecord, String> {
    let (id, text, note) = parse_record(body).map_err(|error| error.to_string())?;
    let text = std::str::from_utf8(text).expect("a record that was parsed is UTF-8");
    Ok(RawRecord { id: id.0, text: text.to_owned(), note: Some(note.to_vec()) })
}

async fn ask_one(
    target: Arc<Target>,
    asking: Asking,
    module: ModuleVersion,
) -> Result<Option<Answer>, AuditError> {
    if asking == Asking::Records {
        return Ok(target.recorded(&module).await?.map(|(id, text)| Answer::Record { id, text }));
    }
    Ok(match target.look_up(&module).await? {
        LookedUp::Found(body) => Some(Answer::Lookup(body)),
        LookedUp::Missing => None,
        LookedUp::Refused(said) => Some(Answer::Refused(said)),
    })
}

async fn read_tile(target: Arc<Target>, tile: Tile) -> Result<bytes::Bytes, AuditError> {
    target.tile(&tile).await
}
