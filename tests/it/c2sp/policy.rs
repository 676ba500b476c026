//! Policies: each line that is refused, and that what is met is what torchwood says is met.

use serde_json::json;
use tallystick::note::*;

use super::Oracle;

const TEXT: &str = "sum.corp.example\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

/// An ML-DSA-44 witness: 1,312 bytes of public key, of the type 0x06, with an id computed as the specification says.
fn ml_dsa_vkey(name: &str) -> String {
    use base64::Engine as _;
    use sha2::{Digest, Sha256};
    let key = [&[0x06][..], &[0xab; 1312]].concat();
    let id = Sha256::digest([name.as_bytes(), b"\n", &key].concat());
    let id: String = id[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name}+{id}+{}", base64::engine::general_purpose::STANDARD.encode(key))
}

fn log() -> SignerKey {
    SignerKey::generate("sum.corp.example".parse().unwrap(), [1; 32])
}

fn witness(number: u8) -> CosignatureSigner {
    CosignatureSigner::generate(format!("w{number}.example").parse().unwrap(), [10 + number; 32])
}

fn vkey(number: u8) -> String {
    witness(number).verifier().to_string()
}

/// The log and the witnesses 0 to 5, W0 to W5, and then some lines.
fn policy(lines: &str) -> String {
    let witnesses: String = (0..6).map(|n| format!("witness W{n} {}\n", vkey(n))).collect();
    format!("log {}\n{witnesses}{lines}", log().verifier())
}

/// The checkpoint with the cosignatures of the witnesses whose bits are set.
fn cosigned(by: u8) -> String {
    let note = sign(TEXT, &[&log()]).unwrap();
    let cosignatures: Vec<Signature> =
        (0..6).filter(|n| by & (1 << n) != 0).map(|n| witness(n).cosign(TEXT, 1_700_000_000)).collect();
    append_signatures(&note, &cosignatures).unwrap()
}

fn is_met(policy: &Policy, note: &str) -> bool {
    let note = open(note.as_bytes(), &policy.verifiers()).expect("the log's signature");
    policy.check("sum.corp.example", &note.signatures).is_ok()
}

#[test]
fn quorums_are_met_when_torchwood_says_so() {
    let Some(mut oracle) = Oracle::start("quorums_are_met_when_torchwood_says_so", "cosign") else { return };
    for (lines, met) in [
        ("quorum none\n", 64),
        ("quorum W3\n", 32),
        ("group G any W0 W1\nquorum G\n", 48),
        ("group G all W0 W1 W2\nquorum G\n", 8),
        ("group G 2 W0 W1 W2\nquorum G\n", 32),
        ("group X 2 W0 W1 W2\ngroup Y any W3 W4 W5\ngroup B all X Y\nquorum B\n", 28),
        ("group X 2 W0 W1 W2\ngroup B any X W5\nquorum B\n", 48),
        ("# a comment\n\n \t \n\tgroup  G\t1 W0   W1 \nquorum G", 48),
    ] {
        let text = policy(lines);
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let mut count = 0;
        for by in 0..64 {
            let note = cosigned(by);
            let theirs = oracle.ask(&json!({"do": "policy", "policy": text, "note": note}));
            let ours = is_met(&policy, &note);
            assert_eq!(ours, theirs["error"].is_null(), "{lines} by {by:06b}: {theirs}");
            count += usize::from(ours);
        }
        assert_eq!(count, met, "{lines}");
    }
}

#[test]
fn each_line_that_is_wrong_is_refused_by_name() {
    use PolicyProblem::*;
    let name = |name: &str| name.to_owned();
    let form = |want| Form { want };
    let group = "group <name> <k>|any|all <name>…";
    // The lines come after those of policy(), which are seven.
    for (lines, line, want) in [
        ("quorums W0\n", 8, Keyword),
        ("quorum none\x7f\n", 8, Characters),
        ("quorum none\r\n", 8, Characters),
        ("quorum W9\n", 8, UnknownName { name: name("W9") }),
        ("quorum\n", 8, form("quorum <name>, or quorum none")),
        ("quorum W0 W1\n", 8, form("quorum <name>, or quorum none")),
        ("quorum W0\nquorum W0\n", 9, DuplicateQuorum),
        ("group G any\n", 8, form(group)),
        ("group G\n", 8, form(group)),
        ("group G 0 W0\n", 8, Threshold { members: 1 }),
        ("group G 3 W0 W1\n", 8, Threshold { members: 2 }),
        ("group G some W0 W1\n", 8, Threshold { members: 2 }),
        ("group G +1 W0 W1\n", 8, Threshold { members: 2 }),
        ("group G any W0 W0\n", 8, DuplicateMember { name: name("W0") }),
        ("group G any W0\ngroup H any W0 W1\n", 9, DuplicateMember { name: name("W0") }),
        ("group G any G\n", 8, UnknownName { name: name("G") }),
        ("group G any none\n", 8, UnknownName { name: name("none") }),
        ("group none any W0\n", 8, DuplicateName { name: name("none") }),
        ("group W1 any W0\n", 8, DuplicateName { name: name("W1") }),
        ("quorum G\ngroup G any W0\n", 8, UnknownName { name: name("G") }),
        ("witness W7\n", 8, form("witness <name> <vkey> [<url>]")),
        ("witness W7 x\n", 8, Key(KeyError::Malformed)),
        ("log x y z\n", 8, form("log <vkey> [<url>]")),
    ] {
        let error = Policy::parse(policy(lines).as_bytes()).unwrap_err();
        assert_eq!(error, PolicyError::Line { line, problem: want }, "{lines:?}");
    }
    assert_eq!(Policy::parse(policy("").as_bytes()).unwrap_err(), PolicyError::NoQuorum);
    assert_eq!(Policy::parse(&vec![b'\n'; MAX_POLICY_BYTES + 1]).unwrap_err(), PolicyError::TooLong);
}

#[test]
fn keys_are_of_their_kind_and_stand_once() {
    use PolicyProblem::*;
    let wrong = |line: String| match Policy::parse(line.as_bytes()).unwrap_err() {
        PolicyError::Line { problem, .. } => problem,
        error => panic!("{line}: {error}"),
    };
    let same_key = CosignatureSigner::generate("other.example".parse().unwrap(), [10; 32]).verifier();
    assert_eq!(wrong(format!("witness A {}\nwitness B {same_key}\n", vkey(0))), DuplicateKey);
    assert_eq!(wrong(format!("log {0}\nlog {0}\n", log().verifier())), DuplicateKey);
    // A log's key is no witness's, and the other way round.
    let problem = wrong(format!("witness A {}\n", log().verifier()));
    assert_eq!(problem, Key(KeyError::Algorithm { wanted: Algorithm::CosignatureV1, found: 1 }));
    assert_eq!(
        wrong(format!("log {}\n", vkey(0))),
        Key(KeyError::Algorithm { wanted: Algorithm::Ed25519, found: 4 })
    );
}

#[test]
fn a_witness_of_an_unknown_algorithm_never_signed() {
    let vkey = ml_dsa_vkey("pq.example");
    let lines = |quorum: &str| policy(&format!("witness PQ {vkey}\ngroup G {quorum} W0 PQ\nquorum G\n"));
    let either = Policy::parse(lines("any").as_bytes()).unwrap();
    let both = Policy::parse(lines("all").as_bytes()).unwrap();
    assert_eq!(either.witnesses()[6].key.known(), None);
    assert_eq!(either.witnesses()[6].key.name().as_str(), "pq.example");
    // A signature of that key is one of an unknown key: it is put aside, and counts for nothing.
    let theirs =
        Signature::new(either.witnesses()[6].key.name().clone(), either.witnesses()[6].key.id(), &[7; 2428]);
    let note = append_signatures(&cosigned(1), &[theirs]).unwrap();
    assert!(is_met(&either, &note) && !is_met(&both, &note));
    // An id that does not fit is a mistake in any algorithm.
    let broken = lines("any").replace("pq.example+", "pq.example.x+");
    assert!(matches!(
        Policy::parse(broken.as_bytes()),
        Err(PolicyError::Line { line: 8, problem: PolicyProblem::Key(_) })
    ));
}

#[test]
fn names_are_octets() {
    // Both are shown alike, and are two names all the same.
    let text = [
        format!("witness A\u{ff} {}\n", vkey(0)).into_bytes(),
        [b"witness A\xfe ".as_slice(), vkey(1).as_bytes(), b"\nwitness A\xfd ", vkey(2).as_bytes(), b"\n"]
            .concat(),
        b"group G all A\xfe A\xfd\nquorum G\n".to_vec(),
    ]
    .concat();
    let policy = Policy::parse(&text).unwrap();
    assert!(policy.is_met(&[false, true, true]) && !policy.is_met(&[true, true, false]));
}

#[test]
fn the_log_and_its_origin_are_part_of_it() {
    let met = Policy::parse(policy("quorum none\n").as_bytes()).unwrap();
    let note = open(cosigned(0).as_bytes(), &met.verifiers()).unwrap();
    assert!(met.check("sum.corp.example", &note.signatures).is_ok());
    let failure = PolicyFailure::Log { origin: "sum.other.example".to_owned() };
    assert_eq!(met.check("sum.other.example", &note.signatures), Err(failure));
    let wanted = Policy::parse(policy("group G 2 W0 W1 W2\nquorum G\n").as_bytes()).unwrap();
    let note = open(cosigned(0b1001).as_bytes(), &wanted.verifiers()).unwrap();
    let failure = wanted.check("sum.corp.example", &note.signatures).unwrap_err();
    assert_eq!(failure.to_string(), "the policy's quorum is not met: 2 of its 6 witnesses have cosigned");
}

#[test]
fn thirty_two_of_each_and_many_more() {
    let text: String = (0..100u8)
        .map(|n| {
            let key = CosignatureSigner::generate(format!("w{n}").parse().unwrap(), [100 + n; 32]).verifier();
            let log = SignerKey::generate(format!("l{n}").parse().unwrap(), [n; 32]).verifier();
            let before = if n == 0 { String::new() } else { format!(" G{}", n - 1) };
            format!("log {log} https://l{n}.example/\nwitness W{n} {key} https://w{n}.example/\ngroup G{n} all W{n}{before}\n")
        })
        .collect();
    let policy = Policy::parse(format!("{text}quorum G99\n").as_bytes()).unwrap();
    assert_eq!((policy.logs().len(), policy.witnesses().len()), (100, 100));
    assert_eq!(policy.witnesses()[3].url.as_deref(), Some("https://w3.example/"));
    assert!(policy.is_met(&[true; 100]));
    let mut one_less = [true; 100];
    one_less[0] = false;
    assert!(!policy.is_met(&one_less));
    let groups: String = (0..=MAX_POLICY_ENTRIES)
        .map(|n| format!("group G{n} any {}\n", if n == 0 { "W".to_owned() } else { format!("G{}", n - 1) }))
        .collect();
    let many = Policy::parse(format!("witness W {}\n{groups}", vkey(0)).as_bytes()).unwrap_err();
    assert!(matches!(many, PolicyError::Line { problem: PolicyProblem::TooMany, .. }), "{many}");
}
