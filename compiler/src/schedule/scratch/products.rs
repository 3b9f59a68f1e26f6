//! Scratch of matmuls and of what rounds or finishes rows by itself.

use graver_runtime::abi::quant::block_row_bytes;

use super::area::{Area, Layout};
use crate::graph::{Epilogue, Graph, Matmul, NodeId, ProgramKind};
use crate::schedule::columns::{columns, rows_at_once};
use crate::schedule::steps::max_tokens;

/// Of a matmul.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatmulScratch {
    /// Input rows, normalised or rounded to int8, `[tokens, k]`.
    pub rows: Area,
    /// One normalised row on its way to int8, `[k]`.
    pub norm: Area,
    /// What a product makes at once, `[tokens, most columns]`.
    pub tile: Area,
    /// The same on its way to int8.
    pub staged: Area,
}

impl MatmulScratch {
    /// The layout of the matmul `node`.
    pub(crate) fn of(graph: &Graph, node: NodeId, m: &Matmul, kind: ProgramKind) -> Self {
        Self::take(&mut Layout::new(), graph, node, m, kind)
    }

    pub(super) fn take(
        layout: &mut Layout,
        graph: &Graph,
        node: NodeId,
        m: &Matmul,
        kind: ProgramKind,
    ) -> Self {
        let (tokens, k) = (max_tokens(kind), graph.width(graph.input(node)));
        let cuts = columns(graph, node, m, kind);
        let widest = rows_at_once(graph, node, m, &cuts, kind).into_iter().max();
        let tile = tokens * widest.unwrap_or(0) * 4;
        let rounds_norm = m.quantize_x && m.norm.is_some();
        MatmulScratch {
            rows: layout.take("rows", tokens * Self::row_bytes(m, k)),
            norm: layout.take("norm", if rounds_norm { k * 4 } else { 0 }),
            tile: layout.take("tile", tile),
            staged: layout.take("staged", if m.quantize_y { tile } else { 0 }),
        }
    }

    /// Bytes of an input row of `k` values that the matmul prepares for itself; none where it reads them as they are.
    pub(crate) fn row_bytes(m: &Matmul, k: usize) -> usize {
        match (m.quantize_x, m.norm) {
            (true, _) => block_row_bytes(k),
            (false, Some(_)) => k * 4,
            (false, None) => 0,
        }
    }
}

/// Of rounding to int8.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuantizeScratch {
    /// One normalised row.
    pub norm: Area,
}

impl QuantizeScratch {
    /// The layout of `node`.
    pub(crate) fn of(graph: &Graph, node: NodeId) -> Self {
        Self::take(&mut Layout::new(), graph, node)
    }

    pub(super) fn take(layout: &mut Layout, graph: &Graph, node: NodeId) -> Self {
        QuantizeScratch {
            norm: layout.take("norm", graph.width(node) * 4),
        }
    }
}

/// Of finishing joined projections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EpilogueScratch {
    /// A row of one projection on its way to the state.
    pub part: Area,
}

impl EpilogueScratch {
    /// The layout for projections `parts`.
    pub(crate) fn of(parts: &[Epilogue]) -> Self {
        Self::take(&mut Layout::new(), parts)
    }

    pub(super) fn take(layout: &mut Layout, parts: &[Epilogue]) -> Self {
        let widest = parts.iter().map(|p| p.rows).max();
        EpilogueScratch {
            part: layout.take("part", widest.unwrap_or(0) * 4),
        }
    }
}
