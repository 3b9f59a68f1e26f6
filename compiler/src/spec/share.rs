//! `share`: a layer that reads an earlier layer's keys and values has none of its own, and reads what is there.

use super::error::{Fault, Located, Read};
use super::model::{Attention, KeyValue, LayerKind, Step, StepOp};

/// The layers before one.
#[derive(Clone, Copy)]
pub(super) struct Earlier<'l> {
    /// Distinct ones.
    pub(super) kinds: &'l [LayerKind],
    /// The kind of each.
    pub(super) layers: &'l [usize],
    /// The layer whose state each shares, where it does.
    pub(super) sources: &'l [Option<usize>],
}

/// The layer whose state `layer` shares, if any: all of its state, and declared as there.
pub(super) fn source(layer: &LayerKind, earlier: Earlier<'_>) -> Read<Option<usize>> {
    let path = &format!("layers.{}", layer.name);
    let shared = layer.steps().find_map(|s| Some((s, shared_by(s)?)));
    let Some((first, source)) = shared else {
        return Ok(None);
    };
    if earlier.sources[source].is_some() {
        let found = format!("layer {source}, which shares another's itself");
        let expected = "a layer with keys and values of its own".into();
        return Err(at(path, first, Fault::Range { found, expected }));
    }
    let kept = kept_by(&earlier.kinds[earlier.layers[source]]);
    let stateful = layer.steps().filter(|s| keeps_state(s));
    for (index, step) in stateful.enumerate() {
        if shared_by(step) != Some(source) {
            let found = format!(
                "state of its own, or another layer's, beside `{}`, which shares layer {source}'s",
                first.name
            );
            let expected = "all of a layer's steps with state to share one layer's, or none".into();
            let place = format!("{path}.{}", step.name);
            return Err(Fault::Range { found, expected }.at(&place));
        }
        let StepOp::Attention(ours) = &step.op else {
            continue;
        };
        fits(ours, kept.get(index), source, index)
            .map_err(|(found, expected)| at(path, step, Fault::Range { found, expected }))?;
    }
    Ok(Some(source))
}

fn at(path: &str, step: &Step, fault: Fault) -> Located {
    fault.at(&format!("{path}.{}.share", step.name))
}

/// The layer whose keys and values a step reads, where they are not its own.
fn shared_by(step: &Step) -> Option<usize> {
    match &step.op {
        StepOp::Attention(a) => match a.kv {
            KeyValue::Shared(source) => Some(source.0),
            KeyValue::Own(..) | KeyValue::Named(..) => None,
        },
        _ => None,
    }
}

fn keeps_state(step: &Step) -> bool {
    matches!(
        step.op,
        StepOp::Attention(_)
            | StepOp::LatentAttention(_)
            | StepOp::Index(_)
            | StepOp::DeltaNet(_)
            | StepOp::ShortConv(_)
            | StepOp::Recurrence(_)
    )
}

/// Keys and values that a layer keeps, in order: those of attention, or latents.
fn kept_by(layer: &LayerKind) -> Vec<Option<&Attention>> {
    let of = |step: &'_ Step| matches!(step.op, StepOp::Attention(_) | StepOp::LatentAttention(_));
    let steps = layer.steps().filter(|s| of(s));
    steps
        .map(|s| match &s.op {
            StepOp::Attention(a) => Some(a.as_ref()),
            _ => None,
        })
        .collect()
}

/// Whether the keys and values of a layer are those that an attention step reads; what is found there and expected.
fn fits(
    ours: &Attention,
    theirs: Option<&Option<&Attention>>,
    source: usize,
    index: usize,
) -> Result<(), (String, String)> {
    let described = |a: &Attention| {
        let heads = format!("{} of {}", a.kv_heads, a.head_dim);
        match a.reach.limit() {
            None => format!("key heads {heads} for all positions"),
            Some(n) => format!("key heads {heads} for the last {n} positions"),
        }
    };
    let form = |a: &Attention| (a.kv_heads, a.head_dim, a.reach.limit());
    let found = match theirs {
        Some(Some(theirs)) if form(theirs) == form(ours) => return Ok(()),
        Some(Some(theirs)) => format!("layer {source}, which keeps {}", described(theirs)),
        Some(None) => format!("layer {source}, which keeps latents"),
        None if index == 0 => format!("layer {source}, which keeps no keys and values"),
        None => format!("layer {source}, which keeps the keys and values of {index} steps"),
    };
    Err((found, format!("one that keeps {}", described(ours))))
}
