//! A remote checksum database at several URLs.

use std::time::Duration;

use tallystick::module::ModuleVersion;
use tallystick::source::SourceUrl;
use tallystick::tlog::Tile;
use tallystick::upstream::{FetchError, RemoteSumdb, passthrough, supported};

use super::{AMPLE, client, url, within};
use crate::support::hostile::{Behaviour, HostileServer};

fn remote(urls: &[String]) -> RemoteSumdb {
    RemoteSumdb::new("sum.golang.org".into(), urls.iter().map(|text| url(text)).collect(), client())
}

fn fixture() -> SourceUrl {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sum.golang.org");
    SourceUrl::directory(&root).unwrap()
}

#[tokio::test]
async fn a_static_directory_answers_what_it_holds() {
    let remote = RemoteSumdb::new("sum.golang.org".into(), vec![fixture()], client());
    let latest = remote.latest(within(AMPLE)).next().await.unwrap();
    assert!(latest.body.starts_with(b"go.sum database tree\n"));
    let module = ModuleVersion::from_parts("github.com/BurntSushi/toml", "v1.3.2").unwrap();
    let lookup = remote.lookup(&module, within(AMPLE)).next().await.unwrap();
    assert!(String::from_utf8_lossy(&lookup.body).contains("github.com/BurntSushi/toml v1.3.2 h1:"));
    let tile = remote.tile(&Tile::parse("tile/8/0/x041/949").unwrap(), within(AMPLE)).next().await.unwrap();
    assert_eq!(tile.body.len(), 8192);
    let missing =
        remote.tile(&Tile::parse("tile/8/0/x999/999").unwrap(), within(AMPLE)).next().await.unwrap_err();
    assert!(missing.is_not_found() && missing.path == "tile/8/0/x999/999", "{missing}");
    assert_eq!(remote.health()[0].1.failures, 0, "a tile that is not there is no failure");
}

#[tokio::test]
async fn each_kind_of_answer_has_its_limit() {
    let server = HostileServer::always(Behaviour::EndlessBody);
    let remote = remote(&[server.url()]);
    let module = ModuleVersion::from_parts("corp.example/x", "v1.0.0").unwrap();
    for (mut inquiry, want) in [
        (remote.latest(within(AMPLE)), 1_000_000),
        (remote.lookup(&module, within(AMPLE)), 1 << 20),
        (remote.tile(&Tile::parse("tile/8/0/000").unwrap(), within(AMPLE)), 8192),
        (remote.tile(&Tile::parse("tile/8/1/000.p/3").unwrap(), within(AMPLE)), 96),
        (remote.tile(&Tile::parse("tile/8/data/000").unwrap(), within(AMPLE)), 4 << 20),
    ] {
        let error = inquiry.next().await.unwrap_err();
        assert!(
            matches!(error.best(), Some(FetchError::TooLarge { max_bytes, .. }) if *max_bytes == want),
            "{error}"
        );
    }
    assert_eq!(server.paths()[1], "/lookup/corp.example/x@v1.0.0");
    assert_eq!(server.paths()[3], "/tile/8/1/000.p/3");
}

/// A proxy that passes the database on speaks for it (`go help goproxy`): what it withholds is a private path, perhaps.
#[tokio::test]
async fn what_a_passthrough_refuses_is_asked_nowhere_else() {
    let module = ModuleVersion::from_parts("corp.example/secret", "v1.0.0").unwrap();
    for status in [400, 401, 403, 404, 407, 410, 418, 451, 503] {
        let proxy = HostileServer::start(move |path| match path {
            "/sumdb/sum.golang.org/supported" => Behaviour::ok(""),
            _ => Behaviour::error(status, "no"),
        });
        let public = HostileServer::always(Behaviour::ok("a record"));
        let remote = remote(&[format!("{}/sumdb/sum.golang.org", proxy.url()), public.url()]);
        let answer = remote.lookup(&module, within(AMPLE)).next().await;
        assert_eq!(answer.is_ok(), status == 503, "{status}: only a failure is no verdict");
        assert_eq!(public.requests().len(), usize::from(status == 503), "{status}");
        if let Err(error) = answer {
            assert!(error.withheld && error.to_string().contains(&proxy.url()), "{error}");
        }
        // Heads and tiles name no module.
        assert!(remote.latest(within(AMPLE)).next().await.is_ok(), "{status}");
    }
}

#[tokio::test]
async fn the_next_url_is_asked_and_the_bad_one_goes_last() {
    let (down, good) =
        (HostileServer::always(Behaviour::error(503, "later")), HostileServer::always(Behaviour::ok("note")));
    let remote = remote(&[down.url(), good.url()]);
    let answer = remote.latest(within(AMPLE)).next().await.unwrap();
    assert_eq!(
        (answer.body.as_ref(), answer.url.as_str()),
        (b"note".as_slice(), format!("{}/latest", good.url()).as_str())
    );
    remote.latest(within(AMPLE)).next().await.unwrap();
    assert_eq!(
        (down.requests().len(), good.requests().len()),
        (1, 2),
        "the one that failed is asked last now"
    );
    let health = remote.health();
    assert_eq!((health[0].1.failures, health[1].1.failures), (1, 0));
    assert!(health[0].1.why.as_ref().unwrap().contains("503"));
}

#[tokio::test]
async fn a_verifier_can_go_on_after_a_lie() {
    let (liar, good) =
        (HostileServer::always(Behaviour::ok("lie")), HostileServer::always(Behaviour::ok("truth")));
    let remote = remote(&[liar.url(), good.url()]);
    let mut inquiry = remote.latest(within(AMPLE));
    let first = inquiry.next().await.unwrap();
    assert_eq!(first.body, "lie");
    remote.mark_bad(first.from, "the head does not verify");
    assert_eq!(inquiry.next().await.unwrap().body, "truth");
    let end = inquiry.next().await.unwrap_err();
    assert!(end.best().is_none() && !end.is_not_found(), "{end}");
    assert_eq!(
        remote.latest(within(AMPLE)).next().await.unwrap().body,
        "truth",
        "the liar is asked last from now on"
    );
    assert_eq!(remote.health()[0].1.lies, 1);
}

#[tokio::test]
async fn failures_of_all_urls_are_summed_up() {
    let busy = HostileServer::always(Behaviour::Answer {
        status: 429,
        headers: vec![("Retry-After", "9".into())],
        body: vec![],
    });
    let missing = HostileServer::always(Behaviour::not_found());
    let module = ModuleVersion::from_parts("corp.example/x", "v1.0.0").unwrap();
    let error = remote(&[busy.url(), missing.url()]).lookup(&module, within(AMPLE)).next().await.unwrap_err();
    assert!(error.is_not_found() && error.failures.len() == 2, "{error}");
    let want = format!(
        "checksum database sum.golang.org: no URL has an answer for lookup/corp.example/x@v1.0.0:\n  {}: 429 unavailable\n  {}: \
         404 not found: not found: no such module",
        busy.url(),
        missing.url()
    );
    assert_eq!(error.to_string(), want, "one line per URL");
    let error = remote(&[busy.url()]).lookup(&module, within(AMPLE)).next().await.unwrap_err();
    assert!(error.is_transient() && error.retry_after() == Some(Duration::from_secs(9)), "{error}");
    assert!(error.to_string().starts_with("checksum database sum.golang.org: http://127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn a_hung_url_leaves_time_for_the_next() {
    let (hung, good) =
        (HostileServer::always(Behaviour::Stall), HostileServer::always(Behaviour::ok("note")));
    let answer = remote(&[hung.url(), good.url()]).latest(within(Duration::from_secs(2))).next().await;
    assert_eq!(answer.unwrap().body, "note");
}

#[tokio::test]
async fn supported_is_yes_no_or_an_error() {
    for (behaviour, want) in [
        (Behaviour::ok(""), Some(true)),
        (Behaviour::error(404, ""), Some(false)),
        (Behaviour::error(410, ""), Some(false)),
        (Behaviour::error(403, ""), None),
        (Behaviour::error(500, ""), None),
        (Behaviour::Empty, None),
    ] {
        let server = HostileServer::always(behaviour.clone());
        let got =
            supported(&client(), &passthrough(&url(&server.url()), "sum.golang.org").unwrap(), within(AMPLE))
                .await;
        assert_eq!(got.ok(), want, "{behaviour:?}");
        assert_eq!(server.paths(), ["/sumdb/sum.golang.org/supported"]);
    }
    let proxy = url("https://goproxy.example");
    assert_eq!(
        passthrough(&proxy, "sum.corp.example/go").unwrap().to_string(),
        "https://goproxy.example/sumdb/sum.corp.example/go"
    );
    assert!(passthrough(&proxy, "../../admin").is_err());
}
