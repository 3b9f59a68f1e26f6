//! Profiles of ranks that share a model, side by side.

use super::breakdown::Breakdown;
use super::{KernelTime, Profile, ProgramProfile};

impl KernelTime {
    /// Whether ranks meet in it.
    fn is_collective(&self) -> bool {
        matches!(
            self.kernel.op.as_str(),
            "all_reduce" | "all_gather" | "hand_over"
        )
    }
}

impl ProgramProfile {
    /// What the time of thread 0 went into.
    pub fn breakdown(&self) -> Breakdown {
        let first = |of: &[u64]| of.first().copied().unwrap_or(0);
        let mut out = Breakdown {
            threads_ns: first(&self.end_wait_ns),
            ..Breakdown::default()
        };
        for kernel in &self.kernels {
            let (busy, wait) = (first(&kernel.busy_ns), first(&kernel.wait_ns));
            if kernel.is_collective() {
                let ranks = first(&kernel.inside_wait_ns);
                out.collectives_ns += busy;
                out.ranks_ns += ranks;
                out.threads_ns += wait.saturating_sub(ranks);
            } else {
                out.compute_ns += busy;
                out.threads_ns += wait;
            }
        }
        out
    }
}

impl Profile {
    /// What the time of ranks went into, given in their order: a line for each program and rank.
    pub fn breakdowns(profiles: &[Profile]) -> String {
        let programs = profiles.first().map_or(0, |p| p.programs.len());
        let line = |i: usize| {
            let of_rank = profiles.iter().filter_map(move |p| p.programs.get(i));
            let ran = of_rank.enumerate().filter(|(_, p)| p.steps > 0);
            ran.map(|(rank, p)| format!("{} on rank {rank}: {}\n", p.program, p.breakdown()))
        };
        (0..programs).flat_map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::KernelInfo;

    fn kernel(op: &str, busy: u64, wait: u64, inside: u64) -> KernelTime {
        KernelTime {
            kernel: KernelInfo {
                at: op.into(),
                op: op.into(),
            },
            calls: 1,
            busy_ns: vec![busy, 1000],
            wait_ns: vec![wait, 1000],
            inside_wait_ns: vec![inside, 1000],
            median_ns: vec![],
            largest_ns: vec![],
            preempted: 0,
            lost_ns: vec![],
        }
    }

    #[test]
    fn waiting_inside_a_collective_is_for_ranks_and_all_other_is_for_threads() {
        let program = ProgramProfile {
            program: "decode".into(),
            steps: 1,
            tokens: 1,
            depths: 0,
            wall_ns: 100,
            kernels: vec![kernel("matmul", 40, 7, 5), kernel("all_reduce", 20, 23, 20)],
            end_wait_ns: vec![10, 1000],
        };
        let expected = Breakdown {
            compute_ns: 40,
            threads_ns: 7 + 3 + 10,
            ranks_ns: 20,
            collectives_ns: 20,
        };
        assert_eq!(program.breakdown(), expected);
        assert_eq!(expected.total_ns(), program.wall_ns);
        let profile = Profile {
            model_checksum: String::new(),
            threads: 2,
            programs: vec![program],
            dropped: 0,
            spans: vec![],
        };
        let text = Profile::breakdowns(&[profile.clone(), profile]);
        let second = text.lines().nth(1).unwrap();
        let expected = "decode on rank 1: compute 40.0 %, waiting for threads 20.0 %, for ranks 20.0 %, collectives 20.0 %";
        assert_eq!(second, expected);
    }
}
