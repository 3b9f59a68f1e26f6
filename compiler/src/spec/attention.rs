//! The step `attention`: grouped-query attention with its projections, and the parts that other mixers share with it.

use super::at::At;
use super::error::{Fault, Read, unknown};
use super::form;
use super::heads::{dividing, width_of};
use super::limits::{MAX_CONTEXT, MAX_HEADS};
use super::mlp::activation;
use super::model::{
    Activation, Attention, Gate, KeyValue, Made, PositionScale, Profiles, QkNorm, Reach, Relative,
    Rope, SourceLayer, StepOp, Weight,
};
use super::norm::norm;
use super::picked::picked;
use super::read::{Fields, Node};
use super::values::value;
use super::weights::{linear, row_by_row, weight};

/// Reads the step.
pub(super) fn attention(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let fields = at.fields()?;
    let width = at.width()?;
    let heads = fields.required("n_heads")?.whole(1, MAX_HEADS)?;
    let kv_heads = dividing(&fields, "n_kv_heads", ("n_heads", heads))?;
    let head_dim = fields.required("head_dim")?.whole(1, MAX_HEADS)?;
    let q_width = width_of(&at.node, heads, head_dim)?;
    let value_dim = fields
        .value("value_dim", |n| n.whole(1, MAX_HEADS))?
        .unwrap_or(head_dim);
    let out_width = width_of(&at.node, heads, value_dim)?;
    let (k_width, v_width) = (kv_heads * head_dim, kv_heads * value_dim);
    let matrix =
        |key: &'static str, out, inner| linear(&fields.required(key)?, &at.slot(key), out, inner);
    let reach = reach(&fields, at.around.context)?;
    let kv = match fields.value("share", |n| source(n))? {
        Some(source) => KeyValue::Shared(source),
        None => {
            let positions = reach.limit().unwrap_or(at.around.context);
            at.add_state([1, k_width + v_width, positions])?;
            match named(at, &fields, [k_width, v_width])? {
                Some([k, v]) => KeyValue::Named(k, v),
                None => KeyValue::Own(matrix("k", k_width, width)?, matrix("v", v_width, width)?),
            }
        }
    };
    let norms = fields.optional("qk_norm")?;
    let heads_of = |dim| [heads * dim, kv_heads * dim];
    let norms = norms.map(|n| qk_norm(&n, &at.name, [head_dim, value_dim], heads_of));
    let mut norms = norms.transpose()?;
    if let (KeyValue::Shared(_), Some(norms)) = (&kv, &mut norms) {
        // The layer that keeps keys and values has normed them.
        (norms.k, norms.v) = (None, None);
    }
    let attention = Attention {
        heads,
        kv_heads,
        head_dim,
        value_dim,
        value_scale: fields.value("value_scale", Node::real)?.unwrap_or(1.0),
        clip: fields.value("clip", Node::above_zero)?,
        q: matrix("q", q_width, width)?,
        kv,
        gate: gate(at, &fields, (heads, out_width), width)?,
        o: matrix("o", at.around.hidden, out_width)?,
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
        slopes: fields
            .optional("alibi")?
            .map(|n| alibi(&n, at.slot("slopes"), heads))
            .transpose()?,
        relative: fields
            .optional("relative")?
            .map(|n| relative(at, &n, heads, width))
            .transpose()?,
        position_scale: fields
            .optional("position_scale")?
            .map(|n| position_scale(&n))
            .transpose()?,
        picked: picked(at, &fields, kv_heads)?,
    };
    let by_distance = attention.slopes.is_some() || attention.relative.is_some();
    if attention.picked.is_some() && (reach != Reach::Full || by_distance) {
        let expected =
            "a step with either `picked` or one of `window`, `chunk`, `alibi` and `relative`";
        return Err(at.node.wrong(expected));
    }
    Ok((StepOp::Attention(Box::new(attention)), at.around.hidden))
}

/// `"gate": w, "gate_over": "component" | "head", "gate_act": "'sigmoid'"`.
pub(super) fn gate(
    at: &At<'_, '_, '_>,
    fields: &Fields<'_, '_>,
    (heads, out_width): (usize, usize),
    width: usize,
) -> Read<Option<Gate>> {
    let Some(node) = fields.optional("gate")? else {
        return Ok(None);
    };
    let over = fields.optional("gate_over")?;
    let rows = match over.as_ref().map(|n| n.literal("`component` or `head`")) {
        None => out_width,
        Some(name) => match name? {
            "component" => out_width,
            "head" => heads,
            other => {
                let known = ["component", "head"].into_iter();
                let node = over.unwrap_or(node);
                return Err(node.fault(unknown("extent of a gate", other, known)));
            }
        },
    };
    let act = fields.optional("gate_act")?;
    Ok(Some(Gate {
        linear: linear(&node, &at.slot("gate"), rows, width)?,
        act: act.map_or(Ok(Activation::Sigmoid), |n| activation(&n))?,
    }))
}

/// `{"most": 8}`: the slopes of all heads.
fn alibi(node: &Node<'_, '_>, slot: String, heads: usize) -> Read<Weight> {
    let most = node.object(form::ALIBI)?.value("most", Node::above_zero)?;
    let most = most.unwrap_or(8.0);
    Ok(Weight::made(slot, heads, Made::Slopes { most }))
}

/// `{"dim": 16, "extent": 1024, "r": w, "profiles": w}`.
fn relative(
    at: &At<'_, '_, '_>,
    node: &Node<'_, '_>,
    heads: usize,
    width: usize,
) -> Read<Relative> {
    let fields = node.object(form::RELATIVE)?;
    let size = Profiles {
        dim: fields.required("dim")?.whole(1, MAX_HEADS)?,
        extent: fields.required("extent")?.whole(1, MAX_CONTEXT)?,
    };
    let rows = width_of(node, heads, size.dim)?;
    let shape = vec![size.dim, size.extent];
    Ok(Relative {
        r: linear(&fields.required("r")?, &at.slot("r"), rows, width)?,
        profiles: row_by_row(&fields.required("profiles")?, at.slot("profiles"), shape)?,
        size,
    })
}

/// `"k": {"value": "keys"}, "v": {"value": "values"}`, both or neither.
fn named(
    at: &At<'_, '_, '_>,
    fields: &Fields<'_, '_>,
    widths: [usize; 2],
) -> Read<Option<[String; 2]>> {
    let name = |key: &'static str, width| {
        let node = fields.required(key)?;
        if node.value.get("value").is_none() {
            return Ok(None);
        }
        let node = node.object(form::NAMED)?.required("value")?;
        value(at, &node, width).map(Some)
    };
    match (name("k", widths[0])?, name("v", widths[1])?) {
        (Some(k), Some(v)) => Ok(Some([k, v])),
        (None, None) => Ok(None),
        (_, _) => Err(at
            .node
            .wrong("named values for both `k` and `v`, or matrices for both")),
    }
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

/// `{"scale": 0.1, "every": 8192, "offset": 1, "smooth": false}`.
fn position_scale(node: &Node<'_, '_>) -> Read<PositionScale> {
    let fields = node.object(form::POSITION_SCALE)?;
    Ok(PositionScale {
        scale: fields.required("scale")?.real()?,
        every: fields.required("every")?.above_zero()?,
        offset: fields
            .value("offset", |n| n.whole(0, MAX_CONTEXT))?
            .unwrap_or(0),
        smooth: fields.flag("smooth")?,
    })
}

/// `{"over": "head" | "heads" | "projection", "after_rope": false, "q": norm, "k": norm}`.
fn qk_norm(
    node: &Node<'_, '_>,
    slot: &str,
    [head_dim, value_dim]: [usize; 2],
    widths: impl Fn(usize) -> [usize; 2],
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
        |key: &'static str, node: &Node<'_, '_>, (head, projection): (usize, usize)| {
            let width = if is_shared { head } else { projection };
            let norm = norm(node, &format!("{slot}.{key}_norm"), width)?;
            match per_head && !is_shared && norm.unit_offset {
                true => Err(node
                    .wrong("a norm without `unit_offset`, where each head has a gain of its own")),
                false => Ok(norm),
            }
        };
    let [q_width, k_width] = widths(head_dim);
    let [_, v_width] = widths(value_dim);
    let maybe = |key, widths| {
        let node = fields.optional(key)?;
        node.map(|n| one(key, &n, widths)).transpose()
    };
    Ok(QkNorm {
        per_head,
        after_rope: fields.flag("after_rope")?,
        q: one("q", &fields.required("q")?, (head_dim, q_width))?,
        k: maybe("k", (head_dim, k_width))?,
        v: maybe("v", (value_dim, v_width))?,
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
