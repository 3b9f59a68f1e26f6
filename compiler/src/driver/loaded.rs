//! A bound model with its weights: what loading gives, and everything after it takes.

use std::collections::BTreeSet;

use graver_runtime::abi::{Dtype, Encoding};

use crate::spec::model::Model;
use crate::weights::{View, Weights};

/// A bound model with its weights.
#[derive(Debug)]
pub struct Loaded {
    /// Numbers and structure.
    pub model: Model,
    /// Bytes.
    pub weights: Weights,
    /// What is multiplied with weights in bf16.
    pub activations: Activations,
}

/// What prefill multiplies with matrices in bf16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// Activations as they are.
    #[default]
    F32,
    /// Activations rounded to bf16: faster where the processor multiplies bf16 (AVX512_BF16, AMX).
    Bf16,
}

/// No matrix is in bf16, so that there is nothing to round activations for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "activations in bf16 are multiplied with matrices in bf16: expected some whose rows follow each other, found weights in {found}; leave the option out"
)]
pub struct NothingInBf16 {
    found: String,
}

impl Activations {
    /// Whether they are, where weights are stored so.
    pub(super) fn are_rounded_for(view: &View) -> bool {
        view.encoding == Encoding::Float(Dtype::Bf16) && !view.transposed
    }
}

impl Loaded {
    /// Multiplies matrices in bf16 with activations in another type.
    ///
    /// # Errors
    /// No matrix is in bf16.
    pub fn with_activations(self, activations: Activations) -> Result<Loaded, NothingInBf16> {
        // Vectors are f32 in any case.
        let held: BTreeSet<_> = self.weights.views().map(|view| view.encoding).collect();
        let are_there = self.weights.views().any(Activations::are_rounded_for);
        match activations == Activations::Bf16 && !are_there {
            true => Err(NothingInBf16 {
                found: held
                    .iter()
                    .map(|e| e.to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
            false => Ok(Loaded {
                activations,
                ..self
            }),
        }
    }
}

impl AsRef<Weights> for Loaded {
    fn as_ref(&self) -> &Weights {
        &self.weights
    }
}
