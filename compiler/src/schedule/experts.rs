//! How the work of experts is cut.
//!
//! A chunk is some rows of one expert's matrix for all of that expert's tokens. Which experts have tokens is known only
//! when a step runs, and the same for every thread. In decode a chunk's weights stay in cache from one token to the next; in
//! prefill the tokens of an expert are gathered into tiles.

use graver_runtime::abi::quant::{PANEL_ROWS, block_row_bytes};

use super::columns::{PREFILL_AT_ONCE, chunks_together, even_columns};
use crate::graph::{ExpertsIn, Graph, Grouping, NodeId, Op, ProgramKind};

/// Bytes of weights that a chunk of decode reads at most: half of a small second-level cache.
const DECODE_CHUNK_BYTES: usize = 256 << 10;

/// Rows of one tile of tokens.
pub(crate) fn expert_tile(kind: ProgramKind) -> usize {
    match kind {
        ProgramKind::Decode => 1,
        ProgramKind::Prefill => 128,
    }
}

/// Rows of a chunk and chunks per expert, for matrices of `rows` rows (or pairs of rows) of `row_bytes`; chunks but the last
/// are multiples of `step`.
pub(super) fn expert_columns(
    g: &Grouping,
    rows: usize,
    row_bytes: usize,
    step: usize,
    kind: ProgramKind,
) -> (usize, usize) {
    let width = match kind {
        // A token's experts together make some thirty chunks.
        ProgramKind::Decode => {
            let wanted = (rows * g.top_k).div_ceil(32).next_multiple_of(step);
            let most = (DECODE_CHUNK_BYTES / row_bytes.max(1) / step * step).clamp(step, 96);
            wanted.min(most)
        }
        ProgramKind::Prefill => {
            let chunks = rows.div_ceil(192);
            rows.div_ceil(chunks).next_multiple_of(step.max(16))
        }
    };
    let width = width.min(rows);
    (width, rows.div_ceil(width))
}

/// Rows of an expert's matrix that are computed together where a thread has them in a row, cut as said: in decode as many as stay in cache
/// for the next token of the same expert.
pub(super) fn rows_at_once(cut: (usize, usize), row_bytes: usize, kind: ProgramKind) -> usize {
    match kind {
        ProgramKind::Decode => chunks_together(cut, DECODE_CHUNK_BYTES / row_bytes.max(1)),
        ProgramKind::Prefill => cut.0,
    }
}

/// Columns of a chunk that sums what all experts give, and chunks, for matrices of `rows` rows of `row_bytes`, of floats or integers.
pub(super) fn sum_columns(
    (rows, row_bytes): (usize, usize),
    of_floats: bool,
    kind: ProgramKind,
) -> (usize, usize) {
    let width = match kind {
        // A thread reads a run of every expert, and prefetches past a run's end are wasted: half as many chunks as
        // elsewhere, so that runs are longer.
        ProgramKind::Decode => {
            let most = DECODE_CHUNK_BYTES / 2 / row_bytes.max(1) / PANEL_ROWS * PANEL_ROWS;
            let wanted = rows.div_ceil(32).next_multiple_of(PANEL_ROWS);
            wanted.min(most.max(PANEL_ROWS))
        }
        // Every product reads all of an expert's tokens, which kernels for floats may have to make into other numbers.
        ProgramKind::Prefill if of_floats => {
            let wanted = rows.div_ceil(8).next_multiple_of(16);
            wanted.min(PREFILL_AT_ONCE)
        }
        ProgramKind::Prefill => return even_columns(rows, kind),
    };
    let width = width.min(rows);
    (width, rows.div_ceil(width))
}

/// Rows of an expert's matrix that a thread multiplies at once in decode, before it sums up: fewer calls than chunks, and not more than stay in
/// cache for the next token of the same expert.
pub(super) fn sum_piece(rows: usize, row_bytes: usize) -> usize {
    let most = DECODE_CHUNK_BYTES / row_bytes.max(1) / PANEL_ROWS * PANEL_ROWS;
    most.max(PANEL_ROWS).min(rows)
}

/// Whether every thread prepares all tokens before it begins.
pub(crate) fn has_prologue(e: &ExpertsIn) -> bool {
    e.norm.is_some() || e.quantize_x && !e.weighted
}

/// Bytes of a row of tokens that the prologue has prepared; those to be weighed stay f32 until then.
pub(crate) fn prologue_row_bytes(graph: &Graph, node: NodeId, e: &ExpertsIn) -> usize {
    match e.weighted {
        true => graph.row_bytes(graph.input(node)),
        false => tile_row_bytes(graph, node),
    }
}

/// Bytes of a row of tokens as the products of `node` read it.
pub(crate) fn tile_row_bytes(graph: &Graph, node: NodeId) -> usize {
    let x = graph.input(node);
    match graph.op(node) {
        Op::ExpertsIn(e) if e.quantize_x => block_row_bytes(graph.width(x)),
        _ => graph.row_bytes(x),
    }
}
