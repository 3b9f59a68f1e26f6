//! Norms, alone or inside other operations, and rounding to int8 with a norm before it.

use super::operand::{NormAt, Reads, Role, Take};
use super::rule::{Given, Rule, ShapeError};
use super::words::{Attr, AttrError, Words, flag, float, set, tree};
use crate::graph::dim::Shape;
use crate::spec::model::NormKind;

/// Options of a norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// RMSNorm or LayerNorm.
    pub kind: NormKind,
    /// Added to the mean square or variance.
    pub eps: f32,
    /// Elements that are normalised together; divides the row.
    pub group: usize,
    /// Has a gain operand, `[group]` or the whole row.
    pub gain: bool,
    /// Has a bias operand.
    pub bias: bool,
    /// Multiplies by `1 + gain`.
    pub unit_offset: bool,
}

/// The vectors of a norm.
#[derive(Clone, Copy, Debug)]
pub struct NormVectors<T> {
    /// `[group]`.
    pub gain: Option<T>,
    /// `[group]`.
    pub bias: Option<T>,
}

/// Operands of a norm by itself, or of rounding to int8 with or without a norm before it.
#[derive(Clone, Copy, Debug)]
pub struct NormOperands<T> {
    /// The rows.
    pub x: T,
    /// The norm's.
    pub norm: NormVectors<T>,
}

impl Norm {
    /// The name of the operation that is a norm alone.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            NormKind::Rms => "rms_norm",
            NormKind::Layer => "layer_norm",
            NormKind::L2 => "l2_norm",
        }
    }

    /// The walk of a norm by itself.
    pub fn operands<T>(&self, take: Take<T>) -> NormOperands<T> {
        NormOperands {
            x: take(Role::X, Reads::Rows),
            norm: NormVectors::of(Some(self), NormAt::Itself, take),
        }
    }

    /// That a row of `width` is whole groups, and that gain and bias are a group's size.
    pub(super) fn fits(
        &self,
        rule: &Rule,
        vectors: &NormVectors<Given>,
        width: usize,
    ) -> Result<(), ShapeError> {
        rule.check(
            "norm group",
            self.group > 0 && width.is_multiple_of(self.group),
            self.group,
            format!("a divisor of {width}"),
        )?;
        let mut there = vectors.gain.into_iter().chain(vectors.bias);
        there.try_for_each(|v| rule.vector(v, self.group))
    }

    /// That the norm runs over whole rows of `width`, as one before something else does.
    pub(super) fn fits_rows(
        &self,
        rule: &Rule,
        vectors: &NormVectors<Given>,
        width: usize,
    ) -> Result<(), ShapeError> {
        let whole = self.group == width;
        rule.check("group of the prologue", whole, self.group, width)?;
        self.fits(rule, vectors, width)
    }

    pub(super) fn shape(&self, rule: &Rule, o: &NormOperands<Given>) -> Result<Shape, ShapeError> {
        self.fits(rule, &o.norm, rule.width(o.x)?)?;
        Ok(o.x.shape.clone())
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let mut out = vec![float("eps", self.eps), set("group", self.group)];
        out.extend(self.unit_offset.then(|| flag("unit_offset")));
        out
    }

    /// A norm inside another operation says its kind and which operands it has.
    pub(super) fn word(&self) -> Attr {
        let kind = match self.kind {
            NormKind::Rms => "rms",
            NormKind::Layer => "layer",
            NormKind::L2 => "l2",
        };
        let mut out = vec![flag(kind)];
        out.extend(self.gain.then(|| flag("gain")));
        out.extend(self.bias.then(|| flag("bias")));
        out.extend(self.words());
        tree("norm", out)
    }

    /// A norm by itself, whose operands say what it has.
    pub(super) fn read(w: &Words, kind: NormKind) -> Result<Norm, AttrError> {
        let [gain, bias] = [Role::NormGain, Role::NormBias].map(|r| w.given(r(NormAt::Itself)));
        Norm::with(w, kind, gain, bias)
    }

    fn with(w: &Words, kind: NormKind, gain: bool, bias: bool) -> Result<Norm, AttrError> {
        Ok(Norm {
            kind,
            eps: w.get("eps")?,
            group: w.get("group")?,
            gain,
            bias,
            unit_offset: w.has("unit_offset"),
        })
    }

    /// The words inside the word `norm`.
    pub(super) fn read_inner(w: &Words) -> Result<Norm, AttrError> {
        let kind = match (w.has("layer"), w.has("l2")) {
            (true, _) => NormKind::Layer,
            (false, true) => NormKind::L2,
            (false, false) => NormKind::Rms,
        };
        Norm::with(w, kind, w.has("gain"), w.has("bias"))
    }

    /// The norm inside another operation, if it has one.
    pub(super) fn read_within(w: &Words) -> Result<Option<Norm>, AttrError> {
        let found = w.find("norm").map(|a| w.inside(a));
        found.as_ref().map(Norm::read_inner).transpose()
    }
}

impl<T> NormVectors<T> {
    /// Those of a norm without gain and bias.
    pub(crate) const NONE: Self = NormVectors {
        gain: None,
        bias: None,
    };

    /// The walk of a norm, if there is one.
    pub fn of(norm: Option<&Norm>, at: NormAt, take: Take<T>) -> Self {
        let [gain, bias] = norm.map_or([false; 2], |n| [n.gain, n.bias]);
        NormVectors {
            gain: gain.then(|| take(Role::NormGain(at), Reads::Vector)),
            bias: bias.then(|| take(Role::NormBias(at), Reads::Vector)),
        }
    }
}

impl<T> NormOperands<T> {
    /// The walk of rounding to int8, with a norm before it or without.
    pub(crate) fn of_quantize(norm: Option<&Norm>, take: Take<T>) -> Self {
        NormOperands {
            x: take(Role::X, Reads::Rows),
            norm: NormVectors::of(norm, NormAt::Around, take),
        }
    }
}

/// The shape of rows rounded to int8.
pub(super) fn quantize_shape(
    norm: Option<&Norm>,
    rule: &Rule,
    o: &NormOperands<Given>,
) -> Result<Shape, ShapeError> {
    let width = rule.width(o.x)?;
    if let Some(n) = norm {
        n.fits_rows(rule, &o.norm, width)?;
    }
    Ok(o.x.shape.clone())
}
