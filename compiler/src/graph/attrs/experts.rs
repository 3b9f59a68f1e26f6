//! Options of the operations on experts as text: `experts=8 top_k=2 route(softmax renormalise=0.0)`.

use super::{Attr, AttrError, Words, activation, flag, float, inner_norm, set, tree};
use crate::graph::op::*;

pub(super) fn grouping(g: &Grouping) -> Vec<Attr> {
    vec![set("experts", g.experts), set("top_k", g.top_k)]
}

pub(super) fn weighted(g: &Grouping, weighted: bool) -> Vec<Attr> {
    let mut out = grouping(g);
    out.extend(weighted.then(|| flag("weighted")));
    out
}

pub(super) fn route(r: &Route) -> Vec<Attr> {
    let mut out = vec![set("experts", r.experts), set("top_k", r.top_k)];
    out.push(flag(match r.score {
        Score::Softmax => "softmax",
        Score::Sigmoid => "sigmoid",
    }));
    out.extend(r.after.then(|| flag("after")));
    out.extend(r.groups.map(|g| {
        let words = vec![
            set("count", g.count),
            set("top", g.top),
            set("best", g.best),
        ];
        tree("groups", words)
    }));
    out.extend(r.renormalise.map(|eps| float("renormalise", eps)));
    out.extend((r.scale != 1.0).then(|| float("scale", r.scale)));
    out
}

pub(super) fn grouped_matmul(m: &GroupedMatmul) -> Vec<Attr> {
    let mut out = grouping(&m.grouping);
    out.push(set("rows", m.rows));
    out
}

pub(super) fn activate(a: &Activate) -> Vec<Attr> {
    let Gating {
        act,
        alpha,
        limit,
        offset,
    } = a.gating;
    let mut out = vec![set("act", act.name())];
    match a.form {
        Form::Plain => {}
        Form::Gated => out.push(flag("gated")),
        Form::Paired => out.push(flag("paired")),
    }
    out.extend((alpha != 1.0).then(|| float("alpha", alpha)));
    out.extend(limit.map(|l| float("limit", l)));
    out.extend((offset != 0.0).then(|| float("offset", offset)));
    out
}

/// The routing of an operation whose threads route for themselves; else how its rows are grouped.
fn routing(g: &Grouping, r: Option<&Route>) -> Vec<Attr> {
    r.map_or_else(|| grouping(g), |r| vec![tree("route", route(r))])
}

pub(super) fn experts_in(e: &ExpertsIn) -> Vec<Attr> {
    let mut out: Vec<Attr> = e.norm.iter().map(inner_norm).collect();
    out.extend(routing(&e.grouping, e.route.as_ref()));
    out.extend(e.weighted.then(|| flag("weighted")));
    out.extend(e.quantize_x.then(|| flag("quantize_x")));
    out.push(set("ffn", e.ffn));
    out.push(tree("activate", activate(&e.activate)));
    out.extend(e.quantize_y.then(|| flag("quantize_y")));
    out
}

pub(super) fn experts_out(e: &ExpertsOut) -> Vec<Attr> {
    let mut out = routing(&e.grouping, e.route.as_ref());
    out.extend(e.weighted.then(|| flag("weighted")));
    out.push(set("rows", e.rows));
    out
}

impl Words<'_> {
    pub(super) fn grouping(&self) -> Result<Grouping, AttrError> {
        Ok(Grouping {
            experts: self.get("experts")?,
            top_k: self.get("top_k")?,
        })
    }

    pub(super) fn route(&self, correction: bool) -> Result<Route, AttrError> {
        let groups = |w: Words<'_>| {
            Ok(Groups {
                count: w.get("count")?,
                top: w.get("top")?,
                best: w.get("best")?,
            })
        };
        let score = if self.has("sigmoid") {
            Score::Sigmoid
        } else {
            Score::Softmax
        };
        Ok(Route {
            experts: self.get("experts")?,
            top_k: self.get("top_k")?,
            score,
            after: self.has("after"),
            correction,
            groups: self
                .find("groups")
                .map(|a| groups(self.inside(a)))
                .transpose()?,
            renormalise: self.maybe("renormalise")?,
            scale: self.maybe("scale")?.unwrap_or(1.0),
        })
    }

    pub(super) fn grouped_matmul(&self, bias: bool) -> Result<GroupedMatmul, AttrError> {
        Ok(GroupedMatmul {
            grouping: self.grouping()?,
            rows: self.get("rows")?,
            bias,
        })
    }

    pub(super) fn activate(&self) -> Result<Activate, AttrError> {
        let form = match (self.has("gated"), self.has("paired")) {
            (true, _) => Form::Gated,
            (false, true) => Form::Paired,
            (false, false) => Form::Plain,
        };
        let act = self.text("act").unwrap_or("silu");
        let gating = Gating {
            act: activation(act).ok_or_else(|| self.bad("act", act, "an activation"))?,
            alpha: self.maybe("alpha")?.unwrap_or(1.0),
            limit: self.maybe("limit")?,
            offset: self.maybe("offset")?.unwrap_or(0.0),
        };
        Ok(Activate { form, gating })
    }

    fn routing(&self, correction: bool) -> Result<(Grouping, Option<Route>), AttrError> {
        let Some(a) = self.find("route") else {
            return Ok((self.grouping()?, None));
        };
        let route = self.inside(a).route(correction)?;
        let Route { experts, top_k, .. } = route;
        Ok((Grouping { experts, top_k }, Some(route)))
    }

    pub(super) fn experts_in(&self, given: &dyn Fn(&str) -> bool) -> Result<ExpertsIn, AttrError> {
        let (grouping, route) = self.routing(given("correction"))?;
        let activate = self.find("activate").map_or(&[][..], |a| &a.inner);
        let activate = Words {
            op: self.op,
            words: activate,
        };
        Ok(ExpertsIn {
            grouping,
            route,
            norm: self.inner_norm()?,
            weighted: self.has("weighted"),
            quantize_x: self.has("quantize_x"),
            quantize_y: self.has("quantize_y"),
            ffn: self.get("ffn")?,
            bias: given("bias0"),
            activate: activate.activate()?,
        })
    }

    pub(super) fn experts_out(
        &self,
        given: &dyn Fn(&str) -> bool,
    ) -> Result<ExpertsOut, AttrError> {
        let (grouping, route) = self.routing(given("correction"))?;
        Ok(ExpertsOut {
            grouping,
            route,
            weighted: self.has("weighted"),
            rows: self.get("rows")?,
            bias: given("bias"),
            shared: given("shared"),
            shared_gate: given("shared_gate"),
            residual: given("residual"),
        })
    }
}
