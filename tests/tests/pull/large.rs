//! A file of 2 GiB: pulling it needs no more memory than pulling a small one.

use std::fs;
use std::io::Write;
use std::process::{Child, Stdio};
use std::time::Duration;

use box_tests::Home;
use box_tests::server::{Body, Response, Server};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256, Sha512};

use crate::release::{VERSION, list, tarball};

/// Bytes of the image's only file.
const SIZE: u64 = 2 << 30;

/// The file repeats a block of the first size, of which the second size is incompressible: 256 MiB are fetched, 2 GiB
/// written. If all 2 GiB are fetched, the memory is the same and the time four times as long.
const PART: usize = 1 << 20;
const NOISE: usize = PART / 8;

/// The memory limit for box, in KiB.
const MEMORY: u64 = 32 << 10;

/// A member of a gzip archive.
fn member(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// An archive of one large file, generated while it is sent.
fn archive() -> Body {
    let mut header = tar::Header::new_gnu();
    header.set_path("large").unwrap();
    header.set_mode(0o644);
    header.set_size(SIZE);
    header.set_cksum();
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    let mut part: Vec<u8> = noise.take(NOISE).collect();
    part.resize(PART, 0);
    Body::Repeated {
        head: member(header.as_bytes()),
        part: member(&part),
        times: SIZE / PART as u64,
        tail: member(&[0; 1024]),
    }
}

fn digest<D: Digest>(body: &Body) -> String {
    let Body::Repeated {
        head,
        part,
        times,
        tail,
    } = body
    else {
        unreachable!("it is made above");
    };
    let mut digest = D::new();
    digest.update(head);
    (0..*times).for_each(|_| digest.update(part));
    digest.update(tail);
    digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The release list of a mirror that holds only this archive.
fn release_list(body: &Body) -> String {
    let (sha256, sha512) = std::thread::scope(|threads| {
        let sha512 = threads.spawn(|| digest::<Sha512>(body));
        (digest::<Sha256>(body), sha512.join().unwrap())
    });
    let (path, arch) = (tarball(), std::env::consts::ARCH);
    let file = path.rsplit('/').next().unwrap();
    format!(
        "---\n-\n  branch: v3.20\n  arch: {arch}\n  version: {VERSION}\n  flavor: alpine-minirootfs\n  file: {file}\n  \
         iso: {file}\n  size: {}\n  sha256: {sha256}\n  sha512: {sha512}\n",
        body.len()
    )
}

/// The peak memory of the process, in KiB.
fn peak(child: &mut Child) -> u64 {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        // Gone once the process has ended; what it says before only grows.
        let status = fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let Some(kib) = line.and_then(|line| line.split_whitespace().next()) else {
            return peak;
        };
        peak = kib.parse().unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn memory_does_not_grow_with_the_image() {
    let names = release_list(&archive());
    let server = Server::new(move |request| match request.path {
        ref path if *path == list() => Response::new(names.clone()),
        ref path if *path == tarball() => Response::with(200, archive()),
        _ => Response::status(404),
    });
    let home = Home::with_mirror(&server.url());
    let mut child = home
        .command(["pull", "-q", "alpine:3.20"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let peak = peak(&mut child);
    assert!(child.wait().unwrap().success());
    let layers = fs::read_dir(home.root().join("layers")).unwrap();
    let sizes: Vec<u64> = layers
        .filter_map(|layer| {
            Some(
                fs::metadata(layer.unwrap().path().join("large"))
                    .ok()?
                    .len(),
            )
        })
        .collect();
    assert_eq!(sizes, [SIZE]);
    assert!(peak < MEMORY, "{peak} KiB of {MEMORY}");
}
