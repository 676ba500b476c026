//! Tile paths: `tile/H/L/N[.p/W]`.
//!
//! ```text
//! tile/8/0/x001/x234/067        height 8, level 0, number 1234067, full (256 hashes)
//! tile/8/1/003.p/42             height 8, level 1, number 3, the first 42 hashes
//! tile/8/data/000.p/1           the first record of the log, as text
//! ```
//!
//! H is 1 to 30, L is 0 to 63 or `data`. N is written in groups of three digits, all but the last with an `x`
//! before, so that no directory grows large. `.p/W` is there for partial tiles only, 0 < W < 2^H. There is one
//! way to write each tile, and nothing else is parsed: no signs, no leading zeros, no `.p/256`.

use std::fmt::Write;

use super::number::parse_number;
use super::tile::{MAX_TILE_HEIGHT, MAX_TILE_LEVEL, Tile, TileLevel};
use super::tree::MAX_TREE_SIZE;

/// The path names no tile. Each variant is the part that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TilePathError {
    /// It does not have the form `tile/H/L/N`.
    #[error("a tile path has the form tile/H/L/N or tile/H/L/N.p/W")]
    Form,
    /// The height is no number from 1 to 30.
    #[error("the tile height must be a number from 1 to {MAX_TILE_HEIGHT}")]
    Height,
    /// The level is neither `data` nor a number from 0 to 63.
    #[error("the tile level must be a number from 0 to {MAX_TILE_LEVEL}, or \"data\"")]
    Level,
    /// The number is not written as `x001/234`.
    #[error("the tile number must be groups of three digits, all but the last after an x, as x001/234")]
    Number,
    /// The width is no number from 1 to 2^H - 1.
    #[error("the width of a partial tile must be a number above 0 and below the full width")]
    Width,
}

impl Tile {
    /// Parses a path without a leading slash. What it accepts, [`Tile::path`] writes.
    pub fn parse(path: &str) -> Result<Tile, TilePathError> {
        let rest = path.strip_prefix("tile/").ok_or(TilePathError::Form)?;
        let (height, rest) = rest.split_once('/').ok_or(TilePathError::Form)?;
        let (level, rest) = rest.split_once('/').ok_or(TilePathError::Form)?;
        let height = parse_small(height, MAX_TILE_HEIGHT).filter(|h| *h > 0).ok_or(TilePathError::Height)?;
        let level = match level {
            "data" => TileLevel::Data,
            digits => TileLevel::Hash(parse_small(digits, MAX_TILE_LEVEL).ok_or(TilePathError::Level)?),
        };
        let full = 1u32 << height;
        let (number, width) = match rest.split_once(".p/") {
            None => (rest, full),
            Some((number, width)) => {
                let width = parse_number(width).and_then(|width| u32::try_from(width).ok());
                (number, width.filter(|w| (1..full).contains(w)).ok_or(TilePathError::Width)?)
            }
        };
        let number = parse_tile_number(number).ok_or(TilePathError::Number)?;
        Ok(Tile { height, level, number, width })
    }

    /// The path, without a leading slash: `tile/8/0/x001/234.p/5`.
    pub fn path(&self) -> String {
        let mut path = format!("tile/{}/", self.height);
        let written = match self.level {
            TileLevel::Hash(level) => write!(path, "{level}"),
            TileLevel::Data => write!(path, "data"),
        };
        written.and_then(|()| self.write_number(&mut path)).expect("writing to a string cannot fail");
        path
    }

    fn write_number(&self, path: &mut String) -> std::fmt::Result {
        let groups = self.number.checked_ilog(1000).unwrap_or(0);
        for group in (1..=groups).rev() {
            write!(path, "/x{:03}", self.number / 1000u64.pow(group) % 1000)?;
        }
        write!(path, "/{:03}", self.number % 1000)?;
        if self.is_partial() {
            write!(path, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

fn parse_small(digits: &str, max: u8) -> Option<u8> {
    parse_number(digits).and_then(|number| u8::try_from(number).ok()).filter(|number| *number <= max)
}

/// Parses `x001/x234/067`.
fn parse_tile_number(text: &str) -> Option<u64> {
    let (groups, last) = match text.rsplit_once('/') {
        None => (None, text),
        Some((groups, last)) => (Some(groups), last),
    };
    let mut number = 0u64;
    for (position, group) in groups.into_iter().flat_map(|groups| groups.split('/')).enumerate() {
        let group = parse_group(group.strip_prefix('x')?)?;
        if position == 0 && group == 0 {
            return None;
        }
        number = number.checked_mul(1000)?.checked_add(group)?;
    }
    number = number.checked_mul(1000)?.checked_add(parse_group(last)?)?;
    (number <= MAX_TREE_SIZE.0).then_some(number)
}

fn parse_group(digits: &str) -> Option<u64> {
    let canonical = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if canonical { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_print_back() {
        for (path, height, level, number, width) in [
            ("tile/8/0/000", 8, TileLevel::Hash(0), 0, 256),
            ("tile/8/0/x001/234.p/5", 8, TileLevel::Hash(0), 1234, 5),
            ("tile/3/4/x001/x234/067.p/1", 3, TileLevel::Hash(4), 1_234_067, 1),
            ("tile/3/4/x001/x234/067", 3, TileLevel::Hash(4), 1_234_067, 8),
            ("tile/1/data/x001/000", 1, TileLevel::Data, 1000, 2),
            ("tile/30/63/999.p/1073741823", 30, TileLevel::Hash(63), 999, (1 << 30) - 1),
            ("tile/8/0/x009/x223/x372/x036/x854/x775/807", 8, TileLevel::Hash(0), i64::MAX as u64, 256),
        ] {
            let tile = Tile { height, level, number, width };
            assert_eq!(Tile::parse(path), Ok(tile), "{path}");
            assert_eq!(tile.path(), path);
        }
    }

    #[test]
    fn each_part_is_refused_by_name() {
        use TilePathError::*;
        for (path, want) in [
            ("", Form),
            ("tile", Form),
            ("tile/8/0", Form),
            ("/tile/8/0/000", Form),
            ("tiles/8/0/000", Form),
            ("tile/0/0/000", Height),
            ("tile/31/0/000", Height),
            ("tile/08/0/000", Height),
            ("tile/+8/0/000", Height),
            ("tile/264/0/000", Height),
            ("tile/8/64/000", Level),
            ("tile/8/-1/000", Level),
            ("tile/8/00/000", Level),
            ("tile/8/Data/000", Level),
            ("tile/8/0/", Number),
            ("tile/8/0/0", Number),
            ("tile/8/0/0000", Number),
            ("tile/8/0/x000", Number),
            ("tile/8/0/x000/001", Number),
            ("tile/8/0/001/234", Number),
            ("tile/8/0/x001/x234", Number),
            ("tile/8/0/x01/234", Number),
            ("tile/8/0/X001/234", Number),
            ("tile/8/0/+01", Number),
            ("tile/8/0/000/", Number),
            ("tile/8/0//000", Number),
            ("tile/8/0/000.p", Number),
            ("tile/8/0/x009/x223/x372/x036/x854/x775/808", Number),
            ("tile/8/0/x999/x999/x999/x999/x999/x999/x999/999", Number),
            ("tile/8/0/000.p/", Width),
            ("tile/8/0/000.p/0", Width),
            ("tile/8/0/000.p/256", Width),
            ("tile/8/0/000.p/05", Width),
            ("tile/8/0/000.p/5/", Width),
            ("tile/8/0/000.p/5.p/5", Width),
            ("tile/8/0/000.p/4294967297", Width),
        ] {
            assert_eq!(Tile::parse(path), Err(want), "{path}");
        }
    }
}
