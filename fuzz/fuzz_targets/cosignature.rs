//! Cosignatures: one that is made opens, with the time that was said; whatever is done to a cosigned note, no other text opens, and none
//! with another time; a log's signature is no cosignature of the same key, and the other way round.

#![no_main]
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tallystick::note::{
    CosignatureSigner, CosignatureVerifier, MAX_COSIGNATURE_TIME, SignerKey, Verifier, append_signatures,
    cosigned_at, open, sign,
};
use tallystick_fuzz::{Input, flip};

static LOG: LazyLock<SignerKey> =
    LazyLock::new(|| SignerKey::generate("sum.corp.example".parse().expect("a key name"), [1; 32]));
static WITNESS: LazyLock<CosignatureSigner> =
    LazyLock::new(|| CosignatureSigner::generate("witness.example/w".parse().expect("a key name"), [2; 32]));

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(key) = text.parse::<CosignatureVerifier>()
    {
        assert_eq!(key.to_string(), text);
    }
    let mut input = Input::new(data);
    let (time, position, mask) = (input.number() & MAX_COSIGNATURE_TIME, input.choice(1 << 16), input.byte());
    let text = format!("{}\n", String::from_utf8_lossy(input.rest()));
    let Ok(signed) = sign(&text, &[&LOG]) else { return };
    check(&text, &signed, time, (position, mask));
});

fn check(text: &str, signed: &str, time: u64, (position, mask): (usize, u8)) {
    let cosignature = WITNESS.cosign(text, time);
    let note = append_signatures(signed, &[cosignature]).expect("a note with two signatures");
    let (log, witness) = (LOG.verifier(), WITNESS.verifier());
    let keys: [&dyn Verifier; 2] = [&log, &witness];
    let opened = open(note.as_bytes(), &keys).expect("what was signed opens");
    assert_eq!((opened.text.as_str(), opened.signatures.len()), (text, 2));
    assert_eq!(
        opened
            .signatures
            .iter()
            .filter(|s| s.name == *witness.name())
            .filter_map(cosigned_at)
            .collect::<Vec<_>>(),
        [time]
    );

    let mut changed = note.into_bytes();
    let position = position % changed.len();
    flip(&mut changed, position, mask);
    if let Ok(opened) = open(&changed, &[&witness]) {
        assert_eq!((opened.text.as_str(), cosigned_at(&opened.signatures[0])), (text, Some(time)));
    }
    // The log's own key under both algorithms: neither signature passes for the other.
    let own = CosignatureSigner::from(&*LOG).cosign(text, time);
    assert!(!log.verify(text.as_bytes(), &own.bytes()));
    assert!(!CosignatureVerifier::from(&log).verify(text.as_bytes(), &LOG.sign(text.as_bytes())));
}
