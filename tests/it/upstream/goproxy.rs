//! Module versions through GOPROXY lists.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use tallystick::module::ModuleVersion;
use tallystick::source::SourceList;
use tallystick::upstream::{
    FetchError, GoProxy, ModuleFetchError, ModuleLimits, ProxySettings, SourceName, Vcs, VcsError, VcsOptions,
};

use super::{AMPLE, client, within};
use crate::support::hostile::{Behaviour, HostileServer};

const INFO: &str =
    r#"{"Version":"v1.5.2-RC1","Origin":{"VCS":"git","URL":"https://corp.example/Quote","Hash":"3ba1"}}"#;

fn module() -> ModuleVersion {
    ModuleVersion::from_parts("corp.example/Quote", "v1.5.2-RC1").unwrap()
}

fn goproxy(list: &str) -> GoProxy {
    let list = SourceList::parse(list).unwrap();
    GoProxy::new(list, client(), None, ModuleLimits::default(), std::env::temp_dir())
}

/// A proxy that has the module.
fn honest() -> HostileServer {
    HostileServer::start(|path| match path {
        "/corp.example/!quote/@v/v1.5.2-!r!c1.mod" => Behaviour::ok("module corp.example/Quote\n"),
        "/corp.example/!quote/@v/v1.5.2-!r!c1.zip" => Behaviour::ok("zip bytes"),
        "/corp.example/!quote/@v/v1.5.2-!r!c1.info" => Behaviour::ok(INFO),
        _ => Behaviour::not_found(),
    })
}

#[tokio::test]
async fn a_module_comes_whole_from_one_source() {
    let server = honest();
    let proxy = goproxy(&server.url());
    let fetched = proxy.fetch_module(&module(), within(AMPLE)).await.unwrap();
    assert_eq!(fetched.source.to_string(), format!("{}/", server.url()));
    assert_eq!(fetched.go_mod, "module corp.example/Quote\n");
    let mut zip = String::new();
    fetched.zip.reader().unwrap().read_to_string(&mut zip).unwrap();
    assert_eq!((zip.as_str(), fetched.zip.size), ("zip bytes", 9));
    assert_eq!(fetched.info.unwrap().origin.unwrap().hash, "3ba1");
    assert_eq!(proxy.fetch_mod(&module(), within(AMPLE)).await.unwrap().content, fetched.go_mod);
    assert_eq!(proxy.fetch_zip(&module(), within(AMPLE)).await.unwrap().content.sha256, fetched.zip.sha256);
    let info = proxy.fetch_info(&module(), within(AMPLE)).await.unwrap().content;
    assert_eq!(info.origin.unwrap().url, "https://corp.example/Quote");
}

#[tokio::test]
async fn a_comma_goes_on_after_not_found_and_a_bar_after_anything() {
    for (first, separator, second_is_asked) in [
        (Behaviour::error(404, "no"), ",", true),
        (Behaviour::error(410, "no"), ",", true),
        (Behaviour::error(404, "no"), "|", true),
        (Behaviour::error(403, "no"), ",", false),
        (Behaviour::error(403, "no"), "|", true),
        (Behaviour::error(500, "no"), ",", false),
        (Behaviour::error(500, "no"), "|", true),
        (Behaviour::Empty, ",", false),
        (Behaviour::Empty, "|", true),
        (Behaviour::RedirectLoop, ",", false),
        (Behaviour::RedirectLoop, "|", true),
    ] {
        let (bad, good) = (HostileServer::always(first.clone()), honest());
        let list = format!("{}{separator}{}", bad.url(), good.url());
        let got = goproxy(&list).fetch_module(&module(), within(AMPLE)).await;
        assert_eq!(got.is_ok(), second_is_asked, "{first:?} {separator}");
        assert_eq!(!good.requests().is_empty(), second_is_asked, "{first:?} {separator}");
    }
}

#[tokio::test]
async fn a_source_that_hangs_leaves_time_for_the_next_after_a_bar() {
    let (hung, good) = (HostileServer::always(Behaviour::Stall), honest());
    let list = format!("{}|{}", hung.url(), good.url());
    let fetched = goproxy(&list).fetch_module(&module(), within(Duration::from_secs(2))).await.unwrap();
    assert_eq!(fetched.source.to_string(), format!("{}/", good.url()));
}

/// The go command takes each file from the first source that has it. So the `.mod` of such a source must be that of the
/// source that has the zip.
#[tokio::test]
async fn a_source_without_the_zip_does_not_have_the_module() {
    for (go_mod, is_the_same) in [("module corp.example/Quote\n", true), ("module other\n", false)] {
        let half = HostileServer::start(move |path| match path.ends_with(".mod") {
            true => Behaviour::ok(go_mod),
            false => Behaviour::not_found(),
        });
        let good = honest();
        let both = goproxy(&format!("{},{}", half.url(), good.url()));
        match both.fetch_module(&module(), within(AMPLE)).await {
            Ok(fetched) => {
                assert!(is_the_same);
                assert_eq!(fetched.source.to_string(), format!("{}/", good.url()));
            }
            Err(error) => {
                assert!(!is_the_same && !error.is_not_found() && !error.is_transient(), "{error}");
                assert!(matches!(error.best().1, ModuleFetchError::TwoSources { .. }), "{error}");
                assert!(error.to_string().contains(&half.url()) && error.to_string().contains(&good.url()));
            }
        }
        let alone = goproxy(&half.url()).fetch_module(&module(), within(AMPLE)).await.unwrap_err();
        assert!(alone.is_not_found(), "{alone}");
    }
}

#[tokio::test]
async fn the_most_telling_error_is_returned() {
    let (missing, failing) = (
        HostileServer::always(Behaviour::not_found()),
        HostileServer::always(Behaviour::error(503, "later")),
    );
    let ask = async |list: String| goproxy(&list).fetch_module(&module(), within(AMPLE)).await.unwrap_err();
    let both = ask(format!("{}|{}", failing.url(), missing.url())).await;
    assert!(both.is_transient() && !both.is_not_found(), "{both}");
    let off = ask(format!("{},off", missing.url())).await;
    assert!(matches!(off.best().1, ModuleFetchError::Fetch(e) if e.is_not_found()), "{off}");
    let direct = ask(format!("{},direct", missing.url())).await;
    assert!(matches!(direct.best().1, ModuleFetchError::DirectNotAllowed), "{direct}");
    let lines: Vec<String> = both.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "one line per source: {lines:?}");
    assert!(lines[0].contains(&failing.url()) && lines[1].contains(&missing.url()), "{lines:?}");
    let error = goproxy(&failing.url()).fetch_info(&module(), within(AMPLE)).await.unwrap_err();
    assert!(error.is_transient());
}

#[tokio::test]
async fn an_info_that_is_slow_unreadable_or_missing_does_not_matter() {
    for info in [Behaviour::not_found(), Behaviour::ok("{}"), Behaviour::EndlessBody] {
        let server = HostileServer::start(move |path| match path.rsplit('.').next() {
            Some("info") => info.clone(),
            _ => Behaviour::ok("x"),
        });
        let fetched = goproxy(&server.url()).fetch_module(&module(), within(AMPLE)).await.unwrap();
        assert!(fetched.info.is_none());
        assert!(goproxy(&server.url()).fetch_info(&module(), within(AMPLE)).await.is_err());
    }
}

/// The go command refuses it, and so whoever uses that source never gets to ask for a line. After a bar it asks the next
/// source for the .info alone: zip and .mod still come from the first.
#[tokio::test]
async fn an_info_of_another_version_is_refused_as_by_go() {
    let mixed_up = || {
        HostileServer::start(|path| match path.rsplit('.').next() {
            Some("info") => Behaviour::ok(INFO.replace("RC1", "RC2")),
            Some("mod") => Behaviour::ok("module corp.example/Quote\n"),
            _ => Behaviour::ok("its own zip"),
        })
    };
    let (first, good) = (mixed_up(), honest());
    for list in [
        first.url(),
        format!("{},{}", first.url(), good.url()),
        format!("{}|{}", first.url(), mixed_up().url()),
    ] {
        let error = goproxy(&list).fetch_module(&module(), within(AMPLE)).await.unwrap_err();
        let text = error.to_string();
        for part in [first.url().as_str(), "v1.5.2-RC1", "v1.5.2-RC2"] {
            assert!(text.contains(part), "{list}: {text}");
        }
        assert!(!error.is_transient() && !error.is_not_found(), "{text}");
    }
    assert!(good.requests().is_empty(), "a comma goes on only where something is not there");
    let list = format!("{}|{}", first.url(), good.url());
    let mut fetched = goproxy(&list).fetch_module(&module(), within(AMPLE)).await.unwrap();
    let mut zip = String::new();
    fetched.zip.reader().unwrap().read_to_string(&mut zip).unwrap();
    assert_eq!((zip.as_str(), fetched.info.take()), ("its own zip", None));
    assert_eq!(good.paths(), ["/corp.example/!quote/@v/v1.5.2-!r!c1.info"]);
}

#[tokio::test]
async fn the_limits_hold() {
    let server = honest();
    for (max_zip_bytes, max_mod_bytes) in [(8, 100), (100, 8)] {
        let limits = ModuleLimits { max_zip_bytes, max_mod_bytes };
        let list = SourceList::parse(&server.url()).unwrap();
        let proxy = GoProxy::new(list, client(), None, limits, std::env::temp_dir());
        let error = proxy.fetch_module(&module(), within(AMPLE)).await.unwrap_err();
        assert!(
            matches!(error.best().1, ModuleFetchError::Fetch(FetchError::TooLarge { max_bytes: 8, .. })),
            "{error}"
        );
    }
}

fn write_module(root: &Path) {
    let dir = root.join("corp.example/!quote/@v");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("v1.5.2-!r!c1.mod"), "module corp.example/Quote\n").unwrap();
    std::fs::write(dir.join("v1.5.2-!r!c1.zip"), vec![b'z'; 3 << 20]).unwrap();
}

#[tokio::test]
async fn a_directory_is_a_source() {
    let root = tempfile::tempdir().unwrap();
    write_module(root.path());
    let list = format!("file://{}", root.path().display());
    let fetched = goproxy(&list).fetch_module(&module(), within(AMPLE)).await.unwrap();
    assert_eq!(fetched.source.to_string(), list);
    assert_eq!(fetched.zip.size, 3 << 20);
    assert!(fetched.zip.file().is_some() && fetched.info.is_none());
    // A copy: what the directory says later does not change what was fetched.
    std::fs::write(root.path().join("corp.example/!quote/@v/v1.5.2-!r!c1.zip"), "changed").unwrap();
    let mut zip = Vec::new();
    fetched.zip.reader().unwrap().read_to_end(&mut zip).unwrap();
    assert!(zip == vec![b'z'; 3 << 20]);
    let other = ModuleVersion::from_parts("corp.example/other", "v1.0.0").unwrap();
    assert!(goproxy(&list).fetch_module(&other, within(AMPLE)).await.unwrap_err().is_not_found());
    let absent = goproxy("file:///nowhere/at/all").fetch_module(&module(), within(AMPLE)).await.unwrap_err();
    assert!(absent.is_not_found());
}

#[tokio::test]
async fn direct_is_asked_at_the_end_of_the_list() {
    let scratch = tempfile::tempdir().unwrap();
    let options = VcsOptions {
        go: "/nowhere/go".into(),
        proxies: ProxySettings::default(),
        ..VcsOptions::new(scratch.path().to_owned())
    };
    let missing = HostileServer::always(Behaviour::not_found());
    let list = SourceList::parse(&format!("{},direct", missing.url())).unwrap();
    let proxy =
        GoProxy::new(list, client(), Some(Vcs::new(options)), ModuleLimits::default(), std::env::temp_dir());
    let error = proxy.fetch_module(&module(), within(AMPLE)).await.unwrap_err();
    assert!(matches!(error.best().1, ModuleFetchError::Direct(VcsError::NoGo { .. })), "{error}");
    assert_eq!(missing.requests().len(), 1);
    assert_eq!(SourceName::Direct.to_string(), "direct");
}
