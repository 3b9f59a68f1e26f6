//! Panels: sixteen columns of the product's weights as f32, `[k, 16]`, so that a tile reads them in order.
//!
//! Where there are fewer columns, what the others hold is of no account: their results are not kept.

use std::arch::x86_64::*;
use std::ops::Range;

use super::load::{Bf16, F16, F32, Weight};

/// Columns of a panel.
pub(in crate::kernels) const WIDTH: usize = 16;
/// Terms that are transposed at once.
const TERMS: usize = 8;
const LINE_BYTES: usize = 64;

/// Element types whose `[n, k]` weights can be made into panels.
pub(in crate::kernels) trait Transpose: Weight {
    /// Writes [`TERMS`] rows of a panel from as many elements, `offset` bytes into each of `rows`.
    ///
    /// # Safety
    /// AVX2 and F16C; the elements are readable, `panel` is writable for `TERMS · WIDTH` elements.
    unsafe fn transpose(rows: &[*const u8; WIDTH], offset: usize, panel: *mut f32);
}

/// Makes a panel of `cols` rows of `[n, k]` weights, elements `0..k`, and asks for what lies so many bytes `ahead` of each: sixteen runs are too short for the
/// processor's own prefetcher.
///
/// # Safety
/// AVX2 and F16C; `w` is readable for `1..=WIDTH` rows of `k` elements, `panel` writable for `k · WIDTH` elements.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels) unsafe fn transpose<W: Transpose>(
    w: *const u8,
    w_stride: usize,
    cols: usize,
    k: usize,
    ahead: &[usize],
    panel: *mut f32,
) {
    let mut rows = [w; WIDTH];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = w.wrapping_add(r.min(cols - 1) * w_stride);
    }
    let whole = k - k % TERMS;
    for i in (0..whole).step_by(TERMS) {
        if i.is_multiple_of(LINE_BYTES / W::BYTES) {
            for row in rows {
                for ahead in ahead {
                    let at = row.wrapping_add(i * W::BYTES + ahead);
                    _mm_prefetch::<_MM_HINT_T1>(at.cast());
                }
            }
        }
        // SAFETY: elements `i..i + TERMS` are below `k`.
        unsafe { W::transpose(&rows, i * W::BYTES, panel.add(i * WIDTH)) }
    }
    if whole < k {
        // SAFETY: the last elements of each row, and the last rows of the panel.
        unsafe {
            let panel = panel.add(whole * WIDTH);
            transpose_first::<W>(&rows, whole * W::BYTES, k - whole, panel)
        }
    }
}

/// What to ask for while a panel is made of terms from `start` on, in runs of `depth`: 0 stands for the same rows' next run, and 1, in the first run, which nobody
/// has asked for, for the rows of the next panel.
pub(in crate::kernels) fn to_come(start: usize, depth: usize, k: usize) -> Range<usize> {
    usize::from(start + depth >= k)..1 + usize::from(start == 0)
}

/// The same for fewer than [`TERMS`] elements, by way of copies that may be read further.
///
/// # Safety
/// As [`Transpose::transpose`], for `n < TERMS` elements and rows of the panel.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn transpose_first<W: Transpose>(
    rows: &[*const u8; WIDTH],
    offset: usize,
    n: usize,
    panel: *mut f32,
) {
    let mut copies = [[0f32; TERMS]; WIDTH];
    let mut copied = *rows;
    let mut whole = [0f32; TERMS * WIDTH];
    // SAFETY: `n` elements are readable at each row, and `n` rows of the panel writable.
    unsafe {
        for r in 0..WIDTH {
            let copy = copies[r].as_mut_ptr().cast::<u8>();
            copy.copy_from_nonoverlapping(rows[r].add(offset), n * W::BYTES);
            copied[r] = copy;
        }
        W::transpose(&copied, 0, whole.as_mut_ptr());
        panel.copy_from_nonoverlapping(whole.as_ptr(), n * WIDTH);
    }
}

/// Makes a panel of `cols` columns of `[k, n]` weights, rows `0..k`.
///
/// # Safety
/// AVX2 and F16C; `w` is readable for `k` rows of `1..=WIDTH` elements, `panel` writable for `k · WIDTH` elements.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels) unsafe fn copy<W: Weight>(
    w: *const u8,
    w_stride: usize,
    cols: usize,
    k: usize,
    panel: *mut f32,
) {
    for i in 0..k {
        for first in (0..cols).step_by(8) {
            // SAFETY: at least one and at most eight elements from `first` on are below `cols`.
            unsafe {
                let at = w.add(i * w_stride + first * W::BYTES);
                let v = if first + 8 <= cols {
                    W::load(at)
                } else {
                    W::load_first(at, cols - first)
                };
                _mm256_storeu_ps(panel.add(i * WIDTH + first), v);
            }
        }
    }
}

impl Transpose for F32 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn transpose(rows: &[*const u8; WIDTH], offset: usize, panel: *mut f32) {
        for half in [0, 8] {
            // SAFETY: the caller gives eight elements of each row, and a panel of as many rows.
            unsafe {
                let mut v = [_mm256_setzero_ps(); TERMS];
                for (r, v) in v.iter_mut().enumerate() {
                    *v = F32::load(rows[half + r].add(offset));
                }
                for (i, v) in transposed(v).into_iter().enumerate() {
                    _mm256_storeu_ps(panel.add(i * WIDTH + half), v);
                }
            }
        }
    }
}

impl Transpose for Bf16 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn transpose(r: &[*const u8; WIDTH], offset: usize, panel: *mut f32) {
        // So that the halves of each term's elements, interleaved with zeros, are columns 0 ..= 7 and 8 ..= 15.
        let low = [r[0], r[1], r[2], r[3], r[8], r[9], r[10], r[11]];
        let high = [r[4], r[5], r[6], r[7], r[12], r[13], r[14], r[15]];
        let zero = _mm256_setzero_si256();
        // SAFETY: the caller gives eight elements of each row, and a panel of as many rows.
        unsafe {
            for (i, v) in transposed_halves(low, high, offset).into_iter().enumerate() {
                let (a, b) = (
                    _mm256_unpacklo_epi16(zero, v),
                    _mm256_unpackhi_epi16(zero, v),
                );
                _mm256_storeu_ps(panel.add(i * WIDTH), _mm256_castsi256_ps(a));
                _mm256_storeu_ps(panel.add(i * WIDTH + 8), _mm256_castsi256_ps(b));
            }
        }
    }
}

impl Transpose for F16 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn transpose(r: &[*const u8; WIDTH], offset: usize, panel: *mut f32) {
        let low = [r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]];
        let high = [r[8], r[9], r[10], r[11], r[12], r[13], r[14], r[15]];
        // SAFETY: the caller gives eight elements of each row, and a panel of as many rows.
        unsafe {
            for (i, v) in transposed_halves(low, high, offset).into_iter().enumerate() {
                let (a, b) = (_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
                _mm256_storeu_ps(panel.add(i * WIDTH), _mm256_cvtph_ps(a));
                _mm256_storeu_ps(panel.add(i * WIDTH + 8), _mm256_cvtph_ps(b));
            }
        }
    }
}

/// Eight elements of 16 bits from each of eight rows, element `i` of all of them in vector `i`; the lower and the upper half
/// of the vectors separately.
///
/// # Safety
/// AVX2; 16 bytes are readable `offset` bytes into each of the rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn transposed_halves(
    low: [*const u8; 8],
    high: [*const u8; 8],
    offset: usize,
) -> [__m256i; 8] {
    let mut r = [_mm256_setzero_si256(); 8];
    for (i, r) in r.iter_mut().enumerate() {
        // SAFETY: the caller gives 16 readable bytes at `offset` of each of the eight rows.
        *r = unsafe { _mm256_loadu2_m128i(high[i].add(offset).cast(), low[i].add(offset).cast()) };
    }
    let pairs = |i: usize| {
        let (a, b) = (r[2 * i], r[2 * i + 1]);
        (_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b))
    };
    let fours = |a, b| (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let eights = |a, b| (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let ((a0, a1), (b0, b1), (c0, c1), (d0, d1)) = (pairs(0), pairs(1), pairs(2), pairs(3));
    let (upper, lower) = (
        [fours(a0, b0), fours(a1, b1)],
        [fours(c0, d0), fours(c1, d1)],
    );
    let two = |i: usize| {
        (
            eights(upper[i].0, lower[i].0),
            eights(upper[i].1, lower[i].1),
        )
    };
    let (((t0, t1), (t2, t3)), ((t4, t5), (t6, t7))) = (two(0), two(1));
    [t0, t1, t2, t3, t4, t5, t6, t7]
}

/// Element `i` of row `j` becomes element `j` of row `i`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn transposed(r: [__m256; 8]) -> [__m256; 8] {
    let pairs = |i: usize| {
        let (a, b) = (r[2 * i], r[2 * i + 1]);
        (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b))
    };
    let ((a0, a1), (b0, b1), (c0, c1), (d0, d1)) = (pairs(0), pairs(1), pairs(2), pairs(3));
    let low = |x, y| _mm256_shuffle_ps::<0x44>(x, y);
    let high = |x, y| _mm256_shuffle_ps::<0xee>(x, y);
    let upper = [low(a0, b0), high(a0, b0), low(a1, b1), high(a1, b1)];
    let lower = [low(c0, d0), high(c0, d0), low(c1, d1), high(c1, d1)];
    let first = |i: usize| _mm256_permute2f128_ps::<0x20>(upper[i], lower[i]);
    let second = |i: usize| _mm256_permute2f128_ps::<0x31>(upper[i], lower[i]);
    [
        first(0),
        first(1),
        first(2),
        first(3),
        second(0),
        second(1),
        second(2),
        second(3),
    ]
}
