//! Compiles the default seccomp policy to BPF, so that a start installs it without compiling.

#![allow(clippy::print_stdout)] // cargo is told by printing
use std::{env, fmt::Write as _, fs, path::Path};

#[path = "src/seccomp"]
#[allow(dead_code)]
mod seccomp {
    pub mod bpf;
    pub mod default;
    pub mod policy;
    pub mod syscalls;
}

use seccomp::{bpf, default, policy::Arch, syscalls::Table};

/// `capabilities::Set::DEFAULT`; a unit test holds the two together.
const DEFAULT_CAPABILITIES: u64 = 0x8004_25fb;

fn main() {
    println!("cargo::rerun-if-changed=src/seccomp");
    println!("cargo::rerun-if-changed=build.rs");
    let target = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it for build scripts");
    let directory = env::var("OUT_DIR").expect("cargo sets it for build scripts");
    // Without a table for the architecture the slice stays empty, and a start says so.
    let program = Arch::from_target(&target)
        .map(|arch| bpf::compile(&default::policy(arch, DEFAULT_CAPABILITIES), &Table::load()))
        .unwrap_or_default();
    let mut text = String::from("&[\n");
    for bpf::Instruction { code, jt, jf, k } in program {
        writeln!(
            text,
            "Instruction {{ code: {code}, jt: {jt}, jf: {jf}, k: {k} }},"
        )
        .expect("a String takes all");
    }
    text.push_str("]\n");
    fs::write(Path::new(&directory).join("default_filter.rs"), text).expect("OUT_DIR is writable");
}
