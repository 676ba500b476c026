//! Which names a module's zip may have: the rules of x/mod/zip and of `module.CheckFilePath`.
//!
//! Every name is `<path>@<version>/<file>`, the file is a clean relative path that every file system can store, no
//! two files differ by case only, none is also a directory, and a go.mod is in the root alone, in lower case.
//! Letters outside ASCII are Go's.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::archive::Directory;
use super::letters::is_letter;
use super::limits::{ZipError, ZipLimits, check_limit};
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
            check_file_path(path).map_err(|bad| match bad {
                BadPath::Rule(reason) => refuse(reason),
                BadPath::Char(char) => directory.char_error(index, char),
            })?;
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

/// What is wrong with the path of a file.
enum BadPath {
    Rule(&'static str),
    /// The first character that no name may have.
    Char(char),
}

fn check_file_path(path: &str) -> Result<(), BadPath> {
    for element in path.split('/') {
        match element {
            "" => return Err(BadPath::Rule("not a clean relative path")),
            _ if element.bytes().all(|b| b == b'.') => return Err(BadPath::Rule("an element of dots only")),
            _ if element.ends_with('.') => return Err(BadPath::Rule("an element ends in a dot")),
            _ => {}
        }
        if let Some(char) = element.chars().find(|c| !is_file_char(*c)) {
            return Err(BadPath::Char(char));
        }
        if is_windows_reserved(element.split('.').next().unwrap_or_default()) {
            return Err(BadPath::Rule("reserved on Windows"));
        }
    }
    Ok(())
}

fn is_file_char(c: char) -> bool {
    match c {
        '!' | '#' | '$' | '%' | '&' | '(' | ')' | '+' | ',' | '-' | '.' | '=' | '@' | '[' | ']' | '^'
        | '_' | '{' | '}' | '~' | ' ' => true,
        _ if c.is_ascii() => c.is_ascii_alphanumeric(),
        _ => is_letter(c),
    }
}

/// The most files and directories that the names of a zip may speak of. Deep names can name many directories each;
/// this leaves every entry one of its own, and bounds our memory for them to about 60 MiB.
const MAX_PLACES: usize = 2 * ZipLimits::MAX_ENTRIES;

/// The files and directories so far: a tree, so that a deep name costs its length and not the square of it.
#[derive(Default)]
struct Seen<'a> {
    /// By the number of the directory, and the element without case.
    places: HashMap<(usize, Cow<'a, str>), Place<'a>>,
}

struct Place<'a> {
    /// From 1; the root directory is 0.
    number: usize,
    /// The element as it is written.
    element: &'a str,
    is_directory: bool,
    /// Whether it has an entry of its own, rather than being named by the files in it.
    has_entry: bool,
}

impl<'a> Seen<'a> {
    fn insert(&mut self, path: &'a str, is_directory: bool) -> Result<(), &'static str> {
        let mut parent = 0;
        let mut elements = path.split('/').peekable();
        while let Some(element) = elements.next() {
            let is_last = elements.peek().is_none();
            let new = Place {
                number: self.places.len() + 1,
                element,
                is_directory: is_directory || !is_last,
                has_entry: is_last,
            };
            parent = self.place(parent, new)?;
        }
        Ok(())
    }

    /// Puts a place into its directory, or finds that it fits what is there; says its number.
    fn place(&mut self, parent: usize, new: Place<'a>) -> Result<usize, &'static str> {
        match self.places.entry((parent, fold_case(new.element))) {
            Entry::Vacant(_) if new.number > MAX_PLACES => Err("too many directories"),
            Entry::Vacant(vacant) => Ok(vacant.insert(new).number),
            Entry::Occupied(mut old) => {
                let old = old.get_mut();
                if old.element != new.element {
                    return Err("differs from another name by case only");
                }
                if old.is_directory != new.is_directory {
                    return Err("both a file and a directory");
                }
                if old.has_entry && new.has_entry {
                    return Err("occurs twice");
                }
                old.has_entry |= new.has_entry;
                Ok(old.number)
            }
        }
    }
}

/// Maps what Unicode's simple case folding holds for equal to one text.
fn fold_case(element: &str) -> Cow<'_, str> {
    if element.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        return Cow::Borrowed(element);
    }
    Cow::Owned(element.chars().map(fold_char).collect())
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// What tests/oracle/lettervec prints: runs of letters, and what those fold to that do not fold to themselves.
    #[derive(serde::Deserialize)]
    struct LetterVectors {
        unicode: String,
        letters: Vec<(u32, u32)>,
        folds: Vec<(u32, u32)>,
    }

    fn vectors() -> LetterVectors {
        let vectors: LetterVectors =
            serde_json::from_str(include_str!("../../tests/vectors/letters.json")).unwrap();
        assert_eq!(vectors.unicode, "15.0.0");
        vectors
    }

    #[test]
    fn of_all_characters_those_are_allowed_that_go_allows() {
        let mut expected = vec![false; 0x11_0000];
        for (first, last) in vectors().letters {
            expected[first as usize..=last as usize].fill(true);
        }
        for c in '\u{80}'..=char::MAX {
            assert_eq!(is_file_char(c), expected[c as usize], "U+{:04X}", u32::from(c));
        }
        assert!("é漢".chars().all(is_file_char) && !"Ⅷ→".chars().any(is_file_char));
        let allowed: String =
            (' '..='~').filter(|c| is_file_char(*c) && !c.is_ascii_alphanumeric()).collect();
        assert_eq!(allowed, " !#$%&()+,-.=@[]^_{}~");
    }

    /// Two allowed names are equal to us exactly where they are to Go.
    #[test]
    fn of_all_letters_those_are_equal_that_are_equal_to_go() {
        let LetterVectors { letters, folds, .. } = vectors();
        let folds: HashMap<u32, u32> = folds.into_iter().collect();
        let letters = letters.into_iter().flat_map(|(first, last)| first..=last);
        let ascii = (b'A'..=b'Z').chain(b'a'..=b'z').map(u32::from);
        let (mut ours_of, mut gos_of) = (HashMap::new(), HashMap::new());
        for c in letters.chain(ascii).filter_map(char::from_u32) {
            let gos = folds.get(&u32::from(c)).copied().unwrap_or(u32::from(c.to_ascii_lowercase()));
            let ours = fold_char(c);
            assert_eq!(*ours_of.entry(gos).or_insert(ours), ours, "U+{:04X}", u32::from(c));
            assert_eq!(*gos_of.entry(ours).or_insert(gos), gos, "U+{:04X}", u32::from(c));
        }
    }
}
