//! Module paths and versions against `golang.org/x/mod`: vectors from `tests/oracle/modulevec`, and properties.

use proptest::prelude::*;
use serde::Deserialize;
use tallystick::module::{
    MAX_PATH_LEN, MAX_VERSION_LEN, ModuleError, ModulePath, ModuleVersion, PathError, PathPatterns,
    PseudoVersionError, Version, VersionError, WireError, gomod,
};

/// The columns are described where `modulevec` makes them.
#[derive(Deserialize)]
struct Vectors {
    paths: Vec<(String, String, String, String)>,
    versions: Vec<(String, String)>,
    order: Vec<(String, String)>,
    checks: Vec<(String, String, String)>,
    wire: Vec<(String, String, bool)>,
    pseudo: Vec<Vec<String>>,
    patterns: Vec<(String, String, bool)>,
    gomods: Vec<(String, String, Option<Vec<String>>)>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/module.json")).expect("vectors are JSON")
}

/// The text of x/mod for our error, so that the vectors pin the variant too.
fn go_reason(error: &PathError) -> String {
    let quote = |c: &char| match c {
        '\0' | '\x7f' => format!("'\\x{:02x}'", *c as u32),
        c => format!("{c:?}"),
    };
    match error {
        PathError::Char { char } => format!("invalid char {}", quote(char)),
        PathError::HostChar { char } => format!("invalid char {} in first path element", quote(char)),
        other => other.to_string(),
    }
}

#[test]
fn paths_are_checked_as_in_x_mod() {
    for (path, reason, prefix, major) in vectors().paths {
        match ModulePath::parse(&path) {
            Ok(parsed) => {
                assert_eq!(reason, "", "accepted {path:?}");
                assert_eq!(parsed.split_major(), (prefix.as_str(), major.as_str()), "{path:?}");
                assert_eq!(parsed.as_str(), path);
                assert_eq!(ModulePath::unescape(&parsed.escaped()), Ok(parsed));
            }
            Err(error) => assert_eq!(go_reason(&error), reason, "{path:?}"),
        }
    }
}

#[test]
fn versions_are_checked_as_in_x_mod() {
    for (version, canonical) in vectors().versions {
        let parsed = Version::parse(&version);
        match parsed {
            Ok(parsed) => {
                assert_eq!(version, canonical, "accepted {version:?}");
                assert_eq!(Version::unescape(&parsed.escaped()), Ok(parsed));
            }
            Err(VersionError::NotSemantic { .. }) => assert_eq!(canonical, "", "{version:?}"),
            Err(VersionError::NotCanonical { canonical: ours, .. }) => {
                assert_eq!(ours, canonical, "{version:?}");
                assert_ne!(ours, version);
            }
            Err(error) => panic!("{version:?}: {error}"),
        }
    }
}

#[test]
fn versions_are_ordered_as_in_x_mod() {
    let order = vectors().order;
    let versions: Vec<Version> = order.iter().map(|(v, _)| Version::parse(v).expect(v)).collect();
    for (a, (_, signs)) in versions.iter().zip(&order) {
        assert_eq!(signs.len(), versions.len());
        for (b, sign) in versions.iter().zip(signs.chars()) {
            let precedence = match sign {
                '<' => std::cmp::Ordering::Less,
                '=' => std::cmp::Ordering::Equal,
                _ => std::cmp::Ordering::Greater,
            };
            assert_eq!(a.precedence(b), precedence, "{a} {b}");
            assert_eq!(a.cmp(b), precedence.then_with(|| a.as_str().cmp(b.as_str())), "{a} {b}");
        }
    }
}

#[test]
fn paths_and_versions_fit_as_in_x_mod() {
    for (path, version, reason) in vectors().checks {
        let ours = match ModuleVersion::from_parts(&path, &version) {
            Ok(_) => String::new(),
            Err(ModuleError::Path(error)) => error.to_string(),
            Err(ModuleError::Version(_)) => "not a semantic version".to_owned(),
            Err(ModuleError::MajorMismatch { expected, major, .. }) => {
                format!("should be {expected}, not {major}")
            }
            Err(error @ ModuleError::MissingVersion) => panic!("{error}"),
        };
        assert_eq!(ours, reason, "{path}@{version}");
    }
}

#[test]
fn wire_form_is_read_as_by_x_mod() {
    for (wire, plain, has_syntax) in vectors().wire {
        match ModuleVersion::unescape(&wire) {
            Ok(module) => {
                assert_eq!(module.to_string(), plain, "accepted {wire:?}");
                assert_eq!(module.escaped(), wire);
                assert_eq!(plain.parse(), Ok(module));
            }
            Err(error) => {
                assert_eq!(plain, "", "refused {wire:?}: {error}");
                let syntax = matches!(error, WireError::Syntax);
                assert!(syntax != has_syntax || error == WireError::GoModSuffix, "{wire:?}: {error}");
            }
        }
    }
}

#[test]
fn pseudo_versions_are_taken_apart_as_in_x_mod() {
    for case in vectors().pseudo {
        let version = Version::parse(&case[0]).expect("vectors are canonical");
        let ours = version.pseudo().map(|pseudo| {
            let (base, reason) = match pseudo.base() {
                Ok(base) => (base.map(|v| v.to_string()).unwrap_or_default(), String::new()),
                Err(error @ PseudoVersionError::IncompatibleWithoutBase) => {
                    (String::new(), format!("{error} \"+incompatible\""))
                }
                Err(error) => (String::new(), error.to_string()),
            };
            vec![pseudo.timestamp.to_owned(), pseudo.revision.to_owned(), base, reason]
        });
        assert_eq!(ours.unwrap_or_default(), &case[1..], "{version}");
    }
}

#[test]
fn patterns_match_as_in_x_mod() {
    for (list, target, matches) in vectors().patterns {
        let patterns = PathPatterns::parse(&list);
        assert_eq!(patterns.matches(&target), matches, "{list:?} {target:?}");
        assert_eq!(PathPatterns::parse(&patterns.to_string()), patterns);
    }
}

/// Strings in go.mod with other escapes than `\"` and `\\` are not read: no valid path or version needs them.
fn has_unread_escape(go_mod: &str) -> bool {
    go_mod.match_indices('\\').any(|(at, _)| !go_mod[at + 1..].starts_with(['"', '\\']))
}

#[test]
fn go_mods_are_read_as_by_x_mod() {
    let mut compared = 0;
    for (go_mod, path, requirements) in vectors().gomods {
        let ours: Vec<String> =
            gomod::requirements(go_mod.as_bytes()).iter().map(|m| m.to_string()).collect();
        if has_unread_escape(&go_mod) {
            continue;
        }
        assert_eq!(gomod::module_path(go_mod.as_bytes()).unwrap_or_default(), path, "{go_mod:?}");
        if let Some(requirements) = requirements {
            assert_eq!(ours, requirements, "{go_mod:?}");
            compared += 1;
        }
    }
    assert!(compared > 50, "only {compared} go.mod files compared");
}

#[test]
fn go_mod_requirements_are_bounded() {
    let many = "require (\n".to_owned() + &"\ta.b/c v1.0.0\n".repeat(10_000) + ")\n";
    assert_eq!(gomod::requirements(many.as_bytes()).len(), gomod::MAX_REQUIREMENTS);
    // Quadratic work would take hours here.
    let long = "a ".repeat(2 << 20) + "(\n\ta.b/c v1.0.0\n)\nrequire a.b/d v1.0.0\n";
    assert_eq!(gomod::requirements(long.as_bytes()).len(), 1);
    assert_eq!(gomod::requirements(b"require a.b/\xff v1.0.0\nrequire a.b/c v1.0.0\n").len(), 1);
}

fn module_version() -> impl Strategy<Value = ModuleVersion> {
    let path = r"[a-z]{1,8}\.[a-z]{2,5}(/[a-zA-Z][a-zA-Z0-9_-]{0,8}){0,3}";
    let version = r"v[01]\.(0|[1-9][0-9]{0,20})\.(0|[1-9][0-9]{0,3})(-[a-zA-Z-][0-9A-Za-z-]{0,5}(\.[1-9][0-9]{0,30})?)?(\+incompatible)?";
    (path, version).prop_filter_map("Windows reserves a few names", |(path, version)| {
        ModuleVersion::from_parts(&path, &version).ok()
    })
}

proptest! {
    #[test]
    fn both_spellings_round_trip(module in module_version()) {
        prop_assert_eq!(ModuleVersion::unescape(&module.escaped()), Ok(module.clone()));
        prop_assert_eq!(module.to_string().parse(), Ok(module));
    }

    #[test]
    fn what_is_accepted_prints_back(text in "[a-zA-Z!@./0-9v+~-]{0,40}", any in any::<String>()) {
        for text in [text, any] {
            if let Ok(module) = ModuleVersion::unescape(&text) {
                prop_assert_eq!(module.escaped(), text.clone());
            }
            if let Ok(module) = text.parse::<ModuleVersion>() {
                prop_assert_eq!(module.to_string(), text.clone());
            }
            if let Ok(version) = text.parse::<Version>() {
                prop_assert!(version.as_str().len() <= MAX_VERSION_LEN);
            }
            if let Ok(path) = text.parse::<ModulePath>() {
                prop_assert!(path.as_str().len() <= MAX_PATH_LEN);
                prop_assert!(PathPatterns::parse(path.as_str()).matches(path.as_str()));
                prop_assert!(PathPatterns::parse(path.host()).matches(path.as_str()));
            }
        }
    }

    #[test]
    fn order_is_total(mut versions in prop::collection::vec(module_version(), 3)) {
        versions.sort();
        prop_assert!(versions[0] <= versions[1] && versions[1] <= versions[2] && versions[0] <= versions[2]);
    }

    #[test]
    fn nothing_panics(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        let patterns = PathPatterns::parse(&text);
        let _ = (patterns.matches(&text), patterns.has_literal_host(), patterns.malformed().count());
        let _ = (gomod::module_path(&bytes), gomod::requirements(&bytes));
    }
}
