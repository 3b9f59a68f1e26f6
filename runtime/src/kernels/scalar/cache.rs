//! Keys and values in int8 with a scale for each group: see [`crate::abi::cache`].

use half::bf16;

use super::{each, sum};
use crate::abi::CACHE_GROUP;
use crate::abi::cache::{GROUP_BYTES, SCALE_BYTES, cache_scale};
use crate::abi::quant::TINY;

/// [`crate::abi::NarrowFn`].
pub(in crate::kernels) unsafe extern "C" fn narrow(
    x: *const f32,
    n: usize,
    group: usize,
    out: *mut u8,
) {
    // SAFETY: the caller gives `n` readable values, and room for their groups.
    let (x, out) = unsafe {
        (
            std::slice::from_raw_parts(x, n),
            std::slice::from_raw_parts_mut(out, n + n.div_ceil(group) * SCALE_BYTES),
        )
    };
    let groups = out.chunks_mut(SCALE_BYTES + group);
    for (x, out) in x.chunks(group).zip(groups) {
        narrow_group(x, out);
    }
}

fn narrow_group(x: &[f32], out: &mut [u8]) {
    let (scale, q) = out.split_at_mut(SCALE_BYTES);
    let largest = x.iter().fold(0f32, |most, v| v.abs().max(most));
    let all_finite = x.iter().all(|v| v.is_finite());
    let unit = match (all_finite, largest < TINY) {
        (false, _) => bf16::NAN,
        (true, true) => bf16::ZERO,
        (true, false) => cache_scale(largest),
    };
    scale.copy_from_slice(&unit.to_le_bytes());
    let inverse = 1.0 / unit.to_f32();
    for (q, v) in q.iter_mut().zip(x) {
        let exact = if inverse.is_finite() {
            v * inverse
        } else {
            0.0
        };
        *q = exact.round_ties_even() as i8 as u8;
    }
}

/// [`crate::abi::WidenFn`].
pub(in crate::kernels) unsafe extern "C" fn widen(
    x: *const u8,
    row_bytes: usize,
    rows: usize,
    n: usize,
    group: usize,
    out: *mut f32,
) {
    for row in 0..rows {
        // SAFETY: the caller gives the groups of `n` values in each of `rows` rows, and room for as many values.
        unsafe { widen_row(x.add(row * row_bytes), n, group, out.add(row * n)) }
    }
}

/// The first `n` values of one row.
///
/// # Safety
/// Their groups are readable at `x`, and `out` is writable for as many values.
pub(in crate::kernels) unsafe fn widen_row(x: *const u8, n: usize, group: usize, out: *mut f32) {
    // SAFETY: the caller gives the groups of `n` values, of which those in front of the last are whole, and room for as many
    // values.
    let (x, out) = unsafe {
        (
            std::slice::from_raw_parts(x, n + n.div_ceil(group) * SCALE_BYTES),
            std::slice::from_raw_parts_mut(out, n),
        )
    };
    for (x, out) in x.chunks(SCALE_BYTES + group).zip(out.chunks_mut(group)) {
        let scale = bf16::from_le_bytes([x[0], x[1]]).to_f32();
        for (q, v) in x[SCALE_BYTES..].iter().zip(out) {
            *v = f32::from(*q as i8) * scale;
        }
    }
}

/// [`crate::abi::KernelTable::matmul_cache_q8`], or that of rows `[k, n]` which are summed up.
pub(in crate::kernels) unsafe extern "C" fn matmul<const OVER_ROWS: bool>(
    x: *const f32,
    x_stride: usize,
    m: usize,
    w: *const u8,
    row_bytes: usize,
    n: usize,
    k: usize,
    out: *mut f32,
    out_stride: usize,
    accumulate: usize,
    _arranged: *const u8,
    _scratch: *mut u8,
) {
    // SAFETY: for rows below `m`, columns below `n` and terms below `k` the caller gives readable elements of both and a place.
    unsafe {
        each([m, n], out, out_stride, accumulate, |row, col| {
            sum(k, |i| {
                let (at, element) = if OVER_ROWS { (i, col) } else { (col, i) };
                *x.add(row * x_stride + i) * value(w.add(at * row_bytes), element)
            })
        });
    }
}

/// Value `i` of a row in groups of [`CACHE_GROUP`].
///
/// # Safety
/// The row has it.
unsafe fn value(row: *const u8, i: usize) -> f32 {
    let group = row.wrapping_add(i / CACHE_GROUP * GROUP_BYTES);
    // SAFETY: the caller's row has the value, and its group begins with a scale.
    unsafe {
        let scale = bf16::from_bits(group.cast::<u16>().read_unaligned());
        let q = group.add(SCALE_BYTES + i % CACHE_GROUP).cast::<i8>().read();
        f32::from(q) * scale.to_f32()
    }
}
