//! The way of answering that is chosen among the challenges of a server.

use box_transfer::Url;

use super::challenge::Challenge;

/// The most scopes that a server may ask for, and the longest of them in bytes.
const MOST_SCOPES: usize = 16;
const LONGEST_SCOPE: usize = 1024;

/// How a server wants to know who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// By a token that another server gives.
    Bearer {
        /// Where tokens are to be had.
        realm: Url,
        /// The name of the registry there.
        service: Option<String>,
        /// What the token must be good for, by the server.
        scopes: Vec<String>,
    },
    /// By a user name and a password.
    Basic,
}

impl Method {
    /// The best of several challenges: tokens, as they keep the password from the registry, before passwords. `url` is where the
    /// answer came from.
    pub fn choose(challenges: &[Challenge], url: &Url) -> Option<Self> {
        let bearer = challenges.iter().find_map(|c| Self::bearer(c, url));
        let basic = || challenges.iter().any(|c| c.scheme == "basic");
        bearer.or_else(|| basic().then_some(Self::Basic))
    }

    fn bearer(challenge: &Challenge, url: &Url) -> Option<Self> {
        if challenge.scheme != "bearer" {
            return None;
        }
        let realm = url.join(challenge.parameter("realm")?.trim()).ok()?;
        if !matches!(realm.scheme(), "http" | "https") || realm.host_str().is_none() {
            return None;
        }
        let scopes = challenge.values("scope").flat_map(str::split_whitespace);
        let scopes = scopes.filter(|scope| scope.len() <= LONGEST_SCOPE);
        Some(Self::Bearer {
            realm: without_user(realm)?,
            service: challenge.parameter("service").map(str::to_owned),
            scopes: scopes.take(MOST_SCOPES).map(str::to_owned).collect(),
        })
    }
}

/// Credentials come from the user, never from a server.
fn without_user(mut url: Url) -> Option<Url> {
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_fragment(None);
    Some(url)
}

/// The scopes to ask for: those that the server names, and what we want beyond them. Each resource occurs once, with all actions.
pub(super) fn merged(theirs: &[String], ours: Vec<String>) -> Vec<String> {
    let mut merged: Vec<(String, Vec<String>)> = Vec::new();
    // Where the server names a resource, it knows better how ours is called: a mirror may have it below a path of its own.
    let named = theirs.iter().any(|scope| scope.starts_with("repository:"));
    let ours = ours.into_iter().enumerate().filter(|(i, scope)| {
        let resource = split(scope).0;
        !named || *i > 0 || theirs.iter().any(|t| split(t).0 == resource)
    });
    for scope in theirs.iter().cloned().chain(ours.map(|(_, scope)| scope)) {
        let (resource, actions) = split(&scope);
        let at = merged.iter().position(|(r, _)| r == resource);
        let at = at.unwrap_or_else(|| {
            merged.push((resource.to_owned(), Vec::new()));
            merged.len() - 1
        });
        for action in actions.split(',').filter(|a| !a.is_empty()) {
            if !merged[at].1.iter().any(|a| a == action) {
                merged[at].1.push(action.to_owned());
            }
        }
    }
    let join = |(resource, actions): (String, Vec<String>)| match actions.is_empty() {
        true => resource,
        false => format!("{resource}:{}", actions.join(",")),
    };
    merged.into_iter().map(join).collect()
}

/// Resource and actions. A scope of another form, as some registries have, is a resource without actions.
fn split(scope: &str) -> (&str, &str) {
    match scope.rsplit_once(':') {
        Some((resource, actions)) if resource.contains(':') => (resource, actions),
        _ => (scope, ""),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::auth::challenge::parse;

    fn chosen(line: &str) -> Option<Method> {
        let mut all = Vec::new();
        parse(line, &mut all);
        Method::choose(&all, &"https://registry.example:5000/v2/".parse().unwrap())
    }

    #[test]
    fn a_token_is_better_than_a_password() {
        for line in [
            r#"Basic realm="r", Bearer realm="https://a.example/t",service=s"#,
            r#"Bearer service=s,realm="https://u:p@a.example/t#f", Basic"#,
        ] {
            let Some(Method::Bearer { realm, service, .. }) = chosen(line) else {
                panic!("{line}");
            };
            assert_eq!(realm.as_str(), "https://a.example/t");
            assert_eq!(service.unwrap(), "s");
        }
        let relative = chosen(r#"Bearer realm="/token""#);
        let Some(Method::Bearer { realm, .. }) = relative else {
            panic!("no method");
        };
        assert_eq!(realm.as_str(), "https://registry.example:5000/token");
    }

    #[test]
    fn a_challenge_that_cannot_be_answered_is_skipped() {
        assert_eq!(chosen("Negotiate, Basic realm=x"), Some(Method::Basic));
        for unusable in ["realm=file:///etc/x", "service=x", "realm=\"https://\""] {
            let both = format!("Bearer {unusable}, Basic realm=x");
            assert_eq!(chosen(&both), Some(Method::Basic), "{both}");
            assert_eq!(chosen(&format!("Bearer {unusable}")), None);
        }
        assert_eq!(chosen("Negotiate, NTLM TlRMTVNTUAA="), None);
    }

    #[test]
    fn scopes_are_merged_by_resource() {
        let merged = |theirs: &[&str], ours: &[&str]| {
            let theirs: Vec<String> = theirs.iter().map(|s| (*s).to_owned()).collect();
            let ours = ours.iter().map(|s| (*s).to_owned()).collect();
            super::merged(&theirs, ours).join(" ")
        };
        let (pull, push) = ("repository:a/b:pull", "repository:a/b:pull,push");
        assert_eq!(merged(&[], &[pull]), pull);
        assert_eq!(merged(&[pull], &[push]), push);
        assert_eq!(merged(&["aws"], &[pull]), format!("aws {pull}"));
        assert_eq!(
            merged(&["repository:cache/a/b:pull"], &[pull]),
            "repository:cache/a/b:pull"
        );
        assert_eq!(
            merged(&[push], &[push, "repository:c:pull"]),
            format!("{push} repository:c:pull")
        );
    }
}
