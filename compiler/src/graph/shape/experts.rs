//! Shape rules of the operations on experts.

use super::{Rule, ShapeError};
use crate::graph::op::*;
use crate::graph::text::shape_text;

impl Rule<'_> {
    fn at(&self, role: &str) -> usize {
        let at = self.roles.iter().position(|r| r == role);
        at.unwrap_or_else(|| panic!("{} has no operand {role}", self.op.name()))
    }

    fn width_of(&self, role: &str) -> Result<usize, ShapeError> {
        self.width(self.at(role))
    }

    pub(super) fn same_shape(&self, role: &str, expected: &[Dim]) -> Result<(), ShapeError> {
        let found = self.shape(self.at(role));
        self.check(
            role,
            found == expected,
            shape_text(found),
            shape_text(expected),
        )
    }

    fn grouping(&self, g: &Grouping) -> Result<(), ShapeError> {
        self.check(
            "top_k",
            g.top_k > 0 && g.top_k <= g.experts,
            g.top_k,
            format!("1 to {}", g.experts),
        )
    }

    pub(super) fn route(&self, r: &Route, scores: &str) -> Result<Shape, ShapeError> {
        self.grouping(&Grouping {
            experts: r.experts,
            top_k: r.top_k,
        })?;
        let width = self.width_of(scores)?;
        self.check("scores", width == r.experts, width, r.experts)?;
        if r.correction {
            self.vector("correction", r.experts)?;
        }
        if let Some(g) = r.groups {
            let whole = g.count > 0 && r.experts.is_multiple_of(g.count);
            let expected = format!("a divisor of {}", r.experts);
            self.check("groups", whole, g.count, expected)?;
            let each = r.experts / g.count;
            let room = g.top <= g.count && g.top * each >= r.top_k;
            self.check(
                "groups that take part",
                room,
                g.top,
                format!("room for {}", r.top_k),
            )?;
            let best = g.best > 0 && g.best <= each;
            self.check("best of a group", best, g.best, format!("1 to {each}"))?;
        }
        self.of_tokens(self.at(scores))?;
        Ok(vec![Dim::Tokens, Dim::Const(2 * r.top_k)])
    }

    pub(super) fn group_by_expert(&self, g: &Grouping) -> Result<Shape, ShapeError> {
        self.grouping(g)?;
        let width = self.width(0)?;
        self.check("width of x", width == 2 * g.top_k, width, 2 * g.top_k)?;
        self.of_tokens(0)?;
        Ok(vec![g.table()])
    }

    pub(super) fn gather_tokens(&self, g: &Grouping) -> Result<Shape, ShapeError> {
        self.same_shape("groups", &[g.table()])?;
        self.of_tokens(0)?;
        Ok(vec![g.rows(), Dim::Const(self.width(0)?)])
    }

    pub(super) fn combine(&self, g: &Grouping) -> Result<Shape, ShapeError> {
        self.same_shape("groups", &[g.table()])?;
        let width = self.width(0)?;
        self.same_shape("x", &[g.rows(), Dim::Const(width)])?;
        Ok(vec![Dim::Tokens, Dim::Const(width)])
    }

    pub(super) fn scale_rows(&self) -> Result<Shape, ShapeError> {
        self.width(0)?;
        let x = self.shape(0).clone();
        self.same_shape("by", &[x[0], Dim::Const(1)])?;
        Ok(x)
    }

    /// A weight for each expert.
    fn family(&self, role: &str, g: &Grouping, shape: &[usize]) -> Result<(), ShapeError> {
        let decl = self.graph.weight(self.operands[self.at(role)]);
        let found = decl.map_or_else(
            || "no weight".to_string(),
            |d| format!("{} of {:?}", d.count, d.shape),
        );
        let expected = format!("{} of {shape:?}", g.experts);
        self.check(role, found == expected, &found, &expected)
    }

    pub(super) fn grouped_matmul(&self, m: &GroupedMatmul) -> Result<Shape, ShapeError> {
        let g = &m.grouping;
        let k = self.width(0)?;
        self.same_shape("x", &[g.rows(), Dim::Const(k)])?;
        self.same_shape("groups", &[g.table()])?;
        self.family("w", g, &[m.rows, k])?;
        if m.bias {
            self.family("bias", g, &[m.rows])?;
        }
        Ok(vec![g.rows(), Dim::Const(m.rows)])
    }

    pub(super) fn activate(&self, a: &Activate) -> Result<Shape, ShapeError> {
        let (width, x) = (self.width(0)?, self.shape(0).clone());
        match a.form {
            Form::Plain => Ok(x),
            Form::Gated => {
                self.same_shape("up", &x)?;
                Ok(x)
            }
            Form::Paired => {
                self.check(
                    "width of x",
                    width.is_multiple_of(2),
                    width,
                    "an even number",
                )?;
                Ok(vec![x[0], Dim::Const(width / 2)])
            }
        }
    }

    /// The groups, or the scores that they are made from.
    fn routed(&self, g: &Grouping, route: Option<&Route>) -> Result<(), ShapeError> {
        match route {
            Some(r) => self.route(r, "scores").map(drop),
            None => self.same_shape("groups", &[g.table()]),
        }
    }

    pub(super) fn experts_in(&self, e: &ExpertsIn) -> Result<Shape, ShapeError> {
        let (g, k) = (&e.grouping, self.width(0)?);
        self.of_tokens(0)?;
        if let Some(n) = &e.norm {
            self.check("group of the prologue", n.group == k, n.group, k)?;
            self.norm(n, "norm.", k)?;
        }
        self.routed(g, e.route.as_ref())?;
        let rows = e.ffn * e.activate.form.rows_each();
        for i in 0..e.activate.form.matrices() {
            self.family(&format!("w{i}"), g, &[rows, k])?;
            if e.bias {
                self.family(&format!("bias{i}"), g, &[rows])?;
            }
        }
        Ok(vec![g.rows(), Dim::Const(e.ffn)])
    }

    pub(super) fn experts_out(&self, e: &ExpertsOut) -> Result<Shape, ShapeError> {
        let (g, k) = (&e.grouping, self.width(0)?);
        self.same_shape("x", &[g.rows(), Dim::Const(k)])?;
        self.routed(g, e.route.as_ref())?;
        self.family("w", g, &[e.rows, k])?;
        if e.bias {
            self.family("bias", g, &[e.rows])?;
        }
        let shape = vec![Dim::Tokens, Dim::Const(e.rows)];
        for (there, role) in [(e.shared, "shared"), (e.residual, "residual")] {
            if there {
                self.same_shape(role, &shape)?;
            }
        }
        if e.shared_gate {
            self.same_shape("shared_gate", &[Dim::Tokens, Dim::Const(1)])?;
        }
        Ok(shape)
    }
}
