//! Entry bundles and paths of tlog-tiles: a bundle that splits joins to itself; records of any bytes join and split; one that is cut is
//! refused or has fewer records; a path that parses prints back.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use tallystick::tlog::{BundleFormError, Tile, format_entry_bundle, split_entry_bundle};
use tallystick_fuzz::Input;

fuzz_target!(|data: &[u8]| {
    if let Ok(texts) = split_entry_bundle(data) {
        assert_eq!(format_entry_bundle(texts).as_deref(), Ok(data));
    }
    if let Ok(path) = std::str::from_utf8(data)
        && let Ok(tile) = Tile::parse_tiles_path(path)
    {
        assert_eq!(tile.tiles_path(), path);
        assert_eq!(tile.height, 8);
    }
    let mut input = Input::new(data);
    let (width, cut) = (1 + input.choice(300), input.choice(1 << 16));
    let texts: Vec<&[u8]> = input.rest().chunks(width).collect();
    let bundle = format_entry_bundle(texts.iter().copied()).expect("short records");
    assert_eq!(split_entry_bundle(&bundle), Ok(texts.clone()));
    let cut = cut % (bundle.len() + 1);
    match split_entry_bundle(&bundle[..cut]) {
        Ok(some) => assert!(texts.starts_with(&some) && (some.len() < texts.len() || cut == bundle.len())),
        Err(error) => assert_eq!(error, BundleFormError::Cut),
    }
});
