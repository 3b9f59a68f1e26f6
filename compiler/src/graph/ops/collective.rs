//! Collectives: where the ranks that share a model meet, each with rows of its own.
//!
//! All ranks run the same operations in the same order, so that a collective of one is met by the same of all others.

use super::operand::Single;
use super::rule::{Given, Rule, ShapeError};
use super::words::{Attr, AttrError, Words, set};
use crate::graph::dim::{Dim, Shape};

/// What becomes of the rows that each rank comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collective {
    /// Their sum, taken in the order of ranks, so that all have the same bits.
    AllReduce,
    /// The columns of all side by side, in the order of ranks.
    AllGather {
        /// First of this rank's columns.
        first: usize,
        /// Columns of all ranks together.
        width: usize,
    },
    /// What one rank has, for another one or all others, whatever these come with.
    HandOver {
        /// The rank that has it.
        from: usize,
        /// The rank that gets it; all of them where there is none.
        to: Option<usize>,
    },
}

impl Collective {
    pub(super) fn name(self) -> &'static str {
        match self {
            Collective::AllReduce => "all_reduce",
            Collective::AllGather { .. } => "all_gather",
            Collective::HandOver { .. } => "hand_over",
        }
    }

    /// Whether all ranks bring something.
    pub fn is_of_all(self) -> bool {
        match self {
            Collective::AllReduce | Collective::AllGather { .. } => true,
            Collective::HandOver { .. } => false,
        }
    }

    pub(super) fn shape(self, rule: &Rule, o: &Single<Given>) -> Result<Shape, ShapeError> {
        let Collective::AllGather { first, width } = self else {
            return rule.as_it_is(o.x);
        };
        let end = first + rule.width(o.x)?;
        let most = format!("at most {width}");
        rule.check("the columns' end", end <= width, end, most)?;
        Ok(vec![o.x.shape[0], Dim::Const(width)])
    }

    pub(super) fn words(self) -> Vec<Attr> {
        match self {
            Collective::AllReduce => vec![],
            Collective::AllGather { first, width } => {
                vec![set("first", first), set("width", width)]
            }
            Collective::HandOver { from, to } => {
                let to = to.map(|to| set("to", to));
                std::iter::once(set("from", from)).chain(to).collect()
            }
        }
    }

    pub(super) fn read(w: &Words) -> Result<Collective, AttrError> {
        Ok(match w.op {
            "all_gather" => Collective::AllGather {
                first: w.get("first")?,
                width: w.get("width")?,
            },
            "hand_over" => Collective::HandOver {
                from: w.get("from")?,
                to: w.maybe("to")?,
            },
            _ => Collective::AllReduce,
        })
    }
}
