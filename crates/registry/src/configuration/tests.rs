#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

const FILE: &str = "/etc/containers/registries.conf";

fn configuration(text: &str) -> Configuration {
    let mut configuration = Configuration::default();
    configuration
        .add_registries_conf(Path::new(FILE), text)
        .unwrap();
    configuration
}

fn own(text: &str) -> Result<Configuration> {
    let mut configuration = Configuration::default();
    configuration.set_own(
        Path::new("/etc/box/config.toml"),
        &toml::from_str(text).unwrap(),
    )?;
    Ok(configuration)
}

fn name(text: &str) -> RepositoryName {
    RepositoryName::of(&text.parse().unwrap()).unwrap()
}

/// `host/path`, with `!` where certificates are not checked and `~` on this machine; `@` or `:` for digests or tags only.
fn shown(endpoint: &Endpoint) -> String {
    let security = match endpoint.security {
        Security::Verified => "",
        Security::Loopback => "~",
        Security::Insecure => "!",
    };
    let answers = match endpoint.answers {
        Answers::All => "",
        Answers::Digests => " @",
        Answers::Tags => " :",
    };
    format!("{security}{}/{}{answers}", endpoint.host, endpoint.path)
}

fn reads(configuration: &Configuration, text: &str) -> Vec<String> {
    let places = configuration.places(&name(text)).unwrap();
    let last = places.reads.last().map(shown);
    assert_eq!(last.as_deref(), Some(shown(&places.registry).as_str()));
    places.reads.iter().map(shown).collect()
}

#[test]
fn without_settings_a_registry_is_asked_itself() {
    let configuration = Configuration::default();
    for (text, place) in [
        ("nginx", "registry-1.docker.io/library/nginx"),
        ("team/app", "registry-1.docker.io/team/app"),
        ("ghcr.io/org/app", "ghcr.io/org/app"),
        ("localhost:5000/a/b", "~localhost:5000/a/b"),
        ("10.0.0.1:5000/a", "10.0.0.1:5000/a"),
    ] {
        assert_eq!(reads(&configuration, text), [place], "{text}");
    }
}

#[test]
fn the_longest_prefix_decides() {
    let configuration = configuration(
        r#"
        [[registry]]
        location = "reg.example"
        insecure = true
        [[registry]]
        prefix = "reg.example/team"
        location = "other.example:5000/moved"
        [[registry]]
        prefix = "reg.example/team/secret"
        location = "reg.example/team/secret"
        blocked = true
        [[registry]]
        prefix = "*.example"
        location = "proxy.test/all"
        [[registry]]
        prefix = "*.deep.example"
        "#,
    );
    for (text, place) in [
        ("reg.example/app", "!reg.example/app"),
        ("reg.example/teams/app", "!reg.example/teams/app"),
        ("reg.example/team", "other.example:5000/moved"),
        ("reg.example/team/a/b", "other.example:5000/moved/a/b"),
        ("a.b.example/x", "proxy.test/all/x"),
        ("a.deep.example/x", "a.deep.example/x"),
        ("deep.example/x", "proxy.test/all/x"),
        ("example:5000/x", "example:5000/x"),
        ("reg.example:5000/app", "reg.example:5000/app"),
        ("areg.test/x", "areg.test/x"),
    ] {
        assert_eq!(reads(&configuration, text), [place], "{text}");
    }
    for text in ["reg.example/team/secret", "reg.example/team/secret/x:1"] {
        let error = configuration.places(&name(text)).unwrap_err().to_string();
        assert!(error.ends_with(&format!("{FILE} blocks it")), "{error}");
    }
}

#[test]
fn mirrors_come_first_and_in_order() {
    let configuration = configuration(
        r#"
        unqualified-search-registries = ["example.test"]
        an-unknown-key = { of = "another tool" }
        [[registry]]
        prefix = "docker.io"
        location = "docker.io"
        [[registry.mirror]]
        location = "localhost:5000/cache"
        insecure = true
        [[registry.mirror]]
        location = "m.example"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "127.0.0.1:5001"
        pull-from-mirror = "tag-only"
        [[registry]]
        location = "quay.io/org"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "m.example/quay"
        "#,
    );
    assert_eq!(
        reads(&configuration, "nginx"),
        [
            "!localhost:5000/cache/library/nginx",
            "m.example/library/nginx @",
            "~127.0.0.1:5001/library/nginx :",
            "registry-1.docker.io/library/nginx"
        ]
    );
    assert_eq!(
        reads(&configuration, "quay.io/org/app"),
        ["m.example/quay/app @", "quay.io/org/app"]
    );
}

#[test]
fn files_that_cannot_be_meant_are_refused() {
    for (text, why) in [
        (
            "[registries.search]\nregistries = ['docker.io']",
            "version 1",
        ),
        (
            "[[registry]]\ninsecure = true",
            "neither prefix nor location",
        ),
        ("[[registry]]\nprefix = 'a.example'", "may lack a location"),
        (
            "[[registry]]\nlocation = 'https://a.example'",
            "without a scheme",
        ),
        (
            "[[registry]]\nprefix = 'a.*.b'\nlocation = 'c.d'",
            "wildcard",
        ),
        (
            "[[registry]]\nprefix = 'a.b'\nlocation = 'c.d/../e'",
            "not a part of a name",
        ),
        ("[[registry]]\nlocation = 'a.b'\nblocked = 'yes'", "line 3"),
        (
            "[[registry]]\nlocation = 'a.b'\n[[registry.mirror]]",
            "its mirror",
        ),
        (
            "[[registry]]\nlocation = 'a.b'\n[[registry.mirror]]\nlocation = 'c.d'\npull-from-mirror = 'no'",
            "expected all, digest-only or tag-only",
        ),
        (
            "[[registry]]\nlocation = 'a.b'\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = 'c.d'\npull-from-mirror = 'all'",
            "exclude one another",
        ),
        (
            "[[registry]]\nlocation = 'a.b'\npull-from-mirror = 'all'",
            "belongs to a mirror",
        ),
        (
            "[aliases]\n'a.b/c' = 'd.e/f'",
            "expected a name without host",
        ),
        ("[aliases]\na = 'f'", "not a name with a host"),
        ("[aliases]\na = 'd.e/f:1'", "not a name with a host"),
        ("[[registry", "line 1"),
    ] {
        let error = Configuration::default()
            .add_registries_conf(Path::new(FILE), text)
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{text}: {error}");
        assert!(
            error.starts_with(&format!("cannot use {FILE}: ")),
            "{error}"
        );
    }
}

#[test]
fn later_files_replace_entries_and_aliases() {
    let mut configuration = configuration(
        "[aliases]\napp = 'a.example/app'\ngone = 'a.example/gone'\nalpine = 'docker.io/library/alpine'\n\
         [[registry]]\nlocation = 'a.example'\nblocked = true\n",
    );
    configuration
        .add_registries_conf(
            Path::new("b.conf"),
            "[aliases]\napp = 'b.example/app'\ngone = ''\n[[registry]]\nlocation = 'a.example'\n",
        )
        .unwrap();
    assert_eq!(configuration.alias("app"), Some("b.example/app"));
    assert_eq!(configuration.alias("gone"), None);
    assert_eq!(configuration.alias("alpine"), None);
    assert_eq!(reads(&configuration, "a.example/x"), ["a.example/x"]);
}

#[test]
fn an_entry_for_one_tag_is_not_taken_for_one_of_the_repository() {
    let configuration = configuration(
        "[[registry]]\nprefix = 'a.example/app:1'\nlocation = 'b.example/app:1'\nblocked = true\n"
            .replace("location = 'b.example/app:1'", "location = 'b.example/app'")
            .as_str(),
    );
    let error = configuration.places(&name("a.example/app")).unwrap_err();
    assert!(error.to_string().contains("single tag"), "{error}");
    assert_eq!(
        reads(&configuration, "a.example/apple"),
        ["a.example/apple"]
    );
}

#[test]
fn the_shared_file_says_where_and_both_say_how() {
    let mut configuration = own(
        "['reg.example']\nmirrors = ['own.example']\ninsecure = true\n['bad.example']\nblocked = true\n\
         ['docker.io']\nmirrors = ['localhost:5000', 'mirror.example/hub']\n['mirror.example']\ninsecure = true\n",
    )
    .unwrap();
    assert_eq!(
        reads(&configuration, "nginx"),
        [
            "~localhost:5000/library/nginx",
            "!mirror.example/hub/library/nginx",
            "registry-1.docker.io/library/nginx"
        ]
    );
    configuration
        .add_registries_conf(
            Path::new(FILE),
            "[[registry]]\nlocation = 'reg.example'\n[[registry.mirror]]\nlocation = 'shared.example'\n\
             [[registry]]\nlocation = 'bad.example'\n",
        )
        .unwrap();
    assert_eq!(
        reads(&configuration, "reg.example/app"),
        ["shared.example/app", "!reg.example/app"]
    );
    let error = configuration.places(&name("bad.example/x")).unwrap_err();
    assert!(
        error.to_string().contains("config.toml blocks it"),
        "{error}"
    );
}

#[test]
fn settings_of_our_own_are_checked_when_they_are_read() {
    for (text, why) in [
        ("['https://a.example']", "without a scheme"),
        ("['a.example']\nlocation = 'b c'", "is not a host"),
        ("['a.example']\nmirrors = ['b/..']", "not a part of a name"),
        ("['a.example']\nclient-cert = '/c'", "need one another"),
    ] {
        let error = own(text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn certificates_are_read_for_the_host_that_is_contacted() {
    let directory = tempfile::tempdir().unwrap();
    let write = |file: &str| {
        let path = directory.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file).unwrap();
    };
    write("first/a.example:5000/b.crt");
    write("first/a.example:5000/a.crt");
    write("first/a.example:5000/notes.txt");
    write("first/broken.example/x.cert");
    write("second/a.example:5000/c.crt");
    write("second/m.example/client.cert");
    write("second/m.example/client.key");
    write("second/registry-1.docker.io/hub.crt");
    let mut configuration = configuration(
        "[[registry]]\nlocation = 'a.example:5000'\n[[registry.mirror]]\nlocation = 'm.example'\n",
    );
    configuration.set_certificate_directories(vec![
        directory.path().join("missing"),
        directory.path().join("first"),
        directory.path().join("second"),
    ]);
    let places = configuration.places(&name("a.example:5000/x")).unwrap();
    let names = |endpoint: &Endpoint| -> Vec<String> {
        let certs = endpoint.ca_certs.iter();
        certs
            .map(|c| String::from_utf8(c.pem.clone()).unwrap())
            .collect()
    };
    assert_eq!(
        names(&places.registry),
        ["first/a.example:5000/a.crt", "first/a.example:5000/b.crt"]
    );
    assert!(places.registry.identity.is_none());
    let identity = places.reads[0].identity.as_ref().unwrap();
    assert_eq!(
        identity.pem,
        b"second/m.example/client.cert\nsecond/m.example/client.key"
    );
    assert!(!format!("{identity:?}").contains("client.key"));
    let places = configuration.places(&name("nginx")).unwrap();
    assert_eq!(
        names(&places.registry),
        ["second/registry-1.docker.io/hub.crt"]
    );
    let error = configuration.places(&name("broken.example/x")).unwrap_err();
    assert!(
        error.to_string().contains("x.key is missing beside it"),
        "{error}"
    );
}

proptest! {
    /// As the fuzz target `registries_conf`, for a short while.
    #[test]
    fn whatever_a_file_says_places_stay_hosts_and_paths(
        text in r#"(\[\[registry(\.mirror)?\]\]\n|(prefix|location|pull-from-mirror) = "([a-z.:@/*%?#-]|docker\.io|/library|\.\.){0,12}"\n|insecure = true\n|\[aliases\]\n|x = "[a-z./:@]{0,8}"\n|\PC{0,4}){0,12}"#,
    ) {
        let mut configuration = Configuration::default();
        if configuration.add_registries_conf(Path::new("any"), &text).is_ok() {
            for text in ["nginx", "a.b.example/c/d/e", "localhost:5000/a"] {
                for place in configuration.places(&name(text)).map(|p| p.reads).unwrap_or_default() {
                    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]/".contains(c);
                    prop_assert!(!place.host.is_empty() && !place.host.contains('/'));
                    prop_assert!(place.host.chars().chain(place.path.chars()).all(plain));
                    prop_assert!(place.path.split('/').all(|part| part != ".."));
                }
            }
        }
    }
}

#[test]
fn another_spelling_of_a_host_evades_nothing() {
    let blocked = configuration("[[registry]]\nlocation = 'localhost:5000'\nblocked = true\n");
    for text in ["localhost:5000/a", "LOCALHOST:5000/a", "localhost:05000/a"] {
        let places = blocked.places(&name(text));
        assert!(matches!(places, Err(Error::Blocked { .. })), "{text}");
    }
    assert!(blocked.places(&name("localhost:5001/a")).is_ok());
    let docker = configuration("[[registry]]\nlocation = 'docker.io'\nblocked = true\n");
    for text in [
        "nginx",
        "registry-1.docker.io/library/nginx",
        "docker.io:443/library/nginx",
    ] {
        let places = docker.places(&name(text));
        assert!(matches!(places, Err(Error::Blocked { .. })), "{text}");
    }
}
