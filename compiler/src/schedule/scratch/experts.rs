//! Scratch of routing and of experts.

use super::area::{Area, Layout};
use crate::graph::{Dim, ExpertsIn, ExpertsOut, Graph, Grouping, NodeId, ProgramKind, Route};
use crate::schedule::experts::{expert_tile, has_prologue, prologue_row_bytes, tile_row_bytes};
use crate::schedule::steps::max_tokens;
use crate::schedule::work::{chunk_rows, summed_at_once};

/// Of routing one token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteScratch {
    /// What weights are made from, `[experts]`.
    pub scores: Area,
    /// What decides, `[experts]`.
    pub choice: Area,
    /// The same as whole numbers, `[experts]`.
    pub keys: Area,
    /// What each group is worth, `[groups]`.
    pub worth: Area,
    /// The same as whole numbers, `[groups]`.
    pub group_keys: Area,
    /// Maximum and sum of a softmax.
    pub state: Area,
}

impl RouteScratch {
    /// The layout of a kernel that does nothing else.
    pub(crate) fn of(r: &Route) -> Self {
        Self::take(&mut Layout::new(), r)
    }

    pub(super) fn take(layout: &mut Layout, r: &Route) -> Self {
        let groups = r.groups.map_or(0, |g| g.count) * 4;
        RouteScratch {
            scores: layout.take("scores", r.experts * 4),
            choice: layout.take("choice", r.experts * 4),
            keys: layout.take("keys", r.experts * 4),
            worth: layout.take("worth", groups),
            group_keys: layout.take("group_keys", groups),
            state: layout.take("state", 2 * 4),
        }
    }
}

/// Of a kernel whose threads route all tokens for themselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoutingScratch {
    /// Weights and indices of each token's experts, `[tokens, 2, top_k]`.
    pub routes: Area,
    /// The table of groups.
    pub table: Area,
    /// For routing one token.
    pub route: RouteScratch,
}

impl RoutingScratch {
    fn take(layout: &mut Layout, g: &Grouping, r: &Route, kind: ProgramKind) -> Self {
        let tokens = max_tokens(kind);
        let table = match g.table() {
            Dim::Routed { per_token, more } => per_token * tokens + more,
            Dim::Const(_) | Dim::Tokens | Dim::LogitRows | Dim::Queries | Dim::Keys => {
                unreachable!("a table has numbers for each token and some more")
            }
        };
        RoutingScratch {
            routes: layout.take("routes", tokens * 2 * g.top_k * 4),
            table: layout.take("table", table * 4),
            route: RouteScratch::take(layout, r),
        }
    }
}

/// Of the activation between an expert's matrices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActivateScratch {
    /// A row of gates and ups in turn.
    pub pairs: Area,
}

impl ActivateScratch {
    /// The layout of `node`.
    pub(crate) fn of(graph: &Graph, node: NodeId) -> Self {
        Self::take(&mut Layout::new(), graph, node)
    }

    pub(super) fn take(layout: &mut Layout, graph: &Graph, node: NodeId) -> Self {
        ActivateScratch {
            pairs: layout.take("pairs", 2 * graph.width(node) * 4),
        }
    }
}

/// Of the first half of experts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpertsInScratch {
    /// All tokens, normalised or rounded to int8; empty where they are read as they are.
    pub prepared: Area,
    /// A tile of tokens of one expert.
    pub gathered: Area,
    /// One token, normalised or weighed, on its way to int8.
    pub row: Area,
    /// A tile of products: up, or gate and up in turn.
    pub tile: Area,
    /// A tile of results on its way to int8.
    pub staged: Area,
    /// For threads that route for themselves.
    pub routing: Option<RoutingScratch>,
}

impl ExpertsInScratch {
    /// The layout of `node`.
    pub(crate) fn of(graph: &Graph, node: NodeId, e: &ExpertsIn, kind: ProgramKind) -> Self {
        Self::take(&mut Layout::new(), graph, node, e, kind)
    }

    pub(super) fn take(
        layout: &mut Layout,
        graph: &Graph,
        node: NodeId,
        e: &ExpertsIn,
        kind: ProgramKind,
    ) -> Self {
        let (tokens, tile) = (max_tokens(kind), expert_tile(kind));
        let chunk = tile * chunk_rows(graph, node, kind) * 4;
        let passes_floats = e.quantize_x && (e.norm.is_some() || e.weighted);
        let floats = graph.width(graph.input(node)) * 4;
        let prepared = if has_prologue(e) { tokens } else { 0 };
        let route = e.route.as_ref();
        ExpertsInScratch {
            prepared: layout.take("prepared", prepared * prologue_row_bytes(graph, node, e)),
            gathered: layout.take("gathered", tile * tile_row_bytes(graph, node)),
            row: layout.take("row", if passes_floats { floats } else { 0 }),
            tile: layout.take("tile", 2 * chunk),
            staged: layout.take("staged", if e.quantize_y { chunk } else { 0 }),
            routing: route.map(|r| RoutingScratch::take(layout, &e.grouping, r, kind)),
        }
    }
}

/// Of the second half of experts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpertsOutScratch {
    /// Columns of a tile.
    pub at_once: usize,
    /// Columns that have sums: in decode all of the result's, of which a thread needs its own; in prefill those of a chunk.
    pub columns: usize,
    /// A tile of products, `[tokens of a tile, at_once]`.
    pub tile: Area,
    /// The sums of all tokens, `[tokens, columns]`.
    pub sums: Area,
    /// For threads that route for themselves.
    pub routing: Option<RoutingScratch>,
}

impl ExpertsOutScratch {
    /// The layout of `node`.
    pub(crate) fn of(graph: &Graph, node: NodeId, e: &ExpertsOut, kind: ProgramKind) -> Self {
        Self::take(&mut Layout::new(), graph, node, e, kind)
    }

    pub(super) fn take(
        layout: &mut Layout,
        graph: &Graph,
        node: NodeId,
        e: &ExpertsOut,
        kind: ProgramKind,
    ) -> Self {
        let at_once = summed_at_once(graph, node, e, kind);
        let columns = match kind {
            ProgramKind::Decode => e.rows,
            ProgramKind::Prefill => at_once,
        };
        let route = e.route.as_ref();
        ExpertsOutScratch {
            at_once,
            columns,
            tile: layout.take("tile", expert_tile(kind) * at_once * 4),
            sums: layout.take("sums", max_tokens(kind) * columns * 4),
            routing: route.map(|r| RoutingScratch::take(layout, &e.grouping, r, kind)),
        }
    }
}
