//! Entry bundles: the records of a tile as [C2SP tlog-tiles] carries them.
//!
//! ```text
//! 00 06  "a 1\nb\n"     00 02  "c\n"
//! ```
//!
//! Each record after its length, two bytes, big endian: the same texts that a data tile has with blank lines between. And
//! the paths of such logs, which have no height, since it is 8 always:
//!
//! ```text
//! tile/0/x001/234.p/5          for us tile/8/0/x001/234.p/5
//! tile/entries/x001/234.p/5    for us tile/8/data/x001/234.p/5
//! ```
//!
//! [C2SP tlog-tiles]: https://c2sp.org/tlog-tiles

use super::tile::{TILE_HEIGHT, Tile, TileLevel};
use super::tile_path::TilePathError;

/// The bytes are no entry bundle, or a record fits into none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleFormError {
    /// A record is longer than two bytes can say.
    #[error("a record of {length} bytes does not fit into an entry bundle, which takes {}", u16::MAX)]
    TooLong {
        /// Its bytes.
        length: usize,
    },
    /// The bytes end within a record.
    #[error("the entry bundle ends within a record")]
    Cut,
}

/// The bundle of these records.
pub fn format_entry_bundle<'a>(
    texts: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, BundleFormError> {
    let mut bundle = Vec::new();
    for text in texts {
        let length =
            u16::try_from(text.len()).map_err(|_| BundleFormError::TooLong { length: text.len() })?;
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(text);
    }
    Ok(bundle)
}

/// The records of a bundle. How many there must be, the tile's width says.
pub fn split_entry_bundle(mut bundle: &[u8]) -> Result<Vec<&[u8]>, BundleFormError> {
    let mut texts = Vec::new();
    while !bundle.is_empty() {
        let (length, rest) = bundle.split_first_chunk().ok_or(BundleFormError::Cut)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (text, rest) = rest.split_at_checked(length).ok_or(BundleFormError::Cut)?;
        texts.push(text);
        bundle = rest;
    }
    Ok(texts)
}

impl Tile {
    /// Parses a path of tlog-tiles, without a leading slash. What it accepts, [`Tile::tiles_path`] writes.
    pub fn parse_tiles_path(path: &str) -> Result<Tile, TilePathError> {
        let rest = path.strip_prefix("tile/").ok_or(TilePathError::Form)?;
        let tile = match rest.strip_prefix("entries/") {
            Some(number) => Tile::parse(&format!("tile/{TILE_HEIGHT}/data/{number}"))?,
            None => Tile::parse(&format!("tile/{TILE_HEIGHT}/{rest}"))?,
        };
        // Here "data" is no word.
        let is_data = rest.starts_with("data/");
        if is_data { Err(TilePathError::Level) } else { Ok(tile) }
    }

    /// The path of tlog-tiles, without a leading slash.
    ///
    /// # Panics
    ///
    /// When the height is not 8: there are no others.
    pub fn tiles_path(&self) -> String {
        assert!(self.height == TILE_HEIGHT, "tiles of tlog-tiles have the height 8, not {}", self.height);
        let path = self.path();
        match self.level {
            TileLevel::Hash(_) => path.replacen("tile/8/", "tile/", 1),
            TileLevel::Data => path.replacen("tile/8/data/", "tile/entries/", 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles() {
        let texts = [&b"a 1\nb\n"[..], b"", b"c\n"];
        let bundle = format_entry_bundle(texts).expect("short records");
        assert_eq!(bundle, b"\x00\x06a 1\nb\n\x00\x00\x00\x02c\n");
        assert_eq!(split_entry_bundle(&bundle), Ok(texts.to_vec()));
        assert_eq!(split_entry_bundle(b""), Ok(vec![]));
        for length in [1, 2, 7, bundle.len() - 1] {
            assert_eq!(split_entry_bundle(&bundle[..length]), Err(BundleFormError::Cut), "{length}");
        }
        let longest = vec![b'x'; 65_535];
        assert_eq!(format_entry_bundle([&longest[..]]).map(|bundle| bundle.len()), Ok(65_537));
        let longer = vec![b'x'; 65_536];
        assert_eq!(format_entry_bundle([&longer[..]]), Err(BundleFormError::TooLong { length: 65_536 }));
    }

    #[test]
    fn paths() {
        use TilePathError::*;
        for (path, own) in [
            ("tile/0/000", "tile/8/0/000"),
            ("tile/63/x001/234.p/5", "tile/8/63/x001/234.p/5"),
            ("tile/entries/x001/x234/067", "tile/8/data/x001/x234/067"),
            ("tile/entries/000.p/255", "tile/8/data/000.p/255"),
        ] {
            let tile = Tile::parse_tiles_path(path).expect("a path");
            assert_eq!((tile.path().as_str(), tile.tiles_path().as_str()), (own, path));
        }
        for (path, want) in [
            ("tile/8/0/000", Number),
            ("tile/8/data/000", Number),
            ("tile/data/000", Level),
            ("tile/64/000", Level),
            ("tile/00/000", Level),
            ("tile/-1/000", Level),
            ("tile/0/00", Number),
            ("tile/0/1", Number),
            ("tile/0/x000/001", Number),
            ("tile/0/000.p/0", Width),
            ("tile/0/000.p/256", Width),
            ("tile/0/000.p/01", Width),
            ("tile/entries/000.p/256", Width),
            ("tile/entries", Form),
            ("tile/0", Form),
            ("/tile/0/000", Form),
        ] {
            assert_eq!(Tile::parse_tiles_path(path), Err(want), "{path}");
        }
    }
}
