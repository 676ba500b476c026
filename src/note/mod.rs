//! Signed notes, as specified by golang.org/x/mod/sumdb/note and [C2SP signed-note].
//!
//! A note is a text, a blank line, and one line for each signature:
//!
//! ```text
//! go.sum database tree
//! 66398721
//! 5oXTdOltbW8oy+WAHSPYkUE7FskIY/5ZJCYGy+buJ3g=
//!
//! — sum.golang.org Az3grkwAPWdf0j0QaqFdZ3Hg/pDusO9we04GR+upDAujfj+kau8VzeyO7Xqw0j0qZNnwMvwiV98DluG2iyB8t4v4WQU=
//! ```
//!
//! The text ends in a newline, which the signature covers; the blank line it does not. Message and signatures are
//! UTF-8 without control characters other than the newline. A signature line is an em dash (U+2014), a space, the
//! key's name, a space, and the base64 of a 4-byte key id and the signature. The id only tells apart keys of one name:
//!
//! ```text
//! key id = first 4 bytes of SHA-256(name || "\n" || 0x01 || public key)        0x01 is Ed25519
//! vkey   = name+<key id, 8 hex digits>+base64(0x01 || public key)
//! skey   = PRIVATE+KEY+name+<key id>+base64(0x01 || seed)
//! ```
//!
//! A witness signs a time as well, with a key of another type ([`CosignatureVerifier`], [C2SP tlog-cosignature]).
//!
//! A note is worth nothing before [`open()`] has verified it. Signatures of unknown keys are kept aside; a bad
//! signature of a known key fails the whole note.
//!
//! ```
//! use tallystick::note::{SignerKey, open, sign};
//!
//! let key = SignerKey::generate("sum.corp.example".parse()?, [7; 32]);
//! let message = sign("the text\n", &[&key])?;
//! let note = open(message.as_bytes(), &[&key.verifier()])?;
//! assert_eq!(note.text, "the text\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! More strictly than x/mod, we refuse base64 and hex digits that do not print back to themselves, names with
//! control characters (no note could carry them), public keys that are no point of the curve or of small order
//! (under which anything verifies), and notes above [`MAX_NOTE_BYTES`].
//!
//! [C2SP signed-note]: https://c2sp.org/signed-note
//! [C2SP tlog-cosignature]: https://c2sp.org/tlog-cosignature

mod cosignature;
mod key;
mod open;
mod policy;
mod sign;

pub use cosignature::{CosignatureSigner, CosignatureVerifier, MAX_COSIGNATURE_TIME, cosigned_at};
pub use key::{Algorithm, KeyError, KeyId, KeyName, KeyNameError, SignerKey, Verifier, VerifierKey};
pub use open::{
    MAX_NOTE_BYTES, MAX_SIGNATURES, Note, OpenError, Signature, UnverifiedNote, open, parse_unverified,
};
pub use policy::{
    MAX_POLICY_BYTES, MAX_POLICY_ENTRIES, Policy, PolicyError, PolicyFailure, PolicyKey, PolicyLog,
    PolicyProblem, PolicyWitness,
};
pub use sign::{SignError, append_signatures, sign};

/// What every signature line begins with: an em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";
