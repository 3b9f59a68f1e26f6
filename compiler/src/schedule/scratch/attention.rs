//! Scratch of attention: in one pass, unfused, and over latents.

use graver_runtime::abi::{KEY_BLOCK, PREFILL_TOKENS, QUERY_TILE};

use super::area::{Area, Layout};
use crate::graph::{Attention, Graph, IndexScores, LatentAttention, ProgramKind, StateId};
use crate::schedule::steps::picked_heads;

/// Keys that latent attention expands at once: few enough that keys and values of a head stay in the second-level cache.
pub(crate) const EXPANDED_KEYS: usize = 128;

/// Of attention in one pass over the keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionScratch {
    /// A block of scores, `[rows, KEY_BLOCK]`.
    pub scores: Area,
    /// What each row has summed up, `[rows, value_dim]`.
    pub values: Area,
    /// Maximum and sum of each row, `[rows, 2]`.
    pub state: Area,
    /// What is added to a row's scores by distance, `[KEY_BLOCK]`.
    pub relative: Area,
    /// Cached rows as f32, where they are not floats.
    pub widened: Area,
    /// Keys that are picked, as they lie in the state, one after the other.
    pub keys: Area,
    /// Their values, where they are not the same rows.
    pub picked_values: Area,
}

impl AttentionScratch {
    /// The layout of attention `a`.
    pub(crate) fn of(graph: &Graph, a: &Attention, kind: ProgramKind) -> Self {
        Self::take(&mut Layout::new(), graph, a, kind)
    }

    pub(super) fn take(
        layout: &mut Layout,
        graph: &Graph,
        a: &Attention,
        kind: ProgramKind,
    ) -> Self {
        let rows = attention_rows(a, kind);
        let state = &graph.states[a.state.0 as usize];
        let values = match state.shared {
            true => 0,
            false => state.row_bytes(a.value_dim),
        };
        AttentionScratch {
            scores: layout.take("scores", rows * KEY_BLOCK * 4),
            values: layout.take("values", rows * a.value_dim * 4),
            state: layout.take("state", rows * 2 * 4),
            relative: layout.take("relative", relative_bytes(a)),
            widened: layout.take("widened", widened_bytes(graph, a, kind)),
            keys: layout.take("keys", picked_bytes(a, state.row_bytes(a.head_dim))),
            picked_values: layout.take("picked values", picked_bytes(a, values)),
        }
    }
}

/// Bytes of a block of rows that are picked.
fn picked_bytes(a: &Attention, row_bytes: usize) -> usize {
    a.picked
        .map_or(0, |l| l.positions().min(KEY_BLOCK) * row_bytes)
}

/// Bytes of what is added to a block of scores by distance.
fn relative_bytes(a: &Attention) -> usize {
    a.relative.map_or(0, |_| KEY_BLOCK * 4)
}

/// Of scores and mix as kernels of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnfusedScratch {
    /// What is added to a row's scores by distance, `[KEY_BLOCK]`.
    pub relative: Area,
    /// Cached rows as f32, where they are not floats.
    pub widened: Area,
}

impl UnfusedScratch {
    /// The layout of attention `a`.
    pub(crate) fn of(graph: &Graph, a: &Attention, kind: ProgramKind) -> Self {
        Self::take(&mut Layout::new(), graph, a, kind)
    }

    pub(super) fn take(
        layout: &mut Layout,
        graph: &Graph,
        a: &Attention,
        kind: ProgramKind,
    ) -> Self {
        UnfusedScratch {
            relative: layout.take("relative", relative_bytes(a)),
            widened: layout.take("widened", widened_bytes(graph, a, kind)),
        }
    }
}

/// Of one query of an index against a run of keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexScratch {
    /// Scores of each head, `[heads, KEY_BLOCK]`.
    pub heads: Area,
    /// Cached rows as f32, where they are not floats.
    pub widened: Area,
}

impl IndexScratch {
    /// The layout of index `i`.
    pub(crate) fn of(graph: &Graph, i: &IndexScores, kind: ProgramKind) -> Self {
        Self::take(&mut Layout::new(), graph, i, kind)
    }

    pub(super) fn take(
        layout: &mut Layout,
        graph: &Graph,
        i: &IndexScores,
        kind: ProgramKind,
    ) -> Self {
        IndexScratch {
            heads: layout.take("heads", i.heads * KEY_BLOCK * 4),
            widened: layout.take("widened", widened_bytes_of(graph, i.state, i.dim, kind)),
        }
    }
}

/// Values of a byte: what keys are counted by while the largest scores are looked for.
pub(crate) const PICK_BINS: usize = 256;

/// Of one query's choice of keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PickScratch {
    /// How many keys have each value of a byte of their scores, `[PICK_BINS]`.
    pub bins: Area,
}

impl PickScratch {
    /// The layout.
    pub(crate) fn of() -> Self {
        Self::take(&mut Layout::new())
    }

    pub(super) fn take(layout: &mut Layout) -> Self {
        PickScratch {
            bins: layout.take("bins", PICK_BINS * 4),
        }
    }
}

/// Of a softmax as a kernel of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoftmaxScratch {
    /// Maximum and sum of a row.
    pub state: Area,
}

impl SoftmaxScratch {
    /// The layout.
    pub(crate) fn of() -> Self {
        Self::take(&mut Layout::new())
    }

    pub(super) fn take(layout: &mut Layout) -> Self {
        SoftmaxScratch {
            state: layout.take("state", 2 * 4),
        }
    }
}

/// Of one head of one segment of latent attention in long steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LatentScratch {
    /// Expanded keys, `[EXPANDED_KEYS, key_dim]`.
    pub keys: Area,
    /// Expanded values, `[EXPANDED_KEYS, value_dim]`.
    pub values: Area,
    /// Latents as f32, or queries of latents, `[_, head_dim]`.
    pub latents: Area,
    /// A tile of scores, `[QUERY_TILE, KEY_BLOCK]`.
    pub scores: Area,
    /// What queries have summed up: of all of a step, `value_dim` wide, or of a tile, as wide as a latent.
    pub sums: Area,
    /// Maximum and sum of each query of a step.
    pub state: Area,
    /// Cached rows as f32, where they are not floats.
    pub widened: Area,
}

impl LatentScratch {
    /// The layout of attention `l`.
    pub(crate) fn of(graph: &Graph, l: &LatentAttention, kind: ProgramKind) -> Self {
        Self::take(&mut Layout::new(), graph, l, kind)
    }

    pub(super) fn take(
        layout: &mut Layout,
        graph: &Graph,
        l: &LatentAttention,
        kind: ProgramKind,
    ) -> Self {
        let sums = (PREFILL_TOKENS * l.value_dim()).max(QUERY_TILE * l.rank());
        let latents = EXPANDED_KEYS.max(QUERY_TILE) * l.attention.head_dim;
        LatentScratch {
            keys: layout.take("keys", EXPANDED_KEYS * l.key_dim() * 4),
            values: layout.take("values", EXPANDED_KEYS * l.value_dim() * 4),
            latents: layout.take("latents", latents * 4),
            scores: layout.take("scores", QUERY_TILE * KEY_BLOCK * 4),
            sums: layout.take("sums", sums * 4),
            state: layout.take("state", PREFILL_TOKENS * 2 * 4),
            widened: layout.take("widened", widened_bytes(graph, &l.attention, kind)),
        }
    }
}

/// Bytes of cached rows that are made into f32 at once; none where they are floats.
fn widened_bytes(graph: &Graph, a: &Attention, kind: ProgramKind) -> usize {
    widened_bytes_of(graph, a.state, a.head_dim.max(a.value_dim), kind)
}

fn widened_bytes_of(graph: &Graph, state: StateId, width: usize, kind: ProgramKind) -> usize {
    match graph.states[state.0 as usize].dtype.float() {
        Some(_) => 0,
        None => widened_rows(kind) * width * 4,
    }
}

/// Cached rows that are made into f32 at once: few enough for the first-level cache where they are read once for a few
/// heads, all keys of a block where many queries read them.
pub(crate) fn widened_rows(kind: ProgramKind) -> usize {
    match kind {
        ProgramKind::Decode => 32,
        ProgramKind::Prefill => KEY_BLOCK,
    }
}

/// Rows of scores that attention computes at once: a group of heads in decode, the queries of a tile in prefill; some heads of a
/// query where keys are picked, which each query has of its own.
pub(crate) fn attention_rows(a: &Attention, kind: ProgramKind) -> usize {
    match kind {
        ProgramKind::Decode | ProgramKind::Prefill if a.picked.is_some() => picked_heads(a),
        ProgramKind::Decode => a.group(),
        ProgramKind::Prefill => QUERY_TILE,
    }
}
