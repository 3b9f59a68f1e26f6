//! The gated delta rule, in vectors of any width: strips of columns, each of which stays in the first-level cache while all tokens pass over it.
//!
//! A token reads what the state has for its key before it changes the state, and the next one what that leaves. So both are done in one pass over the
//! rows: a row that this token has changed is multiplied with the next one's key while it is in registers. The rows of a strip lie as far apart as the
//! state is wide, which for most heads is at a few places of the cache alone, so that tokens pass over a copy.
//!
//! What is here has no instructions of its own: it is inlined into functions that have them, which call [`delta_rule`].

use std::mem::MaybeUninit;

use super::stream::ask_for;
use crate::abi::DeltaRun;

/// Some columns side by side.
///
/// # Safety
/// Every method wants the processor to have its instructions.
pub(super) trait Vector: Copy {
    /// Columns.
    const LANES: usize;
    /// Which columns are there.
    type Mask: Copy;

    /// # Safety
    /// As all methods.
    unsafe fn first(columns: usize) -> Self::Mask;

    /// # Safety
    /// As all methods.
    unsafe fn all(value: f32) -> Self;

    /// # Safety
    /// As all methods.
    unsafe fn times(self, by: Self) -> Self;

    /// # Safety
    /// As all methods.
    unsafe fn minus(self, other: Self) -> Self;

    /// `self · by + more`, rounded once.
    ///
    /// # Safety
    /// As all methods.
    unsafe fn times_plus(self, by: Self, more: Self) -> Self;

    /// # Safety
    /// As all methods; all columns are readable, or those in the mask.
    unsafe fn load(from: *const f32, mask: Option<Self::Mask>) -> Self;

    /// # Safety
    /// As all methods; all columns are writable, or those in the mask.
    unsafe fn store(self, to: *mut f32, mask: Option<Self::Mask>);
}

/// Floats of a strip that is copied, at most.
const ROOM: usize = 8192;
/// Tokens from which on copying pays.
const COPIED_FOR: usize = 4;
/// Tokens that are asked for ahead of their steps.
const AHEAD: usize = 2;

/// See [`DeltaRun`]. A strip has `STRIP` vectors where there are as many, two or four: sums beside each other hide an addition's latency, and still leave room
/// for what is added.
///
/// # Safety
/// The caller has the instructions of `V`; a run as [`DeltaRun`] describes it.
#[inline(always)]
pub(super) unsafe fn delta_rule<V: Vector, const STRIP: usize>(run: &DeltaRun) {
    // SAFETY: the caller's run.
    unsafe {
        match run.corrects {
            0 => strips::<V, STRIP, false>(run),
            _ => strips::<V, STRIP, true>(run),
        }
    }
}

/// All columns.
///
/// # Safety
/// As [`delta_rule`].
#[inline(always)]
unsafe fn strips<V: Vector, const STRIP: usize, const CORRECTS: bool>(run: &DeltaRun) {
    let mut column = 0;
    // SAFETY: each strip ends at or before the last column, the last one by its mask.
    unsafe {
        while column < run.columns {
            let left = run.columns - column;
            let vectors = left / V::LANES;
            column += V::LANES
                * match vectors {
                    0 => strip::<V, 1, CORRECTS>(run, column, Some(V::first(left))),
                    _ if vectors >= STRIP => strip::<V, STRIP, CORRECTS>(run, column, None),
                    1 => strip::<V, 1, CORRECTS>(run, column, None),
                    _ => strip::<V, 2, CORRECTS>(run, column, None),
                };
        }
    }
}

/// The rows of a strip: the first one's first column, and how far they are apart.
#[derive(Clone, Copy)]
struct Rows {
    first: *mut f32,
    stride: usize,
}

/// All tokens' steps of `N` vectors of columns, or of those of one that the mask says; gives their number.
///
/// # Safety
/// As [`delta_rule`]; the columns exist.
#[inline(always)]
unsafe fn strip<V: Vector, const N: usize, const CORRECTS: bool>(
    run: &DeltaRun,
    column: usize,
    mask: Option<V::Mask>,
) -> usize {
    #[repr(C, align(64))]
    struct Copied([MaybeUninit<f32>; ROOM]);
    let mut copied = Copied([MaybeUninit::uninit(); ROOM]);
    // SAFETY: rows are below `run.rows` and columns in the strip; the copy has room for both.
    unsafe {
        let there = Rows {
            first: run.state.add(column),
            stride: run.columns,
        };
        let here = Rows {
            first: copied.0.as_mut_ptr().cast(),
            stride: N * V::LANES,
        };
        let is_dense = here.stride >= there.stride;
        if is_dense || run.tokens < COPIED_FOR || run.rows * here.stride > ROOM {
            tokens::<V, N, CORRECTS>(run, column, there, mask);
        } else {
            copy::<V, N>(there, here, run.rows, mask);
            tokens::<V, N, CORRECTS>(run, column, here, mask);
            copy::<V, N>(here, there, run.rows, mask);
        }
    }
    N
}

/// # Safety
/// The instructions of `V`; the rows have the columns.
#[inline(always)]
unsafe fn copy<V: Vector, const N: usize>(
    from: Rows,
    to: Rows,
    rows: usize,
    mask: Option<V::Mask>,
) {
    for i in 0..rows {
        // SAFETY: the row is one of them.
        unsafe {
            let row = load::<V, N>(from.first.add(i * from.stride), mask);
            store(row, to.first.add(i * to.stride), mask);
        }
    }
}

/// All tokens' steps.
///
/// # Safety
/// As [`strip`], of which `state` has the rows.
#[inline(always)]
unsafe fn tokens<V: Vector, const N: usize, const CORRECTS: bool>(
    run: &DeltaRun,
    column: usize,
    state: Rows,
    mask: Option<V::Mask>,
) {
    // SAFETY: the first token, where there is one, the others after it, and a next one of all but the last.
    unsafe {
        let mut found = [V::all(0.0); N];
        if CORRECTS && run.tokens > 0 {
            let next = Key::of(run, 0);
            for i in 0..run.rows {
                let (row, by) = (state.first.add(i * state.stride), V::all(next.factor(i)));
                for (j, found) in found.iter_mut().enumerate() {
                    *found = V::load(row.add(j * V::LANES), mask).times_plus(by, *found);
                }
            }
        }
        for t in 0..run.tokens {
            ask_for_token(run, t + AHEAD, column, N * V::LANES);
            let is_last = t + 1 == run.tokens;
            found = match CORRECTS && !is_last {
                true => token::<V, N, true>(run, (t, column), state, found, mask),
                false => token::<V, N, false>(run, (t, column), state, found, mask),
            };
        }
    }
}

/// Asks for what token `t` brings for some columns, if there is one: rows of different tokens are so far apart that no processor sees them come.
#[inline(always)]
fn ask_for_token(run: &DeltaRun, t: usize, column: usize, columns: usize) {
    if t < run.tokens {
        let rows = [(run.q, run.q_stride), (run.k, run.k_stride)];
        for (at, stride) in rows {
            ask_for(at.wrapping_add(t * stride).cast(), 4 * run.rows);
        }
        let columns_of = |at: *const f32, stride| at.wrapping_add(t * stride + column).cast();
        ask_for(columns_of(run.v, run.v_stride), 4 * columns);
        ask_for(
            columns_of(run.out.cast_const(), run.out_stride),
            4 * columns,
        );
    }
}

/// One token's step; gives what the state has for the key of the next one, if that is wanted.
///
/// # Safety
/// As [`tokens`]; the token exists, and the next one if it is wanted.
#[inline(always)]
unsafe fn token<V: Vector, const N: usize, const NEXT: bool>(
    run: &DeltaRun,
    (t, column): (usize, usize),
    state: Rows,
    found: [V; N],
    mask: Option<V::Mask>,
) -> [V; N] {
    // SAFETY: rows are below `run.rows`, tokens below `run.tokens`, columns inside the strip.
    unsafe {
        let beta = V::all(*run.beta.add(t * run.beta_stride));
        let mut change = load::<V, N>(run.v.add(t * run.v_stride + column), mask);
        for (change, found) in change.iter_mut().zip(found) {
            *change = change.minus(found).times(beta);
        }
        let (q, key) = (run.q.add(t * run.q_stride), Key::of(run, t));
        let next = Key::of(run, t + usize::from(NEXT));
        let (mut sums, mut found) = ([V::all(0.0); N], [V::all(0.0); N]);
        for i in 0..run.rows {
            let (q, k, decay) = (V::all(*q.add(i)), V::all(*key.k.add(i)), key.decay(i));
            let (decay, by) = (V::all(*decay), V::all(next.factor(i)));
            let row = state.first.add(i * state.stride);
            for j in 0..N {
                let at = row.add(j * V::LANES);
                let kept = V::load(at, mask).times(decay);
                let new = k.times_plus(change[j], kept);
                new.store(at, mask);
                sums[j] = new.times_plus(q, sums[j]);
                if NEXT {
                    found[j] = new.times_plus(by, found[j]);
                }
            }
        }
        for sum in &mut sums {
            *sum = sum.times(V::all(run.scale));
        }
        store(sums, run.out.add(t * run.out_stride + column), mask);
        found
    }
}

/// A token's key, and how much of a row it leaves.
#[derive(Clone, Copy)]
struct Key {
    k: *const f32,
    decay: *const f32,
    step: usize,
}

impl Key {
    /// # Safety
    /// The token exists.
    #[inline(always)]
    unsafe fn of(run: &DeltaRun, t: usize) -> Key {
        // SAFETY: the token is one of the run's.
        unsafe {
            Key {
                k: run.k.add(t * run.k_stride),
                decay: run.decay.add(t * run.decay_stride),
                step: usize::from(run.decays > 1),
            }
        }
    }

    #[inline(always)]
    fn decay(&self, i: usize) -> *const f32 {
        self.decay.wrapping_add(i * self.step)
    }

    /// What row `i` is multiplied with before it has decayed.
    ///
    /// # Safety
    /// The row exists.
    #[inline(always)]
    unsafe fn factor(&self, i: usize) -> f32 {
        // SAFETY: the key has a number for each row.
        unsafe { *self.k.add(i) * *self.decay(i) }
    }
}

/// # Safety
/// The instructions of `V`; `N` vectors are readable, or of one the columns in the mask.
#[inline(always)]
unsafe fn load<V: Vector, const N: usize>(from: *const f32, mask: Option<V::Mask>) -> [V; N] {
    // SAFETY: the caller gives what is read.
    unsafe {
        let mut row = [V::all(0.0); N];
        for (j, part) in row.iter_mut().enumerate() {
            *part = V::load(from.add(j * V::LANES), mask);
        }
        row
    }
}

/// # Safety
/// As [`load`], writable.
#[inline(always)]
unsafe fn store<V: Vector, const N: usize>(row: [V; N], to: *mut f32, mask: Option<V::Mask>) {
    for (j, part) in row.into_iter().enumerate() {
        // SAFETY: the caller gives what is written.
        unsafe { part.store(to.add(j * V::LANES), mask) }
    }
}
