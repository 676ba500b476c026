//! Paths, versions and patterns, each on a line: what parses prints back and comes apart into what it was made of; the
//! order of versions is an order; a pseudo-version comes after its tag; a path matches itself as a pattern.

#![no_main]
#![forbid(unsafe_code)]

use std::cmp::Ordering;

use libfuzzer_sys::fuzz_target;
use tallystick::module::{ModulePath, PathPatterns, Version};

/// Versions of one input that are compared with each other.
const MAX_VERSIONS: usize = 8;

fuzz_target!(|text: &str| {
    let mut versions = Vec::new();
    let mut paths = Vec::new();
    for line in text.lines() {
        paths.extend(ModulePath::parse(line).inspect(|path| check_path(path, line)));
        versions.extend(Version::parse(line).inspect(|version| check_version(version, line)));
        check_patterns(line);
    }
    versions.truncate(MAX_VERSIONS);
    check_order(&versions);
    // The list of all the paths holds each of them, and what is below it.
    let list: Vec<&str> = paths.iter().map(ModulePath::as_str).collect();
    let patterns = PathPatterns::parse(&list.join(","));
    assert!(list.iter().all(|path| patterns.matches(path) && patterns.matches(&format!("{path}/x"))));
    assert_eq!(patterns.has_literal_host(), !list.is_empty());
});

fn check_path(path: &ModulePath, line: &str) {
    assert_eq!(path.as_str(), line);
    assert_eq!(path.to_string(), line);
    let (prefix, major) = path.split_major();
    assert_eq!(format!("{prefix}{major}"), line);
    assert!(line.starts_with(path.host()) && path.host().contains('.'));
}

fn check_version(version: &Version, line: &str) {
    assert_eq!(version.as_str(), line);
    assert!(line.starts_with(version.major()) && line.contains(version.prerelease()));
    assert_eq!(version.is_incompatible(), line.contains('+'));
    let Some(pseudo) = version.pseudo() else { return };
    assert!(line.contains(&format!("{}-{}", pseudo.timestamp, pseudo.revision)));
    if let Ok(Some(base)) = pseudo.base() {
        assert_eq!(base.precedence(version), Ordering::Less, "{base} is the tag before {version}");
        assert_eq!(Version::parse(base.as_str()), Ok(base));
    }
}

fn check_patterns(line: &str) {
    let patterns = PathPatterns::parse(line);
    let again = PathPatterns::parse(&patterns.to_string());
    assert_eq!(again, patterns);
    assert_eq!(again.is_empty(), patterns.to_string().is_empty());
    for path in line.split(',') {
        assert_eq!(again.matches(path), patterns.matches(path));
    }
}

fn check_order(versions: &[Version]) {
    for a in versions {
        for b in versions {
            assert_eq!(a.cmp(b), b.cmp(a).reverse(), "{a} {b}");
            assert_eq!(a.cmp(b).is_eq(), a == b, "{a} {b}");
            for c in versions {
                assert!(!(a < b && b < c) || a < c, "{a} {b} {c}");
            }
        }
    }
}
