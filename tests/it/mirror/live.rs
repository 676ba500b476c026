//! The real log, through the module proxy that the environment names. Only where live tests are wanted.

use std::process::Command;

use tallystick::tlog::TreeSize;
use tallystick::upstream::{passthrough, supported};

use super::*;
use crate::support::live::is_wanted;

/// The first http(s) entry of `go env GOPROXY`.
fn proxy() -> Result<SourceUrl, String> {
    let output = Command::new("go").args(["env", "GOPROXY"]).output().map_err(|error| error.to_string())?;
    let list = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let url = list.split([',', '|']).find(|entry| entry.starts_with("http"));
    let url = url.ok_or_else(|| format!("GOPROXY={list} names no proxy"))?;
    SourceUrl::parse(url).map_err(|error| error.to_string())
}

/// The real log through that proxy, if it passes it on.
async fn real_log(client: &Client) -> Result<RemoteLog, String> {
    let proxy = proxy()?;
    let http = HttpClient::new(ClientOptions::default()).unwrap();
    let soon = Clock::system().instant() + Duration::from_secs(15);
    let through = passthrough(&proxy, GOLANG).unwrap();
    match supported(&http, &through, soon).await {
        Ok(true) => {}
        Ok(false) => return Err("the proxy does not pass sum.golang.org through".to_owned()),
        Err(error) => return Err(error.to_string()),
    }
    let transport = RemoteSumdb::new(GOLANG.to_owned(), vec![through], http);
    Ok(RemoteLog::open(client.options(transport)).unwrap())
}

/// As `heads` mode does: the newest head, and again. One request each, and the tiles that compare two of them.
#[tokio::test]
async fn heads_of_the_real_log() {
    const TEST: &str = "mirror::live::heads_of_the_real_log";
    if !is_wanted(TEST) {
        return;
    }
    let skipped = |why: &str| eprintln!("SKIPPED: {TEST}: {why}");
    let client = Client::golang();
    let log = match real_log(&client).await {
        Ok(log) => log,
        Err(why) => return skipped(&why),
    };
    let mut before = TreeSize(66_398_721);
    for _ in 0..2 {
        let head = match log.advance(ample()).await {
            Err(RemoteError::Unavailable { text, .. }) => return skipped(&text),
            head => head.unwrap(),
        };
        assert!(head.tree.size >= before, "the log does not shrink: {}", head.tree);
        assert!(head.note.contains("\n\u{2014} sum.golang.org Az3gr"), "{}", head.note);
        before = head.tree.size;
    }
    assert_eq!(log.counts().unwrap().records, 0);
}

#[tokio::test]
async fn one_record_of_the_real_log() {
    const TEST: &str = "mirror::live::one_record_of_the_real_log";
    if !is_wanted(TEST) {
        return;
    }
    let skipped = |why: &str| eprintln!("SKIPPED: {TEST}: {why}");
    let client = Client::golang();
    let log = match real_log(&client).await {
        Ok(log) => log,
        Err(why) => return skipped(&why),
    };
    let quote = module("rsc.io/quote@v1.5.2");
    let proven = match log.lookup(&quote, ample()).await {
        Err(RemoteError::Unavailable { text, .. }) => return skipped(&text),
        answer => answer.unwrap(),
    };
    assert_eq!(proven.record.0, 942);
    assert_eq!(
        proven.lines.to_text(),
        "rsc.io/quote v1.5.2 h1:w5fcysjrx7yqtD/aO+QwRjYZOKnaM9Uh2b40tElTs3Y=\n\
         rsc.io/quote v1.5.2/go.mod h1:LzX7hefJvL54yjefDEDHNONDjII0t9xZLPXsUe+TKr0=\n"
    );
    assert!(proven.head.size.0 >= 66_398_721, "the log does not shrink: {}", proven.head);
    assert_provable(&log, &proven);
    drop(log);
    assert_eq!(client.open_offline().lookup(&quote, ample()).await.unwrap(), proven);
}
