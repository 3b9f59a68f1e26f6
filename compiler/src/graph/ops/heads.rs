//! Operations on the columns of each of several equal heads: picking a run of them, setting two runs side by side, and a matrix
//! of its own for each.

use super::operand::{Pair, Reads, Role, Single, Take};
use super::rule::{Given, Rule, ShapeError};
use super::words::{Attr, AttrError, Words, flag, set, tree};
use crate::graph::dim::{Dim, Shape};

/// A run of columns of every head: `[rows, heads · width]` to `[rows, heads · len]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadColumns {
    /// How many heads a row has.
    pub heads: usize,
    /// Width of a head.
    pub width: usize,
    /// First column of the run.
    pub start: usize,
    /// Columns of the run.
    pub len: usize,
}

/// `[a | b]` for every head, of `a [rows, heads · left]` and `b [rows, heads · right]`; either may have one head only, which all
/// share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadConcat {
    /// How many heads the result has.
    pub heads: usize,
    /// Columns of a head of `a`.
    pub left: usize,
    /// Columns of a head of `b`.
    pub right: usize,
}

/// A matrix of its own for each head: `out[t, h] = [x[t, h, columns] · W_h | x[t, h, kept]]`, the kept columns being those
/// after the multiplied ones, and `W_h` a run of rows of `w`: `[columns.len, n]`, or where the product runs `over_columns` of it,
/// `[rows.len, columns.len]ᵀ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadMatmul {
    /// Columns of each head of `x` that are multiplied.
    pub columns: HeadColumns,
    /// Rows of each head's part of `w` that multiply them.
    pub rows: HeadColumns,
    /// The product sums over the columns of `w`; otherwise over its rows.
    pub over_columns: bool,
    /// Columns of `x` that are handed on.
    pub keep: usize,
}

/// Operands of a product by head.
#[derive(Clone, Copy, Debug)]
pub struct HeadMatmulOperands<T> {
    /// `[rows, heads · columns.width]`.
    pub x: T,
    /// `[heads · rows.width, n]`.
    pub weight: T,
}

impl HeadColumns {
    pub(super) fn shape(&self, rule: &Rule, o: &Single<Given>) -> Result<Shape, ShapeError> {
        self.fit(rule, "columns", rule.width(o.x)?)?;
        Ok(vec![o.x.shape[0], Dim::Const(self.heads * self.len)])
    }

    /// That `found` is the width of all heads together, and the run lies inside a head.
    pub(super) fn fit(&self, rule: &Rule, what: &str, found: usize) -> Result<(), ShapeError> {
        let all = self.heads * self.width;
        let whole = found == all && found > 0;
        rule.check(&format!("{what} of all heads"), whole, found, all)?;
        let end = self.start + self.len;
        rule.check(
            &format!("end of the {what}"),
            end <= self.width && self.len > 0,
            end,
            format!("at most {}", self.width),
        )
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        vec![
            set("heads", self.heads),
            set("width", self.width),
            set("start", self.start),
            set("len", self.len),
        ]
    }

    pub(super) fn read(w: &Words) -> Result<HeadColumns, AttrError> {
        Ok(HeadColumns {
            heads: w.get("heads")?,
            width: w.get("width")?,
            start: w.get("start")?,
            len: w.get("len")?,
        })
    }
}

impl HeadConcat {
    /// Width of a head of the result.
    pub fn width(&self) -> usize {
        self.left + self.right
    }

    pub(super) fn shape(&self, rule: &Rule, o: &Pair<Given>) -> Result<Shape, ShapeError> {
        rule.check("heads", self.heads > 0, self.heads, "at least 1")?;
        for (x, one) in [(o.a, self.left), (o.b, self.right)] {
            let (w, all) = (rule.width(x)?, self.heads * one);
            let expected = format!("{all}, or {one} for all heads");
            let fits = w > 0 && (w == all || w == one);
            rule.check(&format!("width of {}", x.role), fits, w, expected)?;
        }
        rule.same_rows(o.b, o.a)?;
        Ok(vec![o.a.shape[0], Dim::Const(self.heads * self.width())])
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        vec![
            set("heads", self.heads),
            set("left", self.left),
            set("right", self.right),
        ]
    }

    pub(super) fn read(w: &Words) -> Result<HeadConcat, AttrError> {
        Ok(HeadConcat {
            heads: w.get("heads")?,
            left: w.get("left")?,
            right: w.get("right")?,
        })
    }
}

impl HeadMatmul {
    /// Width of a head's product, `w` having `n` columns.
    pub fn product(&self, n: usize) -> usize {
        if self.over_columns { self.rows.len } else { n }
    }

    /// What the product sums over, `w` having `n` columns.
    pub(crate) fn inner(&self, n: usize) -> usize {
        if self.over_columns { n } else { self.rows.len }
    }

    /// The walk.
    pub fn operands<T>(&self, take: Take<T>) -> HeadMatmulOperands<T> {
        HeadMatmulOperands {
            x: take(Role::X, Reads::Rows),
            weight: take(Role::Weight, Reads::MatrixByHead),
        }
    }

    pub(super) fn shape(
        &self,
        rule: &Rule,
        o: &HeadMatmulOperands<Given>,
    ) -> Result<Shape, ShapeError> {
        self.columns.fit(rule, "columns", rule.width(o.x)?)?;
        self.product_shape(rule, o.x.shape[0], o.weight)
    }

    /// The shape of the product of so many rows with `w`.
    pub(super) fn product_shape(
        &self,
        rule: &Rule,
        x_rows: Dim,
        w: Given,
    ) -> Result<Shape, ShapeError> {
        let (heads, n) = (self.columns.heads, rule.width(w)?);
        if let Dim::Const(rows) = w.shape[0] {
            self.rows.fit(rule, "rows", rows)?;
        }
        let found = self.rows.heads;
        rule.check("heads of w", found == heads, found, heads)?;
        let (found, inner) = (self.columns.len, self.inner(n));
        rule.check("columns to multiply", found == inner, found, inner)?;
        let end = self.columns.start + self.columns.len + self.keep;
        let most = self.columns.width;
        let expected = format!("at most {most}");
        rule.check("end of the kept columns", end <= most, end, expected)?;
        let width = heads * (self.product(n) + self.keep);
        Ok(vec![x_rows, Dim::Const(width)])
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let mut out = vec![
            tree("columns", self.columns.words()),
            tree("rows", self.rows.words()),
        ];
        out.extend(self.over_columns.then(|| flag("over_columns")));
        out.extend((self.keep > 0).then(|| set("keep", self.keep)));
        out
    }

    pub(super) fn read(w: &Words) -> Result<HeadMatmul, AttrError> {
        Ok(HeadMatmul {
            columns: HeadColumns::read(&w.within("columns")?)?,
            rows: HeadColumns::read(&w.within("rows")?)?,
            over_columns: w.has("over_columns"),
            keep: w.maybe("keep")?.unwrap_or(0),
        })
    }
}
