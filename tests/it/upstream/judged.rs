//! The table of `upstream::judge`, cell by cell, against servers: after which answer who else is asked, so that nobody
//! hears of a module that must not, and what the one who asked is told.

use tallystick::upstream::{
    ListError, ModuleFetchError, NextSource, SourceKind, SourceVerdict, SumdbError, judge,
};

use super::*;
use crate::support::hostile::{Behaviour, HostileServer};

use NextSource::{AfterBar, Always, Never};
use SourceVerdict::{AccessRefused, Later, NotAllowedHere, NotFound, Rejected, Unusable};

/// A row: what the first source does, when the next one is asked for a module, whether the database itself is asked for a
/// record after a proxy did that, and what it means.
struct Row {
    name: &'static str,
    does: Behaviour,
    modules: NextSource,
    passthrough: NextSource,
    verdict: SourceVerdict,
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name, does, modules, passthrough, verdict| {
        rows.push(Row { name, does, modules, passthrough, verdict });
    };
    for status in [404, 410] {
        row("missing", Behaviour::error(status, "no"), Always, Never, NotFound);
    }
    for status in [401, 403, 407] {
        row("refused", Behaviour::error(status, "no"), AfterBar, Never, AccessRefused);
    }
    for status in [400, 405, 406, 409, 414, 418, 421, 422, 426, 451, 204, 206, 300, 304] {
        row("another status", Behaviour::error(status, ""), AfterBar, Never, Rejected);
    }
    for status in [408, 425, 429, 500, 502, 503, 504, 520] {
        row("failing", Behaviour::error(status, "later"), AfterBar, Always, Later);
    }
    row("closed", Behaviour::Empty, AfterBar, Always, Later);
    row("broken off", Behaviour::Truncated { claimed: 100, body: b"x".to_vec() }, AfterBar, Always, Later);
    row("a redirect in a circle", Behaviour::RedirectLoop, AfterBar, Never, Rejected);
    row("a redirect to nowhere", Behaviour::Redirect("gopher://x/".into()), AfterBar, Never, Rejected);
    let elsewhere = "http://storage.invalid/x".to_owned();
    row("a redirect elsewhere", Behaviour::Redirect(elsewhere), Never, Never, NotAllowedHere);
    let long = Behaviour::Redirect(format!("/{}", "x".repeat(5000)));
    row("a long redirect", long, Never, Never, NotAllowedHere);
    row("no HTTP", Behaviour::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), AfterBar, Always, Unusable);
    let headers = vec![("Content-Encoding", "gzip".to_owned())];
    let damaged = Behaviour::Answer { status: 200, headers, body: b"plain".to_vec() };
    row("damaged gzip", damaged, AfterBar, Always, Unusable);
    row("too large for us", Behaviour::EndlessBody, Never, Always, NotAllowedHere);
    rows
}

fn module() -> ModuleVersion {
    ModuleVersion::from_parts("corp.example/secret", "v1.0.0").unwrap()
}

/// Whether the second source of a list was asked at all, and what came of it.
async fn through_list(does: &Behaviour, separator: &str) -> (bool, Option<ListError>) {
    let (first, second) = (HostileServer::always(does.clone()), HostileServer::always(Behaviour::ok("x")));
    let list = SourceList::parse(&format!("{}{separator}{}", first.url(), second.url())).unwrap();
    let limits = ModuleLimits { max_zip_bytes: 10_000, max_mod_bytes: 10_000 };
    let proxy = GoProxy::new(list, client(), None, limits, std::env::temp_dir());
    let fetched = proxy.fetch_module(&module(), within(AMPLE)).await;
    (!second.requests().is_empty(), fetched.err())
}

#[tokio::test]
async fn modules_are_looked_for_at_the_next_source_only_where_go_would() {
    for Row { name, does, modules, verdict, .. } in rows() {
        for (separator, is_bar) in [(",", false), ("|", true)] {
            let (asked, error) = through_list(&does, separator).await;
            let wanted = modules == Always || modules == AfterBar && is_bar;
            assert_eq!(asked, wanted, "{name} {separator} {does:?}");
            let Some(error) = error else {
                assert!(wanted, "{name}: nobody else had it");
                continue;
            };
            let ModuleFetchError::Fetch(best) = error.best().1 else { panic!("{name}: {error}") };
            assert_eq!(judge(SourceKind::Modules, best), (modules, verdict), "{name} {does:?}: {best}");
        }
    }
}

/// A proxy that passes a database on, then the database itself.
async fn through_proxy(does: &Behaviour) -> (bool, Option<SumdbError>) {
    let does = does.clone();
    let proxy = HostileServer::start(move |path| match path {
        "/sumdb/sum.golang.org/supported" => Behaviour::ok(""),
        _ => does.clone(),
    });
    let public = HostileServer::always(Behaviour::ok("a record"));
    let urls = vec![url(&format!("{}/sumdb/sum.golang.org", proxy.url())), url(&public.url())];
    let remote = RemoteSumdb::new("sum.golang.org".into(), urls, client());
    let answer = remote.lookup(&module(), within(AMPLE)).next().await;
    let asked = public.paths().iter().any(|path| path.contains("secret"));
    assert!(remote.latest(within(AMPLE)).next().await.is_ok(), "heads name no module");
    (asked, answer.err())
}

#[tokio::test]
async fn the_database_hears_of_no_module_that_a_proxy_withholds() {
    for Row { name, does, passthrough, verdict, .. } in rows() {
        let (asked, error) = through_proxy(&does).await;
        assert_eq!(asked, passthrough == Always, "{name} {does:?}");
        if passthrough == Never {
            let error = error.unwrap_or_else(|| panic!("{name}: somebody else answered"));
            assert!(error.withheld, "{name}");
            assert_eq!(error.verdict(), Some(verdict), "{name} {does:?}: {error}");
        }
    }
}

/// Whether a proxy passes the database on at all is asked without a name; what it says then is judged the same way.
#[tokio::test]
async fn a_proxy_that_refuses_to_say_whether_it_passes_the_database_on_withholds_it() {
    for (status, asked) in
        [(400, false), (401, false), (403, false), (451, false), (404, true), (410, true), (503, true)]
    {
        let proxy = HostileServer::always(Behaviour::error(status, "no"));
        let public = HostileServer::always(Behaviour::ok("a record"));
        let urls = vec![url(&format!("{}/sumdb/sum.golang.org", proxy.url())), url(&public.url())];
        let remote = RemoteSumdb::new("sum.golang.org".into(), urls, client());
        let answer = remote.lookup(&module(), within(AMPLE)).next().await;
        assert_eq!((answer.is_ok(), public.requests().len()), (asked, usize::from(asked)), "{status}");
    }
}

/// Any other URL of the same database may be asked: it is the same one that answers.
#[tokio::test]
async fn another_url_of_the_database_is_asked_whatever_the_first_one_says() {
    for Row { name, does, .. } in rows() {
        let (first, second) = (HostileServer::always(does), HostileServer::always(Behaviour::ok("a record")));
        let remote =
            RemoteSumdb::new("sum.golang.org".into(), vec![url(&first.url()), url(&second.url())], client());
        assert_eq!(remote.lookup(&module(), within(AMPLE)).next().await.unwrap().body, "a record", "{name}");
    }
}

/// What only an operating system says, of a directory.
#[tokio::test]
async fn directories_are_judged_like_servers() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "no directory").unwrap();
    for (path, next, verdict) in [
        ("absent".to_owned(), Always, NotFound),
        ("file/below".to_owned(), AfterBar, NotFound),
        ("x".repeat(300), AfterBar, NotFound),
        (".".to_owned(), AfterBar, Unusable),
    ] {
        let file = SourceUrl::directory(&root.path().join(&path)).unwrap();
        let error = client().get(&file, 100, within(AMPLE)).await.unwrap_err();
        assert_eq!(judge(SourceKind::Modules, &error), (next, verdict), "{path}: {error}");
        assert_eq!(judge(SourceKind::Database, &error).0, Always);
    }
}
