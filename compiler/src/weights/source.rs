//! Where weights come from, and the one way from there to the bytes of every slot.

use super::blobs::Weights;
use super::checkpoint::Checkpoint;
use super::error::WeightsError;
use super::found::find;
use super::random::{RandomWeights, plan_random, plan_shapes};
use super::resolve::Progress;
use crate::spec::model::Model;

/// Where weights come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A checkpoint on disk.
    Checkpoint(Checkpoint),
    /// Random numbers.
    Random(RandomWeights),
    /// Where random weights would lie, to be drawn where they are written: enough to plan, to inspect and to write an
    /// artifact at any size, not to run.
    Shapes(RandomWeights),
}

/// Finds, checks and describes the bytes of every weight slot of `model`.
///
/// The checkpoint's files stay mapped inside the result. Fails for tensors that are missing, misshapen, of no weight type,
/// or left over.
#[cfg(test)]
pub(crate) fn resolve(model: &Model, source: Source) -> Result<Weights, WeightsError> {
    resolve_with(model, source, &|_, _| {})
}

/// [`resolve`]; `progress` hears how many bytes are to be converted in all, and how many more have been.
pub(crate) fn resolve_with(
    model: &Model,
    source: Source,
    progress: Progress<'_>,
) -> Result<Weights, WeightsError> {
    match source {
        Source::Checkpoint(checkpoint) => find(model, checkpoint, progress),
        Source::Random(random) => plan_random(model, random),
        Source::Shapes(random) => plan_shapes(model, random),
    }
}
