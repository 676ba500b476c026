//! Signed notes against golang.org/x/mod: `vectors/note.json`, and what must hold for any note.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde::Deserialize;
use tallystick::note::*;

#[derive(Deserialize)]
struct Vectors {
    keys: Vec<Key>,
    vkeys: Vec<KeyCase>,
    skeys: Vec<KeyCase>,
    sign: Vec<SignCase>,
    open: Vec<OpenCase>,
}

#[derive(Deserialize)]
struct Key {
    name: String,
    seed: String,
    id: u32,
    skey: String,
    vkey: String,
}

#[derive(Deserialize)]
struct KeyCase {
    case: String,
    text: String,
    error: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    id: u32,
}

#[derive(Deserialize)]
struct SignCase {
    case: String,
    text: String,
    skeys: Vec<String>,
    error: String,
    #[serde(default)]
    note: String,
}

#[derive(Deserialize)]
struct OpenCase {
    case: String,
    note: String,
    vkeys: Vec<String>,
    error: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    signatures: Vec<(String, u32, String)>,
    #[serde(default)]
    unverified: Vec<(String, u32, String)>,
}

/// Where we refuse, on purpose, what x/mod accepts: (what, case, our error). Nothing else may differ.
const STRICTER: &[(&str, &str, &str)] = &[
    ("vkey", "name with a control character", "Name(KeyNameError)"),
    ("vkey", "id in upper case", "Malformed"),
    ("vkey", "key with a newline", "Malformed"),
    ("vkey", "key with a newline after it", "Malformed"),
    ("vkey", "key of small order", "WeakKey"),
    ("vkey", "key that is no point", "WeakKey"),
    ("skey", "id in upper case", "Malformed"),
    ("skey", "newline after it", "Malformed"),
    ("sign", "control character", "ControlCharacter"),
    ("sign", "carriage return", "ControlCharacter"),
    ("sign", "no key", "SignerCount"),
    ("sign", "one key twice", "DuplicateSigner"),
    ("sign", "101 keys", "SignerCount"),
    ("open", "base64 with stray bits", "SignatureLine"),
];

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/note.json")).expect("tests/vectors/note.json")
}

/// Goes through the cases of one kind: ours agrees with x/mod, except for exactly the rows of [`STRICTER`].
/// `check` gets x/mod's error ("" if it accepts) and returns ours.
fn compare<C>(
    kind: &str,
    cases: &[C],
    name: impl Fn(&C) -> (&str, &str),
    check: impl Fn(&C) -> Option<String>,
) {
    let mut differences = Vec::new();
    for case in cases {
        let (name, theirs) = name(case);
        let stricter = STRICTER.iter().find(|(k, c, _)| (*k, *c) == (kind, name));
        match (theirs, check(case), stricter) {
            ("", None, None) => {}
            ("", Some(ours), Some((_, _, want))) => {
                assert!(ours.starts_with(want), "{kind} {name}: {ours}, not {want}");
                differences.push(name.to_owned());
            }
            ("", Some(ours), None) => panic!("{kind} {name}: x/mod accepts, we say {ours}"),
            (theirs, Some(ours), None) => {
                assert!(same_error(theirs, &ours), "{kind} {name}: {theirs} / {ours}")
            }
            (theirs, None, _) => panic!("{kind} {name}: x/mod says {theirs:?}, we accept"),
            (theirs, Some(_), Some(_)) => {
                panic!("{kind} {name}: listed as stricter, but x/mod says {theirs:?}")
            }
        }
    }
    let listed = STRICTER.iter().filter(|(k, _, _)| *k == kind).count();
    assert_eq!(differences.len(), listed, "{kind}: only {differences:?} are stricter");
    assert!(cases.len() > listed, "{kind}: there are cases");
}

/// Do x/mod's text and our variant mean the same?
fn same_error(theirs: &str, ours: &str) -> bool {
    let variants: &[&str] = match theirs {
        "malformed verifier id" => &["Malformed", "Name"],
        "invalid verifier hash" => &["IdMismatch"],
        "unknown verifier algorithm" => &["Algorithm"],
        "malformed note" => {
            &["Characters", "NoSignatureBlock", "SignatureLine", "TooManySignatures", "NoFinalNewline"]
        }
        "note has no verifiable signatures" => &["Unverified"],
        _ if theirs.starts_with("invalid signature for key ") => &["InvalidSignature"],
        _ if theirs.starts_with("ambiguous key ") => &["AmbiguousKey"],
        _ => panic!("an error of x/mod that is not known here: {theirs}"),
    };
    variants.iter().any(|variant| ours.starts_with(variant))
}

fn error_of<T, E: std::fmt::Debug>(result: &Result<T, E>) -> Option<String> {
    result.as_ref().err().map(|error| format!("{error:?}"))
}

#[test]
fn keys_are_those_of_x_mod() {
    for key in vectors().keys {
        let seed = STANDARD.decode(&key.seed).unwrap().try_into().unwrap();
        let signer = SignerKey::generate(key.name.parse().unwrap(), seed);
        assert_eq!((signer.name().as_str(), signer.id()), (&*key.name, KeyId(key.id)));
        assert_eq!(*signer.to_skey(), key.skey);
        assert_eq!(signer.verifier().to_string(), key.vkey);
        assert_eq!(*key.skey.parse::<SignerKey>().unwrap().to_skey(), key.skey);
        assert_eq!(key.vkey.parse::<VerifierKey>().unwrap(), signer.verifier());
    }
}

#[test]
fn key_texts_against_x_mod() {
    let v = vectors();
    compare(
        "vkey",
        &v.vkeys,
        |c| (&c.case, &c.error),
        |c| {
            let key = c.text.parse::<VerifierKey>();
            if let Ok(key) = &key {
                assert_eq!((key.name().as_str(), key.id()), (&*c.name, KeyId(c.id)), "{}", c.case);
                assert_eq!(key.to_string(), c.text, "{}", c.case);
            }
            error_of(&key)
        },
    );
    compare(
        "skey",
        &v.skeys,
        |c| (&c.case, &c.error),
        |c| {
            let key = c.text.parse::<SignerKey>();
            if let Ok(key) = &key {
                assert_eq!((key.name().as_str(), key.id()), (&*c.name, KeyId(c.id)), "{}", c.case);
                assert_eq!(*key.to_skey(), c.text, "{}", c.case);
            }
            error_of(&key)
        },
    );
}

#[test]
fn signing_against_x_mod() {
    compare(
        "sign",
        &vectors().sign,
        |c| (&c.case, &c.error),
        |c| {
            let signers: Vec<SignerKey> = c.skeys.iter().map(|skey| skey.parse().unwrap()).collect();
            let note = sign(&c.text, &signers.iter().collect::<Vec<_>>());
            if let Ok(note) = &note {
                assert_eq!(*note, c.note, "{}", c.case);
            }
            error_of(&note)
        },
    );
}

#[test]
fn opening_against_x_mod() {
    compare(
        "open",
        &vectors().open,
        |c| (&c.case, &c.error),
        |c| {
            let keys: Vec<VerifierKey> = c.vkeys.iter().map(|vkey| vkey.parse().unwrap()).collect();
            let opened = open(&STANDARD.decode(&c.note).unwrap(), &keys.iter().collect::<Vec<_>>());
            let note = match &opened {
                Ok(note) => Some(note),
                Err(OpenError::Unverified { note }) => Some(&**note),
                Err(_) => None,
            };
            if let Some(note) = note {
                let plain = |list: &[Signature]| -> Vec<(String, u32, String)> {
                    list.iter().map(|s| (s.name.to_string(), s.key_id.0, s.base64.clone())).collect()
                };
                assert_eq!(note.text, c.text, "{}", c.case);
                assert_eq!(plain(&note.signatures), c.signatures, "{}", c.case);
                assert_eq!(plain(&note.unverified), c.unverified, "{}", c.case);
            }
            error_of(&opened)
        },
    );
}

fn signer(name: &str, seed: u8) -> SignerKey {
    SignerKey::generate(name.parse().expect("a key name"), [seed; 32])
}

#[test]
fn every_flipped_bit_of_a_note_is_refused() {
    let key = signer("sum.corp.example", 1);
    let other = signer("other.example", 2);
    let note = sign("go.sum database tree\n1\nAAAA\n", &[&key]).unwrap().into_bytes();
    for known in [vec![key.verifier()], vec![key.verifier(), other.verifier()]] {
        let known: Vec<&VerifierKey> = known.iter().collect();
        assert!(open(&note, &known).is_ok());
        for bit in 0..note.len() * 8 {
            let mut changed = note.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&changed, &known).is_err(), "bit {bit}: {}", changed.escape_ascii());
        }
        for length in 0..note.len() {
            assert!(open(&note[..length], &known).is_err(), "length {length}");
        }
    }
}

#[test]
fn notes_have_a_limit() {
    let key = signer("sum.corp.example", 1);
    let verifier = key.verifier();
    let frame = sign("\n", &[&key]).unwrap().len();
    let text = |length: usize| "x".repeat(length - frame) + "\n";
    let largest = sign(&text(MAX_NOTE_BYTES), &[&key]).unwrap();
    assert_eq!(largest.len(), MAX_NOTE_BYTES);
    assert!(open(largest.as_bytes(), &[&verifier]).is_ok());
    assert_eq!(sign(&text(MAX_NOTE_BYTES + 1), &[&key]), Err(SignError::TooLong));
    assert_eq!(open(&vec![b'\n'; MAX_NOTE_BYTES + 1], &[&verifier]), Err(OpenError::TooLong));
}

#[test]
fn a_note_of_ten_thousand_lines_ends_at_the_limit() {
    let line = "— x AAAAAAA=\n";
    let note = format!("text\n\n{}", line.repeat(10_000));
    assert_eq!(open::<VerifierKey>(note.as_bytes(), &[]), Err(OpenError::TooManySignatures));
}

#[test]
fn errors_name_the_key() {
    let (key, imposter) = (signer("sum.corp.example", 1), signer("sum.corp.example", 2));
    let note = sign("text\n", &[&key]).unwrap();
    let error = open(note.replace("text", "TEXT").as_bytes(), &[&key.verifier()]).unwrap_err();
    assert_eq!(error.to_string(), "invalid signature for key sum.corp.example+915869ce");
    let error = open(note.as_bytes(), &[&imposter.verifier()]).unwrap_err();
    assert_eq!(error.to_string(), "note has no verifiable signatures");
    let OpenError::Unverified { note } = error else { panic!("{error:?}") };
    assert_eq!((note.signatures.len(), note.unverified[0].key_id), (0, key.id()));
}

proptest! {
    #[test]
    fn signed_notes_open(
        text in "([^\\x00-\\x1f]|\\n){0,200}",
        seeds in prop::collection::btree_set(any::<u8>(), 1..4),
        names in prop::collection::vec("[^\\x00-\\x1f+\\s]{1,20}", 4),
    ) {
        let keys: Vec<SignerKey> = seeds.iter().zip(&names).map(|(seed, name)| signer(name, *seed)).collect();
        let verifiers: Vec<VerifierKey> = keys.iter().map(SignerKey::verifier).collect();
        let text = text + "\n";
        let note = sign(&text, &keys.iter().collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(&note, &sign(&text, &keys.iter().collect::<Vec<_>>()).unwrap());
        let opened = open(note.as_bytes(), &verifiers.iter().collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(&opened.text, &text);
        prop_assert_eq!(opened.signatures.len(), keys.len());
        // Each key alone opens it too, and leaves the others aside.
        for verifier in &verifiers {
            let opened = open(note.as_bytes(), &[verifier]).unwrap();
            prop_assert_eq!((opened.signatures.len(), opened.unverified.len()), (1, keys.len() - 1));
        }
    }

    #[test]
    fn keys_print_back(name in "[^\\x00-\\x1f+\\s]{1,40}", seed in any::<[u8; 32]>()) {
        let key = SignerKey::generate(name.parse().unwrap(), seed);
        let again: SignerKey = key.to_skey().parse().unwrap();
        prop_assert_eq!(again.to_skey(), key.to_skey());
        let verifier: VerifierKey = key.verifier().to_string().parse().unwrap();
        prop_assert_eq!(&verifier, &key.verifier());
        prop_assert!(verifier.verify(b"message", &key.sign(b"message")));
        prop_assert!(!verifier.verify(b"massage", &key.sign(b"message")));
    }

    #[test]
    fn what_parses_as_a_key_prints_back(text in "(sum\\.golang\\.org|x)\\+[0-9a-fA-F]{8}\\+[A-Za-z0-9+/]{44}|\\PC{0,60}") {
        if let Ok(key) = text.parse::<VerifierKey>() {
            prop_assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn any_bytes_are_refused_calmly(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let key = signer("x", 1);
        prop_assert!(open(&bytes, &[&key.verifier()]).is_err());
    }
}
