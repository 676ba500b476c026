//! Policies: whether a quorum is met is what a reading of the text says that knows only names and numbers; more cosignatures never make
//! it less met; comments and blank lines change nothing.

#![no_main]
#![forbid(unsafe_code)]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use tallystick::note::Policy;
use tallystick_fuzz::Input;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let (some, more) = (input.number(), input.number());
    let text = input.rest();
    let Ok(policy) = Policy::parse(text) else { return };
    let cosigned = |bits: u64| -> Vec<bool> {
        (0..policy.witnesses().len()).map(|at| bits >> (at % 64) & 1 == 1).collect()
    };
    let (few, many) = (cosigned(some), cosigned(some | more));
    assert_eq!(policy.is_met(&few), expected(text, &few), "{:?}", String::from_utf8_lossy(text));
    assert!(!policy.is_met(&few) || policy.is_met(&many), "{:?}", String::from_utf8_lossy(text));
    assert!(policy.verifiers().len() <= policy.logs().len() + policy.witnesses().len());

    let commented = [b"# first\n\n", text, b"\n# last\n"].concat();
    if let Ok(again) = Policy::parse(&commented) {
        assert_eq!((again.is_met(&few), again.logs().len()), (policy.is_met(&few), policy.logs().len()));
    }
});

/// The quorum by the lines themselves: groups in order, each by the names that came before it.
fn expected(text: &[u8], cosigned: &[bool]) -> bool {
    let (mut met, mut witnesses) = (HashMap::<&[u8], bool>::new(), cosigned.iter());
    let mut quorum = None;
    for line in text.split(|byte| *byte == b'\n') {
        let words: Vec<&[u8]> =
            line.split(|byte| matches!(byte, b' ' | b'\t' | b'\r')).filter(|word| !word.is_empty()).collect();
        match words[..] {
            [b"witness", name, ..] => drop(met.insert(name, *witnesses.next().expect("as many witnesses"))),
            [b"group", name, threshold, ref members @ ..] => {
                let have = members.iter().filter(|member| met[**member]).count();
                let want = match threshold {
                    b"any" => 1,
                    b"all" => members.len(),
                    number => {
                        std::str::from_utf8(number).ok().and_then(|n| n.parse().ok()).expect("a number")
                    }
                };
                met.insert(name, have >= want);
            }
            // Only where nothing has that name it can be `none`.
            [b"quorum", name, ..] => quorum = Some(met.get(name).copied().unwrap_or(true)),
            _ => {}
        }
    }
    quorum.expect("a policy has a quorum")
}
