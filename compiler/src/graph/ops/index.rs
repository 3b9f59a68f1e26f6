//! Choosing the keys that a query attends to: scores of an index, and what is picked by them.

use super::operand::{Reads, Role, Single, Take};
use super::rule::{Given, Rule, ShapeError};
use super::words::{Attr, AttrError, Words, flag, set};
use crate::graph::dim::{Dim, Shape, StateId, shape_text};
use crate::spec::model::Listing;

/// Scores of an index (DeepSeek-AI 2025, DeepSeek-V3.2): `s[q, t] = Σ_h by[q, h] · max(q_h · k_t, 0)`, for the queries of one tile and
/// all positions up to each one's own; or of every head by itself, `s[h, q, t] = q_h · k_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexScores {
    /// Query heads, which share one key.
    pub heads: usize,
    /// Width of a query or key head.
    pub dim: usize,
    /// Every head's scores stay by themselves.
    pub apart: bool,
    /// Keys, `[1 head, dim]`, and no values.
    pub state: StateId,
}

/// Operands of an index's scores.
#[derive(Clone, Copy, Debug)]
pub struct IndexOperands<T> {
    /// `[T, heads · dim]`.
    pub q: T,
    /// What writes the state.
    pub after: T,
    /// `[T, heads]`, unless heads stay apart.
    pub by: Option<T>,
}

/// The blocks of positions with the largest scores, as their numbers, ascending; of equal ones the first. A block scores as its best
/// position up to the query's own does. Where there are fewer blocks than are picked, all of them: the rest of the list is left as it was,
/// and whoever reads the list knows by the query's position how many numbers it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PickKeys {
    /// What is listed.
    pub listing: Listing,
    /// So many blocks, up to the query's own, are always among them.
    pub near: usize,
}

impl IndexScores {
    /// How many scores a query has of a key.
    pub fn sets(&self) -> usize {
        match self.apart {
            true => self.heads,
            false => 1,
        }
    }

    /// The walk.
    pub fn operands<T>(&self, take: Take<T>) -> IndexOperands<T> {
        IndexOperands {
            q: take(Role::Q, Reads::Rows),
            after: take(Role::After, Reads::Order),
            by: (!self.apart).then(|| take(Role::By, Reads::Rows)),
        }
    }

    pub(super) fn shape(&self, rule: &Rule, o: &IndexOperands<Given>) -> Result<Shape, ShapeError> {
        let d = rule.state(self.state)?;
        let asked = (1, self.dim, self.dim);
        let declared = (d.kv_heads, d.head_dim, d.value_dim);
        rule.check(
            "heads of the state",
            asked == declared && d.shared && d.ring.is_none(),
            format!("{declared:?}"),
            format!("{asked:?}, keys alone of all positions"),
        )?;
        rule.of_tokens(o.q)?;
        rule.has_width(o.q, self.heads * self.dim)?;
        if let Some(by) = o.by {
            rule.of_tokens(by)?;
            rule.has_width(by, self.heads)?;
        }
        Ok(score_shape(self.sets()))
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let mut out = vec![set("heads", self.heads), set("dim", self.dim)];
        out.extend(self.apart.then(|| flag("apart")));
        out.push(set("state", self.state));
        out
    }

    pub(super) fn read(w: &Words) -> Result<IndexScores, AttrError> {
        Ok(IndexScores {
            heads: w.get("heads")?,
            dim: w.get("dim")?,
            apart: w.has("apart"),
            state: w.state("state")?,
        })
    }
}

impl PickKeys {
    pub(super) fn shape(&self, rule: &Rule, o: &Single<Given>) -> Result<Shape, ShapeError> {
        let l = self.listing;
        let (found, expected) = (shape_text(o.x.shape), score_shape(l.sets));
        let is_scores = *o.x.shape == expected;
        rule.check("shape of x", is_scores, found, shape_text(&expected))?;
        rule.check("count", l.count > 0, l.count, "at least 1")?;
        rule.check("block", l.block > 0, l.block, "at least 1")?;
        let most = format!("at most {}", l.count);
        rule.check("near", self.near <= l.count, self.near, most)?;
        Ok(vec![Dim::Tokens, Dim::Const(l.width())])
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let mut out = listing_words(&self.listing);
        out.extend((self.near > 0).then(|| set("near", self.near)));
        out
    }

    pub(super) fn read(w: &Words) -> Result<PickKeys, AttrError> {
        Ok(PickKeys {
            listing: read_listing(w)?,
            near: w.maybe("near")?.unwrap_or(0),
        })
    }
}

/// What is listed for each token, as words.
pub(super) fn listing_words(l: &Listing) -> Vec<Attr> {
    let mut out = vec![set("count", l.count)];
    out.extend((l.sets != 1).then(|| set("sets", l.sets)));
    out.extend((l.block != 1).then(|| set("block", l.block)));
    out
}

/// The words of a listing.
pub(super) fn read_listing(w: &Words) -> Result<Listing, AttrError> {
    Ok(Listing {
        sets: w.maybe("sets")?.unwrap_or(1),
        count: w.get("count")?,
        block: w.maybe("block")?.unwrap_or(1),
    })
}

/// Rows of scores for each query of a tile.
fn score_shape(sets: usize) -> Shape {
    vec![Dim::Const(sets), Dim::Queries, Dim::Keys]
}
