//! Checkpoints and cosignatures: ours are opened by torchwood and by formats, torchwood's are opened by us, and what one
//! refuses the other refuses.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tallystick::note::*;
use tallystick::tlog::Checkpoint;

use super::Oracle;

const ROOT: &str = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";

fn log() -> SignerKey {
    SignerKey::generate("sum.corp.example".parse().unwrap(), [1; 32])
}

fn witness(name: &str, seed: u8) -> CosignatureSigner {
    CosignatureSigner::generate(name.parse().unwrap(), [seed; 32])
}

/// A checkpoint signed by the log and cosigned by these.
fn cosigned(text: &str, time: u64, witnesses: &[&CosignatureSigner]) -> String {
    let note = sign(text, &[&log()]).unwrap();
    let cosignatures: Vec<Signature> = witnesses.iter().map(|witness| witness.cosign(text, time)).collect();
    append_signatures(&note, &cosignatures).unwrap()
}

#[test]
fn our_cosignatures_open_elsewhere() {
    let Some(mut oracle) = Oracle::start("our_cosignatures_open_elsewhere", "cosign") else { return };
    let (a, b) = (witness("w.example/a", 2), witness("ü.example/β", 3));
    let vkeys = [log().verifier().to_string(), a.verifier().to_string(), b.verifier().to_string()];
    for text in [
        format!("sum.corp.example\n20852163\n{ROOT}\n"),
        format!("go.sum database tree\n0\n{ROOT}\n"),
        format!("with spaces\n9223372036854775807\n{ROOT}\nextension 1\nextension 2\n"),
    ] {
        for time in [0, 1_679_315_147, MAX_COSIGNATURE_TIME] {
            let note = cosigned(&text, time, &[&a, &b]);
            let answer = oracle.ask(&json!({"do": "open", "vkeys": vkeys, "note": note}));
            let id = |name: &KeyName, id: KeyId| format!("{name}+{id}");
            let signers = [id(log().name(), log().id()), id(a.name(), a.id()), id(b.name(), b.id())];
            assert_eq!(answer["signers"], json!(signers), "{answer}\n{note}");
            // And what was changed opens nowhere.
            let other = note.replacen('\n', "x\n", 1);
            let answer = oracle.ask(&json!({"do": "open", "vkeys": vkeys[1..], "note": other}));
            assert!(answer["error"].as_str().unwrap().contains("invalid signature"), "{answer}");
        }
    }
}

#[test]
fn their_cosignatures_open_here() {
    let Some(mut oracle) = Oracle::start("their_cosignatures_open_here", "cosign") else { return };
    for (seed, name) in [(4, "witness.example.com/w1"), (5, "é")] {
        let text = format!("example.com/behind-the-sofa\n20852163\n{ROOT}\nextension\n");
        let seed_base64 = STANDARD.encode([seed; 32]);
        let theirs = oracle.ask(&json!({"do": "cosign", "name": name, "seed": seed_base64, "text": text}));
        let key: CosignatureVerifier = theirs["vkey"].as_str().unwrap().parse().unwrap();
        assert_eq!(key, witness(name, seed).verifier());
        let note = open(theirs["note"].as_str().unwrap().as_bytes(), &[&key]).unwrap();
        assert_eq!(note.text, text);
        let time = theirs["time"].as_u64().unwrap();
        assert_eq!(cosigned_at(&note.signatures[0]), Some(time));
        // Ed25519 is deterministic: at the same time we would have signed the same bytes.
        assert_eq!(note.signatures[0], witness(name, seed).cosign(&text, time));
    }
}

#[test]
fn checkpoints_are_read_as_torchwood_reads_them() {
    let Some(mut oracle) = Oracle::start("checkpoints_are_read_as_torchwood_reads_them", "cosign") else {
        return;
    };
    // Where we are stricter: an empty origin, and characters that no note can carry.
    let stricter = [format!("\n1\n{ROOT}\n"), format!("o\r\n1\n{ROOT}\n"), format!("o\n1\n{ROOT}\na\r\n")];
    let texts = [
        format!("o\n1\n{ROOT}\n"),
        format!("o\n0\n{ROOT}\na\nb\n"),
        format!("go.sum database tree\n9223372036854775807\n{ROOT}\n"),
        format!("o\n9223372036854775808\n{ROOT}\n"),
        format!("o\n01\n{ROOT}\n"),
        format!("o\n-1\n{ROOT}\n"),
        format!("o\n+1\n{ROOT}\n"),
        format!("o\n1\n{ROOT}"),
        format!("o\n1\n{ROOT}\nx"),
        format!("o\n1\n{ROOT}\n\n"),
        format!("o\n1\n{ROOT}\nx\n\ny\n"),
        format!("o\n1\n{}\n", &ROOT[4..]),
        "o\n1\n\n".to_owned(),
        "o\n".to_owned(),
        String::new(),
    ];
    for text in texts.iter().chain(&stricter) {
        let theirs = oracle.ask(&json!({"do": "checkpoint", "text": text}));
        match Checkpoint::parse(text) {
            Ok(ours) => {
                let extension: String = ours.extension_lines().map(|line| format!("{line}\n")).collect();
                assert_eq!(theirs["error"], json!(null), "{text:?}");
                assert_eq!(theirs["origin"], json!(ours.origin.as_str()), "{text:?}");
                assert_eq!(theirs["size"].as_u64().unwrap_or(0), ours.tree.size.0, "{text:?}");
                assert_eq!(theirs["extension"].as_str().unwrap_or(""), extension, "{text:?}");
            }
            Err(_) => assert_eq!(theirs["error"].is_null(), stricter.contains(text), "{text:?}: {theirs}"),
        }
    }
}

/// The checkpoint of c2sp.org/tlog-cosignature. Its witness's key is not published, but its form and its time are.
#[test]
fn the_example_of_the_specification_has_its_time() {
    let note = format!(
        "example.com/behind-the-sofa\n20852163\n{ROOT}\n\n\
         — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
         — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    );
    let note = parse_unverified(note.as_bytes()).unwrap();
    assert_eq!(Checkpoint::parse(&note.text).unwrap().tree.size.0, 20_852_163);
    let times: Vec<_> = note.signatures.iter().map(cosigned_at).collect();
    assert_eq!(times, [None, Some(1_679_315_147)]);
    for signature in &note.signatures {
        assert_eq!(Signature::parse_line(&signature.format_line()).as_ref(), Some(signature));
    }
}

/// A key that transparency-dev/formats has in its tests as "native algEd25519CosignatureV1 verifier".
#[test]
fn a_foreign_witness_key_prints_back() {
    let vkey = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";
    let key: CosignatureVerifier = vkey.parse().unwrap();
    assert_eq!(
        (key.name().as_str(), key.id(), key.to_string()),
        ("remora.n621.de", KeyId(0xda77_ade7), vkey.into())
    );
}

#[test]
fn duplicated_and_unknown_cosignatures_count_once_and_not_at_all() {
    let (a, b) = (witness("w.example/a", 2), witness("w.example/b", 3));
    let text = format!("sum.corp.example\n1\n{ROOT}\n");
    let note = cosigned(&text, 7, &[&a, &a, &b]);
    assert_eq!(note.lines().count(), 3 + 1 + 3, "a line that is there is not put a second time");
    // A witness that cosigned twice at different times has one verified signature, the first.
    let twice = append_signatures(&note, &[a.cosign(&text, 8)]).unwrap();
    let keys: [&dyn Verifier; 2] = [&log().verifier(), &a.verifier()];
    let opened = open(twice.as_bytes(), &keys).unwrap();
    assert_eq!(opened.signatures.iter().map(cosigned_at).collect::<Vec<_>>(), [None, Some(7)]);
    assert_eq!(opened.unverified.len(), 1, "of b's key nothing is known");
    // A known key with a bad signature fails the whole note, wherever it stands.
    let bad = Signature::new(a.name().clone(), a.id(), &[7; 72]);
    let bad = append_signatures(&sign(&text, &[&log()]).unwrap(), &[bad]).unwrap();
    assert!(matches!(open(bad.as_bytes(), &keys), Err(OpenError::InvalidSignature { .. })));
}

#[test]
fn a_hundred_signatures_and_no_more() {
    let text = format!("sum.corp.example\n1\n{ROOT}\n");
    let note = sign(&text, &[&log()]).unwrap();
    let a = witness("w.example/a", 2);
    let many: Vec<Signature> = (0..99).map(|time| a.cosign(&text, time)).collect();
    let full = append_signatures(&note, &many).unwrap();
    assert!(open(full.as_bytes(), &[&log().verifier()]).is_ok());
    assert_eq!(append_signatures(&full, &[a.cosign(&text, 99)]), Err(SignError::SignerCount { count: 101 }));
    let more = format!("{full}{}\n", a.cosign(&text, 99).format_line());
    assert_eq!(open(more.as_bytes(), &[&log().verifier()]), Err(OpenError::TooManySignatures));
    assert_eq!(parse_unverified(more.as_bytes()), Err(OpenError::TooManySignatures));
}
