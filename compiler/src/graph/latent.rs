//! Latent attention as one operation: queries brought to the latents, attention to them, results brought back.

use super::heads::HeadMatmul;
use super::op::Attention;

/// `results(attention(queries(q)))`, which for many queries is cheaper in another order: keys and values of a head are
/// expanded from the latents, a block at a time, and attended to as usual. Operands: `q`, the token of the cache write, and
/// the weight of both products.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatentAttention {
    /// Attention to the latents, by one key head whose leading columns are the values.
    pub attention: Attention,
    /// From queries to queries of latents.
    pub queries: HeadMatmul,
    /// From sums of latents to sums of values.
    pub results: HeadMatmul,
}

impl LatentAttention {
    /// Width of the latent.
    pub fn rank(&self) -> usize {
        self.attention.value_dim
    }

    /// Columns of a key that are not expanded.
    pub fn kept(&self) -> usize {
        self.queries.keep
    }

    /// Width of an expanded key.
    pub fn key_dim(&self) -> usize {
        self.queries.rows.len + self.queries.keep
    }

    /// Width of an expanded value.
    pub fn value_dim(&self) -> usize {
        self.results.rows.len
    }

    /// Width of the result.
    pub fn width(&self) -> usize {
        self.attention.heads * self.value_dim()
    }
}
