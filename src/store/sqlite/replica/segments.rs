//! Where the segments of a mirror lie: in two files beside its database, which only grow.
//!
//! ```text
//! NAME.full.segments   16 bytes: `tallyseg`, then the mark of the database, little-endian;
//!                      then the segments, one after another
//! NAME.full.places     8 bytes for each segment, little-endian: where it begins; and 8 bytes: where the last one ends
//! ```
//!
//! In SQLite a look-up reads a page of 16 KiB for a segment of 1.4 KB, and a segment is written
//! twice, into the write-ahead log and out of it again. Here it reads the segment, once it is
//! [known](super::places) where that lies, and a segment is written once.
//!
//! The database is what counts. It says how many segments there are and where the last one ends,
//! and is told so when they are synced, not before. What lies behind them the next window is
//! written over. It is not cut off: a commit that was reported as failed may stand after all, when
//! the write-ahead log is read by the next process. One window is packed the same way each time, so
//! that writing it again changes nothing for such a commit. A place has no checksum: a wrong one
//! leads to bytes whose checksum is not that of the segment with this number.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::super::errors::damaged;
use super::super::segment::Why;
use super::SEGMENTS_PER_TILE;
use super::places::KnownPlaces;
use crate::store::durable::sync_name;
use crate::store::{StoreError, private};

const MAGIC: &[u8; 8] = b"tallyseg";
/// Where the first segment begins.
const FIRST_PLACE: u64 = 16;
const PLACE_BYTES: u64 = 8;
/// What is written in large pieces the kernel keeps in large pieces, and finds again sooner.
const WRITE_BYTES: usize = 1 << 20;
/// Segments that are read at once: those of one data tile.
const AT_ONCE: usize = SEGMENTS_PER_TILE;
/// A data tile, which has sixteen times as many records, takes 8 MiB at most.
const MAX_SEGMENT_BYTES: u64 = 9 << 20;

/// The files of one mirror.
#[derive(Debug)]
pub(super) struct Segments {
    bodies: Part,
    places: Part,
    known: KnownPlaces,
}

/// One of the two.
#[derive(Debug)]
struct Part {
    file: File,
    path: PathBuf,
}

/// How many segments there are, and where the last of them ends: where the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) count: u64,
    pub(super) end: u64,
}

impl Bounds {
    pub(super) const NONE: Bounds = Bounds { count: 0, end: FIRST_PLACE };
}

type Header = [u8; FIRST_PLACE as usize];

fn header_of(mark: u64) -> Header {
    let mut header = Header::default();
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..].copy_from_slice(&mark.to_le_bytes());
    header
}

/// What belongs to the database at `path`: segments, and their places.
pub(super) fn paths(database: &Path) -> [PathBuf; 2] {
    [database.with_extension("segments"), database.with_extension("places")]
}

impl Segments {
    /// Opens the files beside `database`, or begins them where it has no segments. `mark` is what
    /// no other database has. Only for who holds the mirror's lock.
    pub(super) fn open(database: &Path, mark: u64, committed: Bounds) -> Result<Segments, StoreError> {
        let open = |path| Part::open(path, committed.count == 0);
        let [bodies, places] = paths(database);
        let segments =
            Segments { bodies: open(bodies)?, places: open(places)?, known: KnownPlaces::default() };
        if committed.count == 0 {
            segments.begin(mark)?;
        } else {
            segments.check(mark, committed)?;
        }
        Ok(segments)
    }

    fn begin(&self, mark: u64) -> Result<(), StoreError> {
        // What is there may be somebody's only copy. After a power cut it may be nothing but zeros.
        let header = self.header()?;
        if header.is_some_and(|found| found != header_of(mark) && found != [0; _]) {
            return Err(self.of_another());
        }
        self.bodies.write(0, &header_of(mark))?;
        self.places.write(0, &FIRST_PLACE.to_le_bytes())?;
        // Both lie in one directory.
        sync_name(&self.bodies.path).map_err(failed(&self.bodies.path))
    }

    /// What the file begins with, if it is as long.
    fn header(&self) -> Result<Option<Header>, StoreError> {
        if self.bodies.length()? < FIRST_PLACE {
            return Ok(None);
        }
        let mut header = Header::default();
        self.bodies.read(0, &mut header, || self.bodies.name())?;
        Ok(Some(header))
    }

    fn of_another(&self) -> StoreError {
        damaged(self.bodies.name())("it does not have the segments of this database".to_owned())
    }

    /// Whether these are the files that the database knows.
    fn check(&self, mark: u64, committed: Bounds) -> Result<(), StoreError> {
        if self.header()? != Some(header_of(mark)) {
            return Err(self.of_another());
        }
        let mut place = [0; PLACE_BYTES as usize];
        self.places.read(committed.count * PLACE_BYTES, &mut place, || self.places.name())?;
        let (place, end) = (u64::from_le_bytes(place), committed.end);
        if place != end {
            let last = committed.count - 1;
            let why = format!(
                "it has segment {last} end at {place}, the database at {end}: one of the two is wrong"
            );
            return Err(damaged(self.places.name())(why));
        }
        let length = self.bodies.length()?;
        if length < end {
            return Err(damaged(self.bodies.name())(format!("{length} bytes where {end} belong")));
        }
        Ok(())
    }

    /// Writes segments after the first `after.count`: runs of bodies that lie one after another,
    /// each with the ends of its bodies. Returns what there is then, which is to be committed after
    /// [`sync`](Segments::sync).
    pub(super) fn append<'a>(
        &self,
        after: Bounds,
        runs: impl Iterator<Item = (&'a [u8], &'a [usize])>,
    ) -> Result<Bounds, StoreError> {
        let (mut end, mut bodies, mut places) = (after.end, Vec::new(), Vec::new());
        for (run, ends) in runs {
            let start = end + bodies.len() as u64;
            places.extend(ends.iter().flat_map(|at| (start + *at as u64).to_le_bytes()));
            bodies.extend_from_slice(run);
            if bodies.len() >= WRITE_BYTES {
                self.bodies.write(end, &bodies)?;
                end += bodies.len() as u64;
                bodies.clear();
            }
        }
        self.bodies.write(end, &bodies)?;
        end += bodies.len() as u64;
        self.places.write((after.count + 1) * PLACE_BYTES, &places)?;
        Ok(Bounds { count: after.count + places.len() as u64 / PLACE_BYTES, end })
    }

    /// When this returns, a power cut cannot take away what was written.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        for part in [&self.bodies, &self.places] {
            part.file.sync_data().map_err(failed(&part.path))?;
        }
        Ok(())
    }

    /// Reads one of the segments that are there.
    pub(super) fn read(&self, segment: u64) -> Result<Vec<u8>, StoreError> {
        let (tile, at) = (segment / AT_ONCE as u64, (segment % AT_ONCE as u64) as usize);
        let range = match self.known.get(tile, at) {
            Some(range) => range,
            None => self.look_up(tile, at)?,
        };
        let mut body = vec![0; (range.end - range.start) as usize];
        self.bodies.read(range.start, &mut body, || segment_name(segment))?;
        Ok(body)
    }

    /// Where a segment of a tile lies; remembers it of all of them, if nothing is wrong with any.
    fn look_up(&self, tile: u64, at: usize) -> Result<Range<u64>, StoreError> {
        let first = tile * AT_ONCE as u64;
        let name = |at: usize| segment_name(first + at as u64);
        let mut places = [0; (AT_ONCE + 1) * PLACE_BYTES as usize];
        self.places.read(first * PLACE_BYTES, &mut places, || name(at))?;
        let ranges: Vec<Result<Range<u64>, Why>> = (0..AT_ONCE).map(|at| range(&places, at)).collect();
        if let Ok(first) = &ranges[0]
            && ranges.iter().all(Result::is_ok)
        {
            let lengths = ranges.iter().flatten().map(|range| range.end - range.start);
            self.known.keep(tile, first.start, lengths);
        }
        ranges.into_iter().nth(at).expect("a tile has as many").map_err(damaged(name(at)))
    }

    /// Goes through segments that are there.
    pub(super) fn each(
        &self,
        numbers: Range<u64>,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut bodies = Vec::new();
        for first in numbers.clone().step_by(AT_ONCE) {
            let count = (numbers.end - first).min(AT_ONCE as u64) as usize;
            let mut places = [0; (AT_ONCE + 1) * PLACE_BYTES as usize];
            let places = &mut places[..(count + 1) * PLACE_BYTES as usize];
            self.places.read(first * PLACE_BYTES, places, || segment_name(first))?;
            let ranges =
                (0..count).map(|at| range(places, at).map_err(damaged(segment_name(first + at as u64))));
            let ranges: Vec<Range<u64>> = ranges.collect::<Result<_, _>>()?;
            let start = ranges[0].start;
            bodies.resize((ranges[count - 1].end - start) as usize, 0);
            self.bodies.read(start, &mut bodies, || segment_name(first))?;
            for (segment, range) in (first..).zip(ranges) {
                each(segment, &bodies[(range.start - start) as usize..(range.end - start) as usize])?;
            }
        }
        Ok(())
    }
}

/// Between which places a segment lies.
fn range(places: &[u8], at: usize) -> Result<Range<u64>, Why> {
    let (places, _) = places.as_chunks();
    let (start, end) = (u64::from_le_bytes(places[at]), u64::from_le_bytes(places[at + 1]));
    match end.checked_sub(start) {
        Some(1..=MAX_SEGMENT_BYTES) if start >= FIRST_PLACE => Ok(start..end),
        _ => Err(format!("it cannot lie between {start} and {end}")),
    }
}

/// How a segment is called where something is wrong with it.
pub(super) fn segment_name(segment: u64) -> String {
    format!("segment {segment}")
}

impl Part {
    fn open(path: PathBuf, may_create: bool) -> Result<Part, StoreError> {
        let opened = private::options().create(may_create).open(&path);
        match opened {
            Ok(file) => Ok(Part { file, path }),
            Err(error) if error.kind() == ErrorKind::NotFound && !may_create => {
                Err(damaged(place_of(&path))("missing, and its database has records".to_owned()))
            }
            Err(error) => Err(failed(&path)(error)),
        }
    }

    /// Fills `bytes`. Where the file ends before, `place` is what is damaged.
    fn read(&self, at: u64, bytes: &mut [u8], place: impl FnOnce() -> String) -> Result<(), StoreError> {
        self.file.read_exact_at(bytes, at).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => damaged(place())("it is cut off".to_owned()),
            _ => failed(&self.path)(error),
        })
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all_at(bytes, at).map_err(failed(&self.path))
    }

    fn length(&self) -> Result<u64, StoreError> {
        Ok(self.file.metadata().map_err(failed(&self.path))?.len())
    }

    fn name(&self) -> String {
        place_of(&self.path)
    }
}

fn place_of(path: &Path) -> String {
    format!("the file {}", path.display())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::File { path: path.display().to_string(), source },
    }
}
