//! Which part of a model is looked at: all of it, or what one of several ranks has.

use graver_runtime::abi::CacheType;

use super::compile::plain_programs;
use super::loaded::Loaded;
use crate::graph::Program;
use crate::shard::{Division, RanksError, Sharding};

/// The part of one rank; of the only one, the whole model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// How many ranks there are, and how they share the model.
    pub division: Division,
    /// Which of them, counted from 0.
    pub rank: usize,
}

impl Part {
    /// All of a model.
    pub fn whole() -> Part {
        Part {
            division: 1.into(),
            rank: 0,
        }
    }

    /// Whether there are other parts.
    pub fn is_shared(self) -> bool {
        self.division.ranks > 1
    }

    /// The plain graphs of decode and prefill.
    ///
    /// # Errors
    /// Numbers of ranks that there cannot be, and a rank that is none of them.
    ///
    /// # Panics
    /// As [`plan`](super::plan).
    pub fn plain_programs(
        self,
        loaded: &Loaded,
        cache: CacheType,
    ) -> Result<[Program; 2], RanksError> {
        let plain = plain_programs(loaded, cache);
        let sharding = self.sharding(&plain)?;
        Ok(match sharding.ranks() {
            1 => plain,
            _ => plain.map(|program| sharding.rank(&program, self.rank).program),
        })
    }

    /// How the model is shared, with this rank among others, as its plain graphs say.
    pub(crate) fn sharding(self, plain: &[Program; 2]) -> Result<Sharding, RanksError> {
        let sharding = Sharding::plan(&plain[0], self.division)?;
        let (rank, ranks) = (self.rank, sharding.ranks());
        match rank < ranks {
            true => Ok(sharding),
            false => Err(RanksError::NoSuchRank { rank, ranks }),
        }
    }
}
