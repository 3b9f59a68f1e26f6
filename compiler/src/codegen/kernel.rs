//! What the emitter of a kernel knows about its surroundings: the graph, the plan, and where operands lie.

use std::mem::offset_of;

use cranelift_codegen::ir::Value;
use graver_runtime::abi::StepContext;

use super::share::Share;
use super::writer::Writer;
use crate::graph::{Dim, Graph, NodeId, NormVectors, Op, ProgramKind, Take, WeightDecl, WeightId};
use crate::memory::{Buffer, MemoryPlan, Place};
use crate::schedule::Kernel;

/// One kernel to emit.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) kind: ProgramKind,
    pub(super) graph: &'a Graph,
    pub(super) plan: &'a MemoryPlan,
    pub(super) block: usize,
    /// Of the kernel, in its block.
    pub(super) index: usize,
    pub(super) kernel: &'a Kernel,
    pub(super) ropes: &'a [crate::spec::model::Rope],
    /// What sums up the result of all ranks while it is computed.
    pub(super) early: Option<Early>,
}

/// A sum that may begin before all columns are done.
#[derive(Clone, Copy)]
pub(super) struct Early {
    pub(super) sum: NodeId,
    /// Its number among the program's collectives.
    pub(super) index: usize,
}

/// A matrix of activations: address of its first row, bytes between rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) base: Value,
    pub(super) stride: usize,
}

impl Rows {
    pub(super) fn row(self, e: &mut Writer, t: Value) -> Value {
        e.at(self.base, t, self.stride)
    }

    pub(super) fn columns(self, e: &mut Writer, start: usize) -> Rows {
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

    /// The kernel's operands, by the walk of its operation.
    pub(super) fn read<O>(&self, walk: impl FnOnce(Take<NodeId>) -> O) -> O {
        self.graph.read(self.kernel.node, walk)
    }

    /// Row `t` of an operand.
    pub(super) fn row(&self, e: &mut Writer, id: NodeId, t: Value) -> Value {
        let rows = self.rows(e, id);
        rows.row(e, t)
    }

    /// Width of the result's rows.
    pub(super) fn width(&self) -> usize {
        self.graph.width(self.kernel.node)
    }

    /// Addresses of a norm's vectors.
    pub(super) fn vectors(
        &self,
        e: &mut Writer,
        vectors: NormVectors<NodeId>,
    ) -> NormVectors<Value> {
        NormVectors {
            gain: vectors.gain.map(|id| self.pointer(e, id)),
            bias: vectors.bias.map(|id| self.pointer(e, id)),
        }
    }

    /// Where a node's rows lie.
    pub(super) fn rows(&self, e: &mut Writer, id: NodeId) -> Rows {
        if let Op::Slice { start, .. } = self.graph.op(id) {
            let whole = self.rows(e, self.graph.input(id));
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

    pub(super) fn out(&self, e: &mut Writer) -> Rows {
        self.rows(e, self.kernel.node)
    }

    /// Row `t` of the result.
    pub(super) fn out_row(&self, e: &mut Writer, t: Value) -> Value {
        let rows = self.out(e);
        rows.row(e, t)
    }

    pub(super) fn workspace(&self, e: &mut Writer) -> Value {
        let buffer = &self.plan.workspaces[self.block][&self.kernel.node];
        place(e, buffer)
    }

    /// How many rows the kernel's result has in this step.
    pub(super) fn n_rows(&self, e: &mut Writer) -> Value {
        let id = self.kernel.node;
        let lead = self.graph.shape(id).first().copied();
        match lead.or_else(|| self.graph.shape(self.graph.input(id)).first().copied()) {
            Some(Dim::LogitRows) => e.field(offset_of!(StepContext, n_logit_rows)),
            Some(Dim::Routed { per_token, .. }) => {
                let tokens = e.tokens();
                e.times(tokens, per_token)
            }
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
    pub(super) fn pointer(&self, e: &mut Writer, id: NodeId) -> Value {
        let (w, _) = self.weight(id);
        e.weight_pointer(self.graph.pointer(w))
    }
}

fn place(e: &mut Writer, buffer: &Buffer) -> Value {
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
