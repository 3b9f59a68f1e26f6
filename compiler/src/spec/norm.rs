//! Norms: steps of their own, and parts of others.

use super::at::At;
use super::error::{Fault, Read, unknown};
use super::form;
use super::heads::dividing;
use super::model::{Norm, NormKind, StepOp};
use super::read::Node;
use super::weights::weight;

pub(super) fn norm_step(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let width = at.width()?;
    Ok((StepOp::Norm(norm(&at.node, &at.name, width)?), width))
}

/// Reads a norm over `width` components; its slots are `{slot}.gain` and `{slot}.bias`.
pub(super) fn norm(node: &Node<'_, '_>, slot: &str, width: usize) -> Read<Norm> {
    let fields = node.object(form::NORM)?;
    let kind = match fields
        .required("op")?
        .literal("`rms_norm`, `layer_norm` or `l2_norm`")?
    {
        "rms_norm" => NormKind::Rms,
        "layer_norm" => NormKind::Layer,
        "l2_norm" => NormKind::L2,
        other => {
            return Err(node.fault(unknown(
                "norm",
                other,
                ["rms_norm", "layer_norm", "l2_norm"].into_iter(),
            )));
        }
    };
    let group = fields
        .optional("group")?
        .map(|_| dividing(&fields, "group", ("its width", width)))
        .transpose()?;
    let eps_node = fields.required("eps")?;
    let eps = eps_node.real()?;
    if eps < 0.0 {
        let expected = "a number of at least 0".into();
        return Err(eps_node.fault(Fault::Range {
            found: eps.to_string(),
            expected,
        }));
    }
    let vector = |key: &'static str| {
        let node = fields.optional(key)?;
        node.map(|n| weight(&n, format!("{slot}.{key}"), vec![group.unwrap_or(width)]))
            .transpose()
    };
    Ok(Norm {
        kind,
        eps,
        gain: vector("gain")?,
        bias: vector("bias")?,
        unit_offset: fields.flag("unit_offset")?,
        group,
    })
}
