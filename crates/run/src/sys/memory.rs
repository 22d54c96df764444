//! Memory that two processes see, and giving memory back while box does nothing but wait.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

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

/// A number that this process and those it clones afterwards all see; 0 at first. mmap(2), MAP_SHARED
#[derive(Debug)]
pub struct SharedNumber(NonNull<AtomicU32>);

impl SharedNumber {
    /// A page of its own, made when it is first written to.
    pub fn new() -> Result<Self, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping wherever the kernel has room; nothing that exists is touched.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(
                Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOMEM)
            );
        }
        NonNull::new(page.cast()).map(Self).ok_or(Errno::NOMEM)
    }

    /// Changes it.
    pub fn set(&self, number: u32) {
        self.number().store(number, Ordering::Release);
    }

    /// Reads it.
    pub fn get(&self) -> u32 {
        self.number().load(Ordering::Acquire)
    }

    fn number(&self) -> &AtomicU32 {
        // SAFETY: the mapping lives as long as this value, is aligned to a page, and zeroes are a valid number; all who
        // see it use it by atomic operations alone.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedNumber {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `new` with this length, and no reference to it outlives this value.
        unsafe { libc::munmap(self.0.as_ptr().cast(), PAGE) };
    }
}
