//! Lists of tags that come in pages.

use box_tests::Home;
use box_tests::registry::{Scripted, failure};
use box_tests::server::{Request, Response, Server};
use serde_json::json;

use super::{origin, small};

fn page(tags: &[&str]) -> Response {
    Response::new(json!({"name": "app", "tags": tags}).to_string())
        .header("Content-Type", "application/json")
}

/// A registry whose list goes on where `link` says.
fn pages(link: impl Fn(&Request, &str) -> String + Send + Sync + 'static) -> Scripted {
    Scripted::new(move |request, _| {
        let tail = request.route().strip_prefix("/v2/")?;
        if !tail.ends_with("tags/list") && !tail.starts_with("more") {
            return None;
        }
        Some(match request.parameter("last").as_deref() {
            None => page(&["1", "2"]).header("Link", link(request, "2")),
            Some("2") => page(&["3"]).header("Link", link(request, "3")),
            // pulp/pulp_container#220: one more page, with nothing on it.
            _ => page(&[]),
        })
    })
}

fn list(registry: &Scripted) -> Vec<String> {
    let home = Home::with_mirror("file:///nonexistent");
    let outcome = home.run(["tags", &registry.reference("app")]).succeeds();
    outcome.text().lines().map(str::to_owned).collect()
}

#[test]
fn the_next_page_is_where_the_server_says() {
    type Link = fn(&Request, &str) -> String;
    let cases: &[(&str, Link)] = &[
        ("regclient/regclient#276", |_, last| {
            format!("</v2/app/tags/list?last={last}&n=100>; rel=\"next\"")
        }),
        ("camallo/dkregistry-rs#236", |request, last| {
            format!(
                "<{}/v2/app/tags/list?next_page=x&last={last}>; rel=\"next\"",
                origin(request)
            )
        }),
        ("opencontainers/distribution-spec#116", |_, last| {
            format!("<list?last={last}>; rel=\"next\"")
        }),
        ("opencontainers/distribution-spec#116", |_, last| {
            format!("<?last={last}>; rel=next")
        }),
        ("gadievron/raptor#495", |_, last| {
            format!("  < /v2/app/tags/list?last={last} > ;  rel = \"next\" ")
        }),
        ("opencontainers/distribution-spec#470", |_, last| {
            format!(
                "</v2/first>; rel=\"first\", </v2/app/tags/list?last={last}>; rel=\"next\"; title=\"a, b\""
            )
        }),
    ];
    for (report, link) in cases {
        assert_eq!(list(&pages(*link)), ["1", "2", "3"], "{report}");
    }
}

#[test]
fn a_list_without_end_ends() {
    // gadievron/raptor#495: the same page again and again, and a new one for ever.
    let home = Home::with_mirror("file:///nonexistent");
    let circle = Scripted::new(|request, _| {
        request
            .route()
            .ends_with("tags/list")
            .then(|| page(&["1"]).header("Link", format!("<{}>; rel=\"next\"", request.path)))
    });
    home.run(["tags", &circle.reference("app")]).fails(&[]);
    assert!(circle.requests().len() < 10, "{}", circle.requests().len());
    let endless = Scripted::new(|request, nth| {
        request.route().ends_with("tags/list").then(|| {
            page(&[&format!("t{nth}")]).header(
                "Link",
                format!("</v2/app/tags/list?last=t{nth}>; rel=\"next\""),
            )
        })
    });
    home.run(["tags", &endless.reference("app")]).fails(&[]);
}

#[test]
fn a_list_stays_on_its_host() {
    let elsewhere = Server::new(|_| page(&["evil"]));
    let url = elsewhere.url();
    let registry =
        pages(move |_, last| format!("<{url}/v2/app/tags/list?last={last}>; rel=\"next\""));
    let home = Home::with_mirror("file:///nonexistent");
    let outcome = home.run(["tags", &registry.reference("app")]);
    assert!(!outcome.text().contains("evil"));
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn lists_of_the_strangest_forms_are_no_panic() {
    let home = Home::with_mirror("file:///nonexistent");
    // heroku/docker-registry-client#11: quay.io forgot the brackets once; and no list at all is an empty one.
    for (body, link, good) in [
        (r#"{"name":"app","tags":null}"#, "", true),
        (r#"{"name":"app"}"#, "", true),
        (r#"{"name":"app","tags":["1"]}"#, "nonsense", true),
        (
            r#"{"name":"app","tags":["1"]}"#,
            "/v2/app/tags/list?last=1; rel=\"next\"",
            true,
        ),
        (r#"{"name":"app","tags":[7]}"#, "", false),
        ("<!DOCTYPE html>", "", false),
        ("{\"tags\":[\"\\u001b[31m\"]}", "", false),
    ] {
        let registry = Scripted::new(move |request, _| {
            let asked =
                request.route().ends_with("tags/list") && request.parameter("last").is_none();
            asked.then(|| match link {
                "" => Response::new(body),
                link => Response::new(body).header("Link", link),
            })
        })
        .with("app", "1", &small());
        let outcome = home.run(["tags", &registry.reference("app")]);
        if good {
            assert_eq!(outcome.status, 0, "{body} {link}: {}", outcome.stderr);
        }
        assert!(
            [0, 125].contains(&outcome.status),
            "{body}: {}",
            outcome.stderr
        );
        assert!(!outcome.text().contains('\u{1b}'), "{body}");
    }
    // Quay and others refuse a list that is too long in one answer (opencontainers/distribution-spec#461).
    let registry = Scripted::new(|request, _| {
        request
            .route()
            .ends_with("tags/list")
            .then(|| failure(404, "NAME_UNKNOWN"))
    });
    home.run(["tags", &registry.reference("app")])
        .fails(&["not found or private"]);
}
