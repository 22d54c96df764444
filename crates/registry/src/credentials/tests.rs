#![allow(clippy::unwrap_used)]
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

/// A directory with files of credentials, and the store of those.
struct Home(tempfile::TempDir);

impl Home {
    fn new(files: &[(&str, &str)]) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            std::fs::write(home.path(name), text).unwrap();
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn store(&self) -> CredentialStore {
        let file = |name| CredentialFile {
            path: self.path(name),
            is_named: false,
        };
        CredentialStore::new(
            vec![file("auth.json"), file("config.json")],
            self.0.path().into(),
        )
    }

    fn helper(&self, name: &str, script: &str) {
        let path = self.path(&format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn user(&self, name: &str) -> String {
        let name = RepositoryName::of(&name.parse().unwrap()).unwrap();
        match self.store().find(&name).unwrap() {
            None => "nobody".to_owned(),
            Some(Credential::Password { user, password }) => format!("{user} {password}"),
            Some(Credential::IdentityToken(token)) => format!("identity {token}"),
            Some(Credential::RegistryToken(token)) => format!("registry {token}"),
        }
    }

    fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(self.path(name)).unwrap()).unwrap()
    }
}

fn password(user: &str, password: &str) -> Credential {
    Credential::Password {
        user: user.to_owned(),
        password: password.to_owned(),
    }
}

#[test]
fn the_longest_namespace_wins_and_then_the_first_file() {
    // base64: host:h, team:t, app:a, docker:d, late:l
    let home = Home::new(&[
        (
            "auth.json",
            r#"{"auths": {"reg.example": {"auth": "aG9zdDpo"}, "reg.example/team": {"auth": "dGVhbTp0"},
                "reg.example/team/app": {"auth": "YXBwOmE="}, "token.example": {"identitytoken": "i", "auth": "aG9zdDpo"},
                "raw.example": {"registrytoken": "r"}, "plain.example": {"username": "u", "password": "p"},
                "empty.example": {}}}"#,
        ),
        (
            "config.json",
            r#"{"auths": {"https://index.docker.io/v1/": {"auth": "ZG9ja2VyOmQ"}, "reg.example": {"auth": "bGF0ZTps"},
                "https://late.example/v2/": {"auth": "bGF0ZTps"}, "empty.example": {"auth": "bGF0ZTps"}}}"#,
        ),
    ]);
    for (name, user) in [
        ("reg.example/x", "host h"),
        ("reg.example/team/x", "team t"),
        ("reg.example/team/app/x/y", "app a"),
        ("reg.example/team/apple", "team t"),
        ("reg.example:5000/x", "nobody"),
        ("sub.reg.example/x", "nobody"),
        ("token.example/x", "identity i"),
        ("raw.example/x", "registry r"),
        ("plain.example/x", "u p"),
        ("nginx", "docker d"),
        ("docker.io/team/x", "docker d"),
        ("late.example/x", "late l"),
        ("empty.example/x", "late l"),
    ] {
        assert_eq!(home.user(name), user, "{name}");
    }
}

#[test]
fn helpers_are_asked_before_what_is_written_down() {
    let home = Home::new(&[(
        "config.json",
        r#"{"auths": {"kept.example": {"auth": "aG9zdDpo"}, "own.example": {"auth": "aG9zdDpo"}},
            "credsStore": "store", "credHelpers": {"own.example/team": "own", "broken.example": "missing"}}"#,
    )]);
    home.helper(
        "own",
        r#"read -r s; echo "{\"Username\":\"own\",\"Secret\":\"$s\"}""#,
    );
    home.helper(
        "store",
        r#"read -r s; case $s in kept.example|own.example) echo credentials not found in native keychain; exit 1;; esac
           echo "{\"Username\":\"store\",\"Secret\":\"$s\"}""#,
    );
    for (name, user) in [
        ("own.example/team/x", "own own.example/team"),
        ("own.example/x", "host h"),
        ("kept.example/x", "host h"),
        ("other.example/x", "store other.example"),
        ("nginx", "store https://index.docker.io/v1/"),
        ("broken.example/x", "nobody"),
    ] {
        assert_eq!(home.user(name), user, "{name}");
    }
    let name = RepositoryName::new("broken.example", "x");
    let error = home.store().find_for_push(&name).unwrap_err().to_string();
    assert!(
        error.contains("docker-credential-missing: there is no such"),
        "{error}"
    );
}

#[test]
fn a_login_changes_one_entry_and_keeps_the_rest() {
    let home = Home::new(&[(
        "config.json",
        r#"{"HttpHeaders": {"a": "b"}, "auths": {"docker.io": {"auth": "aG9zdDpo"}, "other.example": {"auth": "aG9zdDpo"}}}"#,
    )]);
    let saved = home
        .store()
        .login("docker.io", &password("me", "pass:word"))
        .unwrap();
    assert_eq!(saved, Saved::File(home.path("config.json")));
    assert_eq!(
        home.json("config.json"),
        serde_json::json!({"HttpHeaders": {"a": "b"}, "auths": {
            "https://index.docker.io/v1/": {"auth": "bWU6cGFzczp3b3Jk"}, "other.example": {"auth": "aG9zdDpo"}}})
    );
    let mode = std::fs::metadata(home.path("config.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(home.user("nginx"), "me pass:word");
    assert_eq!(std::fs::read_dir(home.0.path()).unwrap().count(), 1);

    let from = home.store().logout("https://index.docker.io/v1/").unwrap();
    assert_eq!(from, [Saved::File(home.path("config.json"))]);
    assert_eq!(home.store().logout("docker.io").unwrap(), []);
    assert_eq!(home.user("nginx"), "nobody");
    assert_eq!(home.user("other.example/x"), "host h");
}

#[test]
fn a_first_login_makes_a_private_file_and_follows_links() {
    let home = Home::new(&[]);
    let store = |path: &Path| {
        let path = path.to_owned();
        CredentialStore::new(
            vec![CredentialFile {
                path,
                is_named: false,
            }],
            OsString::new(),
        )
    };
    let new = home.path("new/containers/auth.json");
    store(&new)
        .login("reg.example/team", &password("u", "p"))
        .unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&new), mode(new.parent().unwrap())), (0o600, 0o700));

    std::fs::write(home.path("real.json"), "").unwrap();
    std::os::unix::fs::symlink("real.json", home.path("link.json")).unwrap();
    let link = home.path("link.json");
    store(&link)
        .login("reg.example", &Credential::IdentityToken("t".to_owned()))
        .unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(
        home.json("real.json"),
        serde_json::json!({"auths": {"reg.example": {"identitytoken": "t"}}})
    );
}

#[test]
fn a_login_goes_to_the_helper_where_there_is_one() {
    let home = Home::new(&[("config.json", r#"{"credsStore": "file"}"#)]);
    let log = home.path("log");
    home.helper("file", &format!("echo \"$1 $(cat)\" >> {}", log.display()));
    let saved = home
        .store()
        .login("reg.example", &password("u", "p"))
        .unwrap();
    assert_eq!(saved, Saved::Helper("file".to_owned()));
    assert_eq!(
        home.json("config.json"),
        serde_json::json!({"credsStore": "file", "auths": {"reg.example": {}}})
    );
    home.store().logout_all().unwrap();
    let asked = std::fs::read_to_string(log).unwrap();
    let (stored, erased) = asked.split_once('\n').unwrap();
    let stored: serde_json::Value =
        serde_json::from_str(stored.strip_prefix("store ").unwrap()).unwrap();
    assert_eq!(
        stored,
        serde_json::json!({"ServerURL": "reg.example", "Username": "u", "Secret": "p"})
    );
    assert_eq!(erased, "erase reg.example\n");
    assert_eq!(home.json("config.json")["auths"], serde_json::json!({}));
}

#[test]
fn damaged_files_are_errors_without_their_content() {
    for (text, why) in [
        ("[]", "not a JSON object"),
        ("{\"auths\": {\"secret", "not JSON at line 1"),
        (
            r#"{"auths": {"reg.example": {"auth": "secret!"}}}"#,
            "not text in base64",
        ),
        (
            r#"{"auths": {"reg.example": {"auth": "c2VjcmV0"}}}"#,
            "without a colon",
        ),
    ] {
        let home = Home::new(&[("auth.json", text)]);
        let name = RepositoryName::new("reg.example", "x");
        let error = home.store().find(&name).unwrap_err().to_string();
        assert!(
            error.contains(why) && error.contains("auth.json"),
            "{error}"
        );
        assert!(
            !error.contains("secret") && !error.contains("c2Vj"),
            "{error}"
        );
    }
    let named = CredentialFile {
        path: "/nonexistent/auth.json".into(),
        is_named: true,
    };
    let store = CredentialStore::new(vec![named], OsString::new());
    let error = store.find(&RepositoryName::new("h", "x")).unwrap_err();
    assert!(error.to_string().contains("no such file"), "{error}");
}

#[test]
fn debug_output_shows_no_secret() {
    let shown = format!(
        "{:?} {:?} {:?}",
        password("user", "hidden"),
        Credential::IdentityToken("hidden".to_owned()),
        Credential::RegistryToken("hidden".to_owned())
    );
    assert!(
        shown.contains("user") && !shown.contains("hidden"),
        "{shown}"
    );
}
