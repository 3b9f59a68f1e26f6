//! Scratch of latent attention in long steps.

use graver_runtime::abi::{KEY_BLOCK, PREFILL_TOKENS, QUERY_TILE};

use crate::graph::LatentAttention;

/// Keys that are expanded at once: few enough that keys and values of a head stay in the second-level cache.
pub const EXPANDED_KEYS: usize = 128;

/// Byte offsets inside the rows and sums of the kernel's scratch, and how long those are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatentScratch {
    /// Expanded keys, among the rows.
    pub keys: usize,
    /// Expanded values, among the rows.
    pub values: usize,
    /// Latents as f32, or queries of latents, among the rows.
    pub latents: usize,
    /// Bytes of all rows.
    pub rows: usize,
    /// Bytes of a tile of scores.
    pub tile: usize,
    /// Maxima and sums of the queries, among the sums, behind what they have summed up.
    pub states: usize,
    /// Bytes of all sums.
    pub sums: usize,
}

/// Where everything lies for one head of one segment.
pub fn latent_scratch(l: &LatentAttention) -> LatentScratch {
    let align = |n: usize| n.next_multiple_of(64);
    let values = align(EXPANDED_KEYS * l.key_dim() * 4);
    let latents = values + align(EXPANDED_KEYS * l.value_dim() * 4);
    let states = align((PREFILL_TOKENS * l.value_dim()).max(QUERY_TILE * l.rank()) * 4);
    LatentScratch {
        keys: 0,
        values,
        latents,
        rows: latents + EXPANDED_KEYS.max(QUERY_TILE) * l.attention.head_dim * 4,
        tile: QUERY_TILE * KEY_BLOCK * 4,
        states,
        sums: states + PREFILL_TOKENS * 2 * 4,
    }
}
