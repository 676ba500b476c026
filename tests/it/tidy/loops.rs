//! No two files of a module import each other, nor in a longer circle: whoever reads one must not
//! have read it already.
//!
//! An import is a path in a `use` or in the code: `crate::…`, `super::…`, `self::…`. A name that a
//! `mod.rs` passes on leads to the file that defines it. The `mod.rs` files themselves are left
//! out: a parent declares its children, and they may use what it defines.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, assert_none, read, root};

/// Circles that may stay, each by one of its files, with the reason.
const MAY_CIRCLE: [(&str, &str); 0] = [];

/// `["store", "sqlite", "reader"]` for src/store/sqlite/reader.rs.
type ModulePath = Vec<String>;

struct File {
    is_mod: bool,
    /// Paths that it imports, one for each name.
    imports: Vec<String>,
    /// Its code without imports and comments.
    code: String,
}

/// The files of the library by their module path.
struct Files(BTreeMap<ModulePath, File>);

#[test]
fn no_files_import_each_other_in_a_circle() {
    let files = Files::of(&read("src"));
    let circles = files.circles();
    let may = |circle: &Vec<ModulePath>| {
        MAY_CIRCLE.iter().any(|(file, _)| circle.iter().any(|path| path.join("/") == *file))
    };
    let wrong = circles.iter().filter(|circle| !may(circle)).map(|circle| files.describe(circle)).collect();
    assert_none(wrong, "files that import each other");
}

#[test]
fn a_circle_is_found_through_what_a_mod_file_passes_on() {
    let file = |path: &str, text: &str| Source { path: root().join("src").join(path), text: text.to_owned() };
    let all = [
        file("a/mod.rs", "mod b;\nmod c;\nmod d;\npub use self::c::{Deep, Other as Renamed};\n"),
        file("a/b.rs", "use super::Deep;\npub(super) struct B;\n"),
        file("a/c.rs", "// use super::d::D;\npub struct Deep;\nfn f() { super::b::B; }\n"),
        file("a/d.rs", "use super::{b::B, c};\npub struct D;\n"),
    ];
    let files = Files::of(&all);
    let names: Vec<Vec<String>> =
        files.circles().iter().map(|circle| circle.iter().map(|path| path.join("/")).collect()).collect();
    assert_eq!(names, [["a/b", "a/c"]]);
    assert!(Files::of(&all[1..]).circles().is_empty(), "nobody passes Deep on");
}

impl Files {
    fn of(sources: &[Source]) -> Files {
        let inside = |source: &Source| {
            let path = source.path.strip_prefix(root().join("src")).expect("a source").with_extension("");
            let mut path: ModulePath = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            let is_mod = path.last().is_some_and(|last| last == "mod");
            path.truncate(path.len() - usize::from(is_mod));
            (path, File::parse(source.code(), is_mod))
        };
        let outer = ["lib", "main"].map(|name| vec![name.to_owned()]);
        Files(sources.iter().map(inside).filter(|(path, _)| !outer.contains(path)).collect())
    }

    /// The file in which a path of `from` ends, and the name of which it asks there.
    fn resolve(&self, from: &ModulePath, path: &str, depth: usize) -> Option<(ModulePath, String)> {
        let mut parts = path.split("::").peekable();
        let mut at = match *parts.peek()? {
            "crate" => Vec::new(),
            "self" | "super" => from.clone(),
            first if self.0.contains_key(&child(from, first)) => from.clone(),
            _ => return None,
        };
        while let Some(part) = parts.next_if(|part| ["crate", "self", "super"].contains(part)) {
            at.truncate(at.len() - usize::from(part == "super"));
        }
        while let Some(part) = parts.next_if(|part| self.0.contains_key(&child(&at, part))) {
            at = child(&at, part);
        }
        let name = parts.next().unwrap_or("*");
        let file = self.0.get(&at)?;
        if !file.defines(name) && depth < 6 {
            let mut passed = file.imports.iter().filter(|import| last(import) == name && *import != path);
            if let Some(end) = passed.find_map(|import| self.resolve(&at, import, depth + 1)) {
                return Some(end);
            }
        }
        Some((at, name.to_owned()))
    }

    /// Which other file it uses for which names.
    fn uses(&self, path: &ModulePath) -> BTreeMap<ModulePath, BTreeSet<String>> {
        let file = &self.0[path];
        let mut uses: BTreeMap<ModulePath, BTreeSet<String>> = BTreeMap::new();
        for used in file.imports.iter().cloned().chain(paths_in(&file.code)) {
            if let Some((other, name)) = self.resolve(path, &used, 0)
                && other != *path
                && !self.0[&other].is_mod
            {
                uses.entry(other).or_default().insert(name);
            }
        }
        uses
    }

    /// Groups of files each of which leads to every other.
    fn circles(&self) -> Vec<Vec<ModulePath>> {
        let all: Vec<&ModulePath> =
            self.0.iter().filter(|(_, file)| !file.is_mod).map(|(path, _)| path).collect();
        let uses: BTreeMap<&ModulePath, Vec<ModulePath>> =
            all.iter().map(|path| (*path, self.uses(path).into_keys().collect())).collect();
        let reached = |from: &ModulePath| {
            let (mut seen, mut waiting) = (BTreeSet::new(), uses[from].clone());
            while let Some(next) = waiting.pop() {
                if seen.insert(next.clone()) {
                    waiting.extend(uses[&next].iter().cloned());
                }
            }
            seen
        };
        let reach: BTreeMap<&ModulePath, BTreeSet<ModulePath>> =
            all.iter().map(|path| (*path, reached(path))).collect();
        let group = |path: &&ModulePath| {
            let both =
                all.iter().filter(|other| reach[*path].contains(**other) && reach[**other].contains(*path));
            both.map(|other| (*other).clone()).collect::<Vec<ModulePath>>()
        };
        let groups: BTreeSet<Vec<ModulePath>> = all.iter().map(group).collect();
        groups.into_iter().filter(|group| group.len() > 1).collect()
    }

    fn describe(&self, circle: &[ModulePath]) -> String {
        let mut text = circle.iter().map(|path| path.join("/")).collect::<Vec<_>>().join(", ");
        for path in circle {
            for (other, names) in self.uses(path).iter().filter(|(other, _)| circle.contains(other)) {
                let names = names.iter().cloned().collect::<Vec<_>>().join(", ");
                text += &format!("\n    {} uses {} for {names}", path.join("/"), other.join("/"));
            }
        }
        text
    }
}

impl File {
    fn parse(text: &str, is_mod: bool) -> File {
        let (mut imports, mut code, mut open) = (Vec::new(), String::new(), None::<String>);
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let word = line.trim_start();
            let word = word.strip_prefix("pub").map_or(word, |rest| match rest.strip_prefix('(') {
                Some(rest) => rest.split_once(") ").map_or("", |(_, rest)| rest),
                None => rest.trim_start(),
            });
            match (&mut open, word.strip_prefix("use ")) {
                (Some(import), _) => import.push_str(word),
                (None, Some(tree)) => open = Some(tree.to_owned()),
                (None, None) => code += &format!("{line}\n"),
            }
            if let Some(import) = open.take_if(|import| import.ends_with(';')) {
                expand("", import.trim_end_matches(';'), &mut imports);
            }
        }
        File { is_mod, imports, code }
    }

    fn defines(&self, name: &str) -> bool {
        ["struct", "enum", "trait", "type", "fn", "const", "static"].iter().any(|kind| {
            self.code.match_indices(&format!("{kind} {name}")).any(|(at, found)| {
                let next = self.code[at + found.len()..].chars().next();
                !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
            })
        })
    }
}

/// `a::{b, c::{d, e as f}}` as `a::b`, `a::c::d` and `a::c::e`.
fn expand(before: &str, tree: &str, into: &mut Vec<String>) {
    let (mut depth, mut start) = (0_i32, 0);
    let mut parts = Vec::new();
    for (at, c) in tree.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            parts.push(&tree[start..at]);
            start = at + 1;
        }
    }
    parts.push(&tree[start..]);
    for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('{') {
            Some((prefix, inner)) => {
                expand(&format!("{before}{prefix}"), inner.trim_end_matches('}'), into);
            }
            None => into.push(format!("{before}{}", part.split(" as ").next().unwrap_or(part))),
        }
    }
}

/// Every path in the code that says where it begins.
fn paths_in(code: &str) -> impl Iterator<Item = String> {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code.split(move |c| !word(c));
    let paths =
        words.filter(|path| ["crate::", "super::", "self::"].iter().any(|start| path.starts_with(start)));
    paths.map(|path| path.trim_end_matches(':').to_owned())
}

fn child(parent: &ModulePath, name: &str) -> ModulePath {
    [parent.as_slice(), &[name.to_owned()]].concat()
}

fn last(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}
