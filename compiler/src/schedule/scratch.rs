//! What each thread needs of its own while it works on a kernel: how much, and where it lies.

use graver_runtime::abi::quant::block_row_bytes;
use graver_runtime::abi::{DeltaRun, KEY_BLOCK, MATMUL_SCRATCH, QUERY_TILE};

use super::{channels, columns, experts, latent_scratch, max_tokens};
use crate::graph::{Attention, Graph, Matmul, NodeId, Op, ProgramKind};

/// Byte offsets in a thread's scratch area, and its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scratch {
    /// Input rows, normalised or rounded to int8.
    pub rows: usize,
    /// One normalised row on its way to int8.
    pub row: usize,
    /// A tile of results.
    pub tile: usize,
    /// A tile of results on its way to int8.
    pub staged: usize,
    /// Sums of attention, or of experts.
    pub sums: usize,
    /// Routing.
    pub route: usize,
    /// Cached keys or values as f32.
    pub cached: usize,
    /// Size.
    pub bytes: usize,
}

/// How many bytes of each kind: see [`Scratch`].
#[derive(Clone, Copy, Default)]
pub(super) struct Area {
    pub(super) rows: usize,
    pub(super) row: usize,
    pub(super) tile: usize,
    pub(super) staged: usize,
    pub(super) sums: usize,
    pub(super) route: usize,
    pub(super) cached: usize,
}

impl Area {
    /// One behind the other, behind what products may use.
    pub(super) fn laid_out(self) -> Scratch {
        let align = |n: usize| n.next_multiple_of(64);
        let rows = MATMUL_SCRATCH;
        let row = rows + align(self.rows);
        let tile = row + align(self.row);
        let staged = tile + align(self.tile);
        let sums = staged + align(self.staged);
        let route = sums + align(self.sums);
        let cached = route + align(self.route);
        Scratch {
            rows,
            row,
            tile,
            staged,
            sums,
            route,
            cached,
            bytes: cached + align(self.cached),
        }
    }
}

/// The scratch of a kernel.
pub(super) fn scratch(graph: &Graph, node: NodeId, kind: ProgramKind) -> Scratch {
    let own = experts::area(graph, node, kind);
    own.unwrap_or_else(|| area(graph, node, kind)).laid_out()
}

fn area(graph: &Graph, node: NodeId, kind: ProgramKind) -> Area {
    let tile = |bytes: usize| Area {
        tile: bytes,
        ..Area::default()
    };
    match graph.op(node) {
        Op::Matmul(m) => matmul(graph, node, m, kind),
        Op::Quantize { .. } => Area {
            row: graph.width(node) * 4,
            ..Area::default()
        },
        Op::LatentAttention(l) => {
            let s = latent_scratch(l);
            Area {
                rows: s.rows,
                tile: s.tile,
                sums: s.sums,
                cached: cached(graph, &l.attention, kind),
                ..Area::default()
            }
        }
        Op::Attention(a) => {
            let queries = attention_rows(a, kind);
            Area {
                tile: queries * KEY_BLOCK * 4,
                sums: queries * (a.value_dim + 2) * 4,
                cached: cached(graph, a, kind),
                ..Area::default()
            }
        }
        Op::Scores(a) | Op::Mix(a) => Area {
            cached: cached(graph, a, kind),
            ..Area::default()
        },
        Op::Finish { parts } => tile(parts.iter().map(|p| p.rows).max().unwrap_or(0) * 4),
        Op::CacheWrite { .. } => Area::default(),
        Op::DeltaRule(_) => tile(size_of::<DeltaRun>()),
        Op::ShortConv(c) => tile(c.taps * channels(c) * 4),
        Op::Decay { heads } => tile(heads * 4),
        _ => Area {
            tile: 64,
            sums: 64,
            ..Area::default()
        },
    }
}

fn matmul(graph: &Graph, node: NodeId, m: &Matmul, kind: ProgramKind) -> Area {
    let (tokens, k) = (max_tokens(kind), graph.width(graph.operands(node)[0]));
    let widest = columns(graph, node, m, kind).iter().map(|c| c.0).max();
    let tile = tokens * widest.unwrap_or(0) * 4;
    let rounds_norm = m.quantize_x && m.norm.is_some();
    Area {
        rows: tokens * prologue_bytes(m, k),
        row: if rounds_norm { k * 4 } else { 0 },
        tile,
        staged: if m.quantize_y { tile } else { 0 },
        ..Area::default()
    }
}

/// Bytes of an input row that a matmul prepares for itself.
fn prologue_bytes(m: &Matmul, k: usize) -> usize {
    match (m.quantize_x, m.norm) {
        (true, _) => block_row_bytes(k),
        (false, Some(_)) => k * 4,
        (false, None) => 0,
    }
}

/// Bytes of cached rows that are made into f32, where they are not floats.
fn cached(graph: &Graph, a: &Attention, kind: ProgramKind) -> usize {
    match graph.states[a.state.0 as usize].dtype.float() {
        Some(_) => 0,
        None => widened_rows(kind) * a.head_dim.max(a.value_dim) * 4,
    }
}

/// Cached rows that are made into f32 at once: few enough for the first-level cache where they are read once for a few
/// heads, all keys of a block where many queries read them.
pub fn widened_rows(kind: ProgramKind) -> usize {
    match kind {
        ProgramKind::Decode => 32,
        ProgramKind::Prefill => KEY_BLOCK,
    }
}

/// Rows of scores that attention computes at once: a group of heads in decode, the queries of a tile in prefill.
pub fn attention_rows(a: &Attention, kind: ProgramKind) -> usize {
    match kind {
        ProgramKind::Decode => a.group(),
        ProgramKind::Prefill => QUERY_TILE,
    }
}
