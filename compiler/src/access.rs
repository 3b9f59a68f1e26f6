//! What each kernel of a planned program may touch, for checked execution: its operands and its result, where the memory
//! plan has them; its weight slots; its state; its scratch.
//!
//! Read off graph, schedule and memory plan alone. Code generation gets to its addresses from the same facts, but on a path of
//! its own, so that a mistake there is found here.

use std::ops::Range;

use graver_runtime::checked::{
    BlockPlace, Extent, KernelAccess, ProgramAccess, RowCount, Size, ValueAccess, ValuePlace,
};

use crate::codegen::Planned;
use crate::graph::{Dim, Graph, NodeId, Op, StateId};
use crate::memory::{Buffer, Place};
use crate::schedule::{Kernel, root};

/// What the kernels of a program may touch.
pub fn access(planned: &Planned) -> ProgramAccess {
    let (program, memory) = (&planned.program, &planned.memory);
    let blocks = planned.schedule.blocks.iter().enumerate();
    let kernels = blocks.flat_map(|(block, schedule)| {
        let before = std::iter::once(None).chain(schedule.kernels.iter().map(Some));
        let kernels = schedule.kernels.iter().zip(before).enumerate();
        kernels.map(move |(index, (kernel, before))| {
            Of {
                planned,
                block,
                graph: &program.blocks[block].graph,
                kernel,
            }
            .access(index, before)
        })
    });
    ProgramAccess {
        kernels: kernels.collect(),
        places: places(planned),
        carried_bytes: memory.carried_bytes,
    }
}

/// Blocks in the order of a step, with their first weight slots and state buffers.
fn places(planned: &Planned) -> Vec<BlockPlace> {
    let program = &planned.program;
    let (weights, states) = (program.weight_bases(), program.state_bases());
    let head = program.layers.len() + 1;
    let place = |(at, block): (usize, usize)| BlockPlace {
        name: match at {
            0 => "embed".into(),
            _ if at == head => "head".into(),
            _ => format!("layer {}", at - 1),
        },
        block,
        weight: weights[at],
        state: states[at],
    };
    program.run_order().enumerate().map(place).collect()
}

/// One kernel.
struct Of<'a> {
    planned: &'a Planned,
    block: usize,
    graph: &'a Graph,
    kernel: &'a Kernel,
}

impl Of<'_> {
    fn access(&self, index: usize, before: Option<&Kernel>) -> KernelAccess {
        let (node, program) = (self.kernel.node, &self.planned.program);
        let operands = self.graph.operands(node);
        let op = self.graph.op(node);
        let read = operands
            .iter()
            .filter_map(|o| self.value(*o, op.overwrites_input()));
        let workspace = self.planned.memory.workspaces[self.block].get(&node);
        let written = self.value(node, true).into_iter();
        let own = workspace.map(|b| ValueAccess {
            written: true,
            extent: whole(b),
        });
        let weights = operands.iter().filter_map(|o| self.slots(*o));
        let name = &self.kernel.name;
        KernelAccess {
            name: format!(
                "{}.{}.{name} ({})",
                program.kind,
                program.place(self.block),
                op.name()
            ),
            block: self.block,
            index,
            values: read.chain(written).chain(own).collect(),
            weights: weights.collect(),
            states: self.states(op),
            scratch: self.scratch(),
            dead: self.dead(before),
        }
    }

    fn scratch(&self) -> Vec<Range<usize>> {
        let areas = self.kernel.scratch.areas.iter();
        areas.map(|a| a.offset..a.offset + a.bytes).collect()
    }

    /// A value's extent, if it lies in the arena or among the logits.
    fn value(&self, id: NodeId, written: bool) -> Option<ValueAccess> {
        let shown = root(self.graph, id);
        let buffer = self.planned.memory.blocks[self.block].get(&shown)?;
        let extent = self.extent(id, shown, buffer);
        Some(ValueAccess { written, extent })
    }

    fn extent(&self, id: NodeId, shown: NodeId, buffer: &Buffer) -> Extent {
        // A table of groups is laid out for the longest step, and scores for one tile at a time.
        let count = match self.graph.shape(shown).first() {
            Some(Dim::Tokens) => RowCount::PerToken(1),
            Some(Dim::LogitRows) => RowCount::LogitRows,
            Some(Dim::Routed { per_token, more: 0 }) => RowCount::PerToken(*per_token),
            Some(Dim::Const(n)) => RowCount::Fixed(*n),
            Some(Dim::Routed { .. } | Dim::Queries | Dim::Keys) | None => return whole(buffer),
        };
        if buffer.bytes_per_position > 0 {
            return whole(buffer);
        }
        let size = Size::Rows {
            count,
            stride: self.graph.row_bytes(shown),
            start: self.first_column(id) * 4,
            width: self.graph.row_bytes(id),
        };
        Extent {
            place: place(buffer),
            size,
        }
    }

    /// Where a view's first column lies in what it shows.
    fn first_column(&self, id: NodeId) -> usize {
        match self.graph.op(id) {
            Op::Slice { start, .. } => start + self.first_column(self.graph.input(id)),
            _ => 0,
        }
    }

    /// Slots of a weight, counted from the block's first.
    fn slots(&self, id: NodeId) -> Option<Range<usize>> {
        let Op::Weight(w) = self.graph.op(id) else {
            return None;
        };
        let first = self.graph.pointer(*w);
        Some(first..first + self.graph.weights[w.0 as usize].count)
    }

    /// Buffers of the states that an operation reads or writes, counted from the block's first.
    fn states(&self, op: &Op) -> Vec<Range<usize>> {
        let facts = op.facts();
        let buffers = |s: StateId| {
            let first = self.graph.first_buffer(s);
            first..first + self.graph.states[s.0 as usize].buffers().len()
        };
        let recurrent = facts.recurrent.map(|r| {
            let own = self.graph.recurrent_buffer(r);
            own..own + 1
        });
        let caches = facts.reads.into_iter().chain(facts.writes).map(buffers);
        caches.chain(recurrent).collect()
    }

    /// Values of the block that died since the kernel `before` began.
    fn dead(&self, before: Option<&Kernel>) -> Vec<Extent> {
        let Some(before) = before else {
            return vec![];
        };
        let died = before.epoch..self.kernel.epoch;
        let memory = &self.planned.memory;
        let values = memory.blocks[self.block].values();
        let all = values.chain(memory.workspaces[self.block].values());
        all.filter(|b| died.contains(&b.last) && !memory.is_carried(b))
            .map(whole)
            .collect()
    }
}

fn whole(buffer: &Buffer) -> Extent {
    Extent {
        place: place(buffer),
        size: Size::Whole {
            bytes: buffer.bytes,
            per_position: buffer.bytes_per_position,
        },
    }
}

fn place(buffer: &Buffer) -> ValuePlace {
    match buffer.place {
        Place::Logits => ValuePlace::Logits,
        Place::Arena {
            offset,
            per_position,
        } => ValuePlace::Arena {
            offset,
            per_position,
        },
    }
}
