//! Quantised weights and activations: types, sizes, and how their bytes are laid out.
//!
//! Both are cut into groups of [`GROUP`] along K, the last one filled up with zeros, and are symmetric: a value is an
//! integer times its group's scale.
//!
//! **Weights** `[rows, k]` lie in *panels* of [`PANEL_ROWS`] rows, the last panel filled up with zero rows. A panel is its
//! groups one after the other, and a group is 8 scales in f16, one for each row, then the integers in chunks of 4 along K:
//! row 0's four, row 1's four, … One chunk is 32 bytes, so that a kernel multiplies it with 4 activations that it has
//! repeated 8 times, and has a partial sum for each row with no sum across a vector. [`Quant::Q8`] has the 8 chunks of a
//! group in order. [`Quant::Q4`] stores an integer plus 8 in four bits: byte block `j` of 4 holds chunk `j` in its low
//! halves and chunk `j + 4` in its high ones.
//!
//! **Activations** are rows of [`Block`]s: integers, their scale, and what corrects products with weights stored plus 8.

use serde::{Deserialize, Serialize};

use super::Dtype;

/// Values that share a scale.
pub const GROUP: usize = 32;
/// Rows of a panel.
pub const PANEL_ROWS: usize = 8;
/// Bytes of a panel's scales in one group.
const SCALES: usize = 2 * PANEL_ROWS;
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
}

/// A group of activations: `x[i] ≈ scale · q[i]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Block {
    /// Integers −127 … 127.
    pub q: [i8; GROUP],
    /// Their unit.
    pub scale: f32,
    /// `−8 · scale · Σ q`: added to products with weights that are stored plus 8.
    pub offset: f32,
    /// `−128 · Σ q`: added to sums of products with weights of 8 bits that are read without a sign, plus 128.
    pub bias: i32,
}

/// Bytes of a row of `k` activations in blocks.
pub const fn block_row_bytes(k: usize) -> usize {
    k.div_ceil(GROUP) * size_of::<Block>()
}

impl Quant {
    /// Both.
    pub const ALL: [Quant; 2] = [Quant::Q8, Quant::Q4];

    /// Bytes of one group of a panel.
    pub const fn group_bytes(self) -> usize {
        SCALES
            + match self {
                Quant::Q8 => GROUP * PANEL_ROWS,
                Quant::Q4 => GROUP * PANEL_ROWS / 2,
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
            Quant::Q8 => (-127, 127),
            Quant::Q4 => (-8, 7),
        }
    }

    /// What is added to an integer when it is stored.
    pub const fn offset(self) -> i32 {
        match self {
            Quant::Q8 => 0,
            Quant::Q4 => 8,
        }
    }

    /// Integer `i` of row `lane` in the bytes of a group.
    pub fn get(self, group: &[u8], lane: usize, i: usize) -> i32 {
        match self {
            Quant::Q8 => i32::from(group[self.byte_of(lane, i)] as i8),
            Quant::Q4 => {
                i32::from(group[self.byte_of(lane, i)] >> high_half(i) & 15) - self.offset()
            }
        }
    }

    /// Writes integer `i` of row `lane` into the bytes of a group, where it is zero or was never written.
    pub fn put(self, group: &mut [u8], lane: usize, i: usize, q: i32) {
        let stored = (q + self.offset()) as u8;
        let byte = &mut group[self.byte_of(lane, i)];
        match self {
            Quant::Q8 => *byte = stored,
            Quant::Q4 => *byte = *byte & !(15 << high_half(i)) | stored << high_half(i),
        }
    }

    /// The scale of row `lane` in the bytes of a group.
    pub fn scale(group: &[u8], lane: usize) -> f32 {
        half::f16::from_le_bytes([group[2 * lane], group[2 * lane + 1]]).to_f32()
    }

    /// Writes the scale of row `lane` into the bytes of a group.
    pub fn put_scale(group: &mut [u8], lane: usize, scale: half::f16) {
        group[2 * lane..2 * lane + 2].copy_from_slice(&scale.to_le_bytes());
    }

    fn byte_of(self, lane: usize, i: usize) -> usize {
        let chunk = match self {
            Quant::Q8 => i / CHUNK,
            Quant::Q4 => i / CHUNK % (GROUP / CHUNK / 2),
        };
        SCALES + (chunk * PANEL_ROWS + lane) * CHUNK + i % CHUNK
    }
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
/// weights stored plus 8. So it does not depend on `m`, on `n`, or on the instruction set.
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
                group[..SCALES].iter().all(|byte| *byte == 0),
                "the scales are untouched"
            );
        }
    }

    #[test]
    fn sizes_are_those_of_the_layout() {
        assert_eq!(
            (Quant::Q8.group_bytes(), Quant::Q4.group_bytes()),
            (272, 144)
        );
        assert_eq!(Quant::Q8.matrix_bytes(9, 33), 2 * 2 * 272);
        assert_eq!(block_row_bytes(33), 2 * 44);
    }
}
