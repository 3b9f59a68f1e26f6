//! How the work of each kernel is cut into chunks: by shape alone, never by the number of threads.

use std::fmt;

use graver_runtime::abi::KEY_BLOCK;
use graver_runtime::abi::quant::{GROUP, PANEL_ROWS};

use super::columns::columns;
use super::experts;
use super::steps::{picked_heads, tile_heads};
use crate::graph::{Cut, ExpertsOut, Graph, Grouping, HeadMatmul, NodeId, ProgramKind, ShortConv};

/// Channels that a selective scan takes together: with 16 rows of state, all that it works on stays in the first-level cache.
pub(super) const SCANNED: usize = 64;

/// How a kernel's work is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Rows of the step, so many at once.
    Rows {
        /// Rows of a chunk.
        grain: usize,
    },
    /// Rows of the weights: for each part, rows of a chunk and how many chunks.
    Columns(Vec<(usize, usize)>),
    /// Attention tiles × key heads × runs of keys.
    TilesByKeys,
    /// Attention tiles × key heads × runs of a key head's query heads.
    TilesByHeads {
        /// Query heads of every run but the last.
        heads: usize,
        /// Runs of a key head.
        count: usize,
    },
    /// Tokens × key heads × runs of a key head's query heads.
    TokensByHeads {
        /// Query heads of every run but the last.
        heads: usize,
        /// Runs of a key head.
        count: usize,
    },
    /// Heads, for one tile.
    Heads,
    /// Queries of one tile × runs of keys.
    QueriesByKeys,
    /// Queries of one tile.
    Queries,
    /// Segments × heads.
    SegmentsByHeads,
    /// Segments × runs of columns: columns of every run but the last, and how many runs.
    SegmentsByColumns {
        /// Columns of a run.
        width: usize,
        /// Runs.
        count: usize,
    },
    /// Heads × runs of a head's columns: columns of a run, and how many runs.
    HeadColumns {
        /// Heads.
        heads: usize,
        /// Columns of every run but the last.
        width: usize,
        /// Runs of a head.
        count: usize,
    },
    /// Experts that have tokens × chunks of their matrices.
    Experts {
        /// Rows of a chunk.
        rows: usize,
        /// Chunks of each expert.
        chunks: usize,
        /// Rows of an expert that are computed together where a thread has them in a row, at most: whole chunks.
        at_once: usize,
    },
    /// All of it in one piece.
    Once,
}

/// How the kernel that computes `node` is cut.
pub(super) fn work(graph: &Graph, node: NodeId, kind: ProgramKind) -> Work {
    match graph.op(node).facts().cut {
        Cut::View => unreachable!("no kernel is made for a view"),
        Cut::Rows(_) => Work::Rows {
            grain: if kind == ProgramKind::Decode { 1 } else { 4 },
        },
        Cut::Matmul(m) => Work::Columns(columns(graph, node, m, kind)),
        Cut::HeadMatmul(m) => {
            let weight = graph.read(node, |take| m.operands(take)).weight;
            head_columns(m, graph.width(weight))
        }
        Cut::Attention(a) if a.picked.is_some() => Work::TokensByHeads {
            heads: picked_heads(a),
            count: a.group().div_ceil(picked_heads(a)),
        },
        Cut::Attention(_) if kind == ProgramKind::Decode => Work::TilesByKeys,
        Cut::Attention(a) => Work::TilesByHeads {
            heads: tile_heads(a),
            count: a.group().div_ceil(tile_heads(a)),
        },
        Cut::Scores(_) | Cut::Softmax(_) | Cut::Mix(_) => Work::Heads,
        Cut::IndexScores(_) => Work::QueriesByKeys,
        Cut::PickKeys(_) => Work::Queries,
        Cut::LatentAttention(_) | Cut::DeltaRule(_) => Work::SegmentsByHeads,
        Cut::ShortConv(c) => {
            let width = channels(c);
            Work::SegmentsByColumns {
                width,
                count: graph.width(node).div_ceil(width),
            }
        }
        Cut::Scan(_) => Work::SegmentsByColumns {
            width: SCANNED,
            count: graph.width(node).div_ceil(SCANNED),
        },
        Cut::GroupByExpert(_) | Cut::Collective(_) => Work::Once,
        Cut::GroupedMatmul(m) => {
            let matrix = graph.read(node, |take| m.operands(take)).matrix;
            expert_work(graph, node, &m.grouping, (m.rows, matrix.weight), kind)
        }
        Cut::ExpertsIn(e) => {
            let matrices = graph.read(node, |take| e.operands(take)).matrices;
            expert_work(graph, node, &e.grouping, (e.ffn, matrices[0].weight), kind)
        }
        Cut::ExpertsOut(e) => {
            let row_bytes = sum_row_bytes(graph, node, e);
            let of_floats = !graph.is_quantized(graph.input(node));
            let cut = experts::sum_columns((e.rows, row_bytes), of_floats, kind);
            Work::Columns(vec![cut])
        }
    }
}

/// Bytes of a row of each expert's matrix.
fn sum_row_bytes(graph: &Graph, node: NodeId, e: &ExpertsOut) -> usize {
    let weight = graph.read(node, |take| e.operands(take)).matrix.weight;
    let decl = graph.weight(weight).expect("experts have weights");
    decl.bytes() / e.rows.max(1)
}

/// Columns that are summed at once: in prefill those of a chunk; in decode as many of a thread's own as a piece of each expert's matrix has.
pub(super) fn summed_at_once(
    graph: &Graph,
    node: NodeId,
    e: &ExpertsOut,
    kind: ProgramKind,
) -> usize {
    match kind {
        ProgramKind::Decode => experts::sum_piece(e.rows, sum_row_bytes(graph, node, e)),
        ProgramKind::Prefill => chunk_rows(graph, node, kind),
    }
}

/// Active experts × chunks of a family of weights, which make so many rows of the result.
fn expert_work(
    graph: &Graph,
    node: NodeId,
    g: &Grouping,
    (rows, weight): (usize, NodeId),
    kind: ProgramKind,
) -> Work {
    let decl = graph.weight(weight).expect("experts have weights");
    // A panel is 8 rows, and what is rounded to int8 is cut between groups.
    let step = if graph.is_quantized(node) {
        GROUP
    } else {
        PANEL_ROWS
    };
    let row_bytes = decl.bytes() / rows.max(1);
    let (rows, chunks) = experts::expert_columns(g, rows, row_bytes, step, kind);
    Work::Experts {
        rows,
        chunks,
        at_once: experts::rows_at_once((rows, chunks), row_bytes, kind),
    }
}

/// Chunks of a product by head: whole heads where there are many of them, and no run of columns too short to stream.
fn head_columns(m: &HeadMatmul, weight_columns: usize) -> Work {
    let (heads, product) = (m.columns.heads, m.product(weight_columns));
    let count = 16_usize.div_ceil(heads).min(product.div_ceil(64));
    let width = product.div_ceil(count).next_multiple_of(16);
    Work::HeadColumns {
        heads,
        width,
        count: product.div_ceil(width),
    }
}

/// Channels of a run of a convolution: about 64, side by side in cache, no group of a norm cut in two.
pub(super) fn channels(c: &ShortConv) -> usize {
    let group = c.norm.map_or(16, |n| n.group);
    (64 / group).max(1) * group
}

/// Columns of the result that are made together, at most: those of a chunk, or of several.
pub(super) fn chunk_rows(graph: &Graph, node: NodeId, kind: ProgramKind) -> usize {
    match work(graph, node, kind) {
        Work::Experts { at_once, .. } => at_once,
        Work::Columns(parts) => parts.iter().map(|p| p.0).max().unwrap_or(0),
        _ => 0,
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Rows { grain } => write!(f, "rows by {grain}"),
            Work::Columns(parts) => {
                let parts: Vec<_> = parts
                    .iter()
                    .map(|(rows, n)| format!("{n} × {rows}"))
                    .collect();
                write!(f, "columns {}", parts.join(" + "))
            }
            Work::TilesByKeys => write!(f, "tiles × key heads × runs of {KEY_BLOCK} keys"),
            Work::TilesByHeads { heads, count } => {
                write!(f, "tiles × key heads × heads {count} × {heads}")
            }
            Work::TokensByHeads { heads, count } => {
                write!(f, "tokens × key heads × heads {count} × {heads}")
            }
            Work::Heads => f.write_str("heads"),
            Work::QueriesByKeys => write!(f, "queries × runs of {KEY_BLOCK} keys"),
            Work::Queries => f.write_str("queries"),
            Work::SegmentsByHeads => f.write_str("segments × heads"),
            Work::SegmentsByColumns { width, count } => {
                write!(f, "segments × columns {count} × {width}")
            }
            Work::HeadColumns {
                heads,
                width,
                count,
            } => write!(f, "{heads} heads × columns {count} × {width}"),
            Work::Experts { rows, chunks, .. } => write!(f, "experts × {chunks} × {rows}"),
            Work::Once => f.write_str("once"),
        }
    }
}
