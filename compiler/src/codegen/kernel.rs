//! What the emitter of a kernel knows about its surroundings: the graph, the plan, and where operands lie.

use std::mem::offset_of;

use cranelift_codegen::ir::Value;
use graver_runtime::abi::StepContext;

use super::cache::CacheSide;
use super::emit::{Emit, Share};
use crate::graph::{Dest, Dim, Graph, NodeId, Op, ProgramKind, StateId, WeightDecl, WeightId};
use crate::memory::{Buffer, MemoryPlan, Place};
use crate::schedule::Kernel;

/// One kernel to emit.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) kind: ProgramKind,
    pub(super) graph: &'a Graph,
    pub(super) plan: &'a MemoryPlan,
    pub(super) block: usize,
    pub(super) kernel: &'a Kernel,
    pub(super) ropes: &'a [crate::spec::model::Rope],
}

/// A matrix of activations: address of its first row, bytes between rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) base: Value,
    pub(super) stride: usize,
}

impl Rows {
    pub(super) fn row(self, e: &mut Emit, t: Value) -> Value {
        e.at(self.base, t, self.stride)
    }

    pub(super) fn columns(self, e: &mut Emit, start: usize) -> Rows {
        Rows {
            base: e.plus(self.base, start * 4),
            ..self
        }
    }
}

impl<'a> Site<'a> {
    pub(super) fn op(&self) -> &'a Op {
        self.graph.op(self.kernel.node)
    }

    pub(super) fn share(&self) -> Share {
        self.kernel.claimed.map_or(Share::Static, Share::Claimed)
    }

    pub(super) fn operand(&self, role: &str) -> NodeId {
        self.graph
            .operand(self.kernel.node, role)
            .unwrap_or_else(|| panic!("{} has no operand {role}", self.op().name()))
    }

    /// Where a node's rows lie.
    pub(super) fn rows(&self, e: &mut Emit, id: NodeId) -> Rows {
        if let Op::Slice { start, .. } = self.graph.op(id) {
            let whole = self.rows(e, self.graph.operands(id)[0]);
            return whole.columns(e, *start);
        }
        let buffer = self.plan.blocks[self.block]
            .get(&id)
            .unwrap_or_else(|| panic!("{id:?} has no buffer\n{}", self.graph));
        let base = place(e, buffer);
        Rows {
            base,
            stride: self.graph.row_bytes(id),
        }
    }

    pub(super) fn out(&self, e: &mut Emit) -> Rows {
        self.rows(e, self.kernel.node)
    }

    pub(super) fn workspace(&self, e: &mut Emit) -> Value {
        let buffer = &self.plan.workspaces[self.block][&self.kernel.node];
        place(e, buffer)
    }

    /// How many rows the kernel's result has in this step.
    pub(super) fn n_rows(&self, e: &mut Emit) -> Value {
        let id = self.kernel.node;
        let lead = self.graph.shape(id).first().copied();
        match lead.or_else(|| {
            self.graph
                .shape(self.graph.operands(id)[0])
                .first()
                .copied()
        }) {
            Some(Dim::LogitRows) => e.field(offset_of!(StepContext, n_logit_rows)),
            Some(Dim::Routed { per_token, .. }) => super::experts::routed_rows(e, per_token),
            _ => e.tokens(),
        }
    }

    pub(super) fn weight(&self, id: NodeId) -> (WeightId, &'a WeightDecl) {
        match self.graph.op(id) {
            Op::Weight(w) => (*w, &self.graph.weights[w.0 as usize]),
            other => panic!("expected a weight, found {}", other.name()),
        }
    }

    /// Address of a weight vector's or matrix' first element.
    pub(super) fn pointer(&self, e: &mut Emit, id: NodeId) -> Value {
        let (w, _) = self.weight(id);
        e.weight_pointer(self.graph.pointer(w))
    }

    pub(super) fn keys(&self, s: StateId) -> CacheSide<'a> {
        let decl = &self.graph.states[s.0 as usize];
        self.side(s, 0, decl.head_dim, decl.head_dim)
    }

    pub(super) fn values(&self, s: StateId) -> CacheSide<'a> {
        let decl = &self.graph.states[s.0 as usize];
        if decl.shared {
            return self.side(s, 0, decl.value_dim, decl.head_dim);
        }
        self.side(s, 1, decl.value_dim, decl.value_dim)
    }

    fn side(&self, s: StateId, buffer: usize, dim: usize, row: usize) -> CacheSide<'a> {
        CacheSide {
            decl: &self.graph.states[s.0 as usize],
            index: self.graph.first_buffer(s) + buffer,
            start: 0,
            dim,
            row,
        }
    }

    /// Where a projection's `rows` values go, unless that is the result.
    pub(super) fn side_of(&self, dest: Dest, rows: usize) -> Option<CacheSide<'a>> {
        match dest {
            Dest::Output => None,
            Dest::Keys(s) => Some(self.keys(s)),
            Dest::Values(s) => Some(self.values(s)),
            Dest::KeyColumns(s, start) => Some(CacheSide {
                start,
                dim: rows,
                ..self.keys(s)
            }),
        }
    }
}

fn place(e: &mut Emit, buffer: &Buffer) -> Value {
    match buffer.place {
        Place::Logits => e.field(offset_of!(StepContext, logits)),
        Place::Arena {
            offset,
            per_position,
        } => {
            let arena = e.field(offset_of!(StepContext, arena));
            let at = e.plus(arena, offset);
            if per_position == 0 {
                return at;
            }
            let context = e.field(offset_of!(StepContext, context));
            e.at(at, context, per_position)
        }
    }
}
