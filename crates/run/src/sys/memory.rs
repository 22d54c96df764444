//! Giving memory back while box does nothing but wait.

use rustix::io::Errno;

unsafe extern "C" {
    // The bounds of the program text, which every linker for ELF defines, end(3).
    static __executable_start: u8;
    static etext: u8;
}

const PAGE: usize = 4096;

/// Takes out of this process' resident memory what the waiting does not need: the program's code and constants, which stay in
/// the page cache and come back when they are used, free memory of the allocator, and the stack below the caller's frame. What
/// the start needed of them is some three megabytes, the waiting a few pages. To be called on the main thread alone. madvise(2)
pub fn release() -> Result<(), Errno> {
    let (start, end) = (
        &raw const __executable_start as usize,
        &raw const etext as usize,
    );
    let (start, end) = (start.next_multiple_of(PAGE), end / PAGE * PAGE);
    split(start, end);
    // SAFETY: it takes a number of bytes to keep.
    unsafe { libc::malloc_trim(0) };
    release_stack()?;
    // Last, as all of this was code to run.
    advise(start, end, libc::MADV_DONTNEED)
}

/// Makes small mappings of a large one, by a flag that every second one has. Since Linux 6.18 one touch brings all of a
/// page cache folio back that lies in one mapping, and that may be two megabytes. The second time nothing changes.
fn split(start: usize, end: usize) {
    const PART: usize = 64 << 10;
    for part in (start..end).step_by(2 * PART) {
        // That leaves a part of the program out of core dumps, and matters so little that it may fail.
        advise(part, end.min(part + PART), libc::MADV_DONTDUMP).ok();
    }
}

/// What deeper calls left below this frame; 256 bytes are enough for the calls from here and what the ABI lets a leaf use there.
#[inline(never)]
fn release_stack() -> Result<(), Errno> {
    /// Far less than the kernel keeps free below a stack, however small its limit is: 128 MiB, mmap_base() in arch/*/mm.
    const DEEPEST: usize = 1 << 20;
    let here = 0u8;
    let end = ((&raw const here as usize).saturating_sub(256)) / PAGE * PAGE;
    advise(end.saturating_sub(DEEPEST), end, libc::MADV_DONTNEED)
}

/// Of the pages in the range; where there are none that is no error.
fn advise(start: usize, end: usize, advice: libc::c_int) -> Result<(), Errno> {
    if start >= end {
        return Ok(());
    }
    // SAFETY: the callers' ranges hold pages that are read from their file again when they are touched, being read-only, and
    // those of the stack that no frame uses.
    let status = unsafe { libc::madvise(start as *mut libc::c_void, end - start, advice) };
    if status == 0 {
        return Ok(());
    }
    match Errno::from_io_error(&std::io::Error::last_os_error()) {
        // Between the parts of the program, and below the stack, nothing is mapped; the rest was done all the same.
        Some(Errno::NOMEM) => Ok(()),
        errno => Err(errno.unwrap_or(Errno::IO)),
    }
}
