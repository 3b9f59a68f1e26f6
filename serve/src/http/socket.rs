//! What sockets are told beyond what the library tells them: when to give a silent client up, and how many there may be.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Gives a connection up whose other end takes nothing for so long.
pub(super) fn give_up_after(stream: &impl AsRawFd, time: Duration) -> io::Result<()> {
    let millis = libc::c_uint::try_from(time.as_millis()).unwrap_or(libc::c_uint::MAX);
    // SAFETY: the descriptor is open while `stream` lives, and the option takes a number of this size.
    let failed = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_USER_TIMEOUT,
            (&raw const millis).cast(),
            size_of::<libc::c_uint>() as libc::socklen_t,
        )
    };
    match failed {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Connections that may wait to be accepted. Where they are more, clients try again a second later.
const WAITING: libc::c_int = 4096;

/// Lets more connections wait to be accepted than the library does.
pub(super) fn let_wait(listener: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: the descriptor is open while `listener` lives; a socket that listens may be told again.
    match unsafe { libc::listen(listener.as_raw_fd(), WAITING) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Allows this process as many open files as the system lets it have, and returns how many those are.
pub(super) fn allow_files() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is this function's own.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 1024;
    }
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
        0 => limit.rlim_cur,
        _ => before,
    }
}

/// From now on, writing to a connection that the other end has closed is an error rather than the end of the process.
pub(super) fn ignore_closed() {
    // SAFETY: a signal may always be ignored.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}
