//! Settings of the `go` command under which it does not ask the log, and says nothing about it.

use crate::config::GoEnvironment;

/// A sentence or two for each such setting in force here.
pub(super) fn warnings(go: &GoEnvironment) -> Vec<String> {
    let mut warnings = Vec::new();
    let var = |name: &str| go.var(name).map(|setting| setting.value.as_str());
    if let Some(skipped) = var("GONOSUMDB").or(var("GOPRIVATE")).filter(|value| *value != "none") {
        let cause = if var("GOPRIVATE") == Some(skipped) {
            "GOPRIVATE (the default of GONOSUMDB)"
        } else {
            "GONOSUMDB"
        };
        warnings.push(format!(
            "{cause} is \"{skipped}\" here: with it the go command silently skips the log for these modules. \
             Clients need GONOSUMDB=none."
        ));
    }
    if var("GOSUMDB") == Some("off") {
        warnings.push(
            "GOSUMDB is \"off\" here: the go command verifies nothing that is not in go.sum.".to_owned(),
        );
    }
    let flags = var("GOFLAGS").unwrap_or_default().split_whitespace();
    if flags
        .clone()
        .any(|flag| matches!(flag.trim_start_matches('-'), "insecure" | "insecure=true" | "insecure=1"))
    {
        warnings.push(
            "GOFLAGS has -insecure: older go commands skip the log with it, newer ones refuse it. Remove it."
                .to_owned(),
        );
    }
    if let Some(patterns) = var("GOINSECURE") {
        warnings.push(format!(
            "GOINSECURE is \"{patterns}\" here: these modules may be fetched without TLS. The log still verifies them, but \
             whoever is on the way the first time decides what enters it."
        ));
    }
    warnings
}

/// A sentence for each setting of a client with which modules come in that the log may not have: for builds in which the log
/// must have the last word.
pub(super) fn ways_around(go: &GoEnvironment) -> Vec<String> {
    let var = |name: &str| go.var(name).map(|setting| setting.value.as_str());
    let mut ways = Vec::new();
    let proxies = var("GOPROXY").unwrap_or_default();
    if proxies.split([',', '|']).skip(1).any(|proxy| proxy.trim() == "direct") {
        ways.push(
            "GOPROXY has \"direct\" in it here: what the proxy does not have, or withholds, is fetched past it. Leave it out."
                .to_owned(),
        );
    }
    if proxies.trim() == "direct" {
        ways.push(
            "GOPROXY is \"direct\" here: every module comes from version control. Name your proxy."
                .to_owned(),
        );
    }
    if proxies.contains('|') {
        ways.push(
            "GOPROXY has a \"|\" here: after any error, also a refusal, the next source is asked. Use a comma.".to_owned(),
        );
    }
    let flags = var("GOFLAGS").unwrap_or_default().split_whitespace();
    if flags.clone().any(|flag| flag.trim_start_matches('-') == "mod=vendor") {
        ways.push(
            "GOFLAGS has -mod=vendor: the go command verifies no vendored file. `tallystick check --vendor` does.".to_owned(),
        );
    }
    if flags.clone().any(|flag| flag.trim_start_matches('-').starts_with("overlay=")) {
        ways.push("GOFLAGS has -overlay: files are replaced that no log knows. Remove it.".to_owned());
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    /// The rules are those of `go help module-private` and `go help module-auth`.
    #[test]
    fn each_way_around_the_log_is_named() {
        let said = |environment: Environment| warnings(&GoEnvironment::of(&environment)).join("\n");
        assert_eq!(said(Environment::from([])), "");
        assert_eq!(said(Environment::from([("GONOSUMDB", "none"), ("GOPRIVATE", "corp.example")])), "");
        let private = said(Environment::from([("GOPRIVATE", "corp.example/*")]));
        assert!(
            private.starts_with("GOPRIVATE (the default of GONOSUMDB) is \"corp.example/*\""),
            "{private}"
        );
        assert!(
            said(Environment::from([("GONOSUMDB", "corp.example")]))
                .starts_with("GONOSUMDB is \"corp.example\"")
        );
        assert!(said(Environment::from([("GOSUMDB", "off")])).starts_with("GOSUMDB is \"off\""));
        assert!(
            said(Environment::from([("GOFLAGS", "-mod=mod -insecure")])).starts_with("GOFLAGS has -insecure")
        );
        assert!(said(Environment::from([("GOINSECURE", "corp.example")])).starts_with("GOINSECURE is"));
    }
}
