//! Quantised products and the rounding of activations: bit for bit what the scalar twins give.

use std::ptr::null;

use graver_runtime::abi::quant::{Block, GROUP, PANEL_ROWS, block_row_bytes};
use graver_runtime::abi::{Arranged, KernelTable, Quant};
use graver_runtime::kernels::scalar_table;
use half::f16;

use crate::arrays::{Guarded, Random, arrange};
use crate::integer_sets;

/// Panels with every integer of the type, and scales of either sign.
fn panels(random: &mut Random, quant: Quant, rows: usize, k: usize) -> Vec<u8> {
    let (low, high) = quant.range();
    let mut out = vec![0; quant.matrix_bytes(rows, k)];
    if k == 0 {
        return out;
    }
    for panel in out.chunks_exact_mut(quant.panel_bytes(k)) {
        let groups = 0..k.div_ceil(GROUP);
        for (g, lane) in groups.flat_map(|g| (0..PANEL_ROWS).map(move |lane| (g, lane))) {
            let factors = [random.value(), random.value()];
            let (halves, at) = (factors.map(f16::from_f32), quant.group_at(g));
            match quant {
                Quant::Q8 | Quant::Q4 => Quant::put_scale(&mut panel[at..], lane, halves[0]),
                Quant::Q4Min | Quant::Q8Min | Quant::Q8Half => {
                    Quant::put_factors(&mut panel[at..], lane, factors);
                }
                Quant::Q4Narrow => Quant::put_halves(&mut panel[at..], lane, halves),
                Quant::Q4Super => {
                    Quant::put_halves(&mut panel[quant.head_at(g)..], lane, halves);
                    let bytes = [random.value(), random.value()];
                    let bytes = bytes.map(|x| (127.6 + 127.6 * x) as u8);
                    Quant::put_bytes(&mut panel[at..], lane, bytes);
                }
            }
            for i in 0..GROUP {
                let q = (f64::from(random.value()) + 1.0) / 2.0 * f64::from(high - low + 1);
                quant.put(panel, lane, g * GROUP + i, (low + q as i32).min(high));
            }
        }
    }
    out
}

/// Rows of blocks, rounded by the scalar twin, with a gap behind each.
fn blocks(x: &[f32], k: usize, stride: usize) -> Vec<u8> {
    let mut out = vec![0u32; (x.len() / k.max(1)).max(1) * stride / 4];
    for (row, x) in x.chunks(k.max(1)).enumerate() {
        // SAFETY: row `row` begins at `row · stride`, has room for `k` activations, and is aligned to 4.
        unsafe {
            let at = out.as_mut_ptr().cast::<u8>().add(row * stride);
            (scalar_table().quantize)(x.as_ptr(), x.len(), at);
        }
    }
    out.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// What stands where a kernel must not write.
const UNTOUCHED: f32 = -1e30;

/// The product by a table's kernel: the same of rows that are arranged beforehand.
fn product(
    table: &KernelTable,
    quant: Quant,
    x: &Guarded,
    w: &Guarded,
    [m, n, k]: [usize; 3],
    gaps: [usize; 2],
) -> Vec<f32> {
    let (x_stride, out_stride) = (block_row_bytes(k) + gaps[0], n + gaps[1]);
    let groups = k.div_ceil(GROUP);
    let run = |arranged| {
        let mut out = vec![UNTOUCHED; m * out_stride];
        // SAFETY: `x`, `w` and `out` have what a product of this shape reads and writes.
        unsafe {
            table.quant_matmul(quant)(
                x.ptr(),
                x_stride,
                m,
                w.ptr(),
                n,
                groups,
                out.as_mut_ptr(),
                out_stride,
                arranged,
            );
        }
        out
    };
    let found = run(null());
    let arranged = arrange(table, Arranged::Blocks, (x.ptr(), x_stride), m, k);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&run(arranged.ptr())), bits(&found), "{quant}");
    found
}

fn check(quant: Quant, shape: [usize; 3]) {
    let [m, n, k] = shape;
    let mut random = Random::new((m * 10_007 + n * 101 + k) as u64);
    let gaps = [8, 3];
    let stride = block_row_bytes(k) + gaps[0];
    let x = Guarded::new(&blocks(&random.values(m * k), k, stride));
    let w = Guarded::new(&panels(&mut random, quant, n, k));
    let expected = product(scalar_table(), quant, &x, &w, shape, gaps);
    for (isa, table) in integer_sets() {
        let found = product(table, quant, &x, &w, shape, gaps);
        let same = found
            .iter()
            .zip(&expected)
            .position(|(a, b)| a.to_bits() != b.to_bits());
        assert_eq!(same, None, "{} {quant} {shape:?}", isa.name());
    }
    let beyond = expected.chunks(n + gaps[1]).flat_map(|row| &row[n..]);
    assert!(beyond.into_iter().all(|v| *v == UNTOUCHED));
}

#[test]
fn products_are_the_twins_bit_for_bit() {
    for quant in Quant::ALL {
        for m in (1..=9).chain([13, 64]) {
            for (n, k) in [(8, 32), (1, 1), (13, 70), (24, 96), (40, 33), (17, 300)] {
                check(quant, [m, n, k]);
            }
        }
        // Runs of groups, and their last.
        check(quant, [5, 16, 2048 + 32]);
        check(quant, [11, 20, 2048 + 1]);
        check(quant, [9, 8, 4096]);
    }
}

#[test]
fn nothing_times_anything() {
    for quant in Quant::ALL {
        for shape in [[0, 8, 32], [3, 0, 32], [3, 8, 0], [10, 9, 0]] {
            check(quant, shape);
        }
    }
}

#[test]
fn an_element_depends_on_its_row_and_column_alone() {
    let (m, n, k) = (12, 24, 600);
    for quant in Quant::ALL {
        let mut random = Random::new(7);
        let stride = block_row_bytes(k);
        let x = blocks(&random.values(m * k), k, stride);
        let w = panels(&mut random, quant, n, k);
        for (_, table) in integer_sets() {
            let whole = product(
                table,
                quant,
                &Guarded::new(&x),
                &Guarded::new(&w),
                [m, n, k],
                [0, 0],
            );
            let (row, panel) = (7, 2);
            let one = product(
                table,
                quant,
                &Guarded::new(&x[row * stride..(row + 1) * stride]),
                &Guarded::new(&w[panel * quant.panel_bytes(k)..]),
                [1, PANEL_ROWS, k],
                [0, 0],
            );
            assert_eq!(one, whole[row * n + panel * PANEL_ROWS..][..PANEL_ROWS]);
        }
    }
}

/// All blocks of a row; equal as bytes.
fn rounded(table: &KernelTable, x: &[f32]) -> Vec<u8> {
    let input = Guarded::of_f32(x);
    let mut out = vec![Block::default(); x.len().div_ceil(GROUP)];
    // SAFETY: as many values, and blocks for them.
    unsafe { (table.quantize)(input.ptr().cast(), x.len(), out.as_mut_ptr().cast()) };
    let bytes = |b: &Block| {
        let q = b.q.map(|q| q as u8);
        [
            q.to_vec(),
            b.scale.to_bits().to_ne_bytes().to_vec(),
            b.offset.to_bits().to_ne_bytes().to_vec(),
            b.bias.to_ne_bytes().to_vec(),
        ]
        .concat()
    };
    out.iter().flat_map(bytes).collect()
}

#[test]
fn activations_are_rounded_as_by_the_twin() {
    let mut random = Random::new(3);
    let mut rows: Vec<Vec<f32>> = (0..100).map(|k| random.values(k)).collect();
    // Ties, zeros, the smallest and the largest numbers, and what is not a number.
    rows.push((0..64).map(|i| (i as f32 - 32.0) / 2.0).collect());
    rows.push(vec![0.0, -0.0, 1e-38, -1e-31]);
    rows.push(vec![f32::MAX, -f32::MAX, 1.0]);
    rows.push(vec![1e-29, -1e-30, 3e-31]);
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut row = random.values(70);
        row[40] = bad;
        rows.push(row);
    }
    for (isa, table) in integer_sets() {
        for row in &rows {
            assert_eq!(
                rounded(table, row),
                rounded(scalar_table(), row),
                "{} {row:?}",
                isa.name()
            );
        }
    }
}

#[test]
fn rows_of_tables_are_the_twins() {
    let (rows, k) = (11, 395);
    for quant in Quant::ALL {
        let w = panels(&mut Random::new(5), quant, rows, k);
        let w = Guarded::new(&w);
        let row = |table: &KernelTable, index: usize| {
            let f = table.quant_row(quant);
            let mut out = vec![0f32; k];
            // SAFETY: the panel exists, and there is room for `k` values.
            unsafe {
                let panel = w.ptr().add(index / PANEL_ROWS * quant.panel_bytes(k));
                f(panel, index % PANEL_ROWS, k, out.as_mut_ptr());
            }
            out
        };
        for (_, table) in integer_sets() {
            (0..rows).for_each(|i| assert_eq!(row(table, i), row(scalar_table(), i)));
        }
    }
}
