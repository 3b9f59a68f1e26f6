//! The operation that text names.

use super::attention::{Attention, LatentAttention};
use super::collective::Collective;
use super::epilogue::{Epilogue, Rope, read_position_scale};
use super::expert_block::{ExpertsIn, ExpertsOut};
use super::experts::{Activate, GroupedMatmul, read_route};
use super::grouping::Grouping;
use super::heads::{HeadColumns, HeadConcat, HeadMatmul};
use super::index::{IndexScores, PickKeys};
use super::matmul::Matmul;
use super::norm::Norm;
use super::op::Op;
use super::recurrent::{DeltaRule, ShortConv};
use super::rows::{Binary, Unary, WeightedSum, Xielu};
use super::scan::Scan;
use super::words::{AttrError, Words, activation};
use crate::spec::model::NormKind;

impl Op {
    /// The operation that a name, options and the operands' names make.
    pub(in crate::graph) fn read(w: &Words) -> Result<Op, AttrError> {
        let weighted = || Ok((Grouping::read(w)?, w.has("weighted")));
        Ok(match w.op {
            "embed" => Op::Embed {
                scale: w.maybe("scale")?.unwrap_or(1.0),
                limit: w.maybe("limit")?,
            },
            "position_rows" => Op::PositionRows {
                offset: w.get("offset")?,
            },
            "sinusoids" => Op::Sinusoids {
                offset: w.get("offset")?,
                step: w.get("step")?,
                width: w.get("dim")?,
            },
            "rope_angles" => Op::RopeAngles {
                rope: w.get("rope")?,
                rotary_dim: w.get("dim")?,
            },
            "rms_norm" => Op::Norm(Norm::read(w, NormKind::Rms)?),
            "layer_norm" => Op::Norm(Norm::read(w, NormKind::Layer)?),
            "l2_norm" => Op::Norm(Norm::read(w, NormKind::L2)?),
            "matmul" => Op::Matmul(Matmul::read(w)?),
            "quantize" => Op::Quantize {
                norm: Norm::read_within(w)?,
            },
            "add" => Op::Binary(Binary::Add),
            "mul" => Op::Binary(Binary::Mul),
            "scale" => Op::Unary(Unary::Scale(w.get("by")?)),
            "softcap" => Op::Unary(Unary::Softcap(w.get("by")?)),
            "clamp" => Op::Unary(Unary::Clamp {
                least: w.get("least")?,
                most: w.get("most")?,
            }),
            "xielu" => Op::Xielu(Xielu::read(w)?),
            "rope" => Op::Rope(Rope::read(w)?),
            "position_scale" => Op::PositionScale(read_position_scale(w)?),
            "cache_read" => Op::CacheRead {
                state: w.state("state")?,
            },
            "cache_write" => Op::CacheWrite {
                state: w.state("state")?,
            },
            "epilogue" => Op::Epilogue {
                parts: w
                    .parts()
                    .map(|p| Epilogue::read(&p))
                    .collect::<Result<_, _>>()?,
            },
            "scores" => Op::Scores(Attention::read(w)?),
            "softmax" => Op::Softmax(Attention::read(w)?),
            "mix" => Op::Mix(Attention::read(w)?),
            "attention" => Op::Attention(Attention::read(w)?),
            "latent_attention" => Op::LatentAttention(LatentAttention::read(w)?),
            "index_scores" => Op::IndexScores(IndexScores::read(w)?),
            "pick_keys" => Op::PickKeys(PickKeys::read(w)?),
            "gather_rows" => Op::GatherRows,
            "slice" => Op::Slice {
                start: w.get("start")?,
                len: w.get("len")?,
            },
            "copy" => Op::Copy,
            "head_slice" => Op::HeadSlice(HeadColumns::read(w)?),
            "head_concat" => Op::HeadConcat(HeadConcat::read(w)?),
            "head_matmul" => Op::HeadMatmul(HeadMatmul::read(w)?),
            "identity_weight" => Op::IdentityWeight(Grouping::read(w)?),
            "scale_rows" => Op::ScaleRows,
            "scale_by" => Op::ScaleBy,
            "weighted_sum" => Op::WeightedSum(WeightedSum::read(w)?),
            "match_rms" => Op::MatchRms {
                least: w.get("least")?,
            },
            "cutoff" => Op::Cutoff { by: w.get("by")? },
            "route" => Op::Route(read_route(w)?),
            "group_by_expert" => Op::GroupByExpert(Grouping::read(w)?),
            "gather_tokens" => {
                let (grouping, weighted) = weighted()?;
                Op::GatherTokens { grouping, weighted }
            }
            "combine" => {
                let (grouping, weighted) = weighted()?;
                Op::Combine { grouping, weighted }
            }
            "grouped_matmul" => Op::GroupedMatmul(GroupedMatmul::read(w)?),
            "activate" => Op::Activate(Activate::read(w)?),
            "short_conv" => Op::ShortConv(ShortConv::read(w)?),
            "decay" => Op::Decay {
                heads: w.get("heads")?,
                lower: w.maybe("lower")?,
            },
            "delta_rule" => Op::DeltaRule(DeltaRule::read(w)?),
            "scan" => Op::Scan(Scan::read(w)?),
            "experts_in" => Op::ExpertsIn(ExpertsIn::read(w)?),
            "experts_out" => Op::ExpertsOut(ExpertsOut::read(w)?),
            "all_reduce" | "all_gather" | "hand_over" => Op::Collective(Collective::read(w)?),
            other => match activation(other) {
                Some(a) => Op::Unary(Unary::Act(a)),
                None => return Err(AttrError::Unknown(other.into())),
            },
        })
    }
}
