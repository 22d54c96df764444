//! bpf(2), for the programs that confine devices on cgroup v2.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// Loads an eBPF program that decides about device access, `BPF_PROG_TYPE_CGROUP_DEVICE`. See
/// <https://man7.org/linux/man-pages/man2/bpf.2.html>.
pub fn load_device_program(instructions: &[u64]) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
    }
    const CGROUP_DEVICE: u32 = 15;
    let license = c"Apache";
    let attributes = Load {
        prog_type: CGROUP_DEVICE,
        insn_cnt: u32::try_from(instructions.len()).map_err(|_| Errno::INVAL)?,
        insns: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    const PROG_LOAD: libc::c_int = 5;
    // SAFETY: the kernel reads `size_of::<Load>()` bytes of attributes, the instructions and the licence they point at, all of
    // which outlive the call (bpf(2)).
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_LOAD,
            &raw const attributes,
            size_of::<Load>(),
        )
    };
    let descriptor = super::result(descriptor)?;
    // SAFETY: the kernel has just returned this descriptor, and it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
}

/// Attaches a device program to a cgroup, in addition to existing ones. Access needs the consent of all.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: &OwnedFd) -> Result<(), Errno> {
    #[repr(C)]
    struct Attach {
        target_fd: u32,
        attach_bpf_fd: u32,
        attach_type: u32,
        attach_flags: u32,
    }
    const ATTACH_CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 1 << 1;
    const PROG_ATTACH: libc::c_int = 8;
    let attributes = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_fd().as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI,
    };
    // SAFETY: the kernel reads `attributes` within its size (bpf(2)).
    let status = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_ATTACH,
            &raw const attributes,
            size_of::<Attach>(),
        )
    };
    super::result(status).map(drop)
}
