//! Many processes at once, and files larger than the memory limit.

use std::io::Write;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use box_tests::Home;
use box_tests::server::{Body, Response, Server};

use crate::release::{is_whole, tarball, whole};

#[test]
fn many_processes_make_one_download() {
    let server = Server::scripted(|request, _| {
        (request.path == tarball()).then(|| {
            // Long enough for all to be there.
            std::thread::sleep(Duration::from_millis(500));
            whole()
        })
    });
    let home = Home::with_mirror(&server.url());
    let references = ["alpine:3.20", "alpine:3.20.3", "alpine", "alpine:3.20"];
    let children: Vec<Child> = references
        .iter()
        .cycle()
        .take(12)
        .map(|reference| {
            let mut command = home.command(["pull", reference]);
            command
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let downloads = server
        .paths()
        .iter()
        .filter(|path| **path == tarball())
        .count();
    assert_eq!(downloads, 1);
    is_whole(&home);
    home.run(["verify"]).succeeds();
    let images = home.run(["images", "--format", "json"]).succeeds().json();
    assert_eq!(images.as_array().unwrap().len(), 3);
}

#[test]
fn whoever_waits_takes_over_when_the_first_one_is_killed() {
    let server = Server::scripted(|request, nth| {
        (request.path == tarball() && nth == 0).then(|| whole().stall_after(1_000_000))
    });
    let home = Home::with_mirror(&server.url());
    let start = || {
        let mut command = home.command(["pull", "alpine:3.20"]);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut first = start();
    while !server.paths().contains(&tarball()) {
        assert!(first.try_wait().unwrap().is_none(), "the pull has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut second = start();
    while server
        .paths()
        .iter()
        .filter(|path| path.ends_with(".asc"))
        .count()
        < 2
    {
        assert!(second.try_wait().unwrap().is_none(), "the pull has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(second.wait().unwrap().success());
    is_whole(&home);
}

/// A tar archive with one file of zeros, as it is sent.
fn large_archive(size: u64) -> Response {
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    let mut head = Vec::new();
    head.write_all(header.as_bytes()).unwrap();
    Response::with(
        200,
        Body::Padded {
            head,
            zeros: size + 1024,
        },
    )
}

#[test]
fn memory_does_not_grow_with_the_file() {
    const SIZE: u64 = 512 << 20;
    const MOST: u64 = 32 << 10;
    let server = Server::new(|_| large_archive(SIZE));
    let home = Home::with_mirror("http://127.0.0.1:1");
    let mut command = home.command(["import", &(server.url() + "/large.tar"), "large:1"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let peak = AtomicU64::new(0);
    let status = format!("/proc/{}/status", child.id());
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kilobytes) = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok()) {
            peak.fetch_max(kilobytes, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let peak = peak.into_inner();
    writeln!(
        std::io::stderr(),
        "peak memory of importing {SIZE} bytes: {peak} kB"
    )
    .unwrap();
    assert!((1..MOST).contains(&peak), "{peak} kB");
}
