//! What is written parses back, and what parses prints back.

use proptest::prelude::*;

use super::*;

fn any_tile() -> impl Strategy<Value = Tile> {
    let level = prop_oneof![(0..=MAX_TILE_LEVEL).prop_map(TileLevel::Hash), Just(TileLevel::Data)];
    let number = prop_oneof![0..=MAX_TREE_SIZE.0, 0..2000u64, (0..63u32).prop_map(|shift| 1 << shift)];
    (1..=MAX_TILE_HEIGHT, level, number, any::<u32>()).prop_map(|(height, level, number, width)| {
        let full = 1u32 << height;
        Tile { height, level, number, width: width % full + 1 }
    })
}

proptest! {
    #[test]
    fn tiles_parse_back(tile in any_tile()) {
        prop_assert_eq!(Tile::parse(&tile.path()), Ok(tile));
        prop_assert_eq!(tile.is_partial(), tile.path().contains(".p/"));
        prop_assert_eq!(Tile::parse(&tile.full().path()), Ok(tile.full()));
    }

    #[test]
    fn tile_paths_print_back(path in "tile/[0-9+-]{1,2}/([0-9]{1,2}|data|-1)(/x[0-9]{3}|/x000){0,3}/[0-9]{2,4}(\\.p/[0-9]{1,4})?") {
        if let Ok(tile) = Tile::parse(&path) {
            prop_assert_eq!(tile.path(), path);
        }
    }

    #[test]
    fn a_tile_path_with_a_character_changed_is_another_or_none(tile in any_tile(), at in any::<prop::sample::Index>(), to in any::<char>()) {
        let path = tile.path();
        let mut characters: Vec<char> = path.chars().collect();
        let at = at.index(characters.len());
        characters[at] = to;
        let changed: String = characters.into_iter().collect();
        if let Ok(other) = Tile::parse(&changed) {
            prop_assert_eq!(other.path(), &changed[..]);
            prop_assert_eq!(other == tile, changed == path);
        }
    }

    #[test]
    fn heads_parse_back(size in 0..=MAX_TREE_SIZE.0, root in any::<[u8; 32]>(), more in "(\\PC|\\n){0,40}") {
        let head = TreeHead { size: TreeSize(size), root: Hash::from_bytes(root) };
        prop_assert_eq!(TreeHead::parse(&head.format()), Ok(head));
        prop_assert_eq!(TreeHead::parse(&(head.format() + &more)), Ok(head));
    }

    #[test]
    fn heads_print_back(text in "go.sum database tree\n[0-9+ -]{1,3}\n[A-Za-z0-9+/]{42,43}[AEIMQUYcgkosw048=]{1,2}\n") {
        if let Ok(head) = TreeHead::parse(&text) {
            prop_assert_eq!(head.format(), text);
        }
    }

    #[test]
    fn records_parse_back(id in 0..=MAX_TREE_SIZE.0, lines in prop::collection::vec("[^\\x00-\\x1f]{1,30}", 1..4), rest in prop::collection::vec(any::<u8>(), 0..30)) {
        let text = lines.join("\n") + "\n";
        let mut message = format_record(RecordId(id), text.as_bytes()).unwrap();
        message.extend_from_slice(&rest);
        prop_assert_eq!(parse_record(&message), Ok((RecordId(id), text.as_bytes(), &rest[..])));
    }

    #[test]
    fn records_print_back(message in prop::collection::vec(prop::sample::select(&b"0019-+a\n\n\n\r\xc3\xa9"[..]), 0..16)) {
        if let Ok((id, text, rest)) = parse_record(&message) {
            prop_assert_eq!([format_record(id, text).unwrap(), rest.to_vec()].concat(), message);
        }
    }

    #[test]
    fn data_tiles_parse_back(texts in prop::collection::vec("([^\\x00-\\x1f]{1,20}\n){1,3}", 0..6), cut in any::<bool>()) {
        let mut data: Vec<u8> = texts.iter().flat_map(|text| [text.as_bytes(), b"\n"].concat()).collect();
        if cut {
            data.pop();
        }
        let want: Vec<&str> = texts.iter().map(String::as_str).collect();
        prop_assert_eq!(split_data_tile(&data), Ok(want));
    }

    #[test]
    fn hashes_parse_back(bytes in any::<[u8; 32]>()) {
        let hash = Hash::from_bytes(bytes);
        prop_assert_eq!(hash.to_string().parse(), Ok(hash));
        prop_assert_eq!(hash.as_bytes(), &bytes);
    }

    #[test]
    fn storage_positions_split_back(level in 0u8..63, offset in any::<u64>()) {
        // The largest offset whose records all lie below the largest tree.
        let offset = offset % ((MAX_TREE_SIZE.0 >> level).max(1));
        prop_assert_eq!(split_stored_hash_index(stored_hash_index(level, offset)), (level, offset));
    }

    #[test]
    fn plans_of_large_trees_have_every_tile_below_its_parent(size in 1..=MAX_TREE_SIZE.0, height in 1..=MAX_TILE_HEIGHT, ids in prop::collection::vec(any::<u64>(), 0..5)) {
        let head = TreeHead { size: TreeSize(size), root: Hash::EMPTY_TREE };
        let indexes: Vec<HashIndex> = ids.iter().map(|id| stored_hash_index(0, id % size)).collect();
        let plan = TilePlan::new(&head, height, &indexes).unwrap();
        for (position, tile) in plan.tiles().iter().enumerate() {
            prop_assert_eq!(tile.parent(0, head.size), Some(*tile));
            if !tile.is_partial() {
                let parent = tile.parent(1, head.size).unwrap();
                let above = plan.tiles().iter().position(|other| *other == parent);
                prop_assert!(above.is_some_and(|above| above < position), "{} of {}", tile, size);
            }
        }
    }
}
