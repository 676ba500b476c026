//! The hash of a record, of a node, of a tree.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

/// Bytes of a hash.
pub const HASH_SIZE: usize = 32;

/// Characters of a hash in base64, its one `=` included.
const HASH_BASE64_LEN: usize = 44;

/// Bytes that SHA-256 consumes at a time.
const BLOCK: usize = 64;

/// Blocks that a record may fill to be hashed on the stack: nearly all go.sum records need three or four.
const STACK_BLOCKS: usize = 6;

/// The state in which SHA-256 starts (FIPS 180-4, section 5.3.3).
const SHA256_START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// A SHA-256 of the log: of a record, of an interior node or of a tree.
///
/// `Display` and `FromStr` are standard base64 with its padding, 44 characters; parsing accepts nothing that
/// does not print back to itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; HASH_SIZE]);

impl Hash {
    /// The root of the tree without records: SHA-256 of nothing.
    pub const EMPTY_TREE: Hash = Hash([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
        0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    /// The hash of a record: SHA-256(0x00 || text), of its text without the record number.
    pub fn of_record(text: &[u8]) -> Hash {
        // The message is padded here and compressed in one call, which spares the hasher's own buffering: a
        // mirror hashes millions of records, each of a few blocks.
        let length = 1 + text.len();
        let blocks = (length + 1 + 8).div_ceil(BLOCK);
        if blocks > STACK_BLOCKS {
            return Hash(Sha256::new().chain_update([0x00]).chain_update(text).finalize().into());
        }
        let mut message = [[0; BLOCK]; STACK_BLOCKS];
        let bytes = message.as_flattened_mut();
        bytes[1..length].copy_from_slice(text);
        bytes[length] = 0x80;
        let end = blocks * BLOCK;
        bytes[end - 8..end].copy_from_slice(&(length as u64 * 8).to_be_bytes());
        compress(&message[..blocks])
    }

    /// The hash of an interior node: SHA-256(0x01 || left || right).
    pub fn of_node(left: &Hash, right: &Hash) -> Hash {
        const LENGTH: usize = 1 + 2 * HASH_SIZE;
        let mut message = [[0; BLOCK]; 2];
        let bytes = message.as_flattened_mut();
        bytes[0] = 0x01;
        bytes[1..1 + HASH_SIZE].copy_from_slice(&left.0);
        bytes[1 + HASH_SIZE..LENGTH].copy_from_slice(&right.0);
        bytes[LENGTH] = 0x80;
        bytes[2 * BLOCK - 8..].copy_from_slice(&(LENGTH as u64 * 8).to_be_bytes());
        compress(&message)
    }

    /// A hash that is already computed.
    pub const fn from_bytes(bytes: [u8; HASH_SIZE]) -> Hash {
        Hash(bytes)
    }

    /// A hash from a slice of exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Hash> {
        bytes.try_into().ok().map(Hash)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; HASH_SIZE] {
        &self.0
    }
}

/// SHA-256 of a message that is padded already.
fn compress(blocks: &[[u8; BLOCK]]) -> Hash {
    let mut state = SHA256_START;
    compress256(&mut state, blocks);
    let mut hash = [0; HASH_SIZE];
    for (bytes, word) in hash.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    Hash(hash)
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; HASH_BASE64_LEN];
        let len = STANDARD.encode_slice(self.0, &mut text).expect("32 bytes are 44 characters of base64");
        f.pad(std::str::from_utf8(&text[..len]).expect("base64 is ASCII"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// The text is not the standard base64 of 32 bytes, with padding and without stray bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed hash: want the standard base64 of 32 bytes")]
pub struct HashParseError;

impl FromStr for Hash {
    type Err = HashParseError;

    fn from_str(text: &str) -> Result<Hash, HashParseError> {
        if text.len() != HASH_BASE64_LEN {
            return Err(HashParseError);
        }
        let bytes = STANDARD.decode(text).map_err(|_| HashParseError)?;
        Hash::from_slice(&bytes).ok_or(HashParseError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second witness: the hasher as its library means it to be used.
    fn plain(prefix: u8, parts: &[&[u8]]) -> Hash {
        let mut hasher = Sha256::new().chain_update([prefix]);
        for part in parts {
            hasher.update(part);
        }
        Hash(hasher.finalize().into())
    }

    #[test]
    fn record_hash_of_every_length_around_the_blocks() {
        let text: Vec<u8> = (0..1000u32).map(|i| (i * 7 + 1) as u8).collect();
        for length in 0..=text.len() {
            assert_eq!(Hash::of_record(&text[..length]), plain(0x00, &[&text[..length]]), "length {length}");
        }
    }

    #[test]
    fn node_hash() {
        let (left, right) = (Hash::of_record(b"left"), Hash::of_record(b"right"));
        assert_eq!(Hash::of_node(&left, &right), plain(0x01, &[&left.0, &right.0]));
        assert_ne!(Hash::of_node(&left, &right), Hash::of_node(&right, &left));
    }

    #[test]
    fn empty_tree_is_sha256_of_nothing() {
        assert_eq!(Hash::EMPTY_TREE.0[..], Sha256::digest(b"")[..]);
        assert_eq!(Hash::EMPTY_TREE.to_string(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn parse_refuses_what_does_not_print_back() {
        let text = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(text.parse(), Ok(Hash::EMPTY_TREE));
        for (bad, why) in [
            ("", "empty"),
            ("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", "no padding"),
            ("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=", "stray bits after the last byte"),
            ("47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=", "the URL alphabet"),
            ("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuA==", "31 bytes"),
            ("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFUA", "33 bytes"),
            ("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", "a newline"),
            (" 7DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "a space"),
        ] {
            assert_eq!(bad.parse::<Hash>(), Err(HashParseError), "{why}");
        }
    }

    #[test]
    fn slices_of_another_length_are_no_hash() {
        for length in [0, 31, 33, 64] {
            assert_eq!(Hash::from_slice(&vec![0; length]), None);
        }
        assert_eq!(Hash::from_slice(Hash::EMPTY_TREE.as_bytes()), Some(Hash::EMPTY_TREE));
    }
}
