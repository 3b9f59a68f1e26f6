//! Scratch of attention: in one pass, unfused, and over latents.

use graver_runtime::abi::cache::are_multiplied;
use graver_runtime::abi::{CacheType, DECODE_TOKENS, KEY_BLOCK, PREFILL_TOKENS, QUERY_TILE};

use super::area::{Area, Layout};
use crate::graph::{Attention, Graph, IndexScores, LatentAttention, ProgramKind, StateId};
use crate::schedule::steps::{picked_heads, query_tile, tile_heads};

/// Keys that latent attention expands at once: few enough that keys and values of a head stay in the second-level cache.
pub(crate) const EXPANDED_KEYS: usize = 128;

/// Of attention in one pass over the keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionScratch {
    /// Queries of several heads, head after head, `[rows, head_dim]`.
    pub queries: Area,
    /// A block of scores, `[rows, KEY_BLOCK]`.
    pub scores: Area,
    /// What each row has summed up, `[rows, value_dim]`.
    pub values: Area,
    /// Maximum and sum of each row, `[rows, 2]`.
    pub state: Area,
    /// What is added to a row's scores by distance, `[KEY_BLOCK]`.
    pub relative: Area,
    /// For cached rows that are not floats.
    pub widened: Widened,
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
        let copied = match kind {
            ProgramKind::Prefill if a.picked.is_none() && tile_heads(a) > 1 => rows,
            ProgramKind::Decode | ProgramKind::Prefill => 0,
        };
        AttentionScratch {
            queries: layout.take("queries", copied * a.head_dim * 4),
            scores: layout.take("scores", rows * KEY_BLOCK * 4),
            values: layout.take("values", rows * a.value_dim * 4),
            state: layout.take("state", rows * 2 * 4),
            relative: layout.take("relative", relative_bytes(a)),
            widened: Widened::take(layout, graph, a.state, &widths(a), (a.group(), kind)),
            keys: layout.take("keys", picked_bytes(a, state.row_bytes(a.head_dim))),
            picked_values: layout.take("picked values", picked_bytes(a, values)),
        }
    }
}

/// Values of keys and of values.
fn widths(a: &Attention) -> [usize; 2] {
    [a.head_dim, a.value_dim]
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
    /// For cached rows that are not floats.
    pub widened: Widened,
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
            widened: Widened::take(layout, graph, a.state, &widths(a), (query_tile(kind), kind)),
        }
    }
}

/// Of one query of an index against a run of keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexScratch {
    /// Scores of each head, `[heads, KEY_BLOCK]`.
    pub heads: Area,
    /// For cached rows that are not floats.
    pub widened: Widened,
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
            widened: Widened::take(layout, graph, i.state, &[i.dim], (i.heads, kind)),
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
    /// For cached rows that are not floats.
    pub widened: Widened,
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
            widened: Widened::take(
                layout,
                graph,
                l.attention.state,
                &widths(&l.attention),
                (QUERY_TILE, kind),
            ),
        }
    }
}

/// How products read cached rows that are not floats: as they lie, or from scratch, where they are f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Widened {
    /// Rows as f32; empty where none have to be.
    pub area: Area,
    /// How many at once: few enough for the first-level cache where they are read once for a few heads, all keys of a block where many
    /// queries read them.
    pub rows: usize,
    /// Whether few rows are multiplied with them, so that each is read once.
    for_few: bool,
}

impl Widened {
    /// For the first values of rows of `state`, as many as one of `widths`, in products of at most `m` rows.
    fn take(
        layout: &mut Layout,
        graph: &Graph,
        state: StateId,
        widths: &[usize],
        (m, kind): (usize, ProgramKind),
    ) -> Self {
        let rows = match kind {
            ProgramKind::Decode => 32,
            ProgramKind::Prefill => KEY_BLOCK,
        };
        let read = Widened {
            area: Area::default(),
            rows,
            for_few: kind == ProgramKind::Decode && m <= DECODE_TOKENS,
        };
        let decl = &graph.states[state.0 as usize];
        let is_widened = |width: &&usize| !read.as_they_lie(decl.dtype, **width, decl.group());
        let widest = widths.iter().filter(is_widened).max().unwrap_or(&0);
        Widened {
            area: layout.take("widened", rows * widest * 4),
            ..read
        }
    }

    /// Whether products read rows of `width` values in groups of `group` as they lie.
    pub(crate) fn as_they_lie(self, dtype: CacheType, width: usize, group: usize) -> bool {
        dtype.float().is_some() || self.for_few && are_multiplied(width, group)
    }
}

/// Rows of scores that attention computes at once: a group of heads in decode, the queries of a tile for some heads in prefill; some heads of a
/// query where keys are picked, which each query has of its own.
pub(crate) fn attention_rows(a: &Attention, kind: ProgramKind) -> usize {
    match kind {
        ProgramKind::Decode | ProgramKind::Prefill if a.picked.is_some() => picked_heads(a),
        ProgramKind::Decode => a.group(),
        ProgramKind::Prefill => tile_heads(a) * QUERY_TILE,
    }
}
