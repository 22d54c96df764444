//! Compiles the default seccomp policy to BPF, so that a start need not, and the program that replaces box in containers.

#![allow(clippy::print_stdout)] // instructions to cargo are printed
use std::{env, fmt::Write as _, fs, path::Path, process::Command};

#[path = "src/privileges/seccomp"]
#[allow(dead_code)]
mod seccomp {
    pub mod bpf;
    pub mod default;
    pub mod policy;
    pub mod syscalls;
}

use seccomp::{bpf, default, policy::Arch, syscalls::Table};

/// `capabilities::Set::DEFAULT`; a unit test compares the two.
const DEFAULT_CAPABILITIES: u64 = 0x8004_25fb;

fn main() {
    println!("cargo::rerun-if-changed=src/privileges/seccomp");
    println!("cargo::rerun-if-changed=build.rs");
    let target = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it for build scripts");
    let directory = env::var("OUT_DIR").expect("cargo sets it for build scripts");
    // Without a table for the architecture the slice stays empty, and a start reports that.
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
    let directory = Path::new(&directory);
    fs::write(directory.join("default_filter.rs"), text).expect("OUT_DIR is writable");
    compile_sealed(&directory.join("sealed"));
}

/// Compiles a static program of a few kilobytes without any library, which is executed from memory.
fn compile_sealed(out: &Path) {
    println!("cargo::rerun-if-changed=src/sealed");
    let variable = |name| env::var_os(name).expect("cargo sets it for build scripts");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc
        .args([
            "--crate-name=box_init",
            "--crate-type=bin",
            "--edition=2024",
        ])
        .args([
            "-Copt-level=s",
            "-Cpanic=abort",
            "-Cstrip=symbols",
            "-Crelocation-model=static",
        ])
        .args([
            "-Clink-arg=-nostartfiles",
            "-Clink-arg=-nostdlib",
            "-Clink-arg=-static",
        ])
        .args([
            "-Clink-arg=-Wl,--build-id=none",
            "-Clink-arg=-Wl,-z,noexecstack",
        ])
        .arg("--target")
        .arg(variable("TARGET"))
        .arg("-o")
        .arg(out)
        .arg("src/sealed/program.rs");
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut chosen = std::ffi::OsString::from("-Clinker=");
        chosen.push(linker);
        rustc.arg(chosen);
    }
    let status = rustc.status().expect("rustc runs, it compiled this");
    assert!(
        status.success(),
        "src/sealed/program.rs does not compile: {status}"
    );
}
