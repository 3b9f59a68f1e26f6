//! Keys and values in int8: bit for bit what the scalar twins give, and as close to what they were as their scales allow.

use std::ptr::null;

use graver_runtime::abi::{CACHE_GROUP, CacheType, KernelTable};
use graver_runtime::kernels::scalar_table;

use crate::arrays::{Guarded, Random, with_scratch};
use crate::sets;

/// Rows of values, and how they are cut.
#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    n: usize,
    group: usize,
}

/// Odd widths, several groups, groups of every size, and none.
fn shapes() -> impl Iterator<Item = Shape> {
    let widths = [0, 1, 7, 31, 32, 33, 64, 100, 128, 576];
    let groups = [1, 2, 8, 16, CACHE_GROUP];
    let all = widths.into_iter().flat_map(move |n| groups.map(|g| (n, g)));
    all.flat_map(|(n, group)| [1, 5].map(|rows| Shape { rows, n, group }))
}

/// Bytes of all rows.
fn narrow(t: &KernelTable, x: &[f32], s: Shape) -> Vec<u8> {
    let bytes = CacheType::Q8.bytes(s.n, s.group);
    let each = x.chunks(s.n.max(1)).take(s.rows);
    each.flat_map(|x| {
        let (from, mut to) = (Guarded::of_f32(x), Guarded::new(&vec![0; bytes]));
        // SAFETY: `n` values, and room for their groups.
        unsafe {
            (t.f32_to_cache_q8)(from.ptr().cast(), s.n, s.group, to.ptr_mut());
            std::slice::from_raw_parts(to.ptr(), bytes).to_vec()
        }
    })
    .collect()
}

/// The first `n` values of each row.
fn widen(t: &KernelTable, rows: &[u8], s: Shape, n: usize) -> Vec<f32> {
    let row_bytes = CacheType::Q8.bytes(s.n, s.group);
    let from = Guarded::new(rows);
    let mut to = Guarded::new(&vec![0; s.rows * n * 4]);
    // SAFETY: as many rows, and room for the values.
    unsafe {
        let out = to.ptr_mut().cast();
        (t.cache_q8_to_f32)(from.ptr(), row_bytes, s.rows, n, s.group, out);
    }
    to.f32s(s.rows * n)
}

/// Values of very different sizes, with exceptional groups among them.
fn values(s: Shape) -> Vec<f32> {
    let mut random = Random::new((s.rows * 1_000_003 + s.n * 101 + s.group) as u64);
    let mut x = random.values(s.rows * s.n);
    for (i, x) in x.chunks_mut(s.group).enumerate() {
        let factor = [1.0, 1e-12, 3e7, 1e-33, 0.0][i % 5];
        x.iter_mut().for_each(|x| *x *= factor);
    }
    x
}

#[test]
fn every_bit_is_the_scalar_twins() {
    for s in shapes() {
        let x = values(s);
        let expected = narrow(scalar_table(), &x, s);
        let wide = widen(scalar_table(), &expected, s, s.n);
        for (isa, t) in sets() {
            assert_eq!(narrow(t, &x, s), expected, "{} {s:?}", isa.name());
            assert_eq!(widen(t, &expected, s, s.n), wide, "{} {s:?}", isa.name());
        }
    }
}

#[test]
fn values_come_back_to_half_a_step() {
    for s in shapes() {
        let x = values(s);
        let back = widen(scalar_table(), &narrow(scalar_table(), &x, s), s, s.n);
        let rows = x.chunks(s.n.max(1)).zip(back.chunks(s.n.max(1)));
        for (x, back) in rows.flat_map(|(x, b)| x.chunks(s.group).zip(b.chunks(s.group))) {
            let largest = x.iter().fold(0f32, |most, v| v.abs().max(most));
            // Scales are rounded up by less than one part in 128.
            let allowed = largest / 127.0 * 0.505 + 1e-30;
            for (x, back) in x.iter().zip(back) {
                assert!(
                    (x - back).abs() <= allowed,
                    "{x} came back as {back}: {s:?}"
                );
            }
        }
    }
}

#[test]
fn a_part_of_a_row_is_read_by_itself() {
    let s = Shape {
        rows: 3,
        n: 96,
        group: CACHE_GROUP,
    };
    let rows = narrow(scalar_table(), &values(s), s);
    for (_, t) in sets() {
        let (whole, part) = (widen(t, &rows, s, 96), widen(t, &rows, s, 64));
        for (whole, part) in whole.chunks(96).zip(part.chunks(64)) {
            assert_eq!(whole[..64], *part);
        }
    }
}

#[test]
fn a_value_that_is_not_finite_spoils_its_group_alone() {
    let s = Shape {
        rows: 1,
        n: 64,
        group: CACHE_GROUP,
    };
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = vec![0.5; 64];
        x[3] = wrong;
        let expected = narrow(scalar_table(), &x, s);
        for (_, t) in sets() {
            assert_eq!(narrow(t, &x, s), expected);
            let back = widen(t, &expected, s, 64);
            assert!(back[..32].iter().all(|v| v.is_nan()));
            assert!(back[32..].iter().all(|v| (v - 0.5).abs() < 0.002));
        }
    }
}

/// Products with rows as they lie, against those with the same rows made into f32.
#[test]
fn products_take_rows_as_they_are() {
    for (m, k, n) in [
        (1, 64, 256),
        (3, 64, 37),
        (4, 128, 9),
        (7, 96, 1),
        (8, 32, 70),
        (11, 160, 33),
        (2, 64, 0),
        (3, 0, 5),
    ] {
        for over_rows in [false, true] {
            for accumulate in [false, true] {
                products_agree([m, n, k], over_rows, accumulate);
            }
        }
    }
}

/// `n` rows of `k` values, multiplied along these, or, over rows, weighed and added up.
fn products_agree([m, n, k]: [usize; 3], over_rows: bool, accumulate: bool) {
    const GAP: usize = 3;
    // Rows have more values than are multiplied: those of latents do.
    let s = Shape {
        rows: n,
        n: k + CACHE_GROUP,
        group: CACHE_GROUP,
    };
    let row_bytes = CacheType::Q8.bytes(s.n, s.group);
    let cached = narrow(scalar_table(), &values(s), s);
    let cached =
        &cached[..(n * row_bytes).saturating_sub(CacheType::Q8.bytes(CACHE_GROUP, CACHE_GROUP))];
    let (columns, terms) = if over_rows { (k, n) } else { (n, k) };
    let mut random = Random::new((m * 7919 + n * 31 + k) as u64);
    let x = random.values((m * (terms + GAP)).saturating_sub(GAP));
    let before = random.values((m * (columns + GAP)).saturating_sub(GAP));
    let run = |t: &KernelTable| {
        let kernel = if over_rows {
            t.matmul_kn_cache_q8
        } else {
            t.matmul_cache_q8
        };
        let (w, x, mut out) = (
            Guarded::new(cached),
            Guarded::of_f32(&x),
            Guarded::of_f32(&before),
        );
        with_scratch(|scratch| {
            // SAFETY: rows, columns and strides are those of the arrays.
            unsafe {
                kernel(
                    x.ptr().cast(),
                    terms + GAP,
                    m,
                    w.ptr(),
                    row_bytes,
                    columns,
                    terms,
                    out.ptr_mut().cast(),
                    columns + GAP,
                    usize::from(accumulate),
                    null(),
                    scratch,
                );
            }
        });
        out.f32s(before.len())
    };
    let wide = widen(scalar_table(), cached, s, k);
    for t in sets().iter().map(|(_, t)| t).chain([scalar_table()]) {
        let found = run(t);
        for (i, found) in found.iter().enumerate() {
            let (row, col) = (i / (columns + GAP), i % (columns + GAP));
            if col >= columns {
                assert_eq!(found.to_bits(), before[i].to_bits(), "between rows");
                continue;
            }
            let term = |t: usize| {
                let (at, element) = if over_rows { (t, col) } else { (col, t) };
                f64::from(x[row * (terms + GAP) + t]) * f64::from(wide[at * k + element])
            };
            let start = if accumulate {
                f64::from(before[i])
            } else {
                0.0
            };
            let expected: f64 = start + (0..terms).map(term).sum::<f64>();
            let size: f64 = start.abs() + (0..terms).map(|t| term(t).abs()).sum::<f64>();
            assert!(
                (f64::from(*found) - expected).abs() <= 1e-6 * size,
                "{m} × {n} × {k} over_rows={over_rows} accumulate={accumulate}: ({row}, {col}) is {found}, expected {expected}"
            );
        }
    }
}
