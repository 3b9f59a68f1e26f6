//! Whether the system lets a process run code that it has just written.
//!
//! Hardened systems do not: systemd's `MemoryDenyWriteExecute`, SELinux without `execmem`, `PR_SET_MDWE`. Cranelift's arena
//! panics there, and where there is no memory for it, so both are tried on the same amount of memory before it is asked.

use std::io;

use super::error::JitError;

/// Address space for code made in memory, in bytes: functions must lie near each other.
pub(super) const ARENA: usize = 64 << 20;

/// Takes memory as the arena does, gives it the arena's rights in turn, and gives it back.
pub(super) fn check() -> Result<(), JitError> {
    // SAFETY: a private mapping of its own at an address that the system chooses touches nothing that exists.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            ARENA,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(no_memory(io::Error::last_os_error()));
    }
    let protect = |rights| {
        // SAFETY: the mapping is this function's own, and nothing refers into it.
        match unsafe { libc::mprotect(start, ARENA, rights) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    let outcome = protect(libc::PROT_READ | libc::PROT_WRITE)
        .map_err(no_memory)
        .and_then(|()| {
            let runs = protect(libc::PROT_READ | libc::PROT_EXEC);
            runs.map_err(|source| JitError::Forbidden { source })
        });
    // SAFETY: as above. A mapping that stays costs address space, nothing else.
    unsafe { libc::munmap(start, ARENA) };
    outcome
}

fn no_memory(source: io::Error) -> JitError {
    JitError::NoMemory {
        bytes: ARENA,
        source,
    }
}
