//! What the addresses of a kernel mean: names of weights, state, arena and scratch, each from what owns the offset.
//!
//! For listings alone; code generation gets to its addresses without names.

use super::kernel::Site;
use crate::graph::{Graph, NodeId, Op, RecurrentId};
use crate::memory::{Buffer, Place};
use crate::schedule::root;

/// What lies where, as far as a kernel knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// Entries of the block's pointer table.
    pub(super) weights: Regions,
    /// Entries of the block's table of states.
    pub(super) states: Regions,
    /// Bytes of the arena: operands, result and workspace.
    pub(super) arena: Regions,
    /// Bytes of the thread's scratch.
    pub(super) scratch: Regions,
}

/// Named runs of numbers, which may lie inside each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Regions(Vec<Region>);

#[derive(Clone, Debug)]
struct Region {
    start: usize,
    len: usize,
    name: String,
}

impl Regions {
    fn add(&mut self, start: usize, len: usize, name: impl Into<String>) {
        let name = name.into();
        self.0.push(Region { start, len, name });
    }

    /// The smallest region that has `at` in it, and how far from its start: one that begins there before others.
    pub(super) fn find(&self, at: usize) -> Option<(&str, usize)> {
        let holds = |r: &&Region| (r.start..r.start.saturating_add(r.len)).contains(&at);
        let best = self
            .0
            .iter()
            .filter(holds)
            .min_by_key(|r| (at - r.start, r.len));
        best.map(|r| (r.name.as_str(), at - r.start))
    }
}

impl Places {
    /// Those of a kernel.
    pub(super) fn of(s: &Site) -> Places {
        let mut places = Places::default();
        for (i, w) in s.graph.weights.iter().enumerate() {
            let first = s.graph.pointer(crate::graph::WeightId(i as u32));
            places.weights.add(first, w.count, format!("@{}", w.slot));
        }
        places.add_states(s.graph);
        let operands = s.graph.operands(s.kernel.node);
        for id in operands.into_iter().chain([s.kernel.node]) {
            places.add_value(s, id);
        }
        if let Some(buffer) = s.plan.workspaces[s.block].get(&s.kernel.node) {
            let what = match s.kernel.arranged {
                Some(_) => "arranged",
                None => "partial",
            };
            places.add_buffer(
                buffer,
                format!("{} {what}", place_name(s.graph, s.kernel.node)),
            );
        }
        for area in &s.kernel.scratch.areas {
            places.scratch.add(area.offset, area.bytes, area.name);
        }
        places
    }

    fn add_states(&mut self, graph: &Graph) {
        let mut index = 0;
        for state in &graph.states {
            for (side, _) in state.buffers() {
                self.states.add(index, 1, format!("{}.{side}", state.name));
                index += 1;
            }
        }
        for (i, r) in graph.recurrent.iter().enumerate() {
            let index = graph.recurrent_buffer(RecurrentId(i as u32));
            self.states.add(index, 1, r.name.clone());
        }
    }

    /// A value, and the whole of which it is a part.
    fn add_value(&mut self, s: &Site, id: NodeId) {
        let whole = root(s.graph, id);
        let Some(buffer) = s.plan.blocks[s.block].get(&whole) else {
            return;
        };
        if let (true, Place::Arena { offset, .. }) = (whole != id, buffer.place) {
            let start = offset + first_column(s.graph, id) * 4;
            self.arena
                .add(start, s.graph.row_bytes(id), place_name(s.graph, id));
        }
        self.add_buffer(buffer, place_name(s.graph, whole).into());
    }

    fn add_buffer(&mut self, buffer: &Buffer, name: String) {
        match buffer.place {
            // The fixed part of what grows with the context may be empty, and its beginning is what code adds.
            Place::Arena { offset, .. } => self.arena.add(offset, buffer.bytes.max(1), name),
            Place::Logits => {}
        }
    }
}

/// Where a view's first column lies in what it shows.
fn first_column(graph: &Graph, id: NodeId) -> usize {
    match graph.op(id) {
        Op::Slice { start, .. } => start + first_column(graph, graph.input(id)),
        _ => 0,
    }
}

fn place_name(graph: &Graph, id: NodeId) -> &str {
    match (graph.op(id), graph.node(id).name.as_str()) {
        (Op::Input(name), _) => name,
        (op, "") => op.name(),
        (_, name) => name,
    }
}
