//! Mixtures of experts in words.

use crate::spec::model::{Gating, Inner, Moe, Score};

/// How many there are, and what each is.
pub(super) fn experts(m: &Moe) -> String {
    let gated = match m.inner {
        Inner::Plain(_) => "",
        Inner::Gated(..) | Inner::Paired(_) => "gated ",
    };
    let shared = m.shared.as_ref().map(|s| {
        let weighed = if m.shared_gate.is_some() {
            ", gated"
        } else {
            ""
        };
        format!(
            ", and a shared one of width {}{}{weighed}",
            s.up.weight.shape[0],
            limits(s.gating.as_ref())
        )
    });
    let identity = match m.identity {
        0 => String::new(),
        n => format!(", {n} of them identities"),
    };
    format!(
        "{} of {} experts{identity}, {gated}{}{}, width {}{}",
        m.top_k,
        m.experts + m.identity,
        m.gating.act.name(),
        limits(Some(&m.gating)),
        m.down.weight.shape[1],
        shared.unwrap_or_default()
    )
}

/// Where gate and up are cut off.
pub(super) fn limits(gating: Option<&Gating>) -> String {
    let limit = gating.and_then(|g| Some((g, g.limit?)));
    limit.map_or(String::new(), |(g, limit)| {
        let place = if g.after { " after it" } else { "" };
        format!(" clamped at {limit}{place}")
    })
}

/// How they are chosen and weighed.
pub(super) fn routing(m: &Moe) -> String {
    let r = &m.route;
    let score = match r.score {
        Score::Softmax => "softmax",
        Score::Sigmoid => "sigmoid",
        Score::SqrtSoftplus => "square root of softplus",
    };
    let mut out = format!(
        "{score} over {} experts",
        if r.after { "the chosen" } else { "all" }
    );
    if r.listed {
        out += ", chosen by a table of tokens";
    }
    if r.always > 0 {
        out += &format!(", {} of them for every token", r.always);
    }
    if m.routed_by.is_some() {
        out += ", from an input of its own";
    }
    if let Some(cap) = m.softcap {
        out += &format!(", soft-capped at {cap}");
    }
    if r.near.is_some() {
        out += ", one at a time, each among the scores near it";
    }
    if r.expert_scale {
        out += ", a scale per expert";
    }
    if r.correction {
        out += ", a selection bias";
    }
    if let Some(g) = r.groups {
        out += &format!(", from {} of {} groups", g.top, g.count);
    }
    if r.renormalise.is_some() {
        out += ", renormalised";
    }
    if r.scale != 1.0 {
        out += &format!(", × {}", r.scale);
    }
    out
}
