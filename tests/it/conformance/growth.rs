//! Logs that grow over every boundary of the layout: segments of 16, tiles of 256, tiles of tiles.

use tallystick::tlog::{RecordId, TreeSize};

use super::{Place, on_every_store};
use crate::support::logs::{Writer, lines, module};

on_every_store!(ranges_are_right_at_every_boundary, what_is_there_may_be_there);

const SIZES: [u64; 20] = [
    0, 1, 15, 16, 17, 255, 256, 257, 271, 272, 273, 511, 512, 513, 16_383, 16_384, 16_385, 65_535, 65_536,
    65_537,
];

fn ranges_are_right_at_every_boundary(place: &dyn Place) {
    let mut writer = Writer::new(place.open());
    for size in SIZES {
        writer.grow_to(size);
        check(&writer);
    }
    drop(writer);
    check(&Writer::new(place.open()));
}

/// In the newest records, in runs of several sizes, and after another opening.
fn what_is_there_may_be_there(place: &dyn Place) {
    let mut writer = Writer::new(place.open());
    for size in [3, 700, 20_000, 160_000] {
        writer.grow_to(size);
        for _ in 0..2 {
            let modules: Vec<_> = (0..size + 5_000).step_by(7).map(module).collect();
            let (head, epoch) = (writer.tree.head(), writer.epoch);
            let mut transaction = writer.store.begin(Some(&head), epoch).unwrap();
            let may = transaction.may_have(&modules.iter().collect::<Vec<_>>()).unwrap();
            assert_eq!(may.len(), modules.len());
            for (module, may) in modules.iter().zip(&may) {
                let found = transaction.find(module).unwrap();
                assert!(*may || found.is_none(), "{module} of {size}");
            }
            drop(transaction);
            drop(writer);
            writer = Writer::new(place.open());
        }
    }
}

fn check(writer: &Writer) {
    let (reader, size) = (writer.reader(), writer.size());
    for start in SIZES.into_iter().filter(|start| *start <= size + 1) {
        for length in [0, 1, 2, 15, 16, 17, 31, 255, 256, 257] {
            let (ids, there) = (start..start + length, start.min(size)..(start + length).min(size));
            let records = reader.records(ids.clone()).unwrap();
            let (numbers, expected): (Vec<_>, Vec<_>) =
                (records.iter().map(|record| record.id.0).collect(), there.clone().collect());
            assert_eq!(numbers, expected, "records {ids:?} of {size}");
            assert!(
                records.iter().all(|record| record.lines == lines(record.id.0)),
                "records {ids:?} of {size}"
            );
            let leaves: Vec<_> = there.map(|id| writer.tree.leaf(id)).collect();
            assert_eq!(reader.leaves(ids.clone()).unwrap(), leaves, "leaves {ids:?} of {size}");
        }
    }
    assert_eq!(reader.leaves(0..size).unwrap(), (0..size).map(|id| writer.tree.leaf(id)).collect::<Vec<_>>());
    for number in 0..3 {
        let tile = reader.tile(1, number).unwrap();
        assert_eq!(tile.is_some(), size >= (number + 1) << 16, "tile {number} of level 1 at {size}");
        assert!(reader.tile(2, number).unwrap().is_none());
    }
    if size >= 1 << 16 {
        let expected = tallystick::tlog::Tile::parse("tile/8/1/000").unwrap();
        let bytes: Vec<u8> =
            reader.tile(1, 0).unwrap().unwrap().iter().flat_map(|hash| *hash.as_bytes()).collect();
        assert_eq!(bytes, writer.tree.tile(&expected));
    }
    for tile in [0, 1, 2, 63, 255, 256, size / 256].into_iter().chain((size / 256).checked_sub(1)) {
        let expected = (tile < size / 256).then(|| writer.tree.subtrees(tile).roots);
        assert_eq!(reader.subtrees(tile).unwrap(), expected, "subtrees of {tile} of {size}");
    }
    for id in SIZES.into_iter().chain((0..size).step_by(997)) {
        let found = reader.find(&module(id), TreeSize(size)).unwrap();
        assert_eq!(found.map(|record| record.id), (id < size).then_some(RecordId(id)), "of {size}");
        assert_eq!(reader.evidence(RecordId(id)).unwrap().is_some(), id < size, "evidence of {id} of {size}");
    }
}
