//! Whole archives into a scratch directory: nothing outside changes.
#![no_main]

use std::sync::LazyLock;

#[path = "../checks.rs"]
#[allow(dead_code)] // The other target uses the rest.
mod checks;

static SCRATCH: LazyLock<checks::Scratch> = LazyLock::new(checks::Scratch::new);

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut mended = data.to_vec();
    checks::mend_checksums(&mut mended);
    SCRATCH.archive(&mended);
});
