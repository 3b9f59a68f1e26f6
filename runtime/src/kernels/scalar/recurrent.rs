//! The gated delta rule in plain Rust.

use crate::abi::DeltaRun;

/// See [`DeltaRun`].
pub(in crate::kernels) unsafe extern "C" fn delta_rule(run: *const DeltaRun) {
    // SAFETY: the caller gives a run.
    let run = unsafe { &*run };
    for column in 0..run.columns {
        for t in 0..run.tokens {
            // SAFETY: `column` and `t` are inside the run, whose arrays the caller gives.
            unsafe { step(run, column, t) }
        }
    }
}

/// One token's step of one column.
///
/// # Safety
/// All of `run` is readable, its state and result writable, and `column` and `t` are inside it.
unsafe fn step(run: &DeltaRun, column: usize, t: usize) {
    // SAFETY: rows of the state and components of a token's key are below `rows`, its decays below `decays`.
    unsafe {
        let (q, k) = (run.q.add(t * run.q_stride), run.k.add(t * run.k_stride));
        let decay = run.decay.add(t * run.decay_stride);
        let decay = |i: usize| *decay.add(if run.decays > 1 { i } else { 0 });
        let state = |i: usize| run.state.add(i * run.columns + column);
        let found: f32 = (0..run.rows)
            .map(|i| decay(i) * *state(i) * *k.add(i))
            .sum();
        let value = *run.v.add(t * run.v_stride + column);
        let off = if run.corrects != 0 {
            value - found
        } else {
            value
        };
        let change = off * *run.beta.add(t * run.beta_stride);
        let mut sum = 0.0;
        for i in 0..run.rows {
            let s = state(i);
            *s = decay(i) * *s + *k.add(i) * change;
            sum += *s * *q.add(i);
        }
        *run.out.add(t * run.out_stride + column) = run.scale * sum;
    }
}
