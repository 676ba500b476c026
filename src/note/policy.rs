//! Whose signatures are enough: a policy of logs, witnesses and a quorum, as specified by [C2SP tlog-policy].
//!
//! ```text
//! log     <vkey> [<url>]                 a checkpoint must be signed by one of these
//! witness <name> <vkey> [<url>]          who may cosign it
//! group   <name> <k>|any|all <name>…     k of its members, which are witnesses or groups of earlier lines
//! quorum  <name>|none                    what must have cosigned; exactly one such line
//! ```
//!
//! Words are separated by spaces and tabs; empty lines and lines that begin with `#` are passed over. A member belongs to
//! one group only, so that each witness counts once. A log's key name is its origin. Keys of algorithms that are not
//! known here (ML-DSA-44) are kept as keys that never signed, so that a policy which needs them is not met, and one which
//! can do without them is.
//!
//! ```
//! use tallystick::note::{CosignatureSigner, Policy};
//!
//! let witness = CosignatureSigner::generate("w.example".parse()?, [7; 32]);
//! let policy = Policy::parse(format!("witness W {}\nquorum W\n", witness.verifier()).as_bytes())?;
//! let cosignature = witness.cosign("log.example\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", 1679315147);
//! assert!(policy.check("log.example", &[cosignature]).is_ok());
//! assert!(policy.check("log.example", &[]).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [C2SP tlog-policy]: https://c2sp.org/tlog-policy

use std::collections::HashMap;

use super::cosignature::CosignatureVerifier;
use super::key::{KeyError, KeyId, KeyName, Verifier, VerifierKey, parse_unsupported};
use super::open::Signature;

/// Bytes of a policy: a thousand keys, of which the largest kind has two kilobytes.
pub const MAX_POLICY_BYTES: usize = 2 << 20;

/// Logs, witnesses and groups of a policy, together; the specification asks for 32 of each at least.
pub const MAX_POLICY_ENTRIES: usize = 1024;

/// What a checkpoint must be signed by.
#[derive(Clone, Debug)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    /// `None`: no cosignature is asked for.
    quorum: Option<Member>,
}

/// A key of a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PolicyKey<K> {
    /// A key whose signatures can be verified.
    Known(K),
    /// A key of an algorithm that is not known here. It never signed anything.
    Unsupported {
        /// Its name.
        name: KeyName,
        /// Its id.
        id: KeyId,
    },
}

/// A log of a policy. Its key's name is its origin.
#[derive(Clone, Debug)]
pub struct PolicyLog {
    /// Its key.
    pub key: PolicyKey<VerifierKey>,
    /// Where it is, if the policy says so.
    pub url: Option<String>,
}

/// A witness of a policy.
#[derive(Clone, Debug)]
pub struct PolicyWitness {
    /// What the policy calls it, for its groups; not its key's name.
    pub name: String,
    /// Its key.
    pub key: PolicyKey<CosignatureVerifier>,
    /// Where it is asked, if the policy says so.
    pub url: Option<String>,
}

/// A threshold of witnesses and earlier groups.
#[derive(Clone, Debug)]
struct Group {
    threshold: usize,
    members: Vec<Member>,
}

/// What can witness a checkpoint: a place in the list of witnesses or in that of groups.
#[derive(Clone, Copy, Debug)]
enum Member {
    Witness(usize),
    Group(usize),
}

/// The text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Above [`MAX_POLICY_BYTES`].
    #[error("the policy is longer than {MAX_POLICY_BYTES} bytes")]
    TooLong,
    /// There is no quorum line. `quorum none` says that no cosignature is needed.
    #[error("the policy has no quorum line: `quorum none` says that no cosignatures are needed")]
    NoQuorum,
    /// A line is wrong.
    #[error("line {line} of the policy: {problem}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        problem: PolicyProblem,
    },
}

/// What is wrong with a line of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyProblem {
    /// A control character other than tab and newline.
    #[error("it has a control character")]
    Characters,
    /// It begins with another word.
    #[error("it begins with none of log, witness, group, quorum")]
    Keyword,
    /// There are too few or too many words in it.
    #[error("want {want}")]
    Form {
        /// What the line should look like.
        want: &'static str,
    },
    /// The key is malformed, or of the wrong kind.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The same public key stands in an earlier line of this kind.
    #[error("its public key stands in an earlier line")]
    DuplicateKey,
    /// The name is `none`, or stands for something else already.
    #[error("the name {name:?} is taken")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// No earlier line defines it.
    #[error("no earlier line defines {name:?}")]
    UnknownName {
        /// The name.
        name: String,
    },
    /// It is a member of two groups, or twice of one: it would count twice.
    #[error("{name:?} is a member of a group already")]
    DuplicateMember {
        /// The name.
        name: String,
    },
    /// Neither `any` nor `all` nor a number from 1 to the number of members.
    #[error("the threshold is neither any nor all nor a number from 1 to {members}")]
    Threshold {
        /// Members of the group.
        members: usize,
    },
    /// There is a quorum line already.
    #[error("there is a quorum line already")]
    DuplicateQuorum,
    /// More than [`MAX_POLICY_ENTRIES`].
    #[error("there are more than {MAX_POLICY_ENTRIES} logs, witnesses and groups")]
    TooMany,
}

/// Signatures do not satisfy a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFailure {
    /// None of the policy's logs with this origin has signed.
    #[error("the checkpoint of {origin:?} is not signed by a log of the policy with that origin")]
    Log {
        /// The checkpoint's origin.
        origin: String,
    },
    /// The witnesses that cosigned are not enough.
    #[error("the policy's quorum is not met: {cosigned} of its {witnesses} witnesses have cosigned")]
    Quorum {
        /// Witnesses that have cosigned.
        cosigned: usize,
        /// Witnesses of the policy.
        witnesses: usize,
    },
}

impl<K: Verifier> PolicyKey<K> {
    /// The key's name.
    pub fn name(&self) -> &KeyName {
        match self {
            PolicyKey::Known(key) => key.name(),
            PolicyKey::Unsupported { name, .. } => name,
        }
    }

    /// The key's id.
    pub fn id(&self) -> KeyId {
        match self {
            PolicyKey::Known(key) => key.id(),
            PolicyKey::Unsupported { id, .. } => *id,
        }
    }

    /// The key, if its signatures can be verified.
    pub fn known(&self) -> Option<&K> {
        match self {
            PolicyKey::Known(key) => Some(key),
            PolicyKey::Unsupported { .. } => None,
        }
    }

    /// Whether it is among these signatures, which were verified.
    fn signed(&self, verified: &[Signature]) -> bool {
        let by_this = |s: &Signature| s.key_id == self.id() && s.name == *self.name();
        self.known().is_some() && verified.iter().any(by_this)
    }
}

impl Policy {
    /// Parses a policy file.
    pub fn parse(text: &[u8]) -> Result<Policy, PolicyError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLong);
        }
        let mut parser = Parser::default();
        for (position, line) in text.split(|byte| *byte == b'\n').enumerate() {
            parser.line(line).map_err(|problem| PolicyError::Line { line: position + 1, problem })?;
        }
        let Parser { logs, witnesses, groups, quorum, .. } = parser;
        let quorum = quorum.ok_or(PolicyError::NoQuorum)?;
        Ok(Policy { logs, witnesses, groups, quorum })
    }

    /// The logs. There may be none where it is known otherwise which log is meant.
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The witnesses, whether or not the quorum needs them.
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// Every key by which a checkpoint is to be opened.
    pub fn verifiers(&self) -> Vec<&dyn Verifier> {
        let logs = self.logs.iter().filter_map(|log| log.key.known()).map(|key| key as &dyn Verifier);
        let witnesses = self.witnesses.iter().filter_map(|witness| witness.key.known());
        logs.chain(witnesses.map(|key| key as &dyn Verifier)).collect()
    }

    /// Whether signatures satisfy the policy. They must be verified: those of a [`Note`](super::Note) that was opened with
    /// [`Policy::verifiers`]. Where the policy names no log, somebody else must have seen to the log's signature.
    pub fn check(&self, origin: &str, verified: &[Signature]) -> Result<(), PolicyFailure> {
        let signed = |log: &PolicyLog| log.key.name().as_str() == origin && log.key.signed(verified);
        if !self.logs.is_empty() && !self.logs.iter().any(signed) {
            return Err(PolicyFailure::Log { origin: origin.to_owned() });
        }
        self.check_quorum(verified)
    }

    /// Whether the witnesses that cosigned are enough, whichever log it was.
    pub fn check_quorum(&self, verified: &[Signature]) -> Result<(), PolicyFailure> {
        let cosigned = self.witnesses.iter().map(|witness| witness.key.signed(verified)).collect::<Vec<_>>();
        if self.is_met(&cosigned) {
            return Ok(());
        }
        let (cosigned, witnesses) = (cosigned.iter().filter(|signed| **signed).count(), cosigned.len());
        Err(PolicyFailure::Quorum { cosigned, witnesses })
    }

    /// Whether the quorum is met when exactly these witnesses, in the order of [`Policy::witnesses`], have cosigned.
    pub fn is_met(&self, cosigned: &[bool]) -> bool {
        let mut groups = Vec::with_capacity(self.groups.len());
        // A group has earlier groups as members only, so that one pass knows them all.
        for group in &self.groups {
            let has = |member: &&Member| match member {
                Member::Witness(at) => cosigned.get(*at).copied().unwrap_or(false),
                Member::Group(at) => groups[*at],
            };
            let met = group.members.iter().filter(has).count() >= group.threshold;
            groups.push(met);
        }
        match self.quorum {
            None => true,
            Some(Member::Witness(at)) => cosigned.get(at).copied().unwrap_or(false),
            Some(Member::Group(at)) => groups[at],
        }
    }
}

/// What was read so far.
#[derive(Default)]
struct Parser {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    quorum: Option<Option<Member>>,
    /// Names are octets: two that are not UTF-8 are not the same only because they are shown alike.
    names: HashMap<Vec<u8>, Defined>,
}

struct Defined {
    member: Member,
    /// Whether a group has it as a member.
    taken: bool,
}

impl Parser {
    fn line(&mut self, line: &[u8]) -> Result<(), PolicyProblem> {
        if line.iter().any(|byte| *byte == 0x7f || (*byte < b' ' && *byte != b'\t')) {
            return Err(PolicyProblem::Characters);
        }
        let words: Vec<&[u8]> =
            line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()).collect();
        let Some((keyword, rest)) = words.split_first().filter(|(first, _)| first[0] != b'#') else {
            return Ok(());
        };
        match *keyword {
            b"log" => self.log(rest)?,
            b"witness" => self.witness(rest)?,
            b"group" => self.group(rest)?,
            b"quorum" => self.quorum(rest)?,
            _ => return Err(PolicyProblem::Keyword),
        }
        let entries = self.logs.len() + self.witnesses.len() + self.groups.len();
        if entries > MAX_POLICY_ENTRIES { Err(PolicyProblem::TooMany) } else { Ok(()) }
    }

    fn log(&mut self, words: &[&[u8]]) -> Result<(), PolicyProblem> {
        let (vkey, url) = match words {
            [vkey] => (vkey, None),
            [vkey, url] => (vkey, Some(show(url))),
            _ => return Err(PolicyProblem::Form { want: "log <vkey> [<url>]" }),
        };
        let key: PolicyKey<VerifierKey> = parse_key(vkey)?;
        let same = |log: &PolicyLog| match (&log.key, &key) {
            (PolicyKey::Known(a), PolicyKey::Known(b)) => a.public_bytes() == b.public_bytes(),
            (a, b) => (a.name(), a.id()) == (b.name(), b.id()),
        };
        if self.logs.iter().any(same) {
            return Err(PolicyProblem::DuplicateKey);
        }
        self.logs.push(PolicyLog { key, url });
        Ok(())
    }

    fn witness(&mut self, words: &[&[u8]]) -> Result<(), PolicyProblem> {
        let (name, vkey, url) = match words {
            [name, vkey] => (name, vkey, None),
            [name, vkey, url] => (name, vkey, Some(show(url))),
            _ => return Err(PolicyProblem::Form { want: "witness <name> <vkey> [<url>]" }),
        };
        let key: PolicyKey<CosignatureVerifier> = parse_key(vkey)?;
        let same = |witness: &PolicyWitness| match (&witness.key, &key) {
            (PolicyKey::Known(a), PolicyKey::Known(b)) => a.public_bytes() == b.public_bytes(),
            (a, b) => (a.name(), a.id()) == (b.name(), b.id()),
        };
        if self.witnesses.iter().any(same) {
            return Err(PolicyProblem::DuplicateKey);
        }
        self.define(name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push(PolicyWitness { name: show(name), key, url });
        Ok(())
    }

    fn group(&mut self, words: &[&[u8]]) -> Result<(), PolicyProblem> {
        let [name, threshold, names @ ..] = words else {
            return Err(PolicyProblem::Form { want: "group <name> <k>|any|all <name>…" });
        };
        if names.is_empty() {
            return Err(PolicyProblem::Form { want: "group <name> <k>|any|all <name>…" });
        }
        let wrong = PolicyProblem::Threshold { members: names.len() };
        let threshold = match *threshold {
            b"any" => 1,
            b"all" => names.len(),
            digits if digits.iter().all(u8::is_ascii_digit) => {
                let k = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
                k.filter(|k| (1..=names.len()).contains(k)).ok_or(wrong)?
            }
            _ => return Err(wrong),
        };
        let mut members = Vec::with_capacity(names.len());
        for member in names {
            let defined = self.names.get_mut(*member);
            let defined = defined.ok_or_else(|| PolicyProblem::UnknownName { name: show(member) })?;
            if std::mem::replace(&mut defined.taken, true) {
                return Err(PolicyProblem::DuplicateMember { name: show(member) });
            }
            members.push(defined.member);
        }
        self.define(name, Member::Group(self.groups.len()))?;
        self.groups.push(Group { threshold, members });
        Ok(())
    }

    fn quorum(&mut self, words: &[&[u8]]) -> Result<(), PolicyProblem> {
        let [name] = words else { return Err(PolicyProblem::Form { want: "quorum <name>, or quorum none" }) };
        if self.quorum.is_some() {
            return Err(PolicyProblem::DuplicateQuorum);
        }
        self.quorum = Some(match self.names.get(*name) {
            Some(defined) => Some(defined.member),
            None if *name == b"none" => None,
            None => return Err(PolicyProblem::UnknownName { name: show(name) }),
        });
        Ok(())
    }

    fn define(&mut self, name: &[u8], member: Member) -> Result<(), PolicyProblem> {
        if name == b"none" || self.names.contains_key(name) {
            return Err(PolicyProblem::DuplicateName { name: show(name) });
        }
        self.names.insert(name.to_owned(), Defined { member, taken: false });
        Ok(())
    }
}

/// A key of the kind that belongs here, or of an algorithm that nobody here knows.
fn parse_key<K: std::str::FromStr<Err = KeyError>>(vkey: &[u8]) -> Result<PolicyKey<K>, KeyError> {
    let vkey = std::str::from_utf8(vkey).map_err(|_| KeyError::Malformed)?;
    match vkey.parse() {
        // A log's key where a witness's belongs is a mistake; what is unknown may be known to others.
        Err(KeyError::Algorithm { found, .. }) if !matches!(found, 0x01 | 0x04) => {
            let (name, id) = parse_unsupported(vkey)?;
            Ok(PolicyKey::Unsupported { name, id })
        }
        parsed => parsed.map(PolicyKey::Known),
    }
}

fn show(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
