//! The anchor's file, byte by byte: what a crash may tear, what a disk may damage, who may write.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use tallystick::store::StoreError;
use tallystick::store::anchor::{Anchor as _, AnchorWriter, Anchored, FileAnchor};
use tallystick::tlog::{Hash, TreeHead, TreeSize};

use super::{anchored_at, empty, start_time};

const PAGE: usize = 4096;

struct File {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new() -> File {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("anchor");
        File { _directory: directory, path }
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    fn put(&self, bytes: &[u8]) {
        fs::write(&self.path, bytes).unwrap();
    }

    fn read(&self) -> Result<Option<Anchored>, StoreError> {
        FileAnchor::at(&self.path).read()
    }
}

fn head(size: u64) -> TreeHead {
    TreeHead { size: TreeSize(size), root: Hash::of_record(format!("{size}\n").as_bytes()) }
}

/// An anchor that has moved so often.
fn moved(path: &Path, moves: u64) -> Box<dyn AnchorWriter> {
    let mut anchor = FileAnchor::at(path).create(&anchored_at(1, empty()), start_time()).unwrap();
    let mut from = empty();
    for size in 1..=moves {
        anchor.advance(1, &from, &head(size), start_time()).unwrap();
        from = head(size);
    }
    anchor
}

/// A page as the specification above the code says, made without it.
fn page(sequence: u64, anchored: &Anchored) -> Vec<u8> {
    let Anchored { vkey, epoch, tree, stops } = anchored;
    let root = STANDARD.encode(tree.root.as_bytes());
    let mut text = format!(
        "tallystick anchor 1\nsequence {sequence}\nlog {vkey}\nepoch {epoch}\nsize {}\nroot {root}\nstops {stops}\n\
         at 2026-11-21T13:00:00Z\n",
        tree.size.0
    );
    text += &format!("sha256 {}\n", STANDARD.encode(Sha256::digest(text.as_bytes())));
    let mut page = text.into_bytes();
    page.resize(PAGE, 0);
    page
}

#[test]
fn the_file_is_what_its_specification_says() {
    let file = File::new();
    let start = anchored_at(1, empty());
    let mut anchor = FileAnchor::at(&file.path).create(&start, start_time()).unwrap();
    let (one, two) = (page(1, &start), page(2, &start));
    assert!(file.bytes() == [&two[..], &two, &one, &one].concat(), "a new file");
    anchor.claim(1, 2).unwrap();
    let three = page(3, &anchored_at(2, empty()));
    assert!(file.bytes() == [&two[..], &two, &three, &three].concat(), "the other slot is written");
    anchor.remember_stops(7).unwrap();
    let known = Anchored { stops: 7, ..anchored_at(2, empty()) };
    let four = page(4, &known);
    assert!(file.bytes() == [&four[..], &four, &three, &three].concat());
    assert_eq!(file.read().unwrap(), Some(known));
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn it_only_moves_forward_and_only_from_what_is_expected() {
    let file = File::new();
    let mut anchor = moved(&file.path, 5);
    anchor.claim(1, 2).unwrap();
    let conflicts = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Conflict { .. }));
    assert!(conflicts(anchor.claim(1, 3)));
    let (old, new) = (head(5), head(9));
    assert!(conflicts(anchor.advance(1, &old, &new, start_time())));
    assert!(conflicts(anchor.advance(2, &new, &new, start_time())));
    anchor.advance(2, &old, &new, start_time()).unwrap();
    assert!(conflicts(anchor.advance(2, &old, &new, start_time())));
    let beside = TreeHead { size: TreeSize(9), root: Hash::of_record(b"other\n") };
    for back in [old, beside] {
        assert!(anchor.advance(2, &new, &back, start_time()).is_err());
    }
    assert!(anchor.claim(2, 1).is_err());
    // A second process with the same file.
    let (mut other, found) = FileAnchor::at(&file.path).open().unwrap().unwrap();
    assert_eq!(found, anchored_at(2, new));
    other.claim(2, 3).unwrap();
    assert!(conflicts(anchor.advance(2, &new, &head(10), start_time())));
    other.advance(3, &new, &head(10), start_time()).unwrap();
    assert_eq!(file.read().unwrap(), Some(anchored_at(3, head(10))));
    assert!(
        FileAnchor::at(&file.path).create(&anchored_at(1, empty()), start_time()).is_err(),
        "it is not made again"
    );
}

/// A write that stops after any of its bytes leaves the state before it or its own, and the log goes on from both.
#[test]
fn a_write_may_be_torn_anywhere() {
    for moves in [4, 5] {
        let file = File::new();
        let mut anchor = moved(&file.path, moves);
        let before = file.bytes();
        anchor.advance(1, &head(moves), &head(moves + 1), start_time()).unwrap();
        let after = file.bytes();
        let changed: Vec<usize> = (0..after.len()).filter(|at| before[*at] != after[*at]).collect();
        let copy_ends = changed.iter().filter(|at| *at % (2 * PAGE) < PAGE).max().unwrap() + 1;
        for end in changed.iter().map(|at| at + 1) {
            file.put(&[&after[..end], &before[end..]].concat());
            let size = file.read().unwrap().unwrap().tree.size.0;
            assert_eq!(size, if end < copy_ends { moves } else { moves + 1 }, "{moves} moves, {end} bytes");
            let (mut again, found) = FileAnchor::at(&file.path).open().unwrap().unwrap();
            again.advance(1, &found.tree, &head(99), start_time()).unwrap();
            assert_eq!(file.read().unwrap().unwrap().tree, head(99));
        }
        // Sectors arrive in any order: the second copy first.
        let slot = changed[0] / (2 * PAGE) * 2 * PAGE;
        let mut bytes = before.clone();
        bytes[slot + PAGE..slot + 2 * PAGE].copy_from_slice(&after[slot + PAGE..slot + 2 * PAGE]);
        file.put(&bytes);
        assert_eq!(file.read().unwrap().unwrap().tree, head(moves + 1));
    }
}

/// Nothing that the disk does to one page hides the newest head, and nothing that it does to two makes an older one count
/// in silence.
#[test]
fn damage_never_makes_an_older_head_count() {
    let file = File::new();
    drop(moved(&file.path, 5));
    let sound = file.bytes();
    let expected = anchored_at(1, head(5));
    let damage = |bytes: &mut [u8], kind: usize| match kind {
        0 => bytes.fill(0),
        1 => bytes.fill(0xff),
        _ => bytes[PAGE / 60] ^= 1,
    };
    for kind in 0..3 {
        for first in 0..4 {
            let mut bytes = sound.clone();
            damage(&mut bytes[first * PAGE..][..PAGE], kind);
            file.put(&bytes);
            assert_eq!(file.read().unwrap().as_ref(), Some(&expected), "page {first}, damage {kind}");
            for second in first + 1..4 {
                let mut bytes = bytes.clone();
                damage(&mut bytes[second * PAGE..][..PAGE], kind);
                file.put(&bytes);
                match file.read() {
                    Ok(found) => assert_eq!(found.as_ref(), Some(&expected), "{first} and {second}"),
                    Err(StoreError::Damaged { .. }) => assert_eq!(first / 2, second / 2, "one slot"),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    for at in (0..sound.len()).filter(|at| at % PAGE < 400) {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        file.put(&bytes);
        assert_eq!(file.read().unwrap().as_ref(), Some(&expected), "byte {at}");
    }
    for length in [1, 100, PAGE, 2 * PAGE, 3 * PAGE - 1] {
        file.put(&sound[..length]);
        assert!(matches!(file.read(), Err(StoreError::Damaged { .. })), "{length} bytes");
    }
    file.put(&sound[..3 * PAGE]);
    assert_eq!(file.read().unwrap(), Some(expected));
}

#[test]
fn a_key_that_does_not_fit_is_refused() {
    let file = File::new();
    let long = Anchored { vkey: "k".repeat(PAGE), ..anchored_at(0, empty()) };
    assert!(FileAnchor::at(&file.path).create(&long, start_time()).is_err());
    let lines = Anchored { vkey: "a\nb".to_owned(), ..anchored_at(0, empty()) };
    assert!(FileAnchor::at(&file.path).create(&lines, start_time()).is_err());
    assert!(!file.path.exists());
}
