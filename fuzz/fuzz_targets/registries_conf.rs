//! `registries.conf`, and what it makes of names.
#![no_main]

use std::path::Path;

use box_registry::{Configuration, RepositoryName};

/// Names that entries may cover.
const NAMES: [&str; 4] = [
    "docker.io/library/nginx",
    "reg.example:5000/team/app",
    "localhost/a",
    "a.b.example/c/d/e",
];

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut configuration = Configuration::default();
    if configuration
        .add_registries_conf(Path::new("fuzz"), text)
        .is_err()
    {
        return;
    }
    for name in NAMES {
        let reference = name.parse().expect("these are names");
        let name = RepositoryName::of(&reference).expect("these have a registry");
        let Ok(places) = configuration.places(&name) else {
            continue;
        };
        assert!(!places.reads.is_empty());
        for place in &places.reads {
            // Both become parts of URLs.
            let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]/".contains(c);
            assert!(!place.host.is_empty() && !place.host.contains('/'));
            assert!(place.host.chars().chain(place.path.chars()).all(plain));
            assert!(place.path.split('/').all(|part| part != ".."));
        }
    }
});
