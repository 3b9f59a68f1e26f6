//! Functions of eight values, each within a few units in the last place.
//!
//! Polynomials are minimax fits (Remez) of the function named, their error below a third of a unit in the last place. `NaN` comes
//! out as `NaN`.

use std::arch::x86_64::*;

/// `x · p(x)`-style evaluation: `c[0] + c[1] x + … `, by Horner's rule.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn polynomial<const N: usize>(x: __m256, c: [f32; N]) -> __m256 {
    let mut y = _mm256_set1_ps(c[N - 1]);
    for c in c[..N - 1].iter().rev() {
        y = _mm256_fmadd_ps(y, x, _mm256_set1_ps(*c));
    }
    y
}

/// `ln 2` in two parts, the first of so few digits that its products with small integers are exact.
pub(in crate::kernels) const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// `(eʳ − 1 − r) / r²` on `|r| ≤ ln 2 / 2`.
pub(in crate::kernels) const EXP: [f32; 5] = [
    0.5,
    1.666_657_6e-1,
    4.166_637_4e-2,
    8.363_189e-3,
    1.394_113_9e-3,
];

/// `eˣ`, gradually to zero below the normal range, and infinite above it.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn exp(x: __m256) -> __m256 {
    // The constant goes first: where an operand is NaN these return the second.
    let x = _mm256_min_ps(_mm256_set1_ps(89.0), x);
    let x = _mm256_max_ps(_mm256_set1_ps(-105.0), x);
    let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm256_mul_ps(
        x,
        _mm256_set1_ps(std::f32::consts::LOG2_E),
    ));
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN_2[0]), x);
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN_2[1]), r);
    let p = polynomial(r, EXP);
    let one = _mm256_set1_ps(1.0);
    let p = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), one);
    // 2ⁿ in two factors, since n reaches 128 and −152.
    let n = _mm256_cvtps_epi32(n);
    let half = _mm256_srai_epi32::<1>(n);
    let rest = _mm256_sub_epi32(n, half);
    _mm256_mul_ps(_mm256_mul_ps(p, power_of_two(half)), power_of_two(rest))
}

/// `2ⁿ` for `n` in −126 ..= 127.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn power_of_two(n: __m256i) -> __m256 {
    let biased = _mm256_add_epi32(n, _mm256_set1_epi32(127));
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn abs(x: __m256) -> __m256 {
    _mm256_andnot_ps(_mm256_set1_ps(-0.0), x)
}

/// `if condition { x } else { y }`, by lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn select(condition: __m256, x: __m256, y: __m256) -> __m256 {
    _mm256_blendv_ps(y, x, condition)
}

/// `1 / (1 + e⁻ˣ)`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn sigmoid(x: __m256) -> __m256 {
    let one = _mm256_set1_ps(1.0);
    // From e^−|x|, which cannot overflow; a negative zero selects the numerator for negative x.
    let e = exp(_mm256_or_ps(x, _mm256_set1_ps(-0.0)));
    _mm256_div_ps(_mm256_blendv_ps(one, e, x), _mm256_add_ps(one, e))
}

/// `tanh(x)`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn tanh(x: __m256) -> __m256 {
    let (one, two) = (_mm256_set1_ps(1.0), _mm256_set1_ps(2.0));
    let a = abs(x);
    let s = _mm256_mul_ps(x, x);
    // (tanh(x) / x − 1) / x² in s = x², on |x| ≤ 5/8.
    let p = polynomial(
        s,
        [
            -3.333_332_8e-1,
            1.333_279_5e-1,
            -5.385_407e-2,
            2.101_008_6e-2,
            -6.113_194e-3,
        ],
    );
    let small = _mm256_fmadd_ps(_mm256_mul_ps(p, s), x, x);
    let e = exp(_mm256_mul_ps(a, two));
    let large = _mm256_sub_ps(one, _mm256_div_ps(two, _mm256_add_ps(e, one)));
    let large = _mm256_or_ps(large, _mm256_and_ps(x, _mm256_set1_ps(-0.0)));
    let is_small = _mm256_cmp_ps::<_CMP_LT_OQ>(a, _mm256_set1_ps(0.625));
    select(is_small, small, large)
}

/// `½ erfc(|x| / √2)`, the upper tail of the normal distribution, relative to its own size.
///
/// It is `e^(−x²/2) g(|x|)`, and `(|x| + 2) g(|x|)` is smooth in `(|x| − 4) / (|x| + 4)` (Shepherd and Laframboise, 1981).
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn normal_tail(x: __m256) -> __m256 {
    // Where the tail has long underflowed.
    let a = _mm256_min_ps(_mm256_set1_ps(15.0), abs(x));
    let (two, four) = (_mm256_set1_ps(2.0), _mm256_set1_ps(4.0));
    let t = _mm256_div_ps(_mm256_sub_ps(a, four), _mm256_add_ps(a, four));
    let g = polynomial(
        t,
        [
            5.664_638e-1,
            -2.671_010_8e-1,
            1.383_782_8e-1,
            -4.311_088e-2,
            -1.325_389_3e-3,
            9.476_312e-3,
            -4.519_990_6e-3,
            2.432_772e-4,
            5.109_124_5e-4,
        ],
    );
    let g = _mm256_div_ps(g, _mm256_add_ps(a, two));
    // x² in two parts: the rounding error of a square near 200 would be felt in the result.
    let minus_half = _mm256_set1_ps(-0.5);
    let high = _mm256_mul_ps(a, a);
    let low = _mm256_fmsub_ps(a, a, high);
    let e = exp(_mm256_mul_ps(high, minus_half));
    let e = _mm256_fmadd_ps(e, _mm256_mul_ps(low, minus_half), e);
    _mm256_mul_ps(e, g)
}

/// `½ x (1 + erf(x / √2))`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn gelu(x: __m256) -> __m256 {
    let tail = _mm256_mul_ps(x, normal_tail(x));
    // x Φ(x) is x·tail for negative x and x − x·tail for positive x: neither cancels.
    _mm256_blendv_ps(_mm256_sub_ps(x, tail), tail, x)
}

/// `½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))`, as `x · sigmoid(2 √(2/π) (x + 0.044715 x³))`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn gelu_tanh(x: __m256) -> __m256 {
    const LINEAR: f32 = 1.595_769;
    const CUBIC: f32 = 0.071_354_814;
    let s = _mm256_mul_ps(x, x);
    let slope = _mm256_fmadd_ps(s, _mm256_set1_ps(CUBIC), _mm256_set1_ps(LINEAR));
    _mm256_mul_ps(x, sigmoid(_mm256_mul_ps(x, slope)))
}

/// `ln(1 + eˣ)`, and `x` above 20.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn softplus(x: __m256) -> __m256 {
    let e = exp(_mm256_or_ps(x, _mm256_set1_ps(-0.0)));
    // max(x, 0) + ln(1 + e^−|x|); the constant goes first so that NaN stays.
    let positive = _mm256_max_ps(_mm256_setzero_ps(), x);
    let sum = _mm256_add_ps(positive, log_1p(e));
    select(_mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_set1_ps(20.0)), x, sum)
}

/// `ln(1 + e)` for `e` in 0 ..= 1, as `2 artanh(e / (2 + e))`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn log_1p(e: __m256) -> __m256 {
    let two = _mm256_set1_ps(2.0);
    let s = _mm256_div_ps(e, _mm256_add_ps(two, e));
    let z = _mm256_mul_ps(s, s);
    // (artanh(s) / s − 1) / s² in z = s², on s ≤ 1/3.
    let p = polynomial(
        z,
        [
            3.333_333_4e-1,
            1.999_984_8e-1,
            1.429_640_5e-1,
            1.085_002e-1,
            1.162_689_2e-1,
        ],
    );
    let s = _mm256_add_ps(s, s);
    _mm256_fmadd_ps(_mm256_mul_ps(p, z), s, s)
}
