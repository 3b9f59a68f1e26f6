//! What a kernel costs: floating-point operations and bytes, from the graph and the sizes of a step alone.
//!
//! Bytes are those that have to be moved at least once: each weight, each visible key and value, each activation that is
//! read or written, counted once per kernel, however often a cache serves it again. A multiplication and an addition are two
//! operations; elementwise work counts one for each element and each thing done to it, a norm four. Nothing is measured here.

mod step;

use serde::Serialize;

use crate::codegen::Planned;
use crate::graph::{
    Attention, Cut, Dim, ExpertsIn, ExpertsOut, Graph, GroupedMatmul, Grouping, HeadMatmul, Join,
    LatentAttention, Matmul, NodeId, Norm, Op, Reach, StateDecl, StateId, WeightDecl,
};

pub use step::Step;

/// What work comes to. Sums of it are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Floating-point operations.
    pub flops: u64,
    /// Weight elements that are read.
    pub parameters: u64,
    /// Bytes of weights that are read.
    pub weight_bytes: u64,
    /// Bytes of keys, values and other state, read and written.
    pub state_bytes: u64,
    /// Bytes of activations, read and written.
    pub activation_bytes: u64,
}

/// A kernel of a program with its cost, for one layer.
#[derive(Clone, Debug, Serialize)]
pub struct KernelCost {
    /// `layers.dense.attention.o`.
    pub at: String,
    /// The operation's name.
    pub op: &'static str,
    /// Times that a step runs it: the layers of its kind.
    pub times: u64,
    /// Of one of these times.
    pub cost: Cost,
}

impl std::ops::Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost {
            flops: self.flops + other.flops,
            parameters: self.parameters + other.parameters,
            weight_bytes: self.weight_bytes + other.weight_bytes,
            state_bytes: self.state_bytes + other.state_bytes,
            activation_bytes: self.activation_bytes + other.activation_bytes,
        }
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), |a, b| a + b)
    }
}

impl Cost {
    /// The same work `n` times.
    pub fn times(self, n: u64) -> Cost {
        Cost {
            flops: self.flops * n,
            parameters: self.parameters * n,
            weight_bytes: self.weight_bytes * n,
            state_bytes: self.state_bytes * n,
            activation_bytes: self.activation_bytes * n,
        }
    }

    /// Bytes that come from memory in any case: weights and state. Activations may stay in cache.
    pub fn memory_bytes(&self) -> u64 {
        self.weight_bytes + self.state_bytes
    }

    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.memory_bytes() + self.activation_bytes
    }

    /// Seconds that the work takes at least on a machine of `gbps` 10⁹ bytes and `gflops` 10⁹ operations a second.
    pub(crate) fn least_seconds(&self, gbps: f64, gflops: f64) -> f64 {
        (self.memory_bytes() as f64 / gbps).max(self.flops as f64 / gflops) / 1e9
    }
}

/// Every kernel of a step, block by block; the head's only where logits are wanted.
pub fn kernels(planned: &Planned, step: Step) -> Vec<KernelCost> {
    let program = &planned.program;
    let mut out = vec![];
    for (b, block) in program.blocks.iter().enumerate() {
        let times = program.run_order().filter(|i| *i == b).count() as u64;
        if b == program.head() && step.logit_rows == 0 {
            continue;
        }
        out.extend(
            planned.schedule.blocks[b]
                .kernels
                .iter()
                .map(|k| KernelCost {
                    at: format!("{}.{}", program.place(b), k.name),
                    op: block.graph.op(k.node).name(),
                    times,
                    cost: kernel(&block.graph, k.node, step),
                }),
        );
    }
    out
}

/// A whole step.
pub fn total(kernels: &[KernelCost]) -> Cost {
    kernels.iter().map(|k| k.cost.times(k.times)).sum()
}

/// Seconds that a step takes at least: each kernel waits for memory or for arithmetic, whichever takes longer.
pub(crate) fn least_seconds(kernels: &[KernelCost], gbps: f64, gflops: f64) -> f64 {
    let one = |k: &KernelCost| k.cost.least_seconds(gbps, gflops) * k.times as f64;
    kernels.iter().map(one).sum()
}

/// One kernel.
pub fn kernel(graph: &Graph, node: NodeId, step: Step) -> Cost {
    let mut cost = Cost {
        flops: flops(graph, node, step),
        state_bytes: state_bytes(graph, node, step),
        activation_bytes: row_bytes(graph, node, step),
        ..Cost::default()
    };
    for o in graph.operands(node) {
        match graph.weight(o) {
            Some(w) => {
                let one: usize = w.shape.iter().product();
                let elements = weight_elements(graph.op(node), w, step);
                cost.parameters += elements;
                let bytes = u128::from(elements) * w.bytes() as u128 / one.max(1) as u128;
                cost.weight_bytes += bytes as u64;
            }
            None => cost.activation_bytes += row_bytes(graph, o, step),
        }
    }
    cost
}

/// Elements of a weight that a kernel reads: all, the rows that a look-up picks, or the experts that some token visits.
fn weight_elements(op: &Op, w: &WeightDecl, step: Step) -> u64 {
    let one: u64 = w.shape.iter().map(|n| *n as u64).product();
    let all = one * w.count as u64;
    match op {
        Op::Embed { .. } | Op::PositionRows { .. } => {
            let width = w.shape.last().copied().unwrap_or(1) as u64;
            all.min(step.tokens as u64 * width)
        }
        Op::GroupedMatmul(GroupedMatmul { grouping, .. })
        | Op::ExpertsIn(ExpertsIn { grouping, .. })
        | Op::ExpertsOut(ExpertsOut { grouping, .. })
            if w.count > 1 =>
        {
            (one as f64 * grouping.visited(step.tokens)) as u64
        }
        // Of each head's rows those that are multiplied.
        Op::HeadMatmul(m) => all / m.rows.width as u64 * m.rows.len as u64,
        _ => all,
    }
}

impl Grouping {
    /// Experts that some of `tokens` tokens visits, if all are equally likely: `E (1 − (1 − k/E)^T)`. Where ranks have dealt them out, as
    /// many as the busiest rank has, for which the others wait.
    fn visited(&self, tokens: usize) -> f64 {
        let experts = self.with_matrices() as f64;
        let missed = (1.0 - self.top_k as f64 / self.experts as f64).powi(tokens as i32);
        match self.own {
            None => experts * (1.0 - missed),
            Some(own) => most_of(own.count, 1.0 - missed, experts / own.count as f64),
        }
    }
}

/// The expected most of several numbers, of each of which `n` chances of probability `p` decide: `Σ_m 1 − P(one is at most m)^k`.
fn most_of(n: usize, p: f64, several: f64) -> f64 {
    let mut exactly = (1.0 - p).powi(n as i32);
    let (mut at_most, mut expected) = (0.0, 0.0);
    for m in 0..n {
        at_most += exactly;
        expected += 1.0 - f64::min(at_most, 1.0).powf(several);
        exactly *= (n - m) as f64 / (m + 1) as f64 * p / (1.0 - p).max(f64::MIN_POSITIVE);
    }
    expected
}

/// Elements of a node's result; of scores, those of visible keys.
fn elements(graph: &Graph, id: NodeId, step: Step) -> u64 {
    let shape = graph.shape(id);
    if shape.is_empty() {
        return 0;
    }
    // Queries and keys come together, and their number is that of what queries see.
    let of = |d: &Dim| match d {
        Dim::Keys => step.visible(reach(graph.op(id))),
        other => step.count(*other).unwrap_or(1),
    };
    shape.iter().map(of).product()
}

/// Bytes of a node's result.
fn row_bytes(graph: &Graph, id: NodeId, step: Step) -> u64 {
    elements(graph, id, step) / graph.width(id).max(1) as u64 * graph.row_bytes(id) as u64
}

fn reach(op: &Op) -> Reach {
    match op {
        Op::Attention(a) => attended(a),
        Op::Scores(a) | Op::Softmax(a) | Op::Mix(a) => a.reach,
        _ => Reach::Full,
    }
}

/// How many keys a query of fused attention goes over: as with a window that is as long as what is picked.
fn attended(a: &Attention) -> Reach {
    a.picked.map_or(a.reach, |l| Reach::Window(l.positions()))
}

/// Of what is added to scores by distance.
fn relative(a: &Attention, step: Step) -> u64 {
    a.relative.map_or(0, |p| {
        let near = a.reach.limit().map_or(p.extent, |n| n.min(p.extent));
        a.heads as u64 * step.visible(Reach::Window(near)) * (2 * p.dim + 1) as u64
    })
}

fn flops(graph: &Graph, node: NodeId, step: Step) -> u64 {
    let n = elements(graph, node, step);
    match graph.op(node).facts().cut {
        // A collective takes the time of its messages, which are counted apart.
        Cut::View | Cut::GroupByExpert(_) | Cut::Collective(_) => 0,
        Cut::Rows(each) => rows_of(graph.shape(node), step) * each.of_row(graph.width(node)) as u64,
        Cut::Matmul(m) => matmul(graph, node, m, step),
        Cut::HeadMatmul(m) => head_matmul(graph, node, m, step),
        Cut::Scores(a) => 2 * seen(a, step) * a.head_dim as u64 + relative(a, step),
        Cut::Softmax(a) => 3 * seen(a, step),
        Cut::Mix(a) => 2 * seen(a, step) * a.value_dim as u64,
        Cut::Attention(a) => {
            let pairs = a.heads as u64 * step.visible(attended(a));
            pairs * (2 * (a.head_dim + a.value_dim) as u64 + 3) + relative(a, step)
        }
        Cut::IndexScores(i) => step.visible(Reach::Full) * (i.heads * (2 * i.dim + 3)) as u64,
        // A look at every score for each of its four bytes, and one to list positions.
        Cut::PickKeys(p) => (5 * p.listing.sets) as u64 * step.visible(Reach::Full),
        Cut::LatentAttention(l) => latent_attention(l, step),
        Cut::ShortConv(c) => {
            n * (2 * c.taps + usize::from(c.act.is_some())) as u64 + norm(c.norm, n)
        }
        // Decay, product with the key, correction, product with the query.
        Cut::DeltaRule(d) => {
            n * if d.corrects { 7 } else { 5 } * d.key_dim as u64
                + 2 * u64::from(d.skip) * n
                + norm(d.norm, n)
                + u64::from(d.gated) * n
        }
        // Decay and its exponential, write, product with the query.
        Cut::Scan(c) => n * (7 * c.key_dim + 1 + 2 * usize::from(c.skip)) as u64,
        Cut::GroupedMatmul(m) => {
            let (rows, k) = routed(graph, node, &m.grouping, step);
            rows * m.rows as u64 * (2 * k + u64::from(m.bias))
        }
        Cut::ExpertsIn(e) => experts_in(graph, node, e, step),
        Cut::ExpertsOut(e) => experts_out(graph, node, e, step),
    }
}

fn norm(norm: Option<Norm>, n: u64) -> u64 {
    norm.map_or(0, |_| 4 * n)
}

/// Scores of one step.
fn seen(a: &Attention, step: Step) -> u64 {
    a.heads as u64 * step.visible(a.reach)
}

fn rows(graph: &Graph, id: NodeId, step: Step) -> u64 {
    rows_of(graph.shape(id), step)
}

/// Rows of a value of that shape; none of what only writes state.
fn rows_of(shape: &[Dim], step: Step) -> u64 {
    shape.first().and_then(|d| step.count(*d)).unwrap_or(0)
}

fn matmul(graph: &Graph, node: NodeId, m: &Matmul, step: Step) -> u64 {
    let x = graph.input(node);
    let (rows, k) = (rows(graph, x, step), graph.width(x) as u64);
    let prologue = 4 * u64::from(m.norm.is_some()) + 2 * u64::from(m.quantize_x);
    let norm = prologue * rows * k;
    let products: u64 = m.parts.iter().map(|p| 2 * rows * k * p.rows as u64).sum();
    let epilogues: u64 = m
        .parts
        .iter()
        .map(|p| rows * p.epilogue.flops() as u64)
        .sum();
    let biases = m
        .parts
        .iter()
        .filter(|p| p.bias)
        .map(|p| rows * p.rows as u64);
    let gated = u64::from(matches!(m.join, Join::Gated(_))) * 2;
    let after =
        gated + u64::from(m.act.is_some()) + u64::from(m.scale.is_some()) + u64::from(m.residual);
    norm + products + epilogues + biases.sum::<u64>() + after * rows * m.width() as u64
}

fn head_matmul(graph: &Graph, node: NodeId, m: &HeadMatmul, step: Step) -> u64 {
    let n = graph.width(graph.read(node, |take| m.operands(take)).weight);
    let each = 2 * m.columns.heads * m.product(n) * m.inner(n);
    rows(graph, node, step) * each as u64
}

/// Expanding every key, or absorbing at every token, whichever takes less.
fn latent_attention(l: &LatentAttention, step: Step) -> u64 {
    let up = 2 * l.rank() * (l.queries.rows.len + l.value_dim()) * l.attention.heads;
    let over = |tokens: usize, dims: usize| {
        (tokens * up) as u64 + seen(&l.attention, step) * (2 * dims as u64 + 3)
    };
    let expanded = over(step.sequences * step.end(), l.key_dim() + l.value_dim());
    expanded.min(over(step.tokens, l.attention.head_dim + l.rank()))
}

/// Rows of experts in a step, and the width of what comes in.
fn routed(graph: &Graph, node: NodeId, g: &Grouping, step: Step) -> (u64, u64) {
    let rows = (step.tokens * g.top_k * g.here()).div_ceil(g.experts) as u64;
    (rows, graph.width(graph.input(node)) as u64)
}

fn experts_in(graph: &Graph, node: NodeId, e: &ExpertsIn, step: Step) -> u64 {
    let (rows, k) = routed(graph, node, &e.grouping, step);
    let form = e.activate.form;
    let products = (form.matrices() * form.rows_each()) as u64;
    let norm = u64::from(e.norm.is_some()) * 4 * k * step.tokens as u64;
    let route = e
        .route
        .map_or(0, |r| r.experts * (1 + r.top_k) * step.tokens) as u64;
    norm + route + rows * e.ffn as u64 * (products * (2 * k + u64::from(e.bias)) + 2)
}

fn experts_out(graph: &Graph, node: NodeId, e: &ExpertsOut, step: Step) -> u64 {
    let (rows, k) = routed(graph, node, &e.grouping, step);
    let added = [e.shared, e.shared_gate, e.residual];
    let added = added.iter().filter(|a| **a).count() as u64 * step.tokens as u64;
    let each = 2 * k + 1 + u64::from(e.bias) + u64::from(e.weighted);
    e.rows as u64 * (rows * each + added)
}

/// Keys and values: written once, read once by each attention kernel. Recurrent state: read and written once by each step.
fn state_bytes(graph: &Graph, node: NodeId, step: Step) -> u64 {
    let op = graph.op(node);
    let state = |s: StateId| &graph.states[s.0 as usize];
    let row = |s: &StateDecl| s.buffers().iter().map(|b| b.1 as u64).sum::<u64>();
    let part = |s: &StateDecl, dim: usize| (s.kv_heads * s.row_bytes(dim)) as u64;
    let written = op
        .facts()
        .writes
        .first()
        .map_or(0, |s| step.tokens as u64 * row(state(*s)));
    let recurrent = op.facts().recurrent.map_or(0, |r| {
        2 * graph.recurrent[r.0 as usize].bytes() as u64 * step.sequences as u64
    });
    written
        + recurrent
        + match op {
            Op::Scores(a) => step.span(a.reach) * part(state(a.state), a.head_dim),
            Op::Mix(a) => step.span(a.reach) * part(state(a.state), a.value_dim),
            // Every query has keys of its own, which it copies once.
            Op::Attention(a) if a.picked.is_some() => {
                step.visible(attended(a)) * row(state(a.state))
            }
            Op::Attention(a) => step.span(a.reach) * row(state(a.state)),
            Op::IndexScores(i) => step.span(Reach::Full) * row(state(i.state)),
            Op::LatentAttention(l) => {
                let a = &l.attention;
                step.span(a.reach) * row(state(a.state))
            }
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::parse;

    #[test]
    fn a_matmul_reads_its_weight_once_and_multiplies_every_row() {
        let text = "weight @w: bf16[8, 4]\n%h = input: [T, 4]\n\
            %1 = matmul %h, w0=@w {part(rows=8)}: [T, 8]\noutput h = %1\n";
        let graph = parse(text).unwrap();
        let node = graph.outputs[0].1;
        let step = Step {
            tokens: 3,
            sequences: 1,
            depth: 0,
            logit_rows: 1,
        };
        let expected = Cost {
            flops: 2 * 3 * 4 * 8,
            parameters: 32,
            weight_bytes: 64,
            state_bytes: 0,
            activation_bytes: 4 * 3 * (4 + 8),
        };
        assert_eq!(kernel(&graph, node, step), expected);
    }

    #[test]
    fn a_window_bounds_what_is_read_and_what_is_computed() {
        let step = Step {
            tokens: 2,
            sequences: 1,
            depth: 9,
            logit_rows: 1,
        };
        assert_eq!(step.visible(Reach::Full), 10 + 11);
        assert_eq!(step.span(Reach::Full), 11);
        assert_eq!(step.visible(Reach::Window(4)), 8);
        assert_eq!(step.span(Reach::Window(4)), 5);
        let several = Step {
            tokens: 6,
            sequences: 3,
            ..step
        };
        assert_eq!(several.visible(Reach::Full), 3 * (10 + 11));
        assert_eq!(several.span(Reach::Window(4)), 3 * 5);
    }
}
