//! Notes: what opens renders to a note that opens to the same; what is signed opens; and whatever is done to a signed
//! note, no other text than the signed one ever opens.

#![no_main]
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tallystick::note::{Note, OpenError, SignerKey, VerifierKey, open, sign};
use tallystick_fuzz::{Input, flip};

/// Keys of the test vectors: the seeds hold notes that they signed.
static SIGNERS: LazyLock<[SignerKey; 2]> = LazyLock::new(|| {
    [("sum.corp.example", 1), ("sum.corp.example", 2)]
        .map(|(name, seed)| SignerKey::generate(name.parse().expect("a key name"), [seed; 32]))
});

fuzz_target!(|data: &[u8]| {
    let verifiers = SIGNERS.each_ref().map(SignerKey::verifier);
    let verifiers = verifiers.each_ref();
    match open(data, &verifiers) {
        Ok(note) => assert_eq!(open(render(&note).as_bytes(), &verifiers), Ok(note)),
        Err(OpenError::Unverified { note }) => {
            let again = open(render(&note).as_bytes(), &verifiers);
            assert_eq!(again, Err(OpenError::Unverified { note }));
        }
        Err(_) => {}
    }
    let mut input = Input::new(data);
    let (position, mask) = (input.choice(1 << 16), input.byte());
    let rest = input.rest();
    let text = format!("{}\n", String::from_utf8_lossy(rest));
    let signers = SIGNERS.each_ref();
    match sign(&text, &signers) {
        Ok(message) => check_signed(&text, &message, &verifiers, (position, mask), rest),
        Err(error) => assert!(text.bytes().any(|byte| byte < b' ' && byte != b'\n'), "{error}: {text:?}"),
    }
});

fn check_signed(
    text: &str,
    message: &str,
    verifiers: &[&VerifierKey],
    (position, mask): (usize, u8),
    tail: &[u8],
) {
    let note = open(message.as_bytes(), verifiers).expect("what was signed opens");
    assert_eq!(
        (note.text.as_str(), note.signatures.len(), note.unverified.len()),
        (text, verifiers.len(), 0)
    );
    assert_eq!(render(&note), message);

    let mut changed = message.as_bytes().to_vec();
    let position = position % changed.len();
    flip(&mut changed, position, mask);
    let extended = [message.as_bytes(), tail].concat();
    for forged in [changed, extended] {
        if let Ok(note) = open(&forged, verifiers) {
            assert_eq!(note.text, text, "opened, but was not signed");
        }
    }
}

fn render(note: &Note) -> String {
    let mut message = format!("{}\n", note.text);
    for signature in note.signatures.iter().chain(&note.unverified) {
        message += &format!("\u{2014} {} {}\n", signature.name, signature.base64);
    }
    message
}
