//! Opening a note: parse it whole, verify what can be verified.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::SIGNATURE_PREFIX;
use super::key::{KeyId, KeyName, Verifier};

/// Bytes of a note. Tree heads are a few hundred; the limit is that of x/mod for the text of a tree head.
pub const MAX_NOTE_BYTES: usize = 1_000_000;

/// Signature lines of a note, as in x/mod, so that a hostile note cannot cost much.
pub const MAX_SIGNATURES: usize = 100;

/// Bytes of the key id before a signature.
const KEY_ID_SIZE: usize = 4;

/// A signature line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    /// The name that the line claims.
    pub name: KeyName,
    /// The id that the line claims.
    pub key_id: KeyId,
    /// The base64 of the id and the signature, as it stands in the line.
    pub base64: String,
}

impl Signature {
    /// The signature of a key, from its bytes.
    pub fn new(name: KeyName, key_id: KeyId, signature: &[u8]) -> Signature {
        let mut bytes = Vec::with_capacity(KEY_ID_SIZE + signature.len());
        bytes.extend_from_slice(&key_id.0.to_be_bytes());
        bytes.extend_from_slice(signature);
        Signature { name, key_id, base64: STANDARD.encode(bytes) }
    }

    /// Parses a signature line, without its newline. Nothing is verified.
    pub fn parse_line(line: &str) -> Option<Signature> {
        let fine = !line.bytes().any(|byte| byte < b' ');
        if fine { parse_signature(line).map(|(signature, _)| signature) } else { None }
    }

    /// The line of a note, without its newline.
    pub fn format_line(&self) -> String {
        format!("{SIGNATURE_PREFIX}{} {}", self.name, self.base64)
    }

    /// The bytes of the signature, without the key id.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = STANDARD.decode(&self.base64).unwrap_or_default();
        bytes.drain(..KEY_ID_SIZE.min(bytes.len()));
        bytes
    }
}

/// The parts of a note of which nothing is verified: to find out which log it claims to be of, and never more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnverifiedNote {
    /// The text, its last newline included.
    pub text: String,
    /// The signature lines, in the order of the note, repetitions included.
    pub signatures: Vec<Signature>,
}

/// A note with at least one verified signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// The text, its last newline included.
    pub text: String,
    /// The signatures that were verified, in the order of the note, one for each key.
    pub signatures: Vec<Signature>,
    /// The signatures of other keys. Nothing is known about them.
    pub unverified: Vec<Signature>,
}

/// A note cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Above [`MAX_NOTE_BYTES`].
    #[error("the note is longer than {MAX_NOTE_BYTES} bytes")]
    TooLong,
    /// Not UTF-8, or a control character other than the newline.
    #[error("malformed note: not UTF-8, or with a control character")]
    Characters,
    /// No blank line followed by signatures, or the last line is not ended. A web page looks like this.
    #[error("malformed note: no blank line with signatures after it")]
    NoSignatureBlock,
    /// A line after the blank line is no signature.
    #[error("malformed note: line {line} of the signatures is not a signature")]
    SignatureLine {
        /// Which line after the blank line, counted from 1.
        line: usize,
    },
    /// More than [`MAX_SIGNATURES`].
    #[error("malformed note: more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// Two of the given keys have this name and id, so it is not known which one is meant.
    #[error("ambiguous key {name}+{key_id}")]
    AmbiguousKey {
        /// The name of both.
        name: KeyName,
        /// The id of both.
        key_id: KeyId,
    },
    /// A known key's signature does not fit the text: the text or the signature was changed.
    #[error("invalid signature for key {name}+{key_id}")]
    InvalidSignature {
        /// The key's name.
        name: KeyName,
        /// The key's id.
        key_id: KeyId,
    },
    /// None of the signatures is by a given key: another log's note, or the log changed its key. The note is
    /// held so that the error can name the keys that did sign; its text proves nothing.
    #[error("note has no verifiable signatures")]
    Unverified {
        /// The note, of which nothing is verified.
        note: Box<Note>,
    },
}

/// Takes a note apart and verifies nothing. What it says proves nothing before [`open()`].
pub fn parse_unverified(message: &[u8]) -> Result<UnverifiedNote, OpenError> {
    let (text, lines) = split(message)?;
    let mut signatures = Vec::new();
    for (position, line) in lines.lines().enumerate() {
        let (signature, _) = parse_signature(line).ok_or(OpenError::SignatureLine { line: position + 1 })?;
        if position >= MAX_SIGNATURES {
            return Err(OpenError::TooManySignatures);
        }
        signatures.push(signature);
    }
    Ok(UnverifiedNote { text: text.to_owned(), signatures })
}

/// Opens a note: verifies every signature by one of `verifiers` and requires at least one.
///
/// Lines of unknown keys are put aside, repetitions are unknown (of an unknown key only identical ones; of
/// a known key the first signature counts). The keys are of one type (`&[&VerifierKey]`) or of several
/// (`&[&dyn Verifier]`).
pub fn open<V: Verifier + ?Sized>(message: &[u8], verifiers: &[&V]) -> Result<Note, OpenError> {
    let (text, lines) = split(message)?;
    let mut note = Note { text: text.to_owned(), signatures: Vec::new(), unverified: Vec::new() };
    let mut unknown = HashSet::new();
    for (position, line) in lines.lines().enumerate() {
        let (signature, raw) =
            parse_signature(line).ok_or(OpenError::SignatureLine { line: position + 1 })?;
        if position >= MAX_SIGNATURES {
            return Err(OpenError::TooManySignatures);
        }
        let Some(verifier) = find(verifiers, &signature)? else {
            if unknown.insert(line) {
                note.unverified.push(signature);
            }
            continue;
        };
        let same = |seen: &Signature| seen.name == signature.name && seen.key_id == signature.key_id;
        if note.signatures.iter().any(same) {
            continue;
        }
        if !verifier.verify(text.as_bytes(), &raw) {
            let Signature { name, key_id, .. } = signature;
            return Err(OpenError::InvalidSignature { name, key_id });
        }
        note.signatures.push(signature);
    }
    if note.signatures.is_empty() {
        return Err(OpenError::Unverified { note: Box::new(note) });
    }
    Ok(note)
}

/// The text with its last newline, and the signature lines, of which there is at least one, each ended.
fn split(message: &[u8]) -> Result<(&str, &str), OpenError> {
    if message.len() > MAX_NOTE_BYTES {
        return Err(OpenError::TooLong);
    }
    let message = std::str::from_utf8(message).map_err(|_| OpenError::Characters)?;
    if message.bytes().any(|byte| byte < b' ' && byte != b'\n') {
        return Err(OpenError::Characters);
    }
    let blank = message.rfind("\n\n").ok_or(OpenError::NoSignatureBlock)?;
    let (text, lines) = (&message[..=blank], &message[blank + 2..]);
    if lines.ends_with('\n') { Ok((text, lines)) } else { Err(OpenError::NoSignatureBlock) }
}

/// Parses a signature line; the bytes are the signature without the key id.
fn parse_signature(line: &str) -> Option<(Signature, Vec<u8>)> {
    let (name, base64) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
    let name = name.parse().ok()?;
    let mut id = STANDARD.decode(base64).ok()?;
    if id.len() <= KEY_ID_SIZE {
        return None;
    }
    let signature = id.split_off(KEY_ID_SIZE);
    let key_id = KeyId(u32::from_be_bytes(id.try_into().ok()?));
    Some((Signature { name, key_id, base64: base64.to_owned() }, signature))
}

/// The key that the signature claims, if it is among the given ones.
fn find<'a, V: Verifier + ?Sized>(
    verifiers: &[&'a V],
    signature: &Signature,
) -> Result<Option<&'a V>, OpenError> {
    let claimed = |key: &&&'a V| key.id() == signature.key_id && *key.name() == signature.name;
    let mut matching = verifiers.iter().filter(claimed);
    let first = matching.next();
    if matching.next().is_some() {
        let (name, key_id) = (signature.name.clone(), signature.key_id);
        return Err(OpenError::AmbiguousKey { name, key_id });
    }
    Ok(first.copied())
}
