//! Hashes of zips and files against `golang.org/x/mod`: vectors from `tests/oracle/dirhashvec`.
//!
//! The rule: a zip that we accept has the hash that `dirhash.HashZip` gives it, and a zip that the `go` command can use
//! is accepted, but for the intended differences that are listed here.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde::Deserialize;
use tallystick::dirhash::{
    H1, HashedZip, ReadAt, ZipError, ZipLimits, hash_dir, hash_files, hash_go_mod, hash_zip,
};
use tallystick::gosum::{LineKind, parse_go_sum};
use tallystick::module::ModuleVersion;

/// The fields are described where `dirhashvec` makes them.
#[derive(Deserialize)]
struct Vectors {
    module: String,
    files: Vec<FileCase>,
    zips: Vec<ZipCase>,
    bits: Vec<BitCase>,
    edits: Vec<EditCase>,
}

#[derive(Deserialize)]
struct FileCase {
    files: Vec<(String, String)>,
    hash: String,
    dir: String,
}

#[derive(Deserialize)]
struct ZipCase {
    name: String,
    zip: String,
    check: bool,
    hash: String,
    #[serde(default)]
    gomod: String,
}

impl ZipCase {
    fn bytes(&self) -> Vec<u8> {
        STANDARD.decode(&self.zip).expect("vectors are base64")
    }
}

#[derive(Deserialize)]
struct BitCase {
    name: String,
    verdicts: String,
    cuts: String,
    hashes: Vec<String>,
}

#[derive(Deserialize)]
struct EditCase {
    name: String,
    edits: Vec<(usize, u8)>,
    verdict: char,
    #[serde(default)]
    hash: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/dirhash.json")).expect("vectors are JSON")
}

impl Vectors {
    fn hash(&self, zip: &[u8]) -> Result<HashedZip, ZipError> {
        hash_zip(zip, &self.module.parse().expect("a module version"), &ZipLimits::default())
    }

    fn zip(&self, name: &str) -> &ZipCase {
        self.zips.iter().find(|case| case.name == name).expect(name)
    }
}

/// What x/mod takes and we refuse, and why.
const STRICTER: &[(&str, &str)] = &[
    ("same directory twice, both there", "occurs twice"),
    ("the root twice", "occurs twice"),
    ("entry within another's data", "overlaps with what follows it"),
    ("local header has another name", "another name in its local header"),
    ("local header has a longer name", "another name in its local header"),
    ("encrypted flag", "encrypted"),
    ("strong encryption flag", "encrypted"),
    ("zip64 packed size is vast", "reaches into the directory"),
];

/// What zip.CheckZip refuses and we hash, with x/mod's hash.
const MORE_LENIENT: &[&str] = &[];

fn reason(error: &ZipError) -> &'static str {
    match error {
        ZipError::Io(_) => "input/output",
        ZipError::TooLarge { what, .. } => what,
        ZipError::Char { .. } => "a character that go does not allow",
        ZipError::Malformed { reason } | ZipError::Name { reason, .. } | ZipError::Entry { reason, .. } => {
            reason
        }
    }
}

#[test]
fn files_hash_as_in_x_mod() {
    let vectors = vectors();
    for case in &vectors.files {
        let files = || case.files.iter().map(|(name, content)| (name.clone(), content.as_bytes()));
        assert_eq!(hash_files(files()).unwrap().to_string(), case.hash);
        assert_eq!(hash_dir(&vectors.module, files()).unwrap().to_string(), case.dir);
        if let [(name, content)] = case.files.as_slice()
            && name == "go.mod"
        {
            assert_eq!(hash_go_mod(content.as_bytes()).to_string(), case.hash);
        }
    }
}

#[test]
fn zips_hash_as_in_x_mod() {
    let vectors = vectors();
    let (mut stricter, mut more_lenient) = (Vec::new(), Vec::new());
    for case in &vectors.zips {
        match vectors.hash(&case.bytes()) {
            Ok(hashed) => {
                assert_eq!(hashed.h1.to_string(), case.hash, "accepted {:?}", case.name);
                if !case.gomod.is_empty() {
                    assert_eq!(hashed.go_mod.as_deref(), Some(case.gomod.as_bytes()), "{:?}", case.name);
                }
                if !case.check {
                    more_lenient.push(case.name.as_str());
                }
            }
            Err(error) if case.check && !case.hash.is_empty() => {
                stricter.push((case.name.as_str(), reason(&error)));
            }
            Err(error) => assert!(!matches!(error, ZipError::Io(_)), "{:?}: {error}", case.name),
        }
    }
    assert_eq!(stricter, STRICTER);
    assert_eq!(more_lenient, MORE_LENIENT, "nothing enters the log that go cannot unpack");
}

/// Refuses what no list of differences holds, accepts no other hash than x/mod's.
fn check_verdict(
    what: &str,
    ours: Result<HashedZip, ZipError>,
    verdict: char,
    same: &str,
    other: &str,
) -> bool {
    match ours {
        Ok(hashed) => {
            let hash = hashed.h1.to_string();
            match verdict {
                '=' | 'c' => assert_eq!(hash, same, "accepted {what}"),
                'd' | 'D' => assert!(
                    hash.starts_with(other) && !other.is_empty(),
                    "accepted {what}: {hash}, not {other}"
                ),
                _ => panic!("accepted {what}, which x/mod cannot hash"),
            }
            true
        }
        Err(error) => {
            let known = || STRICTER.iter().any(|(_, known)| *known == reason(&error));
            assert!(!matches!(verdict, '=' | 'd') || known(), "refused {what}: {error}");
            false
        }
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_judged_as_in_x_mod() {
    let vectors = vectors();
    for case in &vectors.bits {
        let base = vectors.zip(&case.name);
        let bytes = base.bytes();
        assert_eq!((case.verdicts.len(), case.cuts.len()), (bytes.len() * 8, bytes.len()));
        let mut hashes = case.hashes.iter();
        let mut accepted = 0;
        let mut judge = |what: String, zip: &[u8], verdict: char| {
            let other =
                if matches!(verdict, 'd' | 'D') { hashes.next().expect("a hash each").as_str() } else { "" };
            accepted += usize::from(check_verdict(&what, vectors.hash(zip), verdict, &base.hash, other));
        };
        for (at, verdict) in case.verdicts.chars().enumerate() {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            judge(format!("{:?} with bit {at} flipped", case.name), &changed, verdict);
        }
        for (len, verdict) in case.cuts.chars().enumerate() {
            judge(format!("{:?} cut off after {len} bytes", case.name), &bytes[..len], verdict);
        }
        assert!(accepted > 0 && hashes.next().is_none(), "{accepted} accepted of {:?}", case.name);
    }
}

#[test]
fn edited_zips_are_judged_as_in_x_mod() {
    let vectors = vectors();
    for case in &vectors.edits {
        let base = vectors.zip(&case.name);
        let mut changed = base.bytes();
        for (at, byte) in &case.edits {
            changed[*at] = *byte;
        }
        let what = format!("{:?} with {:?}", case.name, case.edits);
        check_verdict(&what, vectors.hash(&changed), case.verdict, &base.hash, &case.hash);
    }
}

#[test]
fn limits_hold() {
    let vectors = vectors();
    let module: ModuleVersion = vectors.module.parse().unwrap();
    let zip = vectors.zip("created by x/mod").bytes();
    // The sizes of its four files: go.mod 32, README 0, a/b.go 200, LICENSE 5.
    let exact = ZipLimits {
        zip_bytes: zip.len() as u64,
        unpacked_bytes: 237,
        go_mod_bytes: 32,
        license_bytes: 5,
        entries: 4,
    };
    let hash = |limits: &ZipLimits| hash_zip(zip.as_slice(), &module, limits);
    hash(&exact).expect("just fits");
    for (limits, what) in [
        (ZipLimits { zip_bytes: exact.zip_bytes - 1, ..exact.clone() }, "zip"),
        (ZipLimits { unpacked_bytes: 236, ..exact.clone() }, "unpacked files"),
        (ZipLimits { go_mod_bytes: 31, ..exact.clone() }, "go.mod"),
        (ZipLimits { license_bytes: 4, ..exact.clone() }, "LICENSE"),
        (ZipLimits { entries: 3, ..exact.clone() }, "number of entries"),
    ] {
        let error = hash(&limits).unwrap_err();
        assert!(matches!(error, ZipError::TooLarge { .. }) && reason(&error) == what, "{error}");
    }
    for name in ["go.mod too large", "LICENSE too large", "unpacked size beyond the limit"] {
        let error = vectors.hash(&vectors.zip(name).bytes()).unwrap_err();
        assert!(matches!(error, ZipError::TooLarge { .. }), "{name}: {error}");
    }
}

#[test]
fn another_module_is_refused() {
    let vectors = vectors();
    let zip = vectors.zip("created by x/mod").bytes();
    for other in [
        "example.com/Mod@v1.2.4",
        "example.com/mod@v1.2.3",
        "example.com/Mod/v2@v2.0.0",
        "example.com/Mo@v1.2.3",
    ] {
        let error = hash_zip(zip.as_slice(), &other.parse().unwrap(), &ZipLimits::default()).unwrap_err();
        assert_eq!(reason(&error), "outside <module>@<version>/", "{other}");
    }
}

/// An entry that unpacks to 16 MiB and declares 1,000 bytes, so that no limit refuses it beforehand.
#[test]
fn bombs_that_declare_little_are_refused() {
    let vectors = vectors();
    let mut zip = vectors.zip("go.mod just fits").bytes();
    let directory = zip.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    zip[directory + 24..directory + 28].copy_from_slice(&1000_u32.to_le_bytes());
    assert_eq!(reason(&vectors.hash(&zip).unwrap_err()), "longer than the directory says");
}

/// Counts the bytes that are read, and fails at one position as a disk may.
struct CountedReads {
    bytes: Vec<u8>,
    read: AtomicU64,
    fail_at: u64,
}

impl ReadAt for CountedReads {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        if (offset..offset + buffer.len() as u64).contains(&self.fail_at) {
            return Err(io::Error::other("damaged sector"));
        }
        self.bytes.as_slice().read_exact_at(buffer, offset)
    }
}

/// A zip of stored, empty files, made as `dirhashvec` makes them.
fn zip_of_empty_files(names: &[String]) -> Vec<u8> {
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for name in names {
        let offset = zip.len() as u32;
        let len = (name.len() as u16).to_le_bytes();
        zip.extend_from_slice(b"PK\x03\x04");
        zip.extend_from_slice(&[0; 22]);
        zip.extend_from_slice(&[len[0], len[1], 0, 0]);
        zip.extend_from_slice(name.as_bytes());
        directory.extend_from_slice(b"PK\x01\x02");
        directory.extend_from_slice(&[0; 24]);
        directory.extend_from_slice(&[len[0], len[1]]);
        directory.extend_from_slice(&[0; 12]);
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let start = zip.len() as u32;
    let records = (names.len() as u16).to_le_bytes();
    zip.extend_from_slice(&directory);
    zip.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    zip.extend_from_slice(&[records[0], records[1], records[0], records[1]]);
    zip.extend_from_slice(&(directory.len() as u32).to_le_bytes());
    zip.extend_from_slice(&start.to_le_bytes());
    zip.extend_from_slice(&[0, 0]);
    zip
}

/// A deep name must cost its length, not the square of it, which for a zip of one megabyte is gigabytes.
#[test]
fn deep_names_are_bounded() {
    let vectors = vectors();
    let deep = |i: usize| format!("{}/{i}/{}x", vectors.module, "a/".repeat(30_000));
    let few: Vec<String> = (0..3).map(deep).collect();
    let files = few.iter().map(|name| (name.clone(), io::empty()));
    assert_eq!(vectors.hash(&zip_of_empty_files(&few)).unwrap().h1, hash_files(files).unwrap());
    let many: Vec<String> = (0..20).map(deep).collect();
    let error = vectors.hash(&zip_of_empty_files(&many)).unwrap_err();
    assert_eq!(reason(&error), "too many directories");
}

/// The zip by which the `go` command brought x/mod to the oracle, against the line in its go.sum.
#[test]
fn zip_in_the_module_cache_hashes_as_its_go_sum_says() {
    let go = std::process::Command::new("go").args(["env", "GOMODCACHE"]).output();
    let cache =
        go.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let zip = std::fs::read(format!("{cache}/cache/download/golang.org/x/mod/@v/v0.42.0.zip"));
    let Ok(zip) = zip else {
        eprintln!(
            "SKIPPED: zip_in_the_module_cache_hashes_as_its_go_sum_says: no x/mod v0.42.0 in GOMODCACHE"
        );
        return;
    };
    let go_sum = parse_go_sum(include_str!("../oracle/go.sum")).unwrap();
    let module: ModuleVersion = "golang.org/x/mod@v0.42.0".parse().unwrap();
    let line = |kind| {
        let mut lines = go_sum.lines.iter().map(|numbered| &numbered.line);
        lines.find(|line| line.module == module && line.kind == kind).expect("required").hash
    };
    let hashed = hash_zip(zip.as_slice(), &module, &ZipLimits::default()).unwrap();
    assert_eq!(hashed.h1, line(LineKind::Zip));
    assert_eq!(hash_go_mod(&hashed.go_mod.expect("x/mod has one")), line(LineKind::GoMod));
}

#[test]
fn each_byte_is_read_once() {
    let vectors = vectors();
    let case = vectors.zip("large");
    let zip = CountedReads { bytes: case.bytes(), read: AtomicU64::new(0), fail_at: u64::MAX };
    let hashed = hash_zip(&zip, &vectors.module.parse().unwrap(), &ZipLimits::default()).unwrap();
    assert_eq!(hashed.h1.to_string(), case.hash);
    let (read, size) = (zip.read.into_inner(), zip.bytes.len() as u64);
    // The end record is looked for in the last 65 KiB, which then are read again as what they are.
    assert!(read <= size + (65 << 10), "{read} bytes read of {size}");
}

#[test]
fn failed_reads_are_not_the_zip_s_fault() {
    let vectors = vectors();
    let case = vectors.zip("stored");
    let module = vectors.module.parse().unwrap();
    for fail_at in 0..case.bytes().len() as u64 {
        let zip = CountedReads { bytes: case.bytes(), read: AtomicU64::new(0), fail_at };
        let error = hash_zip(&zip, &module, &ZipLimits::default()).unwrap_err();
        assert!(matches!(error, ZipError::Io(_)), "{fail_at}: {error}");
    }
}

proptest! {
    #[test]
    fn random_bytes_do_not_panic(mut bytes in any::<Vec<u8>>(), end in any::<[u8; 18]>()) {
        let module = "example.com/m@v1.0.0".parse().unwrap();
        prop_assert!(hash_zip(bytes.as_slice(), &module, &ZipLimits::default()).is_err());
        bytes.extend_from_slice(b"PK\x05\x06");
        bytes.extend_from_slice(&end);
        let _ = hash_zip(bytes.as_slice(), &module, &ZipLimits::default());
    }

    #[test]
    fn hashes_print_back(bytes in any::<[u8; 32]>(), text in "h1:[A-Za-z0-9+/]{43}=") {
        let hash = H1::from_bytes(bytes);
        prop_assert_eq!(hash.to_string().parse(), Ok(hash));
        prop_assert_eq!(hash.as_bytes(), &bytes);
        if let Ok(hash) = text.parse::<H1>() {
            prop_assert_eq!(hash.to_string(), text);
        }
    }
}

/// Many entries whose growing extra fields let all their data begin in one place: x/mod inflates those bytes for each of them.
fn overlapping(entries: usize, data: &[u8]) -> Vec<u8> {
    let name = |i: usize| format!("example.com/m@v1.0.0/{i:04}");
    let header_bytes = 30 + name(0).len();
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    for i in 0..entries {
        let (name, extra) = (name(i), ((entries - 1 - i) * header_bytes) as u16);
        let sizes =
            [&0_u32.to_le_bytes()[..], &(data.len() as u32).to_le_bytes(), &0_u32.to_le_bytes()].concat();
        directory.extend(b"PK\x01\x02\x14\0\x14\0\0\0\x08\0\0\0\0\0");
        directory.extend(&sizes);
        directory.extend((name.len() as u16).to_le_bytes());
        directory.extend([0; 12]);
        directory.extend((zip.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        zip.extend(b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0");
        zip.extend(&sizes);
        zip.extend((name.len() as u16).to_le_bytes());
        zip.extend(extra.to_le_bytes());
        zip.extend(name.as_bytes());
    }
    zip.extend(data);
    let start = zip.len() as u32;
    zip.extend(&directory);
    zip.extend(b"PK\x05\x06\0\0\0\0");
    zip.extend([(entries as u16).to_le_bytes(), (entries as u16).to_le_bytes()].concat());
    zip.extend([(directory.len() as u32).to_le_bytes(), start.to_le_bytes()].concat());
    zip.extend([0; 2]);
    zip
}

#[test]
fn entries_that_share_bytes_are_refused_before_they_are_read() {
    // Empty stored blocks: they unpack to nothing, so that no limit of sizes is met.
    let data: Vec<u8> = [0, 0, 0, 0xff, 0xff].repeat(20_000).into_iter().chain([3, 0]).collect();
    let zip = overlapping(500, &data);
    let module = ModuleVersion::from_parts("example.com/m", "v1.0.0").unwrap();
    let zip = CountedReads { bytes: zip, read: AtomicU64::new(0), fail_at: u64::MAX };
    let refused = hash_zip(&zip, &module, &ZipLimits::default()).unwrap_err();
    assert!(refused.to_string().contains("overlaps with what follows it"), "{refused}");
    let (read, size) = (zip.read.into_inner(), zip.bytes.len() as u64);
    assert!(read <= size + (65 << 10), "{read} bytes were read of a zip of {size}");
}
