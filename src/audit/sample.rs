//! The audit of what one go.sum needs, where nobody gives all records.
//!
//! Module proxies pass on look-ups and hash tiles only, and so do those who keep a part of a log. With them it can be checked that the
//! records of a go.sum are what it says, that each is in the tree of the newest head, and that all heads which came along are of
//! that tree too:
//!
//! ```text
//! latest, lookup/M@V…   signed heads, and the record of each module version
//! tile/8/L/N…           those between the records and the root, each verified from the root down ([`TilePlan`])
//! ```
//!
//! Nothing is remembered: the records of the next go.sum are others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use super::finding::{AuditFinding, Findings, Subject};
use super::heads::{Expected, ExpectedHead};
use super::{Ahead, AuditError, AuditOptions, AuditProgress, AuditReport, Target, newest};
use crate::gosum::{GoSumLine, LineKind, ModuleLines};
use crate::module::ModuleVersion;
use crate::note::VerifierKey;
use crate::tlog::{
    Hash, HashIndex, TILE_HEIGHT, Tile, TilePlan, TreeHead, TreeSize, parse_record, stored_hash_index,
    tree_hash, tree_hash_indexes,
};

/// Module versions of one audit: the go.sum of a very large project has 3,000, and each takes a look-up and some tiles of 8 KiB.
pub const MAX_MODULES: usize = 10_000;

/// A record as it was answered.
struct Answered {
    module: ModuleVersion,
    id: u64,
    leaf: Hash,
}

/// What is known so far.
struct Sample {
    key: VerifierKey,
    findings: Findings,
    expected: Expected,
    skipped: Vec<String>,
    records: Vec<Answered>,
    lookups: u64,
}

/// Audits the records of these lines. `progress` is told after each look-up; what was audited before does not matter.
pub async fn audit_lines(
    options: AuditOptions,
    lines: &[GoSumLine],
    progress: impl Fn(AuditProgress),
) -> Result<AuditReport, AuditError> {
    let AuditOptions { target, key, known, jobs, lookups: _, state: _ } = options;
    let target = Arc::new(target);
    let mut wanted: BTreeMap<ModuleVersion, Vec<&GoSumLine>> = BTreeMap::new();
    for line in lines {
        wanted.entry(line.module.clone()).or_default().push(line);
    }
    let total = wanted.len() as u64;
    if wanted.len() > MAX_MODULES {
        return Err(AuditError::TooMany { modules: wanted.len() });
    }
    let (note, mut top) = newest(&target, &key).await?;
    let mut sample = Sample {
        key,
        findings: Findings::default(),
        expected: Expected::default(),
        skipped: Vec::new(),
        records: Vec::new(),
        lookups: 0,
    };
    sample.expected.add("latest".to_owned(), top, note);
    let asks = wanted.keys().map(|module| ask(target.clone(), module.clone()));
    let answers = in_order(jobs, asks, |done| progress(AuditProgress { from: 0, done, total })).await?;
    for ((module, lines), answer) in wanted.iter().zip(answers) {
        sample.take(module, lines, answer);
    }
    // The log may have grown since it was asked for its newest head.
    top = sample.expected.largest().unwrap_or(top);
    for (origin, note) in known {
        sample.expected.open(origin, note, &sample.key, &mut sample.findings);
    }
    sample.skipped.extend(sample.expected.outside(0, top.size.0));
    let heads = sample.expected.up_to(top.size.0);
    sample.keep_below(&top);
    let tiles = sample.compare(&target, jobs, &top, &heads).await?;
    Ok(sample.report(&target, top, tiles, heads.len() as u64))
}

async fn ask(target: Arc<Target>, module: ModuleVersion) -> Result<Option<Bytes>, AuditError> {
    target.answer_of(&module).await
}

async fn read(target: Arc<Target>, tile: Tile) -> Result<Bytes, AuditError> {
    target.tile(&tile).await
}

/// Waits for all of these, `jobs` at once, and returns them in order. `progress` is told how many are done.
pub(crate) async fn in_order<T: Send + 'static>(
    jobs: usize,
    asks: impl Iterator<Item = impl Future<Output = Result<T, AuditError>> + Send + 'static>,
    progress: impl Fn(u64),
) -> Result<Vec<T>, AuditError> {
    let (mut asks, mut ahead, mut done) = (asks.fuse(), VecDeque::new(), Vec::new());
    loop {
        while ahead.len() < jobs.max(1)
            && let Some(ask) = asks.next()
        {
            ahead.push_back(Ahead(tokio::spawn(ask)));
        }
        let Some(mut first) = ahead.pop_front() else { return Ok(done) };
        done.push((&mut first.0).await.expect("a request's task neither panics nor is aborted")?);
        progress(done.len() as u64);
    }
}

impl Sample {
    /// Takes in the answer to a look-up.
    fn take(&mut self, module: &ModuleVersion, lines: &[&GoSumLine], answer: Option<Bytes>) {
        let Some(answer) = answer else {
            self.skipped.push(format!("{module}: this log does not have it"));
            return;
        };
        self.lookups += 1;
        let place = format!("lookup of {module}");
        let (id, text, note) = match parse_record(&answer) {
            Ok(parts) => parts,
            Err(error) => {
                self.findings.push(AuditFinding::new(Subject::Lookups, place, error.to_string()));
                return;
            }
        };
        let found = std::str::from_utf8(text).ok().and_then(|text| ModuleLines::parse(text).ok());
        match found.filter(|found| found.module == *module) {
            Some(found) => self.compare_lines(id.0, &found, lines),
            None => {
                let what = format!("record {id} is not of it: {:?}", String::from_utf8_lossy(text));
                self.findings.push(AuditFinding::new(Subject::Records, place.clone(), what));
            }
        }
        self.expected.open(place, note.to_vec(), &self.key, &mut self.findings);
        self.records.push(Answered { module: module.clone(), id: id.0, leaf: Hash::of_record(text) });
    }

    /// A record that no head holds proves nothing.
    fn keep_below(&mut self, top: &TreeHead) {
        for Answered { module, id, .. } in self.records.extract_if(.., |record| record.id >= top.size.0) {
            let what = format!(
                "it is said to be record {id}, and no signed head has more than {}",
                top.size.records()
            );
            self.findings.push(AuditFinding::new(Subject::Lookups, format!("lookup of {module}"), what));
        }
    }

    fn compare_lines(&mut self, id: u64, found: &ModuleLines, lines: &[&GoSumLine]) {
        for line in lines {
            let logged = match line.kind {
                LineKind::Zip => &found.zip,
                LineKind::GoMod => &found.go_mod,
            };
            if line.hash != *logged {
                let what = format!("go.sum says {}, the log says {logged}", line.hash);
                let place = format!("{}, record {id}", found.module);
                self.findings.push(AuditFinding::new(Subject::Records, place, what));
            }
        }
    }

    /// Reads the tiles, and compares what they say with records and heads. Returns how many there were.
    async fn compare(
        &mut self,
        target: &Arc<Target>,
        jobs: usize,
        top: &TreeHead,
        heads: &[ExpectedHead],
    ) -> Result<u64, AuditError> {
        let leaves = self.records.iter().map(|record| stored_hash_index(0, record.id));
        let roots = heads.iter().flat_map(|head| tree_hash_indexes(head.tree.size));
        let indexes: Vec<HashIndex> = leaves.chain(roots).collect::<BTreeSet<_>>().into_iter().collect();
        let plan =
            TilePlan::new(top, TILE_HEIGHT, &indexes).expect("records and heads are within the largest head");
        let asks = plan.tiles().iter().map(|tile| read(target.clone(), *tile));
        let data = in_order(jobs, asks, |_| ()).await?;
        let count = data.len() as u64;
        let hashes = match plan.finish(&data) {
            Ok(hashes) => hashes,
            Err(error) => {
                let place = format!("below the head of {}", top.size.records());
                self.findings.push(AuditFinding::new(Subject::Tiles, place, error.to_string()));
                return Ok(count);
            }
        };
        let hashes: BTreeMap<HashIndex, Hash> = indexes.into_iter().zip(hashes).collect();
        for Answered { module, id, leaf } in &self.records {
            let logged = hashes[&stored_hash_index(0, *id)];
            if logged != *leaf {
                let what = format!("its hash is {leaf}, the tree has {logged}");
                self.findings.push(AuditFinding::new(
                    Subject::Records,
                    format!("{module}, record {id}"),
                    what,
                ));
            }
        }
        for head in heads {
            let needed: Vec<Hash> =
                tree_hash_indexes(head.tree.size).iter().map(|index| hashes[index]).collect();
            let root = tree_hash(head.tree.size, &needed).expect("the hashes that were asked for");
            if root != head.tree.root {
                self.findings.push(head.is_not_of(root));
            }
        }
        Ok(count)
    }

    fn report(mut self, target: &Target, top: TreeHead, hash_tiles: u64, heads: u64) -> AuditReport {
        self.findings.sort();
        let TreeHead { size: TreeSize(size), root } = top;
        AuditReport {
            log: self.key.name().to_string(),
            url: target.shown(),
            from: 0,
            size,
            root: root.to_string(),
            records: self.records.len() as u64,
            data_tiles: 0,
            hash_tiles,
            heads,
            lookups: self.lookups,
            skipped: self.skipped,
            findings: self.findings,
        }
    }
}
