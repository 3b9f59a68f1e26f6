//! Quantised weights and activations: types, sizes, and how their bytes are laid out.
//!
//! Both are cut into groups of [`GROUP`] along K, the last one filled up with zeros. A value is an integer times its group's
//! scale; weights may have a scale for each half of a group, or a minimum that is added.
//!
//! **Weights** `[rows, k]` lie in *panels* of [`PANEL_ROWS`] rows, the last panel filled up with zero rows. A panel is its
//! groups one after the other, and a group is its factors, then the integers in chunks of 4 along K: row 0's four, row 1's
//! four, … One chunk is 32 bytes, so that a kernel multiplies it with 4 activations that it has repeated 8 times, and has a
//! partial sum for each row with no sum across a vector. Integers of 8 bits have the 8 chunks of a group in order. Those of
//! 4 bits share bytes: byte block `j` of 4 holds chunk `j` in its low halves and chunk `j + 4` in its high ones.
//!
//! | type | factors, of 8 rows each | integers |
//! |---|---|---|
//! | [`Quant::Q8`] | scales in f16 | 8 bits, −127 … 127 |
//! | [`Quant::Q4`] | scales in f16 | 4 bits, −8 … 7, stored plus 8 |
//! | [`Quant::Q4Min`] | scales in f32, minima in f32 | 4 bits, 0 … 15 |
//! | [`Quant::Q8Min`] | scales in f32, minima in f32 | 8 bits, 0 … 127 |
//! | [`Quant::Q8Half`] | scales in f32 of each half of the group | 8 bits, −127 … 127 |
//!
//! The last three are what published integers go into without loss, whatever their scales are made of.
//!
//! **Activations** are rows of [`Block`]s: integers, their scale, and sums that correct products.

use serde::{Deserialize, Serialize};

use super::Dtype;

/// Values that share a scale.
pub const GROUP: usize = 32;
/// Rows of a panel.
pub const PANEL_ROWS: usize = 8;
/// Values of half a group.
const HALF: usize = GROUP / 2;
/// Neighbours along K that lie together.
const CHUNK: usize = 4;

/// How a weight's elements are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// Rows of floats.
    Float(Dtype),
    /// Panels of integers with scales.
    Quantized(Quant),
}

/// Types of quantised weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quant {
    /// Integers −127 … 127.
    Q8,
    /// Integers −8 … 7.
    Q4,
    /// Integers 0 … 15 above a minimum.
    #[serde(rename = "q4m")]
    Q4Min,
    /// Integers 0 … 127 above a minimum.
    #[serde(rename = "q8m")]
    Q8Min,
    /// Integers −127 … 127 with a scale for each half of a group.
    #[serde(rename = "q8h")]
    Q8Half,
}

/// A group of activations: `x[i] ≈ scale · q[i]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Block {
    /// Integers −127 … 127.
    pub q: [i8; GROUP],
    /// Their unit.
    pub scale: f32,
    /// `−8 · scale · Σ q`: added to products with weights that are stored plus 8, and, by way of [`EIGHTH`], times minima.
    pub offset: f32,
    /// `−128 · Σ q`: added to sums of products with weights of 8 bits that are read without a sign, plus 128.
    pub bias: i32,
    /// The same of the group's first half.
    pub half_bias: i32,
}

/// What a minimum is multiplied by to be multiplied with a block's offset. It changes no digit of either.
pub const EIGHTH: f32 = -0.125;

/// Bytes of a row of `k` activations in blocks.
pub const fn block_row_bytes(k: usize) -> usize {
    k.div_ceil(GROUP) * size_of::<Block>()
}

impl Quant {
    /// All of them.
    pub const ALL: [Quant; 5] = [
        Quant::Q8,
        Quant::Q4,
        Quant::Q4Min,
        Quant::Q8Min,
        Quant::Q8Half,
    ];
    /// Those that floats are rounded to.
    pub const ROUNDED: [Quant; 2] = [Quant::Q8, Quant::Q4];

    /// Bytes of one group of a panel.
    pub const fn group_bytes(self) -> usize {
        self.factor_bytes() + GROUP * PANEL_ROWS * self.bits() / 8
    }

    /// Bytes of a group's factors, which stand before its integers.
    pub const fn factor_bytes(self) -> usize {
        match self {
            Quant::Q8 | Quant::Q4 => 2 * PANEL_ROWS,
            Quant::Q4Min | Quant::Q8Min | Quant::Q8Half => 2 * 4 * PANEL_ROWS,
        }
    }

    /// Bits of an integer.
    pub const fn bits(self) -> usize {
        match self {
            Quant::Q4 | Quant::Q4Min => 4,
            Quant::Q8 | Quant::Q8Min | Quant::Q8Half => 8,
        }
    }

    /// Whether minima are added to values.
    pub const fn has_minima(self) -> bool {
        match self {
            Quant::Q4Min | Quant::Q8Min => true,
            Quant::Q8 | Quant::Q4 | Quant::Q8Half => false,
        }
    }

    /// Bytes of a panel of rows of `k` elements.
    pub const fn panel_bytes(self, k: usize) -> usize {
        k.div_ceil(GROUP) * self.group_bytes()
    }

    /// Bytes of a matrix `[rows, k]`.
    pub const fn matrix_bytes(self, rows: usize, k: usize) -> usize {
        rows.div_ceil(PANEL_ROWS) * self.panel_bytes(k)
    }

    /// The smallest and the largest integer.
    pub const fn range(self) -> (i32, i32) {
        match self {
            Quant::Q8 | Quant::Q8Half => (-127, 127),
            Quant::Q4 => (-8, 7),
            Quant::Q4Min => (0, 15),
            Quant::Q8Min => (0, 127),
        }
    }

    /// What is added to an integer when it is stored.
    pub const fn offset(self) -> i32 {
        match self {
            Quant::Q4 => 8,
            Quant::Q8 | Quant::Q4Min | Quant::Q8Min | Quant::Q8Half => 0,
        }
    }

    /// Integer `i` of row `lane` in the bytes of a group.
    pub fn get(self, group: &[u8], lane: usize, i: usize) -> i32 {
        let byte = group[self.byte_of(lane, i)];
        match self.bits() {
            4 => i32::from(byte >> high_half(i) & 15) - self.offset(),
            _ => i32::from(byte as i8),
        }
    }

    /// Writes integer `i` of row `lane` into the bytes of a group, where it is zero or was never written.
    pub fn put(self, group: &mut [u8], lane: usize, i: usize, q: i32) {
        let stored = (q + self.offset()) as u8;
        let byte = &mut group[self.byte_of(lane, i)];
        match self.bits() {
            4 => *byte = *byte & !(15 << high_half(i)) | stored << high_half(i),
            _ => *byte = stored,
        }
    }

    /// The value of integer `i` of row `lane` in the bytes of a group: product and sum are rounded once each.
    pub fn value(self, group: &[u8], lane: usize, i: usize) -> f32 {
        let product = self.get(group, lane, i) as f32 * self.scale(group, lane, i);
        match self.has_minima() {
            true => product + self.minimum(group, lane),
            false => product,
        }
    }

    /// The scale of integer `i` of row `lane` in the bytes of a group.
    pub fn scale(self, group: &[u8], lane: usize, i: usize) -> f32 {
        match self {
            Quant::Q8 | Quant::Q4 => {
                half::f16::from_le_bytes([group[2 * lane], group[2 * lane + 1]]).to_f32()
            }
            Quant::Q4Min | Quant::Q8Min => factor(group, lane),
            Quant::Q8Half => factor(group, i / HALF * PANEL_ROWS + lane),
        }
    }

    /// What is added to the values of row `lane` of a type [with minima](Quant::has_minima).
    pub fn minimum(self, group: &[u8], lane: usize) -> f32 {
        debug_assert!(self.has_minima());
        factor(group, PANEL_ROWS + lane)
    }

    /// Writes the scale of row `lane` into the bytes of a group of [`Quant::Q8`] or [`Quant::Q4`].
    pub fn put_scale(group: &mut [u8], lane: usize, scale: half::f16) {
        group[2 * lane..2 * lane + 2].copy_from_slice(&scale.to_le_bytes());
    }

    /// Writes what row `lane` has in a group of another type: scale and minimum, or both halves' scales.
    pub fn put_factors(group: &mut [u8], lane: usize, factors: [f32; 2]) {
        for (i, factor) in factors.into_iter().enumerate() {
            group[4 * (i * PANEL_ROWS + lane)..][..4].copy_from_slice(&factor.to_le_bytes());
        }
    }

    fn byte_of(self, lane: usize, i: usize) -> usize {
        let chunks = GROUP / CHUNK * self.bits() / 8;
        self.factor_bytes() + (i / CHUNK % chunks * PANEL_ROWS + lane) * CHUNK + i % CHUNK
    }
}

/// The f32 with this index at the beginning of a group.
fn factor(group: &[u8], index: usize) -> f32 {
    let bytes = &group[4 * index..4 * index + 4];
    f32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

/// By how much integer `i` of four bits is shifted in its byte.
const fn high_half(i: usize) -> usize {
    i / (GROUP / 2) * 4
}

impl Encoding {
    /// The float type of a weight that is not quantised.
    pub const fn float(self) -> Option<Dtype> {
        match self {
            Encoding::Float(dtype) => Some(dtype),
            Encoding::Quantized(_) => None,
        }
    }

    /// The type of a quantised weight.
    pub const fn quant(self) -> Option<Quant> {
        match self {
            Encoding::Float(_) => None,
            Encoding::Quantized(quant) => Some(quant),
        }
    }
}

impl std::fmt::Display for Quant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Quant::Q8 => "q8",
            Quant::Q4 => "q4",
            Quant::Q4Min => "q4m",
            Quant::Q8Min => "q8m",
            Quant::Q8Half => "q8h",
        })
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Encoding::Float(dtype) => dtype.fmt(f),
            Encoding::Quantized(quant) => quant.fmt(f),
        }
    }
}

/// `out[m, n] = x[m, k] · w[n, k]ᵀ` with `groups = ⌈k / 32⌉`.
///
/// `x` is rows of [`Block`]s, `x_stride_bytes` apart and aligned to 4; `w` is panels of any alignment, of which the last
/// may hold more rows than `n` asks for. For each group in order, with `d` the exact integer sum of products as they are
/// stored, an element is `acc = fma(t, w.scale, acc)`, where `t` is `d · x.scale`, or `fma(d, x.scale, x.offset)` for
/// weights stored plus 8. Where there are minima, `acc = fma(x.offset, w.minimum · EIGHTH, acc)` follows; where each half of a
/// group has a scale, the first half comes before the second as if they were groups. So it does not depend on `m`, on `n`, or on the instruction set.
pub type QuantMatmulFn = unsafe extern "C" fn(
    x: *const u8,
    x_stride_bytes: usize,
    m: usize,
    w: *const u8,
    n: usize,
    groups: usize,
    out: *mut f32,
    out_stride: usize,
);

/// Row `lane` of a panel as `k` f32 values.
pub type QuantRowFn = unsafe extern "C" fn(panel: *const u8, lane: usize, k: usize, out: *mut f32);

/// Rounds `k` f32 values to a row of [`Block`]s at `out`, aligned to 4.
///
/// `scale` is the group's largest magnitude over 127, and `q[i]` is `x[i] · (127 / largest)` rounded to the nearest, ties
/// to even. A group whose largest magnitude is below [`TINY`] is all zero; one that is not finite
/// has a NaN for its scale and its offset, and zeros.
pub type QuantizeFn = unsafe extern "C" fn(x: *const f32, k: usize, out: *mut u8);

/// Activations below this are zero: the reciprocal of their group's scale would overflow.
pub const TINY: f32 = 1e-30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_places_of_their_own() {
        for quant in Quant::ALL {
            let (low, high) = quant.range();
            let mut group = vec![0u8; quant.group_bytes()];
            let value =
                |lane: usize, i: usize| low + ((lane * 37 + i * 11) as i32) % (high - low + 1);
            for (lane, i) in (0..PANEL_ROWS).flat_map(|lane| (0..GROUP).map(move |i| (lane, i))) {
                quant.put(&mut group, lane, i, value(lane, i));
            }
            for (lane, i) in (0..PANEL_ROWS).flat_map(|lane| (0..GROUP).map(move |i| (lane, i))) {
                assert_eq!(
                    quant.get(&group, lane, i),
                    value(lane, i),
                    "{quant} row {lane} element {i}"
                );
            }
            assert!(
                group[..quant.factor_bytes()].iter().all(|byte| *byte == 0),
                "the scales are untouched"
            );
        }
    }

    #[test]
    fn factors_have_places_of_their_own() {
        for quant in [Quant::Q4Min, Quant::Q8Min, Quant::Q8Half] {
            let mut group = vec![0u8; quant.group_bytes()];
            for lane in 0..PANEL_ROWS {
                Quant::put_factors(&mut group, lane, [lane as f32 + 0.5, -(lane as f32)]);
            }
            for lane in 0..PANEL_ROWS {
                quant.put(&mut group, lane, 0, 3);
                quant.put(&mut group, lane, GROUP - 1, 2);
                let (first, second) = (lane as f32 + 0.5, -(lane as f32));
                let expected = match quant.has_minima() {
                    true => [3.0 * first + second, 2.0 * first + second],
                    false => [3.0 * first, 2.0 * second],
                };
                let found = [0, GROUP - 1].map(|i| quant.value(&group, lane, i));
                assert_eq!(found, expected, "{quant} row {lane}");
            }
        }
    }

    #[test]
    fn sizes_are_those_of_the_layout() {
        assert_eq!(
            (Quant::Q8.group_bytes(), Quant::Q4.group_bytes()),
            (272, 144)
        );
        assert_eq!(Quant::Q8.matrix_bytes(9, 33), 2 * 2 * 272);
        assert_eq!(block_row_bytes(33), 2 * 48);
    }
}
