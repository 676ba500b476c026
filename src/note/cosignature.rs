//! Cosignatures: a witness says that a tree grew out of the one before, and when it saw that.
//!
//! As specified by [C2SP tlog-cosignature], the Ed25519 kind (signature type 0x04, `cosignature/v1`). In the note it is
//! one more signature line, by a key that bears the witness's name:
//!
//! ```text
//! example.com/behind-the-sofa
//! 20852163
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//!
//! — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
//! — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
//! ```
//!
//! Its bytes are the key id, the time (seconds since 1970, 8 bytes, big endian) and the Ed25519 signature (64 bytes)
//! of two lines before the note's text:
//!
//! ```text
//! cosignature/v1
//! time 1679315147
//! example.com/behind-the-sofa
//! 20852163
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//! ```
//!
//! ```text
//! key id = first 4 bytes of SHA-256(name || "\n" || 0x04 || public key)
//! vkey   = name+<key id, 8 hex digits>+base64(0x04 || public key)
//! skey   = PRIVATE+KEY+name+<key id>+base64(0x04 || seed)
//! ```
//!
//! What is cosigned must be a checkpoint ([`crate::tlog`] has its form): whoever signs or trusts one has parsed the
//! text. The kind that signs with ML-DSA-44 (0x06) is not known yet; its signatures are those of an unknown key.
//!
//! [C2SP tlog-cosignature]: https://c2sp.org/tlog-cosignature

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer, SigningKey, Verifier as _, VerifyingKey};
use zeroize::Zeroizing;

use super::key::{
    Algorithm, KEY_SIZE, KeyError, KeyId, KeyName, SIGNATURE_SIZE, SignerKey, Verifier, VerifierKey,
    encode_key, format_skey, parse_public, parse_secret,
};
use super::open::Signature;

/// Bytes of the time before a cosignature.
const TIME_SIZE: usize = 8;

/// The latest time that a cosignature may carry, in seconds since 1970.
pub const MAX_COSIGNATURE_TIME: u64 = i64::MAX as u64;

/// A witness's public key. `Display` and `FromStr` are its vkey, of the type 0x04.
#[derive(Clone, PartialEq, Eq)]
pub struct CosignatureVerifier {
    name: KeyName,
    id: KeyId,
    key: VerifyingKey,
}

impl CosignatureVerifier {
    /// The witness's name.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The key's id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The 32 bytes of the Ed25519 public key.
    pub fn public_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }
}

impl Verifier for CosignatureVerifier {
    fn name(&self) -> &KeyName {
        &self.name
    }

    fn id(&self) -> KeyId {
        self.id
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        let Some((time, signature)) = split_time(signature) else { return false };
        // As for a log's key, what Go's crypto/ed25519 accepts.
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify(&message(time, text), &signature).is_ok())
    }
}

impl FromStr for CosignatureVerifier {
    type Err = KeyError;

    fn from_str(vkey: &str) -> Result<CosignatureVerifier, KeyError> {
        let (name, id, key) = parse_public(vkey, Algorithm::CosignatureV1)?;
        Ok(CosignatureVerifier { name, id, key })
    }
}

impl fmt::Display for CosignatureVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = encode_key(Algorithm::CosignatureV1, self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, self.id, *key)
    }
}

impl fmt::Debug for CosignatureVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosignatureVerifier({self})")
    }
}

/// A witness's private key. `FromStr` parses the skey; there is no `Display`, and `Debug` shows the name and the id only.
pub struct CosignatureSigner {
    verifier: CosignatureVerifier,
    key: SigningKey,
}

impl CosignatureSigner {
    /// The key of a seed: 32 secret bytes from the system's random source.
    ///
    /// The seed must be used for nothing else: a cosignature does not say by which name it was made.
    pub fn generate(name: KeyName, seed: [u8; KEY_SIZE]) -> CosignatureSigner {
        let seed = Zeroizing::new(seed);
        let key = SigningKey::from_bytes(&seed);
        let public = key.verifying_key();
        let id = KeyId::of(&name, Algorithm::CosignatureV1.byte(), public.as_bytes());
        CosignatureSigner { verifier: CosignatureVerifier { name, id, key: public }, key }
    }

    /// The witness's name.
    pub fn name(&self) -> &KeyName {
        &self.verifier.name
    }

    /// The key's id.
    pub fn id(&self) -> KeyId {
        self.verifier.id
    }

    /// The public side.
    pub fn verifier(&self) -> CosignatureVerifier {
        self.verifier.clone()
    }

    /// The skey, to be written where only its owner reads.
    pub fn to_skey(&self) -> Zeroizing<String> {
        format_skey(self.name(), self.id(), Algorithm::CosignatureV1, &self.key)
    }

    /// Cosigns the text of a checkpoint, its last newline included, at a time in seconds since 1970.
    ///
    /// The caller has parsed the text, and knows that the tree is consistent with every one that it cosigned before.
    ///
    /// # Panics
    ///
    /// When the time is above [`MAX_COSIGNATURE_TIME`].
    pub fn cosign(&self, text: &str, time: u64) -> Signature {
        assert!(time <= MAX_COSIGNATURE_TIME, "a cosignature's time must not be above 2^63-1, but is {time}");
        let mut bytes = Vec::with_capacity(TIME_SIZE + SIGNATURE_SIZE);
        bytes.extend_from_slice(&time.to_be_bytes());
        bytes.extend_from_slice(&self.key.sign(&message(time, text.as_bytes())).to_bytes());
        Signature::new(self.name().clone(), self.id(), &bytes)
    }
}

/// A log's own key as a cosigner of its own checkpoints: how a log dates them, since its note has no time in it.
///
/// The specification wants distinct keys for distinct cosigners, since a cosignature does not say by which name it was made; a log's key is
/// one cosigner, of one name, and no witness ever has it. What it signs as a log it cannot mistake: the second line of a cosigned
/// message is `time <seconds>`, that of every tree head and checkpoint a size. So whoever has the log's verifier key has this one too, and
/// there is no second secret to guard.
impl From<&SignerKey> for CosignatureSigner {
    fn from(log: &SignerKey) -> CosignatureSigner {
        CosignatureSigner::generate(log.name().clone(), log.signing_key().to_bytes())
    }
}

/// The public side of the same.
impl From<&VerifierKey> for CosignatureVerifier {
    fn from(log: &VerifierKey) -> CosignatureVerifier {
        let (name, public) = (log.name().clone(), log.public_bytes());
        let id = KeyId::of(&name, Algorithm::CosignatureV1.byte(), public);
        let key = VerifyingKey::from_bytes(public).expect("it is the key of a verifier");
        CosignatureVerifier { name, id, key }
    }
}

impl FromStr for CosignatureSigner {
    type Err = KeyError;

    fn from_str(skey: &str) -> Result<CosignatureSigner, KeyError> {
        let (name, id, seed) = parse_secret(skey, Algorithm::CosignatureV1)?;
        let signer = CosignatureSigner::generate(name, *seed);
        if signer.id() == id { Ok(signer) } else { Err(KeyError::IdMismatch) }
    }
}

impl fmt::Debug for CosignatureSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosignatureSigner({}+{}+<secret>)", self.name(), self.id())
    }
}

/// The time that a cosignature claims, in seconds since 1970. It is worth as much as the signature: nothing before it is verified.
pub fn cosigned_at(signature: &Signature) -> Option<u64> {
    split_time(&signature.bytes()).map(|(time, _)| time)
}

/// Splits the bytes of a cosignature into the time and the Ed25519 signature.
fn split_time(bytes: &[u8]) -> Option<(u64, &[u8])> {
    if bytes.len() != TIME_SIZE + SIGNATURE_SIZE {
        return None;
    }
    let (time, signature) = bytes.split_first_chunk()?;
    let time = u64::from_be_bytes(*time);
    if time <= MAX_COSIGNATURE_TIME { Some((time, signature)) } else { None }
}

/// What is signed.
fn message(time: u64, text: &[u8]) -> Vec<u8> {
    let mut message = format!("cosignature/v1\ntime {time}\n").into_bytes();
    message.extend_from_slice(text);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosigner_key_is_no_log_key_and_the_other_way_round() {
        let witness = CosignatureSigner::generate("w.example".parse().unwrap(), [7; 32]);
        let log = super::super::SignerKey::generate("w.example".parse().unwrap(), [7; 32]);
        assert_ne!(witness.id(), log.id());
        let error = witness.verifier().to_string().parse::<super::super::VerifierKey>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the key's algorithm is 4: here only Ed25519 (1), a log's, can be used"
        );
        let error = log.verifier().to_string().parse::<CosignatureVerifier>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the key's algorithm is 1: here only Ed25519 cosignatures (4), a witness's, can be used"
        );
        assert!(log.to_skey().parse::<CosignatureSigner>().is_err());
    }

    #[test]
    fn the_secret_is_not_shown() {
        let witness = CosignatureSigner::generate("w.example".parse().unwrap(), [0x5a; 32]);
        let skey = witness.to_skey();
        let secret = skey.rsplit('+').next().unwrap();
        assert!(!format!("{witness:?}").contains(secret));
        assert_eq!(skey.parse::<CosignatureSigner>().unwrap().verifier(), witness.verifier());
    }

    #[test]
    fn the_time_is_part_of_what_is_signed() {
        let witness = CosignatureSigner::generate("w.example".parse().unwrap(), [7; 32]);
        let (text, key) = ("o\n1\nx\n", witness.verifier());
        let signature = witness.cosign(text, 1_679_315_147);
        assert_eq!(cosigned_at(&signature), Some(1_679_315_147));
        let bytes = signature.bytes();
        assert!(key.verify(text.as_bytes(), &bytes));
        assert!(!key.verify(b"o\n2\nx\n", &bytes));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.verify(text.as_bytes(), &changed), "bit {bit}");
        }
        assert!(!key.verify(text.as_bytes(), &bytes[..71]));
        assert!(!key.verify(text.as_bytes(), &[&bytes[..], b"x"].concat()));
        let negative = Signature::new(witness.name().clone(), witness.id(), &[0xff; 72]);
        assert_eq!(cosigned_at(&negative), None);
    }
}
