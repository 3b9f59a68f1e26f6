//! Reading weights in one long stream.
//!
//! Processors find such a stream by themselves. They stop at the end of a page, so that the beginnings of pages to come are asked
//! for; where pages are large, that costs nothing. Some read a stream faster that is asked for line by line, and others much slower:
//! [`Ahead`] is that choice.

use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

use super::Ahead;

const LINE_BYTES: usize = 64;
const PAGE_BYTES: usize = 4096;
/// Lines of a page that are asked for: by then the processor has seen where the stream goes.
const FIRST_LINES: usize = 4;
/// How far ahead of use.
const AHEAD_BYTES: usize = 2048;
/// The same for who asks for every line, of one stream and of each of several that are read side by side.
const LINES_AHEAD_BYTES: usize = 4096;
const LINES_AHEAD_BYTES_OF_EACH: usize = 2048;

/// Asks for `bytes` bytes at `at`, into the second-level cache.
#[inline(always)]
pub(super) fn ask_for(at: *const u8, bytes: usize) {
    for offset in (0..bytes).step_by(LINE_BYTES) {
        // SAFETY: a request reads nothing, and is ignored where nothing is mapped.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(offset).cast()) };
    }
}

/// Asks, in one way or the other, for what one of `streams` comes to that is about to read `bytes` bytes at `at`.
#[inline(always)]
pub(super) fn fetch(ahead: Ahead, at: *const u8, bytes: usize, streams: usize) {
    match ahead {
        Ahead::Pages => fetch_pages(at, bytes),
        Ahead::Lines => fetch_lines(at, bytes, streams),
    }
}

/// Asks line by line for what one of `streams`, which is about to read `bytes` bytes at `at`, comes to when it is further by
/// [`LINES_AHEAD_BYTES`], or by [`LINES_AHEAD_BYTES_OF_EACH`] where it is not alone. Asking for a line twice costs nearly nothing.
#[inline(always)]
pub(super) fn fetch_lines(at: *const u8, bytes: usize, streams: usize) {
    let ahead = match streams {
        1 => LINES_AHEAD_BYTES,
        _ => LINES_AHEAD_BYTES_OF_EACH,
    };
    ask_for(at.wrapping_add(ahead), bytes);
}

/// Asks for the beginnings of the pages that a stream, about to read `bytes` bytes at `at`, comes to when it is further by
/// [`AHEAD_BYTES`].
///
/// The lines go to the second-level cache: requests to the first-level one keep its few slots for misses busy.
#[inline(always)]
pub(super) fn fetch_pages(at: *const u8, bytes: usize) {
    let from = at.addr() + AHEAD_BYTES;
    for page in (from.next_multiple_of(PAGE_BYTES)..from + bytes).step_by(PAGE_BYTES) {
        ask_for(at.with_addr(page), FIRST_LINES * LINE_BYTES);
    }
}
