//! Rotary embeddings, as numbers.

use serde::Serialize;

/// Rotary position embedding (Su et al. 2021), its scaling already folded into the frequencies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rope {
    /// Name in the spec.
    pub name: String,
    /// Base of the frequencies before they were scaled, for people.
    pub theta: f64,
    /// What the config calls the rule they were scaled by, if they were, for people.
    pub scaling: Option<String>,
    /// Angular frequency per pair, `[rotary_dim / 2]`; below zero where pairs turn the other way.
    pub freqs: Vec<f32>,
    /// Multiplies cos and sin (YaRN's attention scale).
    pub scale: f32,
    /// Pairs are `(2i, 2i + 1)` rather than `(i, i + rotary_dim / 2)`.
    pub interleaved: bool,
    /// Other frequencies for longer sequences.
    pub long: Option<LongFreqs>,
}

impl Rope {
    /// Leading components of a head that rotate.
    pub fn rotary_dim(&self) -> usize {
        self.freqs.len() * 2
    }
}

/// Frequencies of sequences that grow beyond a length, for all of their positions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LongFreqs {
    /// Longest sequence, in positions, that does without.
    pub above: usize,
    /// As many as there are for shorter ones.
    pub freqs: Vec<f32>,
}
