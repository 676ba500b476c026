//! go.sum lines: the strict reader of records and the tolerant reader of go.sum files.
//!
//! Expected values: real records of sum.golang.org, and what `readGoSum` of the `go` command (cmd/go/internal/modfetch,
//! Go 1.26.8) does with each kind of line.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tallystick::dirhash::{H1, hash_go_mod};
use tallystick::gosum::{
    GoSumLine, GoSumReason, LineKind, LineParts, ModuleLines, ModuleLinesError, Oddity, parse_go_sum,
};
use tallystick::module::ModuleVersion;

const ZIP: &str = "rsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=";
const GO_MOD: &str = "rsc.io/quote v1.5.2/go.mod h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=";

/// The lines of a file that is read.
fn lines_of(text: &str) -> Vec<GoSumLine> {
    parse_go_sum(text).unwrap().lines.into_iter().map(|numbered| numbered.line).collect()
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("fixture") {
        let path = entry.expect("fixture").path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

#[test]
fn records_of_sum_golang_org_print_back() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sum.golang.org/lookup");
    let mut files = Vec::new();
    files_below(&root, &mut files);
    assert_eq!(files.len(), 30);
    for file in files {
        let answer = fs::read_to_string(&file).unwrap();
        let (_number, rest) = answer.split_once('\n').unwrap();
        let end = rest.find("\n\n").unwrap();
        let record = &rest[..=end];
        let lines = ModuleLines::parse(record).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(lines.to_text(), record);
        let wire = file.strip_prefix(&root).unwrap().to_str().unwrap();
        assert_eq!(ModuleVersion::unescape(wire), Ok(lines.module.clone()));
        let go_sum = lines_of(record);
        let both = [(LineKind::Zip, lines.zip), (LineKind::GoMod, lines.go_mod)];
        assert_eq!(go_sum.iter().map(|line| (line.kind, line.hash)).collect::<Vec<_>>(), both);
        assert!(go_sum.iter().all(|line| line.module == lines.module));
        assert_eq!(go_sum.iter().map(|line| format!("{line}\n")).collect::<String>(), record);
    }
}

#[test]
fn records_are_two_exact_lines() {
    let good = format!("{ZIP}\n{GO_MOD}\n");
    assert!(ModuleLines::parse(&good).is_ok());
    for bad in [
        String::new(),
        "\n".into(),
        "\n\n".into(),
        format!("{ZIP}\n"),
        format!("{GO_MOD}\n"),
        format!("{ZIP}\n{GO_MOD}"),
        format!("{ZIP}\n{GO_MOD}\n\n"),
        format!("\n{ZIP}\n{GO_MOD}\n"),
        format!("{ZIP}\n\n{GO_MOD}\n"),
        format!("{ZIP}\r\n{GO_MOD}\r\n"),
        format!("{ZIP}\n{GO_MOD}\n{ZIP}\n"),
        format!("{ZIP}\n{GO_MOD}\n{GO_MOD}\n"),
        format!("{GO_MOD}\n{ZIP}\n"),
        format!("{ZIP}\n{ZIP}\n"),
        format!(" {ZIP}\n{GO_MOD}\n"),
        format!("{ZIP} \n{GO_MOD}\n"),
        format!("{ZIP}\n{GO_MOD} x\n"),
        good.replace(" v1", "  v1"),
        good.replace(" v1", "\tv1"),
        good.replace("/go.mod", "/go.sum"),
        good.replace("/go.mod", "/go.mod/go.mod"),
        good.replace("v1.5.2/go.mod", "v1.5.3/go.mod"),
        good.replace("\nrsc.io/quote", "\nrsc.io/quot"),
        good.replace("v1.5.2", "v1.5"),
        good.replace("v1.5.2", "v2.0.0"),
        good.replace("rsc.io", "rsc"),
        good.replace("h1:w", "h2:w"),
        good.replace("s3Y=", "s3Y"),
        good.replace("s3Y=", "s3Z="),
        good.replace("TKr0=", ""),
    ] {
        assert!(ModuleLines::parse(&bad).is_err(), "accepted {bad:?}");
    }
    let other = ModuleLines::parse(&good.replace("v1.5.2/go.mod", "v1.5.3/go.mod"));
    assert!(matches!(other, Err(ModuleLinesError::OtherModule { .. })));
}

#[test]
fn go_sum_files_are_read_as_by_the_go_command() {
    let count = |text: &str| {
        let file = parse_go_sum(text).unwrap();
        (file.lines.len(), file.odd.len())
    };
    assert_eq!(count(""), (0, 0));
    assert_eq!(count("\n \t\n\r\n"), (0, 0), "blank lines are skipped");
    assert_eq!(count(&format!("{ZIP}\n{GO_MOD}")), (2, 0), "the last newline may be missing");
    assert_eq!(count(&format!("{ZIP}\r\n{GO_MOD}\r\n")), (2, 0), "CR is white space");
    assert_eq!(count(&format!("\n  {}\u{a0}\n", ZIP.replace(' ', "\t "))), (1, 0), "any white space is");
    assert_eq!(count(&format!("{ZIP}\n{ZIP}\n")), (2, 0), "repeated lines are the caller's matter");
    let numbers: Vec<usize> =
        parse_go_sum(format!("\n{ZIP}\n\n{GO_MOD}")).unwrap().lines.iter().map(|n| n.number).collect();
    assert_eq!(numbers, [2, 4]);
}

/// Lines of three words, whatever they say, do not stop the `go` command; none of them vouches for anything.
#[test]
fn lines_that_go_tolerates_are_read_and_named() {
    let empty = hash_go_mod(b"");
    type IsIt = fn(&Oddity) -> bool;
    let table: [(String, IsIt); 9] = [
        (format!("rsc.io/quote v1.5.2/go.mod {empty}"), |odd| matches!(odd, Oddity::EmptyGoMod)),
        (ZIP.replace("h1:", "h2:"), |odd| matches!(odd, Oddity::UnknownHash { kind } if kind == "h2")),
        ("rsc.io/quote v1.5.2 nonsense".to_owned(), |odd| matches!(odd, Oddity::UnknownHash { .. })),
        (GO_MOD.replace("rsc.io", "rsc"), |odd| matches!(odd, Oddity::NoModule(_))),
        (GO_MOD.replace("v1.5.2", "v1.5"), |odd| matches!(odd, Oddity::NoModule(_))),
        (">>>>>>> the branch".to_owned(), |odd| matches!(odd, Oddity::NoModule(_))),
        (ZIP.replace("s3Y=", "s3Z="), |odd| matches!(odd, Oddity::BadHash { kind: LineKind::Zip, .. })),
        (GO_MOD.replace("TKr0=", ""), |odd| matches!(odd, Oddity::BadHash { kind: LineKind::GoMod, .. })),
        ("\u{fffd}x v1.0.0 h1:".to_owned(), |odd| matches!(odd, Oddity::NoModule(_))),
    ];
    for (line, is_it) in table {
        let file = parse_go_sum(format!("{ZIP}\r\n{line}\r\n{GO_MOD}\r\n")).unwrap();
        assert_eq!(file.lines.len(), 2, "{line}");
        assert!(
            matches!(&*file.odd, [odd] if odd.number == 2 && is_it(&odd.oddity)),
            "{line}: {:?}",
            file.odd
        );
    }
    let marked = parse_go_sum(format!("\u{feff}{ZIP}\n{GO_MOD}\n")).unwrap();
    assert_eq!((marked.lines.len(), marked.odd[0].number), (1, 1));
    assert!(matches!(marked.odd[0].oddity, Oddity::ByteOrderMark));
    let broken = [&b"rsc.io/qu\xffte v1.5.2 h1:x\n"[..], ZIP.as_bytes()].concat();
    assert!(
        matches!(&*parse_go_sum(broken).unwrap().odd, [odd] if matches!(odd.oddity, Oddity::NoModule(_)))
    );
}

#[test]
fn a_file_that_go_does_not_read_is_named_by_line_and_kind() {
    let fields = |count| GoSumReason::Fields { fields: count };
    let marker = |marker| GoSumReason::ConflictMarker { marker };
    for (line, text, reason) in [
        (1, "x".to_owned(), GoSumReason::NotGoSum),
        (1, "rsc.io/quote v1.5.2".to_owned(), GoSumReason::NotGoSum),
        (2, "\nto be read\nby nobody here\n".to_owned(), GoSumReason::NotGoSum),
        (1, "{\n}".to_owned(), GoSumReason::NotGoSum),
        (3, format!("{ZIP}\n\n{GO_MOD} x\n"), fields(4)),
        (1, format!("rsc.io/quote v1.5.2\n{ZIP}\n"), fields(2)),
        (2, format!("{ZIP}\n<<<<<<< HEAD\n{GO_MOD}\n"), marker("<<<<<<<")),
        (2, format!("{ZIP}\n=======\n{GO_MOD}\n"), marker("=======")),
        (1, "<<<<<<< HEAD\n=======\n>>>>>>> x\n".to_owned(), marker("<<<<<<<")),
    ] {
        let error = parse_go_sum(&text).unwrap_err();
        assert_eq!((error.line, &error.reason), (line, &reason), "{text:?}");
        assert!(!error.reason.fix().is_empty());
    }
    let utf_16: [fn(u16) -> [u8; 2]; 2] = [u16::to_le_bytes, u16::to_be_bytes];
    for encode in utf_16 {
        for text in [format!("\u{feff}{ZIP}\r\n"), format!("{ZIP}\n")] {
            let bytes: Vec<u8> = text.encode_utf16().flat_map(encode).collect();
            assert_eq!(parse_go_sum(&bytes).unwrap_err().reason, GoSumReason::Utf16, "{text:?}");
        }
    }
    let program = std::fs::read(env!("CARGO_BIN_EXE_tallystick")).unwrap();
    assert_eq!(parse_go_sum(&program[..100_000]).unwrap_err().reason, GoSumReason::NotGoSum);
    let error = parse_go_sum(format!("{ZIP}\nrsc.io/quote v1.5.2\n")).unwrap_err();
    assert!(error.to_string().starts_with("malformed go.sum: line 2: wrong number of fields 2"), "{error}");
}

proptest! {
    #[test]
    fn lines_round_trip(zip in any::<[u8; 32]>(), go_mod in any::<[u8; 32]>(), patch in any::<u64>(), pre in "(-[a-z]{1,5})?") {
        let module: ModuleVersion = format!("github.com/Some/Module@v1.2.{patch}{pre}").parse().unwrap();
        let lines = ModuleLines { module, zip: H1::from_bytes(zip), go_mod: H1::from_bytes(go_mod) };
        prop_assert_eq!(ModuleLines::parse(&lines.to_text()), Ok(lines.clone()));
        let words: Vec<String> = lines_of(&lines.to_text()).iter().map(|line| line.to_string()).collect();
        prop_assert_eq!(words.join("\n") + "\n", lines.to_text());
    }

    #[test]
    fn what_is_accepted_prints_back(at in 0_usize..160, text in any::<String>(), insert in "[ -~\n\r\t]{0,3}") {
        let mut record = format!("{ZIP}\n{GO_MOD}\n");
        record.insert_str(at.min(record.len()), &insert);
        for text in [text, record] {
            let parts = LineParts::parse(&text);
            if let Some(parts) = parts {
                let mut printed = String::new();
                parts.push_text(&mut printed);
                prop_assert_eq!(&printed, &text);
            }
            if let Ok(lines) = ModuleLines::parse(&text) {
                prop_assert_eq!(lines.to_text(), text.clone());
                let parts = parts.map(|parts| (parts.path, parts.version, parts.zip, parts.go_mod));
                let ModuleLines { module, zip, go_mod } = &lines;
                prop_assert_eq!(parts, Some((module.path.as_str(), module.version.as_str(), *zip, *go_mod)));
            }
            if let Ok(file) = parse_go_sum(&text) {
                let lines: Vec<GoSumLine> = file.lines.into_iter().map(|numbered| numbered.line).collect();
                let printed: String = lines.iter().map(|line| format!("{line}\n")).collect();
                prop_assert_eq!(lines_of(&printed), lines);
            }
        }
    }
}

/// Records of more than two lines: the two of the module version, each exactly once, wherever they stand.
#[test]
fn two_lines_are_found_among_more() {
    let hash = "h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=";
    let module: ModuleVersion = "a.example/m@v1.0.0".parse().unwrap();
    let (zip, go_mod) =
        (format!("a.example/m v1.0.0 {hash}\n"), format!("a.example/m v1.0.0/go.mod {hash}\n"));
    let other =
        format!("a.example/m v1.0.01 {hash}\na.example/mm v1.0.0 {hash}\nb.example v1.0.0 h9:x\nnonsense\n");
    let (new, bad) = ("a.example/m v1.0.0 h2:w5fc\n".to_owned(), "a.example/m v1.0.0 h1:w5fc\n".to_owned());
    for (lines, found) in [
        (vec![&zip, &go_mod], true),
        (vec![&go_mod, &other, &zip], true),
        (vec![&zip, &new, &go_mod], true),
        (vec![&zip, &other], false),
        (vec![&go_mod], false),
        (vec![&zip, &go_mod, &zip], false),
        (vec![&zip, &go_mod, &bad], false),
        (vec![&other], false),
    ] {
        let text: String = lines.into_iter().map(String::as_str).collect();
        let lines = ModuleLines::find(&text, &module);
        assert_eq!(lines.map(|lines| lines.to_text()), found.then(|| zip.clone() + &go_mod), "{text}");
    }
}
