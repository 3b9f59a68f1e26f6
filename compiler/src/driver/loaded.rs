//! A bound model with its weights: what loading gives, and everything after it takes.

use crate::spec::model::Model;
use crate::weights::Weights;

/// A bound model with its weights.
#[derive(Debug)]
pub struct Loaded {
    /// Numbers and structure.
    pub model: Model,
    /// Bytes.
    pub weights: Weights,
}

impl AsRef<Weights> for Loaded {
    fn as_ref(&self) -> &Weights {
        &self.weights
    }
}
