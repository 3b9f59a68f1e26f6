//! Options of the operations on experts, what their operands are, and the shape of what is grouped.
//!
//! A router's scores become *routes*, for each token the weights and the indices of its experts. Grouping sorts them by
//! expert; from there on a row is a token at one of its experts, and rows of one expert lie side by side.

use super::op::{Dim, Norm, roles};
pub use crate::spec::model::{Gating, Groups, Route, Score};

/// How many experts there are, and how many a token visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grouping {
    /// Number of experts.
    pub experts: usize,
    /// Experts that a token visits.
    pub top_k: usize,
}

/// One matrix per expert on the rows of that expert. Operands: `x`, the groups, the family, a family of biases.
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

/// What lies between the matrices of an expert. Operands: gate and up, or the one product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activate {
    /// What it is made from.
    pub form: Form,
    /// The function.
    pub gating: Gating,
}

/// From tokens to the inside of their experts: grouping, product and activation in one kernel.
///
/// Operands in order: `x`; the norm's gain and bias; the groups, or the router's scores and the correction; each matrix
/// with its bias.
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
///
/// Operands in order: `x`; the groups, or the router's scores and the correction; the matrix and its bias; the output of
/// the shared expert and what multiplies it; the residual.
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

impl Grouping {
    /// Rows that are grouped: each token once for each of its experts.
    pub fn rows(&self) -> Dim {
        Dim::Routed {
            per_token: self.top_k,
            more: 0,
        }
    }

    /// Numbers of the table that describes the groups; see [`Grouping::offsets`] and its neighbours.
    pub fn table(&self) -> Dim {
        Dim::Routed {
            per_token: 3 * self.top_k,
            more: 2 * self.experts + 2,
        }
    }

    /// Place in the table of each expert's first row; one more entry ends the last.
    pub const OFFSETS: usize = 0;

    /// Place in the table of the experts that have rows, in order.
    pub fn active(&self) -> usize {
        self.experts + 1
    }

    /// Place in the table of how many experts have rows.
    pub fn n_active(&self) -> usize {
        2 * self.experts + 1
    }

    /// Place in the table of each row's token.
    pub fn tokens(&self) -> usize {
        2 * self.experts + 2
    }

    /// Place in the table of each row's weight, where it is laid out for `tokens` tokens.
    pub fn weights(&self, tokens: usize) -> usize {
        self.tokens() + tokens * self.top_k
    }

    /// Place in the table of the rows of each token, expert by expert, where it is laid out for `tokens` tokens.
    pub fn places(&self, tokens: usize) -> usize {
        self.weights(tokens) + tokens * self.top_k
    }
}

/// The operands of a routing step: scores and correction.
pub(super) fn route_roles(route: &Route, scores: &str) -> Vec<String> {
    let mut out = roles(&[scores]);
    if route.correction {
        out.push("correction".into());
    }
    out
}

/// The groups, or what they are made from.
fn grouping_roles(route: Option<&Route>) -> Vec<String> {
    route.map_or_else(|| roles(&["groups"]), |r| route_roles(r, "scores"))
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
    pub fn rows_each(self) -> usize {
        match self {
            Form::Plain | Form::Gated => 1,
            Form::Paired => 2,
        }
    }
}

impl Activate {
    pub(super) fn roles(&self) -> Vec<String> {
        match self.form {
            Form::Gated => roles(&["gate", "up"]),
            Form::Plain | Form::Paired => roles(&["x"]),
        }
    }
}

impl GroupedMatmul {
    pub(super) fn roles(&self) -> Vec<String> {
        let mut out = roles(&["x", "groups", "w"]);
        out.extend(self.bias.then(|| "bias".into()));
        out
    }
}

impl ExpertsIn {
    pub(super) fn roles(&self) -> Vec<String> {
        let mut out = roles(&["x"]);
        if let Some(n) = &self.norm {
            out.extend(n.roles("norm."));
        }
        out.extend(grouping_roles(self.route.as_ref()));
        for i in 0..self.activate.form.matrices() {
            out.push(format!("w{i}"));
            out.extend(self.bias.then(|| format!("bias{i}")));
        }
        out
    }
}

impl ExpertsOut {
    pub(super) fn roles(&self) -> Vec<String> {
        let mut out = roles(&["x"]);
        out.extend(grouping_roles(self.route.as_ref()));
        out.push("w".into());
        let rest = [
            (self.bias, "bias"),
            (self.shared, "shared"),
            (self.shared_gate, "shared_gate"),
            (self.residual, "residual"),
        ];
        out.extend(rest.iter().filter(|r| r.0).map(|r| r.1.to_string()));
        out
    }
}
