//! What is added to scores by distance: a product of a query's row with profiles, in the order of distances, and that back to front
//! onto scores, which lie in the order of keys.

use cranelift_codegen::ir::types::{F32X4, I8X16};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Value};
use graver_runtime::abi::{CacheType, KEY_BLOCK};

use super::cache::ProductRows;
use super::kernel::Site;
use super::products::Product;
use super::writer::{Count, Lanes, Writer};
use crate::graph::{Attention, NodeId, Profiles, RelativeOperands};
use crate::schedule::scratch::Area;

/// Where rows of scores find what is added to them.
#[derive(Clone, Copy)]
pub(super) struct RelativeBias {
    size: Profiles,
    /// `[dim, extent]`.
    profiles: Value,
    /// The query's row of row 0, and bytes to that of each further row.
    queries: (Value, usize),
    /// `[KEY_BLOCK]`.
    scratch: Value,
}

/// Which rows of scores go with which queries.
#[derive(Clone, Copy)]
pub(super) enum Each {
    /// A row for each token.
    Token,
    /// A row for each head.
    Head,
}

impl RelativeBias {
    /// Of rows that begin with head `head` of token `token`, where the attention has it.
    pub(super) fn of(
        e: &mut Writer,
        s: &Site,
        a: &Attention,
        operands: Option<RelativeOperands<NodeId>>,
        [token, head]: [Value; 2],
        (each, scratch): (Each, Area),
    ) -> Option<RelativeBias> {
        let (size, o) = a.relative.zip(operands)?;
        let rows = s.rows(e, o.r);
        let (row, column) = (rows.row(e, token), e.times(head, size.dim * 4));
        let step = match each {
            Each::Token => rows.stride,
            Each::Head => size.dim * 4,
        };
        Some(RelativeBias {
            size,
            profiles: s.pointer(e, o.profiles),
            queries: (e.add(row, column), step),
            scratch: e.scratch(scratch),
        })
    }

    /// Adds to the `n` scores of row `r`, the last of which is of the key `nearest` positions before its query.
    pub(super) fn add(self, e: &mut Writer, r: Value, (scores, n): (Value, Value), nearest: Value) {
        let extent = e.int(self.size.extent);
        let left = e.sub(extent, nearest);
        let within = e.clamp(left, n);
        let query = e.at(self.queries.0, r, self.queries.1);
        let (zero, block) = (e.int(0), e.int(KEY_BLOCK));
        e.range(zero, within, KEY_BLOCK, |e, done| {
            let (left, distance) = (e.sub(within, done), e.add(nearest, done));
            let m = e.min(left, block);
            let product = Product {
                x: (query, e.int(self.size.dim), e.int(1)),
                w: ProductRows {
                    base: e.at(self.profiles, distance, 4),
                    row_bytes: self.size.extent * 4,
                    dtype: CacheType::F32,
                },
                sizes: (m, e.int(self.size.dim)),
                out: (self.scratch, block),
                accumulate: e.int(0),
            };
            product.emit(e, true);
            let rest = e.sub(n, done);
            let end = e.at(scores, rest, 4);
            self.add_before(e, end, m);
        });
    }

    /// Adds the `m` first numbers of the scratch to those that end at `end`, the first to the last.
    fn add_before(self, e: &mut Writer, end: Value, m: Value) {
        e.each(Count::Dynamic(m), |e, i, lanes| {
            let from = e.add(self.scratch, i);
            let first = e.load(lanes, from, 0);
            let added = back_to_front(e, lanes, first);
            let behind = e.plus(i, lanes.ty().bytes() as usize);
            let to = e.sub(end, behind);
            let score = e.load(lanes, to, 0);
            let sum = e.b.ins().fadd(score, added);
            e.store(sum, to, 0);
        });
    }
}

/// The last lane first.
fn back_to_front(e: &mut Writer, lanes: Lanes, x: Value) -> Value {
    if let Lanes::One = lanes {
        return x;
    }
    let order: Vec<u8> = (0..4)
        .rev()
        .flat_map(|lane| 4 * lane..4 * lane + 4)
        .collect();
    let order = e.b.func.dfg.immediates.push(order.into());
    let lanes_as_bytes = MemFlagsData::new().with_endianness(Endianness::Little);
    let bytes = e.b.ins().bitcast(I8X16, lanes_as_bytes, x);
    let turned = e.b.ins().shuffle(bytes, bytes, order);
    e.b.ins().bitcast(F32X4, lanes_as_bytes, turned)
}
