//! Memory of which nothing can be read or written beyond its end: each piece ends where a page begins that is mapped to
//! nothing.

use std::io;

use crate::abi::WeightInfo;
use crate::error::Error;
use crate::memory::{PAGE, Region, round_up};
use crate::sizes::sized;

/// Weight slots, each a copy that ends at a guard page.
pub(crate) struct GuardedWeights {
    #[expect(dead_code, reason = "holds the bytes in place")]
    region: Region,
    pointers: Vec<*const u8>,
}

impl GuardedWeights {
    /// Copies the slots that `pointers` point to.
    ///
    /// # Safety
    /// `pointers[i]` has `infos[i].bytes` readable bytes.
    pub(crate) unsafe fn copy(
        pointers: &[*const u8],
        infos: &[WeightInfo],
    ) -> Result<GuardedWeights, Error> {
        let ends: Option<Vec<usize>> = infos
            .iter()
            .scan(Some(0usize), |next, info| {
                let end = next.and_then(|n| n.checked_add(round_up(info.bytes, PAGE)?));
                *next = end.and_then(|end| end.checked_add(PAGE));
                Some(end)
            })
            .collect();
        let total = ends
            .as_ref()
            .map(|e| e.last().map_or(PAGE, |end| end + PAGE));
        let total = sized("guarded weights", total)?;
        let region = Region::reserve("guarded weights", total)?;
        let mut own = Vec::with_capacity(infos.len());
        for ((end, info), from) in ends.into_iter().flatten().zip(infos).zip(pointers) {
            let to = region.as_mut_ptr().wrapping_add(end - info.bytes);
            // SAFETY: the caller vouches for what is read; what is written lies before `end`, inside the region, and nobody
            // else has it yet.
            unsafe { std::ptr::copy_nonoverlapping(*from, to, info.bytes) };
            protect(&region, end, true)?;
            own.push(to.cast_const());
        }
        Ok(GuardedWeights {
            region,
            pointers: own,
        })
    }

    /// Where each slot begins.
    pub(crate) fn pointers(&self) -> &[*const u8] {
        &self.pointers
    }
}

/// Takes all rights to the page at `offset` away, or gives them back.
pub(crate) fn protect(region: &Region, offset: usize, guard: bool) -> Result<(), Error> {
    assert!(
        offset.is_multiple_of(PAGE) && offset + PAGE <= region.len(),
        "a page of the region"
    );
    let rights = match guard {
        true => libc::PROT_NONE,
        false => libc::PROT_READ | libc::PROT_WRITE,
    };
    let at = region.as_mut_ptr().wrapping_add(offset);
    // SAFETY: one page inside the region (checked), whose bytes nobody reaches through a reference while its rights change:
    // guard pages hold nothing.
    match unsafe { libc::mprotect(at.cast(), PAGE, rights) } {
        0 => Ok(()),
        _ => Err(Error::Memory {
            what: "guard pages",
            bytes: PAGE,
            source: io::Error::last_os_error(),
        }),
    }
}
