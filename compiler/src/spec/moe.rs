//! The step `moe`: a router, families of expert matrices, and experts that every token visits.
//!
//! ```text
//! { "op": "moe", "experts": n, "identity": 0, "top_k": k, "ffn": n, "act": name,
//!   "router": { "from": name, "weight": w, "bias": w, "score": name, "after": false, "correction": w,
//!               "groups": { "count": n, "top": n, "best": n }, "renormalise": eps, "scale": 1.0, "softcap": n, "expert_scale": w,
//!               "near": n, "always": 0, "listed": w },
//!   "gate": w, "up": w, "down": w, "pairs": w, "weigh": "output" | "input",
//!   "out": n, "gating": { "alpha": 1.0, "limit": null, "after": false, "offset": 0.0 },
//!   "shared": { "ffn": n, "gate": w, "up": w, "down": w, "weigh": w } }
//! ```
//!
//! `pairs` stands for a gate and an up whose rows alternate in one matrix.

use super::at::At;
use super::error::{Fault, Read, unknown};
use super::form;
use super::limits::MAX_WIDTH;
use super::mlp::{activation, gating, mlp};
use super::model::{
    Activation, Gating, Groups, Inner, Linear, Mlp, Moe, Route, Score, StepOp, Weight,
};
use super::read::{Fields, Node};
use super::tables;
use super::weights::{expert_linear, linear, row_by_row, weight};

/// Most experts of a layer.
const MAX_EXPERTS: usize = 1 << 16;

/// Reads the step.
pub(super) fn moe(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let fields = at.fields()?;
    let width = at.width()?;
    let out_node = fields.optional("out")?;
    let out = out_node
        .as_ref()
        .map_or(Ok(at.around.hidden), |n| n.whole(1, MAX_WIDTH))?;
    let experts = fields.required("experts")?.whole(1, MAX_EXPERTS)?;
    let identity_node = fields.optional("identity")?;
    let identity = identity_node
        .as_ref()
        .map_or(Ok(0), |n| n.whole(0, MAX_EXPERTS))?;
    let all = experts + identity;
    let chosen = fields.required("top_k")?.whole(1, all)?;
    let ffn = fields.required("ffn")?.whole(1, MAX_WIDTH)?;
    let act = activation(&fields.required("act")?)?;
    let node = fields.required("router")?;
    let router = node.object(form::ROUTER)?;
    let always = always(&router, [experts, identity, chosen])?;
    let top_k = chosen + always;
    let shared = fields.optional("shared")?;
    let each = |key: &'static str, n| {
        let slot = at.slot(&format!("router.{key}"));
        let node = router.optional(key)?;
        node.map(|node| weight(&node, slot, vec![n])).transpose()
    };
    let (routed_by, router_width) = match router.optional("from")? {
        Some(node) => {
            let name = node.literal("the name of a value")?;
            let width = at.seen.width(name).map_err(|f| node.fault(f))?;
            (Some(name.to_string()), width)
        }
        None => (None, width),
    };
    let (shared, shared_gate) = match shared {
        Some(node) => self::shared(&node, at, width, act)?,
        None => (None, None),
    };
    let moe = Moe {
        experts,
        identity,
        top_k,
        softcap: router.value("softcap", Node::above_zero)?,
        router: scores(&router, &at.slot("router"), all, router_width)?,
        routed_by,
        route: route(&node, &router, all, [top_k, always])?,
        listed: listed(at, &router, top_k)?,
        correction: each("correction", all - always)?,
        expert_scale: each("expert_scale", all)?,
        weigh_input: weigh_input(&fields)?,
        inner: inner(&fields, &at.name, [ffn, width, experts])?,
        down: expert_linear(
            &fields.required("down")?,
            &at.slot("down"),
            out,
            ffn,
            experts,
        )?,
        gating: gating(&fields, act)?.unwrap_or(Gating::plain(act)),
        shared,
        shared_gate,
    };
    if let Some(node) = identity_node.filter(|_| identity > 0 && out != width) {
        return Err(node.fault(Fault::Range {
            found: format!("{identity}, of experts from {width} components to {out}"),
            expected: "as many components as come in, or no `identity`".into(),
        }));
    }
    if let Some(node) = out_node.filter(|_| moe.shared.is_some() && out != at.around.hidden) {
        let found = format!("{out}, beside a shared expert");
        return Err(node.fault(Fault::Range {
            found,
            expected: format!("hidden = {}, or no `shared`", at.around.hidden),
        }));
    }
    Ok((StepOp::Moe(Box::new(moe)), out))
}

/// The router's matrix, `[experts, width]`.
fn scores(fields: &Fields<'_, '_>, slot: &str, experts: usize, width: usize) -> Read<Linear> {
    let bias = fields.optional("bias")?;
    Ok(Linear {
        weight: weight(
            &fields.required("weight")?,
            format!("{slot}.weight"),
            vec![experts, width],
        )?,
        bias: bias
            .map(|n| weight(&n, format!("{slot}.bias"), vec![experts]))
            .transpose()?,
    })
}

fn route(
    node: &Node<'_, '_>,
    fields: &Fields<'_, '_>,
    experts: usize,
    [top_k, always]: [usize; 2],
) -> Read<Route> {
    let node_of_score = fields.required("score")?;
    let value = node_of_score.eval()?;
    let name = value
        .as_str()
        .ok_or_else(|| node_of_score.unexpected(&value, "the name of a scoring function"))?;
    let score = tables::score(name).map_err(|f| node_of_score.fault(f))?;
    let groups = fields
        .optional("groups")?
        .map(|n| groups(&n, experts))
        .transpose()?
        .filter(|g| g.top < g.count);
    if let Some(g) = groups.filter(|g| g.top * (experts / g.count) < top_k) {
        let found = format!("{} groups of {} experts", g.top, experts / g.count);
        return Err(node.fault(Fault::Range {
            found,
            expected: format!("room for top_k = {top_k} experts"),
        }));
    }
    let near = fields.value("near", Node::above_zero)?;
    let route = Route {
        experts,
        top_k,
        always,
        score,
        after: fields.flag("after")?,
        correction: fields.optional("correction")?.is_some(),
        groups,
        listed: fields.optional("listed")?.is_some(),
        renormalise: fields.value("renormalise", Node::real)?,
        scale: fields.value("scale", Node::real)?.unwrap_or(1.0),
        expert_scale: fields.optional("expert_scale")?.is_some(),
        near,
    };
    let chooses = route.correction || route.groups.is_some() || near.is_some() || always > 0;
    if route.listed && chooses {
        let expected = "a router with `listed` and none of `correction`, `groups`, `near` and `always`: it does not choose";
        return Err(node.wrong(expected));
    }
    if always > 0 && (route.groups.is_some() || near.is_some()) {
        return Err(node.wrong("a router with `always` and neither `groups` nor `near`"));
    }
    let simple = route.score == Score::Softmax && !route.after && !route.correction;
    match near.is_none() || simple && route.groups.is_none() {
        true => Ok(route),
        false => Err(node.wrong(
            "a router with `near` whose score is 'softmax', without `after`, `correction` and `groups`",
        )),
    }
}

/// How many of the experts take part for every token, beside those that are chosen of the others.
fn always(fields: &Fields<'_, '_>, [experts, identity, chosen]: [usize; 3]) -> Read<usize> {
    let Some(node) = fields.optional("always")? else {
        return Ok(0);
    };
    let always = node.whole(0, experts.saturating_sub(chosen))?;
    match always > 0 && identity > 0 {
        true => Err(node
            .wrong("0, beside `identity`: the last experts are those that give back their input")),
        false => Ok(always),
    }
}

/// The table of a router that does not choose: the experts of each token, by its id.
fn listed(at: &At<'_, '_, '_>, fields: &Fields<'_, '_>, top_k: usize) -> Read<Option<Weight>> {
    let Some(node) = fields.optional("listed")? else {
        return Ok(None);
    };
    let shape = vec![at.around.vocab, top_k];
    row_by_row(&node, at.slot("router.listed"), shape).map(Some)
}

fn groups(node: &Node<'_, '_>, experts: usize) -> Read<Groups> {
    let fields = node.object(form::GROUPS)?;
    let count_node = fields.required("count")?;
    let count = count_node.whole(1, experts)?;
    if !experts.is_multiple_of(count) {
        return Err(count_node.fault(Fault::NotADivisor {
            value: count,
            name: "experts",
            of: experts,
        }));
    }
    Ok(Groups {
        count,
        top: fields.required("top")?.whole(1, count)?,
        best: fields.required("best")?.whole(1, experts / count)?,
    })
}

/// Gate and up, up alone, or both as pairs of rows; `[ffn, width, experts]`.
fn inner(fields: &Fields<'_, '_>, name: &str, [ffn, width, experts]: [usize; 3]) -> Read<Inner> {
    let matrix = |node: &Node<'_, '_>, key: &str, out| {
        expert_linear(node, &format!("{name}.{key}"), out, width, experts)
    };
    if let Some(pairs) = fields.optional("pairs")? {
        return Ok(Inner::Paired(matrix(&pairs, "pairs", 2 * ffn)?));
    }
    let up = matrix(&fields.required("up")?, "up", ffn)?;
    Ok(match fields.optional("gate")? {
        Some(gate) => Inner::Gated(matrix(&gate, "gate", ffn)?, up),
        None => Inner::Plain(up),
    })
}

fn weigh_input(fields: &Fields<'_, '_>) -> Read<bool> {
    let Some(node) = fields.optional("weigh")? else {
        return Ok(false);
    };
    match node.literal("`input` or `output`")? {
        "input" => Ok(true),
        "output" => Ok(false),
        other => Err(node.fault(unknown(
            "place of the weights",
            other,
            ["input", "output"].into_iter(),
        ))),
    }
}

type Shared = (Option<Mlp>, Option<Linear>);

fn shared(node: &Node<'_, '_>, at: &At<'_, '_, '_>, width: usize, act: Activation) -> Read<Shared> {
    let fields = node.object(form::SHARED)?;
    let slot = at.slot("shared");
    let mlp = mlp(&fields, &slot, at.around.hidden, width, Some(act))?;
    let gate = fields
        .optional("weigh")?
        .map(|n| linear(&n, &format!("{slot}.weigh"), 1, width))
        .transpose()?;
    Ok((Some(mlp), gate))
}
