//! What happens to a projection before it is handed on: norms, rotations and scalings in order, and where it goes.
//!
//! The list is in the order in which they apply, so that a norm before RoPE and one after it, or a norm with nothing else, are
//! the same mechanism. Each works on rows in runs of its own *grain*, which is a head's width or less unless a norm runs over
//! the whole projection.

use super::norm::{Norm, NormVectors};
use super::operand::{NormAt, Reads, Role, Take};
use super::rule::{Given, Rule, ShapeError};
use super::words::{Attr, AttrError, Words, flag, float, set, tree};
use crate::graph::dim::{Dim, Shape, StateId};
use crate::spec::model::PositionScale;

/// What happens to a projection.
#[derive(Clone, Debug, PartialEq)]
pub struct Epilogue {
    /// Width of the projection.
    pub rows: usize,
    /// What is done to it, in order.
    pub steps: Vec<EpilogueStep>,
    /// Where it goes.
    pub dest: Dest,
}

/// One thing done to a projection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EpilogueStep {
    /// Normalised in groups. Operands: its gain and bias.
    Norm(Norm),
    /// Each head is rotated. Operand: the angles, which all rotations of a node share.
    Rope(Rope),
    /// Multiplied by a factor of the row's position.
    PositionScale(PositionScale),
    /// Multiplied by a number.
    Scale(f32),
}

/// Options of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rope {
    /// Width of a head.
    pub head_dim: usize,
    /// First component that rotates; those before it and after the last stay.
    pub start: usize,
    /// Components that rotate.
    pub rotary_dim: usize,
    /// Pairs are neighbours rather than half a rotation apart.
    pub interleaved: bool,
}

/// Where a projection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dest {
    /// Into the result.
    Output,
    /// Into the keys of a state.
    Keys(StateId),
    /// Into the values of a state.
    Values(StateId),
    /// Into the one key head of a state, from a column on: what several projections make a key of.
    KeyColumns(StateId, usize),
}

/// Operands of a rotation by itself.
#[derive(Clone, Copy, Debug)]
pub struct RopeOperands<T> {
    /// The rows.
    pub x: T,
    /// `[rows, rotary_dim]`: cosines, then sines.
    pub angles: T,
}

/// Operands of joined projections that are finished by themselves.
#[derive(Clone, Debug)]
pub(crate) struct EpilogueOperands<T> {
    /// The joined projections.
    pub x: T,
    /// For each part, for each of its steps, the vectors that it has if it is a norm.
    pub norms: Vec<Vec<NormVectors<T>>>,
    /// Where a part rotates.
    pub angles: Option<T>,
}

impl Dest {
    /// The state, where it is one.
    pub fn state(self) -> Option<StateId> {
        match self {
            Dest::Output => None,
            Dest::Keys(s) | Dest::Values(s) | Dest::KeyColumns(s, _) => Some(s),
        }
    }
}

impl Epilogue {
    /// A projection that goes into the result as it is.
    pub fn plain(rows: usize) -> Epilogue {
        Epilogue {
            rows,
            steps: vec![],
            dest: Dest::Output,
        }
    }

    /// The width that has to be finished at once: a head, or the widest norm's group.
    pub(crate) fn grain(&self) -> usize {
        self.steps
            .iter()
            .map(EpilogueStep::grain)
            .max()
            .unwrap_or(1)
    }

    /// Whether something rotates, so that there is an angles operand.
    pub(crate) fn has_rope(&self) -> bool {
        self.steps
            .iter()
            .any(|t| matches!(t, EpilogueStep::Rope(_)))
    }

    /// Floating-point operations of a row.
    pub fn flops(&self) -> usize {
        self.steps
            .iter()
            .map(EpilogueStep::flops_each)
            .sum::<usize>()
            * self.rows
    }

    /// The walk over the vectors of part `part`'s norms, which other steps have none of.
    pub(super) fn norms<T>(&self, part: usize, take: Take<T>) -> Vec<NormVectors<T>> {
        let of = |(index, step): (usize, &EpilogueStep)| {
            let norm = match step {
                EpilogueStep::Norm(n) => Some(n),
                EpilogueStep::Rope(_) | EpilogueStep::PositionScale(_) | EpilogueStep::Scale(_) => {
                    None
                }
            };
            let at = NormAt::Part { part, step: index };
            NormVectors::of(norm, at, take)
        };
        self.steps.iter().enumerate().map(of).collect()
    }

    /// That the steps fit a part of `rows` rows of `x`, and what they have; and that its state, if it goes into one, has room.
    pub(super) fn fits(
        &self,
        rule: &Rule,
        (x, angles): (Given, Option<Given>),
        norms: &[NormVectors<Given>],
        rows: usize,
    ) -> Result<(), ShapeError> {
        rule.check("rows of the epilogue", self.rows == rows, self.rows, rows)?;
        for (step, vectors) in self.steps.iter().zip(norms) {
            match (step, angles) {
                (EpilogueStep::Norm(n), _) => n.fits(rule, vectors, rows)?,
                (EpilogueStep::Rope(r), Some(angles)) => r.fits(rule, x, angles, rows)?,
                (EpilogueStep::Rope(_), None) => unreachable!("a rotation has angles"),
                (EpilogueStep::PositionScale(p), _) => position_scale_fits(p, rule, x)?,
                (EpilogueStep::Scale(_), _) => {}
            }
            rule.check(
                "grain of a step",
                self.grain().is_multiple_of(step.grain()),
                step.grain(),
                format!("a divisor of {}, the widest one's", self.grain()),
            )?;
        }
        let (state, width) = match self.dest {
            Dest::Output => return Ok(()),
            Dest::Keys(s) => (s, rule.state(s)?.kv_heads * rule.state(s)?.head_dim),
            Dest::Values(s) => (s, rule.state(s)?.kv_heads * rule.state(s)?.value_dim),
            Dest::KeyColumns(s, start) => return key_columns_fit(rule, x, (s, start), rows),
        };
        rule.of_tokens(x)?;
        rule.check(&format!("row of state {state}"), width == rows, rows, width)
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let mut out = vec![set("rows", self.rows)];
        out.extend(self.steps.iter().map(EpilogueStep::word));
        match self.dest {
            Dest::Output => {}
            Dest::Keys(s) => out.push(set("keys", s)),
            Dest::Values(s) => out.push(set("values", s)),
            Dest::KeyColumns(s, start) => out.extend([set("keys", s), set("from", start)]),
        }
        out
    }

    pub(super) fn read(w: &Words) -> Result<Epilogue, AttrError> {
        let steps = w
            .words
            .iter()
            .filter_map(|a| EpilogueStep::read(w, a).transpose());
        let dest = match (w.has("keys"), w.has("values")) {
            (true, _) => match w.maybe("from")? {
                Some(start) => Dest::KeyColumns(w.state("keys")?, start),
                None => Dest::Keys(w.state("keys")?),
            },
            (_, true) => Dest::Values(w.state("values")?),
            _ => Dest::Output,
        };
        Ok(Epilogue {
            rows: w.get("rows")?,
            steps: steps.collect::<Result<_, _>>()?,
            dest,
        })
    }
}

fn key_columns_fit(
    rule: &Rule,
    x: Given,
    (s, start): (StateId, usize),
    rows: usize,
) -> Result<(), ShapeError> {
    let d = rule.state(s)?;
    rule.of_tokens(x)?;
    let what = format!("key heads of state {s}");
    rule.check(&what, d.kv_heads == 1, d.kv_heads, 1)?;
    let (end, most) = (start + rows, d.head_dim);
    let what = format!("columns of state {s}");
    rule.check(&what, end <= most, end, format!("at most {most}"))
}

impl EpilogueStep {
    /// The width it works on at once.
    pub(crate) fn grain(&self) -> usize {
        match self {
            EpilogueStep::Norm(n) => n.group,
            EpilogueStep::Rope(r) => r.head_dim,
            EpilogueStep::PositionScale(_) | EpilogueStep::Scale(_) => 1,
        }
    }

    /// Floating-point operations of an element.
    fn flops_each(&self) -> usize {
        match self {
            EpilogueStep::Norm(_) => 4,
            EpilogueStep::Rope(_) => 3,
            EpilogueStep::PositionScale(_) | EpilogueStep::Scale(_) => 1,
        }
    }

    fn word(&self) -> Attr {
        match self {
            EpilogueStep::Norm(n) => n.word(),
            EpilogueStep::Rope(r) => tree("rope", r.words()),
            EpilogueStep::PositionScale(p) => tree("position_scale", position_scale_words(p)),
            EpilogueStep::Scale(by) => tree("scale", vec![float("by", *by)]),
        }
    }

    /// What the word says is done to a projection, if it is a word for that.
    fn read<'a>(w: &Words<'a>, word: &'a Attr) -> Result<Option<EpilogueStep>, AttrError> {
        let inner = w.inside(word);
        Ok(match word.key.as_str() {
            "norm" => Some(EpilogueStep::Norm(Norm::read_inner(&inner)?)),
            "rope" => Some(EpilogueStep::Rope(Rope::read(&inner)?)),
            "position_scale" => Some(EpilogueStep::PositionScale(read_position_scale(&inner)?)),
            "scale" => Some(EpilogueStep::Scale(inner.get("by")?)),
            _ => None,
        })
    }
}

impl Rope {
    /// The walk of a rotation by itself.
    pub fn operands<T>(&self, take: Take<T>) -> RopeOperands<T> {
        RopeOperands {
            x: take(Role::X, Reads::Rows),
            angles: take(Role::Angles, Reads::Rows),
        }
    }

    /// That heads of rows of `width` are rotated by `angles`, of which there is a row for each row of `x`.
    fn fits(&self, rule: &Rule, x: Given, angles: Given, width: usize) -> Result<(), ShapeError> {
        let whole = self.head_dim > 0 && width.is_multiple_of(self.head_dim);
        let divisor = format!("a divisor of {width}");
        rule.check("head_dim", whole, self.head_dim, divisor)?;
        let (end, most) = (self.start + self.rotary_dim, self.head_dim);
        let expected = format!("at most {most}");
        rule.check("end of the rotation", end <= most, end, expected)?;
        rule.has_width(angles, self.rotary_dim)?;
        rule.same_rows(angles, x)
    }

    pub(super) fn shape(&self, rule: &Rule, o: &RopeOperands<Given>) -> Result<Shape, ShapeError> {
        self.fits(rule, o.x, o.angles, rule.width(o.x)?)?;
        Ok(o.x.shape.clone())
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let mut out = vec![set("head_dim", self.head_dim), set("dim", self.rotary_dim)];
        out.extend((self.start != 0).then(|| set("start", self.start)));
        out.extend(self.interleaved.then(|| flag("interleaved")));
        out
    }

    pub(super) fn read(w: &Words) -> Result<Rope, AttrError> {
        Ok(Rope {
            head_dim: w.get("head_dim")?,
            start: w.maybe("start")?.unwrap_or(0),
            rotary_dim: w.get("dim")?,
            interleaved: w.has("interleaved"),
        })
    }
}

impl<T> EpilogueOperands<T> {
    /// The walk of joined projections that are finished by themselves.
    pub(crate) fn of(parts: &[Epilogue], take: Take<T>) -> Self {
        let x = take(Role::X, Reads::Rows);
        let norms = parts.iter().enumerate().map(|(i, p)| p.norms(i, take));
        EpilogueOperands {
            x,
            norms: norms.collect(),
            angles: parts
                .iter()
                .any(Epilogue::has_rope)
                .then(|| take(Role::Angles, Reads::Rows)),
        }
    }
}

/// The shape of what joined projections leave as a result.
pub(super) fn epilogue_shape(
    parts: &[Epilogue],
    rule: &Rule,
    o: &EpilogueOperands<Given>,
) -> Result<Shape, ShapeError> {
    rule.has_width(o.x, parts.iter().map(|p| p.rows).sum())?;
    for (p, norms) in parts.iter().zip(&o.norms) {
        p.fits(rule, (o.x, o.angles), norms, p.rows)?;
    }
    let out = parts.iter().filter(|p| p.dest == Dest::Output);
    Ok(vec![o.x.shape[0], Dim::Const(out.map(|p| p.rows).sum())])
}

/// That rows have positions, and that steps of the factor have a length.
pub(super) fn position_scale_fits(
    p: &PositionScale,
    rule: &Rule,
    x: Given,
) -> Result<(), ShapeError> {
    rule.of_tokens(x)?;
    rule.check("every", p.every > 0.0, p.every, "a number above 0")
}

pub(super) fn position_scale_words(p: &PositionScale) -> Vec<Attr> {
    let mut out = vec![
        float("scale", p.scale),
        float("every", p.every),
        set("offset", p.offset),
    ];
    out.extend(p.smooth.then(|| flag("smooth")));
    out
}

pub(super) fn read_position_scale(w: &Words) -> Result<PositionScale, AttrError> {
    Ok(PositionScale {
        scale: w.get("scale")?,
        every: w.get("every")?,
        offset: w.get("offset")?,
        smooth: w.has("smooth"),
    })
}
