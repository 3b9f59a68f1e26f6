//! Checks a memory plan by acting it out: every kernel in order, every byte owned by the value last written there.
//!
//! Nothing here uses the planner's lifetimes. A plan is right if each value is still the owner of its bytes when it is
//! read, whichever of the kernels between two barriers comes first.

use std::collections::BTreeMap;
use std::ops::Range;

use graver::codegen::Planned;
use graver::graph::{Dim, Graph, NodeId, Op};
use graver::memory::{Buffer, Place};
use graver::schedule::{Kernel, max_tokens, query_tile, root};

/// Logits lie in a buffer of the caller's: far from everything in the arena.
const LOGITS: usize = 1 << 60;

/// What is wrong with a plan at some length of the context, if anything.
pub fn fault(planned: &Planned, context: usize) -> Option<String> {
    let n = planned.program.blocks.len();
    (0..n).find_map(|b| {
        Block {
            planned,
            context,
            b,
        }
        .fault()
    })
}

struct Block<'a> {
    planned: &'a Planned,
    context: usize,
    b: usize,
}

/// Kernels that run with nothing but the order within each of them: between two barriers, or tile by tile.
struct Phase<'a> {
    kernels: Vec<&'a Kernel>,
    reads: Vec<(NodeId, NodeId)>,
    writes: Vec<(NodeId, Range<usize>)>,
}

impl<'a> Block<'a> {
    fn graph(&self) -> &'a Graph {
        &self.planned.program.blocks[self.b].graph
    }

    fn fault(&self) -> Option<String> {
        let name = &self.planned.program.blocks[self.b].name;
        let found = self.sizes().or_else(|| self.play())?;
        Some(format!(
            "{}.{name} at context {}: {found}",
            self.planned.program.kind, self.context
        ))
    }

    fn bytes(&self, b: &Buffer) -> Range<usize> {
        let start = match b.place {
            Place::Arena {
                offset,
                per_position,
            } => offset + per_position * self.context,
            Place::Logits => LOGITS,
        };
        start..start + b.bytes + b.bytes_per_position * self.context
    }

    fn place(&self, node: NodeId) -> Option<Range<usize>> {
        self.planned.memory.blocks[self.b]
            .get(&node)
            .map(|b| self.bytes(b))
    }

    /// Every buffer holds its value, and lies inside the arena.
    fn sizes(&self) -> Option<String> {
        let (plan, kind) = (&self.planned.memory, self.planned.program.kind);
        let end = plan.arena_bytes + plan.arena_bytes_per_position * self.context;
        let all = plan.blocks[self.b].iter().chain(&plan.workspaces[self.b]);
        for (id, buffer) in all.clone() {
            let bytes = self.bytes(buffer);
            if buffer.place != Place::Logits && bytes.end > end {
                return Some(format!(
                    "{} ends at {}, the arena at {end}",
                    self.label(*id),
                    bytes.end
                ));
            }
        }
        for (id, buffer) in &plan.blocks[self.b] {
            let needed = match self.graph().op(*id) {
                Op::Scores(a) | Op::Softmax(a) => 4 * a.heads * query_tile(kind) * self.context,
                Op::IndexScores(i) => 4 * i.sets() * query_tile(kind) * self.context,
                _ => max_tokens(kind) * self.graph().row_bytes(*id),
            };
            if self.bytes(buffer).len() < needed {
                return Some(format!("{} has {buffer}, needs {needed}", self.label(*id)));
            }
        }
        None
    }

    fn play(&self) -> Option<String> {
        let graph = self.graph();
        let inputs = graph
            .order()
            .into_iter()
            .filter(|id| matches!(graph.op(*id), Op::Input(_)));
        let mut owners: Vec<(NodeId, Range<usize>)> = inputs
            .filter_map(|id| Some((id, self.place(id)?)))
            .collect();
        for phase in self.phases() {
            if let Some(wrong) = self.conflict(&phase).or_else(|| self.lost(&phase, &owners)) {
                return Some(wrong);
            }
            for (node, bytes) in phase.writes {
                owners.retain(|(_, held)| !overlap(held, &bytes));
                owners.push((node, bytes));
            }
        }
        let handed_on = |(_, id): &&(String, NodeId)| owners.iter().any(|(o, _)| o == id);
        let lost = graph.outputs.iter().find(|o| !handed_on(o))?;
        Some(format!("output {} is overwritten", lost.0))
    }

    /// Kernels by epoch, those that run tile by tile together: a later tile's first kernel follows an earlier one's last.
    fn phases(&self) -> Vec<Phase<'a>> {
        let kernels = &self.planned.schedule.blocks[self.b].kernels;
        let mut phases: BTreeMap<usize, Phase> = BTreeMap::new();
        let mut first_of_run = 0;
        for (i, k) in kernels.iter().enumerate() {
            if !(k.per_tile && i > 0 && kernels[i - 1].per_tile) {
                first_of_run = k.epoch;
            }
            let epoch = if k.per_tile { first_of_run } else { k.epoch };
            self.enter(phases.entry(epoch).or_insert_with(Phase::new), k);
            if k.epochs > 1 {
                // The second half works on what the first left in the workspace.
                self.enter(phases.entry(epoch + 1).or_insert_with(Phase::new), k);
            }
        }
        phases.into_values().collect()
    }

    fn enter(&self, phase: &mut Phase<'a>, k: &'a Kernel) {
        let graph = self.graph();
        phase.kernels.push(k);
        phase.reads.extend(
            graph
                .operands(k.node)
                .into_iter()
                .map(|o| (k.node, root(graph, o))),
        );
        phase
            .writes
            .extend(self.place(k.node).map(|bytes| (k.node, bytes)));
        let workspace = self.planned.memory.workspaces[self.b].get(&k.node);
        phase
            .writes
            .extend(workspace.map(|b| (k.node, self.bytes(b))));
    }

    /// Two kernels of a phase that disturb each other.
    fn conflict(&self, phase: &Phase) -> Option<String> {
        for (writer, bytes) in &phase.writes {
            let other = phase.writes.iter().find(|(w, b)| {
                w != writer
                    && overlap(b, bytes)
                    && !self.in_place(*w, *writer)
                    && !self.in_place(*writer, *w)
            });
            if let Some((w, _)) = other {
                return Some(format!(
                    "{} and {} write the same bytes",
                    self.label(*w),
                    self.label(*writer)
                ));
            }
            for (reader, value) in &phase.reads {
                let hit = self.place(*value).is_some_and(|b| overlap(&b, bytes));
                let allowed = value == writer
                    || self.in_place(*writer, *value)
                    || self.next_tile(*writer, *value);
                if hit && !allowed {
                    return Some(format!(
                        "{} writes over {} while {} reads it",
                        self.label(*writer),
                        self.label(*value),
                        self.label(*reader)
                    ));
                }
            }
        }
        self.carried_conflict(phase)
    }

    /// A value handed from block to block is written by the node that makes it, and by nothing else.
    fn carried_conflict(&self, phase: &Phase) -> Option<String> {
        let (plan, graph) = (&self.planned.memory, self.graph());
        for (name, offset) in &plan.carried {
            let makers = self.planned.program.blocks.iter().flat_map(|b| {
                b.graph
                    .outputs
                    .iter()
                    .filter(|o| o.0 == *name)
                    .map(|o| b.graph.width(o.1))
            });
            let bytes = 4 * max_tokens(self.planned.program.kind) * makers.max().unwrap_or(0);
            let range = *offset..offset + bytes;
            let makes = |n: NodeId| graph.outputs.iter().any(|(o, id)| o == name && *id == n);
            let hit = phase
                .writes
                .iter()
                .find(|(w, b)| overlap(b, &range) && !makes(*w));
            if let Some((w, _)) = hit {
                return Some(format!(
                    "{} writes over {name}, which is handed on",
                    self.label(*w)
                ));
            }
        }
        None
    }

    /// A value that a kernel of the phase reads and something has overwritten.
    fn lost(&self, phase: &Phase, owners: &[(NodeId, Range<usize>)]) -> Option<String> {
        let made_here = |v: NodeId| phase.kernels.iter().any(|k| k.node == v && k.per_tile);
        let (reader, value) = phase.reads.iter().find(|(_, v)| {
            self.place(*v).is_some() && !made_here(*v) && !owners.iter().any(|(o, _)| o == v)
        })?;
        Some(format!(
            "{} reads {}, which is overwritten",
            self.label(*reader),
            self.label(*value)
        ))
    }

    /// Whether `writer` may lie exactly where `value` lay, element by element.
    fn in_place(&self, writer: NodeId, value: NodeId) -> bool {
        let graph = self.graph();
        let operands: Vec<NodeId> = graph
            .operands(writer)
            .iter()
            .map(|o| root(graph, *o))
            .collect();
        let elementwise = match graph.op(writer) {
            Op::Binary(_) | Op::Unary(_) | Op::Copy | Op::Softmax(_) => operands.contains(&value),
            Op::Matmul(m) => m.residual && only_last(&operands, value),
            Op::ExpertsOut(x) => x.residual && only_last(&operands, value),
            _ => false,
        };
        elementwise && self.place(writer) == self.place(value)
    }

    /// Whether `writer` starts the next tile where `value` lay, which is only read within its own tile.
    fn next_tile(&self, writer: NodeId, value: NodeId) -> bool {
        let of_tile = |n: NodeId| self.graph().shape(n).contains(&Dim::Queries);
        of_tile(writer) && of_tile(value) && self.place(writer) == self.place(value)
    }

    fn label(&self, id: NodeId) -> String {
        format!(
            "{} ({})",
            self.graph().names()[&id],
            self.graph().node(id).name
        )
    }
}

impl Phase<'_> {
    fn new() -> Self {
        Phase {
            kernels: vec![],
            reads: vec![],
            writes: vec![],
        }
    }
}

/// Whether `value` is the last operand, the residual, and no other.
fn only_last(operands: &[NodeId], value: NodeId) -> bool {
    let (last, others) = operands.split_last().expect("a product has operands");
    *last == value && !others.contains(&value)
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end && !a.is_empty() && !b.is_empty()
}
