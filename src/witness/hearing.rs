//! What the witnesses say before this process signs its first head.
//!
//! Log and anchor from one old backup agree, and only somebody who saw a newer head can tell. So
//! the first signature waits for the witnesses' words:
//!
//! | a witness | its word | what follows |
//! |---|---|---|
//! | cosigns the newest head, or does not know the log (404) | [`Word::NothingNewer`] | an answer |
//! | shows a head with the log's signature that the log lacks | - | [`Log::judge`] ends signing |
//! | claims a larger size or another history, shows no such head | [`Word::Claim`] | see below |
//! | does not answer, refuses, or sends something else | [`Word::None`] | no answer |
//!
//! The log signs as soon as [`WitnessesOptions::quorum`] witnesses (at least one) know nothing newer
//! and none claims more, and in any case [`HEARING`] after the start.
//!
//! A claim without proof outweighs the other answers until [`HEARING`] is over, and not longer: one
//! lying witness must not stop a log. Then `/readyz` shows the claim until the witness takes it back.
//!
//! [`Log::judge`]: crate::log::Log::judge
//! [`WitnessesOptions::quorum`]: super::WitnessesOptions::quorum

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::tlog::TreeSize;

/// How long the first signature waits for the witnesses at most: as long as one attempt may take.
pub const HEARING: Duration = Duration::from_secs(10);

/// What one witness has said of the log since the process began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing that says which heads it knows.
    #[default]
    None,
    /// It knows no head that this log lacks.
    NothingNewer,
    /// It says that it has cosigned a head that this log lacks, without showing one.
    Claim(Claim),
}

/// A witness's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It has cosigned so many records.
    Ahead(TreeSize),
    /// It has cosigned another history.
    OtherHistory,
}

/// The words of all witnesses, in the order of the configuration.
#[derive(Debug)]
pub(super) struct Hearing(Mutex<Vec<Word>>);

impl Hearing {
    pub(super) fn new(witnesses: usize) -> Hearing {
        Hearing(Mutex::new(vec![Word::None; witnesses]))
    }

    fn words(&self) -> MutexGuard<'_, Vec<Word>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a witness's word in place of the one before. True if it is another.
    pub(super) fn hear(&self, at: usize, word: Word) -> bool {
        let mut words = self.words();
        let is_other = words[at] != word;
        words[at] = word;
        is_other
    }

    /// Whether the log may sign before the time is over.
    pub(super) fn is_settled(&self, quorum: usize) -> bool {
        self.answers() >= quorum.max(1) && self.claims().is_empty()
    }

    /// How many witnesses know nothing newer.
    pub(super) fn answers(&self) -> usize {
        self.words().iter().filter(|word| **word == Word::NothingNewer).count()
    }

    fn claims(&self) -> Vec<(usize, Claim)> {
        let words = self.words();
        let claim = |(at, word): (usize, &Word)| match word {
            Word::Claim(claim) => Some((at, *claim)),
            _ => None,
        };
        words.iter().enumerate().filter_map(claim).collect()
    }

    /// Tells the operator what is claimed without proof. `name` gives the name of a witness.
    pub(super) fn caution(&self, name: impl Fn(usize) -> String) -> Option<String> {
        let claims = self.claims();
        if claims.is_empty() {
            return None;
        }
        let says = |(at, claim): &(usize, Claim)| match claim {
            Claim::Ahead(size) => format!("{} says that it has cosigned {}", name(*at), size.records()),
            Claim::OtherHistory => format!("{} says that it has cosigned another history", name(*at)),
        };
        let said = claims.iter().map(says).collect::<Vec<_>>().join(", ");
        let names = claims.iter().map(|(at, _)| name(*at)).collect::<Vec<_>>().join(" and ");
        Some(format!(
            "a witness contradicts this log without proof: {said}, but shows no such head with this \
             log's signature. Either the witness is wrong, or this log and its anchor are old copies. \
             Ask the operator of {names} for the checkpoint that it has cosigned; if this log's key has \
             signed that checkpoint, stop the server and put the newest copies of the database and the \
             anchor back"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_witnesses_decide_as_the_table_says() {
        let (none, nothing) = (Word::None, Word::NothingNewer);
        let claim = || Word::Claim(Claim::Ahead(TreeSize(9)));
        for (words, quorum, is_settled) in [
            (vec![none.clone()], 0, false),
            (vec![nothing.clone()], 0, true),
            (vec![nothing.clone()], 1, true),
            (vec![nothing.clone(), none.clone(), none.clone()], 2, false),
            (vec![nothing.clone(), none, nothing.clone()], 2, true),
            (vec![nothing.clone(), nothing.clone(), claim()], 2, false),
            (vec![nothing.clone(), nothing.clone(), Word::Claim(Claim::OtherHistory)], 1, false),
        ] {
            let hearing = Hearing::new(words.len());
            for (at, word) in words.iter().enumerate() {
                hearing.hear(at, word.clone());
            }
            assert_eq!(hearing.is_settled(quorum), is_settled, "{words:?} of {quorum}");
        }
        let hearing = Hearing::new(2);
        let name = |at: usize| format!("w{at}");
        assert_eq!(hearing.caution(name), None);
        assert!(hearing.hear(1, claim()) && !hearing.hear(1, claim()));
        let text = hearing.caution(name).unwrap();
        assert!(text.contains("w1 says that it has cosigned 9 records") && !text.contains("w0"), "{text}");
        // What a witness proves to know at last takes its claim back.
        hearing.hear(1, nothing);
        assert_eq!(hearing.caution(name), None);
    }
}
