//! Checkpoints: what parses prints back; every origin, size and root that one can have parses from its text, with extension lines and
//! without, and out of a signed note; and it is the tree head of the same size and root under another first line.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use tallystick::tlog::{Checkpoint, Hash, MAX_CHECKPOINT_BYTES, MAX_TREE_SIZE, Origin, TreeHead, TreeSize};
use tallystick_fuzz::Input;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(checkpoint) = Checkpoint::parse(text)
    {
        assert_eq!(checkpoint.format(), text);
        assert!(checkpoint.extension_lines().all(|line| !line.is_empty()));
    }
    let mut input = Input::new(data);
    let tree = TreeHead { size: TreeSize(input.number()), root: Hash::from_bytes(input.array()) };
    let lines = String::from_utf8_lossy(input.rest()).into_owned();
    let (first, more) = lines.split_once('\n').unwrap_or((&lines, ""));
    check_made(first, tree, more);
});

fn check_made(first: &str, tree: TreeHead, more: &str) {
    let text = format!("{first}\n{}\n{}\n", tree.size, tree.root);
    let is_good = tree.size <= MAX_TREE_SIZE && text.len() <= MAX_CHECKPOINT_BYTES;
    match first.parse::<Origin>() {
        Ok(origin) if is_good => {
            let checkpoint = Checkpoint::new(origin, tree);
            assert_eq!((checkpoint.format(), Checkpoint::parse(&text)), (text.clone(), Ok(checkpoint)));
        }
        _ => assert!(Checkpoint::parse(&text).is_err(), "{text:?}"),
    }
    let extended = format!("{text}{more}\n");
    if let Ok(checkpoint) = Checkpoint::parse(&extended) {
        assert_eq!((checkpoint.tree, checkpoint.format()), (tree, extended.clone()));
        assert_eq!(checkpoint.extension_lines().collect::<Vec<_>>().join("\n"), more.trim_end_matches('\n'));
    }
    assert!(Checkpoint::parse(extended.trim_end_matches('\n')).is_err(), "the last line must end");
}
