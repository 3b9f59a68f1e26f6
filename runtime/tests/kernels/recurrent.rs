//! Steps of the gated delta rule against their scalar twin, and against themselves where a sequence is cut.

use graver_runtime::abi::{DeltaRun, KernelTable};
use graver_runtime::kernels::scalar_table;

use crate::arrays::{Guarded, Random};
use crate::sets;

/// Relative to the largest value: sums in another order.
const TOLERANCE: f32 = 2e-5;

/// Inputs of one head, rows as dense as they can be.
struct Case {
    rows: usize,
    columns: usize,
    tokens: usize,
    decays: usize,
    corrects: bool,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    decay: Vec<f32>,
    beta: Vec<f32>,
    state: Vec<f32>,
}

impl Case {
    fn new(rows: usize, columns: usize, tokens: usize, decays: usize) -> Case {
        let mut random = Random::new((rows * 1000 + columns * 10 + tokens) as u64);
        let mut values = |n: usize| random.values(n);
        let small = (rows as f32).sqrt().recip();
        let share = |v: Vec<f32>| -> Vec<f32> { v.iter().map(|v| 0.5 + 0.5 * v).collect() };
        Case {
            rows,
            columns,
            tokens,
            decays,
            corrects: true,
            q: values(tokens * rows),
            k: values(tokens * rows).iter().map(|k| k * small).collect(),
            v: values(tokens * columns),
            decay: share(values(tokens * decays)),
            beta: share(values(tokens)),
            state: values(rows * columns),
        }
    }

    /// Results and state after all tokens, which are fed in runs of at most `most`.
    fn run(&self, table: &KernelTable, most: usize) -> (Vec<f32>, Vec<f32>) {
        let mut state = Guarded::of_f32(&self.state);
        let mut out = Guarded::of_f32(&vec![0.0; self.tokens * self.columns]);
        for first in (0..self.tokens).step_by(most) {
            let run = DeltaRun {
                state: state.ptr_mut().cast(),
                rows: self.rows,
                columns: self.columns,
                tokens: most.min(self.tokens - first),
                q: self.q[first * self.rows..].as_ptr(),
                q_stride: self.rows,
                k: self.k[first * self.rows..].as_ptr(),
                k_stride: self.rows,
                v: self.v[first * self.columns..].as_ptr(),
                v_stride: self.columns,
                decay: self.decay[first * self.decays..].as_ptr(),
                decay_stride: self.decays,
                decays: self.decays,
                beta: self.beta[first..].as_ptr(),
                beta_stride: 1,
                out: out
                    .ptr_mut()
                    .cast::<f32>()
                    .wrapping_add(first * self.columns),
                out_stride: self.columns,
                scale: 0.5,
                corrects: self.corrects.into(),
            };
            // SAFETY: all arrays have the sizes that the run says, from its first token on.
            unsafe { (table.delta_rule)(&run) };
        }
        (
            out.f32s(self.tokens * self.columns),
            state.f32s(self.rows * self.columns),
        )
    }
}

fn agree(place: &str, found: &[f32], expected: &[f32]) {
    let largest = expected.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let off = (f - e).abs() / largest;
        assert!(off <= TOLERANCE, "{place}: value {i} is {f}, expected {e}");
    }
}

#[test]
fn every_shape_of_a_head() {
    for columns in (1..=17).chain([31, 32, 33, 40, 47, 64, 100, 128]) {
        for (rows, tokens) in [(1, 3), (5, 1), (19, 4), (128, 2)] {
            for (decays, corrects) in [(1, true), (rows, true), (1, false)] {
                let case = Case {
                    corrects,
                    ..Case::new(rows, columns, tokens, decays)
                };
                let (out, state) = case.run(scalar_table(), tokens);
                for (isa, table) in sets() {
                    let place = format!("{} {rows} × {columns}, {decays} decays", isa.name());
                    let (found, left) = case.run(table, tokens);
                    agree(&place, &found, &out);
                    agree(&place, &left, &state);
                }
            }
        }
    }
}

#[test]
fn a_cut_changes_no_bit() {
    let case = Case::new(11, 45, 9, 11);
    let tables = sets().iter().map(|(_, table)| table);
    for table in tables.chain([scalar_table()]) {
        let whole = case.run(table, 9);
        for most in [1, 2, 4] {
            assert!(case.run(table, most) == whole, "runs of {most}");
        }
    }
}
