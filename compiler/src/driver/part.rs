//! Which part of a model is looked at: all of it, or what one of several ranks has.

use graver_runtime::abi::CacheType;

use super::compile::plain_program;
use super::loaded::Loaded;
use crate::graph::{Program, ProgramKind};
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
        let plain = [ProgramKind::Decode, ProgramKind::Prefill];
        let plain = plain.map(|kind| plain_program(loaded, kind, cache));
        let sharding = Sharding::plan(&plain[0], self.division)?;
        let (rank, ranks) = (self.rank, sharding.ranks());
        if rank >= ranks {
            return Err(RanksError::NoSuchRank { rank, ranks });
        }
        Ok(match ranks {
            1 => plain,
            _ => plain.map(|program| sharding.rank(&program, rank).program),
        })
    }
}
