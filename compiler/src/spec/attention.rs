//! The step `attention`: grouped-query attention with its projections, and the parts that other mixers share with it.

use super::at::At;
use super::error::{Fault, Read, unknown};
use super::form;
use super::heads::{dividing, width_of};
use super::limits::{MAX_CONTEXT, MAX_HEADS};
use super::model::{Attention, KeyValue, PositionScale, QkNorm, Reach, Rope, SourceLayer, StepOp};
use super::norm::norm;
use super::read::{Fields, Node};
use super::weights::{linear, weight};

/// Reads the step.
pub(super) fn attention(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let fields = at.fields()?;
    let width = at.width()?;
    let heads = fields.required("n_heads")?.whole(1, MAX_HEADS)?;
    let kv_heads = dividing(&fields, "n_kv_heads", ("n_heads", heads))?;
    let head_dim = fields.required("head_dim")?.whole(1, MAX_HEADS)?;
    let q_width = width_of(&at.node, heads, head_dim)?;
    let kv_width = kv_heads * head_dim;
    let matrix =
        |key: &'static str, out, inner| linear(&fields.required(key)?, &at.slot(key), out, inner);
    let reach = reach(&fields, at.around.context)?;
    let kv = match fields.value("share", |n| source(n))? {
        Some(source) => KeyValue::Shared(source),
        None => {
            let positions = reach.limit().unwrap_or(at.around.context);
            at.add_state([2, kv_width, positions])?;
            KeyValue::Own(matrix("k", kv_width, width)?, matrix("v", kv_width, width)?)
        }
    };
    let norms = fields.optional("qk_norm")?;
    let norms = norms.map(|n| qk_norm(&n, &at.name, head_dim, (q_width, kv_width)));
    let mut norms = norms.transpose()?;
    if let (KeyValue::Shared(_), Some(norms)) = (&kv, &mut norms) {
        // The layer that keeps keys and values has normed them.
        (norms.k, norms.v) = (None, None);
    }
    let attention = Attention {
        heads,
        kv_heads,
        head_dim,
        q: matrix("q", q_width, width)?,
        kv,
        gate: fields
            .optional("gate")?
            .map(|n| linear(&n, &at.slot("gate"), q_width, width))
            .transpose()?,
        o: matrix("o", at.around.hidden, q_width)?,
        qk_norm: norms,
        rope: fields
            .optional("rope")?
            .map(|n| rope(&n, at.around.ropes, head_dim))
            .transpose()?,
        scale: fields
            .value("scale", Node::real)?
            .unwrap_or((head_dim as f64).powf(-0.5) as f32),
        softcap: fields.value("softcap", Node::above_zero)?,
        reach,
        sinks: fields
            .optional("sinks")?
            .map(|n| weight(&n, at.slot("sinks"), vec![heads]))
            .transpose()?,
        position_scale: fields
            .optional("position_scale")?
            .map(|n| position_scale(&n))
            .transpose()?,
    };
    Ok((StepOp::Attention(Box::new(attention)), at.around.hidden))
}

/// An earlier layer than this one.
fn source(node: &Node<'_, '_>) -> Read<SourceLayer> {
    let layer = node.names.layer.map_or(0, |l| l.index);
    match layer.checked_sub(1) {
        Some(most) => node.whole(0, most).map(SourceLayer),
        None => Err(node.unexpected(&*node.eval()?, "null: the first layer has none before it")),
    }
}

/// `window` or `chunk`; one that holds the whole context does not limit anything.
fn reach(fields: &Fields<'_, '_>, context: usize) -> Read<Reach> {
    let size = |key| fields.value(key, |n| n.whole(1, MAX_CONTEXT));
    let within = |n: &usize| *n < context;
    match (size("window")?, size("chunk")?) {
        (Some(_), Some(_)) => Err(fields.node.wrong("one of `window` and `chunk`, not both")),
        (window, None) => Ok(window.filter(within).map_or(Reach::Full, Reach::Window)),
        (None, chunk) => Ok(chunk.filter(within).map_or(Reach::Full, Reach::Chunk)),
    }
}

/// `{"scale": 0.1, "every": 8192, "offset": 1}`.
fn position_scale(node: &Node<'_, '_>) -> Read<PositionScale> {
    let fields = node.object(form::POSITION_SCALE)?;
    Ok(PositionScale {
        scale: fields.required("scale")?.real()?,
        every: fields.required("every")?.above_zero()?,
        offset: fields
            .value("offset", |n| n.whole(0, MAX_CONTEXT))?
            .unwrap_or(0),
    })
}

/// `{"over": "head" | "heads" | "projection", "after_rope": false, "q": norm, "k": norm}`.
fn qk_norm(
    node: &Node<'_, '_>,
    slot: &str,
    head_dim: usize,
    widths: (usize, usize),
) -> Read<QkNorm> {
    let fields = node.object(form::QK_NORM)?;
    let over = fields.required("over")?;
    let (per_head, is_shared) = match over.literal("`head`, `heads` or `projection`")? {
        "head" => (true, true),
        "heads" => (true, false),
        "projection" => (false, false),
        other => {
            return Err(over.fault(unknown(
                "extent of a norm",
                other,
                ["head", "heads", "projection"].into_iter(),
            )));
        }
    };
    let one =
        |key: &'static str, node: &Node<'_, '_>, projection: usize| {
            let width = if is_shared { head_dim } else { projection };
            let norm = norm(node, &format!("{slot}.{key}_norm"), width)?;
            match per_head && !is_shared && norm.unit_offset {
                true => Err(node
                    .wrong("a norm without `unit_offset`, where each head has a gain of its own")),
                false => Ok(norm),
            }
        };
    let maybe = |key| {
        let node = fields.optional(key)?;
        node.map(|n| one(key, &n, widths.1)).transpose()
    };
    Ok(QkNorm {
        per_head,
        after_rope: fields.flag("after_rope")?,
        q: one("q", &fields.required("q")?, widths.0)?,
        k: maybe("k")?,
        v: maybe("v")?,
    })
}

/// The name of a rope, or `{"name": …, "if": …}`; gives its index.
pub(super) fn rope(node: &Node<'_, '_>, ropes: &[Rope], head_dim: usize) -> Read<usize> {
    let name = match node.value.is_object() {
        true => node.object(form::NAME)?.required("name")?,
        false => node.clone(),
    };
    let text = name.literal("the name of one of `ropes`")?;
    let found = ropes.iter().position(|r| r.name == text);
    let index = found
        .ok_or_else(|| name.fault(unknown("rope", text, ropes.iter().map(|r| r.name.as_str()))))?;
    let rotary = ropes[index].rotary_dim();
    if rotary > head_dim {
        let found = format!("a rope over {rotary} components");
        return Err(name.fault(Fault::Range {
            found,
            expected: format!("at most head_dim = {head_dim}"),
        }));
    }
    Ok(index)
}
