//! Quantised weights and activations: types, sizes, and how their bytes are laid out.
//!
//! Both are cut into groups of [`GROUP`] along K, the last one filled up with zeros. A value is an integer times its group's
//! scale; weights may have a scale for each half of a group, or a minimum that is added.
//!
//! **Weights** `[rows, k]` lie in *panels* of [`PANEL_ROWS`] rows, the last panel filled up with zero rows. A panel is its
//! groups one after the other, and a group is its factors, then the integers in chunks of 4 along K: row 0's four, row 1's
//! four, … Where factors are integers themselves, every [`SUPER_GROUPS`] groups, and what is left of a row, are a super-block,
//! before which its *head* stands: the units of its factors. One chunk is 32 bytes, so that a kernel multiplies it with 4 activations that it has repeated 8 times, and has a
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
//! | [`Quant::Q4Super`] | scales and minima in 8 bits; in the head a unit of either in f16 | 4 bits, 0 … 15 |
//! | [`Quant::Q4Narrow`] | scales in f16, minima in f16 | 4 bits, 0 … 15 |
//!
//! A minimum is added, but for [`Quant::Q4Super`], where it is taken away. All but the first two are what published integers go into
//! without loss, whatever their scales are made of: an 8-bit factor times a unit in f16 is exact in f32.
//!
//! **Activations** are rows of [`Block`]s: integers, their scale, and sums that correct products.

use serde::{Deserialize, Serialize};

use super::Dtype;

/// Values that share a scale.
pub const GROUP: usize = 32;
/// Rows of a panel.
pub const PANEL_ROWS: usize = 8;
/// Groups of a super-block: rows of 256 values and less.
pub const SUPER_GROUPS: usize = 8;
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
    /// Integers 0 … 15 above a minimum, with factors in integers too.
    #[serde(rename = "q4s")]
    Q4Super,
    /// Integers 0 … 15 above a minimum, with factors in 16 bits.
    #[serde(rename = "q4n")]
    Q4Narrow,
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
    pub const ALL: [Quant; 7] = [
        Quant::Q8,
        Quant::Q4,
        Quant::Q4Min,
        Quant::Q8Min,
        Quant::Q8Half,
        Quant::Q4Super,
        Quant::Q4Narrow,
    ];

    /// Groups that have a head together; one where they have none.
    pub const fn super_groups(self) -> usize {
        match self {
            Quant::Q4Super => SUPER_GROUPS,
            Quant::Q8
            | Quant::Q4
            | Quant::Q4Min
            | Quant::Q8Min
            | Quant::Q8Half
            | Quant::Q4Narrow => 1,
        }
    }

    /// Bytes of the head of a super-block.
    pub const fn head_bytes(self) -> usize {
        match self {
            Quant::Q4Super => 2 * 2 * PANEL_ROWS,
            Quant::Q8
            | Quant::Q4
            | Quant::Q4Min
            | Quant::Q8Min
            | Quant::Q8Half
            | Quant::Q4Narrow => 0,
        }
    }

    /// Where a group begins in its panel.
    pub const fn group_at(self, group: usize) -> usize {
        group * self.group_bytes() + (group / self.super_groups() + 1) * self.head_bytes()
    }

    /// Where the head of a group's super-block begins.
    pub const fn head_at(self, group: usize) -> usize {
        let super_bytes = self.head_bytes() + self.super_groups() * self.group_bytes();
        group / self.super_groups() * super_bytes
    }

    /// Bytes of one group of a panel.
    pub const fn group_bytes(self) -> usize {
        self.factor_bytes() + GROUP * PANEL_ROWS * self.bits() / 8
    }

    /// Bytes of a group's factors, which stand before its integers.
    pub const fn factor_bytes(self) -> usize {
        match self {
            Quant::Q4Super => 2 * PANEL_ROWS,
            Quant::Q8 | Quant::Q4 => 2 * PANEL_ROWS,
            Quant::Q4Narrow => 2 * 2 * PANEL_ROWS,
            Quant::Q4Min | Quant::Q8Min | Quant::Q8Half => 2 * 4 * PANEL_ROWS,
        }
    }

    /// Bits of an integer.
    pub const fn bits(self) -> usize {
        match self {
            Quant::Q4 | Quant::Q4Min | Quant::Q4Super | Quant::Q4Narrow => 4,
            Quant::Q8 | Quant::Q8Min | Quant::Q8Half => 8,
        }
    }

    /// Whether minima are added to values.
    pub const fn has_minima(self) -> bool {
        match self {
            Quant::Q4Min | Quant::Q8Min | Quant::Q4Super | Quant::Q4Narrow => true,
            Quant::Q8 | Quant::Q4 | Quant::Q8Half => false,
        }
    }

    /// Bytes of a panel of rows of `k` elements.
    pub const fn panel_bytes(self, k: usize) -> usize {
        let groups = k.div_ceil(GROUP);
        groups * self.group_bytes() + groups.div_ceil(self.super_groups()) * self.head_bytes()
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
            Quant::Q4Min | Quant::Q4Super | Quant::Q4Narrow => (0, 15),
            Quant::Q8Min => (0, 127),
        }
    }

    /// What is added to an integer when it is stored.
    pub const fn offset(self) -> i32 {
        match self {
            Quant::Q4 => 8,
            Quant::Q8
            | Quant::Q4Min
            | Quant::Q8Min
            | Quant::Q8Half
            | Quant::Q4Super
            | Quant::Q4Narrow => 0,
        }
    }

    /// The integer at a column of row `lane` of a panel.
    pub fn get(self, panel: &[u8], lane: usize, column: usize) -> i32 {
        let byte = panel[self.byte_of(lane, column)];
        match self.bits() {
            4 => i32::from(byte >> high_half(column) & 15) - self.offset(),
            _ => i32::from(byte as i8),
        }
    }

    /// Writes an integer of row `lane` into a panel, where it is zero or was never written.
    pub fn put(self, panel: &mut [u8], lane: usize, column: usize, q: i32) {
        let stored = (q + self.offset()) as u8;
        let byte = &mut panel[self.byte_of(lane, column)];
        match self.bits() {
            4 => *byte = *byte & !(15 << high_half(column)) | stored << high_half(column),
            _ => *byte = stored,
        }
    }

    /// Writes all integers of a group of row `lane` into a panel: [`Quant::put`] for each, many times faster.
    pub fn put_group(self, panel: &mut [u8], lane: usize, group: usize, q: &[i8; GROUP]) {
        for (i, to) in self.group_mut(panel, group).iter_mut().enumerate() {
            to[lane] = self.chunk(q, i);
        }
    }

    /// Writes all integers of a group of all rows into a panel: [`Quant::put_group`] for each, a few times faster.
    pub fn put_groups(self, panel: &mut [u8], group: usize, q: [&[i8; GROUP]; PANEL_ROWS]) {
        for (i, to) in self.group_mut(panel, group).iter_mut().enumerate() {
            for (to, q) in to.iter_mut().zip(q) {
                *to = self.chunk(q, i);
            }
        }
    }

    /// Chunk `i` of a row's integers of a group as a panel has it.
    #[inline]
    fn chunk(self, q: &[i8; GROUP], i: usize) -> [u8; CHUNK] {
        let chunk = |i: usize| {
            let chunk: [i8; CHUNK] = std::array::from_fn(|j| q[i * CHUNK + j]);
            u32::from_le_bytes(chunk.map(|q| q as u8))
        };
        match self.bits() {
            4 => {
                // Of four bits, the highest is the other one when 8 is added.
                let offset = 0x0101_0101 * self.offset() as u32;
                let half = |i: usize| (chunk(i) & 0x0f0f_0f0f) ^ offset;
                (half(i) | half(i + HALF / CHUNK) << 4).to_le_bytes()
            }
            _ => chunk(i).to_le_bytes(),
        }
    }

    /// The integers of a group of all rows.
    fn group_mut(self, panel: &mut [u8], group: usize) -> &mut [[[u8; CHUNK]; PANEL_ROWS]] {
        let bytes = &mut panel[self.group_at(group)..][..self.group_bytes()][self.factor_bytes()..];
        bytes.as_chunks_mut().0.as_chunks_mut().0
    }

    /// The value at a column of row `lane` of a panel: product and sum are rounded once each.
    pub fn value(self, panel: &[u8], lane: usize, column: usize) -> f32 {
        let product = self.get(panel, lane, column) as f32 * self.scale(panel, lane, column);
        match self.has_minima() {
            true => product + self.minimum(panel, lane, column),
            false => product,
        }
    }

    /// The scale at a column of row `lane` of a panel.
    pub fn scale(self, panel: &[u8], lane: usize, column: usize) -> f32 {
        let group = &panel[self.group_at(column / GROUP)..];
        match self {
            Quant::Q8 | Quant::Q4 | Quant::Q4Narrow => half_at(group, lane),
            Quant::Q4Min | Quant::Q8Min => factor(group, lane),
            Quant::Q8Half => factor(group, column % GROUP / HALF * PANEL_ROWS + lane),
            Quant::Q4Super => {
                let head = &panel[self.head_at(column / GROUP)..];
                half_at(head, lane) * f32::from(group[lane])
            }
        }
    }

    /// What is added at a column of row `lane` of a panel of a type [with minima](Quant::has_minima).
    pub fn minimum(self, panel: &[u8], lane: usize, column: usize) -> f32 {
        debug_assert!(self.has_minima());
        let group = &panel[self.group_at(column / GROUP)..];
        match self {
            Quant::Q4Super => {
                let head = &panel[self.head_at(column / GROUP)..];
                let factor = f32::from(group[PANEL_ROWS + lane]);
                -(half_at(head, PANEL_ROWS + lane) * factor)
            }
            Quant::Q4Narrow => half_at(group, PANEL_ROWS + lane),
            Quant::Q8 | Quant::Q4 | Quant::Q4Min | Quant::Q8Min | Quant::Q8Half => {
                factor(group, PANEL_ROWS + lane)
            }
        }
    }

    /// Writes the scale of row `lane` into the bytes of a group of [`Quant::Q8`] or [`Quant::Q4`].
    pub fn put_scale(group: &mut [u8], lane: usize, scale: half::f16) {
        group[2 * lane..2 * lane + 2].copy_from_slice(&scale.to_le_bytes());
    }

    /// Writes what row `lane` has in a group of a type with factors in f32: scale and minimum, or both halves' scales.
    pub fn put_factors(group: &mut [u8], lane: usize, factors: [f32; 2]) {
        for (i, factor) in factors.into_iter().enumerate() {
            group[4 * (i * PANEL_ROWS + lane)..][..4].copy_from_slice(&factor.to_le_bytes());
        }
    }

    /// Writes two factors in f16 of row `lane`: scale and minimum into a group of [`Quant::Q4Narrow`], or the units of both into a head of
    /// [`Quant::Q4Super`].
    pub fn put_halves(at: &mut [u8], lane: usize, factors: [half::f16; 2]) {
        for (i, factor) in factors.into_iter().enumerate() {
            at[2 * (i * PANEL_ROWS + lane)..][..2].copy_from_slice(&factor.to_le_bytes());
        }
    }

    /// Writes scale and minimum of row `lane` into a group of [`Quant::Q4Super`], in the units of its head.
    pub fn put_bytes(group: &mut [u8], lane: usize, factors: [u8; 2]) {
        group[lane] = factors[0];
        group[PANEL_ROWS + lane] = factors[1];
    }

    fn byte_of(self, lane: usize, column: usize) -> usize {
        let chunks = GROUP / CHUNK * self.bits() / 8;
        let i = column % GROUP;
        let inside = (i / CHUNK % chunks * PANEL_ROWS + lane) * CHUNK + i % CHUNK;
        self.group_at(column / GROUP) + self.factor_bytes() + inside
    }
}

/// The f32 with this index at the beginning of a group.
fn factor(group: &[u8], index: usize) -> f32 {
    let bytes = &group[4 * index..4 * index + 4];
    f32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

/// The f16 with this index at the beginning of a group or a head.
fn half_at(bytes: &[u8], index: usize) -> f32 {
    half::f16::from_le_bytes([bytes[2 * index], bytes[2 * index + 1]]).to_f32()
}

/// By how much the integer of four bits at a column is shifted in its byte.
const fn high_half(column: usize) -> usize {
    column % GROUP / HALF * 4
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
            Quant::Q4Super => "q4s",
            Quant::Q4Narrow => "q4n",
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
/// weights stored plus 8. Where there are minima, `acc = fma(x.offset, w.minimum · EIGHTH, acc)` follows, with factors of
/// integers multiplied with their units beforehand; where each half of a
/// group has a scale, the first half comes before the second as if they were groups. So it does not depend on `m`, on `n`, or on the instruction set.
/// `arranged` is null, or what the table's `arrange_blocks` made of all rows of `x`.
pub type QuantMatmulFn = unsafe extern "C" fn(
    x: *const u8,
    x_stride_bytes: usize,
    m: usize,
    w: *const u8,
    n: usize,
    groups: usize,
    out: *mut f32,
    out_stride: usize,
    arranged: *const u8,
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
mod tests;
