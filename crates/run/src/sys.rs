//! System calls that rustix lacks. The only module with `unsafe`.
#![allow(unsafe_code)]

mod bpf;
mod exit;
pub(crate) mod memory;
pub mod mount;
pub(crate) mod network;
pub mod process;
#[cfg(test)]
mod seccomp;

pub(crate) use bpf::{attach_device_program, load_device_program};
pub use exit::ExitStatus;
#[cfg(test)]
pub(crate) use seccomp::{call, seccomp_filter};

/// The result of libc's `syscall`, with `errno` read at once.
fn result(status: libc::c_long) -> Result<libc::c_long, rustix::io::Errno> {
    if status != -1 {
        return Ok(status);
    }
    let error = std::io::Error::last_os_error();
    Err(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
}
