//! How rows of tokens are grouped by the experts that they visit, and the table that says so.
//!
//! A rank that has only some of the experts groups all rows: those of other experts come last, as if they were of one more, which is
//! never active, so that nothing is computed of them.

use super::words::{Attr, AttrError, Words, set};
use crate::graph::dim::Dim;

/// How many experts there are, and how many a token visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grouping {
    /// Number of experts that a router chooses from.
    pub experts: usize,
    /// Experts that a token visits.
    pub top_k: usize,
    /// Those that are here, where they have been dealt out to ranks.
    pub own: Option<OwnExperts>,
}

/// A rank's experts, which follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnExperts {
    /// The first of them.
    pub first: usize,
    /// How many.
    pub count: usize,
}

impl Grouping {
    /// Experts whose matrices are here.
    pub fn here(&self) -> usize {
        self.own.map_or(self.experts, |own| own.count)
    }

    /// Runs of rows: one for each expert that is here, and one for all others.
    pub(crate) fn runs(&self) -> usize {
        self.here() + usize::from(self.own.is_some())
    }

    /// The run of an expert's rows.
    pub(crate) fn run_of(&self, expert: usize) -> usize {
        let Some(own) = self.own else { return expert };
        let place = expert.checked_sub(own.first);
        place.map_or(own.count, |place| place.min(own.count))
    }

    /// Rows that are grouped: each token once for each of its experts.
    pub fn rows(&self) -> Dim {
        Dim::Routed {
            per_token: self.top_k,
            more: 0,
        }
    }

    /// Numbers of the table that describes the groups; see `Grouping::offsets` and its neighbours.
    pub fn table(&self) -> Dim {
        Dim::Routed {
            per_token: 3 * self.top_k,
            more: 2 * self.runs() + 2,
        }
    }

    /// Place in the table of each run's first row; one more entry ends the last.
    pub(crate) const OFFSETS: usize = 0;

    /// Place in the table of the experts here that have rows, in order.
    pub(crate) fn active(&self) -> usize {
        self.runs() + 1
    }

    /// Place in the table of how many experts have rows.
    pub(crate) fn n_active(&self) -> usize {
        2 * self.runs() + 1
    }

    /// Place in the table of each row's token.
    pub fn tokens(&self) -> usize {
        2 * self.runs() + 2
    }

    /// Place in the table of each row's weight, where it is laid out for `tokens` tokens.
    pub fn weights(&self, tokens: usize) -> usize {
        self.tokens() + tokens * self.top_k
    }

    /// Place in the table of the rows of each token, expert by expert, where it is laid out for `tokens` tokens.
    pub fn places(&self, tokens: usize) -> usize {
        self.weights(tokens) + tokens * self.top_k
    }

    pub(super) fn words(&self) -> Vec<Attr> {
        let mut out = vec![set("experts", self.experts), set("top_k", self.top_k)];
        out.extend(self.own_words());
        out
    }

    /// Which experts are here, where not all are.
    pub(super) fn own_words(&self) -> Vec<Attr> {
        let own = self.own.iter();
        let words = own.flat_map(|own| [set("first", own.first), set("own", own.count)]);
        words.collect()
    }

    pub(super) fn read(w: &Words) -> Result<Grouping, AttrError> {
        Ok(Grouping {
            experts: w.get("experts")?,
            top_k: w.get("top_k")?,
            own: Grouping::read_own(w)?,
        })
    }

    pub(super) fn read_own(w: &Words) -> Result<Option<OwnExperts>, AttrError> {
        let count: Option<usize> = w.maybe("own")?;
        let own = |count| {
            let first = w.get("first")?;
            Ok(OwnExperts { first, count })
        };
        count.map(own).transpose()
    }
}
