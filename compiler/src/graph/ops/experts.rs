//! Operations on experts: routing, grouping, a matrix for each expert, and the way back to tokens.
//!
//! A router's scores become *routes*, for each token the weights and the indices of its experts. Grouping sorts them by
//! expert; from there on a row is a token at one of its experts, and rows of one expert lie side by side.

use super::grouping::Grouping;
use super::operand::{Reads, Role, Single, Take};
use super::rule::{Given, Rule, ShapeError};
use super::words::{Attr, AttrError, Words, activation, flag, float, set, tree};
use crate::graph::dim::{Dim, Shape};
use crate::spec::model::{Gating, Groups, Route, Score};

/// One matrix per expert on the rows of that expert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupedMatmul {
    /// How rows are grouped.
    pub grouping: Grouping,
    /// Rows of each matrix: width of the result.
    pub rows: usize,
    /// Has biases.
    pub bias: bool,
}

/// Which matrices lead into an expert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// One, and no gate.
    Plain,
    /// Gate and up.
    Gated,
    /// Gate and up, their rows alternating in one matrix.
    Paired,
}

/// What lies between the matrices of an expert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activate {
    /// What it is made from.
    pub form: Form,
    /// The function.
    pub gating: Gating,
}

/// Operands of routing.
#[derive(Clone, Copy, Debug)]
pub struct RouteOperands<T> {
    /// A router's scores, `[T, experts]`.
    pub scores: T,
    /// `[T, top_k]`, whole numbers.
    pub listed: Option<T>,
    /// `[experts]`.
    pub correction: Option<T>,
    /// `[experts]`.
    pub expert_scale: Option<T>,
}

/// Operands of what goes from tokens to rows of experts, or back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupedRows<T> {
    /// Rows of tokens, or of tokens at each of their experts.
    pub x: T,
    /// The table of groups.
    pub groups: T,
}

/// Operands of a matrix per expert.
#[derive(Clone, Copy, Debug)]
pub struct GroupedMatmulOperands<T> {
    /// Rows of tokens at each of their experts.
    pub x: T,
    /// The table of groups.
    pub groups: T,
    /// The matrices and their biases.
    pub matrix: ExpertMatrix<T>,
}

/// A family of matrices, and the family of their biases.
#[derive(Clone, Copy, Debug)]
pub struct ExpertMatrix<T> {
    /// `[rows, k]` for each expert.
    pub weight: T,
    /// `[rows]` for each expert.
    pub bias: Option<T>,
}

/// Operands of what lies between the matrices of an expert.
#[derive(Clone, Copy, Debug)]
pub struct ActivateOperands<T> {
    /// The gate's product, or the only one.
    pub x: T,
    /// The other product, where there are two.
    pub up: Option<T>,
}

impl Grouping {
    fn fits(&self, rule: &Rule) -> Result<(), ShapeError> {
        let fits = self.top_k > 0 && self.top_k <= self.experts;
        let expected = format!("1 to {}", self.experts);
        rule.check("top_k", fits, self.top_k, expected)?;
        let fewer = format!("fewer than {}", self.experts);
        rule.check(
            "identity",
            self.identity < self.experts,
            self.identity,
            fewer,
        )?;
        let Some(own) = self.own else { return Ok(()) };
        let all = self.with_matrices();
        let (end, most) = (
            own.first.saturating_add(own.count),
            format!("at most {all}"),
        );
        let fits = own.count > 0 && end <= all;
        rule.check("the experts' end", fits, end, most)
    }

    /// A number for each token, from its routes.
    pub(super) fn identity_shape(
        &self,
        rule: &Rule,
        o: &Single<Given>,
    ) -> Result<Shape, ShapeError> {
        self.fits(rule)?;
        rule.has_width(o.x, 2 * self.top_k)?;
        rule.of_tokens(o.x)?;
        Ok(vec![Dim::Tokens, Dim::Const(1)])
    }

    /// The table of groups that routes become.
    pub(super) fn group_shape(&self, rule: &Rule, o: &Single<Given>) -> Result<Shape, ShapeError> {
        self.fits(rule)?;
        rule.has_width(o.x, 2 * self.top_k)?;
        rule.of_tokens(o.x)?;
        Ok(vec![self.table()])
    }

    /// That the operand is a table of these groups.
    pub(super) fn is_table(&self, rule: &Rule, groups: Given) -> Result<(), ShapeError> {
        // Of fewer experts than give back their input there is no table.
        self.fits(rule)?;
        rule.same_shape(groups, &[self.table()])
    }

    /// That the operand is rows of tokens at each of their experts.
    pub(super) fn are_rows(&self, rule: &Rule, x: Given) -> Result<(), ShapeError> {
        self.fits(rule)?;
        rule.same_shape(x, &[self.rows(), Dim::Const(rule.width(x)?)])
    }

    pub(super) fn gather_shape(
        &self,
        rule: &Rule,
        o: &GroupedRows<Given>,
    ) -> Result<Shape, ShapeError> {
        self.is_table(rule, o.groups)?;
        rule.of_tokens(o.x)?;
        Ok(vec![self.rows(), Dim::Const(rule.width(o.x)?)])
    }

    pub(super) fn combine_shape(
        &self,
        rule: &Rule,
        o: &GroupedRows<Given>,
    ) -> Result<Shape, ShapeError> {
        self.is_table(rule, o.groups)?;
        self.are_rows(rule, o.x)?;
        Ok(vec![Dim::Tokens, Dim::Const(rule.width(o.x)?)])
    }

    /// How rows are grouped, and whether they are multiplied by their weight.
    pub(super) fn weighted_words(&self, weighted: bool) -> Vec<Attr> {
        let mut out = self.words();
        out.extend(weighted.then(|| flag("weighted")));
        out
    }
}

impl<T> GroupedRows<T> {
    /// The walk.
    pub(crate) fn of(take: Take<T>) -> Self {
        GroupedRows {
            x: take(Role::X, Reads::Rows),
            groups: take(Role::Groups, Reads::Rows),
        }
    }
}

impl<T> RouteOperands<T> {
    /// The walk of routing by itself.
    pub fn of(route: &Route, take: Take<T>) -> Self {
        Self::with(Role::X, route, take)
    }

    /// The walk of routing inside another operation.
    pub(super) fn inside(route: &Route, take: Take<T>) -> Self {
        Self::with(Role::Scores, route, take)
    }

    fn with(scores: Role, route: &Route, take: Take<T>) -> Self {
        RouteOperands {
            scores: take(scores, Reads::Rows),
            listed: route.listed.then(|| take(Role::Listed, Reads::Rows)),
            correction: route
                .correction
                .then(|| take(Role::Correction, Reads::Vector)),
            expert_scale: route
                .expert_scale
                .then(|| take(Role::ExpertScale, Reads::Vector)),
        }
    }
}

impl<T> ExpertMatrix<T> {
    /// The walk of a family in role `weight`, and its biases if it has any.
    pub(super) fn of(weight: Role, bias: Option<Role>, take: Take<T>) -> Self {
        ExpertMatrix {
            weight: take(weight, Reads::Matrix),
            bias: bias.map(|role| take(role, Reads::Vector)),
        }
    }
}

impl ExpertMatrix<Given<'_>> {
    /// That each expert has a matrix of that size.
    pub(super) fn fits(
        &self,
        rule: &Rule,
        g: &Grouping,
        rows: usize,
        k: usize,
    ) -> Result<(), ShapeError> {
        rule.family(self.weight, g.here(), &[rows, k])?;
        let bias = |b| rule.family(b, g.here(), &[rows]);
        self.bias.map_or(Ok(()), bias)
    }
}

impl Form {
    /// The matrices.
    pub fn matrices(self) -> usize {
        match self {
            Form::Plain | Form::Paired => 1,
            Form::Gated => 2,
        }
    }

    /// Rows of each matrix for one row of the result.
    pub(crate) fn rows_each(self) -> usize {
        match self {
            Form::Plain | Form::Gated => 1,
            Form::Paired => 2,
        }
    }
}

impl Activate {
    /// The walk.
    pub fn operands<T>(&self, take: Take<T>) -> ActivateOperands<T> {
        match self.form {
            Form::Gated => ActivateOperands {
                x: take(Role::Gate, Reads::Rows),
                up: Some(take(Role::Up, Reads::Rows)),
            },
            Form::Plain | Form::Paired => ActivateOperands {
                x: take(Role::X, Reads::Rows),
                up: None,
            },
        }
    }

    pub(super) fn shape(
        &self,
        rule: &Rule,
        o: &ActivateOperands<Given>,
    ) -> Result<Shape, ShapeError> {
        let width = rule.width(o.x)?;
        o.up.map_or(Ok(()), |up| rule.same_shape(up, o.x.shape))?;
        if self.form != Form::Paired {
            return Ok(o.x.shape.clone());
        }
        let even = width.is_multiple_of(2);
        rule.check("width of x", even, width, "an even number")?;
        Ok(vec![o.x.shape[0], Dim::Const(width / 2)])
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let Gating {
            act,
            alpha,
            limit,
            after,
            offset,
        } = self.gating;
        let mut out = vec![set("act", act.name())];
        match self.form {
            Form::Plain => {}
            Form::Gated => out.push(flag("gated")),
            Form::Paired => out.push(flag("paired")),
        }
        out.extend((alpha != 1.0).then(|| float("alpha", alpha)));
        out.extend(limit.map(|l| float("limit", l)));
        out.extend(after.then(|| flag("after")));
        out.extend((offset != 0.0).then(|| float("offset", offset)));
        out
    }

    pub(super) fn read(w: &Words) -> Result<Activate, AttrError> {
        let form = match (w.has("gated"), w.has("paired")) {
            (true, _) => Form::Gated,
            (false, true) => Form::Paired,
            (false, false) => Form::Plain,
        };
        let act = w.text("act").unwrap_or("silu");
        let gating = Gating {
            act: activation(act).ok_or_else(|| w.bad("act", act, "an activation"))?,
            alpha: w.maybe("alpha")?.unwrap_or(1.0),
            limit: w.maybe("limit")?,
            after: w.has("after"),
            offset: w.maybe("offset")?.unwrap_or(0.0),
        };
        Ok(Activate { form, gating })
    }
}

impl GroupedMatmul {
    /// The walk.
    pub fn operands<T>(&self, take: Take<T>) -> GroupedMatmulOperands<T> {
        GroupedMatmulOperands {
            x: take(Role::X, Reads::Rows),
            groups: take(Role::Groups, Reads::Rows),
            matrix: ExpertMatrix::of(Role::Weight, self.bias.then_some(Role::Bias), take),
        }
    }

    pub(super) fn shape(
        &self,
        rule: &Rule,
        o: &GroupedMatmulOperands<Given>,
    ) -> Result<Shape, ShapeError> {
        let (g, k) = (&self.grouping, rule.width(o.x)?);
        g.are_rows(rule, o.x)?;
        g.is_table(rule, o.groups)?;
        o.matrix.fits(rule, g, self.rows, k)?;
        Ok(vec![g.rows(), Dim::Const(self.rows)])
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let mut out = self.grouping.words();
        out.push(set("rows", self.rows));
        out
    }

    pub(super) fn read(w: &Words) -> Result<GroupedMatmul, AttrError> {
        Ok(GroupedMatmul {
            grouping: Grouping::read(w)?,
            rows: w.get("rows")?,
            bias: w.given(Role::Bias),
        })
    }
}

/// The routes that scores become.
pub(super) fn route_shape(
    r: &Route,
    rule: &Rule,
    o: &RouteOperands<Given>,
) -> Result<Shape, ShapeError> {
    let grouping = Grouping {
        experts: r.experts,
        top_k: r.top_k,
        identity: 0,
        own: None,
    };
    grouping.fits(rule)?;
    let width = rule.width(o.scores)?;
    rule.check("scores", width == r.experts, width, r.experts)?;
    let few = r.always <= r.top_k;
    rule.check("always", few, r.always, format!("at most {}", r.top_k))?;
    let open = r.always == 0 || r.groups.is_none() && r.near.is_none();
    rule.check("always", open, r.always, "0, with groups or nearness")?;
    let chooses = r.correction || r.groups.is_some() || r.near.is_some() || r.always > 0;
    let open = !r.listed || !chooses;
    rule.check("listed", open, "beside what chooses", "alone")?;
    if let Some(listed) = o.listed {
        rule.of_tokens(listed)?;
        rule.has_width(listed, r.top_k)?;
    }
    let chosen_from = r.experts - r.always;
    let correction = o.correction.map(|x| rule.vector(x, chosen_from));
    correction.unwrap_or(Ok(()))?;
    let scale = o.expert_scale.map(|x| rule.vector(x, r.experts));
    scale.unwrap_or(Ok(()))?;
    if let Some(g) = r.groups {
        let whole = g.count > 0 && r.experts.is_multiple_of(g.count);
        let expected = format!("a divisor of {}", r.experts);
        rule.check("groups", whole, g.count, expected)?;
        let each = r.experts / g.count;
        let room = g.top <= g.count && g.top * each >= r.top_k;
        let expected = format!("room for {}", r.top_k);
        rule.check("groups that take part", room, g.top, expected)?;
        let best = g.best > 0 && g.best <= each;
        rule.check("best of a group", best, g.best, format!("1 to {each}"))?;
    }
    rule.of_tokens(o.scores)?;
    Ok(vec![Dim::Tokens, Dim::Const(2 * r.top_k)])
}

pub(super) fn route_words(r: &Route) -> Vec<Attr> {
    let mut out = vec![set("experts", r.experts), set("top_k", r.top_k)];
    out.extend((r.always > 0).then(|| set("always", r.always)));
    out.push(flag(r.score.name()));
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
    out.extend(r.near.map(|near| float("near", near)));
    out
}

pub(super) fn read_route(w: &Words) -> Result<Route, AttrError> {
    let groups = |w: Words<'_>| {
        Ok(Groups {
            count: w.get("count")?,
            top: w.get("top")?,
            best: w.get("best")?,
        })
    };
    let said = Score::ALL.into_iter().find(|s| w.has(s.name()));
    Ok(Route {
        experts: w.get("experts")?,
        top_k: w.get("top_k")?,
        always: w.maybe("always")?.unwrap_or(0),
        score: said.unwrap_or(Score::Softmax),
        after: w.has("after"),
        correction: w.given(Role::Correction),
        listed: w.given(Role::Listed),
        groups: w.find("groups").map(|a| groups(w.inside(a))).transpose()?,
        renormalise: w.maybe("renormalise")?,
        scale: w.maybe("scale")?.unwrap_or(1.0),
        expert_scale: w.given(Role::ExpertScale),
        near: w.maybe("near")?,
    })
}
