//! The value of an operation, by what it is.

use super::rows::{
    binary, embed, finish_joined, map, matmul, norm, position_scale, positions, rope_angles,
    rotate, slice, to_int8, unary,
};
use super::values::{Rows, Scene};
use super::{attend, experts, heads, recurrent, streams};
use crate::graph::{Attention, Dest, Op};

/// The value of an operation.
pub(super) fn evaluate(scene: &mut Scene, op: &Op, x: &[&Rows]) -> Rows {
    match op {
        Op::Input(_) | Op::Weight(_) => unreachable!("named, not computed"),
        Op::Embed { scale, limit } => {
            let row = |&t: &u32| match limit {
                Some(limit) if t as usize >= *limit => 0,
                _ => t as usize,
            };
            embed(x[0], scene.tokens.iter().map(row), *scale)
        }
        Op::PositionRows { offset } => embed(x[0], positions(scene).map(|p| p + offset), 1.0),
        Op::RopeAngles { rope, .. } => rope_angles(scene, *rope),
        Op::Norm(n) => norm(
            n,
            x[0],
            n.gain.then(|| x[1]),
            n.bias.then(|| x[x.len() - 1]),
        ),
        Op::Matmul(m) => matmul(scene, m, x),
        Op::Quantize { norm: n } => {
            let gain = n.and_then(|n| n.gain.then(|| x[1]));
            let bias = n.and_then(|n| n.bias.then(|| x[x.len() - 1]));
            to_int8(&n.map_or_else(|| x[0].clone(), |n| norm(&n, x[0], gain, bias)))
        }
        Op::Binary(b) => binary(*b, x[0], x[1]),
        Op::Unary(u) => map(x[0], |v| unary(*u, v)),
        Op::Rope(r) => rotate(r, x[0], x[1]),
        Op::PositionScale(p) => position_scale(scene, p, x[0]),
        Op::CacheWrite { state } => {
            attend::write(scene, Dest::Keys(*state), x[0]);
            attend::write(scene, Dest::Values(*state), x[1]);
            Rows::default()
        }
        Op::CacheRead { .. } => Rows::default(),
        Op::Finish { parts } => finish_joined(scene, parts, x),
        Op::Scores(a) => attend::scores(scene, a, x[0]),
        Op::Softmax(a) => attend::softmax(scene, a, x[0], x.get(1).copied()),
        Op::Mix(a) => attend::mix(scene, a, x[0]),
        Op::Attention(a) => attention(scene, a, x[0], x.get(2).copied()),
        Op::GatherRows | Op::Copy => x[0].clone(),
        Op::Slice { start, len } => slice(x[0], *start, *len),
        Op::HeadSlice(c) => heads::slice(c, x[0]),
        Op::HeadConcat(c) => heads::concat(c, x[0], x[1]),
        Op::HeadMatmul(m) => heads::matmul(m, x[0], x[1]),
        Op::LatentAttention(l) => {
            let q = heads::matmul(&l.queries, x[0], x[2]);
            let sums = attention(scene, &l.attention, &q, None);
            heads::matmul(&l.results, &sums, x[2])
        }
        Op::Route(r) => experts::route(r, x[0], r.correction.then(|| x[1])),
        Op::GroupByExpert(g) => experts::group(g, x[0]),
        Op::GatherTokens { grouping, weighted } => experts::gather(grouping, *weighted, x[0], x[1]),
        Op::GroupedMatmul(m) => experts::grouped_matmul(m, x[0], x[1], x[2], m.bias.then(|| x[3])),
        Op::Activate(a) => experts::activated(a, x),
        Op::Combine { grouping, weighted } => experts::combine(grouping, *weighted, x[0], x[1]),
        Op::ScaleRows => experts::scale_rows(x[0], x[1]),
        Op::WeightedSum(w) => streams::weighted_sum(w, x[0], &x[1..]),
        Op::MatchRms { least } => streams::match_rms(*least, x[0], x[1]),
        Op::Cutoff { by } => streams::cutoff(*by, x[0]),
        Op::ShortConv(c) => recurrent::short_conv(scene, c, x[0], x[1]),
        Op::Decay { heads } => recurrent::decay(*heads, x[0], x[1], x[2]),
        Op::DeltaRule(d) => recurrent::delta_rule(scene, d, x),
        Op::ExpertsIn(e) => experts::experts_in(e, x),
        Op::ExpertsOut(e) => experts::experts_out(e, x),
    }
}

fn attention(scene: &Scene, a: &Attention, q: &Rows, sinks: Option<&Rows>) -> Rows {
    let scores = attend::scores(scene, a, q);
    attend::mix(scene, a, &attend::softmax(scene, a, &scores, sinks))
}
