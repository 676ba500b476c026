//! Zips: hashing never panics and keeps to its limits; what has a hash has none with a byte before it, and none when
//! it is above a limit; the zip of some files has the hash of those files; and a changed byte never changes the hash.

#![no_main]
#![forbid(unsafe_code)]

use std::io::{self, Cursor, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use libfuzzer_sys::fuzz_target;
use tallystick::dirhash::{HashedZip, ReadAt, ZipError, ZipLimits, hash_dir, hash_zip};
use tallystick_fuzz::{Input, flip, zip_module};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Small, so that inputs of some kilobytes reach them.
const LIMITS: ZipLimits = ZipLimits {
    zip_bytes: 1 << 20,
    unpacked_bytes: 1 << 16,
    go_mod_bytes: 1 << 10,
    license_bytes: 1 << 10,
    entries: 64,
};

/// What the end record and its comment are searched in.
const TAIL_BYTES: u64 = 65 << 10;

const NAMES: [&str; 6] = ["go.mod", "a.go", "LICENSE", "sub/b.go", "sub/d\u{e9}ep/c d.txt", "Z"];

/// A zip that knows how much of it was read.
struct Counted<'a> {
    bytes: &'a [u8],
    read: AtomicU64,
}

impl ReadAt for Counted<'_> {
    fn size(&self) -> io::Result<u64> {
        self.bytes.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.bytes.read_exact_at(buffer, offset)
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(hashed) = hash(data) {
        assert!(hashed.go_mod.iter().all(|go_mod| go_mod.len() as u64 <= LIMITS.go_mod_bytes));
        assert_eq!(hash(data).expect("it had a hash"), hashed);
        hash(&[b"P", data].concat()).expect_err("a byte before the first record");
        let limits = ZipLimits { zip_bytes: data.len() as u64 - 1, ..LIMITS };
        let error = hash_zip(data, &zip_module(), &limits).expect_err("above the limit");
        assert!(matches!(error, ZipError::TooLarge { what: "zip", .. }), "{error}");
    }
    let mut input = Input::new(data);
    let (count, methods) = (input.choice(NAMES.len() + 1), input.byte());
    let (position, mask) = (input.choice(1 << 16), input.byte());
    check_made(&NAMES[..count], methods, input.rest(), position, mask);
});

fn hash(zip: &[u8]) -> Result<HashedZip, ZipError> {
    let zip = Counted { bytes: zip, read: AtomicU64::new(0) };
    let result = hash_zip(&zip, &zip_module(), &LIMITS);
    // What entries declare does not overlap, or nothing of them is read; and a descriptor, which is not declared, is shorter
    // than the header and name of the entry that it may lie in. So every byte is read once, and some of them twice.
    let most = 2 * zip.bytes.len() as u64 + TAIL_BYTES;
    assert!(zip.read.into_inner() <= most, "{result:?}");
    result
}

/// Packs the parts of `content` under the names, bit by bit of `methods` stored or deflated.
fn check_made(names: &[&str], methods: u8, content: &[u8], position: usize, mask: u8) {
    let part = content.len().div_ceil(names.len().max(1)).clamp(1, LIMITS.go_mod_bytes as usize);
    let mut parts = content.chunks(part);
    let files: Vec<(String, &[u8])> =
        names.iter().map(|name| (name.to_string(), parts.next().unwrap_or_default())).collect();
    let mut zip = pack(&files, methods).expect("files are written to memory");
    let hashed = hash(&zip).expect("a zip of sound files");
    let module = zip_module().to_string();
    assert_eq!(hashed.h1, hash_dir(&module, files.iter().cloned()).expect("names differ"));
    let go_mod = files.first().map(|(_, content)| content.to_vec());
    assert_eq!(hashed.go_mod, go_mod, "the first name is go.mod");

    let position = position % zip.len();
    flip(&mut zip, position, mask);
    if let Ok(changed) = hash(&zip) {
        assert_eq!(changed, hashed, "byte {position} was changed unseen");
    }
}

fn pack(files: &[(String, &[u8])], methods: u8) -> zip::result::ZipResult<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (bit, (name, content)) in files.iter().enumerate() {
        let stored = methods >> bit & 1 == 1;
        let method = if stored { CompressionMethod::Stored } else { CompressionMethod::Deflated };
        let options = SimpleFileOptions::default().compression_method(method);
        writer.start_file(format!("{}/{name}", zip_module()), options)?;
        writer.write_all(content)?;
    }
    Ok(writer.finish()?.into_inner())
}
