//! What a call of a micro-kernel would touch, and whether it may.

use std::cell::Cell;

use super::{Checker, live::Live};
use crate::abi::{Arranged, KernelTable};

thread_local! {
    /// The checker and the thread's own part of it, while the thread runs a checked step.
    static CURRENT: Cell<Option<(*const Checker, *mut Live)>> = const { Cell::new(None) };
}

/// Says on whose behalf this thread calls micro-kernels from now on.
pub(super) fn set_current(current: Option<(*const Checker, *mut Live)>) {
    CURRENT.set(current);
}

/// One call of a micro-kernel: the bytes it would touch so far are all allowed.
pub(super) struct Call {
    checker: *const Checker,
    live: *mut Live,
    name: &'static str,
    pub(super) fits: bool,
}

impl Call {
    pub(super) fn begin(name: &'static str) -> Call {
        let (checker, live) = CURRENT.get().expect("called within a checked step");
        Call {
            checker,
            live,
            name,
            fits: true,
        }
    }

    pub(super) fn inner(&self) -> &'static KernelTable {
        // SAFETY: `set_current` was given a thread's own part of a checker, which outlives the step, and nobody else uses it.
        unsafe { (*self.live).inner }
    }

    fn touches(&mut self, at: *const u8, bytes: Option<usize>, write: bool) {
        // SAFETY: as in `inner`; the checker itself is shared and outlives the step too.
        let (checker, live) = unsafe { (&*self.checker, &*self.live) };
        let at = at as usize;
        let allowed = bytes.is_some_and(|bytes| live.allows(at, bytes, write));
        if !allowed {
            let bytes = bytes.unwrap_or(usize::MAX);
            checker.report(live, Some(self.name), at, bytes, write);
            self.fits = false;
        }
    }

    pub(super) fn reads<T>(&mut self, at: *const T, count: usize) {
        self.touches(at.cast(), count.checked_mul(size_of::<T>()), false);
    }

    pub(super) fn writes<T>(&mut self, at: *mut T, count: usize) {
        let bytes = count.checked_mul(size_of::<T>());
        self.touches(at.cast_const().cast(), bytes, true);
    }

    /// What is arranged of `rows` rows of `k` activations, if it is there.
    pub(super) fn arranged(&mut self, of: Arranged, at: *const u8, rows: usize, k: usize) {
        if !at.is_null() {
            self.reads(at, of.room(rows, k));
        }
    }

    /// `rows` rows of `bytes` bytes, `stride` bytes apart.
    pub(super) fn rows(
        &mut self,
        at: *const u8,
        rows: usize,
        stride: usize,
        bytes: usize,
        write: bool,
    ) {
        if rows == 0 || bytes == 0 {
            return;
        }
        // SAFETY: as in `touches`.
        let live = unsafe { &*self.live };
        let span = stride
            .checked_mul(rows - 1)
            .and_then(|n| n.checked_add(bytes));
        // Rows of one dense run are looked at together.
        if span.is_some_and(|span| live.allows(at as usize, span, write)) {
            return;
        }
        for row in 0..rows {
            self.touches(
                at.wrapping_add(row.wrapping_mul(stride)),
                Some(bytes),
                write,
            );
            if !self.fits {
                return;
            }
        }
    }
}
