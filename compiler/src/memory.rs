//! The arena: where each value of a program lies, planned from lifetimes.
//!
//! Two buffers of a block may share bytes only if no epoch sees both alive. Values handed from block to block keep their
//! place through the whole program. Scores, whose size grows with the context, lie after the fixed part.

use std::collections::BTreeMap;
use std::fmt;

use graver_runtime::abi::KEY_BLOCK;

use crate::graph::{Dim, Graph, NodeId, Op, Program};
use crate::schedule::early::summed_early;
use crate::schedule::{BlockSchedule, Kernel, Schedule};
use crate::schedule::{max_tokens, query_tile, root};

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Byte offset in the arena; `per_position` more for each position of the context.
    Arena {
        /// Fixed part.
        offset: usize,
        /// Grows with the context.
        per_position: usize,
    },
    /// The caller's buffer for logits.
    Logits,
}

/// A buffer: where, how large, and when it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Where it lies.
    pub place: Place,
    /// Fixed bytes.
    pub bytes: usize,
    /// Bytes for each position of the context.
    pub bytes_per_position: usize,
    /// First epoch that writes it.
    pub first: usize,
    /// Last epoch that reads it.
    pub last: usize,
}

/// The plan of one program.
#[derive(Clone, Debug, Default)]
pub struct MemoryPlan {
    /// Fixed bytes of the arena.
    pub arena_bytes: usize,
    /// Further bytes for each position of the context.
    pub arena_bytes_per_position: usize,
    /// Scratch bytes of a thread.
    pub scratch_bytes: usize,
    /// Buffers of each block: of its nodes, and of its inputs.
    pub blocks: Vec<BTreeMap<NodeId, Buffer>>,
    /// What kernels with a barrier inside leave on one side for the other: partial results of attention, an input that is arranged.
    pub workspaces: Vec<BTreeMap<NodeId, Buffer>>,
    /// Values handed from block to block, with their offset.
    pub carried: BTreeMap<String, usize>,
    /// Bytes that those take, at the start of the arena.
    pub carried_bytes: usize,
}

const ALIGN: usize = 64;

/// Plans the arena.
pub fn plan(program: &Program, schedule: &Schedule) -> MemoryPlan {
    let mut p = MemoryPlan::default();
    let tokens = max_tokens(program.kind);
    for (name, id) in program
        .blocks
        .iter()
        .flat_map(|b| b.graph.outputs.iter().map(move |o| (o, &b.graph)))
        .map(|((n, i), g)| ((n, *i), g))
        .filter(|((n, _), _)| n.as_str() != "logits")
        .map(|((n, i), g)| (n, (i, g)))
    {
        let (node, graph) = id;
        if !p.carried.contains_key(name) {
            p.carried.insert(name.clone(), p.arena_bytes);
            p.arena_bytes += (tokens * graph.width(node) * 4).next_multiple_of(ALIGN);
        }
    }
    let base = p.arena_bytes;
    p.carried_bytes = base;
    let mut most = (base, 0);
    for (block, kernels) in program.blocks.iter().zip(&schedule.blocks) {
        let (buffers, workspaces, end) =
            Planner::new(&block.graph, kernels, schedule, &p.carried, base).place();
        most = (most.0.max(end.0), most.1.max(end.1));
        p.blocks.push(buffers);
        p.workspaces.push(workspaces);
    }
    (p.arena_bytes, p.arena_bytes_per_position) = most;
    p.scratch_bytes = schedule
        .blocks
        .iter()
        .flat_map(|b| &b.kernels)
        .map(|k| k.scratch.bytes())
        .max()
        .unwrap_or(0);
    p
}

struct Planner<'a> {
    graph: &'a Graph,
    kernels: &'a BlockSchedule,
    schedule: &'a Schedule,
    carried: &'a BTreeMap<String, usize>,
    base: usize,
}

type Buffers = BTreeMap<NodeId, Buffer>;

impl<'a> Planner<'a> {
    fn new(
        graph: &'a Graph,
        kernels: &'a BlockSchedule,
        schedule: &'a Schedule,
        carried: &'a BTreeMap<String, usize>,
        base: usize,
    ) -> Self {
        Planner {
            graph,
            kernels,
            schedule,
            carried,
            base,
        }
    }

    fn place(&self) -> (Buffers, Buffers, (usize, usize)) {
        let mut buffers = self.inputs();
        let mut wanted: Vec<(NodeId, Buffer)> = vec![];
        for k in &self.kernels.kernels {
            if self.graph.shape(k.node).is_empty()
                || self.in_place(k.node)
                || self.graph.width(k.node) == 0
            {
                continue;
            }
            let b = self.buffer(k.node, self.begins(k));
            match self.fixed_place(k.node) {
                Some(place) => drop(buffers.insert(k.node, Buffer { place, ..b })),
                None => wanted.push((k.node, b)),
            }
        }
        let mut workspaces = self.workspaces();
        let values = wanted.len();
        wanted.append(&mut workspaces);
        let mut end = (first_fit(&mut wanted, self.base), 0);
        workspaces = wanted.split_off(values);
        for (_, b) in wanted
            .iter_mut()
            .chain(&mut workspaces)
            .filter(|(_, b)| b.bytes_per_position > 0)
        {
            b.place = Place::Arena {
                offset: end.0,
                per_position: end.1,
            };
            end = (
                end.0 + b.bytes.next_multiple_of(ALIGN),
                end.1 + b.bytes_per_position,
            );
        }
        buffers.extend(wanted);
        for k in self
            .kernels
            .kernels
            .iter()
            .filter(|k| self.in_place(k.node))
        {
            let from = buffers[&root(self.graph, self.graph.input(k.node))];
            buffers.insert(k.node, from);
        }
        (buffers, workspaces.into_iter().collect(), end)
    }

    /// The first epoch that writes a kernel's result: an early sum's is written while what it sums up is.
    fn begins(&self, kernel: &Kernel) -> usize {
        let summed = summed_early(self.graph, self.kernels, self.schedule.kind, kernel.node);
        let kernels = &self.kernels.kernels;
        let source = summed.and_then(|node| kernels.iter().find(|k| k.node == node));
        source.unwrap_or(kernel).epoch
    }

    fn inputs(&self) -> Buffers {
        let mut out = Buffers::new();
        for id in self.graph.order() {
            if let Op::Input(name) = self.graph.op(id) {
                let place = Place::Arena {
                    offset: self.carried[name],
                    per_position: 0,
                };
                out.insert(
                    id,
                    Buffer {
                        place,
                        ..self.buffer(id, 0)
                    },
                );
            }
        }
        out
    }

    /// Outputs lie where the next block looks for them, and so does what an output's in-place kernel starts from.
    fn fixed_place(&self, node: NodeId) -> Option<Place> {
        let shown = match self.graph.only_user(node) {
            Some(user) if self.in_place(user) => user,
            _ => node,
        };
        let (name, _) = self.graph.outputs.iter().find(|(_, id)| *id == shown)?;
        if name == "logits" {
            return Some(Place::Logits);
        }
        (shown == node).then(|| Place::Arena {
            offset: self.carried[name],
            per_position: 0,
        })
    }

    /// Softmax overwrites its scores, and so does what is done to logits, which are too large to have twice.
    fn in_place(&self, node: NodeId) -> bool {
        let overwrites = match self.graph.op(node) {
            Op::Softmax(_) => true,
            Op::Unary(_) => self
                .graph
                .outputs
                .iter()
                .any(|(n, id)| *id == node && n == "logits"),
            _ => false,
        };
        overwrites && self.graph.only_user(self.graph.input(node)) == Some(node)
    }

    fn buffer(&self, node: NodeId, epoch: usize) -> Buffer {
        let (bytes, bytes_per_position) = match self.graph.op(node) {
            Op::Scores(a) => (0, a.heads * query_tile(self.schedule.kind) * 4),
            Op::IndexScores(i) => (0, i.sets() * query_tile(self.schedule.kind) * 4),
            _ => (self.n_rows(node) * self.graph.row_bytes(node), 0),
        };
        let place = Place::Arena {
            offset: 0,
            per_position: 0,
        };
        Buffer {
            place,
            bytes,
            bytes_per_position,
            first: epoch,
            last: self.last_use(node),
        }
    }

    /// The most rows that a step gives a node.
    fn n_rows(&self, node: NodeId) -> usize {
        let tokens = max_tokens(self.schedule.kind);
        match self.graph.shape(node).first() {
            Some(Dim::Routed { per_token, more }) => tokens * per_token + more,
            Some(Dim::Const(n)) => *n,
            Some(Dim::Tokens | Dim::LogitRows | Dim::Queries | Dim::Keys) | None => tokens,
        }
    }

    /// The last epoch in which a kernel reads the node, through views and in-place kernels.
    fn last_use(&self, node: NodeId) -> usize {
        let through = |u: NodeId| match self.graph.op(u).is_view() || self.in_place(u) {
            true => self.last_use(u).max(self.done(u)),
            false => self.done(u),
        };
        let own = self.done(node);
        let read = self
            .graph
            .users(node)
            .into_iter()
            .map(|(u, _)| through(u))
            .max()
            .unwrap_or(own);
        if self.graph.is_output(node) {
            usize::MAX
        } else {
            read.max(own)
        }
    }

    /// The last epoch in which a kernel works: one that runs tile by tile starts again after the last of its run.
    fn done(&self, node: NodeId) -> usize {
        let kernels = &self.kernels.kernels;
        let Some(at) = kernels.iter().position(|k| k.node == node) else {
            return 0;
        };
        let run = kernels[at..].iter().take_while(|k| k.per_tile).count();
        kernels[at + run.saturating_sub(1)].epoch + kernels[at].epochs - 1
    }

    fn workspaces(&self) -> Vec<(NodeId, Buffer)> {
        let tokens = max_tokens(self.schedule.kind);
        let workspace = |k: &Kernel| {
            let (bytes, bytes_per_position) = match (self.graph.op(k.node), k.arranged) {
                (_, Some(of)) => {
                    let width = self.graph.width(self.graph.input(k.node));
                    (of.room(tokens, width), 0)
                }
                // A partial result for each token, head and run of keys; the last run may be a short one.
                (Op::Attention(a), None) if k.epochs > 1 => {
                    let run = tokens * a.heads * (a.value_dim + 2) * 4;
                    (run, run.div_ceil(KEY_BLOCK))
                }
                _ => return None,
            };
            let buffer = Buffer {
                place: Place::Arena {
                    offset: 0,
                    per_position: 0,
                },
                bytes,
                bytes_per_position,
                first: k.epoch,
                last: k.epoch + k.epochs - 1,
            };
            Some((k.node, buffer))
        };
        self.kernels.kernels.iter().filter_map(workspace).collect()
    }
}

/// Gives each fixed buffer the lowest offset where it meets no other that is alive with it, largest first.
fn first_fit(buffers: &mut [(NodeId, Buffer)], base: usize) -> usize {
    let mut by_size: Vec<usize> = (0..buffers.len())
        .filter(|i| buffers[*i].1.bytes_per_position == 0)
        .collect();
    by_size.sort_by_key(|i| (std::cmp::Reverse(buffers[*i].1.bytes), *i));
    let mut placed: Vec<(usize, Buffer)> = vec![];
    let mut end = base;
    for i in by_size {
        let b = buffers[i].1;
        let mut offset = base;
        placed.sort_by_key(|(o, _)| *o);
        for (o, p) in placed
            .iter()
            .filter(|(_, p)| p.first <= b.last && b.first <= p.last)
        {
            if offset + b.bytes <= *o {
                break;
            }
            offset = offset.max((o + p.bytes).next_multiple_of(ALIGN));
        }
        buffers[i].1.place = Place::Arena {
            offset,
            per_position: 0,
        };
        placed.push((offset, b));
        end = end.max((offset + b.bytes).next_multiple_of(ALIGN));
    }
    end
}

impl MemoryPlan {
    /// Whether a buffer is not the block's own: handed from block to block, or the caller's.
    pub(crate) fn is_carried(&self, buffer: &Buffer) -> bool {
        match buffer.place {
            Place::Logits => true,
            Place::Arena {
                offset,
                per_position,
            } => per_position == 0 && offset < self.carried_bytes,
        }
    }

    /// The plan as text: each block's buffers by offset.
    pub fn text(&self, program: &Program) -> String {
        let (fixed, more, scratch) = (
            self.arena_bytes,
            self.arena_bytes_per_position,
            self.scratch_bytes,
        );
        let mut s = format!(
            "{} arena {fixed} bytes + {more} per position, scratch {scratch} per thread; an epoch ends at a barrier\n",
            program.kind
        );
        let plans = self.blocks.iter().zip(&self.workspaces);
        for (block, (buffers, workspaces)) in program.blocks.iter().zip(plans) {
            s.push_str(&format!("{}:\n", block.name));
            let names = block.graph.names();
            let values = buffers.iter().map(|(id, b)| (id, b, ""));
            let more = workspaces.iter().map(|(id, b)| (id, b, " workspace"));
            let mut lines: Vec<_> = values.chain(more).collect();
            lines.sort_by_key(|(id, b, _)| (b.place.key(), **id));
            for (id, b, what) in lines {
                let (name, place) = (&names[id], &block.graph.node(*id).name);
                s.push_str(&format!("  {b}  {name} {place}{what}\n"));
            }
        }
        s
    }
}

impl Place {
    fn key(&self) -> (usize, usize) {
        match self {
            Place::Arena {
                offset,
                per_position,
            } => (*per_position, *offset),
            Place::Logits => (usize::MAX, 0),
        }
    }
}

impl fmt::Display for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Logits => write!(f, "logits")?,
            Place::Arena {
                offset,
                per_position: 0,
            } => write!(f, "{offset:>10}")?,
            Place::Arena {
                offset,
                per_position,
            } => write!(f, "{offset:>10} + {per_position}·C")?,
        }
        write!(f, " size {:>9}", self.bytes)?;
        if self.bytes_per_position > 0 {
            write!(f, " + {}·C", self.bytes_per_position)?;
        }
        let last = if self.last == usize::MAX {
            "end".into()
        } else {
            self.last.to_string()
        };
        write!(f, " epochs {}–{last}", self.first)
    }
}
