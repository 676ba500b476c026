//! A ustar stream (POSIX.1-1988) of the files of a bundle: blocks of 512 bytes, a header before each file, two blocks of
//! zeros at the end.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 100 | name, ends at a zero byte |
//! | 100 | 8 × 3 | mode, owner, group: octal |
//! | 124 | 12 | size, octal |
//! | 136 | 12 | time, octal; always 0 here, so that the same tree gives the same archive |
//! | 148 | 8 | checksum: the sum of the header's bytes, with spaces in this field |
//! | 156 | 1 | kind: `0` or zero a file, `5` a directory, `x` and `g` extended headers, others links and devices |
//! | 257 | 6 | `ustar` |
//! | 345 | 155 | what stands before the name |
//!
//! Who reads takes only files whose names are those of a static checksum database. A link, a device, a name that leaves the
//! directory, a file that is too large or comes twice is refused by name; what others put beside the database is passed over.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{BundleError, Name, at};

const BLOCK: usize = 512;
/// Files in an archive: a log of four billion records. Bounds the time that an archive of empty files takes.
const MAX_FILES: u64 = 40_000_000;
/// An extended header has a few short lines.
const MAX_EXTENDED_BYTES: u64 = 64 << 10;

/// Writes one file.
pub(in crate::mirror) fn write_file(out: &mut impl Write, name: &str, body: &[u8]) -> io::Result<()> {
    let mut header = [0; BLOCK];
    let field = header.get_mut(..name.len()).filter(|field| field.len() <= 100);
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is too long a name"));
    field.ok_or_else(too_long)?.copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", body.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum = checksum(&header);
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.write_all(&header)?;
    out.write_all(body)?;
    out.write_all(&[0; BLOCK][..body.len().next_multiple_of(BLOCK) - body.len()])
}

/// Writes the end.
pub(in crate::mirror) fn write_end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

fn checksum(header: &[u8; BLOCK]) -> u32 {
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let field: u32 = header[148..156].iter().map(|byte| u32::from(*byte)).sum();
    sum - field + 8 * u32::from(b' ')
}

/// Unpacks the files of a static checksum database into a directory, `max_bytes` of them at most. Returns the bytes.
/// `path` is the archive's, for errors; `progress` is told how many bytes are written.
pub(in crate::mirror) fn unpack(
    archive: &mut impl Read,
    path: &Path,
    into: &Path,
    max_bytes: u64,
    progress: &dyn Fn(u64),
) -> Result<u64, BundleError> {
    let hostile = |why: String| BundleError::Hostile { path: path.to_owned(), why };
    let (mut files, mut bytes) = (0, 0);
    while let Some(entry) = Entry::read(archive).map_err(at(path))? {
        let Entry { name, size, kind } =
            entry.map_err(|why| hostile(format!("it is no tar archive: {why}")))?;
        files += 1;
        if files > MAX_FILES {
            return Err(hostile(format!("it has more than {MAX_FILES} files")));
        }
        match kind {
            b'0' | 0 | b'7' => {
                let wanted = wanted(&name, size).map_err(hostile)?;
                if wanted {
                    bytes += size;
                    if bytes > max_bytes {
                        return Err(hostile(format!(
                            "it unpacks to more than the {max_bytes} bytes that are free"
                        )));
                    }
                    let target = into.join(name.trim_start_matches("./"));
                    write_new(archive, size, &target).map_err(|error| match error.kind() {
                        io::ErrorKind::AlreadyExists => hostile(format!("{name} is in it twice")),
                        _ => at(target)(error),
                    })?;
                    progress(bytes);
                } else {
                    skip(archive, size).map_err(at(path))?;
                }
            }
            b'5' => skip(archive, size).map_err(at(path))?,
            b'x' | b'g' if size <= MAX_EXTENDED_BYTES => {
                let text = read_padded(archive, size).map_err(at(path))?;
                // Times and owners may be said more exactly; names and sizes here are short enough without.
                let says = |key: &[u8]| text.windows(key.len()).any(|window| window == key);
                if says(b" path=") || says(b" size=") || says(b" linkpath=") {
                    return Err(hostile("it has names that do not fit a tar header".to_owned()));
                }
            }
            kind => {
                let kind = char::from(kind).escape_default();
                return Err(hostile(format!("{name} is no file but a link or a device (kind {kind})")));
            }
        }
    }
    Ok(bytes)
}

struct Entry {
    name: String,
    size: u64,
    kind: u8,
}

impl Entry {
    /// The next header; none at the end. The inner error says what is wrong with it.
    fn read(archive: &mut impl Read) -> io::Result<Option<Result<Entry, &'static str>>> {
        let mut header = [0; BLOCK];
        archive.read_exact(&mut header)?;
        if header == [0; BLOCK] {
            return Ok(None);
        }
        Ok(Some(Entry::parse(&header)))
    }

    fn parse(header: &[u8; BLOCK]) -> Result<Entry, &'static str> {
        if octal(&header[148..156]) != Some(u64::from(checksum(header))) {
            return Err("the checksum of a header does not match");
        }
        let text = |field: &[u8]| {
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            std::str::from_utf8(&field[..end]).map(str::to_owned).map_err(|_| "a name is not UTF-8")
        };
        let mut name = text(&header[..100])?;
        // GNU tar keeps other things in the place of the prefix.
        if header[257..263] == *b"ustar\0" {
            let prefix = text(&header[345..500])?;
            if !prefix.is_empty() {
                name = format!("{prefix}/{name}");
            }
        }
        let size = octal(&header[124..136]).ok_or("a size is not octal")?;
        Ok(Entry { name, size, kind: header[156] })
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    u64::from_str_radix(text, 8).ok()
}

/// Whether a file is one of a static checksum database. The error says why it must not even be passed over.
fn wanted(name: &str, size: u64) -> Result<bool, String> {
    let plain = name.strip_prefix("./").unwrap_or(name);
    let leaves = plain.starts_with('/') || plain.split('/').any(|part| part == "..");
    if leaves {
        return Err(format!("{name} would leave the directory"));
    }
    match Name::of(plain) {
        Ok(None) => Ok(false),
        Ok(Some(known)) if size <= known.max_bytes() => Ok(true),
        Ok(Some(known)) => Err(format!("{name} has {size} bytes, more than {}", known.max_bytes())),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

fn write_new(archive: &mut impl Read, size: u64, target: &Path) -> io::Result<()> {
    let body = read_padded(archive, size)?;
    let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(target);
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(target.parent().unwrap_or(Path::new(".")))?;
            open()?
        }
        opened => opened?,
    };
    file.write_all(&body)
}

fn read_padded(archive: &mut impl Read, size: u64) -> io::Result<Vec<u8>> {
    let mut body = vec![0; size.next_multiple_of(BLOCK as u64) as usize];
    archive.read_exact(&mut body)?;
    body.truncate(size as usize);
    Ok(body)
}

fn skip(archive: &mut impl Read, size: u64) -> io::Result<()> {
    let padded = size.checked_next_multiple_of(BLOCK as u64).unwrap_or(u64::MAX);
    let skipped = io::copy(&mut archive.take(padded), &mut io::sink())?;
    if skipped < padded { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}
