//! Rules of what operands have in rows: code goes through them with one counter, so that those of one node have as many.

use super::{Rule, ShapeError};
use crate::graph::op::{Attention, Dim, Shape};
use crate::graph::text::shape_text;

impl Rule<'_> {
    /// That operand `i` has as many rows as operand `as_many`.
    pub(super) fn same_rows(&self, i: usize, as_many: usize) -> Result<(), ShapeError> {
        let (found, expected) = (self.dim(i, 0)?, self.dim(as_many, 0)?);
        self.has_rows(i, found, expected)
    }

    /// That operand `i` has a row for each token of the step: what goes by positions, slots or segments has.
    pub(super) fn of_tokens(&self, i: usize) -> Result<(), ShapeError> {
        self.has_rows(i, self.dim(i, 0)?, Dim::Tokens)
    }

    fn has_rows(&self, i: usize, found: Dim, expected: Dim) -> Result<(), ShapeError> {
        let what = format!("number of rows of {}", self.roles[i]);
        self.check(&what, found == expected, found, expected)
    }

    /// The same for each element of rows.
    pub(super) fn as_it_is(&self) -> Result<Shape, ShapeError> {
        self.width(0)?;
        Ok(self.shape(0).clone())
    }

    /// A row of a table for each token.
    pub(super) fn look_up(&self) -> Result<Shape, ShapeError> {
        Ok(vec![Dim::Tokens, Dim::Const(self.width(0)?)])
    }

    /// Of a row for each token those whose logits are wanted.
    pub(super) fn gather_rows(&self) -> Result<Shape, ShapeError> {
        self.of_tokens(0)?;
        Ok(vec![Dim::LogitRows, Dim::Const(self.width(0)?)])
    }

    /// That operand 0 is the scores of an attention.
    pub(super) fn scores_of(&self, a: &Attention) -> Result<(), ShapeError> {
        let expected = vec![Dim::Const(a.heads), Dim::Queries, Dim::Keys];
        let found = self.shape(0);
        let what = format!("shape of {}", self.roles[0]);
        let (said, wanted) = (shape_text(found), shape_text(&expected));
        self.check(&what, *found == expected, said, wanted)
    }
}
