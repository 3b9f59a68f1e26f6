//! Shape rules of operations with recurrent state.

use super::{Rule, ShapeError};
use crate::graph::op::{Dim, Norm, Shape};
use crate::graph::{DeltaRule, RecurrentDecl, RecurrentId, ShortConv};

impl Rule<'_> {
    fn recurrent(&self, id: RecurrentId, shape: [usize; 3]) -> Result<(), ShapeError> {
        let states = &self.graph.recurrent;
        let found = states
            .get(id.0 as usize)
            .map(|d: &RecurrentDecl| [d.heads, d.rows, d.columns]);
        let text = found.map_or(format!("missing among {}", states.len()), |s| {
            format!("{s:?}")
        });
        self.check(
            &format!("state {id}"),
            found == Some(shape),
            text,
            format!("{shape:?}"),
        )
    }

    pub(super) fn short_conv(&self, c: &ShortConv) -> Result<Shape, ShapeError> {
        let n = self.width(0)?;
        self.of_tokens(0)?;
        self.check("taps", c.taps > 1, c.taps, "at least 2")?;
        self.matrix(1, n, c.taps)?;
        if let Some(norm) = &c.norm {
            let bare = !norm.gain && !norm.bias;
            self.check("norm", bare, "with operands", "one without gain and bias")?;
            self.norm(norm, "norm.", n)?;
        }
        self.recurrent(c.state, [1, c.taps - 1, n])?;
        Ok(self.shape(0).clone())
    }

    fn matrix(&self, i: usize, rows: usize, columns: usize) -> Result<(), ShapeError> {
        let expected = vec![Dim::Const(rows), Dim::Const(columns)];
        let found = self.shape(i);
        self.check(
            &self.roles[i],
            *found == expected,
            crate::graph::shape_text(found),
            format!("[{rows}, {columns}]"),
        )
    }

    pub(super) fn decay(&self, heads: usize) -> Result<Shape, ShapeError> {
        let n = self.width(0)?;
        let whole = heads > 0 && n.is_multiple_of(heads);
        self.check("heads", whole, heads, format!("a divisor of {n}"))?;
        self.vector("rate", heads)?;
        self.vector("bias", n)?;
        Ok(self.shape(0).clone())
    }

    pub(super) fn delta_rule(&self, d: &DeltaRule) -> Result<Shape, ShapeError> {
        let whole = d.key_heads > 0 && d.heads.is_multiple_of(d.key_heads);
        let divisor = format!("a divisor of {}", d.heads);
        self.check("key_heads", whole, d.key_heads, divisor)?;
        let (keys, values) = (d.key_heads * d.key_dim, d.heads * d.value_dim);
        for (i, n) in [(0, keys), (1, keys), (2, values), (4, d.heads)] {
            let found = self.width(i)?;
            self.check(&format!("width of {}", self.roles[i]), found == n, found, n)?;
        }
        let (found, all) = (self.width(3)?, d.heads * d.key_dim);
        for i in 0..5 {
            self.of_tokens(i)?;
        }
        let fits = found == d.heads || found == all;
        self.check(
            "width of decay",
            fits,
            found,
            format!("{} or {all}", d.heads),
        )?;
        self.recurrent(d.state, [d.heads, d.key_dim, d.value_dim])?;
        let shape = vec![self.shape(0)[0], Dim::Const(values)];
        if let Some(norm) = &d.norm {
            self.head_norm(norm, d.value_dim)?;
        }
        if d.gated {
            self.same_shape("gate", &shape)?;
        }
        Ok(shape)
    }

    fn head_norm(&self, norm: &Norm, width: usize) -> Result<(), ShapeError> {
        self.check("norm group", norm.group == width, norm.group, width)?;
        self.norm(norm, "norm.", width)
    }
}
