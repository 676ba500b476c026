//! A replica comes to a signed head: every record of the log, window by window, verified before it
//! is written, as fast as the disk takes it.
//!
//! ```text
//! signed head ──▶ plan: one window is one hash tile of level 1, 65,536 records
//!   for each window, a few ahead of the one that is being written:
//!     tile/8/1/W and its parents    verified up to the signed root (TilePlan)
//!     tile/8/data/N, many at once   split, hashed; the root of its leaves must be the verified
//!                                   hash; packed. On all cores
//!   in order, one thread:           segments, synced; then one transaction: hash tiles, index,
//!                                   edge; the head with the last one
//! ```
//!
//! What a window adds becomes visible as a whole, so a run that is killed anywhere goes on where
//! the last window ended. The records after the last full tile are compared with the hashes of their
//! own tile, which is at the right edge of the signed tree; and before a head is written, the root
//! of everything that is stored is computed again from the edge.
//!
//! Architecture invariant: bytes of a source reach the database by way of [`check_full`] and
//! [`check_edge`] only, which are beside the reader of data tiles.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::progress::{ReplicaProgress, ReplicateOptions, Replicated};
use crate::crew::{Crew, blocking};
use crate::mirror::view::{
    DataTileCounts, DataTileReader, LATEST, LogVerifier, PATIENCE, RecordsError, RemoteError, RemoteLog,
    TileVerdict, check_edge, check_full,
};
use crate::store::remote::SeenHead;
use crate::store::replica::{Edge, PackedTile, Replica, TRAINING_TILES, Window};
use crate::store::{FullTile, StoreError};
use crate::tlog::{
    Hash, HashIndex, TILE_HEIGHT, TILE_WIDTH, Tile, TileLevel, TreeHead, TreeSize, edge_root, hashes_at,
    push_tile_root, split_data_tile, stored_hash_index, tree_hash, tree_hash_indexes,
};

/// Data tiles of a window: those of one hash tile of level 1.
const WINDOW_TILES: u64 = TILE_WIDTH;
/// Windows that are fetched while one is written. Each holds some 6 MB of packed records. With half
/// as many, cores wait for the writer whenever it merges.
const WINDOWS_AHEAD: usize = 6;
/// The level of a data tile's root in the tree.
const ROOT_LEVEL: u8 = TILE_HEIGHT;

/// Brings a replica to a head of this log that was [seen](RemoteLog::advance). Calls `progress`
/// after each commit. A replica that is there already, or beyond, stays as it is.
///
/// Dropping the future ends the run after the commit under way.
pub async fn replicate(
    log: &RemoteLog,
    store: &Replica,
    head: &SeenHead,
    options: ReplicateOptions,
    progress: impl Fn(ReplicaProgress),
) -> Result<Replicated, RecordsError> {
    replicate_from(&log.verifier(), store, head, options, progress).await
}

/// Does the same from wherever `verifier` reads the log.
pub(super) async fn replicate_from(
    verifier: &Arc<LogVerifier>,
    store: &Replica,
    head: &SeenHead,
    options: ReplicateOptions,
    progress: impl Fn(ReplicaProgress),
) -> Result<Replicated, RecordsError> {
    verifier.known().check_running()?;
    let edge = begin(verifier, store, head).await?;
    let from = edge.size;
    let run = Arc::new(WindowRun {
        verifier: verifier.clone(),
        store: store.clone(),
        head: head.clone(),
        reader: DataTileReader::new(verifier.clone(), options.tries),
        jobs: Semaphore::new(options.jobs.max(1)),
        crew: Crew::new(),
    });
    let is_behind = store.reader().head().is_none_or(|newest| newest.tree.size < head.tree.size);
    if from <= head.tree.size && is_behind {
        run.advance(edge, progress).await?;
    }
    Ok(Replicated { from, progress: run.progress(store.reader().size()) })
}

/// Checks that what a replica has is the beginning of the tree that it is to go to. Returns its
/// edge.
async fn begin(verifier: &Arc<LogVerifier>, store: &Replica, head: &SeenHead) -> Result<Edge, RecordsError> {
    if let Some(newest) = store.reader().head() {
        let deadline = verifier.known().clock.instant() + PATIENCE;
        verifier.compare_stored(&newest, LATEST, deadline).await?;
    }
    // A run that was dropped may still have a commit under way.
    let waiting = store.clone();
    let edge = blocking(move || waiting.edge()).await;
    let stored = tree(&edge);
    if stored.size == TreeSize(0) || stored.size > head.tree.size {
        return Ok(edge);
    }
    let reader = DataTileReader::new(verifier.clone(), 1);
    let hashes = reader.hashes(&head.tree, &tree_hash_indexes(stored.size)).await?;
    let root = tree_hash(stored.size, &hashes).expect("as many hashes as were planned");
    if root == stored.root {
        return Ok(edge);
    }
    let first = stored.size.records();
    let why = format!("its root is {}, that of the log's first {first} is {root}", stored.root);
    Err(StoreError::Damaged { place: "edge of the mirror".to_owned(), why }.into())
}

/// One run, to one head.
struct WindowRun {
    verifier: Arc<LogVerifier>,
    store: Replica,
    head: SeenHead,
    /// All requests of the run pause together.
    reader: DataTileReader,
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

/// Data tiles that are in memory already: those that the dictionary was made of.
type Sampled = Arc<HashMap<u64, Bytes>>;

/// A task that ends when nobody waits for it any more.
struct Ahead(JoinHandle<Result<Prepared, RecordsError>>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl WindowRun {
    /// Brings the replica from the edge to the head, window by window.
    async fn advance(
        self: &Arc<WindowRun>,
        mut edge: Edge,
        progress: impl Fn(ReplicaProgress),
    ) -> Result<(), RecordsError> {
        let (first, size) = (edge.sealed() / TILE_WIDTH, self.head.tree.size.0);
        let sampled = self.train(first).await?;
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
                    Ahead(tokio::spawn(self.clone().prepare(tiles, is_last, sampled.clone()))),
                ));
            }
            let Some((is_last, mut window)) = ahead.pop_front() else { return Ok(()) };
            let prepared = (&mut window.0).await.expect("a window's task neither panics nor is aborted")?;
            edge = self.commit(edge, prepared, is_last).await?;
            progress(self.progress(edge.size));
        }
    }

    fn progress(&self, size: TreeSize) -> ReplicaProgress {
        let DataTileCounts { requests, bytes, retries } = self.reader.counts();
        ReplicaProgress { size, target: self.head.tree.size, requests, bytes, retries }
    }

    /// Makes the dictionary of the names if there is none and enough tiles to make it from. Returns
    /// the tiles that were fetched for it.
    async fn train(self: &Arc<WindowRun>, first: u64) -> Result<Sampled, RecordsError> {
        let full = self.head.tree.size.0 / TILE_WIDTH;
        let tiles = first..(first + TRAINING_TILES).min(WINDOW_TILES).min(full);
        if self.store.is_trained() || first < TRAINING_TILES && tiles.end < first + TRAINING_TILES {
            return Ok(Sampled::default());
        }
        if first >= TRAINING_TILES {
            let store = self.store.clone();
            // A log that was small when it was first mirrored has enough to learn from by now.
            blocking(move || {
                let mut data = String::new();
                store.reader().push_data(0..TRAINING_TILES * TILE_WIDTH, &mut data)?;
                train_on(&store, &[Bytes::from(data)])
            })
            .await?;
            return Ok(Sampled::default());
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
        let (store, samples) = (self.store.clone(), bodies.clone());
        blocking(move || train_on(&store, &samples)).await?;
        Ok(Arc::new((first..).zip(bodies.iter().cloned()).collect()))
    }

    /// Reads the verified roots of full data tiles of one window.
    async fn roots(&self, tiles: Range<u64>) -> Result<Vec<Hash>, RemoteError> {
        let indexes: Vec<HashIndex> = tiles.map(|number| stored_hash_index(ROOT_LEVEL, number)).collect();
        if indexes.is_empty() {
            return Ok(Vec::new());
        }
        self.reader.hashes(&self.head.tree, &indexes).await
    }

    /// Fetches, verifies and packs a window; the last one with the records after the last full
    /// tile.
    async fn prepare(
        self: Arc<WindowRun>,
        tiles: Range<u64>,
        is_last: bool,
        sampled: Sampled,
    ) -> Result<Prepared, RecordsError> {
        let roots = self.roots(tiles.clone()).await?;
        let codec = self.store.codec();
        let mut fetches = JoinSet::new();
        for (number, root) in tiles.zip(roots.iter().copied()) {
            let (run, codec, sampled) = (self.clone(), codec.clone(), sampled.clone());
            fetches.spawn(async move {
                let pack = move |_: &Bytes, texts: &[&str]| codec.pack(number, texts);
                let packed = match sampled.get(&number).cloned() {
                    // It was verified for the dictionary, and is verified again: nothing is packed
                    // unseen.
                    Some(body) => match run.crew.run(move || judge_full(&body, &root, &pack)).await {
                        TileVerdict::Good(packed) => packed,
                        TileVerdict::Failed(error) => return Err(error),
                        TileVerdict::Bad(why) => panic!("data tile {number} has changed in memory: {why}"),
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
        self: &Arc<WindowRun>,
        number: u64,
        root: Hash,
        make: impl Fn(&Bytes, &[&str]) -> Result<T, StoreError> + Clone + Send + 'static,
    ) -> Result<T, RecordsError> {
        let tile = Tile { height: TILE_HEIGHT, level: TileLevel::Data, number, width: TILE_WIDTH as u32 };
        let _job = self.jobs.acquire().await.expect("the semaphore is never closed");
        if self.verifier.transport().is_local() {
            let (run, make) = (self.clone(), make.clone());
            if let Some(made) = self.crew.run(move || run.local_tile(&tile, &root, &make)).await {
                return made;
            }
        }
        let verify = |body: Bytes, _| {
            let make = make.clone();
            self.crew.run(move || judge_full(&body, &root, &make))
        };
        self.reader.read(&tile, verify).await
    }

    /// Does the same from a directory, all of it on one thread: waking twice for a tile costs as
    /// much as reading it. None where the directory does not have it, or what it has is bad: it is
    /// asked for as from any other URL, and the error says what is wrong.
    fn local_tile<T>(
        &self,
        tile: &Tile,
        root: &Hash,
        make: &impl Fn(&Bytes, &[&str]) -> Result<T, StoreError>,
    ) -> Option<Result<T, RecordsError>> {
        let body = self.reader.read_local(tile)?;
        match judge_full(&body, root, make) {
            TileVerdict::Good(made) => Some(Ok(made)),
            TileVerdict::Failed(error) => Some(Err(error)),
            TileVerdict::Bad(_) => None,
        }
    }

    /// Fetches and verifies the records after the last full tile.
    async fn edge_texts(&self) -> Result<Vec<String>, RecordsError> {
        let (size, width) = (self.head.tree.size.0, self.head.tree.size.0 % TILE_WIDTH);
        if width == 0 {
            return Ok(Vec::new());
        }
        let indexes: Vec<HashIndex> = (size - width..size).map(|id| stored_hash_index(0, id)).collect();
        let leaves = self.reader.hashes(&self.head.tree, &indexes).await?;
        let number = size / TILE_WIDTH;
        let tile = Tile { height: TILE_HEIGHT, level: TileLevel::Data, number, width: width as u32 };
        let _job = self.jobs.acquire().await.expect("the semaphore is never closed");
        let leaves = Arc::new(leaves);
        let verify = |body: Bytes, asked: Tile| {
            let leaves = leaves.clone();
            self.crew.run(move || {
                check_edge(&body, &leaves, asked.width).map_or_else(TileVerdict::Bad, TileVerdict::Good)
            })
        };
        self.reader.read(&tile, verify).await
    }

    /// Writes a window. Returns the edge after it.
    async fn commit(
        &self,
        mut edge: Edge,
        Prepared { tiles, roots, texts }: Prepared,
        is_last: bool,
    ) -> Result<Edge, RecordsError> {
        let mut hash_tiles = Vec::new();
        for root in roots {
            push_tile(&mut edge, root, &mut hash_tiles);
        }
        if is_last {
            set_texts(&mut edge, texts);
            let stored = tree(&edge);
            if stored != self.head.tree {
                // Every tile was verified: what was verified and what is about to be written are
                // not the same.
                let why = format!("it has the root {}, the signed head {}", stored.root, self.head.tree.root);
                return Err(StoreError::Damaged {
                    place: format!("tree of size {} in memory", stored.size),
                    why,
                }
                .into());
            }
        }
        // A look-up may have caught it contradicting itself meanwhile: then nothing more of this
        // log is taken in.
        self.verifier.known().check_running()?;
        let head = is_last.then(|| self.head.clone());
        let (store, written) = (self.store.clone(), edge.clone());
        blocking(move || store.commit(Window { tiles, hash_tiles, edge: written, head })).await?;
        Ok(edge)
    }
}

/// Returns what was fetched under a number, in the order of the numbers. The first failure ends the
/// others.
async fn in_order<T: Send + 'static>(
    mut fetches: JoinSet<Result<(u64, T), RecordsError>>,
) -> Result<Vec<T>, RecordsError> {
    let mut fetched = Vec::with_capacity(fetches.len());
    while let Some(done) = fetches.join_next().await {
        fetched.push(done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?);
    }
    fetched.sort_unstable_by_key(|(number, _)| *number);
    Ok(fetched.into_iter().map(|(_, fetched)| fetched).collect())
}

fn train_on(store: &Replica, bodies: &[Bytes]) -> Result<(), StoreError> {
    let texts = bodies.iter().map(|body| split_data_tile(body).expect("the tile was verified"));
    store.train(&texts.flatten().collect::<Vec<_>>())
}

fn judge_full<T>(
    body: &Bytes,
    root: &Hash,
    make: &impl Fn(&Bytes, &[&str]) -> Result<T, StoreError>,
) -> TileVerdict<T> {
    match check_full(body, root) {
        Ok(texts) => match make(body, &texts) {
            Ok(made) => TileVerdict::Good(made),
            Err(error) => TileVerdict::Failed(error.into()),
        },
        Err(why) => TileVerdict::Bad(why),
    }
}

/// Takes in the root of the next full data tile. Tiles of level 1 and up that it completes are
/// added to `full`. Records that were at the edge are in the tile now.
pub(super) fn push_tile(edge: &mut Edge, root: Hash, full: &mut Vec<FullTile>) {
    edge.texts.clear();
    edge.size = TreeSize(edge.sealed() + TILE_WIDTH);
    let number = |level: u8| hashes_at(TILE_HEIGHT, level + 1, edge.size) - 1;
    let completed = push_tile_root(TILE_HEIGHT, &mut edge.levels, root);
    full.extend(completed.into_iter().map(|(level, hashes)| FullTile {
        level,
        number: number(level),
        hashes,
    }));
}

/// Puts the records of the unfinished data tile at the edge, instead of those that were there.
pub(super) fn set_texts(edge: &mut Edge, texts: Vec<String>) {
    assert!((texts.len() as u64) < TILE_WIDTH, "an unfinished tile has at most 255 records");
    edge.size = TreeSize(edge.sealed() + texts.len() as u64);
    edge.texts = texts;
}

/// Returns size and root of the tree that ends at this edge.
pub(super) fn tree(edge: &Edge) -> TreeHead {
    let leaves: Vec<Hash> = edge.texts.iter().map(|text| Hash::of_record(text.as_bytes())).collect();
    TreeHead { size: edge.size, root: edge_root(&edge.levels, &leaves) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::{row_root, tile_root};

    #[test]
    fn the_edge_has_the_root_of_all_records_at_every_size() {
        let texts: Vec<String> = (0..256 * 260 + 7).map(|n| format!("record {n}\n")).collect();
        let leaves: Vec<Hash> = texts.iter().map(|text| Hash::of_record(text.as_bytes())).collect();
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        for number in 0..=260 {
            for width in [0, 1, 2, 7, 255] {
                let end = number * 256 + width;
                if end > texts.len() {
                    continue;
                }
                let mut edge = edge.clone();
                set_texts(&mut edge, texts[number * 256..end].to_vec());
                // Every hundredth tile and the first ones: a root of all records is computed anew
                // each time.
                if number < 4 || number % 64 == 0 || number > 255 {
                    let root = row_root(&leaves[..end]).unwrap_or(Hash::EMPTY_TREE);
                    assert_eq!(tree(&edge), TreeHead { size: TreeSize(end as u64), root });
                }
            }
            if number < 260 {
                push_tile(&mut edge, tile_root(&leaves[number * 256..][..256]), &mut full);
            }
        }
        let [tile] = &full[..] else { panic!("one tile of level 1 is full") };
        assert_eq!((tile.level, tile.number, tile.hashes.len()), (1, 0, 256));
        assert_eq!(edge.level(2), [tile_root(&tile.hashes)]);
    }
}
