//! Giving memory back while box does nothing but wait.

use rustix::io::Errno;

unsafe extern "C" {
    // The bounds of the program text, which every linker for ELF defines, end(3).
    static __executable_start: u8;
    static etext: u8;
}

/// Takes the program's own code out of this process' resident memory; it stays in the page cache and comes back when it
/// is run. What the start needed of it is some two megabytes, the waiting a few pages. madvise(2), MADV_DONTNEED
pub fn release_program() -> Result<(), Errno> {
    const PAGE: usize = 4096;
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
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    // SAFETY: it takes a number of bytes to keep.
    unsafe { libc::malloc_trim(0) };
    Ok(())
}
