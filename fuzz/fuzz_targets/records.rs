//! Records of extended headers: times, names and above all extended attributes, in every spelling.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code)] // The other target uses the rest.
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::records(data));
