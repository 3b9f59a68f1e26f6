//! Feed-forward blocks, and non-linearities.

use super::at::At;
use super::error::Read;
use super::form;
use super::limits::MAX_WIDTH;
use super::model::{Activation, Gating, Mlp, StepOp};
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
        gating: own_gating(fields, act)?,
    })
}

/// What gate and up become together, where there is a gate and it is not what the activation alone says.
fn own_gating(fields: &Fields<'_, '_>, act: Activation) -> Read<Option<Gating>> {
    let Some(gating) = gating(fields, act)? else {
        return Ok(None);
    };
    if fields.optional("gate")?.is_none() || fields.optional("cutoff")?.is_some() {
        let expected = "a `gate` and no `cutoff`, where there is `gating`";
        return Err(fields.node.wrong(expected));
    }
    Ok(Some(gating).filter(|g| *g != Gating::plain(act)))
}

/// `"gating": {"alpha": 1.0, "limit": null, "after": false, "offset": 0.0}`.
pub(super) fn gating(fields: &Fields<'_, '_>, act: Activation) -> Read<Option<Gating>> {
    let Some(node) = fields.optional("gating")? else {
        return Ok(None);
    };
    let fields = node.object(form::GATING)?;
    let limit = fields.value("limit", Node::above_zero)?;
    Ok(Some(Gating {
        alpha: fields.value("alpha", Node::above_zero)?.unwrap_or(1.0),
        limit,
        after: fields.flag("after")? && limit.is_some(),
        offset: fields.value("offset", Node::real)?.unwrap_or(0.0),
        ..Gating::plain(act)
    }))
}

pub(super) fn activation(node: &Node<'_, '_>) -> Read<Activation> {
    let value = node.eval()?;
    let name = value
        .as_str()
        .ok_or_else(|| node.unexpected(&value, "the name of an activation"))?;
    tables::activation(name).map_err(|f| node.fault(f))
}
