//! Feed-forward blocks, and non-linearities.

use super::at::At;
use super::error::Read;
use super::limits::MAX_WIDTH;
use super::model::{Activation, Mlp, StepOp};
use super::read::{Fields, Node};
use super::tables;
use super::weights::linear;

pub(super) fn mlp_step(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let fields = at.fields()?;
    let mlp = mlp(&fields, &at.name, at.around.hidden, at.width()?, None)?;
    Ok((StepOp::Mlp(mlp), at.around.hidden))
}

/// Reads a feed-forward block from `width` to `hidden` components; `act` is used where it names no activation.
pub(super) fn mlp(
    fields: &Fields<'_, '_>,
    slot: &str,
    hidden: usize,
    width: usize,
    act: Option<Activation>,
) -> Read<Mlp> {
    let ffn = fields.required("ffn")?.whole(1, MAX_WIDTH)?;
    let matrix = |node: &Node<'_, '_>, key: &str, out, inner| {
        linear(node, &format!("{slot}.{key}"), out, inner)
    };
    let act = match act {
        Some(act) if fields.raw("act").is_none() => act,
        _ => activation(&fields.required("act")?)?,
    };
    Ok(Mlp {
        gate: fields
            .optional("gate")?
            .map(|n| matrix(&n, "gate", ffn, width))
            .transpose()?,
        up: matrix(&fields.required("up")?, "up", ffn, width)?,
        down: matrix(&fields.required("down")?, "down", hidden, ffn)?,
        act,
        cutoff: fields.value("cutoff", Node::real)?,
    })
}

pub(super) fn activation(node: &Node<'_, '_>) -> Read<Activation> {
    let value = node.eval()?;
    let name = value
        .as_str()
        .ok_or_else(|| node.unexpected(&value, "the name of an activation"))?;
    tables::activation(name).map_err(|f| node.fault(f))
}
