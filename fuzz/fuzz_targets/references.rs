//! Names of images and of platforms.
#![no_main]

#[path = "../images.rs"]
#[allow(dead_code)] // The other target uses the rest.
mod images;

libfuzzer_sys::fuzz_target!(|text: &str| images::references(text));
