//! Signing a note.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::SIGNATURE_PREFIX;
use super::key::{KeyId, KeyName, SIGNATURE_SIZE, SignerKey};
use super::open::{MAX_NOTE_BYTES, MAX_SIGNATURES};

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
        let mut bytes = Vec::with_capacity(4 + SIGNATURE_SIZE);
        bytes.extend_from_slice(&key_id.0.to_be_bytes());
        bytes.extend_from_slice(&signer.sign(text.as_bytes()));
        note.push_str(&format!("{SIGNATURE_PREFIX}{name} {}\n", STANDARD.encode(bytes)));
    }
    if note.len() > MAX_NOTE_BYTES { Err(SignError::TooLong) } else { Ok(note) }
}
