//! What `MatmulFn` promises of every set: an element depends, bit for bit, on its row, its column and `k` alone.

use std::ops::Range;
use std::ptr::null;

use graver_runtime::abi::{DECODE_TOKENS, Dtype};
use graver_runtime::kernels::{Isa, scalar_table};

use crate::arrays::{encode, with_scratch};
use crate::float_sets;
use crate::matmul::{KINDS, Layout, Product, kernel};

/// Checks that calls on `rows` and `cols` of a product write what the call on `whole` rows and all columns wrote.
fn parts_equal_whole(
    p: &Product,
    whole: Range<usize>,
    rows: &[Range<usize>],
    cols: &[Range<usize>],
) {
    for table in float_sets()
        .iter()
        .map(|(_, table)| table)
        .chain([scalar_table()])
    {
        let expected = p.run(table, whole.clone(), 0..p.n, None);
        for (r, c) in rows.iter().flat_map(|r| cols.iter().map(move |c| (r, c))) {
            let found = p.run(table, r.clone(), c.clone(), None);
            for (row, col) in r
                .clone()
                .flat_map(|row| c.clone().map(move |col| (row, col)))
            {
                let at = row * p.out_stride() + col;
                assert_eq!(
                    found[at].to_bits(),
                    expected[at].to_bits(),
                    "k {} rows {r:?} columns {c:?}: element ({row}, {col})",
                    p.k
                );
            }
        }
    }
}

const COLUMNS: [Range<usize>; 7] = [0..70, 0..1, 3..11, 8..40, 17..34, 5..69, 64..70];

#[test]
fn few_rows_by_any_cut() {
    let rows: Vec<_> = (1..=DECODE_TOKENS)
        .flat_map(|m| [0..m, DECODE_TOKENS - m..DECODE_TOKENS])
        .collect();
    for (dtype, layout) in KINDS {
        for k in [5, 64, 301, 600] {
            let p = Product::new(DECODE_TOKENS, 70, k, dtype, layout);
            parts_equal_whole(&p, 0..DECODE_TOKENS, &rows, &COLUMNS);
        }
    }
}

#[test]
fn many_rows_by_any_cut() {
    let rows = [0..9, 1..10, 3..20, 0..130, 7..131];
    for (dtype, layout) in KINDS {
        for k in [5, 64, 301] {
            let p = Product::new(131, 70, k, dtype, layout);
            parts_equal_whole(&p, 0..131, &rows, &COLUMNS);
        }
    }
}

/// Neither the width of vectors nor how weights are asked for changes the order of an element's terms; tiles of AMX, and products of bf16, add several at once.
#[test]
fn sets_of_wide_vectors_give_the_same_bits() {
    let Some(((first, expected), others)) = float_sets().split_first() else {
        return;
    };
    for (dtype, layout) in KINDS {
        for k in [0, 5, 64, 301, 539, 600, 1100] {
            for m in [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 64, 131] {
                // One row reads long matrices in another way.
                let n = if m == 1 && k >= 600 { 150 } else { 37 };
                let p = Product::new(m, n, k, dtype, layout);
                let bits = |table| {
                    let out = p.run_all(table, None);
                    out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
                };
                let expected = bits(expected);
                let by_tiles = |isa| {
                    let several = match layout {
                        Layout::Nk | Layout::Kn => isa == Isa::Amx,
                        // Pairs of terms, where the processor multiplies bf16.
                        Layout::Rounded => isa != Isa::Avx2,
                    };
                    several && m > DECODE_TOKENS
                };
                for (other, table) in others.iter().filter(|(set, _)| !by_tiles(set.isa)) {
                    let (a, b) = (first.name(), other.name());
                    assert!(
                        bits(table) == expected,
                        "{a}, {b}: {dtype} {layout:?} {m} {k}"
                    );
                }
            }
        }
    }
}

/// What products by tiles must not lose: numbers at either end of what a type has, and that something is no number.
#[test]
fn the_largest_and_the_smallest_are_multiplied_as_well() {
    let of_f32 = [
        f32::MAX,
        -f32::MAX,
        3.4e38,
        1e30,
        1.0 + f32::EPSILON,
        1e-30,
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::from_bits(0x7fff_ffff),
        f32::from_bits(0xffff_ffff),
        f32::from_bits(0x7f80_0001),
    ];
    // Normal and not.
    let of_f16 = [65504.0, 1.0 + 1.0 / 1024.0, 6.1e-5, 6e-8, 0.0, -65504.0];
    let of_bf16 = [3.39e38, 1.0 + 1.0 / 128.0, 1e-30, 0.0, -3.39e38];
    for (dtype, layout) in KINDS {
        if layout == Layout::Rounded {
            continue;
        }
        let weights: &[f32] = match dtype {
            Dtype::F32 => &of_f32,
            Dtype::F16 => &of_f16,
            Dtype::Bf16 => &of_bf16,
        };
        times_one(&of_f32, &[1.0], (dtype, layout));
        times_one(&[1.0; 9], weights, (dtype, layout));
    }
}

/// All activations times all weights, in rows of one term.
fn times_one(x: &[f32], w: &[f32], (dtype, layout): (Dtype, Layout)) {
    let (m, n) = (x.len(), w.len());
    let bytes = encode(w, dtype);
    let row = dtype.size() * if layout == Layout::Kn { n } else { 1 };
    for (set, table) in float_sets() {
        let mut out = vec![7.0; m * n];
        with_scratch(|scratch| {
            let (x, w, out) = (x.as_ptr(), bytes.as_ptr(), out.as_mut_ptr());
            // SAFETY: `m` rows of one value, `n` weights, and as many results.
            unsafe {
                let kernel = kernel(table, dtype, layout);
                kernel(x, 1, m, w, row, n, 1, out, n, 0, null(), scratch);
            }
        });
        for (i, y) in out.into_iter().enumerate() {
            let (x, w) = (x[i / n], dtype.round(w[i % n]));
            // In parts, one is one and nothing, and nothing times infinity is no number.
            let in_parts = set.isa == Isa::Amx && dtype != Dtype::Bf16;
            let is_infinite = (x * w).is_infinite() && !(in_parts && m > DECODE_TOKENS);
            let no_number = !is_infinite && !(x * w).is_finite() && y.is_nan();
            assert!(
                y == x * w || no_number,
                "{}: {dtype} {layout:?}: {x} times {w} is {y}",
                set.name()
            );
        }
    }
}
