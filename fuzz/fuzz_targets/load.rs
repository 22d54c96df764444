//! Archives of images: as they are, and made of parts so that their digests are right.
#![no_main]

#[path = "../images.rs"]
#[allow(dead_code)] // The other target uses the rest.
mod images;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for archive in [data, &images::layout(data)] {
        // Where writing costs no wait for a disk.
        let scratch = tempfile::tempdir_in("/dev/shm").expect("/dev/shm is writable");
        images::load(archive, scratch.path());
    }
});
