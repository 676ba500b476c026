//! Which route a module path takes, and whether a database may be told the path: decided here for
//! whoever would name it to another server.
//!
//! The first route that matches counts. A path that is private in all but its spelling takes none,
//! so that a typing mistake or an escaped capital (`github.com/!corp/secret`) does not tell its
//! name to a public server:
//!
//! | path | routes `github.com/corp/*` (computed here), `*` (a public database) |
//! |---|---|
//! | `github.com/corp/secret` | the first |
//! | `github.com/Corp/secret` | withheld, unless a route before the first matches this spelling, or a private one names it |
//! | `github.com/corp` | withheld, unless a route with a literal host covers it |
//! | `github.com/other/x`, `github.com` | the second |

use super::{DatabaseName, Route};
use crate::module::NearMiss;

/// What happens with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It takes this route, counted from 0.
    Route(usize),
    /// No route matches.
    NoRoute,
    /// It is named to nobody.
    Withheld(Withheld),
}

/// Why a path is named to nobody although a route may match it. It reads like the end of a
/// sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// A route keeps the path from others under another spelling.
    #[error(
        "route {route} keeps \"{pattern}\" to itself, which this path differs from only in upper and lower case"
    )]
    OtherCase {
        /// The route, from 1.
        route: usize,
        /// Its pattern.
        pattern: String,
    },
    /// A route keeps everything right below the path from others.
    #[error("route {route} keeps \"{pattern}\", everything below this path, to itself")]
    Parent {
        /// The route, from 1.
        route: usize,
        /// Its pattern.
        pattern: String,
    },
}

impl Withheld {
    fn new(index: usize, miss: NearMiss<'_>) -> Withheld {
        let route = index + 1;
        match miss {
            NearMiss::OtherCase { pattern } => Withheld::OtherCase { route, pattern: pattern.to_owned() },
            NearMiss::Parent { pattern } => Withheld::Parent { route, pattern: pattern.to_owned() },
        }
    }

    /// The remedy, a sentence for whoever asked for `path`.
    pub fn remedy(&self, path: &str) -> String {
        match self {
            Withheld::OtherCase { route, .. } => format!(
                "Use the spelling of the route, or let the operator add a [[route]] for \"{path}\" before route {route}."
            ),
            Withheld::Parent { route, .. } => format!(
                "If there is such a module, the operator adds a [[route]] for \"{path}\" after route {route}."
            ),
        }
    }
}

/// Chooses the route of an unescaped path.
pub fn choose<'r, S: 'r, D: DatabaseName + 'r>(
    routes: impl Iterator<Item = &'r Route<S, D>> + Clone,
    path: &str,
) -> Choice {
    let chosen = routes.clone().enumerate().find(|(_, route)| route.modules.matches(path));
    let (before, sumdb) = match chosen {
        Some((index, route)) => (index, route.sumdb()),
        None => (usize::MAX, None),
    };
    let is_named = chosen.is_some_and(|(_, route)| route.modules.names(path));
    let is_private_by_name = is_named && sumdb.is_none();
    for (index, route) in routes.enumerate() {
        let miss = match route.modules.near_miss(path) {
            // Two routes to one database tell it the same names.
            Some(NearMiss::OtherCase { .. }) if route.sumdb().is_some() && route.sumdb() == sumdb => None,
            Some(NearMiss::OtherCase { .. }) if index > before || is_private_by_name => None,
            Some(NearMiss::Parent { .. }) if route.sumdb().is_some() || is_named => None,
            miss => miss,
        };
        if let Some(miss) = miss {
            return Choice::Withheld(Withheld::new(index, miss));
        }
    }
    chosen.map_or(Choice::NoRoute, |(index, _)| Choice::Route(index))
}

/// Why a remote database is not told a module path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    /// Its route leads elsewhere, or no route says that it is public.
    #[error("it is private here")]
    Private,
    /// It is private in all but its spelling.
    #[error(transparent)]
    Withheld(#[from] Withheld),
}

/// Checks whether the remote database `sumdb` may be told a module path. What is hashed here is
/// private, and what another database answers for is none of its business. A path without a route
/// may be private too, so it is told only to a database that no route has to do with.
pub(crate) fn may_tell<'r, S: 'r, D: DatabaseName + 'r>(
    mut routes: impl Iterator<Item = &'r Route<S, D>> + Clone,
    sumdb: &str,
    path: &str,
) -> Result<(), Untold> {
    let may = match choose(routes.clone(), path) {
        Choice::Route(index) => routes.nth(index).and_then(Route::sumdb) == Some(sumdb),
        Choice::NoRoute => routes.all(|route| route.sumdb() != Some(sumdb)),
        Choice::Withheld(why) => return Err(Untold::Withheld(why)),
    };
    if may { Ok(()) } else { Err(Untold::Private) }
}

#[cfg(test)]
mod tests {
    use super::super::Checksum;
    use super::*;
    use crate::module::PathPatterns;

    fn route(list: &[(&str, Option<&str>)], path: &str) -> Result<Option<usize>, String> {
        let route = |(text, sumdb): &(&str, Option<&str>)| -> Route {
            let checksum = sumdb.map_or(Checksum::Compute, |name| Checksum::Sumdb(name.to_owned()));
            Route { modules: PathPatterns::parse(text), source: None, checksum }
        };
        let routes: Vec<Route> = list.iter().map(route).collect();
        match choose(routes.iter(), path) {
            Choice::Route(index) => Ok(Some(index)),
            Choice::NoRoute => Ok(None),
            Choice::Withheld(why) => Err(why.to_string()),
        }
    }

    #[test]
    fn a_path_that_is_private_but_for_its_spelling_takes_no_route() {
        let public = Some("sum.golang.org");
        let plain = [("github.com/corp/*,corp.example/*", None), ("*", public)];
        assert_eq!(route(&plain, "github.com/corp/secret"), Ok(Some(0)));
        for path in ["github.com/other/x", "github.com/Other/x", "github.com", "rsc.io/quote"] {
            assert_eq!(route(&plain, path), Ok(Some(1)), "{path}");
        }
        let why = route(&plain, "github.com/Corp/secret").unwrap_err();
        assert!(why.contains("route 1") && why.contains("\"github.com/corp/*\""), "{why}");
        for path in ["github.com/corp", "corp.example", "github.com/CORP"] {
            assert!(route(&plain, path).unwrap_err().contains("below"), "{path}");
        }
        // Without a route that matches exactly it is told too, so that nobody else asks for it.
        assert!(route(&plain[..1], "github.com/Corp/secret").is_err());
        assert_eq!(route(&plain[..1], "rsc.io/quote"), Ok(None));
    }

    #[test]
    fn a_route_that_names_the_spelling_lets_it_pass() {
        let public = Some("sum.golang.org");
        let named = [("github.com/Corp/*", public), ("github.com/corp/*", None), ("*", public)];
        assert_eq!(route(&named, "github.com/Corp/open"), Ok(Some(0)));
        assert_eq!(route(&named, "github.com/corp/secret"), Ok(Some(1)));
        assert!(route(&named, "github.com/cORP/x").is_err());
        let late = [("github.com/corp/*", None), ("github.com/Corp/*", public), ("*", public)];
        assert!(route(&late, "github.com/Corp/open").is_err(), "the private route comes first");
        let private = [("github.com/corp/*", None), ("github.com/Corp/*", None), ("*", None)];
        assert_eq!(route(&private, "github.com/Corp/x"), Ok(Some(1)));
        assert!(route(&private[..1], "github.com/Corp/x").is_err());
        let proxied = [("github.com/corp/*", None), ("*", None)];
        assert!(route(&proxied, "github.com/Corp/x").is_err(), "hashed here, but fetched from elsewhere");
        let parent = [("github.com/a/b/*", None), ("github.com/a/b", public), ("*", public)];
        assert_eq!(route(&parent, "github.com/a/b"), Ok(Some(1)));
        assert_eq!(route(&parent, "github.com/a/b/c"), Ok(Some(0)));
    }

    #[test]
    fn another_database_is_told_no_more_than_its_own_names() {
        let (ours, public) = (Some("sum.partner.example"), Some("sum.golang.org"));
        let two = [("partner.example/x", ours), ("*", public)];
        assert!(route(&two, "partner.example/X").is_err());
        let one = [("partner.example/x", public), ("*", public)];
        assert_eq!(route(&one, "partner.example/X"), Ok(Some(1)));
    }
}
