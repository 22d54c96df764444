//! mount_setattr(2), which rustix lacks, and helpers for mounts.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;

use super::result;

/// The argument of mount_setattr(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 for no change.
    pub propagation: u64,
    /// The user namespace of `MOUNT_ATTR_IDMAP`.
    pub userns_fd: u64,
}

/// Changes the mount of a descriptor, and those below it if `recursive`.
pub fn set_attributes(
    mount: BorrowedFd<'_>,
    attributes: &Attributes,
    recursive: bool,
) -> Result<(), Errno> {
    mount_setattr(mount, c"", libc::AT_EMPTY_PATH, attributes, recursive)
}

/// The same for the mount at a path.
pub(crate) fn set_attributes_of(
    path: &CStr,
    attributes: &Attributes,
    recursive: bool,
) -> Result<(), Errno> {
    mount_setattr(CWD, path, 0, attributes, recursive)
}

fn mount_setattr(
    directory: BorrowedFd<'_>,
    path: &CStr,
    flags: libc::c_int,
    attributes: &Attributes,
    recursive: bool,
) -> Result<(), Errno> {
    let flags = flags | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string and the structure is laid out and as long as the kernel expects.
    let status = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_raw_fd(),
            path.as_ptr(),
            flags,
            attributes,
            size_of::<Attributes>(),
        )
    };
    result(status).map(drop)
}

/// Makes all mounts private, so that changes do not reach the namespace that this one was copied from.
pub fn make_private() -> Result<(), Errno> {
    rustix::mount::mount_change(
        c"/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
}

/// `/proc/self/fd/N` without allocating.
pub(crate) fn descriptor_path(buffer: &mut [u8; 32], descriptor: i32) -> &CStr {
    const HEAD: &[u8] = b"/proc/self/fd/";
    buffer[..HEAD.len()].copy_from_slice(HEAD);
    let mut digits = [0u8; 10];
    let (mut number, mut count) = (descriptor.unsigned_abs(), 0);
    while count == 0 || number > 0 {
        digits[count] = b'0' + (number % 10) as u8;
        number /= 10;
        count += 1;
    }
    for (place, digit) in buffer[HEAD.len()..]
        .iter_mut()
        .zip(digits[..count].iter().rev())
    {
        *place = *digit;
    }
    buffer[HEAD.len() + count] = 0;
    CStr::from_bytes_until_nul(buffer).expect("a zero byte was just written")
}
