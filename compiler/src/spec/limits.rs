//! How large a spec may be, part by part.

/// Largest width of anything: hidden states, feed-forward blocks, vocabularies.
pub(super) const MAX_WIDTH: usize = 1 << 24;

/// Longest context: positions are 32-bit numbers.
pub(super) const MAX_CONTEXT: usize = 1 << 30;

/// Most heads of an attention step.
pub(super) const MAX_HEADS: usize = 1 << 16;

/// Most steps of a layer, and of embedding and head together.
pub(super) const MAX_STEPS: usize = 1024;

/// Most kinds of layers: code is made for each.
pub(super) const MAX_KINDS: usize = 256;

/// Most layers of a model.
pub(super) const MAX_LAYERS: usize = 4096;
