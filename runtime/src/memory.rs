//! Anonymous memory that is reserved as addresses and committed as it is touched.
//!
//! Arenas, sequence state and logits are sized for the worst case; only what a run touches costs anything.

use memmap2::{MmapMut, MmapOptions, MmapRaw};

use crate::error::Error;

/// Grain at which memory is committed, copied and cleared.
pub(crate) const PAGE: usize = 4096;

/// `n` rounded up to a multiple of `to`.
pub(crate) fn round_up(n: usize, to: usize) -> Option<usize> {
    n.checked_next_multiple_of(to)
}

/// A run of zeroed bytes, page-aligned, that this process may read and write.
pub(crate) struct Region {
    map: MmapRaw,
}

impl From<MmapMut> for Region {
    fn from(map: MmapMut) -> Region {
        Region { map: map.into() }
    }
}

impl Region {
    /// Reserves `bytes` bytes (at least one) for `what`.
    pub(crate) fn reserve(what: &'static str, bytes: usize) -> Result<Self, Error> {
        let map = MmapOptions::new()
            .len(bytes.max(1))
            .no_reserve_swap()
            .map_anon();
        match map {
            Ok(map) => Ok(Region { map: map.into() }),
            Err(source) => Err(Error::Memory {
                what,
                bytes,
                source,
            }),
        }
    }

    /// Asks for large pages where the system has them; worth it for memory that is used as a whole.
    pub(crate) fn large_pages(self) -> Self {
        // Only a wish: a kernel without large pages says no, and nothing else changes.
        #[cfg(target_os = "linux")]
        let _ = self.map.advise(memmap2::Advice::HugePage);
        self
    }

    /// First byte.
    pub(crate) fn as_mut_ptr(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Bytes `offset..offset + len`; panics when they are not inside.
    ///
    /// # Safety
    /// Nothing writes to these bytes while the slice lives.
    pub(crate) unsafe fn slice(&self, offset: usize, len: usize) -> &[u8] {
        self.check(offset, len);
        // SAFETY: the range is inside the mapping (checked), which is initialised (zeros), and the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(self.as_mut_ptr().add(offset), len) }
    }

    /// Bytes `offset..offset + len`, to be written; panics when they are not inside.
    pub(crate) fn slice_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        self.check(offset, len);
        // SAFETY: the range is inside the mapping (checked), and `&mut self` is the only way to it while the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().add(offset), len) }
    }

    /// Sets bytes to zero and, where that is possible, gives their memory back. Both numbers are multiples of [`PAGE`].
    pub(crate) fn clear_pages(&mut self, offset: usize, len: usize) {
        self.check(offset, len);
        debug_assert!(offset.is_multiple_of(PAGE) && len.is_multiple_of(PAGE));
        #[cfg(target_os = "linux")]
        {
            // SAFETY: the range is inside the mapping (checked); the pages are private and anonymous, so that they read as zeros
            // afterwards, and `&mut self` says that nobody holds a reference to them.
            let cleared = unsafe {
                self.map
                    .unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, len)
            };
            if cleared.is_ok() {
                return;
            }
        }
        self.slice_mut(offset, len).fill(0);
    }

    fn check(&self, offset: usize, len: usize) {
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.len());
        assert!(
            fits,
            "bytes {offset}..+{len} of a region of {} bytes",
            self.len()
        );
    }
}
