//! Panels: sixteen columns of the product's weights as f32, `[k, 16]`, so that a tile reads them in order.

use std::arch::x86_64::*;

use super::load::Weight;

/// Columns of a panel.
pub(super) const WIDTH: usize = 16;

/// Makes a panel of `cols` rows of `[n, k]` weights, elements `0..k`; further columns are zero.
///
/// # Safety
/// AVX2 and F16C; `w` is readable for `cols <= WIDTH` rows of `k` elements, `panel` writable for `k · WIDTH` elements.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn transpose<W: Weight>(
    w: *const u8,
    w_stride: usize,
    cols: usize,
    k: usize,
    panel: *mut f32,
) {
    for half in [0, 8] {
        let n = cols.saturating_sub(half).min(8);
        for i in (0..k).step_by(8) {
            let depth = 8.min(k - i);
            let mut rows = [_mm256_setzero_ps(); 8];
            // SAFETY: rows `half..half + n` are below `cols`, elements `i..i + depth` below `k`.
            unsafe {
                for (r, row) in rows.iter_mut().enumerate().take(n) {
                    let at = w.add((half + r) * w_stride + i * W::BYTES);
                    *row = if depth == 8 {
                        W::load(at)
                    } else {
                        W::load_first(at, depth)
                    };
                }
                for (d, v) in transposed(rows).iter().enumerate().take(depth) {
                    _mm256_storeu_ps(panel.add((i + d) * WIDTH + half), *v);
                }
            }
        }
    }
}

/// Makes a panel of `cols` columns of `[k, n]` weights, rows `0..k`; further columns are zero.
///
/// # Safety
/// AVX2 and F16C; `w` is readable for `k` rows of `cols <= WIDTH` elements, `panel` writable for `k · WIDTH` elements.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn copy<W: Weight>(
    w: *const u8,
    w_stride: usize,
    cols: usize,
    k: usize,
    panel: *mut f32,
) {
    for i in 0..k {
        for half in [0, 8] {
            let n = cols.saturating_sub(half).min(8);
            // SAFETY: elements `half..half + n` are below `cols`; an address that is not read may lie outside.
            unsafe {
                let at = w.wrapping_add(i * w_stride + half * W::BYTES);
                let v = if n == 8 {
                    W::load(at)
                } else {
                    W::load_first(at, n)
                };
                _mm256_storeu_ps(panel.add(i * WIDTH + half), v);
            }
        }
    }
}

/// Element `i` of row `j` becomes element `j` of row `i`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn transposed(r: [__m256; 8]) -> [__m256; 8] {
    let pairs = |i: usize| {
        (
            _mm256_unpacklo_ps(r[i], r[i + 1]),
            _mm256_unpackhi_ps(r[i], r[i + 1]),
        )
    };
    let ((a0, a1), (b0, b1), (c0, c1), (d0, d1)) = (pairs(0), pairs(2), pairs(4), pairs(6));
    let low = |x, y| _mm256_shuffle_ps::<0x44>(x, y);
    let high = |x, y| _mm256_shuffle_ps::<0xee>(x, y);
    let upper = [low(a0, b0), high(a0, b0), low(a1, b1), high(a1, b1)];
    let lower = [low(c0, d0), high(c0, d0), low(c1, d1), high(c1, d1)];
    let mut out = [_mm256_setzero_ps(); 8];
    for i in 0..4 {
        out[i] = _mm256_permute2f128_ps::<0x20>(upper[i], lower[i]);
        out[i + 4] = _mm256_permute2f128_ps::<0x31>(upper[i], lower[i]);
    }
    out
}
