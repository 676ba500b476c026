//! The full mirror: every record of a remote log, verified before it is written, as fast as the disk takes it.
//!
//! ```text
//! signed head ──▶ plan: one window is one hash tile of level 1, 65,536 records
//!   for each window, a few ahead of the one that is being written:
//!     tile/8/1/W and its parents      verified up to the signed root (TilePlan)
//!     tile/8/data/N, many in flight   split, hashed; the root of its leaves must be the verified hash; packed. On all cores
//!   in order, one thread:             segments, synced; then one transaction: hash tiles, index, edge; the head with the last one
//! ```
//!
//! What a window adds becomes visible as a whole, so a run that is killed anywhere goes on where the last window ended. The
//! records after the last full tile are held against the hashes of their own tile, which is at the right edge of
//! the signed tree; and before a head is written, the root of everything that is stored is computed again from the edge.
//!
//! Architecture invariant: bytes of a source reach the database by way of [`check_full`] and [`check_edge`] only.

mod fetch;
mod frontier;
mod records;

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::error::RemoteError;
use super::{Inner, RemoteLog, TILE_HEIGHT, blocking};
use crate::crew::Crew;
use crate::store::remote::SeenHead;
use crate::store::replica::{Edge, PackedTile, Replica, TRAINING_TILES, Window};
use crate::store::{StoreError, TILE_WIDTH};
use crate::tlog::{
    Hash, HashIndex, Tile, TileLevel, TilePlan, TreeHead, TreeSize, split_data_tile, stored_hash_index,
    tile_root, tree_hash, tree_hash_indexes,
};
use fetch::{PATIENCE, Traffic, Verdict};

/// Data tiles of a window: those of one hash tile of level 1.
const WINDOW_TILES: u64 = TILE_WIDTH;
/// Windows that are fetched while one is written. Each holds some 6 MB of packed records. With half as many, cores wait for the
/// writer whenever it merges.
const WINDOWS_AHEAD: usize = 6;
/// The level of a data tile's root in the tree.
const ROOT_LEVEL: u8 = 8;

/// How a log is replicated.
#[derive(Clone, Copy, Debug)]
pub struct ReplicateOptions {
    /// Data tiles in flight at once.
    pub jobs: usize,
    /// How often a tile that no URL has now is asked for, later and later.
    pub tries: u32,
}

impl Default for ReplicateOptions {
    fn default() -> ReplicateOptions {
        // Enough for a line with 100 ms of delay, little enough for the log's operators; eight tries are over a minute.
        ReplicateOptions { jobs: 32, tries: 8 }
    }
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaProgress {
    /// The records that are stored.
    pub size: TreeSize,
    /// The size of the head that the run goes to.
    pub target: TreeSize,
    /// Requests for data tiles so far.
    pub requests: u64,
    /// Bytes of data tiles so far.
    pub bytes: u64,
    /// How often a tile had to be asked for again because no URL had it.
    pub retries: u64,
}

/// What a run has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicated {
    /// The records that were there before.
    pub from: TreeSize,
    /// How it ended.
    pub progress: ReplicaProgress,
}

/// Why a run ended before its head. What was stored stays; the next run goes on there.
#[derive(Debug, thiserror::Error)]
pub enum ReplicateError {
    /// Every URL refuses to give data tiles. Some routes pass only what the `go` command asks for: mirror in mode `on-demand`
    /// there, name another URL, or import a copy.
    #[error("checksum database {log}: no URL gives {path}, so it cannot be mirrored in full: {said}")]
    NoDataTiles {
        /// The log's name.
        log: String,
        /// The tile that was asked for.
        path: String,
        /// What each URL said.
        said: String,
    },
    /// As with a look-up: what does not verify, a log that contradicts itself, no network.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The mirror's own database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RemoteLog {
    /// Brings a mirror to a head, which must be one of this log that was [seen](RemoteLog::advance). `progress` is
    /// told after each commit. A mirror that is there already, or beyond, stays as it is.
    ///
    /// Dropping the future ends the run after the commit under way.
    pub async fn replicate(
        &self,
        replica: &Replica,
        head: &SeenHead,
        options: ReplicateOptions,
        progress: impl Fn(ReplicaProgress),
    ) -> Result<Replicated, ReplicateError> {
        self.0.check_running()?;
        let edge = self.0.begin(replica, head).await?;
        let from = edge.size;
        let run = Arc::new(Run {
            inner: self.0.clone(),
            replica: replica.clone(),
            head: head.clone(),
            options,
            traffic: Traffic::default(),
            jobs: Semaphore::new(options.jobs.max(1)),
            crew: Crew::new(),
        });
        let is_behind = replica.reader().head().is_none_or(|newest| newest.tree.size < head.tree.size);
        if from <= head.tree.size && is_behind {
            run.advance(edge, progress).await?;
        }
        Ok(Replicated { from, progress: run.progress(replica.reader().size()) })
    }
}

impl Inner {
    /// Holds what a mirror has against the head that it is to go to. Returns its edge.
    async fn begin(&self, replica: &Replica, head: &SeenHead) -> Result<Edge, ReplicateError> {
        if let Some(newest) = replica.reader().head() {
            self.hold_to(&newest, self.clock.instant() + PATIENCE).await?;
        }
        // Of a run that was dropped a commit may still be under way.
        let waiting = replica.clone();
        let edge = blocking(move || waiting.edge()).await;
        let stored = frontier::tree(&edge);
        if stored.size == TreeSize(0) || stored.size > head.tree.size {
            return Ok(edge);
        }
        let indexes = tree_hash_indexes(stored.size);
        let hashes = self.hashes(&head.tree, &indexes, &Traffic::default(), 1).await?;
        let root = tree_hash(stored.size, &hashes).expect("as many hashes as were planned");
        if root == stored.root {
            return Ok(edge);
        }
        let why = format!("its root is {}, the log's first {} records have {root}", stored.root, stored.size);
        Err(StoreError::Damaged { place: "edge of the mirror".to_owned(), why }.into())
    }

    /// Reads hashes of a signed tree, with patience for what may pass.
    async fn hashes(
        &self,
        head: &TreeHead,
        indexes: &[HashIndex],
        traffic: &Traffic,
        tries: u32,
    ) -> Result<Vec<Hash>, RemoteError> {
        let plan = TilePlan::new(head, TILE_HEIGHT, indexes).expect("the hashes are of this tree");
        let path = plan.tiles().last().map(Tile::path).unwrap_or_default();
        for attempt in 1.. {
            traffic.wait(self).await;
            match self.tiles.read(&plan, &[], &path, self.clock.instant() + PATIENCE).await {
                Ok(verified) => return Ok(verified.hashes),
                Err(RemoteError::Unavailable { retry_after, .. }) if attempt < tries => {
                    traffic.retries.fetch_add(1, Ordering::Relaxed);
                    traffic.pause(self, attempt, retry_after);
                }
                Err(error) => return Err(error),
            }
        }
        unreachable!("the last try returns")
    }
}

/// One run, to one head.
struct Run {
    inner: Arc<Inner>,
    replica: Replica,
    head: SeenHead,
    options: ReplicateOptions,
    traffic: Traffic,
    /// One for each data tile in flight.
    jobs: Semaphore,
    /// What verifies and packs.
    crew: Crew,
}

/// The part of a window that was not there before, verified and packed.
struct Prepared {
    tiles: Vec<PackedTile>,
    /// The root of each of them.
    roots: Vec<Hash>,
    /// The records after the last full tile, in the last window.
    texts: Vec<String>,
}

/// Data tiles that are here already: those that the dictionary was made of.
type Held = Arc<HashMap<u64, Bytes>>;

/// A task that ends when nobody waits for it any more.
struct Ahead(JoinHandle<Result<Prepared, ReplicateError>>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Run {
    /// From the edge to the head, window by window.
    async fn advance(
        self: &Arc<Run>,
        mut edge: Edge,
        progress: impl Fn(ReplicaProgress),
    ) -> Result<(), ReplicateError> {
        let (first, size) = (edge.sealed() / TILE_WIDTH, self.head.tree.size.0);
        let held = self.train(first).await?;
        let mut windows = first / WINDOW_TILES..=size / TILE_WIDTH / WINDOW_TILES;
        let mut ahead = VecDeque::new();
        loop {
            while ahead.len() < WINDOWS_AHEAD
                && let Some(window) = windows.next()
            {
                let full = size / TILE_WIDTH;
                let tiles = first.max(window * WINDOW_TILES)..full.min((window + 1) * WINDOW_TILES);
                let is_last = window == full / WINDOW_TILES;
                ahead.push_back((
                    is_last,
                    Ahead(tokio::spawn(self.clone().prepare(tiles, is_last, held.clone()))),
                ));
            }
            let Some((is_last, mut window)) = ahead.pop_front() else { return Ok(()) };
            let prepared = (&mut window.0).await.expect("a window's task neither panics nor is aborted")?;
            edge = self.commit(edge, prepared, is_last).await?;
            progress(self.progress(edge.size));
        }
    }

    fn progress(&self, size: TreeSize) -> ReplicaProgress {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let Traffic { requests, bytes, retries, .. } = &self.traffic;
        let target = self.head.tree.size;
        ReplicaProgress {
            size,
            target,
            requests: count(requests),
            bytes: count(bytes),
            retries: count(retries),
        }
    }

    /// Makes the dictionary of the names if there is none and enough tiles to make it from. Returns those that were fetched for it.
    async fn train(self: &Arc<Run>, first: u64) -> Result<Held, ReplicateError> {
        let full = self.head.tree.size.0 / TILE_WIDTH;
        let tiles = first..(first + TRAINING_TILES).min(WINDOW_TILES).min(full);
        if self.replica.is_trained() || first < TRAINING_TILES && tiles.end < first + TRAINING_TILES {
            return Ok(Held::default());
        }
        if first >= TRAINING_TILES {
            let replica = self.replica.clone();
            // A log that was small when it was first mirrored has enough to learn from by now.
            blocking(move || {
                let mut data = String::new();
                replica.reader().push_data(0..TRAINING_TILES * TILE_WIDTH, &mut data)?;
                train_on(&replica, &[Bytes::from(data)])
            })
            .await?;
            return Ok(Held::default());
        }
        let roots = self.roots(tiles.clone()).await?;
        let mut fetches = JoinSet::new();
        for (number, root) in tiles.zip(roots) {
            let run = self.clone();
            fetches.spawn(async move {
                let body = run.full_tile(number, root, |body, _| Ok(body.clone())).await?;
                Ok((number, body))
            });
        }
        let bodies = Arc::new(in_order(fetches).await?);
        let (replica, samples) = (self.replica.clone(), bodies.clone());
        blocking(move || train_on(&replica, &samples)).await?;
        Ok(Arc::new((first..).zip(bodies.iter().cloned()).collect()))
    }

    /// The verified roots of full data tiles of one window.
    async fn roots(&self, tiles: Range<u64>) -> Result<Vec<Hash>, RemoteError> {
        let indexes: Vec<HashIndex> = tiles.map(|number| stored_hash_index(ROOT_LEVEL, number)).collect();
        if indexes.is_empty() {
            return Ok(Vec::new());
        }
        self.inner.hashes(&self.head.tree, &indexes, &self.traffic, self.options.tries).await
    }

    /// Fetches, verifies and packs a window; the last one with the records after the last full tile.
    async fn prepare(
        self: Arc<Run>,
        tiles: Range<u64>,
        is_last: bool,
        held: Held,
    ) -> Result<Prepared, ReplicateError> {
        let roots = self.roots(tiles.clone()).await?;
        let codec = self.replica.codec();
        let mut fetches = JoinSet::new();
        for (number, root) in tiles.zip(roots.iter().copied()) {
            let (run, codec, held) = (self.clone(), codec.clone(), held.clone());
            fetches.spawn(async move {
                let pack = move |_: &Bytes, texts: &[&str]| codec.pack(number, texts);
                let packed = match held.get(&number).cloned() {
                    // It was verified before it was kept, and is verified again: nothing is packed unseen.
                    Some(body) => match run.crew.run(move || judge_full(&body, &root, &pack)).await {
                        Verdict::Good(packed) => packed,
                        Verdict::Failed(error) => return Err(error),
                        Verdict::Bad(why) => panic!("data tile {number} has changed in memory: {why}"),
                    },
                    None => run.full_tile(number, root, pack).await?,
                };
                Ok((number, packed))
            });
        }
        let tiles = in_order(fetches).await?;
        let texts = if is_last { self.edge_texts().await? } else { Vec::new() };
        Ok(Prepared { tiles, roots, texts })
    }

    /// Fetches and verifies a full data tile, and makes something of it.
    async fn full_tile<T: Send + 'static>(
        self: &Arc<Run>,
        number: u64,
        root: Hash,
        make: impl Fn(&Bytes, &[&str]) -> Result<T, StoreError> + Clone + Send + 'static,
    ) -> Result<T, ReplicateError> {
        let tile = Tile { height: TILE_HEIGHT, level: TileLevel::Data, number, width: TILE_WIDTH as u32 };
        let _job = self.jobs.acquire().await.expect("the semaphore is never closed");
        if self.inner.transport.is_local() {
            let (run, make) = (self.clone(), make.clone());
            if let Some(made) = self.crew.run(move || run.local_tile(&tile, &root, &make)).await {
                return made;
            }
        }
        let verify = |body: Bytes, _| {
            let make = make.clone();
            self.crew.run(move || judge_full(&body, &root, &make))
        };
        self.inner.data_tile(&tile, &self.traffic, self.options.tries, verify).await
    }

    /// The same from a directory, all of it on one thread: to be woken twice for a tile costs as much as to read it. None where the
    /// directory does not have it, or what it has is bad: it is asked for as from any other URL, and what is wrong is said.
    fn local_tile<T>(
        &self,
        tile: &Tile,
        root: &Hash,
        make: &impl Fn(&Bytes, &[&str]) -> Result<T, StoreError>,
    ) -> Option<Result<T, ReplicateError>> {
        let body = self.inner.transport.read_local(tile)?.body;
        self.traffic.requests.fetch_add(1, Ordering::Relaxed);
        self.traffic.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        match judge_full(&body, root, make) {
            Verdict::Good(made) => Some(Ok(made)),
            Verdict::Failed(error) => Some(Err(error)),
            Verdict::Bad(_) => None,
        }
    }

    /// Fetches and verifies the records after the last full tile.
    async fn edge_texts(&self) -> Result<Vec<String>, ReplicateError> {
        let (size, width) = (self.head.tree.size.0, self.head.tree.size.0 % TILE_WIDTH);
        if width == 0 {
            return Ok(Vec::new());
        }
        let indexes: Vec<HashIndex> = (size - width..size).map(|id| stored_hash_index(0, id)).collect();
        let leaves = self.inner.hashes(&self.head.tree, &indexes, &self.traffic, self.options.tries).await?;
        let number = size / TILE_WIDTH;
        let tile = Tile { height: TILE_HEIGHT, level: TileLevel::Data, number, width: width as u32 };
        let _job = self.jobs.acquire().await.expect("the semaphore is never closed");
        let leaves = Arc::new(leaves);
        let verify = |body: Bytes, asked: Tile| {
            let leaves = leaves.clone();
            self.crew
                .run(move || check_edge(&body, &leaves, asked.width).map_or_else(Verdict::Bad, Verdict::Good))
        };
        self.inner.data_tile(&tile, &self.traffic, self.options.tries, verify).await
    }

    /// Writes a window. Returns the edge after it.
    async fn commit(
        &self,
        mut edge: Edge,
        Prepared { tiles, roots, texts }: Prepared,
        is_last: bool,
    ) -> Result<Edge, ReplicateError> {
        let mut hash_tiles = Vec::new();
        for root in roots {
            frontier::push_tile(&mut edge, root, &mut hash_tiles);
        }
        if is_last {
            frontier::set_texts(&mut edge, texts);
            let stored = frontier::tree(&edge);
            if stored != self.head.tree {
                // Every tile was verified: what was verified and what is about to be written are not the same.
                let why = format!("it has the root {}, the signed head {}", stored.root, self.head.tree.root);
                return Err(StoreError::Damaged {
                    place: format!("tree of size {} in memory", stored.size),
                    why,
                }
                .into());
            }
        }
        // Caught contradicting itself meanwhile, by a look-up: nothing more of this log is taken in.
        self.inner.check_running()?;
        let head = is_last.then(|| self.head.clone());
        let (replica, written) = (self.replica.clone(), edge.clone());
        blocking(move || replica.commit(Window { tiles, hash_tiles, edge: written, head })).await?;
        Ok(edge)
    }
}

/// What was fetched under a number, in the order of the numbers. The first failure ends the others.
async fn in_order<T: Send + 'static>(
    mut fetches: JoinSet<Result<(u64, T), ReplicateError>>,
) -> Result<Vec<T>, ReplicateError> {
    let mut fetched = Vec::with_capacity(fetches.len());
    while let Some(done) = fetches.join_next().await {
        fetched.push(done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?);
    }
    fetched.sort_unstable_by_key(|(number, _)| *number);
    Ok(fetched.into_iter().map(|(_, fetched)| fetched).collect())
}

fn train_on(replica: &Replica, bodies: &[Bytes]) -> Result<(), StoreError> {
    let texts = bodies.iter().map(|body| split(body).expect("the tile was verified"));
    replica.train(&texts.flatten().collect::<Vec<_>>())
}

/// The records of a data tile, with or without a blank line after the last.
fn split(body: &[u8]) -> Result<Vec<&str>, String> {
    split_data_tile(body).map_err(|error| error.to_string())
}

fn judge_full<T>(
    body: &Bytes,
    root: &Hash,
    make: &impl Fn(&Bytes, &[&str]) -> Result<T, StoreError>,
) -> Verdict<T> {
    match check_full(body, root) {
        Ok(texts) => match make(body, &texts) {
            Ok(made) => Verdict::Good(made),
            Err(error) => Verdict::Failed(error.into()),
        },
        Err(why) => Verdict::Bad(why),
    }
}

/// The records of a full data tile, if they are those under `root`.
fn check_full<'a>(body: &'a [u8], root: &Hash) -> Result<Vec<&'a str>, String> {
    let texts = split(body)?;
    if texts.len() as u64 != TILE_WIDTH {
        return Err(format!("it has {} records, not {TILE_WIDTH}", texts.len()));
    }
    let leaves: Vec<Hash> = texts.iter().map(|text| Hash::of_record(text.as_bytes())).collect();
    let found = tile_root(&leaves);
    if found == *root {
        Ok(texts)
    } else {
        Err(format!("its records have the root {found}, the log's have {root}"))
    }
}

/// The first records of a data tile that was asked for at some width, if they are those with these hashes.
fn check_edge(body: &[u8], leaves: &[Hash], asked: u32) -> Result<Vec<String>, String> {
    let mut texts = split(body)?;
    if texts.len() != asked as usize {
        return Err(format!("it has {} records, not {asked}", texts.len()));
    }
    // Of a full tile only what the signed head covers can be verified, so only that is used.
    texts.truncate(leaves.len());
    for (at, (text, leaf)) in texts.iter().zip(leaves).enumerate() {
        let found = Hash::of_record(text.as_bytes());
        if found != *leaf {
            return Err(format!("its record {at} has the hash {found}, the log's has {leaf}"));
        }
    }
    Ok(texts.into_iter().map(str::to_owned).collect())
}
