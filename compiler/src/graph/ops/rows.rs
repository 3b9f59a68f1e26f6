//! Operations on rows that have few options or none: elementwise ones, look-ups, views, sums of several values.

use super::operand::{Pair, Reads, Role, Single, Take};
use super::rule::{Given, Rule, ShapeError};
use super::words::{Attr, AttrError, Words, float, set};
use crate::graph::dim::{Dim, Shape, shape_text};
use crate::spec::model::Activation;

/// Elementwise operations of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// Sum.
    Add,
    /// Product.
    Mul,
}

/// Elementwise operations of one operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// A non-linearity.
    Act(Activation),
    /// `x · c`.
    Scale(f32),
    /// `c · tanh(x / c)`.
    Softcap(f32),
    /// `min(max(x, least), most)`.
    Clamp {
        /// The least result.
        least: f32,
        /// The largest one.
        most: f32,
    },
}

/// A sum of values, each weighted by a column of `by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightedSum {
    /// Column of the first weight.
    pub start: usize,
    /// How many values.
    pub count: usize,
}

/// A non-linearity with learned curvature on either side of 0 (Huang & Schlag 2025, xIELU).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Xielu {
    /// The slope at 0.
    pub beta: f32,
    /// What the exponential below 0 sees at most.
    pub eps: f32,
}

/// Operands of that non-linearity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct XieluOperands<T> {
    /// The rows.
    pub x: T,
    /// `[1]`.
    pub positive: T,
    /// `[1]`.
    pub negative: T,
}

/// The operand of a look-up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LookUp<T> {
    /// `[rows, width]`.
    pub table: T,
}

/// Operands of rows that are scaled each by a number of its own, or by one for each head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScaledRows<T> {
    /// `[rows, n]`.
    pub x: T,
    /// `[rows, heads]`.
    pub by: T,
}

/// Operands of rows that are all scaled by one number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scaled<T> {
    /// The rows.
    pub x: T,
    /// `[1]`.
    pub by: T,
}

/// Operands of rows that take over the magnitude of others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatchedRows<T> {
    /// The rows.
    pub x: T,
    /// Of the same shape.
    pub like: T,
}

/// Operands of a weighted sum.
#[derive(Clone, Debug)]
pub struct SumOperands<T> {
    /// The weights, `[rows, n]`.
    pub by: T,
    /// `[rows, width]` each.
    pub terms: Vec<T>,
}

impl<T> LookUp<T> {
    /// The walk.
    pub(crate) fn of(take: Take<T>) -> Self {
        LookUp {
            table: take(Role::Table, Reads::Table),
        }
    }
}

impl LookUp<Given<'_>> {
    /// A row of the table for each token.
    pub(super) fn shape(&self, rule: &Rule) -> Result<Shape, ShapeError> {
        Ok(vec![Dim::Tokens, Dim::Const(rule.width(self.table)?)])
    }
}

impl Binary {
    /// The walk: the right one may be a vector.
    pub fn operands<T>(self, take: Take<T>) -> Pair<T> {
        Pair {
            a: take(Role::A, Reads::Rows),
            b: take(Role::B, Reads::RowsOrVector),
        }
    }

    pub(super) fn shape(self, rule: &Rule, o: &Pair<Given>) -> Result<Shape, ShapeError> {
        rule.width(o.a)?;
        let (a, b) = (o.a.shape, o.b.shape);
        let broadcast = b.len() == 1 && a.last() == b.last();
        let expected = format!("{} or its last dimension", shape_text(a));
        let fits = a == b || broadcast;
        rule.check("second operand", fits, shape_text(b), expected)?;
        Ok(a.clone())
    }
}

impl WeightedSum {
    /// The walk.
    pub fn operands<T>(&self, take: Take<T>) -> SumOperands<T> {
        SumOperands {
            by: take(Role::By, Reads::Rows),
            terms: (0..self.count)
                .map(|j| take(Role::Term(j), Reads::Rows))
                .collect(),
        }
    }

    pub(super) fn shape(&self, rule: &Rule, o: &SumOperands<Given>) -> Result<Shape, ShapeError> {
        let columns = rule.width(o.by)?;
        let end = self.start + self.count;
        let fits = self.count > 0 && end <= columns;
        let expected = format!("at most {columns}");
        rule.check("the weights' end", fits, end, expected)?;
        let first = o.terms[0];
        rule.width(first)?;
        rule.same_rows(first, o.by)?;
        let mut terms = o.terms.iter();
        terms.try_for_each(|x| rule.same_shape(*x, first.shape))?;
        Ok(first.shape.clone())
    }

    pub(super) fn read(w: &Words) -> Result<WeightedSum, AttrError> {
        Ok(WeightedSum {
            start: w.get("start")?,
            count: w.roles.len().saturating_sub(1),
        })
    }
}

impl<T> ScaledRows<T> {
    /// The walk.
    pub(crate) fn of(take: Take<T>) -> Self {
        ScaledRows {
            x: take(Role::X, Reads::Rows),
            by: take(Role::By, Reads::Rows),
        }
    }
}

impl ScaledRows<Given<'_>> {
    pub(super) fn shape(&self, rule: &Rule) -> Result<Shape, ShapeError> {
        let (n, heads) = (rule.width(self.x)?, rule.width(self.by)?);
        let whole = heads > 0 && n.is_multiple_of(heads);
        rule.check("width of by", whole, heads, format!("a divisor of {n}"))?;
        rule.same_rows(self.by, self.x)?;
        Ok(self.x.shape.clone())
    }
}

impl<T> Scaled<T> {
    /// The walk.
    pub(crate) fn of(take: Take<T>) -> Self {
        Scaled {
            x: take(Role::X, Reads::Rows),
            by: take(Role::By, Reads::Vector),
        }
    }
}

impl Scaled<Given<'_>> {
    pub(super) fn shape(&self, rule: &Rule) -> Result<Shape, ShapeError> {
        rule.vector(self.by, 1)?;
        rule.as_it_is(self.x)
    }
}

impl Xielu {
    pub(super) fn words(&self) -> Vec<Attr> {
        vec![float("beta", self.beta), float("eps", self.eps)]
    }

    pub(super) fn read(w: &Words) -> Result<Xielu, AttrError> {
        Ok(Xielu {
            beta: w.get("beta")?,
            eps: w.get("eps")?,
        })
    }
}

impl<T> XieluOperands<T> {
    /// The walk.
    pub(crate) fn of(take: Take<T>) -> Self {
        XieluOperands {
            x: take(Role::X, Reads::Rows),
            positive: take(Role::Positive, Reads::Vector),
            negative: take(Role::Negative, Reads::Vector),
        }
    }
}

impl XieluOperands<Given<'_>> {
    pub(super) fn shape(&self, rule: &Rule) -> Result<Shape, ShapeError> {
        rule.vector(self.positive, 1)?;
        rule.vector(self.negative, 1)?;
        rule.as_it_is(self.x)
    }
}

impl<T> MatchedRows<T> {
    /// The walk.
    pub(crate) fn of(take: Take<T>) -> Self {
        MatchedRows {
            x: take(Role::X, Reads::Rows),
            like: take(Role::Like, Reads::Rows),
        }
    }
}

impl MatchedRows<Given<'_>> {
    pub(super) fn shape(&self, rule: &Rule) -> Result<Shape, ShapeError> {
        rule.width(self.x)?;
        rule.same_shape(self.like, self.x.shape)?;
        Ok(self.x.shape.clone())
    }
}

/// Rows of as many sines as cosines.
pub(super) fn sinusoids_shape(width: usize, rule: &Rule) -> Result<Shape, ShapeError> {
    rule.check("dim", width.is_multiple_of(2), width, "an even number")?;
    Ok(vec![Dim::Tokens, Dim::Const(width)])
}

/// Of a row for each token those whose logits are wanted.
pub(super) fn gather_shape(rule: &Rule, o: &Single<Given>) -> Result<Shape, ShapeError> {
    rule.of_tokens(o.x)?;
    Ok(vec![Dim::LogitRows, Dim::Const(rule.width(o.x)?)])
}

/// Some columns of rows.
pub(super) fn slice_shape(
    (start, len): (usize, usize),
    rule: &Rule,
    o: &Single<Given>,
) -> Result<Shape, ShapeError> {
    let (width, end) = (rule.width(o.x)?, start + len);
    let fits = end <= width && len > 0;
    rule.check("the columns' end", fits, end, format!("at most {width}"))?;
    Ok(vec![o.x.shape[0], Dim::Const(len)])
}

/// The options of a look-up of embeddings.
pub(super) fn embed_words(scale: f32, limit: Option<usize>) -> Vec<Attr> {
    let mut out = Vec::from_iter((scale != 1.0).then(|| float("scale", scale)));
    out.extend(limit.map(|n| set("limit", n)));
    out
}
