//! Which names a module's zip may have: the rules of x/mod/zip and of `module.CheckFilePath`.
//!
//! Every name is `<path>@<version>/<file>`, the file is a clean relative path that every file system can store, no
//! two files differ by case only, none is also a directory, and a go.mod is in the root alone, in lower case.
//! Letters outside ASCII are as Unicode's `Alphabetic`, a little more than x/mod's letters.

use std::collections::HashMap;

use super::archive::Directory;
use super::zip::{ZipError, ZipLimits, check_limit};
use crate::module::is_windows_reserved;

/// Checks the names and the declared sizes of all entries; says which entry is the go.mod in the root.
pub(super) fn check(
    directory: &Directory,
    prefix: &str,
    limits: &ZipLimits,
) -> Result<Option<usize>, ZipError> {
    let mut go_mod = None;
    let mut unpacked: u64 = 0;
    let mut seen = Seen::default();
    for (index, entry) in directory.entries.iter().enumerate() {
        let refuse = |reason| directory.name_error(index, reason);
        let name = directory.name(index);
        let file = name.strip_prefix(prefix.as_bytes());
        let file = file.ok_or_else(|| refuse("outside <module>@<version>/"))?;
        let file = std::str::from_utf8(file).map_err(|_| refuse("not UTF-8"))?;
        let (path, is_directory) = match file.strip_suffix('/') {
            Some(path) => (path, true),
            None => (file, file.is_empty()),
        };
        if !file.is_empty() {
            check_file_path(path).map_err(refuse)?;
        }
        seen.insert(path, is_directory).map_err(refuse)?;
        if is_directory {
            continue;
        }
        let base = path.rsplit('/').next().unwrap_or_default();
        if base.eq_ignore_ascii_case("go.mod") && path != "go.mod" {
            return Err(refuse("a go.mod must be in the root directory, in lower case"));
        }
        match path {
            "go.mod" => {
                check_limit("go.mod", entry.unpacked, limits.go_mod_bytes)?;
                go_mod = Some(index);
            }
            "LICENSE" => check_limit("LICENSE", entry.unpacked, limits.license_bytes)?,
            _ => {}
        }
        unpacked = unpacked.saturating_add(entry.unpacked);
    }
    // Reading an entry stops at its declared size, so this bounds what is ever unpacked.
    check_limit("unpacked files", unpacked, limits.unpacked_bytes)?;
    Ok(go_mod)
}

fn check_file_path(path: &str) -> Result<(), &'static str> {
    for element in path.split('/') {
        match element {
            "" => return Err("not a clean relative path"),
            _ if element.bytes().all(|b| b == b'.') => return Err("an element of dots only"),
            _ if element.ends_with('.') => return Err("an element ends in a dot"),
            _ => {}
        }
        if !element.chars().all(is_file_char) {
            return Err("a character that not every file system can store");
        }
        if is_windows_reserved(element.split('.').next().unwrap_or_default()) {
            return Err("reserved on Windows");
        }
    }
    Ok(())
}

fn is_file_char(c: char) -> bool {
    match c {
        '!' | '#' | '$' | '%' | '&' | '(' | ')' | '+' | ',' | '-' | '.' | '=' | '@' | '[' | ']' | '^'
        | '_' | '{' | '}' | '~' | ' ' => true,
        _ if c.is_ascii() => c.is_ascii_alphanumeric(),
        _ => c.is_alphabetic(),
    }
}

/// The files and directories so far, by their names without case.
#[derive(Default)]
struct Seen<'a> {
    by_folded: HashMap<String, Place<'a>>,
}

struct Place<'a> {
    path: &'a str,
    is_directory: bool,
    /// Whether it has an entry of its own, rather than being named by the files in it.
    has_entry: bool,
}

impl<'a> Seen<'a> {
    fn insert(&mut self, path: &'a str, is_directory: bool) -> Result<(), &'static str> {
        self.place(Place { path, is_directory, has_entry: true })?;
        let mut child = path;
        while let Some((parent, _)) = child.rsplit_once('/') {
            // A directory that was known has its own parents in place.
            if self.place(Place { path: parent, is_directory: true, has_entry: false })? {
                break;
            }
            child = parent;
        }
        Ok(())
    }

    /// Says whether the place was known already.
    fn place(&mut self, new: Place<'a>) -> Result<bool, &'static str> {
        match self.by_folded.get_mut(&fold_case(new.path)) {
            Some(old) if old.path != new.path => Err("differs from another name by case only"),
            Some(old) if old.is_directory != new.is_directory => Err("both a file and a directory"),
            Some(old) if old.has_entry && new.has_entry => Err("occurs twice"),
            Some(old) => {
                old.has_entry |= new.has_entry;
                Ok(true)
            }
            None => {
                self.by_folded.insert(fold_case(new.path), new);
                Ok(false)
            }
        }
    }
}

/// Maps what Unicode's simple case folding holds for equal to one text.
fn fold_case(path: &str) -> String {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    path.chars().map(fold_char).collect()
}

fn fold_char(c: char) -> char {
    match c {
        // Dotted and dotless i have no simple folding: they equal only themselves.
        'İ' | 'ı' => c,
        _ => {
            let upper = single(c.to_uppercase()).unwrap_or(c);
            single(upper.to_lowercase()).unwrap_or(upper)
        }
    }
}

fn single(mut chars: impl Iterator<Item = char>) -> Option<char> {
    let first = chars.next();
    first.filter(|_| chars.next().is_none())
}
