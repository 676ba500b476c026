//! Signing a note.

use super::key::{KeyId, KeyName, SignerKey};
use super::open::{MAX_NOTE_BYTES, MAX_SIGNATURES, Signature};

/// A text cannot be signed so that the note could be opened again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The text does not end in a newline.
    #[error("the text of a note must end in a newline")]
    NoFinalNewline,
    /// A control character other than the newline.
    #[error("the text of a note must not have control characters")]
    ControlCharacter,
    /// The note would be above [`MAX_NOTE_BYTES`].
    #[error("the note would be longer than {MAX_NOTE_BYTES} bytes")]
    TooLong,
    /// No signer, or more than [`MAX_SIGNATURES`].
    #[error("a note has 1 to {MAX_SIGNATURES} signatures, not {count}")]
    SignerCount {
        /// Signers given.
        count: usize,
    },
    /// One key was given twice; only its first signature would count.
    #[error("key {name}+{key_id} was to sign twice")]
    DuplicateSigner {
        /// The key's name.
        name: KeyName,
        /// The key's id.
        key_id: KeyId,
    },
}

/// Signs a text with each key in turn. The same text and keys always give the same bytes.
pub fn sign(text: &str, signers: &[&SignerKey]) -> Result<String, SignError> {
    if !text.ends_with('\n') {
        return Err(SignError::NoFinalNewline);
    }
    if text.bytes().any(|byte| byte < b' ' && byte != b'\n') {
        return Err(SignError::ControlCharacter);
    }
    if !(1..=MAX_SIGNATURES).contains(&signers.len()) {
        return Err(SignError::SignerCount { count: signers.len() });
    }
    let mut note = format!("{text}\n");
    for (position, signer) in signers.iter().enumerate() {
        let (name, key_id) = (signer.name(), signer.id());
        if signers[..position].iter().any(|other| other.id() == key_id && other.name() == name) {
            return Err(SignError::DuplicateSigner { name: name.clone(), key_id });
        }
        let signature = Signature::new(name.clone(), key_id, &signer.sign(text.as_bytes()));
        note.push_str(&signature.format_line());
        note.push('\n');
    }
    if note.len() > MAX_NOTE_BYTES { Err(SignError::TooLong) } else { Ok(note) }
}

/// Puts further signatures under a note that is signed already, such as cosignatures of its witnesses.
///
/// Nothing is verified here; a line that stands in the note already is not repeated.
pub fn append_signatures(note: &str, signatures: &[Signature]) -> Result<String, SignError> {
    let mut whole = note.to_owned();
    let first = note.rfind("\n\n").ok_or(SignError::NoFinalNewline)? + 2;
    let mut count = note[first..].lines().count();
    for signature in signatures {
        let line = signature.format_line();
        if whole[first..].lines().any(|present| present == line) {
            continue;
        }
        whole.push_str(&line);
        whole.push('\n');
        count += 1;
    }
    if count > MAX_SIGNATURES {
        return Err(SignError::SignerCount { count });
    }
    if whole.len() > MAX_NOTE_BYTES { Err(SignError::TooLong) } else { Ok(whole) }
}
