//! Proof files: ours verify with torchwood, torchwood's with us, and every change to one is refused for its reason.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;
use tallystick::note::*;
use tallystick::proof::{Proved, Rejection, Trust, verify};
use tallystick::tlog::*;

use super::Oracle;
use crate::support::tree::Tree;

const SIZE: u64 = 9;

fn key(name: &str, seed: u8) -> SignerKey {
    SignerKey::generate(name.parse().unwrap(), [seed; 32])
}

fn log() -> SignerKey {
    key("sum.corp.example", 1)
}

fn witness() -> CosignatureSigner {
    CosignatureSigner::generate("w.example".parse().unwrap(), [2; 32])
}

/// The two lines of a module version; the hashes are those of rsc.io/quote v1.5.2.
fn record(number: u64) -> String {
    let module = format!("corp.example/m v1.0.{number}");
    format!(
        "{module} h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=\n\
         {module}/go.mod h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=\n"
    )
}

/// A tree of nine records.
fn tree() -> Tree {
    Tree::of((0..SIZE).map(|number| Hash::of_record(record(number).as_bytes())))
}

fn proof_of(number: u64, checkpoint: &str) -> TlogProof {
    let (tree, index) = (tree(), RecordId(number));
    let hashes = tree.read(&inclusion_proof_indexes(TreeSize(SIZE), index).unwrap());
    TlogProof {
        extra: Some(record(number).into_bytes()),
        index,
        proof: prove_inclusion(TreeSize(SIZE), index, &hashes).unwrap(),
        checkpoint: checkpoint.to_owned(),
    }
}

/// The checkpoint of the tree, by this origin, signed by these and cosigned.
fn checkpoint(origin: &str, signers: &[&SignerKey], cosigners: &[&CosignatureSigner]) -> String {
    let text = Checkpoint::new(origin.parse().unwrap(), tree().head()).format();
    let cosignatures: Vec<Signature> = cosigners.iter().map(|w| w.cosign(&text, 1_700_000_000)).collect();
    append_signatures(&sign(&text, signers).unwrap(), &cosignatures).unwrap()
}

fn good(number: u64) -> TlogProof {
    proof_of(number, &checkpoint("sum.corp.example", &[&log()], &[&witness()]))
}

fn policy(quorum: &str) -> String {
    format!("log {}\nwitness W {}\nquorum {quorum}\n", log().verifier(), witness().verifier())
}

fn trust() -> Trust {
    Trust::in_log(log().verifier())
}

fn trust_in_policy(quorum: &str) -> Trust {
    Trust::default().and_policy(Policy::parse(policy(quorum).as_bytes()).unwrap())
}

fn check(proof: &TlogProof, trust: &Trust) -> Result<Proved, Rejection> {
    verify(proof.format().as_bytes(), trust)
}

#[test]
fn our_files_verify_elsewhere() {
    let Some(mut oracle) = Oracle::start("our_files_verify_elsewhere", "cosign") else { return };
    for number in 0..SIZE {
        let proof = good(number);
        let mut ask = |record: &str, file: &str| {
            let record = STANDARD.encode(record);
            let question = json!({"do": "verify", "policy": policy("W"), "record": record, "proof": file});
            oracle.ask(&question)["error"].clone()
        };
        assert_eq!(ask(&record(number), &proof.format()), json!(null), "record {number}");
        let proved = check(&proof, &trust_in_policy("W")).unwrap();
        assert_eq!((proved.record.0, proved.lines.to_text()), (number, record(number)));
        assert_eq!(
            (proved.cosigned[0].witness.as_str(), proved.cosigned[0].at),
            ("w.example", 1_700_000_000)
        );
        // What we refuse they refuse too.
        let wrong = TlogProof { index: RecordId((number + 1) % SIZE), ..proof.clone() };
        assert!(!ask(&record(number), &wrong.format()).is_null() && check(&wrong, &trust()).is_err());
        assert!(!ask(&record(number + 1), &proof.format()).is_null());
    }
}

#[test]
fn their_files_verify_here() {
    let Some(mut oracle) = Oracle::start("their_files_verify_here", "cosign") else { return };
    for number in 0..SIZE {
        let ours = good(number);
        let hashes: Vec<String> = ours.proof.0.iter().map(|hash| hash.to_string()).collect();
        let (record, note) = (STANDARD.encode(record(number)), &ours.checkpoint);
        let question =
            json!({"do": "format", "record": record, "index": number, "hashes": hashes, "note": note});
        let theirs = oracle.ask(&question)["proof"].as_str().unwrap().to_owned();
        assert_eq!(theirs, ours.format());
        assert_eq!(verify(theirs.as_bytes(), &trust()).unwrap().record.0, number);
    }
}

#[test]
fn what_is_not_proved_is_refused_for_its_reason() {
    use Rejection::*;
    let wrong_index = TlogProof { index: RecordId(3), ..good(4) };
    assert_eq!(check(&wrong_index, &trust()), Err(Inclusion(ProofError::Mismatch)));
    let outside = TlogProof { index: RecordId(SIZE), ..good(4) };
    let error = ProofError::RecordOutsideTree { id: RecordId(SIZE), size: TreeSize(SIZE) };
    assert_eq!(check(&outside, &trust()), Err(Inclusion(error)));
    let mut short = good(4);
    short.proof.0.pop();
    assert_eq!(check(&short, &trust()), Err(Inclusion(ProofError::ProofLength { want: 4, got: 3 })));
    let other_record = TlogProof { extra: Some(record(5).into_bytes()), ..good(4) };
    assert_eq!(check(&other_record, &trust()), Err(Inclusion(ProofError::Mismatch)));
    let no_record = TlogProof { extra: None, ..good(4) };
    assert_eq!(check(&no_record, &trust()), Err(NoRecord));
    let no_text = TlogProof { extra: Some(b"a\n\nb\n".to_vec()), ..good(4) };
    assert_eq!(check(&no_text, &trust()), Err(Record(RecordError::BlankLine)));
}

#[test]
fn every_flipped_hash_and_every_flipped_bit_is_refused() {
    let proof = good(4);
    for position in 0..proof.proof.0.len() {
        for bit in 0..256 {
            let mut changed = proof.clone();
            let mut bytes = *changed.proof.0[position].as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            changed.proof.0[position] = Hash::from_bytes(bytes);
            assert_eq!(check(&changed, &trust()), Err(Rejection::Inclusion(ProofError::Mismatch)));
        }
    }
    let file = proof.format().into_bytes();
    for bit in 0..file.len() * 8 {
        let mut changed = file.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        // A cosignature of a witness that nobody trusts here proves nothing, and may be anything.
        let cosignature = String::from_utf8_lossy(&file).find("— w.example").unwrap();
        if bit / 8 < cosignature {
            assert!(verify(&changed, &trust()).is_err(), "bit {bit}: {}", changed.escape_ascii());
        }
        assert!(verify(&changed, &trust_in_policy("W")).is_err(), "bit {bit}: {}", changed.escape_ascii());
    }
    for length in 0..file.len() {
        assert!(verify(&file[..length], &trust_in_policy("W")).is_err(), "length {length}");
    }
}

#[test]
fn a_wrong_origin_is_refused() {
    let of = |origin: &str| proof_of(4, &checkpoint(origin, &[&log()], &[]));
    // A Go checksum database signs this one as well as its own.
    assert!(check(&of("go.sum database tree"), &trust()).is_ok());
    let elsewhere = check(&of("sum.other.example"), &trust()).unwrap_err();
    assert_eq!(
        elsewhere.to_string(),
        "the checkpoint's origin is \"sum.other.example\", not \"sum.corp.example\" or \"go.sum database tree\": it is of another log"
    );
    let strict = |origin: &str| Trust::default().and_log(log().verifier(), Some(origin.parse().unwrap()));
    assert!(check(&of("sum.other.example"), &strict("sum.other.example")).is_ok());
    for origin in ["sum.corp.example", "go.sum database tree"] {
        assert!(matches!(check(&of(origin), &strict("sum.other.example")), Err(Rejection::Origin { .. })));
    }
    // A policy's log is trusted for its own name only.
    let refused = check(&of("go.sum database tree"), &trust_in_policy("none"));
    assert!(matches!(refused, Err(Rejection::Origin { .. })), "{refused:?}");
}

#[test]
fn unknown_keys_prove_nothing() {
    let other = key("sum.corp.example", 9);
    let refused = check(&proof_of(4, &checkpoint("sum.corp.example", &[&other], &[&witness()])), &trust());
    let Err(Rejection::UnknownSigners { signers }) = refused else { panic!("{refused:?}") };
    assert_eq!(signers, format!("sum.corp.example+{}, w.example+{}", other.id(), witness().id()));
    // A second signature by a stranger does no harm.
    assert!(check(&proof_of(4, &checkpoint("sum.corp.example", &[&other, &log()], &[])), &trust()).is_ok());
    // A witness alone is no log.
    let (text, _) = checkpoint("sum.corp.example", &[&log()], &[])
        .split_once("\n\n")
        .map(|(t, s)| (format!("{t}\n"), s.to_owned()))
        .unwrap();
    let alone = format!("{text}\n{}\n", witness().cosign(&text, 7).format_line());
    assert_eq!(check(&proof_of(4, &alone), &trust_in_policy("W")), Err(Rejection::NoLog));
}

#[test]
fn a_policy_needs_its_cosignatures() {
    let bare = proof_of(4, &checkpoint("sum.corp.example", &[&log()], &[]));
    let refused = check(&bare, &trust_in_policy("W"));
    assert_eq!(refused, Err(Rejection::Policy(PolicyFailure::Quorum { cosigned: 0, witnesses: 1 })));
    assert!(check(&bare, &trust_in_policy("none")).is_ok());
    // Twice the same witness is one witness.
    let second = CosignatureSigner::generate("w2.example".parse().unwrap(), [3; 32]);
    let text = format!(
        "{}witness V {}\ngroup G all W V\nquorum G\n",
        policy("X").replace("quorum X\n", ""),
        second.verifier()
    );
    let both = Trust::default().and_policy(Policy::parse(text.as_bytes()).unwrap());
    let note = checkpoint("sum.corp.example", &[&log()], &[&witness()]);
    let (text, _) = note.split_once("\n\n").unwrap();
    let twice = append_signatures(&note, &[witness().cosign(&format!("{text}\n"), 7)]).unwrap();
    let refused = check(&proof_of(4, &twice), &both);
    assert_eq!(refused, Err(Rejection::Policy(PolicyFailure::Quorum { cosigned: 1, witnesses: 2 })));
    // Whoever gives the key besides the policy gives nothing away.
    let with_key = trust_in_policy("W").and_log(log().verifier(), None);
    assert!(check(&good(4), &with_key).is_ok() && check(&bare, &with_key).is_err());
}

#[test]
fn oversized_files_and_signatures_without_end_are_refused() {
    let proof = good(4);
    let many: Vec<Signature> = (0..98).map(|time| witness().cosign("x\n", time)).collect();
    let full = append_signatures(&proof.checkpoint, &many).unwrap();
    assert!(check(&TlogProof { checkpoint: full.clone(), ..proof.clone() }, &trust()).is_ok());
    let more = format!("{full}{}\n", witness().cosign("x\n", 99).format_line());
    let refused = check(&TlogProof { checkpoint: more, ..proof.clone() }, &trust());
    assert_eq!(refused, Err(Rejection::Note(OpenError::TooManySignatures)));
    let large = TlogProof { extra: Some(vec![b'x'; MAX_TLOG_PROOF_BYTES]), ..proof };
    assert_eq!(check(&large, &trust()), Err(Rejection::File(TlogProofError::TooLong)));
}

#[test]
fn a_record_of_another_form_is_refused_even_when_it_is_proved() {
    for (text, accepted) in [
        (record(0), true),
        // Some logs' records have lines of other kinds beside the two.
        (format!("{}corp.example/m v1.0.0 h2:AAAA\n", record(0)), true),
        (record(0).lines().next().unwrap().to_owned() + "\n", false),
        (format!("{0}{0}", record(0)), false),
        ("hello\n".to_owned(), false),
    ] {
        let head = TreeHead { size: TreeSize(1), root: Hash::of_record(text.as_bytes()) };
        let signed =
            sign(&Checkpoint::new("sum.corp.example".parse().unwrap(), head).format(), &[&log()]).unwrap();
        let extra = Some(text.clone().into_bytes());
        let proof = InclusionProof::default();
        let proof = TlogProof { extra, index: RecordId(0), proof, checkpoint: signed };
        match check(&proof, &trust()) {
            Ok(proved) => assert!(accepted && proved.lines.to_text() == record(0), "{text}"),
            Err(error) => assert!(!accepted && matches!(error, Rejection::Lines(_)), "{text}: {error}"),
        }
    }
}

proptest! {
    #[test]
    fn what_parses_prints_back(
        extra in proptest::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        index in 0..=i64::MAX as u64,
        hashes in prop::collection::vec(any::<[u8; 32]>(), 0..64),
        checkpoint in "[^\\x00-\\x09\\x0b-\\x1f]{1,60}",
    ) {
        let proof = InclusionProof(hashes.into_iter().map(Hash::from_bytes).collect());
        let file = TlogProof { extra, index: RecordId(index), proof, checkpoint };
        prop_assert_eq!(TlogProof::parse(file.format().as_bytes()), Ok(file));
    }

    #[test]
    fn any_bytes_are_refused_calmly(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        lines in "((log|witness|group|quorum|none|any|all|[0-9a-z+#\t ]{1,9})[ \n]){0,30}",
        cut in 0..400usize,
        with in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        prop_assert!(verify(&bytes, &trust()).is_err());
        let _ = (Policy::parse(&bytes), Policy::parse(lines.as_bytes()));
        if let Ok(texts) = split_entry_bundle(&bytes) {
            prop_assert_eq!(format_entry_bundle(texts), Ok(bytes));
        }
        let mut file = good(4).format().into_bytes();
        let end = (cut + with.len()).min(file.len());
        file.splice(cut.min(end)..end, with);
        if let Ok(parsed) = TlogProof::parse(&file) {
            prop_assert_eq!(parsed.format().into_bytes(), file);
        }
    }
}
