//! `--ranks`: a model that several ranks share: threads of this process, or the processes that MPI has started with it.

use graver::driver::{CompileOptions, Loaded, Part, open_rank, open_ranks};
use graver::shard::{Division, Method, RanksError};
use graver::summary::{Link, Machine, quickest};
use graver_runtime::Error;
use graver_runtime::cpu;
use graver_runtime::ranks::{self, Communicator};
use graver_runtime::session::{Session, SessionOptions};

use super::model::open;
use super::print::say;

/// How many ranks share the model.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct RanksArgs {
    /// Number of ranks to split the model over, each with its own threads
    #[arg(help_heading = "Ranks", long, value_name = "N", default_value_t = 1)]
    ranks: usize,
    /// How to split the model over ranks [default: tensor]
    #[arg(
        help_heading = "Ranks",
        long,
        value_enum,
        value_name = "PLAN",
        requires = "ranks"
    )]
    plan: Option<Plan>,
}

/// Which rank's part of a model is shown, of how many.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct RankArgs {
    #[command(flatten)]
    pub(crate) ranks: RanksArgs,
    /// Rank to show, counted from 0 [default: 0]
    #[arg(help_heading = "Ranks", long, value_name = "R", requires = "ranks")]
    pub(crate) rank: Option<usize>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Plan {
    /// Split every layer: heads, and columns of every expert
    Tensor,
    /// As tensor, but with whole experts on each rank
    Expert,
    /// Consecutive layers on each rank, for slow links
    Pipeline,
    /// Whichever is predicted to be fastest
    Auto,
}

/// What is assumed of machines and links where a plan is chosen and nobody says: a server with memory of 200 GB/s, and Ethernet of 100 Gb/s.
const USUAL: (Machine, Link) = (
    Machine {
        gbps: 200.0,
        gflops: 2000.0,
    },
    Link {
        gbps: 12.5,
        latency_us: 5.0,
    },
);

impl RankArgs {
    /// The part that is shown. Where there are several and none was chosen, a line says which it is.
    pub(crate) fn part(
        self,
        loaded: &Loaded,
        options: &CompileOptions,
    ) -> Result<Part, RanksError> {
        let division = self.ranks.division(loaded, options, None)?;
        let rank = self.rank.unwrap_or(0);
        if division.ranks > 1 && self.rank.is_none() {
            let ranks = division.ranks;
            say(format_args!("rank 0 of {ranks}; --rank R shows another"));
        }
        Ok(Part { division, rank })
    }
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
            // MPI says which processors a process may use.
            _ if self.is_process() => asked,
            _ => asked.or_else(|| Some(each())),
        }
    }

    /// Whether ranks are processes, of which this is one.
    pub(crate) fn is_process(self) -> bool {
        self.ranks > 1 && ranks::processes().is_some_and(|n| n > 1)
    }

    /// The way to the other processes, where ranks are processes.
    pub(crate) fn others(self) -> Result<Option<Box<dyn Communicator>>, Error> {
        let joined = self.is_process().then(|| ranks::of_process(self.ranks));
        joined.transpose()
    }

    /// How many ranks share a model, and how.
    pub(crate) fn division(
        self,
        loaded: &Loaded,
        options: &CompileOptions,
        machine: Option<(Machine, Link)>,
    ) -> Result<Division, RanksError> {
        let ranks = self.ranks;
        let method = match self.plan {
            None | Some(Plan::Tensor) => Method::Tensor,
            Some(Plan::Expert) => Method::Expert,
            Some(Plan::Pipeline) => Method::Pipeline,
            Some(Plan::Auto) => quickest(loaded, options, ranks, machine.unwrap_or(USUAL))?,
        };
        Ok(Division { ranks, method })
    }

    /// Compiles in memory. There is no session where this process is a rank other than the first: it has done what that one said, until
    /// there was no more to do.
    pub(crate) fn open(
        self,
        loaded: Loaded,
        options: &CompileOptions,
        session: SessionOptions,
    ) -> Result<Option<Session>, Box<dyn std::error::Error>> {
        let threads = self.threads(session.threads);
        let session = SessionOptions { threads, ..session };
        let division = self.division(&loaded, options, None)?;
        let Some(communicator) = self.others()? else {
            return Ok(Some(match self.ranks {
                1 => open(loaded, options, session)?,
                _ => open_ranks(loaded, options, division, session)?,
            }));
        };
        let leads = communicator.rank() == 0;
        let session = open_rank(loaded, options, division.method, session, communicator)?;
        match leads {
            true => Ok(Some(session)),
            false => Ok(session.follow().map(|()| None)?),
        }
    }
}
