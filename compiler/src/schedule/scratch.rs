//! What each thread needs of its own while it works on a kernel: areas of its scratch, laid out one after the other.
//!
//! Every family of kernels has one layout, a struct with an [`Area`] for each purpose. The schedule takes sizes from it, code
//! generation addresses, and checked execution what a kernel may touch, so that they cannot part ways.

mod attention;
mod experts;
mod products;
mod recurrent;

use graver_runtime::abi::MATMUL_SCRATCH;

use crate::graph::{Graph, NodeId, Op, ProgramKind};

pub use attention::{
    AttentionScratch, EXPANDED_KEYS, LatentScratch, SoftmaxScratch, UnfusedScratch, attention_rows,
    widened_rows,
};
pub use experts::{
    ActivateScratch, ExpertsInScratch, ExpertsOutScratch, RouteScratch, RoutingScratch,
};
pub use products::{FinishScratch, MatmulScratch, QuantizeScratch};
pub use recurrent::{ConvScratch, DecayScratch, DeltaScratch};

/// Some bytes of a thread's scratch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Area {
    /// First byte, counted from the start of the thread's scratch.
    pub offset: usize,
    /// How many.
    pub bytes: usize,
}

/// What micro-kernels for products may use, at the start of every thread's scratch. Between products it is free.
pub const PRODUCTS: Area = Area {
    offset: 0,
    bytes: MATMUL_SCRATCH,
};

/// Lays areas out one after the other, each on cache lines of its own.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    areas: Vec<Area>,
    end: usize,
}

impl Layout {
    /// Begins after what products may use.
    pub(super) fn new() -> Layout {
        Layout {
            areas: vec![PRODUCTS],
            end: PRODUCTS.bytes,
        }
    }

    /// The next `bytes` bytes.
    pub(super) fn take(&mut self, bytes: usize) -> Area {
        let area = Area {
            offset: self.end,
            bytes,
        };
        self.end = (self.end + bytes).next_multiple_of(64);
        if bytes > 0 {
            self.areas.push(area);
        }
        area
    }
}

/// The areas of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scratch {
    /// In order; none overlaps another.
    pub areas: Vec<Area>,
}

impl Scratch {
    /// Bytes from the start of a thread's scratch to the end of the last area.
    pub fn bytes(&self) -> usize {
        let end = self.areas.last().map_or(0, |a| a.offset + a.bytes);
        end.next_multiple_of(64)
    }
}

/// The scratch of the kernel that computes `node`.
pub(super) fn scratch(graph: &Graph, node: NodeId, kind: ProgramKind) -> Scratch {
    let layout = &mut Layout::new();
    match graph.op(node) {
        Op::Matmul(m) => {
            MatmulScratch::take(layout, graph, node, m, kind);
        }
        Op::Quantize { .. } => {
            QuantizeScratch::take(layout, graph, node);
        }
        Op::Finish { parts } => {
            FinishScratch::take(layout, parts);
        }
        Op::Attention(a) => {
            AttentionScratch::take(layout, graph, a, kind);
        }
        Op::LatentAttention(l) => {
            LatentScratch::take(layout, graph, l, kind);
        }
        Op::Scores(a) | Op::Mix(a) => {
            UnfusedScratch::take(layout, graph, a, kind);
        }
        Op::Softmax(_) => {
            SoftmaxScratch::take(layout);
        }
        Op::Route(r) => {
            RouteScratch::take(layout, r);
        }
        Op::Activate(_) => {
            ActivateScratch::take(layout, graph, node);
        }
        Op::ExpertsIn(e) => {
            ExpertsInScratch::take(layout, graph, node, e, kind);
        }
        Op::ExpertsOut(e) => {
            ExpertsOutScratch::take(layout, graph, node, e, kind);
        }
        Op::ShortConv(c) => {
            ConvScratch::take(layout, c);
        }
        Op::DeltaRule(_) => {
            DeltaScratch::take(layout);
        }
        Op::Decay { heads } => {
            DecayScratch::take(layout, *heads);
        }
        // They work where their operands and results lie, or in what products may use.
        Op::Input(_)
        | Op::Weight(_)
        | Op::Slice { .. }
        | Op::CacheRead { .. }
        | Op::Embed { .. }
        | Op::PositionRows { .. }
        | Op::RopeAngles { .. }
        | Op::Norm(_)
        | Op::Binary(_)
        | Op::Unary(_)
        | Op::Rope(_)
        | Op::PositionScale(_)
        | Op::CacheWrite { .. }
        | Op::GatherRows
        | Op::HeadSlice(_)
        | Op::HeadConcat(_)
        | Op::HeadMatmul(_)
        | Op::Copy
        | Op::GroupByExpert(_)
        | Op::GatherTokens { .. }
        | Op::GroupedMatmul(_)
        | Op::Combine { .. }
        | Op::ScaleRows
        | Op::WeightedSum(_)
        | Op::MatchRms { .. }
        | Op::Cutoff { .. } => {}
    }
    Scratch {
        areas: std::mem::take(&mut layout.areas),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_follow_each_other_on_lines_of_their_own() {
        let mut layout = Layout::new();
        let (a, none, b) = (layout.take(5), layout.take(0), layout.take(64));
        assert_eq!(a.offset, MATMUL_SCRATCH);
        assert_eq!((none.offset, none.bytes), (MATMUL_SCRATCH + 64, 0));
        assert_eq!(b.offset, MATMUL_SCRATCH + 64);
        let scratch = Scratch {
            areas: layout.areas,
        };
        assert_eq!(scratch.areas, [PRODUCTS, a, b], "an empty area is none");
        assert_eq!(scratch.bytes(), MATMUL_SCRATCH + 128);
    }
}
