//! Tree heads: what parses begins with what it formats to; every head of an allowed size parses from its text, alone
//! and out of a signed note, and no other does.

#![no_main]
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tallystick::note::{SignerKey, open, sign};
use tallystick::tlog::{Hash, MAX_TREE_SIZE, TreeHead, TreeHeadError, TreeSize};
use tallystick_fuzz::Input;

static SIGNER: LazyLock<SignerKey> =
    LazyLock::new(|| SignerKey::generate("sum.corp.example".parse().expect("a key name"), [1; 32]));

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(head) = TreeHead::parse(text)
    {
        assert!(text.starts_with(&head.format()), "{text:?}");
        check_head(head, text);
    }
    let mut input = Input::new(data);
    let head = TreeHead { size: TreeSize(input.number()), root: Hash::from_bytes(input.array()) };
    let more = String::from_utf8_lossy(input.rest());
    check_head(head, &format!("{}{more}", head.format()));
});

/// `text` begins with the head's own text.
fn check_head(head: TreeHead, text: &str) {
    if head.size > MAX_TREE_SIZE {
        return assert_eq!(TreeHead::parse(text), Err(TreeHeadError::Size));
    }
    assert_eq!(TreeHead::parse(text), Ok(head));
    assert_eq!(TreeHead::parse(&head.format()), Ok(head));
    // A text with control characters is in no note.
    if let Ok(message) = sign(text, &[&SIGNER]) {
        let note = open(message.as_bytes(), &[&SIGNER.verifier()]).expect("what was signed opens");
        assert_eq!(TreeHead::parse(&note.text), Ok(head));
    }
}
