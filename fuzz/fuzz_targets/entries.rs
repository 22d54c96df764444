//! Headers, names, extended headers, where archives end, and the decoders, without a file system.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code)] // The other target uses the rest.
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    checks::decoded(data);
    checks::entries(data);
    let mut mended = data.to_vec();
    checks::mend_checksums(&mut mended);
    checks::entries(&mended);
    checks::ends(&mended);
});
