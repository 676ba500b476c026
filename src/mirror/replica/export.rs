//! Export: a replica as a static checksum database in files, which any web server serves and
//! [anyone](super::bundle) verifies.
//!
//! ```text
//! by windows of 65,536 records, on all cores:
//!   records ──▶ data tile ──▶ leaves ──▶ tile/8/0 ──▶ their roots must be the stored hashes
//!                                                     of level 1
//! each full hash tile's root must be its parent's hash, and the right edge must lead to the signed
//! root
//! delta, then latest: last, after everything before is on the disk
//! ```
//!
//! An export finds what a flipped bit has changed, and never writes it. A file has its name only
//! when it is whole, and `latest` comes last, so an export that is killed leaves no directory that
//! looks like a database, and no archive at all. An export into the directory of an earlier one
//! writes what is new.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::bundle::{BundleError, DELTA, Delta, LATEST, Name, at, tar};
use crate::files;
use crate::store::StoreError;
use crate::store::lock::Exclusive;
use crate::store::remote::SeenHead;
use crate::store::replica::ReplicaReader;
use crate::tlog::{
    ConsistencyProof, Hash, HashIndex, TILE_HEIGHT, TILE_WIDTH, Tile, TileLevel, TilePlan, TreeHead,
    TreeSize, consistency_proof_indexes, new_tiles, prove_consistency, split_data_tile, stored_hash_index,
    tile_root, tree_hash, tree_hash_indexes,
};

/// Data tiles that one thread makes before another takes over.
const WINDOW_TILES: u64 = TILE_WIDTH;
/// Hashes do not compress, names do at any level.
const ZSTD_LEVEL: i32 = 1;

/// Where a file goes, by its name.
type Put<'a> = dyn FnMut(&str, &[u8]) -> Result<(), BundleError> + 'a;

/// Where an export goes, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportTarget {
    /// A directory.
    Directory(PathBuf),
    /// An archive, `….tar.zst`.
    Archive(PathBuf),
}

/// How far an export has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportProgress {
    /// Records that are written.
    pub records: u64,
    /// Records to write.
    pub target: u64,
    /// Bytes of files so far, before compression.
    pub bytes: u64,
    /// Files so far.
    pub files: u64,
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The records below this were not written: a delta, or the directory had them already.
    pub from: TreeSize,
    /// The head that was written as `latest`.
    pub head: TreeHead,
    /// How much was written.
    pub progress: ExportProgress,
}

impl ExportTarget {
    /// Chooses an archive if the name says so.
    pub fn of(path: &Path) -> ExportTarget {
        let is_archive = path.to_string_lossy().ends_with(".tar.zst");
        if is_archive {
            ExportTarget::Archive(path.to_owned())
        } else {
            ExportTarget::Directory(path.to_owned())
        }
    }
}

/// Exports the newest head of the log `name` that is stored, and everything below it; with `from`,
/// what is new since that size. Blocks. `progress` is called after each window, and may end it there.
pub fn export(
    reader: &ReplicaReader,
    name: &str,
    target: &ExportTarget,
    from: Option<TreeSize>,
    progress: &mut dyn FnMut(ExportProgress) -> ControlFlow<()>,
) -> Result<Exported, BundleError> {
    let head = reader.head().ok_or_else(|| BundleError::NoHead { log: name.to_owned() })?;
    let newest = head.tree.size;
    if let Some(from) = from
        && !(TreeSize(1)..newest).contains(&from)
    {
        return Err(BundleError::NoDelta { from, newest });
    }
    match target {
        ExportTarget::Directory(directory) => {
            let (_lock, since) = enter(directory, reader, from.is_some())?;
            let made = Made::new(reader, name, head, from, since)?;
            let from = from.unwrap_or(since);
            // A window is written where it is made: on all cores.
            let make = |window| {
                let (mut files, mut bytes) = (0, 0);
                let records = made.window(window, &mut |name, body| {
                    (files, bytes) = (files + 1, bytes + body.len() as u64);
                    write_file(&directory.join(name), body)
                })?;
                Ok((records, files, bytes))
            };
            let mut done = made.start();
            in_order(made.windows.clone(), make, |(records, files, bytes)| {
                done.add(records, files, bytes);
                go_on(progress(done))
            })?;
            made.rest(&mut |name, body| {
                done.add(0, 1, body.len() as u64);
                write_file(&directory.join(name), body)
            })?;
            // One sync for all files: only then may the head say that they are there.
            sync_all(directory)?;
            write_file(&directory.join(LATEST), made.head.note.as_bytes())?;
            sync_all(directory)?;
            Ok(Exported { from, head: made.head.tree, progress: done })
        }
        ExportTarget::Archive(path) => {
            archive(&Made::new(reader, name, head, from, TreeSize(0))?, path, progress)
        }
    }
}

fn archive(
    made: &Made<'_>,
    path: &Path,
    progress: &mut dyn FnMut(ExportProgress) -> ControlFlow<()>,
) -> Result<Exported, BundleError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    let mut file =
        tempfile::Builder::new().permissions(everyone).tempfile_in(directory).map_err(at(directory))?;
    let mut done = made.start();
    let packed = zstd::Encoder::new(BufWriter::with_capacity(1 << 20, file.as_file_mut()), ZSTD_LEVEL)
        .map_err(at(path))?;
    let mut out = ::tar::Builder::new(packed);
    let make = |window| {
        let mut files = Vec::new();
        let records = made.window(window, &mut |name, body| {
            files.push((name.to_owned(), body.to_owned()));
            Ok(())
        })?;
        Ok((records, files))
    };
    in_order(made.windows.clone(), make, |(records, files)| {
        for (name, body) in &files {
            tar::write_file(&mut out, name, body).map_err(at(path))?;
            done.add(0, 1, body.len() as u64);
        }
        done.records += records;
        go_on(progress(done))
    })?;
    made.rest(&mut |name, body| {
        done.add(0, 1, body.len() as u64);
        tar::write_file(&mut out, name, body).map_err(at(path))
    })?;
    let note = made.head.note.as_bytes();
    tar::write_file(&mut out, LATEST, note)
        .and_then(|()| out.into_inner()?.finish()?.into_inner().map_err(io::Error::from).map(drop))
        .map_err(at(path))?;
    file.as_file().sync_all().map_err(at(path))?;
    file.persist(path).map_err(|error| at(path)(error.error))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory))?;
    Ok(Exported { from: made.from, head: made.head.tree, progress: done })
}

/// What is to be made, from one state of the replica.
struct Made<'a> {
    reader: &'a ReplicaReader,
    head: Arc<SeenHead>,
    from: TreeSize,
    /// Of 256 data tiles each.
    windows: Range<u64>,
    /// The first data tile that is new.
    first: u64,
    /// Tiles of level 1 and up.
    upper: Vec<Tile>,
    delta: Option<String>,
}

impl<'a> Made<'a> {
    fn new(
        reader: &'a ReplicaReader,
        name: &str,
        head: Arc<SeenHead>,
        from: Option<TreeSize>,
        since: TreeSize,
    ) -> Result<Made<'a>, BundleError> {
        let (size, old) = (head.tree.size, from.unwrap_or(since));
        let first = old.0 / TILE_WIDTH;
        // A tree that has not grown has no new tiles, and its windows are none.
        let windows = if old == size {
            0..0
        } else {
            first / WINDOW_TILES..size.0.div_ceil(TILE_WIDTH).div_ceil(WINDOW_TILES)
        };
        let is_upper = |tile: &Tile| matches!(tile.level, TileLevel::Hash(1..));
        let mut upper: Vec<Tile> = new_tiles(TILE_HEIGHT, old, size).into_iter().filter(is_upper).collect();
        let mut made = Made { reader, head, from: old, windows, first, upper: Vec::new(), delta: None };
        // The right edge leads to the signed root, and from the tiles of the old edge a delta goes
        // on.
        let indexes = from.map(tree_hash_indexes).unwrap_or_default();
        let (hashes, edge) = made.hashes(&indexes)?;
        if let Some(from) = from {
            upper.extend(edge.into_iter().filter(is_upper));
            upper.sort();
            upper.dedup();
            let root = tree_hash(from, &hashes).expect("as many hashes as were planned");
            made.delta = Some(made.delta(name, TreeHead { size: from, root })?);
        }
        made.upper = upper;
        Ok(made)
    }

    fn start(&self) -> ExportProgress {
        ExportProgress {
            target: self.head.tree.size.0 - self.first * TILE_WIDTH,
            ..ExportProgress::default()
        }
    }

    /// Reads hashes of the signed tree, verified, and the tiles that they were verified with.
    fn hashes(&self, indexes: &[HashIndex]) -> Result<(Vec<Hash>, Vec<Tile>), BundleError> {
        let plan = TilePlan::new(&self.head.tree, TILE_HEIGHT, indexes).expect("the hashes are of this tree");
        let body = |tile: &Tile| Ok(bytes_of(&self.hash_tile(tile)?));
        let bodies = plan.tiles().iter().map(body).collect::<Result<Vec<Vec<u8>>, StoreError>>()?;
        let hashes = plan.finish(&bodies).map_err(|error| damaged("hash tiles", error.to_string()))?;
        Ok((hashes, plan.tiles().to_vec()))
    }

    fn delta(&self, name: &str, old: TreeHead) -> Result<String, BundleError> {
        let new = self.head.tree;
        let indexes =
            consistency_proof_indexes(new.size, old.size).expect("the older tree is smaller, not empty");
        let (hashes, _) = self.hashes(&indexes)?;
        let proof: ConsistencyProof =
            prove_consistency(new.size, old.size, &hashes).expect("as many hashes as were planned");
        let known = self.reader.heads(TreeSize(old.size.0 + 1), 1)?.pop();
        let old_note = known.filter(|head| head.tree == old).map(|head| head.note);
        Ok(Delta { log: name.to_owned(), old, new, proof, old_note }.format())
    }

    /// Reads the hashes of a tile at its width in the signed tree; the replica may be further by
    /// now.
    fn hash_tile(&self, tile: &Tile) -> Result<Vec<Hash>, StoreError> {
        let TileLevel::Hash(level) = tile.level else { panic!("{tile} is not a hash tile") };
        let mut hashes = self.reader.tile(level, tile.number)?.unwrap_or_default();
        if hashes.len() < tile.width as usize {
            return Err(damaged(&tile.path(), format!("only {} hashes are stored", hashes.len())));
        }
        hashes.truncate(tile.width as usize);
        Ok(hashes)
    }

    /// Makes the data tiles of a window and the hash tiles of level 0. Returns the records.
    fn window(&self, window: u64, put: &mut Put<'_>) -> Result<u64, BundleError> {
        let size = self.head.tree.size.0;
        let tiles =
            self.first.max(window * WINDOW_TILES)..size.div_ceil(TILE_WIDTH).min((window + 1) * WINDOW_TILES);
        let width = (size / TILE_WIDTH).saturating_sub(window * WINDOW_TILES).min(TILE_WIDTH) as u32;
        let parent = Tile { height: TILE_HEIGHT, level: TileLevel::Hash(1), number: window, width };
        let roots = if width > 0 { self.hash_tile(&parent)? } else { Vec::new() };
        let (mut data, mut records) = (String::new(), 0);
        for number in tiles {
            let ids = number * TILE_WIDTH..size.min((number + 1) * TILE_WIDTH);
            data.clear();
            let width = self.reader.push_data(ids.clone(), &mut data)?;
            let place = || format!("records {} to {}", ids.start, ids.end - 1);
            let texts =
                split_data_tile(data.as_bytes()).map_err(|error| damaged(&place(), error.to_string()))?;
            let leaves: Vec<Hash> = texts.iter().map(|text| Hash::of_record(text.as_bytes())).collect();
            if leaves.len() as u64 != ids.end - ids.start {
                return Err(damaged(&place(), format!("only {} are stored", leaves.len())).into());
            }
            // The tile at the right edge was compared when the edge was.
            if width == TILE_WIDTH && roots[(number % TILE_WIDTH) as usize] != tile_root(&leaves) {
                let why = "their root is not the one that the signed tree has".to_owned();
                return Err(damaged(&place(), why).into());
            }
            records += width;
            let tile = Tile { height: TILE_HEIGHT, level: TileLevel::Data, number, width: width as u32 };
            put(&tile.path(), data.as_bytes())?;
            put(&Tile { level: TileLevel::Hash(0), ..tile }.path(), &bytes_of(&leaves))?;
        }
        Ok(records)
    }

    /// Makes the other hash tiles, and the file of a delta.
    fn rest(&self, put: &mut Put<'_>) -> Result<(), BundleError> {
        for tile in &self.upper {
            let hashes = self.hash_tile(tile)?;
            if !tile.is_partial() {
                let TileLevel::Hash(level) = tile.level else { panic!("{tile} is not a hash tile") };
                let index = stored_hash_index((level + 1) * TILE_HEIGHT, tile.number);
                let root = tile_root(&hashes);
                if self.hash_tile(&Tile::for_hash_index(TILE_HEIGHT, index))?.last() != Some(&root) {
                    let why = "its root is not the one that the tile above it has".to_owned();
                    return Err(damaged(&tile.path(), why).into());
                }
            }
            put(&tile.path(), &bytes_of(&hashes))?;
        }
        if let Some(delta) = &self.delta {
            put(DELTA, delta.as_bytes())?;
        }
        Ok(())
    }
}

impl ExportProgress {
    fn add(&mut self, records: u64, files: u64, bytes: u64) {
        self.records += records;
        self.files += files;
        self.bytes += bytes;
    }
}

fn go_on(progress: ControlFlow<()>) -> Result<(), BundleError> {
    if progress.is_break() { Err(BundleError::Stopped) } else { Ok(()) }
}

/// Calls `make` for each window on all cores, and `take` with the results in order. At most two
/// results a thread wait to be taken.
fn in_order<T: Send>(
    windows: Range<u64>,
    make: impl Fn(u64) -> Result<T, BundleError> + Sync,
    mut take: impl FnMut(T) -> Result<(), BundleError>,
) -> Result<(), BundleError> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        let made: Vec<_> = (0..threads)
            .map(|thread| {
                let (sender, receiver) = sync_channel(1);
                let (make, windows) = (&make, windows.clone().skip(thread).step_by(threads));
                scope.spawn(move || {
                    for window in windows {
                        // Nobody takes it any more after a failure elsewhere.
                        if sender.send(make(window)).is_err() {
                            return;
                        }
                    }
                });
                receiver
            })
            .collect();
        for (at, _) in windows.enumerate() {
            take(made[at % threads].recv().expect("a thread ends after its last window")?)?;
        }
        Ok(())
    })
}

/// Makes a directory ready, and locks it. Returns the size of the tree that is in it already.
fn enter(
    directory: &Path,
    reader: &ReplicaReader,
    is_delta: bool,
) -> Result<(Exclusive, TreeSize), BundleError> {
    fs::create_dir_all(directory).map_err(at(directory))?;
    let occupied = |why: String| BundleError::Occupied { path: directory.to_owned(), why };
    let lock = File::open(directory).and_then(Exclusive::try_of).map_err(at(directory))?;
    let lock = lock.map_err(|_| occupied("is being written by another export".to_owned()))?;
    let mut there = None;
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let name = entry.map_err(at(directory))?.file_name();
        match name.to_str() {
            // What an export that was killed has left is written again.
            Some("tile" | ".latest.tmp") => {}
            Some(DELTA | ".delta.tmp") if is_delta => {}
            Some(LATEST) => {
                let note = files::read_regular(&directory.join(LATEST), Name::Latest.max_bytes())
                    .map_err(at(directory))?;
                there = Some(String::from_utf8_lossy(&note).into_owned());
            }
            _ => return Err(occupied(format!("holds {}", name.display()))),
        }
    }
    let Some(note) = there else { return Ok((lock, TreeSize(0))) };
    if is_delta {
        return Err(occupied("holds an export".to_owned()));
    }
    let size = crate::tlog::TreeHead::parse(&note).map(|tree| tree.size).unwrap_or_default();
    let known = reader.heads(TreeSize(size.0.saturating_add(1)), 1)?.pop();
    // Only what this replica has exported itself is taken for whole.
    match known.filter(|known| known.note == note) {
        Some(known) => Ok((lock, known.tree.size)),
        None => Err(occupied("holds a log with a head that is not known here".to_owned())),
    }
}

/// Writes a file that has its name only when it is whole.
fn write_file(path: &Path, body: &[u8]) -> Result<(), BundleError> {
    let name = path.file_name().expect("a tile has a name").to_string_lossy();
    let scratch = path.with_file_name(format!(".{name}.tmp"));
    let file = match File::create(&scratch) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().expect("a tile is in a directory");
            fs::create_dir_all(directory).map_err(at(directory))?;
            File::create(&scratch)
        }
        created => created,
    };
    file.and_then(|mut file| file.write_all(body)).and_then(|()| fs::rename(&scratch, path)).map_err(at(path))
}

/// Makes everything durable on the disk of this directory.
fn sync_all(directory: &Path) -> Result<(), BundleError> {
    let synced = File::open(directory).and_then(|file| Ok(rustix::fs::syncfs(&file)?));
    synced.map_err(at(directory))
}

fn bytes_of(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

fn damaged(place: &str, why: String) -> StoreError {
    StoreError::Damaged { place: place.to_owned(), why }
}
