//! Runs of a step's tokens: attention tiles and segments, and the keys that their queries see.

use std::mem::offset_of;

use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::{Span, StepContext};

use super::kernel::Site;
use super::writer::Writer;
use crate::graph::Reach;
use crate::schedule::Work;

/// An attention tile's numbers.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) slot: Value,
    /// First row of the step.
    pub(super) start_row: Value,
    pub(super) queries: Value,
    pub(super) position: Value,
}

impl Tile {
    pub(super) fn load(e: &mut Writer, index: Value) -> Tile {
        Tile::of(e, offset_of!(StepContext, tiles), index)
    }

    /// Entry `index` of a list of spans that a context field points to.
    pub(super) fn of(e: &mut Writer, field: usize, index: Value) -> Tile {
        let spans = e.field(field);
        let at = e.at(spans, index, size_of::<Span>());
        Tile {
            slot: e.u32_at(at, offset_of!(Span, slot)),
            start_row: e.u32_at(at, offset_of!(Span, start_row)),
            queries: e.u32_at(at, offset_of!(Span, n)),
            position: e.u32_at(at, offset_of!(Span, position)),
        }
    }

    /// Keys that some query of the tile sees: from the first one's first to the last one's own position.
    pub(super) fn keys(&self, e: &mut Writer, reach: Reach) -> (Value, Value) {
        (
            first_key(e, self.position, reach),
            e.add(self.position, self.queries),
        )
    }
}

/// Calls `body` with the segment and the index within it of each chunk that falls to this thread, `each` for every segment.
pub(super) fn by_segment(
    e: &mut Writer,
    s: &Site,
    each: usize,
    body: impl FnOnce(&mut Writer, Tile, Value),
) {
    let segments = e.field(offset_of!(StepContext, n_spans));
    let chunks = e.times(segments, each);
    e.chunks(chunks, s.share(), |e, c| {
        let each = e.int(each);
        let (segment, index) = (e.b.ins().udiv(c, each), e.b.ins().urem(c, each));
        let segment = Tile::of(e, offset_of!(StepContext, spans), segment);
        body(e, segment, index);
    });
}

/// What a chunk of a kernel that is cut by segments and columns has of the columns.
pub(super) struct Columns {
    /// The first.
    pub(super) first: Value,
    /// How many a chunk has, but for the last.
    pub(super) width: usize,
    /// How many are left from there on, and the width once more.
    left: Value,
    most: Value,
}

impl Columns {
    /// How many this chunk has.
    pub(super) fn count(&self, e: &mut Writer) -> Value {
        e.min(self.left, self.most)
    }
}

/// Calls `body` with the segment and the columns of each chunk that falls to this thread, of a kernel that is cut by both.
pub(super) fn by_segment_and_columns(
    e: &mut Writer,
    s: &Site,
    body: impl FnOnce(&mut Writer, Tile, Columns),
) {
    let Work::SegmentsByColumns { width, count } = s.kernel.work else {
        unreachable!("scheduled by segments and columns")
    };
    let all = s.graph.width(s.kernel.node);
    by_segment(e, s, count, |e, segment, run| {
        let first = e.times(run, width);
        let (end, most) = (e.int(all), e.int(width));
        let left = e.sub(end, first);
        let columns = Columns {
            first,
            width,
            left,
            most,
        };
        body(e, segment, columns);
    });
}

/// First key that the query at `position` sees.
pub(super) fn first_key(e: &mut Writer, position: Value, reach: Reach) -> Value {
    match reach {
        Reach::Full => e.int(0),
        Reach::Window(w) => {
            let (start, zero) = (e.b.ins().iadd_imm_s(position, 1 - w as i64), e.int(0));
            e.max(start, zero)
        }
        Reach::Chunk(c) => {
            let chunk = e.int(c);
            let (index, chunk) = (e.b.ins().udiv(position, chunk), e.int(c));
            e.mul(index, chunk)
        }
    }
}
