//! Microbenchmarks of inner parts. `scripts/bench micro` runs them and puts the results into docs/performance.md.
//!
//! BOX_BENCH_TARBALL names the gzipped root filesystem that is inflated and unpacked.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::hint::black_box;
use std::io::Read;

use box_cache::Reference;
use box_containers::{Overrides, spec};
use box_run::capabilities::Set;
use box_run::seccomp::{self, Filter};
use box_unpack::{Archive, Limits, unpack_archive};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flate2::read::MultiGzDecoder;
use oci_spec::image::ImageConfiguration;

fn reference(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reference");
    let digest = format!("sha256:{}", "5e".repeat(32));
    let long = format!("registry.example.org:5000/team/project/alpine:3.20.3@{digest}");
    for (name, text) in [
        ("alpine", "alpine"),
        ("host, path, tag and digest", long.as_str()),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(text).parse::<Reference>().unwrap());
        });
    }
}

fn runtime(criterion: &mut Criterion) {
    let image = ImageConfiguration::default();
    let asked = Overrides {
        command: vec!["/bin/true".to_owned()],
        ..Overrides::default()
    };
    criterion.bench_function("spec/build", |bencher| {
        bencher.iter(|| spec::build(black_box(&image), black_box(&asked)).unwrap());
    });
    let built = spec::build(&image, &asked).unwrap();
    criterion.bench_function("spec/say config.json", |bencher| {
        bencher.iter(|| serde_json::to_vec(black_box(&built)).unwrap());
    });

    let profile = seccomp::default_profile(Set::DEFAULT).unwrap();
    criterion.bench_function("seccomp/default filter, compiled with box", |bencher| {
        bencher.iter(|| Filter::default_for(black_box(Set::DEFAULT)).unwrap());
    });
    criterion.bench_function("seccomp/compile a profile", |bencher| {
        bencher.iter(|| Filter::compile(black_box(&profile)).unwrap());
    });
}

fn packed() -> Vec<u8> {
    let path = std::env::var("BOX_BENCH_TARBALL")
        .expect("BOX_BENCH_TARBALL names a .tar.gz; scripts/bench micro sets it");
    fs::read(&path).unwrap_or_else(|error| panic!("read {path}: {error}"))
}

fn plain(packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    MultiGzDecoder::new(packed).read_to_end(&mut plain).unwrap();
    plain
}

fn inflate(criterion: &mut Criterion) {
    let packed = packed();
    let length = plain(&packed).len();
    let mut group = criterion.benchmark_group("inflate");
    group.throughput(Throughput::Bytes(length as u64));
    let mut piece = vec![0; 128 * 1024];
    group.bench_function("zlib-rs, in pieces of 128 KiB (box's)", |bencher| {
        bencher.iter(|| {
            let mut decoder = MultiGzDecoder::new(packed.as_slice());
            while decoder.read(&mut piece).unwrap() > 0 {}
        });
    });
    let mut whole = vec![0; length];
    group.bench_function("libdeflate, whole member in memory", |bencher| {
        bencher.iter(|| {
            libdeflater::Decompressor::new()
                .gzip_decompress(&packed, &mut whole)
                .unwrap()
        });
    });
    // Alpine's and Debian's headers carry at most a name; miniz_oxide wants the bare deflate stream.
    let body = 10
        + if packed[3] & 8 == 0 {
            0
        } else {
            packed[10..].iter().position(|byte| *byte == 0).unwrap() + 1
        };
    group.bench_function("miniz_oxide, whole member in memory", |bencher| {
        bencher.iter(|| {
            miniz_oxide::inflate::decompress_slice_iter_to_slice(
                &mut whole,
                std::iter::once(&packed[body..]),
                false,
                true,
            )
            .unwrap()
        });
    });
}

fn unpack(criterion: &mut Criterion) {
    let plain = plain(&packed());
    let mut group = criterion.benchmark_group("unpack");
    group.bench_function("read every entry of the minirootfs", |bencher| {
        bencher.iter(|| {
            let mut archive = Archive::new(plain.as_slice(), Limits::default());
            let mut entries = 0;
            while archive.next_entry().unwrap().is_some() {
                entries += 1;
            }
            assert!(entries > 1);
        });
    });

    // Files of 1 KiB, most of what a root filesystem has. Nothing is deleted before the end: ext4 would be slow then.
    let mut builder = tar::Builder::new(Vec::new());
    for number in 0..1000 {
        let mut header = tar::Header::new_gnu();
        header.set_size(1024);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, format!("file-{number}"), [7; 1024].as_slice())
            .unwrap();
    }
    let archive = builder.into_inner().unwrap();
    let scratch =
        tempfile::tempdir_in(std::env::var_os("BOX_BENCH_SCRATCH").unwrap_or("/tmp".into()))
            .unwrap();
    let mut runs = 0;
    group.throughput(Throughput::Elements(1000)).sample_size(20);
    group.bench_function("write 1,000 files of 1 KiB", |bencher| {
        bencher.iter_batched(
            || {
                runs += 1;
                scratch.path().join(runs.to_string())
            },
            |directory| unpack_archive(archive.as_slice(), &directory, &Limits::default()).unwrap(),
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, reference, runtime, inflate, unpack);
criterion_main!(benches);
