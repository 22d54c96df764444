//! Memory that two processes see, and giving memory back while box does nothing but wait.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;

unsafe extern "C" {
    // The bounds of the program text, which every linker for ELF defines, end(3).
    static __executable_start: u8;
    static etext: u8;
}

/// Takes the program's own code out of this process' resident memory; it stays in the page cache and comes back when it
/// is run. What the start needed of it is some two megabytes, the waiting a few pages. madvise(2), MADV_DONTNEED
pub fn release_program() -> Result<(), Errno> {
    let (start, end) = (
        &raw const __executable_start as usize,
        &raw const etext as usize,
    );
    let (start, end) = (start.next_multiple_of(PAGE), end / PAGE * PAGE);
    if start >= end {
        return Ok(());
    }
    // SAFETY: the range is file-backed, read-only and private: the kernel reads it again from the file when it is touched.
    let status =
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    if status == -1 {
        match Errno::from_io_error(&std::io::Error::last_os_error()) {
            // The linker left gaps between the parts; the rest is done all the same, madvise(2).
            Some(Errno::NOMEM) => {}
            errno => return Err(errno.unwrap_or(Errno::IO)),
        }
    }
    // SAFETY: it takes a number of bytes to keep.
    unsafe { libc::malloc_trim(0) };
    Ok(())
}

/// As [`release_program`], and more, for a process that stays for long: all pages that the kernel can read again from a file, and the
/// stack that is not in use any more.
pub fn release_all() -> Result<(), Errno> {
    let maps = std::fs::read_to_string("/proc/self/smaps")
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let here = &raw const maps as usize;
    let mut mapping: Option<(usize, usize, bool)> = None;
    for line in maps.lines() {
        if let Some(range) = range(line) {
            mapping = Some((range.0, range.1, line.ends_with("[stack]")));
            continue;
        }
        match mapping {
            // What is below this frame, and some room for those that it calls.
            Some((start, _, true)) => {
                release(start, here.saturating_sub(16 * PAGE) / PAGE * PAGE)?;
                mapping = None;
            }
            // Never written to: what was, such as relocated tables, exists nowhere else.
            Some((start, end, false)) if line.starts_with("Anonymous:") => {
                if line.split_whitespace().nth(1) == Some("0") {
                    split(start, end);
                    release(start, end)?;
                }
                mapping = None;
            }
            _ => {}
        }
    }
    drop(maps);
    // SAFETY: it takes a number of bytes to keep.
    unsafe { libc::malloc_trim(0) };
    Ok(())
}

const PAGE: usize = 4096;

/// The range at the beginning of a line, proc_pid_maps(5); only of those mappings that have a file or are the stack.
fn range(line: &str) -> Option<(usize, usize)> {
    let (start, rest) = line.split_once('-')?;
    let (end, rest) = rest.split_once(' ')?;
    let ours = rest.contains(" /") || rest.ends_with("[stack]");
    let number = |text: &str| usize::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?)).filter(|_| ours)
}

/// Makes small mappings of a large one, by a flag that every second one has. Since Linux 6.18 one touch brings all of a
/// page cache folio back that lies in one mapping, and that may be two megabytes.
fn split(start: usize, end: usize) {
    const PART: usize = 64 << 10;
    for part in (start..end).step_by(2 * PART) {
        let length = PART.min(end - part);
        // SAFETY: it only leaves a part of the program out of core dumps, and matters so little that it may fail.
        unsafe { libc::madvise(part as *mut libc::c_void, length, libc::MADV_DONTDUMP) };
    }
}

fn release(start: usize, end: usize) -> Result<(), Errno> {
    if start >= end {
        return Ok(());
    }
    // SAFETY: the caller has found that nothing in there was written to, or that it is the unused part of the stack.
    let status =
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    if status == -1 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(())
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
