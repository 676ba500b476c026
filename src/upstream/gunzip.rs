//! `Content-Encoding: gzip`, undone as the go command undoes it.
//!
//! Go's HTTP client decodes an answer whose first `Content-Encoding` is `gzip`, in any case, and
//! takes every other value for plain bytes. Some storage answers so whatever a client asked for:
//!
//! | `Content-Encoding` | the body is |
//! |---|---|
//! | `gzip`, `GZIP` | one or more gzip members, and nothing after them |
//! | empty, `identity`, `aws-chunked`, `br`, `gzip, identity` | what it is |
//!
//! A gzip member grows to a thousand times its size, so it is decoded in small pieces, and whoever
//! takes them counts them.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

/// Encoded bytes that are decoded at once: some 8 MiB at most come out of them.
const PIECE_BYTES: usize = 8 << 10;

/// A gzip body that is coming.
pub(super) struct Gunzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    /// What has come and is not decoded yet.
    pending: Bytes,
    /// Nothing at all is an empty body, as in Go, and no broken one.
    is_empty: bool,
}

impl Gunzip {
    /// The decoder of an answer with these headers, if it needs one.
    pub(super) fn of(headers: &HeaderMap) -> Option<Gunzip> {
        let encoding = headers.get(CONTENT_ENCODING)?;
        encoding.as_bytes().eq_ignore_ascii_case(b"gzip").then(|| Gunzip {
            decoder: MultiGzDecoder::new(Vec::new()),
            pending: Bytes::new(),
            is_empty: true,
        })
    }

    /// Takes what has come. What came before must be decoded.
    pub(super) fn feed(&mut self, encoded: Bytes) {
        assert!(self.pending.is_empty(), "the piece before is decoded first");
        self.is_empty &= encoded.is_empty();
        self.pending = encoded;
    }

    /// The next decoded bytes; none when more must come first.
    pub(super) fn piece(&mut self) -> io::Result<Option<Bytes>> {
        while !self.pending.is_empty() {
            let piece = self.pending.split_to(self.pending.len().min(PIECE_BYTES));
            self.decoder.write_all(&piece)?;
            let decoded = std::mem::take(self.decoder.get_mut());
            if !decoded.is_empty() {
                return Ok(Some(decoded.into()));
            }
        }
        Ok(None)
    }

    /// The last decoded bytes, perhaps none. The body must be whole.
    pub(super) fn finish(mut self) -> io::Result<Bytes> {
        if !self.is_empty {
            self.decoder.try_finish()?;
        }
        Ok(std::mem::take(self.decoder.get_mut()).into())
    }

    /// As much of the beginning as a body that is cut off gives.
    pub(super) fn beginning(mut self, encoded: Vec<u8>) -> Vec<u8> {
        self.feed(encoded.into());
        let mut decoded = Vec::new();
        while let Ok(Some(piece)) = self.piece() {
            decoded.extend_from_slice(&piece);
        }
        // What is left of a body that ends early is still text for people.
        decoded.extend_from_slice(&self.finish().unwrap_or_default());
        decoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'module m\n' | gzip -n`
    const MODULE: &[u8] = &[
        0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0x03, 0xcb, 0xcd, 0x4f, 0x29, 0xcd, 0x49, 0x55, 0xc8, 0xe5, 0x02,
        0, 0xa7, 0x13, 0x09, 0x3e, 0x09, 0, 0, 0,
    ];

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, reqwest::header::HeaderValue::from_static(value));
        }
        headers
    }

    fn decode(pieces: &[&[u8]]) -> io::Result<Vec<u8>> {
        let mut gunzip = Gunzip::of(&headers(&["gzip"])).unwrap();
        let mut decoded = Vec::new();
        for piece in pieces {
            gunzip.feed(Bytes::copy_from_slice(piece));
            while let Some(piece) = gunzip.piece()? {
                decoded.extend_from_slice(&piece);
            }
        }
        decoded.extend_from_slice(&gunzip.finish()?);
        Ok(decoded)
    }

    #[test]
    fn only_gzip_is_an_encoding() {
        for (values, is_gzip) in [
            (&["gzip"][..], true),
            (&["GZip"], true),
            (&["gzip", "identity"], true),
            (&["identity", "gzip"], false),
            (&["gzip, identity"], false),
            (&["x-gzip"], false),
            (&["br"], false),
            (&[""], false),
            (&[], false),
        ] {
            assert_eq!(Gunzip::of(&headers(values)).is_some(), is_gzip, "{values:?}");
        }
    }

    #[test]
    fn members_are_decoded_whole_and_however_they_come() {
        assert_eq!(decode(&[MODULE]).unwrap(), b"module m\n");
        let bytes: Vec<&[u8]> = MODULE.chunks(1).collect();
        assert_eq!(decode(&bytes).unwrap(), b"module m\n");
        assert_eq!(decode(&[MODULE, MODULE]).unwrap(), b"module m\nmodule m\n");
        assert_eq!(decode(&[]).unwrap(), b"");
        for cut in 1..MODULE.len() {
            assert!(decode(&[&MODULE[..cut]]).is_err(), "{cut}");
        }
        assert!(decode(&[MODULE, b"more"]).is_err());
        assert!(decode(&[b"plain text"]).is_err());
    }

    #[test]
    fn a_bomb_comes_out_in_bounded_pieces() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 64 << 20]).unwrap();
        let mut gunzip = Gunzip::of(&headers(&["gzip"])).unwrap();
        gunzip.feed(encoder.finish().unwrap().into());
        while let Some(piece) = gunzip.piece().unwrap() {
            assert!(piece.len() <= 9 << 20, "{}", piece.len());
        }
    }
}
