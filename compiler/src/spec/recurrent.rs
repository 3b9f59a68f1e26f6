//! The step `delta_net`: the gated delta rule with its projections, convolutions and gates.

use super::at::At;
use super::error::{Read, unknown};
use super::form;
use super::heads::{dividing, width_of};
use super::limits::{MAX_HEADS, MAX_WIDTH};
use super::mlp::activation;
use super::model::{Activation, Convolved, DeltaNet, Linear, LowRank, Projection, StepOp};
use super::norm::norm;
use super::read::{Fields, Node};
use super::weights::{linear, row_by_row, weight};

/// Most positions that a convolution sees.
pub(super) const MAX_TAPS: usize = 64;

/// Reads the step.
pub(super) fn delta_net(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let fields = at.fields()?;
    let width = at.width()?;
    let size = |key| fields.required(key)?.whole(1, MAX_HEADS);
    let (value_heads, key_dim, value_dim) =
        (size("value_heads")?, size("key_dim")?, size("value_dim")?);
    let key_heads = dividing(&fields, "key_heads", ("value_heads", value_heads))?;
    let keys = width_of(&at.node, value_heads, key_dim)? / value_heads * key_heads;
    let values = width_of(&at.node, value_heads, value_dim)?;
    at.add_state([value_heads, key_dim, value_dim])?;
    let taps = fields.required("taps")?.whole(2, MAX_TAPS)?;
    let convolved = |key, out| convolved(at, &fields, key, (out, width), taps);
    let head_norm = |key: &'static str, dim| {
        let node = fields.optional(key)?;
        node.map(|n| norm(&n, &at.slot(key), dim)).transpose()
    };
    let decays = decays(&fields, value_heads, key_dim)?;
    let net = DeltaNet {
        key_heads,
        in_turn: fields.flag("in_turn")? && key_heads != value_heads,
        value_heads,
        key_dim,
        value_dim,
        taps,
        q: convolved("q", keys)?,
        k: convolved("k", keys)?,
        v: convolved("v", values)?,
        act: fields
            .optional("act")?
            .map(|n| activation(&n))
            .transpose()?,
        q_norm: head_norm("q_norm", key_dim)?,
        k_norm: head_norm("k_norm", key_dim)?,
        scale: fields
            .value("scale", Node::real)?
            .unwrap_or((key_dim as f64).powf(-0.5) as f32),
        decay: projection(
            &fields.required("decay")?,
            &at.slot("decay"),
            (decays, width),
        )?,
        rate: weight(
            &fields.required("rate")?,
            at.slot("rate"),
            vec![value_heads],
        )?,
        decay_bias: weight(
            &fields.required("decay_bias")?,
            at.slot("decay_bias"),
            vec![decays],
        )?,
        decay_lower: fields.value("decay_lower", Node::real)?,
        beta: linear(
            &fields.required("beta")?,
            &at.slot("beta"),
            value_heads,
            width,
        )?,
        beta_scale: fields.value("beta_scale", Node::real)?.unwrap_or(1.0),
        gate: fields
            .optional("gate")?
            .map(|n| projection(&n, &at.slot("gate"), (values, width)))
            .transpose()?,
        gate_act: fields
            .optional("gate_act")?
            .map_or(Ok(Activation::Silu), |n| activation(&n))?,
        norm: head_norm("norm", value_dim)?,
        o: linear(
            &fields.required("o")?,
            &at.slot("o"),
            at.around.hidden,
            values,
        )?,
    };
    Ok((StepOp::DeltaNet(Box::new(net)), at.around.hidden))
}

/// How many decays a token has: one for each head, or one for each component of its keys.
fn decays(fields: &Fields<'_, '_>, value_heads: usize, key_dim: usize) -> Read<usize> {
    let Some(node) = fields.optional("decay_over")? else {
        return Ok(value_heads);
    };
    match node.literal("`head` or `component`")? {
        "head" => Ok(value_heads),
        "component" => Ok(value_heads * key_dim),
        other => {
            let known = ["head", "component"].into_iter();
            Err(node.fault(unknown("extent of a decay", other, known)))
        }
    }
}

/// `{"weight": …, "bias": …, "conv": …}`.
fn convolved(
    at: &At<'_, '_, '_>,
    fields: &Fields<'_, '_>,
    key: &'static str,
    (out, inner): (usize, usize),
    taps: usize,
) -> Read<Convolved> {
    let own = fields.required(key)?.object(form::CONVOLVED)?;
    let bias = own.optional("bias")?;
    let slot = |part: &str| format!("{}.{part}", at.slot(key));
    Ok(Convolved {
        linear: Linear {
            weight: weight(&own.required("weight")?, slot("weight"), vec![out, inner])?,
            bias: bias
                .map(|n| weight(&n, slot("bias"), vec![out]))
                .transpose()?,
        },
        conv: row_by_row(&own.required("conv")?, slot("conv"), vec![out, taps])?,
    })
}

/// A matrix, or `{"rank", "a", "b"}` for the product of two.
fn projection(node: &Node<'_, '_>, slot: &str, (out, inner): (usize, usize)) -> Read<Projection> {
    if node.value.get("rank").is_none() {
        return Ok(Projection::Direct(linear(node, slot, out, inner)?));
    }
    let fields = node.object(form::LOW_RANK)?;
    let rank = fields.required("rank")?.whole(1, MAX_WIDTH)?;
    Ok(Projection::LowRank(LowRank {
        a: linear(&fields.required("a")?, &format!("{slot}_a"), rank, inner)?,
        b: linear(&fields.required("b")?, &format!("{slot}_b"), out, rank)?,
    }))
}
