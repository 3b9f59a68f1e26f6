//! Floats of eight and of four bits: FP8 in blocks with scales, MXFP4 in groups with powers of two.

use std::sync::LazyLock;

use graver_runtime::abi::Dtype;
use half::{bf16, f16};

use crate::weights::published::GROUP;

/// A number that is not finite once it is scaled.
pub(super) enum Misfit {
    /// The scale with this index is not finite itself.
    Scale { index: usize, found: f32 },
    /// The value with this index becomes infinite.
    Value {
        index: usize,
        value: f32,
        scale: f64,
    },
}

/// FP8 with its scales.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'a> {
    pub(super) bytes: &'a [u8],
    /// Rows and columns of each matrix.
    pub(super) plane: (usize, usize),
    pub(super) block: [usize; 2],
    pub(super) scales: &'a [u8],
    pub(super) scale_type: Dtype,
}

impl Blocks<'_> {
    /// Makes one row; rows of all matrices are counted through.
    pub(super) fn fill_row(&self, row: usize, out: &mut [u8]) -> Result<(), Misfit> {
        let ((rows, columns), [high, wide]) = (self.plane, self.block);
        let scale_row = row / rows * rows.div_ceil(high) + row % rows / high;
        let first_scale = scale_row * columns.div_ceil(wide);
        // One scale may be for everything, all matrices of a stack.
        let last_scale = self.scales.len() / self.scale_type.size() - 1;
        let values = &self.bytes[row * columns..][..columns];
        let runs = out.chunks_mut(wide * 4).zip(values.chunks(wide));
        for (b, (out, values)) in runs.enumerate() {
            let index = (first_scale + b).min(last_scale);
            let scale = self
                .scale_type
                .read(&self.scales[index * self.scale_type.size()..]);
            check_run(values, scale, index, row * columns + b * wide)?;
            for (out, value) in out.chunks_exact_mut(4).zip(values) {
                out.copy_from_slice(&(E4M3[usize::from(*value)] * scale).to_le_bytes());
            }
        }
        Ok(())
    }
}

/// Checks that what is a number in a run of FP8 is one times its scale too. `first` is the index of the first value.
fn check_run(values: &[u8], scale: f32, index: usize, first: usize) -> Result<(), Misfit> {
    if !scale.is_finite() {
        return Err(Misfit::Scale {
            index,
            found: scale,
        });
    }
    // Nearly always the largest value of all shows that nothing can go wrong.
    if (LARGEST_E4M3 * scale).is_finite() {
        return Ok(());
    }
    let numbers = values.iter().map(|code| E4M3[usize::from(*code)]);
    match numbers.enumerate().find(|(_, v)| (v * scale).is_infinite()) {
        Some((i, value)) => Err(Misfit::Value {
            index: first + i,
            value,
            scale: f64::from(scale),
        }),
        None => Ok(()),
    }
}

/// Makes one group of MXFP4: the lower half of a byte comes first.
pub(super) fn fill_group(pairs: &[u8], scale: u8, to: Dtype, out: &mut [u8]) {
    let scale = power(scale);
    for (out, code) in out.chunks_exact_mut(to.size()).zip(codes(pairs)) {
        let value = f64::from(E2M1[code]) * scale;
        match to {
            Dtype::F32 => out.copy_from_slice(&(value as f32).to_le_bytes()),
            Dtype::Bf16 => out.copy_from_slice(&bf16::from_f64(value).to_le_bytes()),
            Dtype::F16 => out.copy_from_slice(&f16::from_f64(value).to_le_bytes()),
        }
    }
}

/// Checks that a group of MXFP4, the one with this index, stays below 2¹²⁸, where f32 and bf16 end.
pub(super) fn check_group(pairs: &[u8], scale: u8, index: usize) -> Result<(), Misfit> {
    // The largest exponent with which all values stay below: 6 times 2¹²⁵ does.
    const SAFE: u8 = 127 + 125;
    if scale <= SAFE {
        return Ok(());
    }
    if scale == u8::MAX {
        let found = f32::NAN;
        return Err(Misfit::Scale { index, found });
    }
    let mut values = codes(pairs).map(|code| E2M1[code]).enumerate();
    let limit = 128f64.exp2();
    match values.find(|(_, v)| f64::from(v.abs()) * power(scale) >= limit) {
        Some((i, value)) => Err(Misfit::Value {
            index: index * GROUP + i,
            value,
            scale: power(scale),
        }),
        None => Ok(()),
    }
}

fn codes(pairs: &[u8]) -> impl Iterator<Item = usize> {
    let codes = pairs.iter().flat_map(|pair| [pair & 15, pair >> 4]);
    codes.map(usize::from)
}

/// What a scale of MXFP4 stands for.
fn power(scale: u8) -> f64 {
    f64::from(i32::from(scale) - 127).exp2()
}

/// The values of e2m1: a sign, two bits of exponent, one of mantissa.
const E2M1: [f32; 16] = [
    0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0,
];

/// The largest of e4m3.
const LARGEST_E4M3: f32 = 448.0;

/// The values of e4m3: a sign, four bits of exponent (bias 7), three of mantissa; no infinity, one NaN.
static E4M3: LazyLock<[f32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|code| {
        let (exponent, mantissa) = ((code >> 3 & 15) as i32, (code & 7) as f32);
        let sign = if code >> 7 == 0 { 1.0 } else { -1.0 };
        match (exponent, code & 7) {
            (15, 7) => f32::NAN,
            (0, _) => sign * mantissa / 8.0 * 2f32.powi(-6),
            _ => sign * (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
        }
    })
});
