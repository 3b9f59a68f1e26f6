//! Operations whose state does not grow with the sequence: a short convolution, and the gated delta rule.

use super::norm::{Norm, NormVectors};
use super::operand::{NormAt, Reads, Role, Take};
use super::rule::{Given, Rule, ShapeError};
use super::words::{Attr, AttrError, Words, flag, float, set};
use crate::graph::dim::{Dim, RecurrentId, Shape};
use crate::spec::model::Activation;

/// A causal convolution of every channel by itself: `out[t, c] = norm(act(Σ_j w[c, j] · x[t − taps + 1 + j, c]))`.
///
/// The state holds the last `taps − 1` rows of `x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShortConv {
    /// Positions that a result sees, its own included.
    pub taps: usize,
    /// Applied to the sum.
    pub act: Option<Activation>,
    /// Applied after it; without gain and bias.
    pub norm: Option<Norm>,
    /// `[1, taps − 1, n]`.
    pub state: RecurrentId,
}

/// The gated delta rule (Yang, Kautz & Hatamizadeh 2025); with a decay for each component of a key it is Kimi delta attention
/// (Kimi Team 2025).
///
/// For each token and head: `S ← diag(decay) S`, `S ← S + k · β (v − Sᵀ k)ᵀ`, `out = scale · Sᵀ q + skip · v`. Without correction
/// what the state gives for the key is not taken off, and it is the recurrence of Mamba-2 (Dao & Gu 2024).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeltaRule {
    /// Heads of the state and of the values.
    pub heads: usize,
    /// Heads of queries and keys, each for as many heads of the state.
    pub key_heads: usize,
    /// Heads of the state take them in turn; if not, those with the same follow each other.
    pub in_turn: bool,
    /// Width of a key: rows of the state.
    pub key_dim: usize,
    /// Width of a value: columns of the state.
    pub value_dim: usize,
    /// Multiplies the result.
    pub scale: f32,
    /// Takes `Sᵀ k` off the value.
    pub corrects: bool,
    /// Adds the value, times a number for each head that is an operand.
    pub skip: bool,
    /// Normalises the result of each head.
    pub norm: Option<Norm>,
    /// Multiplies the result by an operand of its shape, after the norm.
    pub gated: bool,
    /// `[heads, key_dim, value_dim]`.
    pub state: RecurrentId,
}

/// Operands of a short convolution.
#[derive(Clone, Copy, Debug)]
pub struct ShortConvOperands<T> {
    /// `[T, n]`.
    pub x: T,
    /// `[n, taps]`.
    pub weight: T,
}

/// Operands of a decay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DecayOperands<T> {
    /// `[T, n]`.
    pub x: T,
    /// `[heads]`.
    pub rate: T,
    /// `[n]`.
    pub bias: T,
}

/// Operands of the delta rule.
#[derive(Clone, Copy, Debug)]
pub struct DeltaOperands<T> {
    /// `[T, key_heads · key_dim]`.
    pub q: T,
    /// `[T, key_heads · key_dim]`.
    pub k: T,
    /// `[T, heads · value_dim]`.
    pub v: T,
    /// `[T, heads]` or `[T, heads · key_dim]`, or a vector that all tokens see.
    pub decay: T,
    /// `[T, heads]`, or a vector that all tokens see.
    pub beta: T,
    /// `[heads]`.
    pub skip: Option<T>,
    /// Of the norm of results.
    pub norm: NormVectors<T>,
    /// Of the result's shape.
    pub gate: Option<T>,
}

impl ShortConv {
    /// The walk.
    pub fn operands<T>(&self, take: Take<T>) -> ShortConvOperands<T> {
        ShortConvOperands {
            x: take(Role::X, Reads::Rows),
            weight: take(Role::Weight, Reads::Vector),
        }
    }

    pub(super) fn shape(
        &self,
        rule: &Rule,
        o: &ShortConvOperands<Given>,
    ) -> Result<Shape, ShapeError> {
        let n = rule.width(o.x)?;
        rule.of_tokens(o.x)?;
        rule.check("taps", self.taps > 1, self.taps, "at least 2")?;
        rule.matrix(o.weight, n, self.taps)?;
        if let Some(norm) = &self.norm {
            let bare = !norm.gain && !norm.bias;
            rule.check("norm", bare, "with operands", "one without gain and bias")?;
            norm.fits(rule, &NormVectors::NONE, n)?;
        }
        rule.recurrent(self.state, [1, self.taps - 1, n])?;
        Ok(o.x.shape.clone())
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let mut out = vec![set("taps", self.taps)];
        out.extend(self.act.map(|a| set("act", a.name())));
        out.extend(self.norm.iter().map(Norm::word));
        out.push(set("state", self.state));
        out
    }

    pub(super) fn read(w: &Words) -> Result<ShortConv, AttrError> {
        Ok(ShortConv {
            taps: w.get("taps")?,
            act: w.act("act")?,
            norm: Norm::read_within(w)?,
            state: w.recurrent()?,
        })
    }
}

impl<T> DecayOperands<T> {
    /// The walk.
    pub(crate) fn of(take: Take<T>) -> Self {
        DecayOperands {
            x: take(Role::X, Reads::Rows),
            rate: take(Role::Rate, Reads::Vector),
            bias: take(Role::Bias, Reads::Vector),
        }
    }
}

/// The shape of how much of a state stays, for so many heads.
pub(super) fn decay_shape(
    heads: usize,
    rule: &Rule,
    o: &DecayOperands<Given>,
) -> Result<Shape, ShapeError> {
    let n = rule.width(o.x)?;
    let whole = heads > 0 && n.is_multiple_of(heads);
    rule.check("heads", whole, heads, format!("a divisor of {n}"))?;
    rule.vector(o.rate, heads)?;
    rule.vector(o.bias, n)?;
    Ok(o.x.shape.clone())
}

/// How many numbers a token has: of rows, or of a vector that all tokens see.
fn each_token(rule: &Rule, x: Given) -> Result<usize, ShapeError> {
    match x.shape.as_slice() {
        [Dim::Const(n)] => Ok(*n),
        _ => {
            rule.of_tokens(x)?;
            rule.width(x)
        }
    }
}

impl DeltaRule {
    /// Heads of the state that share a key.
    pub fn group(&self) -> usize {
        self.heads / self.key_heads
    }

    /// The head of queries and keys of a head of the state.
    pub fn key_head(&self, head: usize) -> usize {
        match self.in_turn {
            true => head % self.key_heads,
            false => head / self.group(),
        }
    }

    /// The walk.
    pub fn operands<T>(&self, take: Take<T>) -> DeltaOperands<T> {
        DeltaOperands {
            q: take(Role::Q, Reads::Rows),
            k: take(Role::K, Reads::Rows),
            v: take(Role::V, Reads::Rows),
            decay: take(Role::Decay, Reads::RowsOrVector),
            beta: take(Role::Beta, Reads::RowsOrVector),
            skip: self.skip.then(|| take(Role::Skip, Reads::Vector)),
            norm: NormVectors::of(self.norm.as_ref(), NormAt::Around, take),
            gate: self.gated.then(|| take(Role::Gate, Reads::Rows)),
        }
    }

    pub(super) fn shape(&self, rule: &Rule, o: &DeltaOperands<Given>) -> Result<Shape, ShapeError> {
        let whole = self.key_heads > 0 && self.heads.is_multiple_of(self.key_heads);
        let divisor = format!("a divisor of {}", self.heads);
        rule.check("key_heads", whole, self.key_heads, divisor)?;
        let keys = self.key_heads * self.key_dim;
        let values = self.heads * self.value_dim;
        for (x, n) in [(o.q, keys), (o.k, keys), (o.v, values)] {
            rule.has_width(x, n)?;
            rule.of_tokens(x)?;
        }
        let (beta, decay, all) = (
            each_token(rule, o.beta)?,
            each_token(rule, o.decay)?,
            self.heads * self.key_dim,
        );
        rule.check("width of beta", beta == self.heads, beta, self.heads)?;
        rule.check(
            "width of decay",
            decay == self.heads || decay == all,
            decay,
            format!("{} or {all}", self.heads),
        )?;
        o.skip.map_or(Ok(()), |s| rule.vector(s, self.heads))?;
        rule.recurrent(self.state, [self.heads, self.key_dim, self.value_dim])?;
        let shape = vec![o.q.shape[0], Dim::Const(values)];
        if let Some(norm) = &self.norm {
            let (found, width) = (norm.group, self.value_dim);
            rule.check("norm group", found == width, found, width)?;
            norm.fits(rule, &o.norm, width)?;
        }
        o.gate.map_or(Ok(()), |g| rule.same_shape(g, &shape))?;
        Ok(shape)
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let mut out = vec![
            set("heads", self.heads),
            set("key_heads", self.key_heads),
            set("key_dim", self.key_dim),
            set("value_dim", self.value_dim),
            float("scale", self.scale),
        ];
        out.extend(self.in_turn.then(|| flag("in_turn")));
        out.extend((!self.corrects).then(|| flag("additive")));
        out.extend(self.skip.then(|| flag("skip")));
        out.extend(self.norm.iter().map(Norm::word));
        out.extend(self.gated.then(|| flag("gated")));
        out.push(set("state", self.state));
        out
    }

    pub(super) fn read(w: &Words) -> Result<DeltaRule, AttrError> {
        Ok(DeltaRule {
            heads: w.get("heads")?,
            key_heads: w.get("key_heads")?,
            in_turn: w.has("in_turn"),
            key_dim: w.get("key_dim")?,
            value_dim: w.get("value_dim")?,
            scale: w.get("scale")?,
            corrects: !w.has("additive"),
            skip: w.has("skip"),
            norm: Norm::read_within(w)?,
            gated: w.has("gated"),
            state: w.recurrent()?,
        })
    }
}
