//! From graphs to kernels: which run, in what order, how their work is cut, and where threads wait for each other.
//!
//! A kernel is a node that computes something. Its work is cut into chunks by shape alone, never by the number of threads.
//! A barrier stands before a kernel that reads what another kernel has written since the last barrier; the first kernel of
//! a block always has one. Kernels between two barriers form an *epoch*, the unit of the memory plan.

mod experts;
pub mod scratch;

use std::collections::BTreeSet;
use std::fmt;

use graver_runtime::abi::quant::{GROUP, PANEL_ROWS};
use graver_runtime::abi::{CLAIM_COUNTERS, DECODE_TOKENS, KEY_BLOCK, PREFILL_TOKENS, QUERY_TILE};

use crate::graph::{
    Dest, Graph, Grouping, HeadMatmul, Join, Matmul, NodeId, Op, Program, ProgramKind, ShortConv,
};

pub use experts::{expert_tile, has_prologue, prologue_row_bytes, tile_row_bytes};
pub use scratch::Scratch;

/// Kernels of every block of a program.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Which program.
    pub kind: ProgramKind,
    /// In the order of the program's blocks.
    pub blocks: Vec<BlockSchedule>,
}

/// Kernels of one block, in order.
#[derive(Clone, Debug)]
pub struct BlockSchedule {
    /// Name of the block.
    pub name: String,
    /// What runs.
    pub kernels: Vec<Kernel>,
}

/// One kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The node it computes.
    pub node: NodeId,
    /// `attention.q+k+v`.
    pub name: String,
    /// Threads wait for each other first.
    pub barrier: bool,
    /// Barriers before it in its block.
    pub epoch: usize,
    /// Runs once for each attention tile, together with its neighbours of which that is true.
    pub per_tile: bool,
    /// Chunks are handed out by a counter rather than by thread index.
    pub claimed: Option<usize>,
    /// How it is cut.
    pub work: Work,
    /// What a thread needs of its own.
    pub scratch: Scratch,
}

/// How a kernel's work is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Rows of the step, so many at once.
    Rows {
        /// Rows of a chunk.
        grain: usize,
    },
    /// Rows of the weights: for each part, rows of a chunk and how many chunks.
    Columns(Vec<(usize, usize)>),
    /// Attention tiles × key heads × runs of keys.
    TilesByKeys,
    /// Attention tiles × query heads.
    TilesByHeads,
    /// Heads, for one tile.
    Heads,
    /// Segments × heads.
    SegmentsByHeads,
    /// Segments × runs of columns: columns of every run but the last, and how many runs.
    SegmentsByColumns {
        /// Columns of a run.
        width: usize,
        /// Runs.
        count: usize,
    },
    /// Heads × runs of a head's columns: columns of a run, and how many runs.
    HeadColumns {
        /// Heads.
        heads: usize,
        /// Columns of every run but the last.
        width: usize,
        /// Runs of a head.
        count: usize,
    },
    /// Experts that have tokens × chunks of their matrices.
    Experts {
        /// Rows of a chunk.
        rows: usize,
        /// Chunks of each expert.
        chunks: usize,
    },
    /// All of it in one piece.
    Once,
}

/// The most tokens of one step of a program.
pub fn max_tokens(kind: ProgramKind) -> usize {
    match kind {
        ProgramKind::Decode => DECODE_TOKENS,
        ProgramKind::Prefill => PREFILL_TOKENS,
    }
}

/// The most tokens of any step: rows that a ring has beyond what its queries look back over.
pub fn largest_step() -> usize {
    max_tokens(ProgramKind::Decode).max(max_tokens(ProgramKind::Prefill))
}

/// Queries of one attention tile of a program.
pub fn query_tile(kind: ProgramKind) -> usize {
    match kind {
        ProgramKind::Decode => 1,
        ProgramKind::Prefill => QUERY_TILE,
    }
}

/// Schedules every block. Where a block's output could not be written in the place of the input of the same name, a copy
/// is added to its graph first.
pub fn schedule(program: &mut Program) -> Schedule {
    let kind = program.kind;
    let block = |b: &mut crate::graph::Block| BlockSchedule {
        name: b.name.clone(),
        kernels: settle(&mut b.graph, kind),
    };
    Schedule {
        kind,
        blocks: program.blocks.iter_mut().map(block).collect(),
    }
}

/// Schedules a graph, adding copies until its outputs can lie where its inputs lay.
fn settle(graph: &mut Graph, kind: ProgramKind) -> Vec<Kernel> {
    loop {
        let kernels = kernels(graph, kind);
        let Some(at) = graph
            .outputs
            .iter()
            .position(|(name, id)| !can_replace(graph, &kernels, name, *id))
        else {
            return kernels;
        };
        let (name, id) = graph.outputs[at].clone();
        let copy = graph.add(Op::Copy, &[id], &format!("{name}.copy"));
        graph.outputs[at].1 = copy;
    }
}

/// Whether node `id` may write to the place of the input called `name`: everything else that reads the input is done, and
/// `id` itself reads it element by element.
fn can_replace(graph: &Graph, kernels: &[Kernel], name: &str, id: NodeId) -> bool {
    let epoch = |n: NodeId| kernels.iter().find(|k| k.node == n).map(|k| k.epoch);
    let Some(own) = epoch(id) else { return false };
    let Some(input) = graph
        .order()
        .into_iter()
        .find(|n| *graph.op(*n) == Op::Input(name.into()))
    else {
        return true;
    };
    let elementwise = |slot: usize| match graph.op(id) {
        Op::Binary(_) | Op::Unary(_) | Op::Copy => true,
        Op::Matmul(m) => {
            let last = slot + 1 == graph.operands(id).len();
            last && m.residual && m.join == Join::Concat
        }
        Op::ExpertsOut(x) => x.residual && slot + 1 == graph.operands(id).len(),
        _ => false,
    };
    let done = |user: NodeId| epoch(user).is_some_and(|e| e < own);
    let mut users = graph.users(input).into_iter();
    users.all(|(user, slot)| match user == id {
        true => elementwise(slot),
        false if graph.op(user).is_view() => readers(graph, user).into_iter().all(done),
        false => done(user),
    })
}

/// Kernels that read a node through views.
fn readers(graph: &Graph, view: NodeId) -> Vec<NodeId> {
    let mut out = vec![];
    for (user, _) in graph.users(view) {
        match graph.op(user).is_view() {
            true => out.extend(readers(graph, user)),
            false => out.push(user),
        }
    }
    out
}

fn kernels(graph: &Graph, kind: ProgramKind) -> Vec<Kernel> {
    let mut out: Vec<Kernel> = vec![];
    let (mut fresh, mut epoch, mut claims) = (BTreeSet::new(), 0, 0);
    for node in kernel_order(graph) {
        let op = graph.op(node);
        let reads_fresh = graph
            .operands(node)
            .iter()
            .any(|o| fresh.contains(&root(graph, *o)));
        let per_tile = matches!(op, Op::Scores(_) | Op::Softmax(_) | Op::Mix(_));
        let barrier = out.is_empty() || reads_fresh || per_tile || claims == CLAIM_COUNTERS;
        if barrier {
            fresh.clear();
            claims = 0;
            epoch += usize::from(!out.is_empty());
        }
        let claimed = (kind == ProgramKind::Prefill).then_some(claims);
        claims += 1;
        fresh.insert(node);
        let (work, scratch) = (work(graph, node, kind), scratch::scratch(graph, node, kind));
        let name = graph.node(node).name.clone();
        out.push(Kernel {
            node,
            name,
            barrier,
            epoch,
            per_tile,
            claimed,
            work,
            scratch,
        });
        // Where keys are split, attention has a barrier of its own before partial results are combined.
        epoch += usize::from(splits_keys(op, kind));
    }
    out
}

/// Whether attention cuts the keys of one query into runs.
pub fn splits_keys(op: &Op, kind: ProgramKind) -> bool {
    matches!(op, Op::Attention(_)) && kind == ProgramKind::Decode
}

/// Nodes that are kernels; the three of unfused attention stay together.
fn kernel_order(graph: &Graph) -> Vec<NodeId> {
    let mut out: Vec<NodeId> = vec![];
    for id in graph.order() {
        if graph.op(id).is_view() || out.contains(&id) {
            continue;
        }
        out.push(id);
        if matches!(graph.op(id), Op::Scores(_)) {
            let next = |n: NodeId| {
                graph
                    .only_user(n)
                    .expect("scores and softmax have one reader")
            };
            out.extend([next(id), next(next(id))]);
        }
    }
    out
}

/// The node whose memory a view shows.
pub fn root(graph: &Graph, id: NodeId) -> NodeId {
    match graph.op(id) {
        Op::Slice { .. } => root(graph, graph.operands(id)[0]),
        _ => id,
    }
}

fn work(graph: &Graph, node: NodeId, kind: ProgramKind) -> Work {
    match graph.op(node) {
        Op::Matmul(m) => Work::Columns(columns(graph, node, m, kind)),
        Op::HeadMatmul(m) => head_columns(m, graph.width(graph.operands(node)[1])),
        Op::Attention(_) if kind == ProgramKind::Decode => Work::TilesByKeys,
        Op::Attention(_) => Work::TilesByHeads,
        Op::LatentAttention(_) | Op::DeltaRule(_) => Work::SegmentsByHeads,
        Op::ShortConv(c) => {
            let width = channels(c);
            Work::SegmentsByColumns {
                width,
                count: graph.width(node).div_ceil(width),
            }
        }
        Op::Scores(_) | Op::Softmax(_) | Op::Mix(_) => Work::Heads,
        Op::GroupByExpert(_) => Work::Once,
        Op::GroupedMatmul(m) => expert_work(graph, node, &m.grouping, m.rows, "w", kind),
        Op::ExpertsIn(e) => expert_work(graph, node, &e.grouping, e.ffn, "w0", kind),
        Op::ExpertsOut(e) => {
            let decl = graph.operand(node, "w").and_then(|w| graph.weight(w));
            let row_bytes = decl.map_or(1, |w| w.bytes() / e.rows.max(1));
            Work::Columns(vec![experts::sum_columns(e.rows, row_bytes, kind)])
        }
        _ => Work::Rows {
            grain: if kind == ProgramKind::Decode { 1 } else { 4 },
        },
    }
}

/// Active experts × chunks of the weight in operand `role`.
fn expert_work(
    graph: &Graph,
    node: NodeId,
    g: &Grouping,
    rows: usize,
    role: &str,
    kind: ProgramKind,
) -> Work {
    let weight = graph.operand(node, role).and_then(|w| graph.weight(w));
    let decl = weight.expect("experts have weights");
    // A panel is 8 rows, and what is rounded to int8 is cut between groups.
    let step = if graph.is_quantized(node) {
        GROUP
    } else {
        PANEL_ROWS
    };
    let row_bytes = decl.bytes() / rows.max(1);
    let (rows, chunks) = experts::expert_columns(g, rows, row_bytes, step, kind);
    Work::Experts { rows, chunks }
}

/// Rows of a chunk that has nothing to keep together.
fn usual_rows(total: usize, kind: ProgramKind) -> usize {
    let (wanted, step, most) = match kind {
        ProgramKind::Decode => (total.div_ceil(64), 8, 256),
        ProgramKind::Prefill => (total.div_ceil(32), 16, 96),
    };
    wanted.next_multiple_of(step).clamp(step, most)
}

fn even_columns(total: usize, kind: ProgramKind) -> (usize, usize) {
    let rows = usual_rows(total, kind).min(total);
    (rows, total.div_ceil(rows))
}

/// Chunks of a matmul: enough to share out evenly among a few threads, each long enough to stream well, and no head that
/// is finished in one piece, no panel and no int8 group of the result cut in two.
fn columns(graph: &Graph, node: NodeId, m: &Matmul, kind: ProgramKind) -> Vec<(usize, usize)> {
    let parts = match m.join {
        Join::Gated(_) => &m.parts[..1],
        Join::Concat => &m.parts[..],
    };
    let total: usize = parts.iter().map(|p| p.rows).sum();
    let usual = usual_rows(total, kind);
    let state_head = |p: &crate::graph::Part| match p.finish.dest {
        Dest::Output => 1,
        Dest::Keys(s) => graph.states[s.0 as usize].head_dim,
        Dest::Values(s) => graph.states[s.0 as usize].value_dim,
        // Columns of one head's key are written in one piece.
        Dest::KeyColumns(..) => p.rows,
    };
    let unit = if m.quantize_y {
        GROUP
    } else if m.quantize_x || graph.is_quantized(graph.operands(node)[0]) {
        PANEL_ROWS
    } else {
        1
    };
    let chunk = |p: &crate::graph::Part| {
        let grain = lcm(p.finish.grain().max(state_head(p)), unit);
        let rows = if grain > 1 {
            (usual / grain).max(1) * grain
        } else {
            usual
        }
        .min(p.rows);
        (rows, p.rows.div_ceil(rows))
    };
    parts.iter().map(chunk).collect()
}

/// Chunks of a product by head: whole heads where there are many of them, and no run of columns too short to stream.
fn head_columns(m: &HeadMatmul, weight_columns: usize) -> Work {
    let (heads, product) = (m.columns.heads, m.product(weight_columns));
    let count = 16_usize.div_ceil(heads).min(product.div_ceil(64));
    let width = product.div_ceil(count).next_multiple_of(16);
    Work::HeadColumns {
        heads,
        width,
        count: product.div_ceil(width),
    }
}

/// Channels of a run of a convolution: about 64, side by side in cache, no group of a norm cut in two.
fn channels(c: &ShortConv) -> usize {
    let group = c.norm.map_or(16, |n| n.group);
    (64 / group).max(1) * group
}

fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

impl Schedule {
    /// Barriers of each block, those that only stand where keys are split not counted.
    pub fn barriers(&self) -> Vec<(String, usize)> {
        let count = |b: &BlockSchedule| b.kernels.iter().filter(|k| k.barrier).count();
        self.blocks
            .iter()
            .map(|b| (b.name.clone(), count(b)))
            .collect()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (block, (_, barriers)) in self.blocks.iter().zip(self.barriers()) {
            writeln!(
                f,
                "{}.{}: {} kernels, {barriers} barriers",
                self.kind,
                block.name,
                block.kernels.len()
            )?;
            for k in &block.kernels {
                writeln!(f, "  {k}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.barrier { "|" } else { " " };
        let name = if self.name.is_empty() {
            "-"
        } else {
            &self.name
        };
        write!(f, "{mark} {name}: {}", self.work)?;
        if self.per_tile {
            f.write_str(", per tile")?;
        }
        if self.claimed.is_some() {
            f.write_str(", claimed")?;
        }
        Ok(())
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Rows { grain } => write!(f, "rows by {grain}"),
            Work::Columns(parts) => {
                let parts: Vec<_> = parts
                    .iter()
                    .map(|(rows, n)| format!("{n} × {rows}"))
                    .collect();
                write!(f, "columns {}", parts.join(" + "))
            }
            Work::TilesByKeys => write!(f, "tiles × key heads × runs of {KEY_BLOCK} keys"),
            Work::TilesByHeads => f.write_str("tiles × heads"),
            Work::Heads => f.write_str("heads"),
            Work::SegmentsByHeads => f.write_str("segments × heads"),
            Work::SegmentsByColumns { width, count } => {
                write!(f, "segments × columns {count} × {width}")
            }
            Work::HeadColumns {
                heads,
                width,
                count,
            } => write!(f, "{heads} heads × columns {count} × {width}"),
            Work::Experts { rows, chunks } => write!(f, "experts × {chunks} × {rows}"),
            Work::Once => f.write_str("once"),
        }
    }
}
