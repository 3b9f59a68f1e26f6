//! Standard output whose errors are all told.
//!
//! The standard library takes a descriptor that is closed, or not open for writing, for one whose output nobody wants, and
//! says that everything was written. A program whose output was asked for has to say that it was lost. Nothing is kept
//! back here: what has been written without an error has reached the system.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

/// Opens `/dev/null` in place of each standard stream that is closed, as programs in Rust do at their start: otherwise the next
/// file would be taken for it, and messages would be written there.
pub fn fill_closed() {
    for number in 0..3 {
        // SAFETY: the call only asks about a number, which need not be open.
        let is_closed = unsafe { libc::fcntl(number, libc::F_GETFD) } == -1;
        if is_closed {
            // SAFETY: the path ends with a zero. The lowest free number is this one, since those below are open.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
}

/// Standard output, under a number of its own, so that no file that is opened later can take its place.
///
/// # Errors
/// What the system says where it is closed.
pub fn open() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}
