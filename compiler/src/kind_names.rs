//! What kinds of layers are called, for people: by their name in the spec or, where several share it, by what sets them apart.

use std::collections::BTreeSet;

use crate::spec::model::{Attention, KeyValue, Model, Reach, Step, StepOp};

/// A name for every kind of a model, in order, no two of them alike.
pub(crate) fn kind_names(model: &Model) -> Vec<String> {
    let kinds = &model.kinds;
    let name = |i: usize| {
        let family: Vec<usize> = (0..kinds.len())
            .filter(|k| family(&kinds[*k].name) == family(&kinds[i].name))
            .collect();
        match family.len() {
            1 => kinds[i].name.clone(),
            _ => named_apart(model, &family, i),
        }
    };
    (0..kinds.len()).map(name).collect()
}

/// `dense` for `dense.1`.
fn family(name: &str) -> &str {
    let is_number = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    match name.rsplit_once('.') {
        Some((family, number)) if is_number(number) => family,
        Some(_) | None => name,
    }
}

/// The name of a kind with what others of its family have otherwise; its name in dumps where that is nothing.
fn named_apart(model: &Model, kinds: &[usize], kind: usize) -> String {
    let traits: Vec<Vec<String>> = kinds.iter().map(|k| traits(model, *k)).collect();
    let differs = |t: &usize| traits.iter().any(|of| of[*t] != traits[0][*t]);
    let mut differing: Vec<usize> = (0..TRAITS).filter(differs).collect();
    // One that tells all of them apart is enough.
    let tells_all = |t: &usize| {
        let seen: BTreeSet<&str> = traits.iter().map(|of| of[*t].as_str()).collect();
        seen.len() == kinds.len() && !seen.contains("")
    };
    if let Some(enough) = differing.iter().copied().find(tells_all) {
        differing = vec![enough];
    }
    let told = |of: &Vec<String>| {
        let parts = differing.iter().map(|t| of[*t].as_str());
        let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        parts.join(", ")
    };
    let texts: Vec<String> = traits.iter().map(told).collect();
    let own = kinds.iter().position(|k| *k == kind);
    let own = own.map_or(String::new(), |i| texts[i].clone());
    let name = &model.kinds[kind].name;
    let is_alone = texts.iter().filter(|text| **text == own).count() == 1;
    match (is_alone, own.is_empty()) {
        (true, false) => format!("{} ({own})", family(name)),
        (false, false) => format!("{name} ({own})"),
        (_, true) => name.clone(),
    }
}

/// How many things kinds are told apart by.
const TRAITS: usize = 4;

/// What mixes positions and how far it reaches, rotations, whose keys it reads, and what it has of experts.
fn traits(model: &Model, kind: usize) -> Vec<String> {
    let steps: Vec<&Step> = model.kinds[kind].steps().collect();
    let told: Vec<[Option<String>; 2]> = steps.iter().map(|step| told(step)).collect();
    let attention = steps.iter().filter_map(|step| match &step.op {
        StepOp::Attention(a) => Some(&**a),
        _ => None,
    });
    let attention: Vec<&Attention> = attention.collect();
    let side = |i: usize| {
        let texts: Vec<&str> = told.iter().filter_map(|t| t[i].as_deref()).collect();
        texts.join(" and ")
    };
    let rotations: Vec<String> = attention.iter().map(|a| rotation(model, a)).collect();
    let keys: Vec<&str> = attention.iter().map(|a| keys(a)).collect();
    vec![side(0), rotations.join(" and "), keys.concat(), side(1)]
}

/// What a step mixes positions by, if it does, and what width or how many experts it has.
fn told(step: &Step) -> [Option<String>; 2] {
    match &step.op {
        StepOp::Attention(a) => {
            let reach = match a.reach {
                Reach::Full => "full attention".into(),
                Reach::Window(w) => format!("window of {w}"),
                Reach::Chunk(c) => format!("chunks of {c}"),
            };
            [Some(reach), None]
        }
        StepOp::LatentAttention(_) => [Some("latent attention".into()), None],
        StepOp::Index(_) => [Some("an index".into()), None],
        StepOp::DeltaNet(_) => [Some("delta rule".into()), None],
        StepOp::Recurrence(_) => [Some("recurrence".into()), None],
        StepOp::ShortConv(_) => [Some("convolution".into()), None],
        StepOp::Mlp(m) => [None, Some(format!("MLP of {}", m.up.weight.shape[0]))],
        StepOp::Moe(m) => [None, Some(format!("{} experts", m.experts))],
        StepOp::Embed { .. }
        | StepOp::PositionEmbed { .. }
        | StepOp::Sinusoids { .. }
        | StepOp::Norm(_)
        | StepOp::Linear(_)
        | StepOp::Pick
        | StepOp::Act(_)
        | StepOp::Add(_)
        | StepOp::Mul(_)
        | StepOp::WeightedSum { .. }
        | StepOp::MatchRms { .. }
        | StepOp::Scale(_)
        | StepOp::Softcap(_)
        | StepOp::Clamp { .. }
        | StepOp::Xielu(_)
        | StepOp::Decay(_)
        | StepOp::Concat(_) => [None, None],
    }
}

fn rotation(model: &Model, a: &Attention) -> String {
    match (a.rope, &a.slopes, &a.relative) {
        (None, Some(_), _) => "ALiBi".into(),
        (None, None, Some(r)) => format!("bias below {}", r.size.extent),
        (None, None, None) => "no RoPE".into(),
        (Some(rope), ..) => format!("θ = {}", model.ropes[rope].theta),
    }
}

fn keys(a: &Attention) -> &'static str {
    match a.kv {
        KeyValue::Own(..) | KeyValue::Named(..) => "",
        KeyValue::Shared(_) => "keys of an earlier layer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{SpecSource, load};

    fn names(spec: &str) -> Vec<String> {
        let spec = load(SpecSource::Builtin(spec)).unwrap();
        let config = spec.preset("tiny").unwrap();
        kind_names(&spec.bind(&config).unwrap())
    }

    #[test]
    fn kinds_are_told_apart_by_what_they_do() {
        assert_eq!(names("llama"), ["dense"]);
        assert_eq!(names("deepseek_v3"), ["dense", "sparse"]);
        assert_eq!(
            names("gemma2"),
            ["dense (window of 5)", "dense (full attention)"]
        );
        let all = names("qwen3_next");
        assert!(all.contains(&"sparse (delta rule)".into()), "{all:?}");
        assert!(all.contains(&"sparse (full attention)".into()), "{all:?}");
    }

    #[test]
    fn names_are_different_in_every_spec() {
        for spec in crate::spec::builtin_names() {
            let mut names = names(spec);
            names.sort();
            assert!(names.windows(2).all(|w| w[0] != w[1]), "{spec}: {names:?}");
        }
    }
}
