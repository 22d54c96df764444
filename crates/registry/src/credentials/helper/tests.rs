#![allow(clippy::unwrap_used)]
use super::*;

/// A directory with a helper `test` that is this shell script.
fn helper(script: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("docker-credential-test");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

fn get(script: &str) -> Result<Option<Credential>> {
    let directory = helper(script);
    let programs = OsString::from(directory.path());
    Helper {
        patience: Duration::from_millis(300),
        ..Helper::new("test", &programs)
    }
    .get("reg.example")
}

#[test]
fn a_helper_gets_the_server_and_answers_with_json() {
    let script = r#"[ "$1" = get ] && read -r server; printf '{"ServerURL":"%s","Username":"me","Secret":"for %s"}' $server $server"#;
    assert_eq!(
        get(script).unwrap(),
        Some(Credential::Password {
            user: "me".to_owned(),
            password: "for reg.example".to_owned()
        })
    );
    assert_eq!(
        get(r#"echo '{"Username":"<token>","Secret":"r"}'"#).unwrap(),
        Some(Credential::IdentityToken("r".to_owned()))
    );
}

#[test]
fn no_credentials_are_not_a_failure() {
    let script = "echo 'credentials not found in native keychain'; exit 1";
    assert_eq!(get(script).unwrap(), None);
    assert_eq!(get(r#"echo '{"Username":"","Secret":""}'"#).unwrap(), None);
}

#[test]
fn failures_say_which_helper_and_why() {
    for (script, why) in [
        ("echo locked; exit 1", ": locked"),
        ("echo 'is \u{1b}[31mred' >&2; exit 2", ": is \\u{1b}[31mred"),
        ("exit 3", "it failed, exit status: 3"),
        ("echo secret-text", "not the JSON object"),
        ("exec sleep 30", "did not answer within"),
        ("sleep 30", "did not answer within"),
        ("exec yes", "too long"),
    ] {
        let error = get(script).unwrap_err().to_string();
        let start = "cannot get the credentials for reg.example with docker-credential-test: ";
        assert!(error.starts_with(start) && error.contains(why), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn only_programs_in_path_are_helpers() {
    let directory = helper("echo '{}'");
    let programs = OsString::from(directory.path());
    let name = format!("../{}/docker-credential-test", directory.path().display());
    for name in ["", "../test", "te/st", "te st", &name] {
        let error = Helper::new(name, &programs).get("h").unwrap_err();
        assert!(error.to_string().contains("not a name"), "{error}");
    }
    for programs in ["", ".", "relative", "/nonexistent"].map(OsString::from) {
        let error = Helper::new("test", &programs).get("h").unwrap_err();
        assert!(error.to_string().contains("no such program"), "{error}");
    }
}
