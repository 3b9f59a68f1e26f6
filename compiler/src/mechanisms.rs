//! What a model is made of, in words: its mechanisms one by one, so that two models can be set side by side.
//!
//! In: a bound model. Out: a line for each mechanism, built from the steps alone. Where layers differ, each variant is named with
//! the number of layers that have it.

mod experts;

use serde::Serialize;

use self::experts::{experts, limits, routing};
use crate::driver::Loaded;
use crate::kind_names::kind_names;
use crate::spec::model::{
    Attention, DeltaNet, Index, Item, KeyValue, LatentAttention, LatentQuery, Made, Mlp, Model,
    Norm, NormKind, Profiles, QkNorm, Reach, Recurrence, Rope, ShortConv, Step, StepOp,
};
use crate::units::counted;

/// One mechanism.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mechanism {
    /// What it is for: `attention`, `positions`.
    pub name: &'static str,
    /// What the model has.
    pub value: String,
}

/// What layers are described by, in order.
const PARTS: [&str; 5] = [
    "attention",
    "positions",
    "QK-norm",
    "feed-forward",
    "routing",
];

/// Every mechanism of a model.
pub fn mechanisms(loaded: &Loaded) -> Vec<Mechanism> {
    let model = &loaded.model;
    let mut out = vec![
        named("layers", layers(model)),
        named("order of steps", by_kind(model, |items| Some(order(items)))),
    ];
    for name in PARTS {
        let in_layer = |items: &[Item]| {
            let facts = steps(items).flat_map(|s| facts(model, s));
            let texts: Vec<_> = facts.filter(|f| f.0 == name).map(|f| f.1).collect();
            (!texts.is_empty()).then(|| joined(&texts))
        };
        let is_added = name == "positions" && embeds_positions(model);
        let elsewhere = is_added.then(|| String::from("added to the embedding"));
        let describe = |items: &[Item]| in_layer(items).or_else(|| elsewhere.clone());
        out.push(named(name, by_kind(model, describe)));
    }
    out.push(named("embedding", embedding(model)));
    out.push(named("head", head(loaded)));
    out
}

/// `a and 2 × b`, in the order in which they come first.
fn joined(texts: &[String]) -> String {
    let mut several: Vec<(&String, usize)> = vec![];
    for text in texts {
        match several.iter_mut().find(|(t, _)| *t == text) {
            Some((_, n)) => *n += 1,
            None => several.push((text, 1)),
        }
    }
    let each = several.into_iter().map(|(text, n)| match n {
        1 => text.clone(),
        n => format!("{n} × {text}"),
    });
    each.collect::<Vec<_>>().join(" and ")
}

fn named(name: &'static str, value: String) -> Mechanism {
    Mechanism { name, value }
}

fn steps(items: &[Item]) -> impl Iterator<Item = &Step> {
    items.iter().flat_map(Item::steps)
}

/// `3 × dense, 58 × sparse`; kinds with one name by what sets them apart: `3 × dense (window of 512), 1 × dense (full attention)`.
fn layers(model: &Model) -> String {
    let names = kind_names(model);
    let kinds = names.iter().enumerate();
    let text = kinds.map(|(i, name)| format!("{} × {name}", layers_of(model, i)));
    text.collect::<Vec<_>>().join(", ")
}

fn layers_of(model: &Model, kind: usize) -> usize {
    model.layers.iter().filter(|k| **k == kind).count()
}

/// What `describe` says of each kind of layer; kinds that agree are counted together.
fn by_kind(model: &Model, describe: impl Fn(&[Item]) -> Option<String>) -> String {
    let mut texts: Vec<(String, usize)> = vec![];
    for (i, kind) in model.kinds.iter().enumerate() {
        let text = describe(&kind.items).unwrap_or_else(|| "none".into());
        let n = layers_of(model, i);
        match texts.iter_mut().find(|(t, _)| *t == text) {
            Some((_, layers)) => *layers += n,
            None => texts.push((text, n)),
        }
    }
    match texts.as_slice() {
        [(text, _)] => text.clone(),
        several => {
            let each = several
                .iter()
                .map(|(t, n)| format!("{}: {t}", counted(*n, "layer")));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

/// `h + attention(RMSNorm), h + mlp(RMSNorm)`: residual branches with their steps in order.
fn order(items: &[Item]) -> String {
    let chain = |steps: &[Step]| steps.iter().map(short).collect::<Vec<_>>().join(" → ");
    let item = |item: &Item| match item {
        Item::Plain(steps) => chain(steps),
        Item::Residual { before, branches } => {
            let branches: Vec<_> = branches.iter().map(|b| format!("({})", chain(b))).collect();
            let sum = format!("+ {}", branches.join(" + "));
            match before.is_empty() {
                true => sum,
                false => format!("{} → {sum}", chain(before)),
            }
        }
    };
    items.iter().map(item).collect::<Vec<_>>().join(", ")
}

fn short(step: &Step) -> String {
    match &step.op {
        StepOp::Norm(n) => norm(n),
        StepOp::Scale(c) => format!("× {c}"),
        StepOp::Softcap(c) => format!("soft-cap {c}"),
        StepOp::Clamp { least, most } => format!("clamp to {least} … {most}"),
        StepOp::Xielu(_) => "xIELU".into(),
        StepOp::Concat(value) => format!("beside {value}"),
        StepOp::Embed { .. }
        | StepOp::PositionEmbed { .. }
        | StepOp::Sinusoids { .. }
        | StepOp::Linear(_)
        | StepOp::Pick
        | StepOp::Act(_)
        | StepOp::Add(_)
        | StepOp::Mul(_)
        | StepOp::WeightedSum { .. }
        | StepOp::MatchRms { .. }
        | StepOp::Attention(_)
        | StepOp::LatentAttention(_)
        | StepOp::Index(_)
        | StepOp::DeltaNet(_)
        | StepOp::ShortConv(_)
        | StepOp::Decay(_)
        | StepOp::Recurrence(_)
        | StepOp::Mlp(_)
        | StepOp::Moe(_) => step.name.clone(),
    }
}

fn norm(n: &Norm) -> String {
    let kind = match n.kind {
        NormKind::Rms => "RMSNorm",
        NormKind::Layer => "LayerNorm",
        NormKind::L2 => "L2 norm",
    };
    let bare = if n.gain.is_none() {
        " without gain"
    } else {
        ""
    };
    let offset = if n.unit_offset { " (1 + gain)" } else { "" };
    format!("{kind}{bare}{offset}")
}

/// What a step adds to each part.
fn facts(model: &Model, step: &Step) -> Vec<(&'static str, String)> {
    let mut out = vec![];
    match &step.op {
        StepOp::Attention(a) => {
            out.push(("attention", grouped(a)));
            out.extend(
                a.rope
                    .map(|r| ("positions", rotary(&model.ropes[r], a.head_dim))),
            );
            let norm = a.qk_norm.as_ref();
            let norm = norm.map(|n| qk_norm(n, a.head_dim, a.rope.is_some()));
            out.extend(norm.map(|text| ("QK-norm", text)));
        }
        StepOp::LatentAttention(a) => {
            out.push(("attention", latent(a)));
            out.extend(
                a.rope
                    .map(|r| ("positions", rotary(&model.ropes[r], a.head_dim()))),
            );
        }
        StepOp::Index(i) => out.push(("attention", index(i))),
        StepOp::DeltaNet(d) => {
            out.push(("attention", delta(d)));
            out.extend(
                d.k_norm
                    .as_ref()
                    .map(|n| ("QK-norm", format!("{} over each head", norm(n)))),
            );
        }
        StepOp::ShortConv(c) => out.push(("convolution", convolution(c))),
        StepOp::Recurrence(r) => out.push(("attention", recurrence(r))),
        StepOp::Mlp(m) => out.push(("feed-forward", mlp(m))),
        StepOp::Moe(m) => {
            out.push(("feed-forward", experts(m)));
            out.push(("routing", routing(m)));
        }
        StepOp::Embed { .. }
        | StepOp::PositionEmbed { .. }
        | StepOp::Sinusoids { .. }
        | StepOp::Norm(_)
        | StepOp::Linear(_)
        | StepOp::Scale(_)
        | StepOp::Decay(_)
        | StepOp::Pick
        | StepOp::Act(_)
        | StepOp::Add(_)
        | StepOp::Mul(_)
        | StepOp::WeightedSum { .. }
        | StepOp::MatchRms { .. }
        | StepOp::Softcap(_)
        | StepOp::Concat(_)
        | StepOp::Clamp { .. }
        | StepOp::Xielu(_) => {}
    }
    out
}

fn grouped(a: &Attention) -> String {
    let kind = match (a.kv_heads, a.heads) {
        (1, _) => "multi-query".to_string(),
        (kv, heads) if kv == heads => "multi-head".into(),
        (kv, _) => format!("grouped-query, {kv} key heads"),
    };
    let mut out = format!("{kind}, {} of {}", counted(a.heads, "head"), a.head_dim);
    match a.reach {
        Reach::Full => {}
        Reach::Window(w) => out += &format!(", window of {w}"),
        Reach::Chunk(c) => out += &format!(", chunks of {c}"),
    }
    if let Some(c) = a.softcap {
        out += &format!(", scores soft-capped at {c}");
    }
    if a.sinks.is_some() {
        out += ", sinks";
    }
    if a.picked.is_some() {
        out += ", to picked positions";
    }
    if a.value_dim != a.head_dim {
        out += &format!(", values of {}", a.value_dim);
    }
    if a.value_scale != 1.0 {
        out += &format!(", values × {}", a.value_scale);
    }
    if let Some(Made::Slopes { most }) = a.slopes.as_ref().and_then(|w| w.made) {
        out += &format!(", ALiBi (exponents up to {most})");
    }
    if let Some(r) = &a.relative {
        let Profiles { dim, extent } = r.size;
        out += &format!(", a learned bias for distances below {extent}, of {dim} profiles");
    }
    if let Some(c) = a.clip {
        out += &format!(", queries, keys and values clipped at {c}");
    }
    if let Some(gate) = &a.gate {
        let each = match gate.linear.weight.shape[0] == a.heads {
            true => "each head",
            false => "output",
        };
        out += &format!(", {each} gated by {}", gate.act.name());
    }
    if let Some(p) = a.position_scale {
        out += &format!(", queries scaled by position from {} on", p.every);
    }
    let mut projections = vec![(&a.q, "q"), (&a.o, "o")];
    match &a.kv {
        KeyValue::Own(k, v) => projections
            .splice(1..1, [(k, "k"), (v, "v")])
            .for_each(drop),
        KeyValue::Named(..) => out += ", keys and values of steps before",
        KeyValue::Shared(_) => out += ", keys and values of an earlier layer",
    }
    let biases: Vec<_> = projections
        .iter()
        .filter(|(l, _)| l.bias.is_some())
        .map(|b| b.1)
        .collect();
    match biases.is_empty() {
        true => out,
        false => format!("{out}, biases of {}", biases.join(", ")),
    }
}

fn latent(a: &LatentAttention) -> String {
    let q = match &a.q {
        LatentQuery::Direct(_) => String::new(),
        LatentQuery::Compressed { a, .. } => format!(", query rank {}", a.weight.shape[0]),
    };
    let picked = a.picked.as_ref().map_or("", |_| ", to picked positions");
    let scale = match a.latent_scale {
        1.0 => String::new(),
        by => format!(" × {by}"),
    };
    format!(
        "multi-head latent, {} of {} + {}, values of {}, latent of {}{scale}{q}{picked}",
        counted(a.heads, "head"),
        a.nope_dim,
        a.rope_dim,
        a.value_dim,
        a.rank
    )
}

fn index(i: &Index) -> String {
    let l = i.listing;
    let what = match (l.block, l.sets) {
        (1, _) => format!("{} positions", l.count),
        (block, 1) => format!("{} blocks of {block} positions", l.count),
        (block, _) => format!("{} blocks of {block} positions for each key head", l.count),
    };
    format!(
        "an index that picks {what}, {} of {}",
        counted(i.heads, "head"),
        i.dim
    )
}

fn delta(d: &DeltaNet) -> String {
    let decay = match d.decay_bias.shape[0] == d.value_heads {
        true => "head",
        false => "component",
    };
    let gate = match d.gate {
        Some(_) => format!(", output gated by {}", d.gate_act.name()),
        None => String::new(),
    };
    format!(
        "gated delta rule, {} of {} × {}, {}, a decay for each {decay}, convolution over {}{gate}",
        counted(d.value_heads, "head"),
        d.key_dim,
        d.value_dim,
        counted(d.key_heads, "key head"),
        d.taps
    )
}

fn convolution(c: &ShortConv) -> String {
    let act = c.act.map_or(String::new(), |a| format!(", {}", a.name()));
    format!(
        "of {} channels over {} positions{act}",
        c.weight.shape[0], c.taps
    )
}

fn recurrence(r: &Recurrence) -> String {
    let kind = match r.corrects {
        true => "delta rule",
        false => "linear recurrence",
    };
    format!(
        "{kind}, {} of {} × {}, {}",
        counted(r.heads, "head"),
        r.key_dim,
        r.value_dim,
        counted(r.key_heads, "key head")
    )
}

fn rotary(rope: &Rope, head_dim: usize) -> String {
    let pairs = if rope.interleaved {
        "interleaved"
    } else {
        "rotate-half"
    };
    let way = match rope.freqs.first() {
        Some(first) if *first < 0.0 => ", backwards",
        Some(_) | None => "",
    };
    let part = match rope.rotary_dim() {
        all if all == head_dim => String::new(),
        part => format!(" on {part} of {head_dim} components"),
    };
    let scaling = rope.scaling.as_ref();
    let scaling = scaling.map_or(String::new(), |rule| format!(", {rule} scaling"));
    format!("RoPE{part}, θ = {}{scaling}, {pairs}{way}", rope.theta)
}

fn qk_norm(n: &QkNorm, head_dim: usize, has_rope: bool) -> String {
    let gains = n.k.iter().filter_map(|k| k.gain.as_ref()).chain(&n.q.gain);
    let over = match (n.per_head, gains.map(|g| g.shape[0]).max() > Some(head_dim)) {
        (true, false) => "each head",
        (true, true) => "each head, which has a gain of its own",
        (false, _) => "the whole projection",
    };
    let place = match (has_rope, n.after_rope) {
        (false, _) => "",
        (true, true) => ", after RoPE",
        (true, false) => ", before RoPE",
    };
    format!("{} over {over}{place}", norm(&n.q))
}

fn mlp(m: &Mlp) -> String {
    let gated = if m.gate.is_some() { "gated " } else { "" };
    let bias = if m.up.bias.is_some() { ", biases" } else { "" };
    format!(
        "{gated}{}{}, width {}{bias}",
        m.act.name(),
        limits(m.gating.as_ref()),
        m.up.weight.shape[0]
    )
}

fn embeds_positions(model: &Model) -> bool {
    let adds = |s: &Step| {
        matches!(
            s.op,
            StepOp::PositionEmbed { .. } | StepOp::Sinusoids { .. }
        )
    };
    model.embed.iter().any(adds)
}

fn embedding(model: &Model) -> String {
    let text = |s: &Step| match &s.op {
        StepOp::Embed { scale, .. } if *scale != 1.0 => format!("tokens × {scale}"),
        StepOp::Embed { .. } => "tokens".into(),
        StepOp::PositionEmbed { table, .. } => format!("{} learned positions", table.shape[0]),
        StepOp::Sinusoids { .. } => "sinusoids of the position".into(),
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
        | StepOp::Attention(_)
        | StepOp::LatentAttention(_)
        | StepOp::Index(_)
        | StepOp::DeltaNet(_)
        | StepOp::ShortConv(_)
        | StepOp::Decay(_)
        | StepOp::Recurrence(_)
        | StepOp::Mlp(_)
        | StepOp::Moe(_) => short(s),
    };
    model.embed.iter().map(text).collect::<Vec<_>>().join(" → ")
}

fn head(loaded: &Loaded) -> String {
    let steps: Vec<_> = loaded.model.head.iter().map(short).collect();
    let tied = match is_tied(loaded) {
        true => ", tied to the embedding",
        false => "",
    };
    steps.join(" → ") + tied
}

/// Whether the head reads the embedding's table.
pub(crate) fn is_tied(loaded: &Loaded) -> bool {
    let weights = &loaded.weights;
    let is_embedding = |tensor| weights.embed.iter().any(|e| e.tensor == tensor);
    weights.head.iter().any(|h| is_embedding(h.tensor))
}
