//! Values that are off in their last bit: what a program makes of roundings is a property of the program, and is measured by making more of
//! them (Vignes 1993, stochastic arithmetic).
//!
//! Each number that an operation computes goes up or down by one unit in the last place, or stays, by chance. What is only moved, and what
//! stands for a number of something, stays as it is.

use super::values::Rows;
use crate::graph::Op;

/// Shakes what an operation has computed; `seed` is another one for each.
pub(super) fn shake(op: &Op, value: &mut Rows, seed: u64) {
    if !computes_floats(op) {
        return;
    }
    let mut state = seed;
    for v in &mut value.data {
        // Knuth's multiplier; the top bits are the good ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *v *= match state >> 62 {
            0 => 1.0 + f32::EPSILON,
            1 => 1.0 - f32::EPSILON,
            _ => 1.0,
        };
    }
}

/// Whether its result is floats that it has computed, not only moved.
fn computes_floats(op: &Op) -> bool {
    // Integers, or numbers of experts, tokens and positions, are among what they give.
    let counts = matches!(
        op,
        Op::Quantize { .. } | Op::Route(_) | Op::GroupByExpert(_) | Op::PickKeys(_)
    );
    !counts && !op.facts().moves()
}
