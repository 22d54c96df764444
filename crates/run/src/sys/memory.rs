//! Memory that two processes share, and releasing memory while box only waits.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;

unsafe extern "C" {
    // The bounds of the program text, which every linker for ELF defines, end(3).
    static __executable_start: u8;
    static etext: u8;
}

const PAGE: usize = 4096;

/// Releases resident memory that a waiting process does not need: the program's code and constants, free memory of the allocator,
/// and the stack below the caller's frame. Must be called on the main thread, while there is no other. madvise(2)
///
/// A process of box stays for as long as its container runs. A start makes some three megabytes resident, and waiting needs a few
/// pages of them: with this a monitor takes 0.66 MB, see docs/containers.md.
///
/// That this function advises away the pages that it runs on is sound. The code is a private, read-only mapping of a file, so a
/// page that is touched again is mapped from the page cache, at the cost of a minor fault. To save these faults, the code comes last.
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
    advise(start, end, libc::MADV_DONTNEED)
}

/// Splits the mapping of the code into small ones, by a flag that every second one gets. Since Linux 6.18 one touch maps a whole
/// folio of the page cache, up to two megabytes, as far as it lies in one mapping. A second call changes nothing.
fn split(start: usize, end: usize) {
    const PART: usize = 64 << 10;
    for part in (start..end).step_by(2 * PART) {
        // The flag only leaves a part of the code out of core dumps. A failure does not matter.
        advise(part, end.min(part + PART), libc::MADV_DONTDUMP).ok();
    }
}

/// Releases the stack below this frame, which deeper calls have used. It spares 256 bytes, enough for the calls from here and for the
/// red zone that the ABI allows a leaf function.
#[inline(never)]
fn release_stack() -> Result<(), Errno> {
    /// Far less than the kernel keeps free below a stack, however small its limit is: 128 MiB, mmap_base() in arch/*/mm.
    const DEEPEST: usize = 1 << 20;
    let here = 0u8;
    let end = ((&raw const here as usize).saturating_sub(256)) / PAGE * PAGE;
    advise(end.saturating_sub(DEEPEST), end, libc::MADV_DONTNEED)
}

/// Calls madvise(2) for the mapped pages of a range. Unmapped ones are not an error.
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
        // Nothing is mapped between the parts of the program and below the stack. The call has handled the other pages.
        Some(Errno::NOMEM) => Ok(()),
        errno => Err(errno.unwrap_or(Errno::IO)),
    }
}

/// A number that this process shares with those that it clones afterwards; 0 at first. mmap(2), MAP_SHARED
#[derive(Debug)]
pub struct SharedNumber(NonNull<AtomicU32>);

impl SharedNumber {
    /// Maps a page for it, which the kernel allocates at the first write.
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
