//! Experts as two operations: into them, and back to tokens.

use super::experts::{Activate, ExpertMatrix, RouteOperands, read_route, route_shape, route_words};
use super::grouping::Grouping;
use super::norm::{Norm, NormVectors};
use super::operand::{NormAt, Reads, Role, Take};
use super::rule::{Given, Rule, ShapeError};
use super::words::{Attr, AttrError, Words, flag, set, tree};
use crate::graph::dim::{Dim, Shape};
use crate::spec::model::Route;

/// From tokens to the inside of their experts: grouping, product and activation in one kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpertsIn {
    /// How rows are grouped.
    pub grouping: Grouping,
    /// Every thread routes and groups for itself.
    pub route: Option<Route>,
    /// Applied to every token first.
    pub norm: Option<Norm>,
    /// Rows of weights multiply the tokens.
    pub weighted: bool,
    /// Tokens are rounded to int8 last, for quantised weights.
    pub quantize_x: bool,
    /// The result is rounded to int8.
    pub quantize_y: bool,
    /// Width of the result.
    pub ffn: usize,
    /// The matrices have biases.
    pub bias: bool,
    /// What is done to the products.
    pub activate: Activate,
}

/// From the inside of the experts back to tokens: product and weighted sum in one kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpertsOut {
    /// How rows are grouped.
    pub grouping: Grouping,
    /// Every thread routes and groups for itself.
    pub route: Option<Route>,
    /// Weights multiply the products.
    pub weighted: bool,
    /// Width of the result.
    pub rows: usize,
    /// The matrices have biases.
    pub bias: bool,
    /// Adds a shared expert's output.
    pub shared: bool,
    /// The shared expert's output is multiplied by a number for each token.
    pub shared_gate: bool,
    /// Adds a residual.
    pub residual: bool,
}

/// Where rows of experts lie: in a table of groups, or where the scores of a router say.
#[derive(Clone, Copy, Debug)]
pub enum Routing<T> {
    /// The table.
    Groups(T),
    /// What each thread makes it from for itself.
    Own(RouteOperands<T>),
}

/// Operands of the first half of experts.
#[derive(Clone, Debug)]
pub struct ExpertsInOperands<T> {
    /// `[T, k]`.
    pub x: T,
    /// Of the norm before the product.
    pub norm: NormVectors<T>,
    /// Where rows lie.
    pub routing: Routing<T>,
    /// One, or gate and up.
    pub matrices: Vec<ExpertMatrix<T>>,
}

/// Operands of the second half of experts.
#[derive(Clone, Copy, Debug)]
pub struct ExpertsOutOperands<T> {
    /// Rows of tokens at each of their experts.
    pub x: T,
    /// Where rows lie.
    pub routing: Routing<T>,
    /// The matrices and their biases.
    pub matrix: ExpertMatrix<T>,
    /// The output of a shared expert, `[T, rows]`.
    pub shared: Option<T>,
    /// What multiplies it, `[T, 1]`.
    pub shared_gate: Option<T>,
    /// `[T, rows]`.
    pub residual: Option<T>,
}

impl<T> Routing<T> {
    fn of(route: Option<&Route>, take: Take<T>) -> Self {
        match route {
            None => Routing::Groups(take(Role::Groups, Reads::Rows)),
            Some(r) => Routing::Own(RouteOperands::inside(r, take)),
        }
    }
}

/// That the groups are those of `g`, or that scores become them.
fn routing_fits(
    (g, route): (&Grouping, Option<&Route>),
    rule: &Rule,
    routing: &Routing<Given>,
) -> Result<(), ShapeError> {
    match (routing, route) {
        (Routing::Groups(groups), _) => g.is_table(rule, *groups),
        (Routing::Own(o), Some(r)) => route_shape(r, rule, o).map(drop),
        (Routing::Own(_), None) => unreachable!("threads route where there is a route"),
    }
}

/// The routing of an operation whose threads route for themselves; else how its rows are grouped.
fn routing_words(g: &Grouping, r: Option<&Route>) -> Vec<Attr> {
    let Some(r) = r else { return g.words() };
    let route = tree("route", route_words(r));
    std::iter::once(route).chain(g.own_words()).collect()
}

fn read_routing(w: &Words) -> Result<(Grouping, Option<Route>), AttrError> {
    let Some(a) = w.find("route") else {
        return Ok((Grouping::read(w)?, None));
    };
    let route = read_route(&w.inside(a))?;
    let Route { experts, top_k, .. } = route;
    Ok((Grouping::read_of(w, experts, top_k)?, Some(route)))
}

impl ExpertsIn {
    /// The walk.
    pub fn operands<T>(&self, take: Take<T>) -> ExpertsInOperands<T> {
        let x = take(Role::X, Reads::Rows);
        let norm = NormVectors::of(self.norm.as_ref(), NormAt::Around, take);
        let routing = Routing::of(self.route.as_ref(), take);
        let matrix = |i| {
            let bias = self.bias.then_some(Role::PartBias(i));
            ExpertMatrix::of(Role::PartWeight(i), bias, take)
        };
        ExpertsInOperands {
            x,
            norm,
            routing,
            matrices: (0..self.activate.form.matrices()).map(matrix).collect(),
        }
    }

    pub(super) fn shape(
        &self,
        rule: &Rule,
        o: &ExpertsInOperands<Given>,
    ) -> Result<Shape, ShapeError> {
        let (g, k) = (&self.grouping, rule.width(o.x)?);
        rule.of_tokens(o.x)?;
        if let Some(n) = &self.norm {
            n.fits_rows(rule, &o.norm, k)?;
        }
        routing_fits((g, self.route.as_ref()), rule, &o.routing)?;
        let rows = self.ffn * self.activate.form.rows_each();
        o.matrices
            .iter()
            .try_for_each(|m| m.fits(rule, g, rows, k))?;
        Ok(vec![g.rows(), Dim::Const(self.ffn)])
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let mut out: Vec<Attr> = self.norm.iter().map(Norm::word).collect();
        out.extend(routing_words(&self.grouping, self.route.as_ref()));
        out.extend(self.weighted.then(|| flag("weighted")));
        out.extend(self.quantize_x.then(|| flag("quantize_x")));
        out.push(set("ffn", self.ffn));
        out.push(tree("activate", self.activate.words()));
        out.extend(self.quantize_y.then(|| flag("quantize_y")));
        out
    }

    pub(super) fn read(w: &Words) -> Result<ExpertsIn, AttrError> {
        let (grouping, route) = read_routing(w)?;
        let activate = Words {
            words: w.find("activate").map_or(&[][..], |a| &a.inner),
            ..*w
        };
        Ok(ExpertsIn {
            grouping,
            route,
            norm: Norm::read_within(w)?,
            weighted: w.has("weighted"),
            quantize_x: w.has("quantize_x"),
            quantize_y: w.has("quantize_y"),
            ffn: w.get("ffn")?,
            bias: w.given(Role::PartBias(0)),
            activate: Activate::read(&activate)?,
        })
    }
}

impl ExpertsOut {
    /// The walk.
    pub fn operands<T>(&self, take: Take<T>) -> ExpertsOutOperands<T> {
        ExpertsOutOperands {
            x: take(Role::X, Reads::Rows),
            routing: Routing::of(self.route.as_ref(), take),
            matrix: ExpertMatrix::of(Role::Weight, self.bias.then_some(Role::Bias), take),
            shared: self.shared.then(|| take(Role::Shared, Reads::Rows)),
            shared_gate: self
                .shared_gate
                .then(|| take(Role::SharedGate, Reads::Rows)),
            residual: self.residual.then(|| take(Role::Residual, Reads::Rows)),
        }
    }

    pub(super) fn shape(
        &self,
        rule: &Rule,
        o: &ExpertsOutOperands<Given>,
    ) -> Result<Shape, ShapeError> {
        let (g, k) = (&self.grouping, rule.width(o.x)?);
        g.are_rows(rule, o.x)?;
        routing_fits((g, self.route.as_ref()), rule, &o.routing)?;
        o.matrix.fits(rule, g, self.rows, k)?;
        let shape = vec![Dim::Tokens, Dim::Const(self.rows)];
        let mut added = o.shared.into_iter().chain(o.residual);
        added.try_for_each(|x| rule.same_shape(x, &shape))?;
        let one = [Dim::Tokens, Dim::Const(1)];
        let gate = |x| rule.same_shape(x, &one);
        o.shared_gate.map_or(Ok(()), gate)?;
        Ok(shape)
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let mut out = routing_words(&self.grouping, self.route.as_ref());
        out.extend(self.weighted.then(|| flag("weighted")));
        out.push(set("rows", self.rows));
        out
    }

    pub(super) fn read(w: &Words) -> Result<ExpertsOut, AttrError> {
        let (grouping, route) = read_routing(w)?;
        Ok(ExpertsOut {
            grouping,
            route,
            weighted: w.has("weighted"),
            rows: w.get("rows")?,
            bias: w.given(Role::Bias),
            shared: w.given(Role::Shared),
            shared_gate: w.given(Role::SharedGate),
            residual: w.given(Role::Residual),
        })
    }
}
