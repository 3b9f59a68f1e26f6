//! The figures most asked for: tokens per second of one prompt and of one generation, fused and unfused.

use super::record::{Headline, Phase, PointReport, Speeds, VariantReport};
use super::stats::median;

impl Headline {
    /// Of the first prefill point and the first decode point.
    pub fn of(points: &[PointReport]) -> Headline {
        let first = |phase| points.iter().find(|p| p.point.phase == phase);
        let points = [Phase::Prefill, Phase::Decode].map(first);
        let named = |name: &str| {
            let variant = |p: Option<&PointReport>| {
                let found = p?.variants.iter().find(|v| v.name == name);
                found.map(|v| (p.map_or(0, |p| p.point.all_tokens()), v.clone()))
            };
            Speeds::of(points.map(variant))
        };
        let base = points.iter().flatten().next();
        let base = base.and_then(|p| p.variants.first());
        let has = |name| {
            points
                .iter()
                .flatten()
                .any(|p| p.variants.iter().any(|v| v.name == name))
        };
        Headline {
            fused: base.map_or_else(Speeds::default, |v| named(&v.name)),
            unfused: has("unfused").then(|| named("unfused")),
        }
    }
}

impl Speeds {
    fn of([prefill, decode]: [Option<(usize, VariantReport)>; 2]) -> Speeds {
        let all = |of: &Option<(usize, VariantReport)>| match of {
            Some((tokens, v)) => v.seconds.iter().map(|s| *tokens as f64 / s).collect(),
            None => Vec::new(),
        };
        let middle = |all: &[f64]| (!all.is_empty()).then(|| median(all));
        let share = |of: &Option<(usize, VariantReport)>| of.as_ref().map(|(_, v)| v.ceiling_share);
        let (pp_all, tg_all) = (all(&prefill), all(&decode));
        Speeds {
            pp: middle(&pp_all),
            tg: middle(&tg_all),
            pp_share: share(&prefill),
            tg_share: share(&decode),
            pp_all,
            tg_all,
        }
    }
}
