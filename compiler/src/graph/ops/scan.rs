//! The selective scan of Mamba (Gu & Dao 2023): a linear recurrence whose heads are single channels.

use super::operand::{Reads, Role, Take};
use super::rule::{Given, Rule, ShapeError};
use super::words::{Attr, AttrError, Words, flag, set};
use crate::graph::dim::{RecurrentId, Shape};

/// For each token and channel `c`: `S[j, c] ← exp(−exp(rate[c, j]) · write[c]) · S[j, c] + k[j] · write[c] · v[c]`,
/// `out[c] = Σ_j q[j] S[j, c] + skip[c] v[c]`.
///
/// It is a delta rule without correction, a head for each channel and one key for all; but decays of every component of every
/// channel would be many times as large as everything else, so that they are made where they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Components of a key: rows of the state.
    pub key_dim: usize,
    /// Adds the value, times a number for each channel that is an operand.
    pub skip: bool,
    /// `[1, key_dim, channels]`.
    pub state: RecurrentId,
}

/// Operands of a selective scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanOperands<T> {
    /// `[T, key_dim]`.
    pub q: T,
    /// `[T, key_dim]`.
    pub k: T,
    /// `[T, channels]`.
    pub v: T,
    /// `[T, channels]`: how much is written, and how long it decays.
    pub write: T,
    /// `[channels, key_dim]`.
    pub rate: T,
    /// `[channels]`.
    pub skip: Option<T>,
}

impl Scan {
    /// The walk.
    pub fn operands<T>(&self, take: Take<T>) -> ScanOperands<T> {
        ScanOperands {
            q: take(Role::Q, Reads::Rows),
            k: take(Role::K, Reads::Rows),
            v: take(Role::V, Reads::Rows),
            write: take(Role::Beta, Reads::Rows),
            rate: take(Role::Rate, Reads::Vector),
            skip: self.skip.then(|| take(Role::Skip, Reads::Vector)),
        }
    }

    pub(super) fn shape(&self, rule: &Rule, o: &ScanOperands<Given>) -> Result<Shape, ShapeError> {
        let channels = rule.width(o.v)?;
        rule.check("key_dim", self.key_dim > 0, self.key_dim, "at least 1")?;
        for (x, n) in [
            (o.q, self.key_dim),
            (o.k, self.key_dim),
            (o.write, channels),
        ] {
            rule.has_width(x, n)?;
        }
        for x in [o.q, o.k, o.v, o.write] {
            rule.of_tokens(x)?;
        }
        rule.matrix(o.rate, channels, self.key_dim)?;
        o.skip.map_or(Ok(()), |s| rule.vector(s, channels))?;
        rule.recurrent(self.state, [1, self.key_dim, channels])?;
        Ok(o.v.shape.clone())
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let mut out = vec![set("key_dim", self.key_dim)];
        out.extend(self.skip.then(|| flag("skip")));
        out.push(set("state", self.state));
        out
    }

    pub(super) fn read(w: &Words) -> Result<Scan, AttrError> {
        Ok(Scan {
            key_dim: w.get("key_dim")?,
            skip: w.has("skip"),
            state: w.recurrent()?,
        })
    }
}
