//! Challenges, tokens and credentials, as servers see them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};

use super::*;
use crate::Wanted;

/// Gives numbered tokens, of which the registry takes those from `first` on.
fn numbered(first: Arc<AtomicU32>) -> Server {
    let given = AtomicU32::new(0);
    Server::new(move |asked, host| {
        if asked.is("GET /token") {
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            return answer(
                "200 OK",
                "",
                &format!(r#"{{"token":"t{number}","expires_in":300}}"#),
            );
        }
        match token(asked) {
            Some(number) if number >= first.load(Ordering::SeqCst) => document(SMALL),
            _ => challenge(host),
        }
    })
}

#[test]
fn one_token_serves_many_threads() {
    let server = numbered(Arc::new(AtomicU32::new(1)));
    let options = options();
    let notes = Notes::default();
    let registry = Registry::new(&options, &notes);
    let repository = registry.repository(&RepositoryName::new(&server.host, "a/b"));
    let repository = repository.unwrap();
    let together = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                together.wait();
                repository.manifest(Wanted::Tag("1")).unwrap();
            });
        }
    });
    repository.manifest(Wanted::Tag("2")).unwrap();
    let tokens = server.asked("GET /token");
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert!(
        tokens[0]
            .line
            .contains("service=s&scope=repository%3Aa%2Fb%3Apull ")
    );
    assert!(!tokens[0].has("authorization"));
    // The last one needed no challenge any more.
    assert_eq!(server.asked("GET /v2/a/b/manifests/2").len(), 1);
}

#[test]
fn a_token_that_is_refused_is_replaced_once() {
    let first = Arc::new(AtomicU32::new(1));
    let server = numbered(first.clone());
    let options = options();
    let notes = Notes::default();
    let registry = Registry::new(&options, &notes);
    let repository = registry.repository(&RepositoryName::new(&server.host, "a/b"));
    let repository = repository.unwrap();
    repository.manifest(Wanted::Tag("1")).unwrap();
    first.store(2, Ordering::SeqCst);
    repository.manifest(Wanted::Tag("2")).unwrap();
    assert_eq!(server.asked("GET /token").len(), 2);
    assert_eq!(server.asked("GET /v2/a/b/manifests/2").len(), 2);
    first.store(u32::MAX, Ordering::SeqCst);
    let error = repository.manifest(Wanted::Tag("3")).unwrap_err();
    assert!(
        matches!(error, Error::NotFound { hidden: true, .. }),
        "{error}"
    );
    assert_eq!(server.asked("GET /v2/a/b/manifests/3").len(), 2);
}

#[test]
fn a_password_goes_to_the_token_server_only() {
    let server = Server::new(|asked, host| {
        if asked.is("GET /token?account=me&service=s&scope=") && asked.has(ME_BASIC) {
            return answer("200 OK", "", r#"{"access_token":"t1"}"#);
        }
        match token(asked) {
            Some(1) => document(SMALL),
            _ => challenge(host),
        }
    });
    let (options, _dir) = options_for(&server.host, ME);
    manifest_of(&options, &server.host).unwrap();
    for asked in server.asked("GET /v2/") {
        assert!(!asked.has("Basic "), "{asked:?}");
    }
}

#[test]
fn a_refresh_token_is_posted() {
    let server = Server::new(|asked, host| {
        if asked.is("POST /token ") && !asked.has("authorization") {
            return answer("200 OK", "", r#"{"access_token":"t1"}"#);
        }
        match token(asked) {
            Some(1) => document(SMALL),
            _ => challenge(host),
        }
    });
    let entry = r#"{"auth":"PHRva2VuPjo=","identitytoken":"a+b/c"}"#;
    let (options, _dir) = options_for(&server.host, entry);
    manifest_of(&options, &server.host).unwrap();
    let asked = server.asked("POST /token ").remove(0);
    for field in [
        "grant_type=refresh_token",
        "refresh_token=a%2Bb%2Fc",
        "service=s",
        "client_id=box",
        "scope=repository%3Aa%2Fb%3Apull",
    ] {
        let fields: Vec<&str> = asked.content.split('&').collect();
        assert!(fields.contains(&field), "{field}: {fields:?}");
    }
}

#[test]
fn a_password_is_posted_where_it_cannot_be_got() {
    let server = Server::new(|asked, host| {
        if asked.is("GET /token") {
            return answer("405 Method Not Allowed", "", "");
        }
        if asked.is("POST /token ") && asked.content.contains("username=me&password=secret") {
            return answer("200 OK", "", r#"{"access_token":"t1"}"#);
        }
        match token(asked) {
            Some(1) => document(SMALL),
            _ => challenge(host),
        }
    });
    let (options, _dir) = options_for(&server.host, ME);
    manifest_of(&options, &server.host).unwrap();
}

#[test]
fn a_wrong_password_is_tried_once_and_named() {
    let basic = |_: &Asked, _: &str| {
        answer(
            "401 Unauthorized",
            "WWW-Authenticate: basic realm=x\r\n",
            "",
        )
    };
    let server = Server::new(basic);
    let (options, _dir) = options_for(&server.host, ME);
    let error = manifest_of(&options, &server.host).unwrap_err().to_string();
    assert!(
        error.contains(&format!("wrong credentials for {}", server.host)),
        "{error}"
    );
    assert_eq!(server.asked("GET /v2/").len(), 2);
    let error = manifest_of(&super::options(), &server.host).unwrap_err();
    assert!(
        matches!(error, Error::CredentialsRequired { .. }),
        "{error}"
    );

    let server = Server::new(|asked, host| match asked.is("GET /token") {
        true => answer(
            "401 Unauthorized",
            "",
            r#"{"details":"incorrect username or password"}"#,
        ),
        false => challenge(host),
    });
    let (options, _dir) = options_for(&server.host, ME);
    let error = manifest_of(&options, &server.host).unwrap_err();
    assert!(matches!(error, Error::WrongCredentials { .. }), "{error}");
    assert_eq!(server.asked("GET /token").len(), 1);
}

#[test]
fn a_user_who_may_not_is_told_so() {
    let server = Server::new(|asked, host| match asked.is("GET /token") {
        true => answer("200 OK", "", r#"{"token":"t1"}"#),
        false if token(asked).is_some() => answer(
            "401 Unauthorized",
            "",
            r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#,
        ),
        false => challenge(host),
    });
    let (options, _dir) = options_for(&server.host, ME);
    let error = manifest_of(&options, &server.host).unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert!(
        error
            .to_string()
            .ends_with("requested access to the resource is denied"),
        "{error}"
    );
}

/// A server to which the registry redirects gets no credentials, and does not decide where they go.
#[test]
fn credentials_stay_at_the_registry() {
    let other = Server::new(|asked, host| match asked.is("GET /token") {
        true => answer("200 OK", "", r#"{"token":"t1"}"#),
        false => challenge(host),
    });
    let elsewhere = other.host.clone();
    let server = Server::new(move |asked, _| match asked.has(ME_BASIC) {
        true => answer(
            "307 Moved",
            &format!("Location: http://{elsewhere}/x\r\n"),
            "",
        ),
        false => answer(
            "401 Unauthorized",
            "WWW-Authenticate: Basic realm=x\r\n",
            "",
        ),
    });
    let (options, _dir) = options_for(&server.host, ME);
    manifest_of(&options, &server.host).unwrap_err();
    let there = other.asked("GET /x");
    assert_eq!(there.len(), 1);
    assert!(!there[0].has("authorization"), "{there:?}");
    assert!(other.asked("GET /token").is_empty());
}

#[test]
fn a_login_is_checked_with_what_was_given() {
    let server = Server::new(|asked, _| match asked.has(ME_BASIC) {
        true => answer("200 OK", "", "{}"),
        false => answer(
            "401 Unauthorized",
            "WWW-Authenticate: Basic realm=x\r\n",
            "",
        ),
    });
    let options = options();
    let notes = Notes::default();
    let registry = Registry::new(&options, &notes);
    let check = |password: &str| {
        let credential = Credential::Password {
            user: "me".to_owned(),
            password: password.to_owned(),
        };
        registry.check(&server.host, &credential)
    };
    let error = check("other").unwrap_err();
    assert!(matches!(error, Error::WrongCredentials { .. }), "{error}");
    check("secret").unwrap();
    assert!(server.asked("GET /v2/ ").len() >= 2);
}
