//! Module versions in their two spellings: what either parser takes, it prints back, and the other parser takes what
//! it prints in the other spelling.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use tallystick::module::{ModulePath, ModuleVersion, Version};

fuzz_target!(|text: &str| {
    if let Ok(module) = ModuleVersion::unescape(text) {
        assert_eq!(module.escaped(), text);
        check(&module);
    }
    if let Ok(module) = text.parse::<ModuleVersion>() {
        assert_eq!(module.to_string(), text);
        check(&module);
    }
    if let Ok(path) = ModulePath::unescape(text) {
        assert_eq!(path.escaped(), text);
        assert_eq!(ModulePath::parse(path.as_str()), Ok(path));
    }
    if let Ok(version) = Version::unescape(text) {
        assert_eq!(version.escaped(), text);
        assert_eq!(Version::parse(version.as_str()), Ok(version));
    }
});

fn check(module: &ModuleVersion) {
    let escaped = module.escaped();
    assert!(escaped.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{escaped}");
    assert_eq!(ModuleVersion::unescape(&escaped).as_ref(), Ok(module));
    assert_eq!(module.to_string().parse().as_ref(), Ok(module));
    assert_eq!(ModulePath::unescape(&module.path.escaped()).as_ref(), Ok(&module.path));
    assert_eq!(Version::unescape(&module.version.escaped()).as_ref(), Ok(&module.version));
}
