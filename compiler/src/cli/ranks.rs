//! `--ranks`: a model that several ranks share, here threads of this process.

use graver::driver::{CompileOptions, Loaded, OpenError, open_ranks};
use graver_runtime::cpu;
use graver_runtime::session::{Session, SessionOptions};

use super::model::open;

/// How many ranks share the model.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct RanksArgs {
    /// Ranks that share the model, each with threads of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    ranks: usize,
}

impl RanksArgs {
    /// The number.
    pub(crate) fn ranks(self) -> usize {
        self.ranks
    }

    /// Threads of each rank: as many as were asked for, or all that there are among all ranks.
    pub(crate) fn threads(self, asked: Option<usize>) -> Option<usize> {
        let each = || (cpu::available_threads() / self.ranks.max(1)).max(1);
        match self.ranks {
            1 => asked,
            _ => asked.or_else(|| Some(each())),
        }
    }

    /// Compiles in memory.
    pub(crate) fn open(
        self,
        loaded: Loaded,
        options: &CompileOptions,
        session: SessionOptions,
    ) -> Result<Session, OpenError> {
        let threads = self.threads(session.threads);
        let session = SessionOptions { threads, ..session };
        match self.ranks {
            1 => open(loaded, options, session),
            ranks => open_ranks(loaded, options, ranks, session),
        }
    }
}
