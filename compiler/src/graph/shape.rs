//! Shape rules: from an operation and its operands to the shape of the result, or why they do not fit.

mod experts;
mod heads;
mod recurrent;
mod rows;

use super::op::*;
use super::text::shape_text;
use super::{Graph, NodeId};

/// Why operands do not fit an operation.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShapeError {
    /// Wrong number of operands.
    #[error("{op} takes {expected} operands ({roles}), found {found}")]
    Arity {
        /// Operation.
        op: &'static str,
        /// Roles it wants.
        roles: String,
        /// How many it wants.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// Wrong size.
    #[error("{op}: {what} is {found}, expected {expected}")]
    Size {
        /// Operation.
        op: &'static str,
        /// Which operand or option.
        what: String,
        /// What it is.
        found: String,
        /// What it has to be.
        expected: String,
    },
}

struct Rule<'a> {
    graph: &'a Graph,
    op: &'a Op,
    operands: &'a [NodeId],
    roles: Vec<String>,
}

/// The shape of `op`'s result.
pub(super) fn infer(graph: &Graph, op: &Op, operands: &[NodeId]) -> Result<Shape, ShapeError> {
    let roles = op.roles();
    if roles.len() != operands.len() {
        let (expected, found) = (roles.len(), operands.len());
        return Err(ShapeError::Arity {
            op: op.name(),
            roles: roles.join(", "),
            expected,
            found,
        });
    }
    let r = Rule {
        graph,
        op,
        operands,
        roles,
    };
    match op {
        Op::Input(_) => Ok(vec![]),
        Op::Weight(w) => Ok(graph.weights[w.0 as usize]
            .shape
            .iter()
            .map(|&n| Dim::Const(n))
            .collect()),
        Op::Embed { .. } | Op::PositionRows { .. } => r.look_up(),
        Op::RopeAngles { rotary_dim, .. } => Ok(vec![Dim::Tokens, Dim::Const(*rotary_dim)]),
        Op::Norm(n) => {
            r.norm(n, "", r.width(0)?)?;
            Ok(r.shape(0).clone())
        }
        Op::Matmul(m) => r.matmul(m),
        Op::Quantize { norm } => {
            let width = r.width(0)?;
            if let Some(n) = norm {
                r.prologue(n, width)?;
            }
            Ok(r.shape(0).clone())
        }
        Op::Binary(_) => r.binary(),
        Op::Unary(_) | Op::Copy | Op::Cutoff { .. } => r.as_it_is(),
        Op::Rope(p) => {
            r.rope(p, r.width(0)?)?;
            Ok(r.shape(0).clone())
        }
        Op::PositionScale(p) => {
            r.width(0)?;
            r.position_scale(p)?;
            Ok(r.shape(0).clone())
        }
        Op::CacheWrite { state } => r.cache_write(*state),
        Op::CacheRead { state } => {
            r.state(*state)?;
            Ok(vec![])
        }
        Op::Finish { parts } => r.finish(parts),
        Op::Scores(a) => {
            r.attention(a)?;
            Ok(vec![Dim::Const(a.heads), Dim::Queries, Dim::Keys])
        }
        Op::Softmax(a) => {
            r.scores_of(a)?;
            r.sinks(a)?;
            Ok(r.shape(0).clone())
        }
        Op::Mix(a) => {
            r.scores_of(a)?;
            r.state_heads(a)?;
            Ok(vec![Dim::Tokens, Dim::Const(a.heads * a.value_dim)])
        }
        Op::Attention(a) => {
            r.attention(a)?;
            r.sinks(a)?;
            Ok(vec![Dim::Tokens, Dim::Const(a.heads * a.value_dim)])
        }
        Op::GatherRows => r.gather_rows(),
        Op::Slice { start, len } => r.slice(*start, *len),
        Op::HeadSlice(c) => r.head_slice(c),
        Op::HeadConcat(c) => r.head_concat(c),
        Op::HeadMatmul(m) => r.head_matmul(m, [0, 1]),
        Op::LatentAttention(l) => r.latent_attention(l),
        Op::Route(o) => r.route(o, "x"),
        Op::GroupByExpert(g) => r.group_by_expert(g),
        Op::GatherTokens { grouping, .. } => r.gather_tokens(grouping),
        Op::GroupedMatmul(m) => r.grouped_matmul(m),
        Op::Activate(a) => r.activate(a),
        Op::Combine { grouping, .. } => r.combine(grouping),
        Op::ScaleRows => r.scale_rows(),
        Op::WeightedSum(w) => r.weighted_sum(w),
        Op::MatchRms { .. } => {
            r.width(0)?;
            r.same_shape("like", r.shape(0))?;
            Ok(r.shape(0).clone())
        }
        Op::ShortConv(c) => r.short_conv(c),
        Op::Decay { heads } => r.decay(*heads),
        Op::DeltaRule(d) => r.delta_rule(d),
        Op::ExpertsIn(e) => r.experts_in(e),
        Op::ExpertsOut(e) => r.experts_out(e),
    }
}

impl Rule<'_> {
    fn shape(&self, i: usize) -> &Shape {
        self.graph.shape(self.operands[i])
    }

    fn check(
        &self,
        what: &str,
        ok: bool,
        found: impl ToString,
        expected: impl ToString,
    ) -> Result<(), ShapeError> {
        if ok {
            return Ok(());
        }
        let (found, expected) = (found.to_string(), expected.to_string());
        Err(ShapeError::Size {
            op: self.op.name(),
            what: what.into(),
            found,
            expected,
        })
    }

    fn dim(&self, i: usize, d: usize) -> Result<Dim, ShapeError> {
        let s = self.shape(i);
        self.check(
            &format!("rank of {}", self.roles[i]),
            d < s.len(),
            s.len(),
            d + 1,
        )?;
        Ok(s[d])
    }

    /// Columns of a `[rows, n]` operand.
    fn width(&self, i: usize) -> Result<usize, ShapeError> {
        let s = self.shape(i);
        match s.as_slice() {
            [_, Dim::Const(n)] => Ok(*n),
            _ => Err(ShapeError::Size {
                op: self.op.name(),
                what: format!("shape of {}", self.roles[i]),
                found: shape_text(s),
                expected: "[rows, n]".into(),
            }),
        }
    }

    fn vector(&self, role: &str, n: usize) -> Result<(), ShapeError> {
        let i = self
            .roles
            .iter()
            .position(|r| r == role)
            .expect("a role of this op");
        let s = self.shape(i);
        let ok = matches!(s.as_slice(), [Dim::Const(m)] if *m == n);
        self.check(
            &format!("size of {role}"),
            ok,
            shape_text(s),
            format!("[{n}]"),
        )
    }

    fn norm(&self, n: &Norm, prefix: &str, width: usize) -> Result<(), ShapeError> {
        self.check(
            "norm group",
            n.group > 0 && width.is_multiple_of(n.group),
            n.group,
            format!("a divisor of {width}"),
        )?;
        for (there, role) in [(n.gain, "gain"), (n.bias, "bias")] {
            if there {
                self.vector(&format!("{prefix}{role}"), n.group)?;
            }
        }
        Ok(())
    }

    /// A norm in front of something else, over the whole row.
    fn prologue(&self, n: &Norm, width: usize) -> Result<(), ShapeError> {
        self.check("group of the prologue", n.group == width, n.group, width)?;
        self.norm(n, "norm.", width)
    }

    fn rope(&self, p: &Rope, width: usize) -> Result<(), ShapeError> {
        self.check(
            "head_dim",
            p.head_dim > 0 && width.is_multiple_of(p.head_dim),
            p.head_dim,
            format!("a divisor of {width}"),
        )?;
        self.check(
            "end of the rotation",
            p.start + p.rotary_dim <= p.head_dim,
            p.start + p.rotary_dim,
            format!("at most {}", p.head_dim),
        )?;
        let i = self
            .roles
            .iter()
            .position(|r| r == "angles")
            .expect("a rotation has angles");
        self.check(
            "width of angles",
            self.width(i)? == p.rotary_dim,
            self.width(i)?,
            p.rotary_dim,
        )?;
        self.same_rows(i, 0)
    }

    fn position_scale(&self, p: &PositionScale) -> Result<(), ShapeError> {
        self.of_tokens(0)?;
        self.check("every", p.every > 0.0, p.every, "a number above 0")
    }

    fn matmul(&self, m: &Matmul) -> Result<Shape, ShapeError> {
        let k = self.width(0)?;
        self.check("parts", !m.parts.is_empty(), 0, "at least one")?;
        if let Some(n) = &m.norm {
            self.prologue(n, k)?;
        }
        for (i, p) in m.parts.iter().enumerate() {
            let at = self
                .roles
                .iter()
                .position(|r| *r == format!("w{i}"))
                .expect("every part has a weight");
            let found = self.shape(at);
            let single = self
                .graph
                .weight(self.operands[at])
                .is_none_or(|d| d.count == 1);
            self.check(&format!("w{i}"), single, "a family", "one weight")?;
            let expected = vec![Dim::Const(p.rows), Dim::Const(k)];
            self.check(
                &format!("w{i}"),
                *found == expected,
                shape_text(found),
                format!("[{}, {k}]", p.rows),
            )?;
            if p.bias {
                self.vector(&format!("bias{i}"), p.rows)?;
            }
            self.finish_part(i, &p.finish, p.rows)?;
        }
        if let Join::Gated(_) = m.join {
            let rows: Vec<_> = m.parts.iter().map(|p| p.rows).collect();
            self.check(
                "gated parts",
                rows.len() == 2 && rows[0] == rows[1],
                format!("{rows:?}"),
                "two of the same size",
            )?;
        }
        let shape = vec![self.shape(0)[0], Dim::Const(m.width())];
        if m.residual {
            let r = self.shape(self.operands.len() - 1);
            self.check("residual", *r == shape, shape_text(r), shape_text(&shape))?;
        }
        Ok(shape)
    }

    fn finish_part(&self, i: usize, f: &Finish, rows: usize) -> Result<(), ShapeError> {
        self.check("rows to finish", f.rows == rows, f.rows, rows)?;
        for (j, touch) in f.touches.iter().enumerate() {
            match touch {
                Touch::Norm(n) => self.norm(n, &touch_role(i, j), rows)?,
                Touch::Rope(p) => self.rope(p, rows)?,
                Touch::PositionScale(p) => self.position_scale(p)?,
            }
            self.check(
                "grain of a touch",
                f.grain().is_multiple_of(touch.grain()),
                touch.grain(),
                format!("a divisor of {}, the widest one's", f.grain()),
            )?;
        }
        let (state, width) = match f.dest {
            Dest::Output => return Ok(()),
            Dest::Keys(s) => (s, self.state(s)?.kv_heads * self.state(s)?.head_dim),
            Dest::Values(s) => (s, self.state(s)?.kv_heads * self.state(s)?.value_dim),
            Dest::KeyColumns(s, start) => return self.key_columns(s, start, rows),
        };
        self.of_tokens(0)?;
        self.check(&format!("row of state {state}"), width == rows, rows, width)
    }

    fn key_columns(&self, s: StateId, start: usize, rows: usize) -> Result<(), ShapeError> {
        let d = self.state(s)?;
        self.of_tokens(0)?;
        self.check(
            &format!("key heads of state {s}"),
            d.kv_heads == 1,
            d.kv_heads,
            1,
        )?;
        let (end, most) = (start + rows, d.head_dim);
        self.check(
            &format!("columns of state {s}"),
            end <= most,
            end,
            format!("at most {most}"),
        )
    }

    fn finish(&self, parts: &[Finish]) -> Result<Shape, ShapeError> {
        let total: usize = parts.iter().map(|p| p.rows).sum();
        self.check("width of x", self.width(0)? == total, self.width(0)?, total)?;
        for (i, p) in parts.iter().enumerate() {
            self.finish_part(i, p, p.rows)?;
        }
        let out = parts
            .iter()
            .filter(|p| p.dest == Dest::Output)
            .map(|p| p.rows)
            .sum();
        Ok(vec![self.shape(0)[0], Dim::Const(out)])
    }

    fn slice(&self, start: usize, len: usize) -> Result<Shape, ShapeError> {
        let (w, end) = (self.width(0)?, start + len);
        let fits = end <= w && len > 0;
        self.check("the columns' end", fits, end, format!("at most {w}"))?;
        Ok(vec![self.shape(0)[0], Dim::Const(len)])
    }

    fn binary(&self) -> Result<Shape, ShapeError> {
        self.width(0)?;
        let (a, b) = (self.shape(0), self.shape(1));
        let broadcast = b.len() == 1 && a.last() == b.last();
        self.check(
            "second operand",
            a == b || broadcast,
            shape_text(b),
            format!("{} or its last dimension", shape_text(a)),
        )?;
        Ok(a.clone())
    }

    fn weighted_sum(&self, w: &WeightedSum) -> Result<Shape, ShapeError> {
        let columns = self.width(0)?;
        self.check(
            "the weights' end",
            w.count > 0 && w.start + w.count <= columns,
            w.start + w.count,
            format!("at most {columns}"),
        )?;
        self.width(1)?;
        self.same_rows(1, 0)?;
        for j in 0..w.count {
            self.same_shape(&format!("x{j}"), self.shape(1))?;
        }
        Ok(self.shape(1).clone())
    }

    fn state(&self, s: StateId) -> Result<&super::StateDecl, ShapeError> {
        self.graph
            .states
            .get(s.0 as usize)
            .ok_or_else(|| ShapeError::Size {
                op: self.op.name(),
                what: "state".into(),
                found: s.to_string(),
                expected: format!("one of {}", self.graph.states.len()),
            })
    }

    fn cache_write(&self, s: StateId) -> Result<Shape, ShapeError> {
        let d = self.state(s)?;
        let (k, v) = (d.kv_heads * d.head_dim, d.kv_heads * d.value_dim);
        self.check("width of k", self.width(0)? == k, self.width(0)?, k)?;
        self.check("width of v", self.width(1)? == v, self.width(1)?, v)?;
        self.of_tokens(0)?;
        self.of_tokens(1)?;
        Ok(vec![])
    }

    fn sinks(&self, a: &Attention) -> Result<(), ShapeError> {
        if a.sinks {
            self.vector("sinks", a.heads)?;
        }
        Ok(())
    }

    /// That queries and state fit.
    fn attention(&self, a: &Attention) -> Result<(), ShapeError> {
        self.state_heads(a)?;
        self.of_tokens(0)?;
        let q = a.heads * a.head_dim;
        self.check("width of q", self.width(0)? == q, self.width(0)?, q)
    }

    fn state_heads(&self, a: &Attention) -> Result<(), ShapeError> {
        let d = self.state(a.state)?;
        let whole = a.kv_heads > 0 && a.heads.is_multiple_of(a.kv_heads);
        self.check(
            "kv_heads",
            whole,
            a.kv_heads,
            format!("a divisor of {}", a.heads),
        )?;
        let (found, expected) = (
            (a.kv_heads, a.head_dim, a.value_dim),
            (d.kv_heads, d.head_dim, d.value_dim),
        );
        self.check(
            "heads of the state",
            found == expected,
            format!("{expected:?}"),
            format!("{found:?}"),
        )?;
        let rows = |ring: Option<usize>| ring.map_or("none".into(), |n| format!("{n} rows"));
        self.check(
            "ring of the state",
            d.ring == a.reach.limit(),
            rows(d.ring),
            format!("{}, as far as queries look back", rows(a.reach.limit())),
        )
    }
}
