//! What is known of a matrix of published integers once its tensors are checked.

use graver_runtime::abi::Dtype;
use serde::Deserialize;

/// What the codes of a word are neighbours along: inputs or outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Side {
    In,
    Out,
}

/// A matrix of integers, its tensors checked.
#[derive(Clone, Debug)]
pub(super) struct IntegerMatrix {
    pub(super) codes: String,
    pub(super) scales: String,
    pub(super) zeros: Option<String>,
    pub(super) order: Option<String>,
    /// Outputs and inputs.
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) bits: usize,
    pub(super) group: usize,
    pub(super) zero_less: i32,
    pub(super) in_first: bool,
    pub(super) words_along: Side,
    pub(super) places: Option<[usize; 8]>,
    pub(super) scale_type: Dtype,
}

impl IntegerMatrix {
    /// Scales of an output.
    pub(super) fn groups(&self) -> usize {
        self.columns / self.group
    }

    /// What such weights are called where they become floats.
    pub(super) fn storage(&self) -> &'static str {
        match self.bits {
            4 => "INT4",
            _ => "INT8",
        }
    }
}
