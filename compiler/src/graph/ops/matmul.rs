//! The matmul: one or several weights on the same input, with prologue and epilogue.

use super::epilogue::{Dest, Epilogue};
use super::norm::{Norm, NormVectors};
use super::operand::{NormAt, Reads, Role, Take};
use super::rule::{Given, Rule, ShapeError};
use super::words::{Attr, AttrError, Words, flag, float, set, tree};
use crate::graph::dim::{Dim, Shape, StateId};
use crate::spec::model::Activation;

/// Options of a matmul.
#[derive(Clone, Debug, PartialEq)]
pub struct Matmul {
    /// Applied to every row of `x` first.
    pub norm: Option<Norm>,
    /// Then rounds it to int8, which quantised weights need.
    pub quantize_x: bool,
    /// The weights.
    pub parts: Vec<Part>,
    /// How the parts' results become one.
    pub join: Join,
    /// Applied to the joined result.
    pub act: Option<Activation>,
    /// Multiplies the result, before the residual.
    pub scale: Option<f32>,
    /// Adds a residual operand.
    pub residual: bool,
    /// Rounds the result to int8, for matmuls with quantised weights.
    pub quantize_y: bool,
}

/// One weight of a matmul.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Rows of the weight: width of the result.
    pub rows: usize,
    /// Has a bias operand.
    pub bias: bool,
    /// What happens to the result before it is joined.
    pub epilogue: Epilogue,
}

/// How a matmul's parts become one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Side by side.
    Concat,
    /// `act(part 0) · part 1`.
    Gated(Activation),
}

/// Operands of a matmul.
#[derive(Clone, Debug)]
pub struct MatmulOperands<T> {
    /// `[rows, k]`.
    pub x: T,
    /// Of the norm before the product.
    pub norm: NormVectors<T>,
    /// One for each part.
    pub parts: Vec<PartOperands<T>>,
    /// Where a part rotates.
    pub angles: Option<T>,
    /// Of the result's shape.
    pub residual: Option<T>,
}

/// Operands of one part of a matmul.
#[derive(Clone, Debug)]
pub struct PartOperands<T> {
    /// `[part's rows, k]`.
    pub weight: T,
    /// `[part's rows]`.
    pub bias: Option<T>,
    /// For each step of the epilogue, the vectors that it has if it is a norm.
    pub norms: Vec<NormVectors<T>>,
}

impl Part {
    /// A weight with `rows` rows and nothing around it.
    pub fn plain(rows: usize) -> Part {
        Part {
            rows,
            bias: false,
            epilogue: Epilogue::plain(rows),
        }
    }

    fn operands<T>(&self, part: usize, take: Take<T>) -> PartOperands<T> {
        PartOperands {
            weight: take(Role::PartWeight(part), Reads::Matrix),
            bias: self.bias.then(|| take(Role::PartBias(part), Reads::Vector)),
            norms: self.epilogue.norms(part, take),
        }
    }

    fn goes_on(&self) -> bool {
        self.epilogue.dest == Dest::Output
    }
}

impl Matmul {
    /// One weight, nothing around it.
    pub fn plain(rows: usize) -> Matmul {
        Matmul {
            norm: None,
            quantize_x: false,
            parts: vec![Part::plain(rows)],
            join: Join::Concat,
            act: None,
            scale: None,
            residual: false,
            quantize_y: false,
        }
    }

    /// Nothing but weights side by side.
    pub fn is_plain(&self) -> bool {
        *self
            == Matmul {
                parts: self.parts.iter().map(|p| Part::plain(p.rows)).collect(),
                ..Matmul::plain(0)
            }
    }

    /// Width of the result.
    pub fn width(&self) -> usize {
        match self.join {
            Join::Gated(_) => self.parts[0].rows,
            Join::Concat => self.column(self.parts.len()),
        }
    }

    /// First column of part `index` in the result, where it goes there.
    pub fn column(&self, index: usize) -> usize {
        let before = self.parts[..index].iter().filter(|p| p.goes_on());
        before.map(|p| p.rows).sum()
    }

    /// Whether a part rotates, so that there is an angles operand.
    pub(crate) fn has_rope(&self) -> bool {
        self.parts.iter().any(|p| p.epilogue.has_rope())
    }

    /// States that parts go into.
    pub fn states(&self) -> impl Iterator<Item = StateId> + '_ {
        self.parts.iter().filter_map(|p| p.epilogue.dest.state())
    }

    /// The walk.
    pub fn operands<T>(&self, take: Take<T>) -> MatmulOperands<T> {
        let x = take(Role::X, Reads::Rows);
        let norm = NormVectors::of(self.norm.as_ref(), NormAt::Around, take);
        let parts = self.parts.iter().enumerate();
        MatmulOperands {
            x,
            norm,
            parts: parts.map(|(i, p)| p.operands(i, take)).collect(),
            angles: self.has_rope().then(|| take(Role::Angles, Reads::Rows)),
            residual: self.residual.then(|| take(Role::Residual, Reads::Rows)),
        }
    }

    pub(super) fn shape(
        &self,
        rule: &Rule,
        o: &MatmulOperands<Given>,
    ) -> Result<Shape, ShapeError> {
        let k = rule.width(o.x)?;
        rule.check("parts", !self.parts.is_empty(), 0, "at least one")?;
        if let Some(n) = &self.norm {
            n.fits_rows(rule, &o.norm, k)?;
        }
        for (p, own) in self.parts.iter().zip(&o.parts) {
            let single = own.weight.weight.is_none_or(|d| d.count == 1);
            let what = own.weight.role.to_string();
            rule.check(&what, single, "a family", "one weight")?;
            rule.matrix(own.weight, p.rows, k)?;
            own.bias.map_or(Ok(()), |b| rule.vector(b, p.rows))?;
            p.epilogue.fits(rule, (o.x, o.angles), &own.norms, p.rows)?;
        }
        if let Join::Gated(_) = self.join {
            let rows: Vec<_> = self.parts.iter().map(|p| p.rows).collect();
            rule.check(
                "gated parts",
                rows.len() == 2 && rows[0] == rows[1],
                format!("{rows:?}"),
                "two of the same size",
            )?;
        }
        let shape = vec![o.x.shape[0], Dim::Const(self.width())];
        o.residual.map_or(Ok(()), |r| rule.same_shape(r, &shape))?;
        Ok(shape)
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let mut out: Vec<Attr> = self.norm.iter().map(Norm::word).collect();
        out.extend(self.quantize_x.then(|| flag("quantize_x")));
        for p in &self.parts {
            let mut words = p.epilogue.words();
            words.extend(p.bias.then(|| flag("bias")));
            out.push(tree("part", words));
        }
        if let Join::Gated(a) = self.join {
            out.push(set("gated", a.name()));
        }
        out.extend(self.act.map(|a| set("act", a.name())));
        out.extend(self.scale.map(|c| float("scale", c)));
        out.extend(self.residual.then(|| flag("residual")));
        out.extend(self.quantize_y.then(|| flag("quantize_y")));
        out
    }

    pub(super) fn read(w: &Words) -> Result<Matmul, AttrError> {
        let part = |w: Words| {
            let epilogue = Epilogue::read(&w)?;
            Ok(Part {
                rows: epilogue.rows,
                bias: w.has("bias"),
                epilogue,
            })
        };
        Ok(Matmul {
            norm: Norm::read_within(w)?,
            quantize_x: w.has("quantize_x"),
            parts: w.parts().map(part).collect::<Result<_, _>>()?,
            join: w.act("gated")?.map_or(Join::Concat, Join::Gated),
            act: w.act("act")?,
            scale: w.maybe("scale")?,
            residual: w.has("residual"),
            quantize_y: w.has("quantize_y"),
        })
    }
}
