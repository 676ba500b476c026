//! One word for a thing, one thing for a word: what other files can see has a name of its own.

use std::collections::BTreeMap;

use super::{assert_none, read, root};

/// Names that several types may share, with the reason.
const MAY_SHARE: [(&str, &str); 0] = [];

#[test]
fn no_two_types_that_others_see_share_a_name() {
    let mut found: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for source in read("src") {
        let path = source.path.strip_prefix(root()).expect("a source is in the clone").display().to_string();
        for line in source.code().lines() {
            if let Some(name) = type_of(line.trim_start()) {
                found.entry(name.to_lowercase()).or_default().push((name.to_owned(), path.clone()));
            }
        }
    }
    assert!(found.len() > 300, "the sources are read: {} names", found.len());
    let may = |name: &str| MAY_SHARE.iter().any(|(shared, _)| shared.eq_ignore_ascii_case(name));
    let twice = found.into_iter().filter(|(name, places)| places.len() > 1 && !may(name));
    let wrong = twice.map(|(_, places)| {
        places.iter().map(|(name, path)| format!("{name} in {path}")).collect::<Vec<_>>().join(", ")
    });
    assert_none(wrong.collect(), "types of one name that other files can see");
}

/// The type that a line defines for other files.
fn type_of(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(rest) => rest.split_once(") ")?.1,
        None => rest.strip_prefix(' ')?,
    };
    let kinds = ["struct ", "enum ", "trait ", "type "];
    let name = kinds.iter().find_map(|kind| rest.strip_prefix(kind))?;
    // A macro's `$name` is none.
    name.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|name| !name.is_empty())
}

#[test]
fn types_are_found_whatever_is_before_them() {
    for line in
        ["pub struct A;", "pub(crate) enum A {", "pub(in crate::http) trait A: B {", "pub type A<T> = B<T>;"]
    {
        assert_eq!(type_of(line), Some("A"), "{line}");
    }
    for line in ["struct A;", "pub fn a() {", "pub use a::A;", "published struct"] {
        assert_eq!(type_of(line), None, "{line}");
    }
}
