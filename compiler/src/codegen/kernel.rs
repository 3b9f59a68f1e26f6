//! What the emitter of a kernel knows about its surroundings: the graph, the plan, and where operands lie.

use std::mem::offset_of;

use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::{Dtype, KernelTable, StepContext};

use super::emit::{Emit, Share};
use crate::graph::{
    Dest, Dim, Graph, NodeId, Op, ProgramKind, StateDecl, StateId, WeightDecl, WeightId,
};
use crate::memory::{Buffer, MemoryPlan, Place};
use crate::schedule::{Kernel, largest_step};

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

/// Keys or values of one slot and head range.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheSide<'a> {
    pub(super) decl: &'a StateDecl,
    /// Of the buffer, among those of the block.
    pub(super) index: usize,
    /// First element of a row that is meant.
    pub(super) start: usize,
    /// Elements that are meant.
    pub(super) dim: usize,
    /// Elements from one row to the next.
    pub(super) row: usize,
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

impl CacheSide<'_> {
    pub(super) fn row_bytes(&self) -> usize {
        self.row * self.decl.dtype.size()
    }

    /// Rows of a head: the context, or what a ring holds, as the runtime lays it out.
    pub(super) fn rows(&self, e: &mut Emit) -> Value {
        let context = e.field(offset_of!(StepContext, context));
        match self.decl.ring {
            Some(limit) => {
                let most = e.int(limit.saturating_add(largest_step()));
                e.min(context, most)
            }
            None => context,
        }
    }

    /// The row that a position lies in.
    pub(super) fn row_of(&self, e: &mut Emit, position: Value) -> Value {
        if self.decl.ring.is_none() {
            return position;
        }
        let rows = self.rows(e);
        e.b.ins().urem(position, rows)
    }

    /// Calls `body` with each run of positions in `from..to` that lies in one piece and holds at most `most` of them: its first
    /// position, that one's row, and how many.
    pub(super) fn runs(
        &self,
        e: &mut Emit,
        (from, to): (Value, Value),
        most: Option<usize>,
        body: impl FnOnce(&mut Emit, [Value; 3]),
    ) {
        e.advance(from, to, |e, position| {
            let mut n = e.sub(to, position);
            if let Some(most) = most {
                let most = e.int(most);
                n = e.min(n, most);
            }
            let row = self.row_of(e, position);
            if self.decl.ring.is_some() {
                let rows = self.rows(e);
                let left = e.sub(rows, row);
                n = e.min(n, left);
            }
            body(e, [position, row, n]);
            n
        });
    }

    /// Address of this side of `slot`'s state: `[heads, rows, dim]`.
    pub(super) fn base(&self, e: &mut Emit, slot: Value) -> Value {
        let bases = e.field(offset_of!(StepContext, slot_base));
        let at = e.at(bases, slot, 8);
        let base = e.field_at(at, 0);
        let offset = e.field_at(e.states, self.index * 8);
        let at = e.add(base, offset);
        e.plus(at, self.start * self.decl.dtype.size())
    }

    /// Address of head `head`'s first row.
    pub(super) fn head(&self, e: &mut Emit, base: Value, head: Value) -> Value {
        let rows = self.rows(e);
        let rows = e.mul(head, rows);
        e.at(base, rows, self.row_bytes())
    }

    /// Copies `heads` heads of one token's row from f32 at `from` into the state, the first of them being `first_head`.
    pub(super) fn store(
        &self,
        e: &mut Emit,
        from: Value,
        token: Value,
        first_head: Value,
        heads: Value,
    ) {
        let slot = e.u32_of(offset_of!(StepContext, slots), token);
        let position = e.u32_of(offset_of!(StepContext, positions), token);
        let (base, row) = (self.base(e, slot), self.row_of(e, position));
        e.repeat(heads, |e, h| {
            let head = e.add(first_head, h);
            let rows = self.head(e, base, head);
            let to = e.at(rows, row, self.row_bytes());
            let from = e.at(from, h, self.dim * 4);
            convert(e, self.decl.dtype, from, to, self.dim);
        });
    }
}

/// Writes `n` f32 values at `from` to `to` in another type.
fn convert(e: &mut Emit, dtype: Dtype, from: Value, to: Value, n: usize) {
    let kernel = match dtype {
        Dtype::F32 => return super::rows::copy(e, from, to, n, 1.0),
        Dtype::Bf16 => offset_of!(KernelTable, f32_to_bf16),
        Dtype::F16 => offset_of!(KernelTable, f32_to_f16),
    };
    let n = e.int(n);
    e.micro(kernel, &[from, n, to], None);
}

impl Emit<'_> {
    /// A 64-bit value that no kernel changes during a step.
    pub(super) fn field_at(&mut self, at: Value, offset: usize) -> Value {
        use cranelift_codegen::ir::{MemFlagsData, types::I64};
        let fixed = MemFlagsData::trusted().with_readonly().with_can_move();
        self.b.ins().load(I64, fixed, at, offset as i32)
    }
}
