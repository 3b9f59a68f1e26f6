//! Rows of floats, and cached rows of integers, as vectors of sixteen f32.

use std::arch::x86_64::*;

use super::load::{Weight16, both};
use crate::abi::cache::{GROUP_BYTES, SCALE_BYTES};
use crate::abi::{CACHE_GROUP, CacheType};
use crate::kernels::avx2;
use crate::kernels::avx2::matmul::Call;

/// Rows that are multiplied along their elements, two at a time.
pub(super) trait Pairs {
    /// Bytes of 32 elements of a row.
    const BLOCK_BYTES: usize;
    /// What 32 elements of two rows are multiplied with.
    type Scales: Copy;
    /// A value that is never used.
    const NO_SCALES: Self::Scales;

    /// The factors of elements `i..i + 32`, `i` being a multiple of 32.
    ///
    /// # Safety
    /// AVX-512 with BW and VL; the rows have element `i`.
    unsafe fn scales(rows: [*const u8; 2], i: usize) -> Self::Scales;

    /// Elements `i..i + 8` of the first row, then of the second; `i` is a multiple of 8.
    ///
    /// # Safety
    /// AVX-512 with BW and VL; the rows have these elements.
    unsafe fn eight(rows: [*const u8; 2], i: usize, scales: Self::Scales) -> __m512;

    /// Elements `i..i + n` of the first row and zeros, then of the second, and zeros; `n` is below eight. Rows in groups have no such end.
    ///
    /// # Safety
    /// As [`Pairs::eight`], of `n` elements.
    unsafe fn last(rows: [*const u8; 2], i: usize, n: usize) -> __m512;
}

/// Rows that are added to each other, weighed.
pub(super) trait Strips {
    /// Bytes of the first `n` elements of a row.
    fn bytes(n: usize) -> usize;

    /// Elements `i..i + 32` of a row, `i` being a multiple of 32.
    ///
    /// # Safety
    /// AVX-512 with BW and VL; the row has these elements.
    unsafe fn strip(row: *const u8, i: usize) -> [__m512; 2];

    /// The columns of a product from `col` on, fewer than 32. Rows in groups have none.
    ///
    /// # Safety
    /// AVX-512 with BW and VL; the contract of [`crate::abi::MatmulFn`].
    unsafe fn rest(c: &Call, col: usize);
}

impl<W: Weight16> Pairs for W {
    const BLOCK_BYTES: usize = 32 * W::BYTES;
    type Scales = ();
    const NO_SCALES: () = ();

    #[inline]
    unsafe fn scales(_: [*const u8; 2], _: usize) {}

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn eight([a, b]: [*const u8; 2], i: usize, (): ()) -> __m512 {
        // SAFETY: the caller gives eight elements of both.
        unsafe { W::load_pair(a.add(i * W::BYTES), b.add(i * W::BYTES)) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn last([a, b]: [*const u8; 2], i: usize, n: usize) -> __m512 {
        // SAFETY: the caller gives `n` elements of both.
        let (a, b) = unsafe {
            (
                W::load_first(a.add(i * W::BYTES), n),
                W::load_first(b.add(i * W::BYTES), n),
            )
        };
        both(a, b)
    }
}

impl<W: Weight16> Strips for W {
    fn bytes(n: usize) -> usize {
        n * W::BYTES
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn strip(row: *const u8, i: usize) -> [__m512; 2] {
        // SAFETY: the caller gives 32 elements.
        unsafe {
            [
                W::load16(row.add(i * W::BYTES)),
                W::load16(row.add((i + 16) * W::BYTES)),
            ]
        }
    }

    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
    unsafe fn rest(c: &Call, col: usize) {
        let rest = Call {
            w: c.w.wrapping_add(col * W::BYTES),
            n: c.n - col,
            out: c.out.wrapping_add(col),
            ..*c
        };
        // SAFETY: the columns are the caller's.
        unsafe { avx2::strip::matmul::<W>(&rest) }
    }
}

/// Rows of [`crate::abi::CacheType::Q8`] in whole groups of [`CACHE_GROUP`].
pub(super) struct CacheQ8;

const _: () = assert!(CACHE_GROUP == 32, "as many elements as are loaded at once");

/// Address of the group that begins with element `i`, a multiple of the group's.
#[inline(always)]
fn group(row: *const u8, i: usize) -> *const u8 {
    row.wrapping_add(i / CACHE_GROUP * GROUP_BYTES)
}

/// A group's scale, as the bits of an f32.
///
/// # Safety
/// The group is readable.
#[inline(always)]
unsafe fn scale(group: *const u8) -> i32 {
    // SAFETY: a group begins with two bytes of a bf16, the upper half of an f32.
    i32::from(unsafe { group.cast::<i16>().read_unaligned() }) << 16
}

impl Pairs for CacheQ8 {
    const BLOCK_BYTES: usize = GROUP_BYTES;
    type Scales = __m512;
    // SAFETY: all bits zero are sixteen zeros.
    const NO_SCALES: __m512 = unsafe { std::mem::zeroed() };

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn scales([a, b]: [*const u8; 2], i: usize) -> __m512 {
        // SAFETY: the caller's rows have the groups.
        let (a, b) = unsafe { (scale(group(a, i)), scale(group(b, i))) };
        let scales = _mm512_mask_set1_epi32(_mm512_set1_epi32(a), 0xff00, b);
        _mm512_castsi512_ps(scales)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn eight([a, b]: [*const u8; 2], i: usize, scales: __m512) -> __m512 {
        let at = SCALE_BYTES + i % CACHE_GROUP;
        // SAFETY: the caller's rows have eight elements from `i` on, which lie in one group.
        let (a, b) = unsafe {
            (
                _mm_loadl_epi64(group(a, i).add(at).cast()),
                _mm_loadl_epi64(group(b, i).add(at).cast()),
            )
        };
        let q = _mm512_cvtepi8_epi32(_mm_unpacklo_epi64(a, b));
        _mm512_mul_ps(_mm512_cvtepi32_ps(q), scales)
    }

    #[inline]
    unsafe fn last(_: [*const u8; 2], _: usize, _: usize) -> __m512 {
        unreachable!("rows are whole groups")
    }
}

impl Strips for CacheQ8 {
    fn bytes(n: usize) -> usize {
        CacheType::Q8.bytes(n, CACHE_GROUP)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn strip(row: *const u8, i: usize) -> [__m512; 2] {
        let group = group(row, i);
        // SAFETY: the caller's row has the group.
        unsafe {
            let scale = _mm512_castsi512_ps(_mm512_set1_epi32(scale(group)));
            let mut out = [_mm512_setzero_ps(); 2];
            for (half, out) in out.iter_mut().enumerate() {
                let q = _mm_loadu_si128(group.add(SCALE_BYTES + 16 * half).cast());
                *out = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q)), scale);
            }
            out
        }
    }

    unsafe fn rest(c: &Call, col: usize) {
        debug_assert_eq!(col, c.n, "rows are whole groups");
    }
}
