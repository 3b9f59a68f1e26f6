//! The closed set of operations, and one table for each thing that is true of all of them: facts, operands, shape, text.
//!
//! Fused work is described, not enumerated: a [`Matmul`] says which prologue it has, which weights it joins, and what is
//! done to the result; [`Attention`] carries its options. An unfused graph uses the same operations with nothing set.

use super::attention::{Attention, KeysValues, LatentAttention, cache_write_shape};
use super::collective::Collective;
use super::epilogue::{
    Epilogue, EpilogueOperands, Rope, epilogue_shape, position_scale_fits, position_scale_words,
};
use super::expert_block::{ExpertsIn, ExpertsOut};
use super::experts::{
    Activate, GroupedMatmul, GroupedRows, RouteOperands, route_shape, route_words,
};
use super::facts::{Cut, Facts, Flops};
use super::grouping::Grouping;
use super::heads::{HeadColumns, HeadConcat, HeadMatmul};
use super::index::{IndexScores, PickKeys};
use super::matmul::Matmul;
use super::norm::{Norm, NormOperands, quantize_shape};
use super::operand::{Pair, Reads, Role, Single, Take};
use super::recurrent::{DecayOperands, DeltaRule, ShortConv, decay_shape};
use super::rows::{
    Binary, LookUp, MatchedRows, Scaled, ScaledRows, Unary, WeightedSum, Xielu, XieluOperands,
    embed_words, gather_shape, sinusoids_shape, slice_shape,
};
use super::rule::{Given, Rule, ShapeError};
use super::scan::Scan;
use super::words::{Attr, float, set, tree};
use crate::graph::dim::{Dim, Shape, StateId, WeightId};
use crate::spec::model::{PositionScale, Route};

/// An operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A value handed to the block: the residual stream, rotary angles.
    Input(String),
    /// A weight, reached through the pointer table.
    Weight(WeightId),
    /// `out[t] = scale · table[tokens[t]]`.
    Embed {
        /// Multiplies the rows.
        scale: f32,
        /// Tokens from here on read row 0.
        limit: Option<usize>,
    },
    /// `out[t] = table[positions[t] + offset]`.
    PositionRows {
        /// Added to the position.
        offset: usize,
    },
    /// `out[t] = [sin(p·f) | cos(p·f)]` of `p = positions[t] + offset`, each `[width / 2]`, and `f[i] = exp(−step · i)`: what is added to
    /// embeddings that nobody learned positions for (Vaswani et al. 2017).
    Sinusoids {
        /// Added to the position.
        offset: usize,
        /// The logarithm falls by this from one frequency to the next.
        step: f32,
        /// Width of the output.
        width: usize,
    },
    /// `out[t] = [cos(p·f) | sin(p·f)]`, each `[rotary_dim / 2]`; `f` may depend on the length of the sequence.
    RopeAngles {
        /// Index into the model's rotary embeddings.
        rope: usize,
        /// Width of the output.
        rotary_dim: usize,
    },
    /// RMSNorm or LayerNorm over groups of the last dimension.
    Norm(Norm),
    /// One or several weights on the same input, with prologue and epilogue.
    Matmul(Matmul),
    /// Rounds rows to int8 in groups, each with its scale: what a matmul with quantised weights reads.
    Quantize {
        /// Applied to every row of `x` first.
        norm: Option<Norm>,
    },
    /// Elementwise; the second operand may be a vector that every row sees.
    Binary(Binary),
    /// Elementwise.
    Unary(Unary),
    /// Rotates each head of `x` by the angles of its row.
    Rope(Rope),
    /// Scales each row by a factor of its position.
    PositionScale(PositionScale),
    /// Writes keys and values of the step's tokens into the state; gives what orders its readers after it.
    CacheWrite {
        /// The KV state.
        state: StateId,
    },
    /// Orders readers of a state that an earlier layer has written: a view, not a kernel.
    CacheRead {
        /// The KV state.
        state: StateId,
    },
    /// Touches and cache write of joined projections, row by row: what is left of a matmul's epilogue when a norm runs over a
    /// whole projection.
    Epilogue {
        /// One for each joined projection.
        parts: Vec<Epilogue>,
    },
    /// `scores[h, q, s] = scale · q·k`, soft-capped, for the queries of one tile.
    Scores(Attention),
    /// Softmax over the visible keys; the others become 0.
    Softmax(Attention),
    /// `out[q, h] = Σ_s p[h, q, s] · v[s]`.
    Mix(Attention),
    /// Scores, softmax and mix in one pass over the keys (online softmax, Milakov & Gimelshein 2018).
    Attention(Attention),
    /// Attention to latents with the products before and after it.
    LatentAttention(LatentAttention),
    /// How much an index thinks of each key, for the queries of one tile.
    IndexScores(IndexScores),
    /// The positions that queries attend to, by such scores.
    PickKeys(PickKeys),
    /// The rows whose logits are wanted.
    GatherRows,
    /// Columns `start..start + len` of every row: a view, not a kernel.
    Slice {
        /// First column.
        start: usize,
        /// Columns.
        len: usize,
    },
    /// A run of columns of every head.
    HeadSlice(HeadColumns),
    /// Two runs of columns side by side in every head.
    HeadConcat(HeadConcat),
    /// A matrix of its own for every head.
    HeadMatmul(HeadMatmul),
    /// A copy, where a value has to be in a certain place.
    Copy,
    /// From a router's scores `[T, experts]` to routes `[T, 2 top_k]`: weights, then the experts they belong to, ascending.
    Route(Route),
    /// Sorts routes by expert; a token's rows keep their order.
    GroupByExpert(Grouping),
    /// A row for each token at each of its experts, sorted by expert.
    GatherTokens {
        /// How rows are grouped.
        grouping: Grouping,
        /// Rows are multiplied by their weight.
        weighted: bool,
    },
    /// One matrix per expert on the rows of that expert.
    GroupedMatmul(GroupedMatmul),
    /// What lies between an expert's matrices.
    Activate(Activate),
    /// The sum of a token's rows, in the order of its experts.
    Combine {
        /// How rows are grouped.
        grouping: Grouping,
        /// Rows are multiplied by their weight.
        weighted: bool,
    },
    /// From routes: for each token the sum of the weights of those of its experts that give back their input.
    IdentityWeight(Grouping),
    /// Each row multiplied by its own number.
    ScaleRows,
    /// Everything multiplied by one number of the checkpoint.
    ScaleBy,
    /// `Σ_j by[t, start + j] · x_j[t]`.
    WeightedSum(WeightedSum),
    /// `x[t]`, scaled to the root mean square of `like[t]`.
    MatchRms {
        /// The least mean square of `x` that it is divided by.
        least: f32,
    },
    /// `max(x − mean − by · deviation, 0)`, mean and standard deviation those of the row: keeps the largest of values that are
    /// normally distributed.
    Cutoff {
        /// Deviations above the mean.
        by: f32,
    },
    /// A causal convolution of every channel by itself, after what its state remembers.
    ShortConv(ShortConv),
    /// `exp(−exp(rate[h]) · softplus(x + bias))` (Gu & Dao 2023, Mamba): how much of a state stays; or, with a lower bound,
    /// `exp(lower · sigmoid(exp(rate[h]) · (x + bias)))`.
    Decay {
        /// Each has a rate.
        heads: usize,
        /// The least logarithm of the result.
        lower: Option<f32>,
    },
    /// The gated delta rule.
    DeltaRule(DeltaRule),
    /// The selective scan.
    Scan(Scan),
    /// A non-linearity with learned curvature.
    Xielu(Xielu),
    /// Gather, products and activation of all experts.
    ExpertsIn(ExpertsIn),
    /// Products and weighted sum of all experts, with what is added to it.
    ExpertsOut(ExpertsOut),
    /// The ranks that share a model meet.
    Collective(Collective),
}

impl Op {
    /// Whether its kernel leaves something else where its input lies: scores of an index are too large to have twice, and what picks keys by
    /// them works on them where they are.
    pub(crate) fn overwrites_input(&self) -> bool {
        matches!(self, Op::PickKeys(_))
    }

    /// What stages ask first.
    pub fn facts(&self) -> Facts<'_> {
        match self {
            Op::Input(_) => Facts::view("input"),
            Op::Weight(_) => Facts::view("weight"),
            Op::Slice { .. } => Facts::view("slice"),
            Op::CacheRead { .. } => Facts::view("cache_read"),
            Op::Embed { .. } => Facts::rows("embed", 0),
            Op::PositionRows { .. } => Facts::rows("position_rows", 0),
            Op::Sinusoids { .. } => Facts::rows("sinusoids", 1),
            Op::RopeAngles { .. } => Facts::rows("rope_angles", 1),
            Op::Norm(n) => Facts::rows(n.name(), 4),
            Op::Quantize { norm: None } => Facts::rows("quantize", 2).int8(true),
            Op::Quantize { norm: Some(_) } => Facts::rows("quantize", 6).int8(true),
            Op::Binary(Binary::Add) => Facts::rows("add", 1),
            Op::Binary(Binary::Mul) => Facts::rows("mul", 1),
            Op::Unary(Unary::Act(a)) => Facts::rows(a.name(), 1),
            Op::Unary(Unary::Scale(_)) => Facts::rows("scale", 1),
            Op::Unary(Unary::Softcap(_)) => Facts::rows("softcap", 3),
            Op::Unary(Unary::Clamp { .. }) => Facts::rows("clamp", 2),
            Op::Xielu(_) => Facts::rows("xielu", 7),
            Op::Rope(_) => Facts::rows("rope", 3),
            Op::PositionScale(_) => Facts::rows("position_scale", 1),
            Op::CacheWrite { state } => Facts::rows("cache_write", 0).writes([*state]),
            Op::Epilogue { parts } => {
                let flops = parts.iter().map(Epilogue::flops).sum();
                let states = parts.iter().filter_map(|p| p.dest.state());
                Facts::new("epilogue", Cut::Rows(Flops::Row(flops))).writes(states)
            }
            Op::GatherRows => Facts::rows("gather_rows", 0),
            Op::Copy => Facts::rows("copy", 0),
            Op::IdentityWeight(g) => Facts::rows("identity_weight", g.top_k),
            Op::ScaleRows => Facts::rows("scale_rows", 1),
            Op::ScaleBy => Facts::rows("scale_by", 1),
            Op::WeightedSum(w) => Facts::rows("weighted_sum", 2 * w.count),
            Op::MatchRms { .. } => Facts::rows("match_rms", 5),
            Op::Cutoff { .. } => Facts::rows("cutoff", 5),
            Op::HeadSlice(_) => Facts::rows("head_slice", 0),
            Op::HeadConcat(_) => Facts::rows("head_concat", 0),
            Op::Decay { .. } => Facts::rows("decay", 4),
            // A score for each expert and a pass over them for each that is chosen.
            Op::Route(r) => {
                let flops = r.experts * (1 + r.top_k);
                Facts::new("route", Cut::Rows(Flops::Row(flops)))
            }
            Op::GatherTokens { weighted, .. } => {
                Facts::rows("gather_tokens", usize::from(*weighted))
            }
            Op::Activate(_) => Facts::rows("activate", 2),
            Op::Combine { grouping, weighted } => {
                Facts::rows("combine", grouping.top_k * (1 + usize::from(*weighted)))
            }
            Op::Matmul(m) => Facts::new("matmul", Cut::Matmul(m))
                .writes(m.states())
                .int8(m.quantize_y),
            Op::HeadMatmul(m) => Facts::new("head_matmul", Cut::HeadMatmul(m)),
            Op::Scores(a) => Facts::new("scores", Cut::Scores(a)).reads(a.state),
            Op::Softmax(a) => Facts::new("softmax", Cut::Softmax(a)),
            Op::Mix(a) => Facts::new("mix", Cut::Mix(a)).reads(a.state),
            Op::Attention(a) => Facts::new("attention", Cut::Attention(a)).reads(a.state),
            Op::LatentAttention(l) => {
                Facts::new("latent_attention", Cut::LatentAttention(l)).reads(l.attention.state)
            }
            Op::IndexScores(i) => Facts::new("index_scores", Cut::IndexScores(i)).reads(i.state),
            Op::PickKeys(p) => Facts::new("pick_keys", Cut::PickKeys(p)),
            Op::ShortConv(c) => Facts::new("short_conv", Cut::ShortConv(c)).recurrent(c.state),
            Op::DeltaRule(d) => Facts::new("delta_rule", Cut::DeltaRule(d)).recurrent(d.state),
            Op::Scan(c) => Facts::new("scan", Cut::Scan(c)).recurrent(c.state),
            Op::GroupByExpert(g) => Facts::new("group_by_expert", Cut::GroupByExpert(*g)),
            Op::GroupedMatmul(m) => Facts::new("grouped_matmul", Cut::GroupedMatmul(m)),
            Op::ExpertsIn(e) => Facts::new("experts_in", Cut::ExpertsIn(e)).int8(e.quantize_y),
            Op::ExpertsOut(e) => Facts::new("experts_out", Cut::ExpertsOut(e)),
            Op::Collective(c) => Facts::new(c.name(), Cut::Collective(*c)),
        }
    }

    /// The name in text form.
    pub fn name(&self) -> &'static str {
        self.facts().name
    }

    /// Whether it only names or reinterprets memory, so that no kernel is made for it.
    pub(crate) fn is_view(&self) -> bool {
        matches!(self.facts().cut, Cut::View)
    }

    /// Whether it writes keys or values of a cache.
    pub fn writes_cache(&self) -> bool {
        !self.facts().writes.is_empty()
    }

    /// Walks over the operands, for what each is rather than for their values.
    pub(crate) fn each_operand(&self, take: Take<()>) {
        match self {
            Op::Input(_) | Op::Weight(_) | Op::CacheRead { .. } => {}
            Op::RopeAngles { .. } | Op::Sinusoids { .. } => {}
            Op::Embed { .. } | Op::PositionRows { .. } => walked(LookUp::of(take)),
            Op::Norm(n) => walked(n.operands(take)),
            Op::Matmul(m) => walked(m.operands(take)),
            Op::Quantize { norm } => walked(NormOperands::of_quantize(norm.as_ref(), take)),
            Op::Binary(b) => walked(b.operands(take)),
            Op::HeadConcat(_) => walked(Pair::of(take)),
            Op::Unary(_) | Op::PositionScale(_) | Op::GatherRows | Op::Slice { .. } => {
                walked(Single::of(take));
            }
            Op::HeadSlice(_) | Op::Copy | Op::GroupByExpert(_) | Op::Cutoff { .. } => {
                walked(Single::of(take));
            }
            Op::IdentityWeight(_) | Op::Collective(_) => walked(Single::of(take)),
            Op::HeadMatmul(m) => walked(m.operands(take)),
            Op::Rope(r) => walked(r.operands(take)),
            Op::CacheWrite { .. } => walked(KeysValues::of(take)),
            Op::Epilogue { parts } => walked(EpilogueOperands::of(parts, take)),
            Op::Scores(a) => walked(a.scores_operands(take)),
            Op::Softmax(a) => walked(a.softmax_operands(take)),
            Op::Mix(a) => walked(a.mix_operands(take)),
            Op::Attention(a) => walked(a.operands(take)),
            Op::LatentAttention(l) => walked(l.operands(take)),
            Op::IndexScores(i) => walked(i.operands(take)),
            Op::PickKeys(_) => walked(Single::of(take)),
            Op::Route(r) => walked(RouteOperands::of(r, take)),
            Op::GatherTokens { .. } | Op::Combine { .. } => walked(GroupedRows::of(take)),
            Op::GroupedMatmul(m) => walked(m.operands(take)),
            Op::Activate(a) => walked(a.operands(take)),
            Op::ScaleRows => walked(ScaledRows::of(take)),
            Op::ScaleBy => walked(Scaled::of(take)),
            Op::WeightedSum(w) => walked(w.operands(take)),
            Op::MatchRms { .. } => walked(MatchedRows::of(take)),
            Op::ShortConv(c) => walked(c.operands(take)),
            Op::Decay { .. } => walked(DecayOperands::of(take)),
            Op::DeltaRule(d) => walked(d.operands(take)),
            Op::Scan(c) => walked(c.operands(take)),
            Op::Xielu(_) => walked(XieluOperands::of(take)),
            Op::ExpertsIn(e) => walked(e.operands(take)),
            Op::ExpertsOut(e) => walked(e.operands(take)),
        }
    }

    /// What each operand is and what it is read as, in order.
    pub(crate) fn roles(&self) -> Vec<(Role, Reads)> {
        let mut out = vec![];
        self.each_operand(&mut |role, reads| out.push((role, reads)));
        out
    }

    /// The shape of the result, `given` being the operands, as many as there are roles.
    pub(in crate::graph) fn shape(
        &self,
        rule: &Rule,
        given: &[Given],
        weight: impl Fn(WeightId) -> Shape,
    ) -> Result<Shape, ShapeError> {
        let mut given = given.iter().copied();
        let o = &mut |_: Role, _: Reads| given.next().expect("as many as there are roles");
        match self {
            Op::Input(_) => Ok(vec![]),
            Op::Weight(w) => Ok(weight(*w)),
            Op::Embed { .. } | Op::PositionRows { .. } => LookUp::of(o).shape(rule),
            Op::Sinusoids { width, .. } => sinusoids_shape(*width, rule),
            Op::RopeAngles { rotary_dim, .. } => Ok(vec![Dim::Tokens, Dim::Const(*rotary_dim)]),
            Op::Norm(n) => n.shape(rule, &n.operands(o)),
            Op::Matmul(m) => m.shape(rule, &m.operands(o)),
            Op::Quantize { norm } => {
                let norm = norm.as_ref();
                quantize_shape(norm, rule, &NormOperands::of_quantize(norm, o))
            }
            Op::Binary(b) => b.shape(rule, &b.operands(o)),
            Op::Unary(_) | Op::Copy | Op::Cutoff { .. } => rule.as_it_is(Single::of(o).x),
            Op::Rope(r) => r.shape(rule, &r.operands(o)),
            Op::PositionScale(p) => {
                let x = Single::of(o).x;
                rule.width(x)?;
                position_scale_fits(p, rule, x)?;
                Ok(x.shape.clone())
            }
            Op::CacheWrite { state } => cache_write_shape(*state, rule, &KeysValues::of(o)),
            Op::CacheRead { state } => rule.state(*state).map(|_| vec![]),
            Op::Epilogue { parts } => epilogue_shape(parts, rule, &EpilogueOperands::of(parts, o)),
            Op::Scores(a) => a.scores_shape(rule, &a.scores_operands(o)),
            Op::Softmax(a) => a.softmax_shape(rule, &a.softmax_operands(o)),
            Op::Mix(a) => a.mix_shape(rule, &a.mix_operands(o)),
            Op::Attention(a) => a.shape(rule, &a.operands(o)),
            Op::LatentAttention(l) => l.shape(rule, &l.operands(o)),
            Op::IndexScores(i) => i.shape(rule, &i.operands(o)),
            Op::PickKeys(p) => p.shape(rule, &Single::of(o)),
            Op::GatherRows => gather_shape(rule, &Single::of(o)),
            Op::Slice { start, len } => slice_shape((*start, *len), rule, &Single::of(o)),
            Op::HeadSlice(c) => c.shape(rule, &Single::of(o)),
            Op::HeadConcat(c) => c.shape(rule, &Pair::of(o)),
            Op::HeadMatmul(m) => m.shape(rule, &m.operands(o)),
            Op::Route(r) => route_shape(r, rule, &RouteOperands::of(r, o)),
            Op::GroupByExpert(g) => g.group_shape(rule, &Single::of(o)),
            Op::GatherTokens { grouping, .. } => grouping.gather_shape(rule, &GroupedRows::of(o)),
            Op::GroupedMatmul(m) => m.shape(rule, &m.operands(o)),
            Op::Activate(a) => a.shape(rule, &a.operands(o)),
            Op::Combine { grouping, .. } => grouping.combine_shape(rule, &GroupedRows::of(o)),
            Op::IdentityWeight(g) => g.identity_shape(rule, &Single::of(o)),
            Op::ScaleRows => ScaledRows::of(o).shape(rule),
            Op::ScaleBy => Scaled::of(o).shape(rule),
            Op::WeightedSum(w) => w.shape(rule, &w.operands(o)),
            Op::MatchRms { .. } => MatchedRows::of(o).shape(rule),
            Op::ShortConv(c) => c.shape(rule, &c.operands(o)),
            Op::Decay { heads, .. } => decay_shape(*heads, rule, &DecayOperands::of(o)),
            Op::DeltaRule(d) => d.shape(rule, &d.operands(o)),
            Op::Scan(c) => c.shape(rule, &c.operands(o)),
            Op::Xielu(_) => XieluOperands::of(o).shape(rule),
            Op::ExpertsIn(e) => e.shape(rule, &e.operands(o)),
            Op::ExpertsOut(e) => e.shape(rule, &e.operands(o)),
            Op::Collective(c) => c.shape(rule, &Single::of(o)),
        }
    }

    /// The options as words.
    pub(in crate::graph) fn words(&self) -> Vec<Attr> {
        match self {
            Op::Input(_) | Op::Weight(_) | Op::GatherRows | Op::Copy => vec![],
            Op::Binary(_) | Op::Unary(Unary::Act(_)) => vec![],
            Op::ScaleRows | Op::ScaleBy => vec![],
            Op::Embed { scale, limit } => embed_words(*scale, *limit),
            Op::PositionRows { offset } => vec![set("offset", offset)],
            Op::Sinusoids {
                offset,
                step,
                width,
            } => vec![
                set("offset", offset),
                float("step", *step),
                set("dim", width),
            ],
            Op::RopeAngles { rope, rotary_dim } => vec![set("rope", rope), set("dim", rotary_dim)],
            Op::Norm(n) => n.words(),
            Op::Matmul(m) => m.words(),
            Op::Quantize { norm } => norm.iter().map(Norm::word).collect(),
            Op::Unary(Unary::Scale(c) | Unary::Softcap(c)) => vec![float("by", *c)],
            Op::Rope(r) => r.words(),
            Op::PositionScale(p) => position_scale_words(p),
            Op::WeightedSum(w) => vec![set("start", w.start)],
            Op::MatchRms { least } => vec![float("least", *least)],
            Op::Cutoff { by } => vec![float("by", *by)],
            Op::CacheRead { state } | Op::CacheWrite { state } => vec![set("state", state)],
            Op::Epilogue { parts } => parts.iter().map(|p| tree("part", p.words())).collect(),
            Op::Scores(a) | Op::Softmax(a) | Op::Mix(a) | Op::Attention(a) => a.words(),
            Op::Slice { start, len } => vec![set("start", start), set("len", len)],
            Op::HeadSlice(c) => c.words(),
            Op::HeadMatmul(m) => m.words(),
            Op::LatentAttention(l) => l.words(),
            Op::IndexScores(i) => i.words(),
            Op::PickKeys(p) => p.words(),
            Op::HeadConcat(c) => c.words(),
            Op::Route(r) => route_words(r),
            Op::GroupByExpert(g) | Op::IdentityWeight(g) => g.words(),
            Op::GatherTokens { grouping, weighted } | Op::Combine { grouping, weighted } => {
                grouping.weighted_words(*weighted)
            }
            Op::GroupedMatmul(m) => m.words(),
            Op::Activate(a) => a.words(),
            Op::ShortConv(c) => c.words(),
            Op::Decay { heads, lower } => {
                let lower = lower.map(|l| float("lower", l));
                std::iter::once(set("heads", heads)).chain(lower).collect()
            }
            Op::DeltaRule(d) => d.words(),
            Op::Scan(c) => c.words(),
            Op::Xielu(x) => x.words(),
            Op::Unary(Unary::Clamp { least, most }) => {
                vec![float("least", *least), float("most", *most)]
            }
            Op::ExpertsIn(e) => e.words(),
            Op::ExpertsOut(e) => e.words(),
            Op::Collective(c) => c.words(),
        }
    }
}

/// Lets operands go that were walked over for what `take` was told.
fn walked<O>(_: O) {}
