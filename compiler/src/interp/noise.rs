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

fn computes_floats(op: &Op) -> bool {
    match op {
        Op::Input(_) | Op::Weight(_) | Op::Copy | Op::GatherRows | Op::Slice { .. } => false,
        Op::CacheWrite { .. } | Op::CacheRead { .. } | Op::Collective(_) => false,
        Op::HeadSlice(_) | Op::HeadConcat(_) => false,
        // Rows of tables, and integers.
        Op::Embed { .. } | Op::PositionRows { .. } | Op::Quantize { .. } => false,
        // With numbers of experts, tokens or positions among what they give.
        Op::Route(_) | Op::GroupByExpert(_) | Op::PickKeys(_) => false,
        Op::RopeAngles { .. } | Op::Rope(_) | Op::PositionScale(_) | Op::Norm(_) => true,
        Op::Matmul(_) | Op::HeadMatmul(_) | Op::Epilogue { .. } => true,
        Op::Binary(_) | Op::Unary(_) | Op::Xielu(_) | Op::Cutoff { .. } => true,
        Op::ScaleRows | Op::ScaleBy | Op::WeightedSum(_) | Op::MatchRms { .. } => true,
        Op::Scores(_) | Op::Softmax(_) | Op::Mix(_) | Op::Attention(_) => true,
        Op::LatentAttention(_) | Op::IndexScores(_) => true,
        Op::GatherTokens { .. } | Op::GroupedMatmul(_) | Op::Activate(_) => true,
        Op::Combine { .. } | Op::IdentityWeight(_) => true,
        Op::ExpertsIn(_) | Op::ExpertsOut(_) => true,
        Op::ShortConv(_) | Op::Decay { .. } | Op::DeltaRule(_) | Op::Scan(_) => true,
    }
}
