//! What each thread needs of its own while it works on a kernel: areas of its scratch, laid out one after the other.
//!
//! Every family of kernels has one layout, a struct with an [`Area`] for each purpose. The schedule takes sizes from it, code
//! generation addresses, and checked execution what a kernel may touch, so that they cannot part ways.

mod area;
mod attention;
mod experts;
mod products;
mod recurrent;

use self::area::Layout;
use crate::graph::{Graph, NodeId, Op, ProgramKind};

pub(crate) use area::PRODUCTS;
pub use area::{Area, Scratch};
pub(crate) use attention::{
    AttentionScratch, EXPANDED_KEYS, IndexScratch, LatentScratch, PICK_BINS, PickScratch,
    SoftmaxScratch, UnfusedScratch, Widened,
};
pub(crate) use experts::{
    ActivateScratch, ExpertsInScratch, ExpertsOutScratch, RouteScratch, RoutingScratch,
};
pub(crate) use products::{EpilogueScratch, MatmulScratch, QuantizeScratch};
pub(crate) use recurrent::{ConvScratch, DecayScratch, DeltaScratch, ScanScratch, XieluScratch};

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
        Op::Epilogue { parts } => {
            EpilogueScratch::take(layout, parts);
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
        Op::IndexScores(i) => {
            IndexScratch::take(layout, graph, i, kind);
        }
        Op::PickKeys(_) => {
            PickScratch::take(layout);
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
        Op::Scan(c) => {
            ScanScratch::take(layout, c);
        }
        Op::Xielu(_) => {
            XieluScratch::take(layout);
        }
        Op::Decay { heads, .. } => {
            DecayScratch::take(layout, *heads);
        }
        // Kernels without a layout work where their operands and results lie, or in what products may use.
        _ => {}
    }
    Scratch {
        areas: std::mem::take(&mut layout.areas),
    }
}
