//! Manifests, tags and referrers, from servers that are kind and from others.

use super::*;
use crate::Wanted;

fn serving(answer: impl Fn(&Asked, &str) -> String + Send + Sync + 'static) -> Server {
    Server::new(answer)
}

/// Runs with a repository at a server.
fn with<T>(host: &str, run: impl FnOnce(&Repository<'_>, &Notes) -> T) -> T {
    let options = options();
    let notes = Notes::default();
    let registry = Registry::new(&options, &notes);
    let name = RepositoryName::new(host, "a/b");
    run(&registry.repository(&name).unwrap(), &notes)
}

#[test]
fn a_manifest_is_described_whatever_head_does() {
    let digest = Digest::of(SMALL.as_bytes());
    let full = format!("Content-Type: {MANIFEST}\r\nDocker-Content-Digest: {digest}\r\n");
    for (status, headers, gets) in [
        ("200 OK", full.as_str(), 0),
        (
            "200 OK",
            "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n",
            1,
        ),
        (
            "200 OK",
            "Content-Type: text/plain\r\nDocker-Content-Digest: sha256:0\r\n",
            1,
        ),
        ("405 Method Not Allowed", "", 1),
        ("400 Bad Request", "", 1),
        ("403 Forbidden", "", 1),
        ("501 Not Implemented", "", 1),
        ("404 Not Found", "", 1),
    ] {
        let (status, headers) = (status.to_owned(), headers.to_owned());
        let shown = format!("{status} {headers}");
        let server = serving(move |asked, _| match asked.is("HEAD") {
            true => answer(&status, &headers, SMALL),
            false => document(SMALL),
        });
        with(&server.host, |repository, _| {
            let got = repository.head(Wanted::Tag("1")).unwrap().unwrap();
            assert_eq!(got.digest().to_string(), digest.to_string(), "{shown}");
            assert_eq!(got.size(), SMALL.len() as u64, "{shown}");
        });
        assert_eq!(server.asked("GET").len(), gets, "{shown}");
    }
    let server = serving(|_, _| answer("404 Not Found", "", ""));
    with(&server.host, |repository, _| {
        assert!(repository.head(Wanted::Tag("1")).unwrap().is_none());
        let error = repository.manifest(Wanted::Tag("1")).unwrap_err();
        assert!(
            matches!(error, Error::NotFound { hidden: false, .. }),
            "{error}"
        );
    });
}

#[test]
fn bytes_must_have_their_digest() {
    let right = Digest::of(SMALL.as_bytes());
    let wrong = Digest::of(b"other");
    for (claimed, wanted, fits) in [
        (Some(right.to_string()), None, true),
        (Some(wrong.to_string()), None, false),
        (Some("blake3:00".to_owned()), None, true),
        (Some(format!("sha512:{}", "0".repeat(128))), None, true),
        (None, None, true),
        (None, Some(right), true),
        (None, Some(wrong), false),
        (Some(wrong.to_string()), Some(right), false),
    ] {
        let header = claimed.map(|d| format!("Docker-Content-Digest: {d}\r\n"));
        let headers = format!("Content-Type: {MANIFEST}\r\n{}", header.unwrap_or_default());
        let shown = headers.clone();
        let server = serving(move |_, _| answer("200 OK", &headers, SMALL));
        with(&server.host, |repository, _| {
            let wanted = match &wanted {
                Some(digest) => Wanted::Digest(digest),
                None => Wanted::Tag("1"),
            };
            let got = repository.manifest(wanted);
            assert_eq!(got.is_ok(), fits, "{wanted:?} {shown}");
            if let Err(error) = got {
                assert!(error.to_string().contains("wrong content"), "{error}");
            }
        });
    }
}

#[test]
fn a_page_of_a_proxy_is_named() {
    let page = |_: &Asked, _: &str| answer("200 OK", "Content-Type: text/html\r\n", "<html>");
    let server = serving(page);
    with(&server.host, |repository, _| {
        for wanted in [Wanted::Tag("1"), Wanted::Digest(&Digest::of(b"x"))] {
            let error = repository.manifest(wanted).unwrap_err().to_string();
            assert!(error.contains("an HTML page"), "{error}");
        }
    });
}

#[test]
fn a_busy_registry_is_asked_again_as_long_as_it_is_reasonable() {
    let busy = |after: &'static str| {
        let tries = std::sync::atomic::AtomicU32::new(0);
        move |_: &Asked, _: &str| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => answer(
                "429 Too Many Requests",
                &format!("Retry-After: {after}\r\n"),
                r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#,
            ),
            _ => document(SMALL),
        }
    };
    for after in ["0", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let server = serving(busy(after));
        with(&server.host, |repository, notes| {
            repository.manifest(Wanted::Tag("1")).unwrap();
            assert!(
                notes.all()[0].contains("pull rate limit"),
                "{:?}",
                notes.all()
            );
        });
    }
    let server = serving(busy("3600"));
    with(&server.host, |repository, _| {
        let error = repository
            .manifest(Wanted::Tag("1"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("429") && error.contains("pull rate limit"),
            "{error}"
        );
    });
}

#[test]
fn a_mirror_that_fails_is_named_once_and_asked_last() {
    let digest = Digest::of(SMALL.as_bytes());
    let lie = format!("Content-Type: {MANIFEST}\r\n");
    for (mirror, why) in [
        (answer("503 Service Unavailable", "", ""), "503"),
        (
            answer("200 OK", &format!("{lie}Content-Length: 999\r\n"), SMALL),
            "broke",
        ),
        (
            answer("200 OK", &lie, &SMALL.replace("[]", "[ ]")),
            "wrong content",
        ),
    ] {
        let mirror = serving(move |_, _| mirror.clone());
        let server = serving(|_, _| document(SMALL));
        let conf = format!(
            "[[registry]]\nlocation = \"{0}\"\n[[registry.mirror]]\nlocation = \"{1}\"\n",
            server.host, mirror.host
        );
        let mut options = options();
        let configuration = &mut options.configuration;
        configuration
            .add_registries_conf(Path::new("x"), &conf)
            .unwrap();
        let notes = Notes::default();
        let registry = Registry::new(&options, &notes);
        let name = RepositoryName::new(&server.host, "a/b");
        let repository = registry.repository(&name).unwrap();
        for _ in 0..2 {
            repository.manifest(Wanted::Digest(&digest)).unwrap();
        }
        let notes = notes.all();
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(
            notes[0].starts_with(&mirror.host) && notes[0].contains(why),
            "{notes:?}"
        );
        assert_eq!(mirror.asked("GET").len(), 1);
        let first = repository.locations(&digest).remove(0).to_string();
        assert!(first.contains(&server.host), "{first}");
    }
}

#[test]
fn tags_come_in_pages_that_end() {
    let server = serving(|asked, host| {
        let (tags, link) = match &asked.line {
            line if line.contains("last=c") => (r#"["d"]"#, None),
            line if line.contains("last=b") => {
                let url = format!("http://{host}/v2/a/b/tags/list?last=c");
                (r#"["b","c"]"#, Some(url))
            }
            _ => (
                r#"["a","b"]"#,
                Some("/v2/a/b/tags/list?last=b&n=2".to_owned()),
            ),
        };
        let link = link.map(|l| format!("Link: <{l}>; rel=\"next\"\r\n"));
        answer(
            "200 OK",
            &link.unwrap_or_default(),
            &format!(r#"{{"name":"a/b","tags":{tags}}}"#),
        )
    });
    with(&server.host, |repository, _| {
        assert_eq!(repository.tags().unwrap(), ["a", "b", "c", "d"]);
    });
    let circle = serving(|_, _| {
        answer(
            "200 OK",
            "Link: </v2/a/b/tags/list?n=1000>; rel=next\r\n",
            r#"{"tags":null}"#,
        )
    });
    with(&circle.host, |repository, _| {
        let error = repository.tags().unwrap_err().to_string();
        assert!(error.contains("never end"), "{error}");
    });
    let modest = serving(|asked, _| match asked.line.contains("n=1000") {
        true => answer("400 Bad Request", "", ""),
        false => answer("200 OK", "", r#"{"tags":["x"]}"#),
    });
    with(&modest.host, |repository, _| {
        assert_eq!(repository.tags().unwrap(), ["x"])
    });
}

#[test]
fn referrers_are_found_by_the_call_and_by_the_tag() {
    let subject = Digest::of(b"subject");
    let entry = |kind: &str| {
        let digest = Digest::of(kind.as_bytes());
        format!(
            r#"{{"mediaType":"{MANIFEST}","size":3,"digest":"{digest}","artifactType":"{kind}"}}"#
        )
    };
    let entries = format!("{},{}", entry("x/sig"), entry("x/sbom"));
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{entries}]}}"#);
    let headers = format!("Content-Type: {INDEX}\r\n");
    for call in [
        "200 OK",
        "404 Not Found",
        "405 Method Not Allowed",
        "403 Forbidden",
    ] {
        let (index, headers) = (index.clone(), headers.clone());
        let by_tag = format!("/v2/a/b/manifests/sha256-{}", subject.hex());
        let server = serving(move |asked, _| {
            let is_call = asked.line.contains("/referrers/");
            match is_call && call != "200 OK" {
                true => answer(call, "", ""),
                false if is_call || asked.line.contains(&by_tag) => {
                    answer("200 OK", &headers, &index)
                }
                false => answer("404 Not Found", "", ""),
            }
        });
        with(&server.host, |repository, _| {
            assert_eq!(
                repository.referrers(&subject, None).unwrap().len(),
                2,
                "{call}"
            );
            let some = repository.referrers(&subject, Some("x/sig")).unwrap();
            assert_eq!(some.len(), 1, "{call}");
            assert!(
                repository
                    .referrers(&subject, Some("x/no"))
                    .unwrap()
                    .is_empty()
            );
        });
    }
    let empty = serving(|_, _| answer("404 Not Found", "", ""));
    with(&empty.host, |repository, _| {
        assert!(repository.referrers(&subject, None).unwrap().is_empty());
    });
}
