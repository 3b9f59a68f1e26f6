//! What is true of each operation: its name in text form, the roles of its operands, the state it reads and writes.

use super::*;

impl Op {
    /// The name in text form.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input(_) => "input",
            Op::Weight(_) => "weight",
            Op::Embed { .. } => "embed",
            Op::PositionRows { .. } => "position_rows",
            Op::RopeAngles { .. } => "rope_angles",
            Op::Norm(n) => match n.kind {
                NormKind::Rms => "rms_norm",
                NormKind::Layer => "layer_norm",
                NormKind::L2 => "l2_norm",
            },
            Op::Matmul(_) => "matmul",
            Op::Quantize { .. } => "quantize",
            Op::Binary(Binary::Add) => "add",
            Op::Binary(Binary::Mul) => "mul",
            Op::Unary(Unary::Act(a)) => a.name(),
            Op::Unary(Unary::Scale(_)) => "scale",
            Op::Unary(Unary::Softcap(_)) => "softcap",
            Op::Rope(_) => "rope",
            Op::PositionScale(_) => "position_scale",
            Op::CacheWrite { .. } => "cache_write",
            Op::CacheRead { .. } => "cache_read",
            Op::Finish { .. } => "finish",
            Op::Scores(_) => "scores",
            Op::Softmax(_) => "softmax",
            Op::Mix(_) => "mix",
            Op::Attention(_) => "attention",
            Op::LatentAttention(_) => "latent_attention",
            Op::GatherRows => "gather_rows",
            Op::Slice { .. } => "slice",
            Op::HeadSlice(_) => "head_slice",
            Op::HeadConcat(_) => "head_concat",
            Op::HeadMatmul(_) => "head_matmul",
            Op::Copy => "copy",
            Op::Route(_) => "route",
            Op::GroupByExpert(_) => "group_by_expert",
            Op::GatherTokens { .. } => "gather_tokens",
            Op::GroupedMatmul(_) => "grouped_matmul",
            Op::Activate(_) => "activate",
            Op::Combine { .. } => "combine",
            Op::ScaleRows => "scale_rows",
            Op::WeightedSum(_) => "weighted_sum",
            Op::MatchRms { .. } => "match_rms",
            Op::Cutoff { .. } => "cutoff",
            Op::ShortConv(_) => "short_conv",
            Op::Decay { .. } => "decay",
            Op::DeltaRule(_) => "delta_rule",
            Op::ExpertsIn(_) => "experts_in",
            Op::ExpertsOut(_) => "experts_out",
        }
    }

    /// What each operand is, in order: the names printed before it where there is more than the usual one or two.
    pub fn roles(&self) -> Vec<String> {
        match self {
            Op::Input(_) | Op::Weight(_) | Op::RopeAngles { .. } | Op::CacheRead { .. } => vec![],
            Op::Embed { .. } | Op::PositionRows { .. } => roles(&["table"]),
            Op::Norm(n) => n.roles(""),
            Op::Matmul(m) => m.roles(),
            Op::Quantize { norm } => {
                let mut out = roles(&["x"]);
                out.extend(norm.iter().flat_map(|n| n.roles("norm.")));
                out
            }
            Op::Binary(_) | Op::HeadConcat(_) => roles(&["a", "b"]),
            Op::Unary(_) | Op::PositionScale(_) | Op::GatherRows => roles(&["x"]),
            Op::Slice { .. } | Op::HeadSlice(_) | Op::Copy => roles(&["x"]),
            Op::HeadMatmul(_) => roles(&["x", "w"]),
            Op::Rope(_) => roles(&["x", "angles"]),
            Op::CacheWrite { .. } => roles(&["k", "v"]),
            Op::Finish { parts } => crate::graph::finish::joined_roles(parts),
            Op::Scores(_) => roles(&["q", "after"]),
            Op::Attention(a) if a.sinks => roles(&["q", "after", "sinks"]),
            Op::Attention(_) => roles(&["q", "after"]),
            Op::LatentAttention(_) => roles(&["q", "after", "w"]),
            Op::Softmax(a) if a.sinks => roles(&["x", "sinks"]),
            Op::Softmax(_) => roles(&["x"]),
            Op::Mix(_) => roles(&["p", "after"]),
            Op::Route(r) => route_roles(r, "x"),
            Op::GroupByExpert(_) => roles(&["x"]),
            Op::GatherTokens { .. } | Op::Combine { .. } => roles(&["x", "groups"]),
            Op::GroupedMatmul(m) => m.roles(),
            Op::Activate(a) => a.roles(),
            Op::ScaleRows => roles(&["x", "by"]),
            Op::WeightedSum(w) => std::iter::once("by".into())
                .chain((0..w.count).map(|j| format!("x{j}")))
                .collect(),
            Op::MatchRms { .. } => roles(&["x", "like"]),
            Op::Cutoff { .. } => roles(&["x"]),
            Op::ShortConv(_) => roles(&["x", "w"]),
            Op::Decay { .. } => roles(&["x", "rate", "bias"]),
            Op::DeltaRule(d) => d.roles(),
            Op::ExpertsIn(e) => e.roles(),
            Op::ExpertsOut(e) => e.roles(),
        }
    }

    /// Whether it only names or reinterprets memory, so that no kernel is made for it.
    pub fn is_view(&self) -> bool {
        matches!(
            self,
            Op::Input(_) | Op::Weight(_) | Op::Slice { .. } | Op::CacheRead { .. }
        )
    }

    /// The recurrent state it reads and writes, if any.
    pub fn recurrent(&self) -> Option<RecurrentId> {
        match self {
            Op::ShortConv(c) => Some(c.state),
            Op::DeltaRule(d) => Some(d.state),
            _ => None,
        }
    }

    /// The state of keys and values it writes, if any.
    pub fn writes(&self) -> Option<StateId> {
        match self {
            Op::CacheWrite { state } => Some(*state),
            Op::Finish { parts } => parts.iter().find_map(|p| p.dest.state()),
            Op::Matmul(m) => m.parts.iter().find_map(|p| p.finish.dest.state()),
            Op::Input(_)
            | Op::Weight(_)
            | Op::Embed { .. }
            | Op::PositionRows { .. }
            | Op::RopeAngles { .. }
            | Op::CacheRead { .. } => None,
            Op::Norm(_)
            | Op::Quantize { .. }
            | Op::Binary(_)
            | Op::Unary(_)
            | Op::Rope(_)
            | Op::PositionScale(_)
            | Op::Scores(_)
            | Op::Softmax(_) => None,
            Op::Mix(_) | Op::Attention(_) | Op::LatentAttention(_) | Op::GatherRows => None,
            Op::Slice { .. } | Op::HeadSlice(_) | Op::HeadConcat(_) => None,
            Op::HeadMatmul(_) | Op::Copy => None,
            Op::Route(_)
            | Op::GroupByExpert(_)
            | Op::GatherTokens { .. }
            | Op::GroupedMatmul(_)
            | Op::Activate(_) => None,
            Op::Combine { .. } | Op::ScaleRows | Op::ExpertsIn(_) | Op::ExpertsOut(_) => None,
            Op::WeightedSum(_) | Op::MatchRms { .. } | Op::Cutoff { .. } => None,
            Op::ShortConv(_) | Op::Decay { .. } | Op::DeltaRule(_) => None,
        }
    }
}
