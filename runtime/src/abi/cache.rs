//! What keys and values are kept in: floats, or integers in groups that share a scale.
//!
//! A row of [`CacheType::Q8`], the key or value of one head at one position, is its groups one after the other: a scale in
//! bf16, then the integers, of which the last group may have fewer. The scale is the group's largest magnitude over 127,
//! rounded up so that no integer leaves −127 … 127, and zero for a group whose magnitudes are below
//! [`TINY`](super::quant::TINY). bf16 reaches as far as f32 does, which f16 does not.

use half::bf16;
use serde::{Deserialize, Serialize};

use super::{Dtype, MATMUL_SCRATCH};

/// Values of a row that share a scale, at most.
pub const CACHE_GROUP: usize = 32;
/// Bytes of a scale.
pub const SCALE_BYTES: usize = 2;
/// Bytes of a group of [`CACHE_GROUP`].
pub const GROUP_BYTES: usize = SCALE_BYTES + CACHE_GROUP;

/// Types of cached keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheType {
    /// IEEE single.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
    /// Integers −127 … 127 with a scale for each group.
    Q8,
}

impl CacheType {
    /// All.
    pub const ALL: [CacheType; 4] = [
        CacheType::F32,
        CacheType::Bf16,
        CacheType::F16,
        CacheType::Q8,
    ];

    /// The element type, unless values share scales.
    pub const fn float(self) -> Option<Dtype> {
        match self {
            CacheType::F32 => Some(Dtype::F32),
            CacheType::Bf16 => Some(Dtype::Bf16),
            CacheType::F16 => Some(Dtype::F16),
            CacheType::Q8 => None,
        }
    }

    /// Bytes of the first `n` values of a row, or of a whole row, in groups of `group`.
    pub fn bytes(self, n: usize, group: usize) -> usize {
        match self.float() {
            Some(dtype) => n * dtype.size(),
            None => n + n.div_ceil(group) * SCALE_BYTES,
        }
    }
}

impl std::fmt::Display for CacheType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.float() {
            Some(dtype) => dtype.fmt(f),
            None => f.write_str("q8"),
        }
    }
}

/// Whether products read rows of [`CacheType::Q8`] of `n` values in groups of `group` as they are: whole groups, and not too many for a row
/// of f32 in the scratch of a product.
pub fn are_multiplied(n: usize, group: usize) -> bool {
    group == CACHE_GROUP && n.is_multiple_of(CACHE_GROUP) && n <= MATMUL_SCRATCH / 4
}

/// The scale of a group whose largest magnitude is `largest`, a finite number.
pub fn cache_scale(largest: f32) -> bf16 {
    // Away from zero, unless nothing is cut off.
    let exact = largest / 127.0;
    bf16::from_bits((exact.to_bits().saturating_add(0xffff) >> 16) as u16)
}

/// Rounds `n` f32 values to groups of `group` at `out`, of any alignment: `q[i]` is `x[i]` over the scale, rounded to the
/// nearest, ties to even. A group with a value that is not finite has a NaN for its scale, and zeros.
pub type NarrowFn = unsafe extern "C" fn(x: *const f32, n: usize, group: usize, out: *mut u8);

/// `rows` rows, `row_bytes` apart and of any alignment, of which the first `n` values each become f32: `[rows, n]`, dense.
pub type WidenFn = unsafe extern "C" fn(
    x: *const u8,
    row_bytes: usize,
    rows: usize,
    n: usize,
    group: usize,
    out: *mut f32,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_layout() {
        assert_eq!(CacheType::Q8.bytes(64, 32), 68);
        assert_eq!(CacheType::Q8.bytes(33, 32), 37);
        assert_eq!(CacheType::Q8.bytes(24, 8), 30);
        assert_eq!(CacheType::F16.bytes(33, 32), 66);
    }

    #[test]
    fn scales_are_rounded_up() {
        for largest in [1.0f32, 127.0, 0.3, 1e-20, 6.7e4, f32::MAX] {
            let scale = cache_scale(largest).to_f32();
            assert!(scale >= largest / 127.0, "{largest}");
            assert!(scale <= largest / 127.0 * 1.008, "{largest}");
        }
        assert_eq!(cache_scale(127.0).to_f32(), 1.0);
    }
}
