//! Quantised products in plain Rust: the integers are summed exactly, and everything in f32 happens in one stated order, so
//! that other instruction sets give the same bits.

use std::ops::Range;

use crate::abi::Quant;
use crate::abi::quant::{Block, EIGHTH, GROUP, PANEL_ROWS, TINY};

/// A type of quantised weights.
pub(in crate::kernels) trait Panels {
    const QUANT: Quant;
}

pub(in crate::kernels) struct Q8;
pub(in crate::kernels) struct Q4;

impl Panels for Q8 {
    const QUANT: Quant = Quant::Q8;
}

impl Panels for Q4 {
    const QUANT: Quant = Quant::Q4;
}

pub(in crate::kernels) struct Q4Min;
pub(in crate::kernels) struct Q8Min;
pub(in crate::kernels) struct Q8Half;
pub(in crate::kernels) struct Q4Super;
pub(in crate::kernels) struct Q4Narrow;

impl Panels for Q4Min {
    const QUANT: Quant = Quant::Q4Min;
}

impl Panels for Q8Min {
    const QUANT: Quant = Quant::Q8Min;
}

impl Panels for Q8Half {
    const QUANT: Quant = Quant::Q8Half;
}

impl Panels for Q4Super {
    const QUANT: Quant = Quant::Q4Super;
}

impl Panels for Q4Narrow {
    const QUANT: Quant = Quant::Q4Narrow;
}

/// [`QuantMatmulFn`](crate::abi::QuantMatmulFn).
pub(in crate::kernels) unsafe extern "C" fn matmul<P: Panels>(
    x: *const u8,
    x_stride_bytes: usize,
    m: usize,
    w: *const u8,
    n: usize,
    groups: usize,
    out: *mut f32,
    out_stride: usize,
    _arranged: *const u8,
) {
    let panel_bytes = P::QUANT.panel_bytes(groups * GROUP);
    if groups * m * n == 0 {
        // SAFETY: the caller gives `m` rows of `n` writable elements.
        (0..m).for_each(|row| unsafe { out.add(row * out_stride).write_bytes(0, n) });
        return;
    }
    for col in 0..n {
        // SAFETY: `col < n`, so that its panel is one of those the caller gives.
        let panel = unsafe {
            let panel = w.add(col / PANEL_ROWS * panel_bytes);
            std::slice::from_raw_parts(panel, panel_bytes)
        };
        for g in 0..groups {
            let of_group = Group::of(P::QUANT, panel, col % PANEL_ROWS, g);
            for row in 0..m {
                // SAFETY: `row < m`, for which the caller gives a row of blocks, and the result has a place.
                unsafe {
                    let block = &*x.add(row * x_stride_bytes).cast::<Block>().add(g);
                    let out = out.add(row * out_stride + col);
                    let so_far = if g == 0 { 0.0 } else { *out };
                    *out = of_group.add(block, so_far);
                }
            }
        }
    }
}

/// A group of a row of weights.
struct Group {
    quant: Quant,
    /// As they are stored.
    integers: [i32; GROUP],
    /// Of either half.
    scales: [f32; 2],
    minimum: f32,
}

impl Group {
    fn of(quant: Quant, panel: &[u8], lane: usize, g: usize) -> Group {
        let first = g * GROUP;
        let stored = |i: usize| quant.get(panel, lane, first + i) + quant.offset();
        Group {
            quant,
            integers: std::array::from_fn(stored),
            scales: [0, GROUP / 2].map(|half| quant.scale(panel, lane, first + half)),
            minimum: match quant.has_minima() {
                true => quant.minimum(panel, lane, first),
                false => 0.0,
            },
        }
    }

    /// What the groups before give, and what this one does.
    fn add(&self, block: &Block, acc: f32) -> f32 {
        let sum = |range: Range<usize>| {
            let products = range.map(|i| i32::from(block.q[i]) * self.integers[i]);
            products.sum::<i32>() as f32
        };
        let scaled = |range: Range<usize>, scale: f32, acc: f32| {
            (sum(range) * block.scale).mul_add(scale, acc)
        };
        let [scale, second] = self.scales;
        match self.quant {
            Quant::Q8 => scaled(0..GROUP, scale, acc),
            Quant::Q4 => {
                let t = sum(0..GROUP).mul_add(block.scale, block.offset);
                t.mul_add(scale, acc)
            }
            Quant::Q4Min | Quant::Q8Min | Quant::Q4Super | Quant::Q4Narrow => {
                let acc = scaled(0..GROUP, scale, acc);
                block.offset.mul_add(self.minimum * EIGHTH, acc)
            }
            Quant::Q8Half => {
                let acc = scaled(0..GROUP / 2, scale, acc);
                scaled(GROUP / 2..GROUP, second, acc)
            }
        }
    }
}

/// [`QuantRowFn`](crate::abi::QuantRowFn).
pub(in crate::kernels) unsafe extern "C" fn row<P: Panels>(
    panel: *const u8,
    lane: usize,
    k: usize,
    out: *mut f32,
) {
    if k == 0 {
        return;
    }
    // SAFETY: the caller gives a panel of rows of `k` elements, and `k` writable elements.
    let (panel, out) = unsafe {
        (
            std::slice::from_raw_parts(panel, P::QUANT.panel_bytes(k)),
            std::slice::from_raw_parts_mut(out, k),
        )
    };
    for (column, out) in out.iter_mut().enumerate() {
        *out = P::QUANT.value(panel, lane, column);
    }
}

/// [`QuantizeFn`](crate::abi::QuantizeFn).
pub(in crate::kernels) unsafe extern "C" fn quantize(x: *const f32, k: usize, out: *mut u8) {
    if k == 0 {
        return;
    }
    // SAFETY: the caller gives `k` values and room for their blocks, aligned to 4.
    let (x, out) = unsafe {
        (
            std::slice::from_raw_parts(x, k),
            std::slice::from_raw_parts_mut(out.cast::<Block>(), k.div_ceil(GROUP)),
        )
    };
    x.chunks(GROUP)
        .zip(out)
        .for_each(|(x, out)| *out = block(x));
}

fn block(x: &[f32]) -> Block {
    // As integers, magnitudes are ordered as they are as floats, with NaN above all of them.
    let largest = x.iter().map(|v| v.abs().to_bits()).max().unwrap_or(0);
    let largest = f32::from_bits(largest);
    let mut block = Block::default();
    if largest < TINY {
        return block;
    }
    if !largest.is_finite() {
        (block.scale, block.offset) = (f32::NAN, f32::NAN);
        return block;
    }
    let inverse = 127.0 / largest;
    for (q, v) in block.q.iter_mut().zip(x) {
        *q = (v * inverse).round_ties_even() as i8;
    }
    block.scale = largest / 127.0;
    let sum: i32 = block.q.iter().map(|q| i32::from(*q)).sum();
    block.offset = -8.0 * block.scale * sum as f32;
    block.bias = -128 * sum;
    let half = block.q[..GROUP / 2].iter();
    block.half_bias = -128 * half.map(|q| i32::from(*q)).sum::<i32>();
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random, between −1 and 1.
    fn number(i: usize) -> f32 {
        (i.wrapping_mul(2_654_435_761) >> 7) as u16 as f32 / 32768.0 - 1.0
    }

    fn panels(quant: Quant, rows: usize, k: usize) -> Vec<u8> {
        let (low, high) = quant.range();
        let mut out = vec![0; quant.matrix_bytes(rows, k)];
        let panels = out.chunks_exact_mut(quant.panel_bytes(k)).enumerate();
        for (p, panel) in panels {
            for (g, lane) in
                (0..k.div_ceil(GROUP)).flat_map(|g| (0..PANEL_ROWS).map(move |l| (g, l)))
            {
                let index = p * k.div_ceil(GROUP) + g;
                let x = [number(index * 8 + lane), number(index * 8 + lane + 4000)];
                let (halves, at) = (x.map(half::f16::from_f32), quant.group_at(g));
                match quant {
                    Quant::Q8 | Quant::Q4 => Quant::put_scale(&mut panel[at..], lane, halves[0]),
                    Quant::Q4Min | Quant::Q8Min | Quant::Q8Half => {
                        Quant::put_factors(&mut panel[at..], lane, x);
                    }
                    Quant::Q4Narrow => Quant::put_halves(&mut panel[at..], lane, halves),
                    Quant::Q4Super => {
                        let units = halves.map(|x| x / half::f16::from_f32(256.0));
                        Quant::put_halves(&mut panel[quant.head_at(g)..], lane, units);
                        let bytes = [index * 37 + lane, index * 91 + lane].map(|b| b as u8);
                        Quant::put_bytes(&mut panel[at..], lane, bytes);
                    }
                }
                for i in 0..GROUP {
                    let q = low + (index * 77 + lane * 31 + i * 17) as i32 % (high - low + 1);
                    quant.put(panel, lane, g * GROUP + i, q);
                }
            }
        }
        out
    }

    fn blocks(x: &[f32]) -> Vec<Block> {
        let mut out = vec![Block::default(); x.len().div_ceil(GROUP)];
        // SAFETY: `x` and `out` are as long as each other.
        unsafe { quantize(x.as_ptr(), x.len(), out.as_mut_ptr().cast()) };
        out
    }

    fn check<P: Panels>(m: usize, n: usize, k: usize) {
        let w = panels(P::QUANT, n, k);
        let x: Vec<Vec<f32>> = (0..m)
            .map(|r| (0..k).map(|c| number(r * 1000 + c)).collect())
            .collect();
        let x: Vec<Vec<Block>> = x.iter().map(|row| blocks(row)).collect();
        let (groups, flat) = (k.div_ceil(GROUP), x.concat());
        let mut out = vec![f32::NAN; m * (n + 3)];
        let stride = groups * size_of::<Block>();
        // SAFETY: rows of blocks, panels and results of the sizes given.
        unsafe {
            matmul::<P>(
                flat.as_ptr().cast(),
                stride,
                m,
                w.as_ptr(),
                n,
                groups,
                out.as_mut_ptr(),
                n + 3,
                std::ptr::null(),
            )
        };
        for (row, col) in (0..m).flat_map(|r| (0..n).map(move |c| (r, c))) {
            let mut weights = vec![0.0; groups * GROUP];
            let panel = &w[col / PANEL_ROWS * P::QUANT.panel_bytes(k)..];
            // SAFETY: `panel` has rows of `groups` groups.
            unsafe {
                super::row::<P>(
                    panel.as_ptr(),
                    col % PANEL_ROWS,
                    groups * GROUP,
                    weights.as_mut_ptr(),
                )
            };
            let values = x[row]
                .iter()
                .flat_map(|b| b.q.map(|q| f64::from(b.scale) * f64::from(q)));
            let expected: f64 = values.zip(&weights).map(|(x, w)| x * f64::from(*w)).sum();
            let found = f64::from(out[row * (n + 3) + col]);
            assert!(
                (found - expected).abs() < 1e-4 * k as f64,
                "{m} {n} {k} [{row}, {col}]: {found} for {expected}"
            );
        }
        let beyond = out.chunks(n + 3).flat_map(|row| &row[n..]);
        assert!(
            beyond.into_iter().all(|v| v.is_nan()),
            "nothing is written beyond a row"
        );
    }

    #[test]
    fn products_are_those_of_the_numbers_that_the_bytes_stand_for() {
        for (m, n, k) in [(1, 8, 32), (3, 13, 70), (2, 1, 1), (9, 20, 96), (2, 9, 300)] {
            check::<Q8>(m, n, k);
            check::<Q4>(m, n, k);
            check::<Q4Min>(m, n, k);
            check::<Q8Min>(m, n, k);
            check::<Q8Half>(m, n, k);
            check::<Q4Super>(m, n, k);
            check::<Q4Narrow>(m, n, k);
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_step() {
        let x: Vec<f32> = (0..77).map(|i| 3.0 * number(i)).collect();
        let out = blocks(&x);
        assert!(
            out[2].q[13..].iter().all(|q| *q == 0),
            "filled up with zeros"
        );
        for (x, block) in x.chunks(GROUP).zip(&out) {
            let errors = x
                .iter()
                .zip(block.q)
                .map(|(x, q)| (x - f32::from(q) * block.scale).abs());
            assert!(errors.fold(0.0, f32::max) <= 0.5001 * block.scale);
            let sum: i32 = block.q.iter().map(|q| i32::from(*q)).sum();
            assert_eq!(block.offset, -8.0 * block.scale * sum as f32);
            assert_eq!(block.bias, -128 * sum);
            let half: i32 = block.q[..GROUP / 2].iter().map(|q| i32::from(*q)).sum();
            assert_eq!(block.half_bias, -128 * half);
        }
    }

    #[test]
    fn zeros_tiny_values_and_what_is_not_finite() {
        assert_eq!(blocks(&[0.0, -0.0]), [Block::default()]);
        assert_eq!(blocks(&[1e-38, -1e-31]), [Block::default()]);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let out = blocks(&[1.0, bad, 2.0]);
            assert!(out[0].scale.is_nan() && out[0].offset.is_nan() && out[0].q == [0; GROUP]);
        }
    }
}
