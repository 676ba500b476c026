//! go.mod files: what is read from one reads the same from a file that says it plainly; lines may end in CR LF; and
//! the number of requirements is bounded.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use tallystick::module::gomod::{MAX_REQUIREMENTS, module_path, requirements};

fuzz_target!(|go_mod: &[u8]| {
    let found = requirements(go_mod);
    assert!(found.len() <= MAX_REQUIREMENTS);
    let line = |module: &tallystick::module::ModuleVersion| format!("{} {}", module.path, module.version);
    let lines: Vec<String> = found.iter().map(line).collect();
    let single: String = lines.iter().map(|line| format!("require {line}\n")).collect();
    let block = format!("module m // of\n\nrequire (\n\t{} // indirect\n)\n", lines.join("\n\t"));
    assert_eq!(requirements(single.as_bytes()), found);
    assert_eq!(requirements(block.as_bytes()), found);

    let path = module_path(go_mod);
    if let Some(path) = &path {
        let quoted = path.replace('\\', r"\\").replace('"', r#"\""#);
        for plain in
            [format!("// of\nmodule \"{quoted}\""), format!("\tmodule \"{quoted}\" // x\nmodule y\n")]
        {
            assert_eq!(module_path(plain.as_bytes()).as_ref(), Some(path), "{plain:?}");
        }
    }
    let crlf: Vec<u8> = go_mod.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]);
    assert_eq!((requirements(&crlf), module_path(&crlf)), (found, path));
});
