//! How long steps are, and in what pieces attention takes them.

use graver_runtime::abi::{DECODE_TOKENS, PREFILL_TOKENS, QUERY_TILE};

use crate::graph::{Attention, ProgramKind};

/// The most tokens of one step of a program.
pub fn max_tokens(kind: ProgramKind) -> usize {
    match kind {
        ProgramKind::Decode => DECODE_TOKENS,
        ProgramKind::Prefill => PREFILL_TOKENS,
    }
}

/// The most tokens of any step: rows that a ring has beyond what its queries look back over.
pub(crate) fn largest_step() -> usize {
    max_tokens(ProgramKind::Decode).max(max_tokens(ProgramKind::Prefill))
}

/// Queries of one attention tile of a program.
pub fn query_tile(kind: ProgramKind) -> usize {
    match kind {
        ProgramKind::Decode => 1,
        ProgramKind::Prefill => QUERY_TILE,
    }
}

/// Query heads that attention to picked keys takes together: as many as make the copies of keys cheap beside the products, and few
/// enough for one token's to keep several threads busy.
pub(crate) fn picked_heads(a: &Attention) -> usize {
    a.group().min(16)
}

/// Query heads of a key head that attention takes together for the queries of a tile: what products make of keys and values before they multiply
/// them serves all of these; but their scores have to stay in the second-level cache, and each thread has to get some.
pub(crate) fn tile_heads(a: &Attention) -> usize {
    const MOST: usize = 3;
    a.group().div_ceil(a.group().div_ceil(MOST))
}
