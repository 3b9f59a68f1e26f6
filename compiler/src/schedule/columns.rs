//! How the rows of a weight are cut into chunks.

use graver_runtime::abi::Arranged;
use graver_runtime::abi::quant::{GROUP, PANEL_ROWS};

use crate::graph::{Dest, Graph, Join, Matmul, NodeId, Op, ProgramKind};

/// Chunks of a matmul: enough to share out evenly among a few threads, each long enough to stream well, and no head that
/// is finished in one piece, no panel and no int8 group of the result cut in two.
pub(super) fn columns(
    graph: &Graph,
    node: NodeId,
    m: &Matmul,
    kind: ProgramKind,
) -> Vec<(usize, usize)> {
    let parts = match m.join {
        Join::Gated(_) => &m.parts[..1],
        Join::Concat => &m.parts[..],
    };
    let total: usize = parts.iter().map(|p| p.rows).sum();
    let usual = usual_rows(total, kind);
    let state_head = |p: &crate::graph::Part| match p.epilogue.dest {
        Dest::Output => 1,
        Dest::Keys(s) => graph.states[s.0 as usize].head_dim,
        Dest::Values(s) => graph.states[s.0 as usize].value_dim,
        // Columns of one head's key are written in one piece.
        Dest::KeyColumns(..) => p.rows,
    };
    let unit = if m.quantize_y {
        GROUP
    } else if reads_int8(graph, node, m) {
        PANEL_ROWS
    } else {
        1
    };
    let chunk = |p: &crate::graph::Part| {
        let grain = lcm(p.epilogue.grain().max(state_head(p)), unit);
        let rows = if grain > 1 {
            (usual / grain).max(1) * grain
        } else {
            usual
        }
        .min(p.rows);
        (rows, p.rows.div_ceil(rows))
    };
    parts.iter().map(chunk).collect()
}

/// Whether the matmul `m` multiplies integers.
fn reads_int8(graph: &Graph, node: NodeId, m: &Matmul) -> bool {
    m.quantize_x || graph.is_quantized(graph.input(node))
}

/// Rows of a chunk that has nothing to keep together.
fn usual_rows(total: usize, kind: ProgramKind) -> usize {
    let (wanted, step, most) = match kind {
        ProgramKind::Decode => (total.div_ceil(64), 8, 256),
        ProgramKind::Prefill => (total.div_ceil(32), 16, 96),
    };
    wanted.next_multiple_of(step).clamp(step, most)
}

/// Rows of weights that decode multiplies at once, about: a token's results take 16 KiB.
const AT_ONCE: usize = 4096;

/// Rows of floats that prefill multiplies at once, at most: kernels read all rows of the step for each product, and may have to make them into other
/// numbers.
pub(super) const PREFILL_AT_ONCE: usize = 288;

/// Rows of weights from which on it pays to arrange what they are multiplied with.
const ARRANGED_FOR: usize = 128;

/// How a matmul of many rows arranges them for its products, before it begins with these.
pub(super) fn arranged(graph: &Graph, node: NodeId, kind: ProgramKind) -> Option<Arranged> {
    let Op::Matmul(m) = graph.op(node) else {
        return None;
    };
    let as_it_is = m.norm.is_none() && !m.quantize_x;
    let rows: usize = m.parts.iter().map(|p| p.rows).sum();
    if kind != ProgramKind::Prefill || !as_it_is || rows < ARRANGED_FOR {
        return None;
    }
    let parts = graph.read(node, |take| m.operands(take)).parts;
    let decls = parts.iter().filter_map(|p| graph.weight(p.weight));
    decls.filter_map(|d| d.reads_arranged()).next()
}

/// Rows that a matmul computes with one product, of each of its parts, which are cut as `cuts` says.
pub(crate) fn rows_at_once(
    graph: &Graph,
    node: NodeId,
    m: &Matmul,
    cuts: &[(usize, usize)],
    kind: ProgramKind,
) -> Vec<usize> {
    let most = match kind {
        ProgramKind::Decode => AT_ONCE,
        ProgramKind::Prefill if reads_int8(graph, node, m) => 0,
        ProgramKind::Prefill => PREFILL_AT_ONCE,
    };
    cuts.iter().map(|cut| chunks_together(*cut, most)).collect()
}

/// Rows of all chunks, of `count` of `width` rows, that are computed together: those of many that a thread has in a row, at most `most`, so that
/// weights are read in long streams and what finishes rows is called for many.
pub(super) fn chunks_together((width, count): (usize, usize), most: usize) -> usize {
    width * (most / width.max(1)).clamp(1, count.max(1))
}

pub(super) fn even_columns(total: usize, kind: ProgramKind) -> (usize, usize) {
    let rows = usual_rows(total, kind).min(total);
    (rows, total.div_ceil(rows))
}

fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_chunks_are_taken_together() {
        let together = |cut| chunks_together(cut, AT_ONCE);
        assert_eq!(together((32, 48)), 48 * 32);
        assert_eq!(together((256, 501)), 16 * 256);
        assert_eq!(together((5000, 3)), 5000);
        assert_eq!(chunks_together((32, 48), 0), 32);
        assert_eq!(chunks_together((48, 32), PREFILL_AT_ONCE), 288);
    }
}
