//! What finding an image costs, with few and with many images in the cache.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::ops::ControlFlow;

use box_cache::{
    Cache, Claim, DiffId, Digest, Expected, Layer, NewImage, PartialKey, Platform, Provenance,
};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use oci_spec::image::ImageConfigurationBuilder;

fn fill(cache: &Cache, references: usize) {
    let bytes = b"a layer";
    let digest = Digest::of(bytes);
    let hold = cache.hold().unwrap();
    let key = PartialKey::Digest(digest);
    if let Claim::Partial(mut partial) = cache
        .partial(&key, &mut |_| ControlFlow::Break(()))
        .unwrap()
    {
        partial.append(bytes).unwrap();
        partial.commit(cache, &hold, &Expected::default()).unwrap();
    }
    for number in 0..references {
        let layer = Layer {
            digest,
            size: bytes.len() as u64,
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
            diff_id: DiffId(digest),
        };
        let image = NewImage {
            reference: format!("alpine:{number}").parse().unwrap(),
            platform: Platform::host(),
            layers: vec![layer],
            config: ImageConfigurationBuilder::default().build().unwrap(),
            provenance: Provenance::unknown(),
        };
        cache.publish(&hold, image).unwrap();
    }
}

fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find");
    for references in [1, 1000] {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::open(scratch.path()).unwrap();
        fill(&cache, references);
        let (reference, platform) = ("alpine:0".parse().unwrap(), Platform::host());
        group.bench_function(BenchmarkId::new("warm", references), |bencher| {
            bencher.iter(|| black_box(cache.find(&reference, &platform).unwrap().unwrap()));
        });
        group.bench_function(BenchmarkId::new("stale", references), |bencher| {
            bencher.iter(|| {
                std::fs::remove_dir_all(cache.layout().lookup()).unwrap();
                black_box(cache.find(&reference, &platform).unwrap().unwrap())
            });
        });
    }
}

criterion_group!(benches, find);
criterion_main!(benches);
