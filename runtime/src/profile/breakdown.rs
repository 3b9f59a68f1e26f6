//! What a rank's time went into: its own work, waiting, and messages.

use std::fmt;

/// The time of thread 0, which meets the other ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breakdown {
    /// In kernels.
    pub compute_ns: u64,
    /// Waiting for other threads of the rank.
    pub threads_ns: u64,
    /// Waiting for other ranks to come to where they meet.
    pub ranks_ns: u64,
    /// In collectives, all ranks being there.
    pub collectives_ns: u64,
}

impl Breakdown {
    /// All of it.
    pub fn total_ns(&self) -> u64 {
        self.compute_ns + self.threads_ns + self.ranks_ns + self.collectives_ns
    }
}

impl fmt::Display for Breakdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.total_ns().max(1) as f64;
        let share = |ns: u64| 100.0 * ns as f64 / all;
        write!(
            f,
            "compute {:.1} %, waiting for threads {:.1} %, for ranks {:.1} %, collectives {:.1} %",
            share(self.compute_ns),
            share(self.threads_ns),
            share(self.ranks_ns),
            share(self.collectives_ns)
        )
    }
}
