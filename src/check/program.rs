//! The modules that Go has built into a program, as `go version -m` prints them.
//!
//! ```text
//! ./billing: go1.26.8
//!         path    corp.example/billing
//!         mod     corp.example/billing    (devel)
//!         dep     rsc.io/quote    v1.5.2  h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=
//!         dep     rsc.io/sampler  v1.3.0
//!         =>      corp.example/sampler    v1.3.1  h1:…
//! ```
//!
//! The command reads every format of programs that Go writes, and old ones too, so we do not. A
//! dependency that is replaced is what stands after the arrow. The list is what whoever built the
//! program says: it proves which sources were named, not that the program was made from them.

use std::path::Path;

use super::go::{GoFailure, read_only};
use super::{CheckVerdict, FilePlace, GatherError, Gathered};
use crate::gosum::LineKind;
use crate::module::ModuleVersion;

/// How programs begin: ELF, PE, Mach-O in both orders and for several processors, XCOFF,
/// WebAssembly.
const MAGICS: [&[u8]; 10] = [
    b"\x7fELF",
    b"MZ",
    b"\xfe\xed\xfa\xce",
    b"\xfe\xed\xfa\xcf",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
    b"\x01\xdf",
    b"\x01\xf7",
    b"\0asm",
];

/// Whether a file that begins so is a program.
pub(crate) fn is_program(start: &[u8]) -> bool {
    MAGICS.iter().any(|magic| start.starts_with(magic))
}

/// Reads the modules of a program.
pub(crate) fn program(path: &Path) -> Result<Gathered, GatherError> {
    let name = path.display().to_string();
    let absolute = std::path::absolute(path);
    let absolute = absolute.map_err(|source| GatherError::Read { path: name.clone(), source })?;
    let output =
        read_only(&["version", "-m", &absolute.display().to_string()]).map_err(|error| match error {
            GoFailure::Failed { said, .. } => GatherError::Malformed {
                path: name.clone(),
                line: None,
                why: format!("go reads no module list from it: {said}"),
                fix: "name a program that Go has built".to_owned(),
            },
            error => error.into(),
        })?;
    parse(&name, &String::from_utf8_lossy(&output))
}

/// A module of the list: `mod` or `dep`, and what replaces it.
struct Built<'a> {
    words: Vec<&'a str>,
    replaced_by: Option<Vec<&'a str>>,
}

fn parse(name: &str, output: &str) -> Result<Gathered, GatherError> {
    let mut built: Vec<Built<'_>> = Vec::new();
    for line in output.lines() {
        let mut words = line.strip_prefix('\t').unwrap_or_default().split('\t');
        match words.next() {
            Some("mod" | "dep") => built.push(Built { words: words.collect(), replaced_by: None }),
            Some("=>") => {
                if let Some(last) = built.last_mut() {
                    last.replaced_by = Some(words.collect());
                }
            }
            _ => {}
        }
    }
    if built.is_empty() {
        return Err(GatherError::Malformed {
            path: name.to_owned(),
            line: None,
            why: "Go has built no module list into this program".to_owned(),
            fix: "build it with modules (GO111MODULE unset), and without tools that strip the list"
                .to_owned(),
        });
    }
    let mut gathered = Gathered::default();
    for Built { words, replaced_by } in &built {
        let place = FilePlace::file(name);
        let [path, version, hash] = three(replaced_by.as_ref().unwrap_or(words));
        let replaced = replaced_by.is_some().then(|| format!("{} is replaced by it", three(words)[0]));
        let shown = format!("{path}@{version}");
        let module = ModuleVersion::from_parts(path, version);
        match (module, hash.parse()) {
            (Ok(module), Ok(hash)) => gathered.claim(place, &module, LineKind::Zip, hash),
            (_, Err(_)) if hash.is_empty() => {
                let how = replaced.unwrap_or_else(|| "it was built from a directory".to_owned());
                let why = format!("{how}: there is no hash of it in the program");
                gathered.find(place, shown, CheckVerdict::Unverified, why);
            }
            (Err(error), _) => gathered.find(place, shown, CheckVerdict::NotChecked, error.to_string()),
            (_, Err(error)) => gathered.find(place, shown, CheckVerdict::NotChecked, error.to_string()),
        }
    }
    Ok(gathered)
}

fn three<'a>(words: &[&'a str]) -> [&'a str; 3] {
    [0, 1, 2].map(|at| words.get(at).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form is that of `BuildInfo.String` of Go's runtime/debug, which `go version -m` indents by a tab.
    #[test]
    fn what_is_replaced_counts_as_what_replaces_it() {
        let hash = "h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=";
        let output = format!(
            "/bin/billing: go1.26.8\n\tpath\tcorp.example/billing\n\tmod\tcorp.example/billing\t(devel)\t\n\
             \tdep\trsc.io/quote\tv1.5.2\t{hash}\n\tdep\trsc.io/sampler\tv1.3.0\n\t=>\tcorp.example/sampler\tv1.3.1\t{hash}\n\
             \tdep\tcorp.example/local\tv1.0.0\n\t=>\t../local\t(devel)\t\n\tdep\tcorp.example/odd\tv1.0.0\th9:x\n\
             \tbuild\t-compiler=gc\n"
        );
        let Gathered { claims, findings, .. } = parse("billing", &output).unwrap();
        let claimed: Vec<String> = claims.iter().map(|claim| claim.module.to_string()).collect();
        assert_eq!(claimed, ["rsc.io/quote@v1.5.2", "corp.example/sampler@v1.3.1"]);
        let found: Vec<_> = findings.iter().map(|f| (f.module.as_deref().unwrap(), f.verdict)).collect();
        assert_eq!(
            found,
            [
                ("corp.example/billing@(devel)", CheckVerdict::Unverified),
                ("../local@(devel)", CheckVerdict::Unverified),
                ("corp.example/odd@v1.0.0", CheckVerdict::NotChecked),
            ]
        );
        assert!(findings[1].why.starts_with("corp.example/local is replaced by it"), "{}", findings[1].why);
        assert!(parse("billing", "/bin/billing: go1.26.8\n\tpath\tcommand-line-arguments\n").is_err());
    }
}
