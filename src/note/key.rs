//! Keys: their names and ids, and the texts in which they are handed around.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey, Verifier as _, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes of an Ed25519 public key, and of a seed.
pub(super) const KEY_SIZE: usize = 32;

/// Bytes of the largest public key that a vkey may hold: ML-DSA-44, whose cosignatures are not verified yet.
const MAX_PUBLIC_KEY_SIZE: usize = 1312;

/// How a key signs: the signature type of signed-note, which is the byte before the key in its text form.
///
/// Other types exist and more will come (0x06, ML-DSA-44 cosignatures): a key of such a type is refused where it must
/// sign or verify, and passed over where it is one of many, as an unknown key's signature is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Algorithm {
    /// 0x01: Ed25519 over the note's text. A log signs with it.
    Ed25519,
    /// 0x04: Ed25519 over the note's text and a time, `cosignature/v1`. A witness signs with it.
    CosignatureV1,
}

impl Algorithm {
    /// The signature type identifier byte.
    pub const fn byte(self) -> u8 {
        match self {
            Algorithm::Ed25519 => 0x01,
            Algorithm::CosignatureV1 => 0x04,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Ed25519 => "Ed25519 (1), a log's",
            Algorithm::CosignatureV1 => "Ed25519 cosignatures (4), a witness's",
        })
    }
}

/// A public key of any algorithm by which signatures of a note are verified.
pub trait Verifier {
    /// The key's name.
    fn name(&self) -> &KeyName;
    /// The key's id.
    fn id(&self) -> KeyId;
    /// Is this the key's signature of the note's text?
    fn verify(&self, text: &[u8], signature: &[u8]) -> bool;
}

/// Bytes of an Ed25519 signature.
pub(super) const SIGNATURE_SIZE: usize = 64;

/// What every signer key begins with.
const SIGNER_PREFIX: &str = "PRIVATE+KEY+";

/// The name of a key, which is the name of the log or person that signs: a host name, perhaps with a path.
///
/// Not empty, without white space, control characters and `+`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyName(String);

/// The name cannot be a key's: it is empty, or has white space, a control character or a `+`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key name must not be empty and must not have spaces, control characters or a plus sign")]
pub struct KeyNameError;

impl KeyName {
    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = KeyNameError;

    fn from_str(name: &str) -> Result<KeyName, KeyNameError> {
        let bad = |c: char| c.is_whitespace() || c == '+' || c < ' ';
        if name.is_empty() || name.contains(bad) { Err(KeyNameError) } else { Ok(KeyName(name.to_owned())) }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Tells apart the keys of one name; `Display` is eight hex digits. It is short: equal ids do not mean equal keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId(pub u32);

impl KeyId {
    /// The id of the key with this name, signature type and public key.
    pub(super) fn of(name: &KeyName, algorithm: u8, public: &[u8]) -> KeyId {
        let hasher = Sha256::new().chain_update(&name.0).chain_update(b"\n");
        let hash = hasher.chain_update([algorithm]).chain_update(public).finalize();
        KeyId(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]))
    }

    /// Parses eight lower-case hex digits.
    fn parse(text: &str) -> Option<KeyId> {
        let canonical = text.len() == 8 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if canonical { u32::from_str_radix(text, 16).ok().map(KeyId) } else { None }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A text is no key. It never holds any part of the text, which may have been a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not of the form `name+id+base64`, or `PRIVATE+KEY+name+id+base64` for a signer. The go command's
    /// "malformed verifier id": often a bare host name where the whole key belongs.
    #[error("malformed key: want name+<8 hex digits>+<base64>, the whole key and not only its name")]
    Malformed,
    /// The name has a space, a control character, or nothing.
    #[error(transparent)]
    Name(#[from] KeyNameError),
    /// The first byte is not that of the algorithm that belongs here: a witness's key where a log's should be, or an
    /// algorithm that is not known.
    #[error("the key's algorithm is {found}: here only {wanted}, can be used")]
    Algorithm {
        /// The algorithm that belongs here.
        wanted: Algorithm,
        /// The key's first byte.
        found: u8,
    },
    /// The id is not that of this name and key: one of the three was changed or cut.
    #[error("the key id does not belong to this name and key")]
    IdMismatch,
    /// The 32 bytes are no point of the curve, or one under which anything verifies.
    #[error("the key is no usable Ed25519 public key")]
    WeakKey,
}

/// A public key by which notes are verified, with its name. `Display` and `FromStr` are the vkey.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    id: KeyId,
    key: VerifyingKey,
}

impl VerifierKey {
    fn new(name: KeyName, key: VerifyingKey) -> VerifierKey {
        VerifierKey { id: KeyId::of(&name, Algorithm::Ed25519.byte(), key.as_bytes()), name, key }
    }

    /// The key's name.
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

    /// Is this the key's signature (64 bytes) of the message?
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        // Accepts what Go's crypto/ed25519 accepts, so that we and the go command never disagree about a note.
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|sig| self.key.verify(message, &sig).is_ok())
    }
}

impl Verifier for VerifierKey {
    fn name(&self) -> &KeyName {
        &self.name
    }

    fn id(&self) -> KeyId {
        self.id
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        VerifierKey::verify(self, text, signature)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(vkey: &str) -> Result<VerifierKey, KeyError> {
        let (name, id, key) = parse_public(vkey, Algorithm::Ed25519)?;
        Ok(VerifierKey { name, id, key })
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = encode_key(Algorithm::Ed25519, self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, self.id, *key)
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

/// A private key that signs notes, with its name. `FromStr` parses the skey; there is no `Display`, and `Debug` shows
/// the name and the id only. The secret is overwritten when the key is dropped.
pub struct SignerKey {
    verifier: VerifierKey,
    key: SigningKey,
}

impl SignerKey {
    /// The key of a seed. The seed is the secret: 32 bytes from the system's random source.
    pub fn generate(name: KeyName, seed: [u8; 32]) -> SignerKey {
        let seed = Zeroizing::new(seed);
        let key = SigningKey::from_bytes(&seed);
        SignerKey { verifier: VerifierKey::new(name, key.verifying_key()), key }
    }

    /// The key's name.
    pub fn name(&self) -> &KeyName {
        &self.verifier.name
    }

    /// The key's id.
    pub fn id(&self) -> KeyId {
        self.verifier.id
    }

    /// The public side.
    pub fn verifier(&self) -> VerifierKey {
        self.verifier.clone()
    }

    /// The skey, to be written where only its owner reads.
    pub fn to_skey(&self) -> Zeroizing<String> {
        format_skey(self.name(), self.id(), Algorithm::Ed25519, &self.key)
    }

    /// For the log's own cosignatures.
    pub(super) fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// The signature of a message. The same message always gets the same signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl FromStr for SignerKey {
    type Err = KeyError;

    fn from_str(skey: &str) -> Result<SignerKey, KeyError> {
        let (name, id, seed) = parse_secret(skey, Algorithm::Ed25519)?;
        let signer = SignerKey::generate(name, *seed);
        if signer.id() == id { Ok(signer) } else { Err(KeyError::IdMismatch) }
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerKey({}+{}+<secret>)", self.name(), self.id())
    }
}

/// Parses the vkey of an Ed25519 public key that signs by `algorithm`.
pub(super) fn parse_public(
    vkey: &str,
    algorithm: Algorithm,
) -> Result<(KeyName, KeyId, VerifyingKey), KeyError> {
    let (name, id, public) = parse_key(vkey, algorithm)?;
    if id != KeyId::of(&name, algorithm.byte(), &*public) {
        return Err(KeyError::IdMismatch);
    }
    let key = VerifyingKey::from_bytes(&public).map_err(|_| KeyError::WeakKey)?;
    // Under a key of small order there are signatures that fit many messages.
    if key.is_weak() { Err(KeyError::WeakKey) } else { Ok((name, id, key)) }
}

/// Parses the skey of a seed; whether the id fits, its public key must show.
pub(super) fn parse_secret(
    skey: &str,
    algorithm: Algorithm,
) -> Result<(KeyName, KeyId, Zeroizing<[u8; KEY_SIZE]>), KeyError> {
    parse_key(skey.strip_prefix(SIGNER_PREFIX).ok_or(KeyError::Malformed)?, algorithm)
}

/// The name and the id of a vkey whose algorithm is none that we verify; the id fits the name and the key.
pub(super) fn parse_unsupported(vkey: &str) -> Result<(KeyName, KeyId), KeyError> {
    let (name, id, bytes) = parse_parts(vkey)?;
    let (algorithm, public) = bytes.split_first().ok_or(KeyError::Malformed)?;
    if id == KeyId::of(&name, *algorithm, public) { Ok((name, id)) } else { Err(KeyError::IdMismatch) }
}

/// Parses `name+id+base64(algorithm || key)` of a 32-byte key.
fn parse_key(
    text: &str,
    algorithm: Algorithm,
) -> Result<(KeyName, KeyId, Zeroizing<[u8; KEY_SIZE]>), KeyError> {
    let (name, id, bytes) = parse_parts(text)?;
    match bytes.split_first() {
        None => Err(KeyError::Malformed),
        Some((&found, key)) if found == algorithm.byte() => {
            let key: [u8; KEY_SIZE] = key.try_into().map_err(|_| KeyError::Malformed)?;
            Ok((name, id, Zeroizing::new(key)))
        }
        Some((&found, _)) => Err(KeyError::Algorithm { wanted: algorithm, found }),
    }
}

/// Parses `name+id+base64(bytes)`.
fn parse_parts(text: &str) -> Result<(KeyName, KeyId, Zeroizing<Vec<u8>>), KeyError> {
    let (name, rest) = text.split_once('+').ok_or(KeyError::Malformed)?;
    let (id, key) = rest.split_once('+').ok_or(KeyError::Malformed)?;
    let id = KeyId::parse(id).ok_or(KeyError::Malformed)?;
    let name = name.parse()?;
    // A buffer of our own, so that a secret is overwritten even when the text turns out to be malformed.
    let mut bytes = Zeroizing::new(vec![0; 1 + MAX_PUBLIC_KEY_SIZE]);
    let length = STANDARD.decode_slice(key, &mut bytes[..]).map_err(|_| KeyError::Malformed)?;
    bytes.truncate(length);
    Ok((name, id, bytes))
}

/// The skey of a seed.
pub(super) fn format_skey(
    name: &KeyName,
    id: KeyId,
    algorithm: Algorithm,
    key: &SigningKey,
) -> Zeroizing<String> {
    let seed = encode_key(algorithm, key.as_bytes());
    let id = id.to_string();
    // Reserved in full, since a growing string would leave copies of the secret behind.
    let capacity = SIGNER_PREFIX.len() + name.0.len() + id.len() + seed.len() + 2;
    let mut skey = Zeroizing::new(String::with_capacity(capacity));
    for part in [SIGNER_PREFIX, name.as_str(), "+", &id, "+", &seed] {
        skey.push_str(part);
    }
    skey
}

/// base64(algorithm || key)
pub(super) fn encode_key(algorithm: Algorithm, key: &[u8; KEY_SIZE]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([algorithm.byte(); 1 + KEY_SIZE]);
    bytes[1..].copy_from_slice(key);
    Zeroizing::new(STANDARD.encode(&bytes[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VKEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

    #[test]
    fn the_key_of_sum_golang_org_prints_back() {
        let key: VerifierKey = VKEY.parse().expect("the key that the go command has built in");
        assert_eq!((key.name().as_str(), key.id()), ("sum.golang.org", KeyId(0x033d_e0ae)));
        assert_eq!(key.to_string(), VKEY);
    }

    #[test]
    fn the_secret_is_shown_by_to_skey_only() {
        let seed = [0x5a; 32];
        let key = SignerKey::generate("sum.corp.example/x".parse().expect("a name"), seed);
        let skey = key.to_skey();
        let secret = skey.rsplit('+').next().expect("the last part");
        assert_eq!(STANDARD.decode(secret).expect("base64")[1..], seed);
        let shown = format!("{key:?} {key:#?}");
        assert!(
            shown.contains("<secret>") && !shown.contains(secret) && !shown.contains("90, 90"),
            "{shown}"
        );

        let again: SignerKey = skey.parse().expect("a signer key");
        assert_eq!(again.to_skey(), skey);
        assert_eq!(again.verifier(), key.verifier());
        let cut = &skey[..skey.len() - 4];
        let error = cut.parse::<SignerKey>().expect_err("cut");
        assert!(!format!("{error} {error:?}").contains(&secret[..8]));
    }

    #[test]
    fn names() {
        for good in ["sum.golang.org", "sum.corp.example/a/b", "é", "a\u{200b}b", "\u{7f}"] {
            assert!(good.parse::<KeyName>().is_ok(), "{good:?}");
        }
        for bad in
            ["", " ", "a b", "a+b", "a\nb", "a\u{a0}b", "a\u{85}", "\u{2028}", "\u{3000}", "a\0", "\u{1}"]
        {
            assert_eq!(bad.parse::<KeyName>(), Err(KeyNameError), "{bad:?}");
        }
    }
}
