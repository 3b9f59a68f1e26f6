//! The three parts of a spec that have steps, and which steps can stand in which.

use super::error::Fault;
use super::model::StepOp;

/// A part of a spec.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// From token ids to the residual stream.
    Embed,
    /// A layer.
    Layer,
    /// From the residual stream to logits.
    Head,
}

impl Part {
    /// Whether a step can stand here: state belongs to layers, and the head has only the rows whose logits are wanted, not
    /// a row for each token.
    pub(super) fn takes(self, op: &StepOp) -> Result<(), Fault> {
        let misplaced = |op, does, why| Err(Fault::Misplaced { op, does, why });
        let (keeps, layers_only) = ("keeps state", "only layers have state");
        let by_token = "the head has rows for the wanted logits alone, not for all tokens";
        match (self, op) {
            (Part::Embed | Part::Head, StepOp::Attention(_)) => {
                misplaced("attention", keeps, layers_only)
            }
            (Part::Embed | Part::Head, StepOp::LatentAttention(_)) => {
                misplaced("latent_attention", keeps, layers_only)
            }
            (Part::Embed | Part::Head, StepOp::Index(_)) => misplaced("index", keeps, layers_only),
            (Part::Embed | Part::Head, StepOp::DeltaNet(_)) => {
                misplaced("delta_net", keeps, layers_only)
            }
            (Part::Embed | Part::Head, StepOp::ShortConv(_)) => {
                misplaced("short_conv", keeps, layers_only)
            }
            (Part::Embed | Part::Head, StepOp::Recurrence(_)) => {
                misplaced("recurrence", keeps, layers_only)
            }
            (Part::Head, StepOp::Embed { .. }) => {
                misplaced("embed", "looks rows up by token", by_token)
            }
            (Part::Head, StepOp::PositionEmbed { .. }) => {
                misplaced("position_embed", "looks rows up by position", by_token)
            }
            (Part::Head, StepOp::Sinusoids { .. }) => {
                misplaced("sinusoids", "goes by position", by_token)
            }
            (Part::Head, StepOp::Moe(_)) => misplaced("moe", "sorts tokens by expert", by_token),
            (
                Part::Layer,
                StepOp::Attention(_)
                | StepOp::LatentAttention(_)
                | StepOp::Index(_)
                | StepOp::DeltaNet(_)
                | StepOp::ShortConv(_)
                | StepOp::Recurrence(_),
            ) => Ok(()),
            (
                Part::Embed | Part::Layer,
                StepOp::Embed { .. }
                | StepOp::PositionEmbed { .. }
                | StepOp::Sinusoids { .. }
                | StepOp::Moe(_),
            ) => Ok(()),
            (
                _,
                StepOp::Norm(_)
                | StepOp::Linear(_)
                | StepOp::Scale(_)
                | StepOp::Softcap(_)
                | StepOp::Concat(_)
                | StepOp::Clamp { .. }
                | StepOp::Xielu(_)
                | StepOp::Pick
                | StepOp::Act(_)
                | StepOp::Add(_)
                | StepOp::Mul(_)
                | StepOp::WeightedSum { .. }
                | StepOp::MatchRms { .. }
                | StepOp::Decay(_)
                | StepOp::Mlp(_),
            ) => Ok(()),
        }
    }
}
