//! A model as a whole: numbers, layers by kind, embedding and head.

use serde::Serialize;

use super::layer::{LayerKind, Step, StepOp};
use super::rope::Rope;

/// A model: embedding, layers by kind, head.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Model {
    /// Name of the spec (`llama`).
    pub name: String,
    /// Vocabulary size.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Longest context, in positions.
    pub context: usize,
    /// Rotary embeddings that attention steps refer to by index.
    pub ropes: Vec<Rope>,
    /// From token ids to the residual stream.
    pub embed: Vec<Step>,
    /// Values handed from layer to layer beside the residual stream, with their widths.
    pub carried: Vec<(String, usize)>,
    /// Distinct layers.
    pub kinds: Vec<LayerKind>,
    /// For each layer, in order, the index of its kind.
    pub layers: Vec<usize>,
    /// For each layer, the earlier one whose keys and values it attends to, where it has none of its own.
    pub sources: Vec<Option<usize>>,
    /// From the residual stream (at the rows whose logits are wanted) to logits.
    pub head: Vec<Step>,
    /// Width of what the head gives, where that is hidden states instead of logits.
    pub output: Option<usize>,
    /// End-of-sequence token ids.
    pub eos: Vec<u32>,
    /// Beginning-of-sequence token id.
    pub bos: Option<u32>,
    /// Alternative spellings of tensor names: each prefix is tried in place of the first.
    pub prefixes: Vec<String>,
    /// Patterns (`*` matches anything) of tensors in a checkpoint that are no weights of this model.
    pub ignore: Vec<String>,
}

impl Model {
    /// The model without the matrix that makes logits, and what follows it: its head gives hidden states, mostly those after the final norm.
    /// None where nothing would be left of the head.
    pub fn without_logits(&self) -> Option<Model> {
        let linear = |step: &Step| match &step.op {
            StepOp::Linear(linear) => Some(linear.weight.shape[0]),
            _ => None,
        };
        let last = self.head.iter().rposition(|step| linear(step).is_some())?;
        let head = self.head[..last].to_vec();
        let width = head.iter().rev().find_map(linear).unwrap_or(self.hidden);
        (!head.is_empty()).then(|| Model {
            head,
            output: Some(width),
            ..self.clone()
        })
    }
}

/// Part of a model that has steps, weights and a graph of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The embedding.
    Embed,
    /// A layer kind, by its index in [`Model::kinds`].
    Kind(usize),
    /// The head.
    Head,
}
