//! Many processes at once: pulling, running, removing and collecting the same images.

use std::thread;

use box_tests::server::Server;
use box_tests::{Home, Mirror};

use crate::check;

#[test]
fn one_download_for_one_blob() {
    let server = Server::mirror();
    let home = Home::with_mirror(&server.url());
    box_tests::require_root();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| home.run(["pull", "-q", "alpine:3.20"]).succeeds());
        }
    });
    let tarballs = server
        .paths()
        .iter()
        .filter(|path| path.ends_with("x86_64.tar.gz"))
        .count();
    let tarballs = tarballs.max(
        server
            .paths()
            .iter()
            .filter(|path| path.ends_with("aarch64.tar.gz"))
            .count(),
    );
    assert_eq!(tarballs, 1, "{:?}", server.paths());
    assert_eq!(check::sound(&home.cache()).len(), 1);
}

#[test]
fn pulls_runs_removals_and_collections_do_not_get_in_each_others_way() {
    let home = Home::new();
    assert!(Mirror::get().dir().exists());
    thread::scope(|scope| {
        for image in ["alpine:3.20", "alpine:3.18", "alpine:3.20"] {
            let home = &home;
            scope.spawn(move || {
                for _ in 0..12 {
                    let outcome = home
                        .run(["run", "--rm", image, "cat", "/etc/alpine-release"])
                        .succeeds();
                    assert!(outcome.text().starts_with("3."));
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..12 {
                home.run(["pull", "-q", "alpine:3.20", "--arch", "aarch64"])
                    .succeeds();
            }
        });
        for image in ["alpine:3.20", "alpine:3.18"] {
            let home = &home;
            scope.spawn(move || {
                for _ in 0..12 {
                    home.run(["rmi", "-f", image]).succeeds();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..12 {
                home.run(["gc"]).succeeds();
                home.run(["images"]).succeeds();
                home.run(["df"]).succeeds();
            }
        });
    });
    check::sound(&home.cache());
    home.run(["verify"]).succeeds();
    for image in ["alpine:3.20", "alpine:3.18"] {
        home.run(["run", "--rm", image, "true"]).succeeds();
    }
    home.run(["gc"]).succeeds();
    assert!(check::names(&home.cache().join("partial")).is_empty());
}
