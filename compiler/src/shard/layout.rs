//! How a value lies on the ranks.

use std::ops::Range;

use super::deal::{Deal, Side};

/// How a value lies on the ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// All ranks have the same bits.
    Whole,
    /// Each rank has its units of a deal.
    Split(usize, Lot),
    /// Rows of experts: each rank has those of its experts, by a deal.
    Dealt(usize),
    /// Each rank has a summand.
    Partial,
}

/// How a row is made of units: so many columns for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lot {
    /// What counts as one.
    pub(super) side: Side,
    /// Columns of a unit.
    pub(super) width: usize,
}

impl Lot {
    /// Of a state, which has heads rather than columns.
    pub(super) const STATE: Lot = Lot {
        side: Side::Few,
        width: 0,
    };
    /// Of scores, which have heads rather than columns.
    pub(super) const SCORES: Lot = Lot::many(0);

    /// So many columns for each head.
    pub(super) const fn many(width: usize) -> Lot {
        let side = Side::Many;
        Lot { side, width }
    }

    /// The columns of a rank.
    pub(super) fn columns(self, deal: &Deal, rank: usize) -> Range<usize> {
        let units = deal.of(self.side, rank);
        units.start * self.width..units.end * self.width
    }
}
