//! Keys and values in the state of a slot: where they lie, how they are written, and how products get to read them.
//!
//! Products of a few rows read them where they lie. For many rows integers are made into f32 in scratch first, and so are those in odd
//! groups, so few rows at a time as stay in cache until the product has read them.

use std::mem::offset_of;

use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::{CacheType, KernelTable, StepContext};

use super::kernel::Site;
use super::vectors::narrow;
use super::writer::Writer;
use crate::graph::{Attention, Dest, StateDecl, StateId};
use crate::schedule::largest_step;
use crate::schedule::scratch::Widened;

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

impl CacheSide<'_> {
    pub(super) fn row_bytes(&self) -> usize {
        self.decl.row_bytes(self.row)
    }

    /// Rows of a head: the context, or what a ring holds, as the runtime lays it out.
    pub(super) fn rows(&self, e: &mut Writer) -> Value {
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
    pub(super) fn row_of(&self, e: &mut Writer, position: Value) -> Value {
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
        e: &mut Writer,
        (from, to): (Value, Value),
        most: Option<usize>,
        body: impl FnOnce(&mut Writer, [Value; 3]),
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
    pub(super) fn base(&self, e: &mut Writer, slot: Value) -> Value {
        let bases = e.field(offset_of!(StepContext, slot_base));
        let at = e.at(bases, slot, 8);
        let base = e.field_at(at, 0);
        let offset = e.field_at(e.states, self.index * 8);
        let at = e.add(base, offset);
        let whole = self.start.is_multiple_of(self.decl.group());
        assert!(whole, "a part of a row begins with a group");
        e.plus(at, self.decl.row_bytes(self.start))
    }

    /// Address of head `head`'s first row.
    pub(super) fn head(&self, e: &mut Writer, base: Value, head: Value) -> Value {
        let rows = self.rows(e);
        let rows = e.mul(head, rows);
        e.at(base, rows, self.row_bytes())
    }

    /// Copies `heads` heads of one token's row from f32 at `from` into the state, the first of them being `first_head`.
    pub(super) fn store(
        &self,
        e: &mut Writer,
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
            self.store_row(e, from, to);
        });
    }

    /// Writes one row, or the part of it that is meant.
    fn store_row(&self, e: &mut Writer, from: Value, to: Value) {
        if let Some(dtype) = self.decl.dtype.float() {
            return narrow(e, dtype, from, to, self.dim);
        }
        let (n, group) = (e.int(self.dim), e.int(self.decl.group()));
        let kernel = offset_of!(KernelTable, f32_to_cache_q8);
        e.micro(kernel, &[from, n, group, to], None);
    }

    /// Rows of one head.
    pub(super) fn head_rows(&self, e: &mut Writer, slot: Value, head: Value) -> CacheRows {
        let base = self.base(e, slot);
        CacheRows {
            base: self.head(e, base, head),
            row_bytes: self.row_bytes(),
            dtype: self.decl.dtype,
            group: self.decl.group(),
            dim: self.dim,
        }
    }
}

/// Keys or values of one head.
#[derive(Clone, Copy)]
pub(super) struct CacheRows {
    /// Address of the first row.
    pub(super) base: Value,
    /// Bytes from one row to the next.
    pub(super) row_bytes: usize,
    pub(super) dtype: CacheType,
    /// Components that share a scale, where there are scales.
    pub(super) group: usize,
    /// Components that are meant.
    pub(super) dim: usize,
}

/// How products read rows, and the address of their scratch.
#[derive(Clone, Copy)]
pub(super) struct WidenedRows {
    base: Value,
    read: Widened,
}

impl WidenedRows {
    pub(super) fn of(e: &mut Writer, read: Widened) -> WidenedRows {
        WidenedRows {
            base: e.scratch(read.area),
            read,
        }
    }
}

/// Rows as a product reads them: address of the first, and bytes from one to the next.
#[derive(Clone, Copy)]
pub(super) struct ProductRows {
    pub(super) base: Value,
    pub(super) row_bytes: usize,
    pub(super) dtype: CacheType,
}

impl CacheRows {
    /// Rows of f32 in scratch.
    pub(super) fn of_f32(base: Value, dim: usize) -> CacheRows {
        CacheRows {
            base,
            row_bytes: dim * 4,
            dtype: CacheType::F32,
            group: dim,
            dim,
        }
    }

    /// Calls `body` with `n` rows from row `first` on as products read them: with all of them, or with one part after the other, the
    /// number of rows in front of a part, and how many it has.
    pub(super) fn parts(
        self,
        e: &mut Writer,
        (first, n): (Value, Value),
        widened: WidenedRows,
        body: impl FnOnce(&mut Writer, ProductRows, [Value; 2]),
    ) {
        let (from, zero) = (e.at(self.base, first, self.row_bytes), e.int(0));
        if widened.read.as_they_lie(self.dtype, self.dim, self.group) {
            let rows = ProductRows {
                base: from,
                row_bytes: self.row_bytes,
                dtype: self.dtype,
            };
            return body(e, rows, [zero, n]);
        }
        e.pieces(zero, n, widened.read.rows, |e, i, part| {
            let from = e.at(from, i, self.row_bytes);
            self.widen(e, from, part, widened.base);
            let rows = ProductRows {
                base: widened.base,
                row_bytes: self.dim * 4,
                dtype: CacheType::F32,
            };
            body(e, rows, [i, part]);
        });
    }

    /// `n` rows at `from` as f32 at `to`, one after the other.
    pub(super) fn widen(&self, e: &mut Writer, from: Value, n: Value, to: Value) {
        let kernel = offset_of!(KernelTable, cache_q8_to_f32);
        let sizes = [self.row_bytes, self.dim, self.group];
        let [row_bytes, dim, group] = sizes.map(|n| e.int(n));
        e.micro(kernel, &[from, row_bytes, n, dim, group, to], None);
    }
}

/// Keys and values of one head of an attention's state.
pub(super) fn cache_heads(
    e: &mut Writer,
    s: &Site,
    a: &Attention,
    slot: Value,
    head: Value,
) -> (CacheRows, CacheRows) {
    let (keys, values) = (s.keys(a.state), s.values(a.state));
    (
        keys.head_rows(e, slot, head),
        values.head_rows(e, slot, head),
    )
}

impl<'a> Site<'a> {
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
