//! What `WWW-Authenticate` looks like outside the documentation.

use box_tests::Home;
use box_tests::registry::{Registry, Scripted};
use box_tests::server::Response;

use super::{basic, is_whole, origin, password, small, unauthorized, with_credentials};

/// A registry that takes the tests' user by Basic, and says so by these header fields; `REALM` stands for its token server, which
/// gives the token `t`.
fn registry(fields: &'static [&'static str], wants: &'static str) -> Scripted {
    Scripted::new(move |request, _| {
        let given = request.header("authorization");
        if request.route() == "/token" {
            return Some(match given {
                Some(given) if given == basic() => {
                    Response::new(r#"{"token":"t","expires_in":300}"#)
                }
                _ => Response::status(401),
            });
        }
        let good = match wants {
            "Basic" => given == Some(&basic()),
            _ => given == Some("Bearer t"),
        };
        if good {
            return None;
        }
        let realm = format!("{}/token", origin(request));
        let fields: Vec<_> = fields
            .iter()
            .map(|field| field.replace("REALM", &realm))
            .collect();
        Some(unauthorized(
            &fields.iter().map(String::as_str).collect::<Vec<_>>(),
        ))
    })
}

/// A challenge of a token server.
const TOKEN: &str = r#"Bearer realm="REALM",service="tests",scope="repository:app:pull""#;

/// The report, the header fields, and the scheme that has to be used.
const CHALLENGES: &[(&str, &[&str], &str)] = &[
    (
        "GoogleContainerTools/jib#4187",
        &["Negotiate", r#"Basic realm="x""#],
        "Basic",
    ),
    (
        "GoogleContainerTools/jib#4187",
        &["Negotiate", TOKEN],
        "Bearer",
    ),
    (
        "google/containerregistry#38",
        &[r#"BASIC realm="Nexus""#],
        "Basic",
    ),
    ("A3S-Lab/Box#84", &[r#"Basic realm="A registry""#], "Basic"),
    (
        "prowler-cloud/prowler#12691",
        &[
            r#"Basic realm="registry", Bearer realm="REALM",service="tests",scope="repository:app:pull""#,
        ],
        "Bearer",
    ),
    (
        "prowler-cloud/prowler#12691",
        &[
            r#"Bearer realm="REALM",service="tests",scope="repository:app:pull", Basic realm="registry""#,
        ],
        "Bearer",
    ),
    (
        "dart-lang/sdk#46651",
        &[r#"Negotiate, Basic realm="x""#],
        "Basic",
    ),
    (
        "httpwg/http-core#136",
        &[
            r#"Newauth realm="apps", type=1, title="Login to \"apps\", please", Basic realm="simple""#,
        ],
        "Basic",
    ),
    ("lysine-dev/okhttp#4249", &["Basic realm=unquoted"], "Basic"),
    ("lysine-dev/okhttp#4249", &["Basic"], "Basic"),
    (
        "modelcontextprotocol/python-sdk#3012",
        &[r#"Bearer realm="REALM", service="say \"hi, there\"""#],
        "Bearer",
    ),
    (
        "modelcontextprotocol/csharp-sdk#1764",
        &[r#"Bearer scope=",", realm="REALM""#],
        "Bearer",
    ),
    (
        "izaakschroeder/auth-header#16",
        &[r#"Negotiate dG9rZW42OA==, Basic realm="x""#],
        "Basic",
    ),
    (
        "docker/docs#4219",
        &[r#"Bearer realm="REALM",service="tests",scope="repository:app:pull,push""#],
        "Bearer",
    ),
    (
        "goharbor/harbor#2411",
        &[r#"bearer Realm="REALM", SERVICE="tests", Scope="repository:app:pull""#],
        "Bearer",
    ),
];

#[test]
fn every_form_of_a_challenge_is_understood() {
    for (report, fields, wants) in CHALLENGES {
        let image = small();
        let registry = registry(fields, wants).with("app", "one", &image);
        let home = Home::with_mirror("file:///nonexistent");
        let reference = registry.reference("app:one");
        let outcome = with_credentials(&home, &registry.host(), &password(), &["pull", &reference]);
        assert_eq!(outcome.status, 0, "{report} {fields:?}: {}", outcome.stderr);
        is_whole(&home, &image);
    }
}

#[test]
fn nobody_gets_credentials_before_they_ask() {
    // SgtSilvio/gradle-oci#143: a public registry answers 400, not 401, to credentials that it did not ask for.
    let image = small();
    let registry = Scripted::new(|request, _| {
        request
            .header("authorization")
            .map(|_| Response::status(400))
    })
    .with("app", "one", &image);
    let home = Home::with_mirror("file:///nonexistent");
    let reference = registry.reference("app:one");
    with_credentials(&home, &registry.host(), &password(), &["pull", &reference]).succeeds();
    is_whole(&home, &image);
}

#[test]
fn a_wrong_password_is_called_one() {
    // apple/container#1538: told as `missing Bearer challenge`.
    let registry = Registry::with_password();
    registry.put("app", "one", &small());
    let reference = registry.reference("app:one");
    let home = Home::with_mirror("file:///nonexistent");
    let wrong = serde_json::json!({"auth": "YWxpY2U6d3Jvbmc="});
    let outcome = with_credentials(&home, registry.host(), &wrong, &["pull", &reference])
        .fails(&["wrong credentials", registry.host()]);
    assert!(!outcome.stderr.contains("401"), "{}", outcome.stderr);
    let outcome = super::pull(&home, &reference).exits(125);
    assert!(outcome.stderr.contains("box login"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("401"), "{}", outcome.stderr);
}

#[test]
fn challenges_that_make_no_sense_are_no_loop() {
    for fields in [
        &[][..],
        &["Negotiate"][..],
        &["Bearer"][..],
        &["Bearer realm=\"\""][..],
        &["Bearer realm=\"not a url\""][..],
        &["Bearer realm=\"file:///etc/passwd\""][..],
        &["\"", "=,=,=", ", , ,"][..],
    ] {
        let fields: Vec<String> = fields.iter().map(|f| (*f).to_owned()).collect();
        let registry = Scripted::new(move |_, _| {
            Some(unauthorized(
                &fields.iter().map(String::as_str).collect::<Vec<_>>(),
            ))
        });
        let home = Home::with_mirror("file:///nonexistent");
        let reference = registry.reference("app:one");
        with_credentials(&home, &registry.host(), &password(), &["pull", &reference]).fails(&[]);
        assert!(
            registry.requests().len() < 10,
            "{:?}",
            registry.requests().len()
        );
    }
}
