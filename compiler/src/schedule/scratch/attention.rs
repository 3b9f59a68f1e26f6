//! Scratch of attention: in one pass, unfused, and over latents.

use graver_runtime::abi::{KEY_BLOCK, PREFILL_TOKENS, QUERY_TILE};

use super::area::{Area, Layout};
use crate::graph::{Attention, Graph, LatentAttention, ProgramKind};

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
    /// Cached rows as f32, where they are not floats.
    pub widened: Area,
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
        AttentionScratch {
            scores: layout.take("scores", rows * KEY_BLOCK * 4),
            values: layout.take("values", rows * a.value_dim * 4),
            state: layout.take("state", rows * 2 * 4),
            widened: layout.take("widened", widened_bytes(graph, a, kind)),
        }
    }
}

/// Of scores and mix as kernels of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnfusedScratch {
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
            widened: layout.take("widened", widened_bytes(graph, a, kind)),
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
    match graph.states[a.state.0 as usize].dtype.float() {
        Some(_) => 0,
        None => widened_rows(kind) * a.head_dim.max(a.value_dim) * 4,
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

/// Rows of scores that attention computes at once: a group of heads in decode, the queries of a tile in prefill.
pub(crate) fn attention_rows(a: &Attention, kind: ProgramKind) -> usize {
    match kind {
        ProgramKind::Decode => a.group(),
        ProgramKind::Prefill => QUERY_TILE,
    }
}
