//! Keys as text: what parses prints back; every name and public key that a key can have parses from its text, and no
//! text with another id does; what a key signs verifies under its printed and parsed public side.

#![no_main]
#![forbid(unsafe_code)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use tallystick::note::{KeyError, KeyName, SignerKey, VerifierKey};
use tallystick_fuzz::Input;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(key) = text.parse::<VerifierKey>() {
            assert_eq!(key.to_string(), text);
        }
        if let Ok(signer) = text.parse::<SignerKey>() {
            assert_eq!(*signer.to_skey(), text);
        }
    }
    let mut input = Input::new(data);
    let key = input.array();
    if let Ok(name) = std::str::from_utf8(input.rest()) {
        check_public_key(name, &key);
        check_seed(name, key);
    }
});

/// The text is put together here, by the rule of the format, so that the id is right for any name and bytes.
fn check_public_key(name: &str, public: &[u8; 32]) {
    let id = Sha256::new().chain_update(name).chain_update(b"\n\x01").chain_update(public).finalize();
    let id = u32::from_be_bytes([id[0], id[1], id[2], id[3]]);
    let base64 = STANDARD.encode([&[1][..], public].concat());
    let vkey = format!("{name}+{id:08x}+{base64}");
    let is_name = name.parse::<KeyName>().is_ok();
    match vkey.parse::<VerifierKey>() {
        Ok(key) => {
            assert!(is_name);
            assert_eq!((key.to_string(), key.name().as_str(), key.id().0), (vkey, name, id));
            assert_eq!(key.public_bytes(), public);
        }
        Err(error) => assert!(!is_name || error == KeyError::WeakKey, "{error}: {vkey:?}"),
    }
    if is_name {
        let other = format!("{name}+{:08x}+{base64}", id ^ 1);
        assert_eq!(other.parse::<VerifierKey>(), Err(KeyError::IdMismatch));
    }
}

fn check_seed(name: &str, seed: [u8; 32]) {
    let Ok(key_name) = name.parse::<KeyName>() else { return };
    let signer = SignerKey::generate(key_name, seed);
    let again: SignerKey = signer.to_skey().parse().expect("a printed signer key parses");
    assert_eq!(again.to_skey(), signer.to_skey());
    let verifier: VerifierKey = again.verifier().to_string().parse().expect("a printed verifier key parses");
    assert!(verifier == signer.verifier());

    let signature = signer.sign(name.as_bytes());
    assert!(verifier.verify(name.as_bytes(), &signature));
    assert!(!verifier.verify(format!("{name}!").as_bytes(), &signature), "signs another message too");
}
