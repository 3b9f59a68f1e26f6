//! Matmuls against their scalar twins: every shape class, type, layout and alignment.

use std::ptr::null;

use graver_runtime::abi::{Arranged, Dtype, KernelTable, MatmulFn};
use graver_runtime::kernels::scalar_table;

use crate::arrays::{Guarded, Random, arrange, encode, with_scratch};
use crate::float_sets;

/// How weights lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[n, k]`.
    Nk,
    /// `[k, n]`.
    Kn,
    /// `[n, k]`, multiplied with activations rounded to bf16.
    Rounded,
}

/// What there are kernels for.
pub(crate) const KINDS: [(Dtype, Layout); 7] = [
    (Dtype::F32, Layout::Nk),
    (Dtype::F32, Layout::Kn),
    (Dtype::Bf16, Layout::Nk),
    (Dtype::Bf16, Layout::Kn),
    (Dtype::Bf16, Layout::Rounded),
    (Dtype::F16, Layout::Nk),
    (Dtype::F16, Layout::Kn),
];

pub(crate) fn kernel(table: &KernelTable, dtype: Dtype, layout: Layout) -> MatmulFn {
    match (dtype, layout) {
        (Dtype::F32, Layout::Nk) => table.matmul_f32,
        (Dtype::Bf16, Layout::Nk) => table.matmul_bf16,
        (Dtype::F16, Layout::Nk) => table.matmul_f16,
        (Dtype::F32, Layout::Kn) => table.matmul_kn_f32,
        (Dtype::Bf16, Layout::Kn) => table.matmul_kn_bf16,
        (Dtype::F16, Layout::Kn) => table.matmul_kn_f16,
        (_, Layout::Rounded) => table.matmul_bf16_rounded,
    }
}

/// A product with everything it reads, in memory that ends where it ends; rows have gaps behind them.
pub(crate) struct Product {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    dtype: Dtype,
    layout: Layout,
    x: Vec<f32>,
    weights: Vec<f32>,
    x_bytes: Guarded,
    w_bytes: Guarded,
}

/// Elements between the rows of `x`, of `w` and of the result, beyond their width.
const GAPS: [usize; 3] = [3, 5, 7];
/// What stands where a kernel must not write.
const UNTOUCHED: f32 = -1e30;

impl Product {
    pub(crate) fn new(m: usize, n: usize, k: usize, dtype: Dtype, layout: Layout) -> Product {
        let mut random = Random::new((m * 10_007 + n * 101 + k) as u64);
        let mut p = Product {
            m,
            n,
            k,
            dtype,
            layout,
            x: vec![],
            weights: vec![],
            x_bytes: Guarded::new(&[]),
            w_bytes: Guarded::new(&[]),
        };
        p.x = random.values((m * p.x_stride()).saturating_sub(GAPS[0]));
        let (rows, _) = p.w_shape();
        p.weights = random.values((rows * p.w_stride()).saturating_sub(GAPS[1]));
        p.x_bytes = Guarded::of_f32(&p.x);
        p.w_bytes = Guarded::new(&encode(&p.weights, dtype));
        p
    }

    fn x_stride(&self) -> usize {
        self.k + GAPS[0]
    }

    pub(crate) fn out_stride(&self) -> usize {
        self.n + GAPS[2]
    }

    fn w_shape(&self) -> (usize, usize) {
        match self.layout {
            Layout::Nk | Layout::Rounded => (self.n, self.k),
            Layout::Kn => (self.k, self.n),
        }
    }

    fn w_stride(&self) -> usize {
        self.w_shape().1 + GAPS[1]
    }

    /// Distance in elements of weight `(col, i)` from the first.
    fn w_index(&self, col: usize, i: usize) -> usize {
        match self.layout {
            Layout::Nk | Layout::Rounded => col * self.w_stride() + i,
            Layout::Kn => i * self.w_stride() + col,
        }
    }

    /// Runs the kernel of a table on some rows and columns, over a result that holds `before`: the same for rows that are arranged beforehand.
    pub(crate) fn run(
        &self,
        table: &KernelTable,
        rows: std::ops::Range<usize>,
        cols: std::ops::Range<usize>,
        before: Option<&[f32]>,
    ) -> Vec<f32> {
        let of = (self.layout == Layout::Rounded).then_some(Arranged::Rounded);
        let x = (
            self.x_at(rows.start).cast(),
            self.x_stride() * size_of::<f32>(),
        );
        let arranged = of.map(|of| arrange(table, of, x, rows.len(), self.k));
        let run = |arranged| self.run_on(table, (rows.clone(), arranged), cols.clone(), before);
        let found = run(null());
        if let Some(arranged) = arranged {
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&run(arranged.ptr())), bits(&found));
        }
        found
    }

    fn x_at(&self, row: usize) -> *const f32 {
        let x = self.x_bytes.ptr().cast::<f32>();
        x.wrapping_add(row * self.x_stride())
    }

    fn run_on(
        &self,
        table: &KernelTable,
        (rows, arranged): (std::ops::Range<usize>, *const u8),
        cols: std::ops::Range<usize>,
        before: Option<&[f32]>,
    ) -> Vec<f32> {
        let mut out = before.map_or(vec![UNTOUCHED; self.m * self.out_stride()], <[f32]>::to_vec);
        out.truncate((self.m * self.out_stride()).saturating_sub(GAPS[2]));
        let mut guarded = Guarded::of_f32(&out);
        let first_weight = self.w_index(cols.start, 0) * self.dtype.size();
        // SAFETY: rows and columns are inside the arrays, whose strides are given as they were made.
        with_scratch(|scratch| unsafe {
            kernel(table, self.dtype, self.layout)(
                self.x_at(rows.start),
                self.x_stride(),
                rows.len(),
                self.w_bytes.ptr().wrapping_add(first_weight),
                self.w_stride() * self.dtype.size(),
                cols.len(),
                self.k,
                guarded
                    .ptr_mut()
                    .cast::<f32>()
                    .wrapping_add(rows.start * self.out_stride() + cols.start),
                self.out_stride(),
                usize::from(before.is_some()),
                arranged,
                scratch,
            );
        });
        guarded.f32s(out.len())
    }

    pub(crate) fn run_all(&self, table: &KernelTable, before: Option<&[f32]>) -> Vec<f32> {
        self.run(table, 0..self.m, 0..self.n, before)
    }

    /// Sum of the magnitudes of an element's terms: what its rounding errors are measured against.
    fn magnitude(&self, row: usize, col: usize) -> f32 {
        let term = |i: usize| {
            let w = self.dtype.round(self.weights[self.w_index(col, i)]);
            (self.x[row * self.x_stride() + i] * w).abs()
        };
        (0..self.k).map(term).sum()
    }
}

/// Rounding of two sums of at most some hundred terms in different orders: a missing or doubled term would be a thousand times
/// as large.
const TOLERANCE: f32 = 1e-6;

fn agree(p: &Product, accumulate: bool) {
    let before: Option<Vec<f32>> = accumulate.then(|| Random::new(5).values(p.m * p.out_stride()));
    let expected = p.run_all(scalar_table(), before.as_deref());
    for (set, table) in float_sets() {
        let found = p.run_all(table, before.as_deref());
        assert_eq!(expected.len(), found.len());
        for (i, (e, f)) in expected.iter().zip(&found).enumerate() {
            let (row, col) = (i / p.out_stride(), i % p.out_stride());
            let difference = (e - f).abs();
            let is_product = col < p.n;
            if difference == 0.0 || is_product && difference <= TOLERANCE {
                continue;
            }
            assert!(
                is_product && difference <= TOLERANCE * (p.magnitude(row, col) + 1.0),
                "{}: m {} n {} k {} {} {:?} accumulate {accumulate}: element ({row}, {col}) is {f}, expected {e}",
                set.name(),
                p.m,
                p.n,
                p.k,
                p.dtype,
                p.layout,
            );
        }
    }
}

fn agree_on(shapes: impl Iterator<Item = (usize, usize, usize)>) {
    for (m, n, k) in shapes {
        for (dtype, layout) in KINDS {
            let p = Product::new(m, n, k, dtype, layout);
            agree(&p, false);
            agree(&p, true);
        }
    }
}

fn product<'a>(
    m: &'a [usize],
    n: &'a [usize],
    k: &'a [usize],
) -> impl Iterator<Item = (usize, usize, usize)> + use<'a> {
    let pairs = m.iter().flat_map(|m| n.iter().map(move |n| (*m, *n)));
    pairs.flat_map(|(m, n)| k.iter().map(move |k| (m, n, *k)))
}

#[test]
fn few_rows() {
    agree_on(product(
        &[1, 2, 3, 4, 5, 6, 7, 8],
        &[1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 64, 75],
        &[1, 3, 7, 8, 9, 15, 16, 31, 32, 33, 64, 77, 130],
    ));
}

#[test]
fn many_rows() {
    agree_on(product(
        &[9, 10, 11, 12, 13, 17, 64, 65, 130],
        &[1, 7, 8, 9, 15, 16, 17, 33, 100],
        &[1, 5, 8, 13, 64, 77],
    ));
}

#[test]
fn long_sums() {
    agree_on(product(&[1, 3, 8, 9, 14], &[5, 40], &[255, 256, 257, 700]));
    // Longer than a run of any kernel.
    agree_on(product(&[1, 9, 40], &[5, 40], &[1100, 2080]));
}

#[test]
fn many_columns() {
    agree_on(product(&[1, 4, 9], &[300, 530], &[19]));
    // More panels of a whole run than any kernel makes at once.
    agree_on(product(&[33], &[310], &[1050]));
    // More rows, too, and runs that are as long as they may be or just shorter.
    agree_on(product(&[110], &[70, 210], &[320, 321]));
}

#[test]
fn nothing() {
    agree_on(product(&[0, 1, 8, 9], &[0, 1, 20], &[0, 1]).filter(|(m, n, k)| m * n * k == 0));
}

#[test]
fn weights_at_odd_addresses() {
    for (_, table) in float_sets() {
        for (dtype, layout) in KINDS {
            for m in [1, 2, 9] {
                let mut p = Product::new(m, 19, 45, dtype, layout);
                let straight = p.run_all(table, None);
                let mut bytes = encode(&p.weights, dtype);
                // One byte behind the last weight makes all addresses odd.
                bytes.push(0);
                p.w_bytes = Guarded::new(&bytes);
                assert_eq!(straight, p.run_all(table, None), "{dtype} {layout:?} m {m}");
            }
        }
    }
}
