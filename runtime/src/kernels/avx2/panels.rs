//! Products of int8 rows with quantised weights: [`crate::abi::QuantMatmulFn`] for both types.
//!
//! A block is one panel, 8 rows of weights, by a few rows of activations. Four bytes of an activation row are repeated over
//! a vector and multiplied with a chunk of the panel, so that each of the vector's 8 lanes sums for one row of weights.
//!
//! For up to eight rows of activations each panel is read once, from beginning to end, which is as fast as memory is. More
//! rows are cut into tiles: the panels of a call stay in the second-level cache, those of `DEPTH` groups at a time, while
//! each tile of rows is in the first-level cache. Sums wait in the result from one run of groups to the next, in f32 as in
//! a register, so that where runs end does not change them.

use std::arch::x86_64::*;

use crate::abi::quant::{Block, PANEL_ROWS};
use crate::kernels::panels::{CHUNKS, Call, Product, SCALES};
use crate::kernels::stream::fetch_pages;

/// Rows of activations in a tile.
const COLUMNS: usize = 4;
/// Groups of a run: of K = 2048, a panel takes 17 KiB and a tile of rows 10 KiB.
const DEPTH: usize = 64;

/// A type of quantised weights.
trait Panels {
    /// Bytes of a group of a panel.
    const GROUP_BYTES: usize;

    /// For each of `C` blocks of activations, the 8 sums of its products with the rows of a group, as they are stored.
    ///
    /// # Safety
    /// AVX2; a group and the blocks are readable.
    unsafe fn sums<const C: usize>(group: *const u8, x: [*const Block; C]) -> [__m256i; C];

    /// What sums of products stand for, but for the weights' scales.
    ///
    /// # Safety
    /// AVX2 and FMA.
    unsafe fn term(sums: __m256, x: &Block) -> __m256;
}

pub(in crate::kernels) struct Q8;
pub(in crate::kernels) struct Q4;

impl Panels for Q8 {
    const GROUP_BYTES: usize = SCALES + CHUNKS * 32;

    /// `maddubs` wants one factor without a sign: it moves from the weight to the activation. Two products of at most 127
    /// squared fit into 16 bits, four do not, so that they are widened at once.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sums<const C: usize>(group: *const u8, x: [*const Block; C]) -> [__m256i; C] {
        let ones = _mm256_set1_epi16(1);
        let mut sums = [_mm256_setzero_si256(); C];
        for chunk in 0..CHUNKS {
            // SAFETY: the chunk lies inside the group.
            let w = unsafe { _mm256_loadu_si256(group.add(SCALES + 32 * chunk).cast()) };
            let magnitude = _mm256_abs_epi8(w);
            for (sum, x) in sums.iter_mut().zip(x) {
                // SAFETY: the caller's promise.
                let signed = _mm256_sign_epi8(unsafe { four(x, chunk) }, w);
                let pairs = _mm256_maddubs_epi16(magnitude, signed);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
        sums
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn term(sums: __m256, x: &Block) -> __m256 {
        _mm256_mul_ps(sums, _mm256_set1_ps(x.scale))
    }
}

impl Panels for Q4 {
    const GROUP_BYTES: usize = SCALES + CHUNKS * 16;

    /// Products of at most 15 · 127, sixteen of them in each half of a lane, stay below 2¹⁵: they are widened once.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn sums<const C: usize>(group: *const u8, x: [*const Block; C]) -> [__m256i; C] {
        let low = _mm256_set1_epi8(15);
        let mut sums = [_mm256_setzero_si256(); C];
        for chunk in 0..CHUNKS / 2 {
            // SAFETY: the chunk lies inside the group.
            let w = unsafe { _mm256_loadu_si256(group.add(SCALES + 32 * chunk).cast()) };
            let halves = [
                _mm256_and_si256(w, low),
                _mm256_and_si256(_mm256_srli_epi16::<4>(w), low),
            ];
            for (sum, x) in sums.iter_mut().zip(x) {
                for (half, w) in halves.into_iter().enumerate() {
                    // SAFETY: the caller's promise.
                    let x = unsafe { four(x, chunk + half * CHUNKS / 2) };
                    *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(w, x));
                }
            }
        }
        let ones = _mm256_set1_epi16(1);
        for sum in &mut sums {
            *sum = _mm256_madd_epi16(*sum, ones);
        }
        sums
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn term(sums: __m256, x: &Block) -> __m256 {
        _mm256_fmadd_ps(sums, _mm256_set1_ps(x.scale), _mm256_set1_ps(x.offset))
    }
}

/// Activations `4 · chunk..` of a block, repeated.
///
/// # Safety
/// AVX2; the block is readable.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn four(x: *const Block, chunk: usize) -> __m256i {
    // SAFETY: a block begins with its integers.
    _mm256_set1_epi32(unsafe { x.cast::<i32>().add(chunk).read_unaligned() })
}

impl Product for Q8 {
    unsafe fn run(call: &Call) {
        // SAFETY: the caller's promise.
        unsafe { product::<Q8>(call) }
    }
}

impl Product for Q4 {
    unsafe fn run(call: &Call) {
        // SAFETY: the caller's promise.
        unsafe { product::<Q4>(call) }
    }
}

/// As [`Product::run`].
///
/// # Safety
/// As there.
unsafe fn product<P: Panels>(call: &Call) {
    // SAFETY: the caller's promise.
    unsafe {
        match call.m {
            0..=8 => few::<P>(call),
            _ => many::<P>(call),
        }
    }
}

/// Each panel once.
///
/// # Safety
/// AVX2, FMA and F16C; the contract of [`crate::abi::QuantMatmulFn`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn few<P: Panels>(c: &Call) {
    for panel in 0..c.n.div_ceil(PANEL_ROWS) {
        // SAFETY: the panel and all groups of it exist.
        unsafe { rows::<P>(c, panel, 0..c.m, 0..c.groups) }
    }
}

/// Tiles of rows over the panels, for one run of groups after the other.
///
/// # Safety
/// As [`few`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn many<P: Panels>(c: &Call) {
    for first in (0..c.groups.max(1)).step_by(DEPTH) {
        let groups = first..(first + DEPTH).min(c.groups);
        for row in (0..c.m).step_by(COLUMNS) {
            for panel in 0..c.n.div_ceil(PANEL_ROWS) {
                // SAFETY: the rows, the panel and its groups exist.
                unsafe { rows::<P>(c, panel, row..(row + COLUMNS).min(c.m), groups.clone()) }
            }
        }
    }
}

/// A panel with some rows of activations.
///
/// # Safety
/// As [`few`]; panel, rows and groups exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn rows<P: Panels>(
    c: &Call,
    panel: usize,
    rows: std::ops::Range<usize>,
    groups: std::ops::Range<usize>,
) {
    let mut row = rows.start;
    while row < rows.end {
        let left = (rows.end - row).min(COLUMNS);
        // SAFETY: `left` rows from `row` on exist.
        unsafe {
            match left {
                1 => block::<P, 1>(c, panel, row, groups.clone()),
                2 => block::<P, 2>(c, panel, row, groups.clone()),
                3 => block::<P, 3>(c, panel, row, groups.clone()),
                _ => block::<P, COLUMNS>(c, panel, row, groups.clone()),
            }
        }
        row += left;
    }
}

/// A panel with `C` rows of activations.
///
/// # Safety
/// As [`rows`]; `C` rows from `row` on exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn block<P: Panels, const C: usize>(
    c: &Call,
    panel: usize,
    row: usize,
    groups: std::ops::Range<usize>,
) {
    let lanes = (c.n - panel * PANEL_ROWS).min(PANEL_ROWS);
    // SAFETY: what the caller promises exists, and of the result's 8 columns only `lanes` are touched.
    unsafe {
        let out = c.out.add(row * c.out_stride + panel * PANEL_ROWS);
        let w = c.w.add(panel * c.groups * P::GROUP_BYTES);
        let mut x = [c.x.cast::<Block>(); C];
        for (i, x) in x.iter_mut().enumerate() {
            *x =
                c.x.add((row + i) * c.x_stride)
                    .cast::<Block>()
                    .add(groups.start);
        }
        let mut sums = [_mm256_setzero_ps(); C];
        if groups.start > 0 {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = load(out.add(i * c.out_stride), lanes);
            }
        }
        for g in groups {
            let group = w.add(g * P::GROUP_BYTES);
            fetch_pages(group, P::GROUP_BYTES);
            add_group::<P, C>(group, x, &mut sums);
            for x in &mut x {
                *x = x.add(1);
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            store(out.add(i * c.out_stride), sum, lanes);
        }
    }
}

/// Adds what one group gives.
///
/// # Safety
/// As [`Panels::sums`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_group<P: Panels, const C: usize>(
    group: *const u8,
    x: [*const Block; C],
    sums: &mut [__m256; C],
) {
    // SAFETY: the caller's promise; a group begins with its scales.
    unsafe {
        let products = P::sums(group, x);
        let scales = _mm256_cvtph_ps(_mm_loadu_si128(group.cast()));
        for i in 0..C {
            let term = P::term(_mm256_cvtepi32_ps(products[i]), &*x[i]);
            sums[i] = _mm256_fmadd_ps(term, scales, sums[i]);
        }
    }
}

/// The first `lanes` of 8 values.
///
/// # Safety
/// AVX2; that many are readable.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load(at: *const f32, lanes: usize) -> __m256 {
    // SAFETY: the caller's promise; the mask keeps to the lanes.
    unsafe {
        match lanes {
            PANEL_ROWS => _mm256_loadu_ps(at),
            _ => _mm256_maskload_ps(at, super::load::first_lanes(lanes)),
        }
    }
}

/// Writes the first `lanes` of 8 values.
///
/// # Safety
/// AVX2; that many are writable.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn store(at: *mut f32, value: __m256, lanes: usize) {
    // SAFETY: the caller's promise; the mask keeps to the lanes.
    unsafe {
        match lanes {
            PANEL_ROWS => _mm256_storeu_ps(at, value),
            _ => _mm256_maskstore_ps(at, super::load::first_lanes(lanes), value),
        }
    }
}
