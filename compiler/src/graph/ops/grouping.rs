//! How rows of tokens are grouped by the experts that they visit, and the table that says so.
//!
//! A rank that has only some of the experts groups all rows: those of other experts come last, as if they were of one more, which is
//! never active, so that nothing is computed of them. The same goes for experts that give back their input, which have no matrices.

use super::words::{Attr, AttrError, Words, set};
use crate::graph::dim::Dim;

/// How many experts there are, and how many a token visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grouping {
    /// Number of experts that a router chooses from.
    pub experts: usize,
    /// The last of them, as many as this, have no matrices: they give back their input.
    pub identity: usize,
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
    /// Experts that have matrices, wherever they are: the first ones.
    pub(crate) fn with_matrices(&self) -> usize {
        self.experts - self.identity
    }

    /// The first expert whose matrices are here.
    pub(crate) fn first(&self) -> usize {
        self.own.map_or(0, |own| own.first)
    }

    /// Experts whose matrices are here.
    pub fn here(&self) -> usize {
        self.own.map_or(self.with_matrices(), |own| own.count)
    }

    /// Whether a token may visit experts that have no matrices here.
    pub(crate) fn has_others(&self) -> bool {
        self.own.is_some() || self.identity > 0
    }

    /// Runs of rows: one for each expert that is here, and one for all others.
    pub(crate) fn runs(&self) -> usize {
        self.here() + usize::from(self.has_others())
    }

    /// The run of an expert's rows.
    pub(crate) fn run_of(&self, expert: usize) -> usize {
        let place = expert.checked_sub(self.first());
        place.map_or(self.here(), |place| place.min(self.here()))
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

    /// Which experts have no matrices, and which are here, where not all are.
    pub(super) fn own_words(&self) -> Vec<Attr> {
        let identity = (self.identity > 0).then(|| set("identity", self.identity));
        let own = self.own.iter();
        let own = own.flat_map(|own| [set("first", own.first), set("own", own.count)]);
        identity.into_iter().chain(own).collect()
    }

    pub(super) fn read(w: &Words) -> Result<Grouping, AttrError> {
        let (experts, top_k) = (w.get("experts")?, w.get("top_k")?);
        Grouping::read_of(w, experts, top_k)
    }

    /// The groups of so many experts.
    pub(super) fn read_of(w: &Words, experts: usize, top_k: usize) -> Result<Grouping, AttrError> {
        Ok(Grouping {
            experts,
            top_k,
            identity: w.maybe("identity")?.unwrap_or(0),
            own: Grouping::read_own(w)?,
        })
    }

    fn read_own(w: &Words) -> Result<Option<OwnExperts>, AttrError> {
        let count: Option<usize> = w.maybe("own")?;
        let own = |count| {
            let first = w.get("first")?;
            Ok(OwnExperts { first, count })
        };
        count.map(own).transpose()
    }
}
