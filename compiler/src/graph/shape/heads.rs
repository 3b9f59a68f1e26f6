//! Shape rules of operations on the columns of heads.

use super::{Rule, ShapeError};
use crate::graph::op::{Dim, Reach, Shape};
use crate::graph::{HeadColumns, HeadConcat, HeadMatmul, LatentAttention};

impl Rule<'_> {
    pub(super) fn head_slice(&self, c: &HeadColumns) -> Result<Shape, ShapeError> {
        self.head_columns("columns", c, self.width(0)?)?;
        Ok(vec![self.shape(0)[0], Dim::Const(c.heads * c.len)])
    }

    /// That `found` is the width of all heads together, and the run lies inside a head.
    fn head_columns(&self, what: &str, c: &HeadColumns, found: usize) -> Result<(), ShapeError> {
        let all = c.heads * c.width;
        let whole = found == all && found > 0;
        self.check(&format!("{what} of all heads"), whole, found, all)?;
        let (end, fits) = (c.start + c.len, c.start + c.len <= c.width && c.len > 0);
        self.check(
            &format!("end of the {what}"),
            fits,
            end,
            format!("at most {}", c.width),
        )
    }

    /// Operands `x` and `w` of the product are those numbered so.
    pub(super) fn head_matmul(
        &self,
        m: &HeadMatmul,
        [x, w]: [usize; 2],
    ) -> Result<Shape, ShapeError> {
        self.head_columns("columns", &m.columns, self.width(x)?)?;
        self.head_product(m, w)
    }

    fn head_product(&self, m: &HeadMatmul, w: usize) -> Result<Shape, ShapeError> {
        let (heads, n) = (m.columns.heads, self.width(w)?);
        if let Dim::Const(rows) = self.dim(w, 0)? {
            self.head_columns("rows", &m.rows, rows)?;
        }
        self.check("heads of w", m.rows.heads == heads, m.rows.heads, heads)?;
        let (found, inner) = (m.columns.len, m.inner(n));
        self.check("columns to multiply", found == inner, found, inner)?;
        let end = m.columns.start + m.columns.len + m.keep;
        let most = m.columns.width;
        self.check(
            "end of the kept columns",
            end <= most,
            end,
            format!("at most {most}"),
        )?;
        Ok(vec![
            self.shape(0)[0],
            Dim::Const(heads * (m.product(n) + m.keep)),
        ])
    }

    /// The three parts fit each other as they would apart.
    pub(super) fn latent_attention(&self, l: &LatentAttention) -> Result<Shape, ShapeError> {
        let a = &l.attention;
        self.of_tokens(0)?;
        let q = self.head_matmul(&l.queries, [0, 2])?;
        let expected = Dim::Const(a.heads * a.head_dim);
        let found = q[1];
        self.check("queries of latents", found == expected, found, expected)?;
        self.state_heads(a)?;
        let (found, expected) = (l.results.columns, (a.heads, a.value_dim));
        let fits = (found.heads, found.width) == expected;
        self.check(
            "columns of the results",
            fits,
            format!("{found:?}"),
            format!("{expected:?}"),
        )?;
        let plain = a.kv_heads == 1 && !a.sinks && a.reach == Reach::Full && l.results.keep == 0;
        self.check(
            "attention",
            plain,
            "with options",
            "to all keys of one head, without sinks",
        )?;
        self.head_product(&l.results, 2)
    }

    pub(super) fn head_concat(&self, c: &HeadConcat) -> Result<Shape, ShapeError> {
        self.check("heads", c.heads > 0, c.heads, "at least 1")?;
        for (i, one) in [c.left, c.right].into_iter().enumerate() {
            let (w, all) = (self.width(i)?, c.heads * one);
            let expected = format!("{all}, or {one} for all heads");
            let fits = w > 0 && (w == all || w == one);
            self.check(&format!("width of {}", self.roles[i]), fits, w, expected)?;
        }
        self.same_rows(1, 0)?;
        Ok(vec![self.shape(0)[0], Dim::Const(c.heads * c.width())])
    }
}
