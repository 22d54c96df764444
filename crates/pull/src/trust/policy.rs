//! Which images may be used, by prefixes of their names.

use box_cache::Reference;
use box_registry::canonical_host;

use super::PublicKey;

/// The scope of every name that no other scope covers.
const EVERYTHING: &str = "*";

/// The scope of Alpine's own releases.
const ALPINE: &str = "alpine";

/// What is demanded of the images under one scope.
#[derive(Clone, Debug, Default)]
pub enum Rule {
    /// Nothing.
    #[default]
    Accept,
    /// They are not used.
    Reject,
    /// One of these must have signed them. Alpine's own releases must be signed with OpenPGP instead.
    SignedBy(Signers),
    /// The rule cannot be applied, for this reason: nothing is used.
    Unusable(String),
}

/// Who may sign, and under which names.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    /// The keys, of which one suffices.
    pub keys: Vec<PublicKey>,
    /// Where images were signed under another name before they were copied: what their names began with instead of the scope.
    pub signed_as: Option<String>,
}

/// The rules, of which the one with the most specific scope counts.
///
/// A scope is `*` (everything), `*.example.com` (every host below it), a host with its port, or a host and the first components
/// of a path, up to a whole repository. It ends where a component ends: `ghcr.io/org` does not cover `ghcr.io/organisation`. `alpine` is
/// the scope of Alpine's own releases.
#[derive(Clone, Debug, Default)]
pub struct Policy(Vec<(String, Rule)>);

impl Policy {
    /// Adds the rule of a scope.
    ///
    /// # Errors
    /// Why this is not a scope, as part of a sentence.
    pub fn add(&mut self, scope: &str, rule: Rule) -> Result<(), String> {
        let scope = canonical_scope(scope)?;
        if self.0.iter().any(|(other, _)| *other == scope) {
            return Err(format!("there are two rules for {scope}"));
        }
        self.0.push((scope, rule));
        Ok(())
    }

    /// Whether there is no rule, so that everything is accepted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rule of an image and its scope. Without a rule, an image is accepted.
    pub fn rule(&self, name: &Reference) -> (&str, &Rule) {
        let repository = repository(name);
        let covering = self.0.iter().filter_map(|(scope, rule)| {
            let specificity = covers(scope, &repository)?;
            Some((specificity, scope.as_str(), rule))
        });
        covering
            .max_by_key(|(specificity, ..)| *specificity)
            .map_or((EVERYTHING, &Rule::Accept), |(_, scope, rule)| {
                (scope, rule)
            })
    }

    /// The keys of all rules: any of them is a trusted signer of something.
    pub fn signers(&self, name: &Reference) -> Option<&Signers> {
        match self.rule(name) {
            (_, Rule::SignedBy(signers)) => Some(signers),
            _ => None,
        }
    }
}

impl Signers {
    /// Whether a signature that names `signed` counts for the image `used`. `scope` is that of the rule.
    ///
    /// The repository must be the same. A tag that was signed must be the image's, unless the image is named by its digest alone:
    /// otherwise an old release would pass for a new one.
    pub(super) fn accept(
        &self,
        scope: &str,
        signed: &Reference,
        has_tag: bool,
        used: &Reference,
    ) -> bool {
        let own = repository(used);
        let expected = match &self.signed_as {
            None => own,
            Some(instead) => match own.strip_prefix(scope) {
                Some(rest) => format!("{}{rest}", canonical(instead)),
                None => return false,
            },
        };
        let same_tag = || match (has_tag, used.tag()) {
            (true, Some(tag)) => signed.tag() == Some(tag),
            _ => true,
        };
        repository(signed) == expected && same_tag()
    }
}

/// How specific a scope is, if it covers a repository: by the kind of scope, then by its length.
fn covers(scope: &str, repository: &str) -> Option<(u8, usize)> {
    if scope == EVERYTHING {
        return Some((0, 0));
    }
    let host = repository.split('/').next().unwrap_or_default();
    if let Some(domain) = scope.strip_prefix('*') {
        // The dot belongs to the domain, so that `*.example.com` covers neither `example.com` nor `notexample.com`.
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let covered = [host, name]
            .iter()
            .any(|host| host.ends_with(domain) && host.len() > domain.len());
        return covered.then_some((1, scope.len()));
    }
    let rest = repository.strip_prefix(scope)?;
    (rest.is_empty() || rest.starts_with('/')).then_some((2, scope.len()))
}

/// The host and path of an image, in one spelling.
fn repository(name: &Reference) -> String {
    if name.is_own() {
        return ALPINE.to_owned();
    }
    let full = name.in_full();
    let full = full.split('@').next().unwrap_or_default();
    let last = full.rfind('/').map_or(0, |slash| slash + 1);
    let end = full[last..]
        .find(':')
        .map_or(full.len(), |colon| last + colon);
    canonical(&full[..end])
}

/// The one spelling of a host and a path.
fn canonical(text: &str) -> String {
    let (host, path) = match text.split_once('/') {
        Some((host, path)) => (host, Some(path)),
        None => (text, None),
    };
    let host = canonical_host(host);
    match path {
        Some(path) => format!("{host}/{path}"),
        None => host,
    }
}

fn canonical_scope(text: &str) -> Result<String, String> {
    if [EVERYTHING, ALPINE].contains(&text) {
        return Ok(text.to_owned());
    }
    if text.contains('@') {
        return Err("a rule is for names, not for digests".to_owned());
    }
    if let Some(domain) = text.strip_prefix("*.") {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
        return match !domain.is_empty() && domain.chars().all(plain) {
            true => Ok(text.to_ascii_lowercase()),
            false => Err("a * stands for the first part of a host, as in *.example.com".to_owned()),
        };
    }
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, path) = text.split_once('/').unwrap_or((text, ""));
    let is_host = host.contains(['.', ':'])
        || host == "localhost"
        || host.bytes().any(|byte| byte.is_ascii_uppercase());
    if !is_host {
        return Err(format!(
            "it must begin with a host, such as docker.io/library/{}",
            text.split(':').next().unwrap_or_default()
        ));
    }
    if path.contains(':') {
        return Err("a rule is for repositories, not for tags".to_owned());
    }
    // The grammar of names decides about the rest; a host alone has none, so it gets a path.
    let probe = match path {
        "" => format!("{text}/name"),
        _ => text.to_owned(),
    };
    match probe.parse::<Reference>() {
        Ok(_) => Ok(canonical(text)),
        Err(box_cache::Error::Reference { reason, .. }) => Err(reason),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn scope_of(scopes: &[&str], name: &str) -> String {
        let mut policy = Policy::default();
        for scope in scopes {
            policy.add(scope, Rule::Reject).unwrap();
        }
        match policy.rule(&name.parse().unwrap()) {
            (scope, Rule::Reject) => scope.to_owned(),
            _ => "none".to_owned(),
        }
    }

    #[test]
    fn the_most_specific_scope_counts() {
        let scopes = [
            "*",
            "docker.io",
            "docker.io/library/nginx",
            "ghcr.io/org",
            "ghcr.io/org/app",
            "*.example.com",
            "*.eu.example.com",
            "a.example.com",
            "localhost:5000",
            "alpine",
            "[::1]:5000",
            "10.0.0.1:5000",
        ];
        for (name, scope) in [
            ("nginx", "docker.io/library/nginx"),
            ("nginx:1.27", "docker.io/library/nginx"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx"),
            (
                "registry-1.docker.io/library/nginx",
                "docker.io/library/nginx",
            ),
            ("nginx-unprivileged", "docker.io"),
            ("team/app", "docker.io"),
            ("docker.io/library/alpine", "docker.io"),
            ("alpine:3.20", "alpine"),
            ("ghcr.io/org/app", "ghcr.io/org/app"),
            ("ghcr.io/org/app/part:1", "ghcr.io/org/app"),
            ("ghcr.io/org/application", "ghcr.io/org"),
            ("ghcr.io/organisation/app", "*"),
            // Other spellings of the same registry do not evade a rule.
            ("GHCR.io/org/app", "ghcr.io/org/app"),
            ("ghcr.io:443/org/app", "ghcr.io/org/app"),
            ("ghcr.io:0443/org/app", "ghcr.io/org/app"),
            ("ghcr.io:444/org/app", "*"),
            ("localhost:05000/a", "localhost:5000"),
            ("[0:0:0:0:0:0:0:1]:5000/a", "[::1]:5000"),
            ("10.1:5000/a", "10.0.0.1:5000"),
            ("0xa000001:5000/a", "10.0.0.1:5000"),
            ("notexample.com/a", "*"),
            ("example.com/a", "*"),
            ("b.example.com/a", "*.example.com"),
            ("b.example.com:5000/a", "*.example.com"),
            ("b.eu.example.com/a", "*.eu.example.com"),
            ("a.example.com/x", "a.example.com"),
            ("localhost:5000/a", "localhost:5000"),
            ("localhost/a", "*"),
            ("localhost:50001/a", "*"),
            ("[::1]:5000/a", "[::1]:5000"),
        ] {
            assert_eq!(scope_of(&scopes, name), scope, "{name}");
            let pinned = format!("{name}@sha256:{}", "0".repeat(64));
            assert_eq!(scope_of(&scopes, &pinned), scope, "{pinned}");
        }
        assert_eq!(scope_of(&["ghcr.io"], "nginx"), "none");
    }

    #[test]
    fn what_is_not_a_scope_is_refused() {
        for (text, why) in [
            ("nginx", "docker.io/library/nginx"),
            ("org/app", "begin with a host"),
            ("ghcr.io/org/app:1", "not for tags"),
            ("ghcr.io/org@sha256:00", "not for digests"),
            ("ghcr.io/Org", "lower-case"),
            ("ghcr.io//org", "empty"),
            ("*.", "as in *.example.com"),
            ("*.example.com/org", "as in *.example.com"),
            ("", "begin with a host"),
        ] {
            let refused = Policy::default().add(text, Rule::Accept).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
        let mut policy = Policy::default();
        policy.add("docker.io", Rule::Accept).unwrap();
        let twice = policy.add("index.docker.io/", Rule::Reject).unwrap_err();
        assert!(twice.contains("two rules"), "{twice}");
    }

    #[test]
    fn a_signature_counts_for_its_own_repository() {
        let accepts = |signed_as: Option<&str>, signed: &str, used: &str| {
            let signers = Signers {
                keys: Vec::new(),
                signed_as: signed_as.map(str::to_owned),
            };
            let has_tag = signed.rsplit('/').next().unwrap().contains(':');
            signers.accept(
                "reg.io/org",
                &signed.parse().unwrap(),
                has_tag,
                &used.parse().unwrap(),
            )
        };
        let pinned = format!("reg.io/org/app@sha256:{}", "0".repeat(64));
        for (signed_as, signed, used, expected) in [
            (None, "reg.io/org/app", "reg.io/org/app:1", true),
            (None, "REG.io:443/org/app", "reg.io/org/app:1", true),
            (None, "reg.io/org/app:1", "reg.io/org/app:1", true),
            (None, "reg.io/org/app:1", "reg.io/org/app:2", false),
            (None, "reg.io/org/app:1", "reg.io/org/app", false),
            (None, "reg.io/org/app:1", pinned.as_str(), true),
            (None, "reg.io/org/other", pinned.as_str(), false),
            (None, "reg.io/org/app2", "reg.io/org/app:1", false),
            (
                Some("up.io/team"),
                "up.io/team/app",
                "reg.io/org/app:1",
                true,
            ),
            (
                Some("up.io/team"),
                "up.io/team/other",
                "reg.io/org/app:1",
                false,
            ),
            (
                Some("up.io/team"),
                "reg.io/org/app",
                "reg.io/org/app:1",
                false,
            ),
        ] {
            assert_eq!(
                accepts(signed_as, signed, used),
                expected,
                "{signed} {used}"
            );
        }
    }
}
