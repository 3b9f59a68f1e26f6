//! Keys and values in int8 with a scale for each group: see [`crate::abi::cache`].
//!
//! Whole groups of [`CACHE_GROUP`] go through vectors; what is left of a row, and groups of another size, which only models with
//! odd widths have, are the scalar twin's.

use std::arch::x86_64::*;

use super::super::scalar::cache::{narrow as narrow_scalar, widen_row as widen_scalar};
use super::load::F32;
use super::matmul::{Call, Kernel};
use super::quantize::{largest, packed};
use super::{dot, strip};
use crate::abi::cache::{GROUP_BYTES, SCALE_BYTES, cache_scale};
use crate::abi::quant::TINY;
use crate::abi::{CACHE_GROUP, MATMUL_SCRATCH};
use crate::kernels::stream::ask_for;

/// [`crate::abi::NarrowFn`].
pub(super) unsafe extern "C" fn narrow(x: *const f32, n: usize, group: usize, out: *mut u8) {
    let whole = whole_groups(n, group);
    for g in 0..whole {
        // SAFETY: the table that holds this function is only used where the instructions are there; the group is the caller's.
        unsafe { narrow_group(x.add(g * CACHE_GROUP), out.add(g * GROUP_BYTES)) }
    }
    let done = whole * CACHE_GROUP;
    // SAFETY: the values after the whole groups are the caller's, and so is the room after theirs.
    unsafe { narrow_scalar(x.add(done), n - done, group, out.add(whole * GROUP_BYTES)) }
}

/// Groups that vectors take.
fn whole_groups(n: usize, group: usize) -> usize {
    if group == CACHE_GROUP {
        n / CACHE_GROUP
    } else {
        0
    }
}

/// # Safety
/// AVX2; a whole group of values is readable, and its bytes writable.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn narrow_group(x: *const f32, out: *mut u8) {
    // SAFETY: the caller gives a group of readable values, and its bytes to be written.
    unsafe {
        let x = [
            _mm256_loadu_ps(x),
            _mm256_loadu_ps(x.add(8)),
            _mm256_loadu_ps(x.add(16)),
            _mm256_loadu_ps(x.add(24)),
        ];
        let most = largest(x);
        let to = out.add(SCALE_BYTES).cast();
        if !most.is_finite() || most < TINY {
            let scale = if most < TINY {
                0
            } else {
                half::bf16::NAN.to_bits()
            };
            out.cast::<[u8; SCALE_BYTES]>().write(scale.to_le_bytes());
            return _mm256_storeu_si256(to, _mm256_setzero_si256());
        }
        let scale = cache_scale(most);
        out.cast::<[u8; SCALE_BYTES]>().write(scale.to_le_bytes());
        let inverse = _mm256_set1_ps(1.0 / scale.to_f32());
        // The processor rounds to the nearest, ties to even, unless it was told otherwise.
        let mut q = [_mm256_setzero_si256(); 4];
        for (q, x) in q.iter_mut().zip(x) {
            *q = _mm256_cvtps_epi32(_mm256_mul_ps(x, inverse));
        }
        _mm256_storeu_si256(to, packed(q));
    }
}

/// [`crate::abi::WidenFn`].
pub(super) unsafe extern "C" fn widen(
    x: *const u8,
    row_bytes: usize,
    rows: usize,
    n: usize,
    group: usize,
    out: *mut f32,
) {
    let whole = whole_groups(n, group);
    let done = whole * CACHE_GROUP;
    for row in 0..rows {
        // SAFETY: the table that holds this function is only used where the instructions are there; rows and groups are the caller's.
        unsafe {
            let (x, out) = (x.add(row * row_bytes), out.add(row * n));
            // The row that is as far behind the last of a call as this one behind the first comes while what is made here is multiplied.
            ask_for(x.wrapping_add(rows * row_bytes), row_bytes);
            widen_groups(x, whole, out);
            if done < n {
                widen_scalar(x.add(whole * GROUP_BYTES), n - done, group, out.add(done));
            }
        }
    }
}

/// # Safety
/// AVX2; `n` whole groups are readable, and there is room for their values.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn widen_groups(x: *const u8, n: usize, out: *mut f32) {
    for g in 0..n {
        // SAFETY: group `g` and its values lie within both arrays.
        unsafe {
            let (x, out) = (x.add(g * GROUP_BYTES), out.add(g * CACHE_GROUP));
            let bits = u32::from(x.cast::<u16>().read_unaligned()) << 16;
            let scale = _mm256_set1_ps(f32::from_bits(bits));
            for i in (0..CACHE_GROUP).step_by(8) {
                let q = _mm_loadl_epi64(x.add(SCALE_BYTES + i).cast());
                let v = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
                _mm256_storeu_ps(out.add(i), _mm256_mul_ps(v, scale));
            }
        }
    }
}

/// Rows that are multiplied along their elements.
pub(super) struct Rows;
/// Rows that are added to each other, weighed.
pub(super) struct Columns;

/// Rows that are made into f32 at once, few enough for the first-level cache.
const AT_ONCE: usize = 32;

/// Calls `body` with a few rows of `width` values after the other as f32 in the call's scratch: how many rows lie in front of them, how many
/// they are, their address, and bytes from one to the next.
///
/// # Safety
/// AVX2; the contract of [`crate::abi::MatmulFn`], of `rows` rows in whole groups.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn widened(
    c: &Call,
    rows: usize,
    width: usize,
    body: impl Fn(usize, usize, *const u8, usize),
) {
    let most = MATMUL_SCRATCH / (width.max(1) * 4);
    let at_once = AT_ONCE.min(most.max(1));
    for first in (0..rows).step_by(at_once) {
        let n = at_once.min(rows - first);
        let from = c.w.wrapping_add(first * c.w_stride);
        // SAFETY: the caller gives the rows, and the scratch has room for them.
        unsafe { widen(from, c.w_stride, n, width, CACHE_GROUP, c.scratch.cast()) };
        body(first, n, c.scratch, width * 4);
    }
}

impl Kernel for Rows {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn run(c: &Call) {
        let part = |first: usize, n: usize, w: *const u8, w_stride: usize| {
            let part = Call {
                w,
                w_stride,
                n,
                out: c.out.wrapping_add(first),
                ..*c
            };
            part.by_few(|c| {
                // SAFETY: rows of floats in scratch, and the places of the caller's result that are theirs.
                unsafe { dot::matmul::<F32, false>(c) }
            });
        };
        // SAFETY: the caller keeps the contract of `MatmulFn`, of rows in whole groups.
        unsafe { widened(c, c.n, c.k, part) }
    }
}

impl Kernel for Columns {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn run(c: &Call) {
        if c.k == 0 {
            // SAFETY: the caller's result.
            return unsafe { c.empty() };
        }
        let part = |first: usize, k: usize, w: *const u8, w_stride: usize| {
            let part = Call {
                x: c.x.wrapping_add(first),
                w,
                w_stride,
                k,
                accumulate: c.accumulate || first > 0,
                ..*c
            };
            part.by_few(|c| {
                // SAFETY: rows of floats in scratch, and the elements of the caller's `x` that are theirs.
                unsafe { strip::matmul::<F32>(c) }
            });
        };
        // SAFETY: the caller keeps the contract of `MatmulFn`, of rows in whole groups.
        unsafe { widened(c, c.k, c.n, part) }
    }
}
