//! Vendored files, each held against the zip of its module, and the zips against the log.
//!
//! ```text
//! # rsc.io/quote v1.5.2               the module of the packages below
//! ## explicit; go 1.12
//! rsc.io/quote
//! # rsc.io/sampler v1.3.0 => corp.example/sampler v1.3.1
//! # corp.example/local => ../local    no log has a hash of it
//! ```
//!
//! `go build -mod=vendor` compares vendor/modules.txt with go.mod and looks at no vendored file.
//! Here the `go` command says where the zips lie, downloading those that are missing; they are
//! hashed, the hash is a claim for the log, and the hashes of their files, taken in the same pass,
//! are compared with the vendored files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::download::{self, DownloadedModule};
use super::go;
use super::modcache::OpenFile;
use super::project::below;
use super::{CheckVerdict, FilePlace, GatherError, Gathered};
use crate::dirhash::{ZipLimits, hash_zip_files};
use crate::files;
use crate::gosum::LineKind;
use crate::module::ModuleVersion;

const MAX_MODULES_TXT_BYTES: u64 = 64 << 20;
/// Files and directories below vendor.
const MAX_ENTRIES: usize = 2_000_000;
/// What to do about a wrong file.
const FIX: &str = "fix: `go mod vendor` writes the directory anew";
/// How much of a file is in memory while it is hashed.
const BUFFER_BYTES: usize = 64 << 10;
/// Arguments of one `go` command.
const DOWNLOADED_AT_ONCE: usize = 100;

/// A module that vendor/modules.txt names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct VendoredModule {
    /// Its line.
    line: usize,
    /// Below which path its packages lie.
    path: String,
    /// Where they come from; a directory has no version.
    origin: Result<ModuleVersion, String>,
}

/// What vendor/modules.txt says.
#[derive(Debug, Default)]
struct ModulesTxt {
    modules: Vec<VendoredModule>,
    /// The module of each package, by number, and the line.
    packages: HashMap<String, (usize, usize)>,
}

/// Compares the vendor directory of a module or workspace. `progress` is told how many of how many
/// modules are compared.
pub(crate) fn vendored(directory: &Path, progress: impl Fn(u64, u64)) -> Result<Gathered, GatherError> {
    let vendor = below(directory, "vendor");
    let listed = vendor.join("modules.txt");
    let name = listed.display().to_string();
    let unreadable = |path: &Path, source| GatherError::Read { path: path.display().to_string(), source };
    let bytes = files::read_regular(&listed, MAX_MODULES_TXT_BYTES);
    let bytes = bytes.map_err(|source| unreadable(&listed, source))?;
    let mut gathered = Gathered::default();
    let text = parse(&name, &String::from_utf8_lossy(&bytes), &mut gathered);
    let root = vendor.canonicalize().map_err(|source| unreadable(&vendor, source))?;
    let mut by_module = assign(&text, &vendor, &mut gathered)?;
    let used: BTreeSet<usize> =
        by_module.keys().copied().chain(text.packages.values().map(|(module, _)| *module)).collect();
    let zips =
        zips(used.iter().filter_map(|at| text.modules[*at].origin.as_ref().ok()), &name, &mut gathered)?;
    let total = used.len() as u64;
    for (done, at) in used.into_iter().enumerate() {
        let module = &text.modules[at];
        let place = FilePlace::line(&name, module.line);
        let files = by_module.remove(&at).unwrap_or_default();
        match &module.origin {
            Ok(origin) => {
                let root_in_vendor = vendor.join(&module.path);
                let of_module = text.packages.iter().filter(|(_, (module, _))| *module == at);
                let packages = of_module.map(|(package, (_, line))| (package.as_str(), *line)).collect();
                let path = module.path.as_str();
                let vendored =
                    Vendored { below: &root_in_vendor, path, packages, origin, place, root: &root, files };
                if let Some(zip) = zips.get(origin) {
                    vendored.compare(zip, &mut gathered);
                }
            }
            Err(from) => {
                let why =
                    format!("{} vendored files come from {from}: no log has a hash of that", files.len());
                gathered.find(place, module.path.clone(), CheckVerdict::Unverified, why);
            }
        }
        progress(done as u64 + 1, total);
    }
    Ok(gathered)
}

fn parse(name: &str, text: &str, gathered: &mut Gathered) -> ModulesTxt {
    let mut listed = ModulesTxt::default();
    for (line, number) in text.lines().zip(1..) {
        if line.starts_with("## ") || line.trim().is_empty() {
            continue;
        }
        let Some(rest) = line.strip_prefix("# ") else {
            match listed.modules.len().checked_sub(1) {
                Some(module) => {
                    listed.packages.insert(line.trim().to_owned(), (module, number));
                }
                None => {
                    let why = "a package before the first module".to_owned();
                    gathered.find(FilePlace::line(name, number), None, CheckVerdict::Differs, why);
                }
            }
            continue;
        };
        let (old, new) = rest.split_once(" => ").map_or((rest, None), |(old, new)| (old, Some(new)));
        let words: Vec<&str> = old.split_whitespace().collect();
        let origin = match new.map(|new| new.split_whitespace().collect::<Vec<_>>()) {
            Some(new) if new.len() == 2 => module(new[0], new[1]),
            Some(new) => Err(format!("the directory {}", new.join(" "))),
            None if words.len() == 2 => module(words[0], words[1]),
            None => Err("no version".to_owned()),
        };
        let path = words.first().copied().unwrap_or_default().to_owned();
        listed.modules.push(VendoredModule { line: number, path, origin });
    }
    listed
}

fn module(path: &str, version: &str) -> Result<ModuleVersion, String> {
    ModuleVersion::from_parts(path, version).map_err(|error| format!("{path}@{version} ({error})"))
}

/// Finds the module of every vendored file. One that no module has is named.
fn assign(
    text: &ModulesTxt,
    vendor: &Path,
    gathered: &mut Gathered,
) -> Result<BTreeMap<usize, Vec<PathBuf>>, GatherError> {
    let unreadable = |path: &Path, source| GatherError::Read { path: path.display().to_string(), source };
    // Of two lines of one path, the one that has packages below it is the last that names them.
    let by_path: HashMap<&str, usize> =
        text.modules.iter().enumerate().rev().map(|(at, module)| (module.path.as_str(), at)).collect();
    let mut files: BTreeMap<usize, Vec<PathBuf>> = BTreeMap::new();
    let (mut waiting, mut entries) = (vec![vendor.to_owned()], 0);
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).map_err(|source| unreadable(&directory, source))? {
            let entry = entry.map_err(|source| unreadable(&directory, source))?;
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(GatherError::TooMany { what: "vendored files", most: MAX_ENTRIES });
            }
            let path = entry.path();
            let kind = entry.file_type().map_err(|source| unreadable(&path, source))?;
            if kind.is_dir() {
                waiting.push(path);
                continue;
            }
            let relative = path.strip_prefix(vendor).expect("it was found there");
            if relative == Path::new("modules.txt") {
                continue;
            }
            let owner = |directory: &Path| {
                let path = directory.to_str()?;
                let listed = text.packages.get(path).map(|(module, _)| *module);
                listed.or_else(|| by_path.get(path).copied())
            };
            match relative.ancestors().skip(1).find_map(owner) {
                Some(module) => files.entry(module).or_default().push(path),
                None => {
                    let why = "it belongs to no module of vendor/modules.txt\n  fix: `go mod vendor` writes the directory anew";
                    let place = FilePlace::file(path.display().to_string());
                    gathered.find(place, None, CheckVerdict::Differs, why.to_owned());
                }
            }
        }
    }
    Ok(files)
}

/// Asks the `go` command where the zips lie. What it cannot download is named.
fn zips<'a>(
    modules: impl Iterator<Item = &'a ModuleVersion>,
    name: &str,
    gathered: &mut Gathered,
) -> Result<HashMap<ModuleVersion, PathBuf>, GatherError> {
    let wanted: BTreeSet<String> = modules.map(ToString::to_string).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let mut zips = HashMap::new();
    for some in wanted.chunks(DOWNLOADED_AT_ONCE) {
        let arguments = [&["mod", "download", "-json"], some].concat();
        let output = go::download(&arguments)?;
        for DownloadedModule { path, version, error, zip, .. } in
            download::parse("go mod download -json", &output)?
        {
            match ModuleVersion::from_parts(&path, &version) {
                Ok(module) if error.is_empty() && !zip.is_empty() => {
                    zips.insert(module, PathBuf::from(zip));
                }
                _ => {
                    let why = format!(
                        "its zip cannot be had, so its vendored files are not compared: {}",
                        error.trim()
                    );
                    let shown = format!("{path}@{version}");
                    gathered.find(FilePlace::file(name), shown, CheckVerdict::NotChecked, why);
                }
            }
        }
    }
    Ok(zips)
}

/// The vendored files of one module.
struct Vendored<'a> {
    /// The directory that stands for the module's root.
    below: &'a Path,
    path: &'a str,
    /// Its packages in vendor/modules.txt, with their lines.
    packages: Vec<(&'a str, usize)>,
    origin: &'a ModuleVersion,
    place: FilePlace,
    root: &'a Path,
    files: Vec<PathBuf>,
}

impl Vendored<'_> {
    fn compare(self, zip: &Path, gathered: &mut Gathered) {
        let Vendored { below, path, packages, origin, place, root, mut files } = self;
        let hashed = files::open_regular(zip).map_err(|error| error.to_string()).and_then(|file| {
            let hashed = hash_zip_files(&OpenFile(file), origin, &ZipLimits::default());
            hashed.map_err(|error| error.to_string())
        });
        let hashed = match hashed {
            Ok(hashed) => hashed,
            Err(why) => {
                let why = format!("{} cannot be hashed: {why}", zip.display());
                return gathered.find(place, origin.to_string(), CheckVerdict::NotChecked, why);
            }
        };
        let directories: BTreeSet<&str> = hashed
            .files
            .keys()
            .map(|name| name.rsplit_once('/').map_or("", |(directory, _)| directory))
            .collect();
        for (package, line) in packages {
            let inside = package.strip_prefix(path).map(|rest| rest.trim_start_matches('/'));
            if inside.is_none_or(|inside| !directories.contains(inside)) {
                let why = format!("the zip of {origin} has no package {package}\n  {FIX}");
                let place = FilePlace::line(&place.file, line);
                gathered.find(place, origin.to_string(), CheckVerdict::Differs, why);
            }
        }
        gathered.claim(place, origin, LineKind::Zip, hashed.h1);
        files.sort_unstable();
        for path in files {
            let expected = path.strip_prefix(below).ok().and_then(Path::to_str);
            let expected = expected.and_then(|relative| hashed.files.get(relative));
            let why = match (expected, digest(root, &path)) {
                (Some(expected), Ok(found)) if *expected == found => continue,
                (Some(_), Ok(_)) => format!("it is not the file in the zip of {origin}"),
                (None, Ok(_)) => format!("the zip of {origin} has no such file"),
                (_, Err(why)) => format!("it cannot be read: {why}"),
            };
            let why = format!("{why}\n  {FIX}");
            let place = FilePlace::file(path.display().to_string());
            gathered.find(place, origin.to_string(), CheckVerdict::Differs, why);
        }
    }
}

fn digest(root: &Path, path: &Path) -> Result<[u8; 32], String> {
    let mut file = files::open_found(root, path).map_err(|error| error.to_string())?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer).map_err(|error| error.to_string())? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finalize().into())
}
