//! From graphs to kernels: which run, in what order, how their work is cut, and where threads wait for each other.
//!
//! A kernel is a node that computes something. Its work is cut into chunks by shape alone, never by the number of threads.
//! A barrier stands before a kernel that reads what another kernel has written since the last barrier; the first kernel of
//! a block always has one. Kernels between two barriers form an *epoch*, the unit of the memory plan. A collective is an epoch of
//! its own; a sum in prefill may begin in the epoch before, with columns that are done.

mod columns;
pub(crate) mod early;
mod experts;
pub mod scratch;
mod steps;
mod work;

use std::collections::BTreeSet;
use std::fmt;

use graver_runtime::abi::{Arranged, CLAIM_COUNTERS};

use crate::graph::{Graph, Join, NodeId, Op, Program, ProgramKind, Role};
use crate::units::counted;

pub(crate) use columns::rows_at_once;
pub(crate) use experts::{expert_tile, has_prologue, prologue_row_bytes, tile_row_bytes};
pub use scratch::Scratch;
pub(crate) use steps::largest_step;
pub use steps::{max_tokens, query_tile};
pub use work::Work;

use self::columns::arranged;
use self::work::work;

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
    /// One more than the barriers inside it.
    pub epochs: usize,
    /// Its input is arranged first, for all threads.
    pub arranged: Option<Arranged>,
    /// Runs once for each attention tile, together with its neighbours of which that is true.
    pub per_tile: bool,
    /// Chunks are handed out by a counter rather than by thread index.
    pub claimed: Option<usize>,
    /// How it is cut.
    pub work: Work,
    /// What a thread needs of its own.
    pub scratch: Scratch,
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
    let (op, roles) = (graph.op(id), graph.op(id).roles());
    let gated = matches!(op, Op::Matmul(m) if m.join != Join::Concat);
    let elementwise = |slot: usize| {
        let sum = roles[slot].0 == Role::Residual && !gated;
        sum || matches!(op, Op::Binary(_) | Op::Unary(_) | Op::Copy)
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
        let per_tile = is_per_tile(op);
        let is_collective = |op: &Op| matches!(op, Op::Collective(_));
        let before = out.last().is_some_and(|k| is_collective(graph.op(k.node)));
        let alone = per_tile || before || is_collective(op);
        let barrier = out.is_empty() || reads_fresh || alone || claims == CLAIM_COUNTERS;
        if barrier {
            fresh.clear();
            claims = 0;
            epoch += usize::from(!out.is_empty());
        }
        let is_claimed = kind == ProgramKind::Prefill && !is_collective(op);
        let claimed = is_claimed.then_some(claims);
        claims += 1;
        fresh.insert(node);
        let (work, scratch) = (work(graph, node, kind), scratch::scratch(graph, node, kind));
        let name = graph.node(node).name.clone();
        let arranged = arranged(graph, node, kind);
        // Partial results are combined once all threads have theirs, and products begin once their input is arranged.
        let epochs = 1 + usize::from(splits_keys(op, kind) || arranged.is_some());
        out.push(Kernel {
            node,
            name,
            barrier,
            epoch,
            epochs,
            arranged,
            per_tile,
            claimed,
            work,
            scratch,
        });
        epoch += epochs - 1;
    }
    out
}

/// Whether attention cuts the keys of one query into runs: of all that it sees, not of a few that are picked.
fn splits_keys(op: &Op, kind: ProgramKind) -> bool {
    matches!(op, Op::Attention(a) if a.picked.is_none()) && kind == ProgramKind::Decode
}

/// Whether a kernel runs once for each attention tile, since the scores that it reads or writes are of one tile.
fn is_per_tile(op: &Op) -> bool {
    matches!(
        op,
        Op::Scores(_) | Op::Softmax(_) | Op::Mix(_) | Op::IndexScores(_) | Op::PickKeys(_)
    )
}

/// Nodes that are kernels; the three of unfused attention stay together, and so do the two of an index.
fn kernel_order(graph: &Graph) -> Vec<NodeId> {
    let mut out: Vec<NodeId> = vec![];
    let next = |n: NodeId| {
        graph
            .only_user(n)
            .expect("scores and softmax have one reader")
    };
    for id in graph.order() {
        if graph.op(id).is_view() || out.contains(&id) {
            continue;
        }
        match graph.op(id) {
            // They wait for what their softmax reads.
            Op::Scores(a) if a.picked.is_some() => {}
            Op::Softmax(a) if a.picked.is_some() => {
                out.extend([graph.input(id), id, next(id)]);
            }
            Op::Scores(_) => out.extend([id, next(id), next(next(id))]),
            Op::IndexScores(_) => out.extend([id, next(id)]),
            _ => out.push(id),
        }
    }
    out
}

/// The node whose memory a view shows.
pub fn root(graph: &Graph, id: NodeId) -> NodeId {
    match graph.op(id) {
        Op::Slice { .. } => root(graph, graph.input(id)),
        _ => id,
    }
}

impl Schedule {
    /// Barriers of each block, those that only stand where keys are split not counted.
    pub fn barriers(&self) -> Vec<(String, usize)> {
        let of = |k: &Kernel| usize::from(k.barrier) + usize::from(k.arranged.is_some());
        let count = |b: &BlockSchedule| b.kernels.iter().map(of).sum();
        self.blocks
            .iter()
            .map(|b| (b.name.clone(), count(b)))
            .collect()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (block, (_, barriers)) in self.blocks.iter().zip(self.barriers()) {
            let kernels = counted(block.kernels.len(), "kernel");
            let barriers = counted(barriers, "barrier");
            writeln!(f, "{}.{}: {kernels}, {barriers}", self.kind, block.name)?;
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
        if self.arranged.is_some() {
            f.write_str(", input arranged first")?;
        }
        if self.claimed.is_some() {
            f.write_str(", claimed")?;
        }
        Ok(())
    }
}
