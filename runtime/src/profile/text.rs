//! A profile as a table of source blocks, and of the kernels that take most time.

use std::fmt;

use super::{Profile, ProgramProfile};

/// Kernels that the table has.
const SHOWN: usize = 8;

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for p in self.programs.iter().filter(|p| p.steps > 0) {
            self.write_program(f, p)?;
        }
        match self.dropped {
            0 => Ok(()),
            n => writeln!(
                f,
                "the timeline ends before {n} later stretches, which the sums have"
            ),
        }
    }
}

impl Profile {
    fn write_program(&self, f: &mut fmt::Formatter<'_>, p: &ProgramProfile) -> fmt::Result {
        let per_step = p.wall_ns as f64 / p.steps as f64 / 1e6;
        let (steps, threads) = (
            plural(p.steps, "step"),
            plural(self.threads as u64, "thread"),
        );
        writeln!(f, "{}: {steps} of {per_step:.3} ms on {threads}", p.program)?;
        let all = (p.wall_ns * self.threads as u64).max(1) as f64;
        let share = |ns: u64| 100.0 * ns as f64 / all;
        let line = |f: &mut fmt::Formatter<'_>, name: &str, busy: u64, wait: u64| {
            let (busy, wait) = (share(busy), share(wait));
            writeln!(f, "  {name:<42} {busy:5.1} %  waiting {wait:5.1} %")
        };
        for (name, busy, wait) in p.groups() {
            line(f, &name, busy, wait)?;
        }
        line(f, "end of step", 0, p.end_wait_ns.iter().sum())?;
        let mut kernels: Vec<_> = p.kernels.iter().filter(|k| k.calls > 0).collect();
        kernels.sort_by_key(|k| std::cmp::Reverse(k.usual_ns()));
        kernels.truncate(SHOWN);
        writeln!(f, "    {:<40}   share     median    largest", "kernel")?;
        for k in &kernels {
            let name = format!("{} ({})", k.kernel.at, k.kernel.op);
            let (median, largest) = (time(k.median()), time(k.largest()));
            let mark = if k.preempted > 0 { " !" } else { "" };
            let share = share(k.usual_ns());
            writeln!(
                f,
                "    {name:<40} {share:5.1} % {median:>10} {largest:>10}{mark}"
            )?;
        }
        let preempted: u64 = p.kernels.iter().map(|k| k.preempted).sum();
        let lost: u64 = p.kernels.iter().flat_map(|k| &k.lost_ns).sum();
        match preempted {
            0 => Ok(()),
            n => writeln!(
                f,
                "  ! {} lost {} to something else on the processor: over 4 times the median and 100 µs more; shares of \
                 kernels leave that out",
                plural(n, "call"),
                time(lost)
            ),
        }
    }
}

fn plural(n: u64, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// Three digits.
fn time(ns: u64) -> String {
    let (x, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        1_000_000_000.. => (ns as f64 / 1e9, "s"),
    };
    match x {
        0.0..9.995 => format!("{x:.2} {unit}"),
        0.0..99.95 => format!("{x:.1} {unit}"),
        _ => format!("{x:.0} {unit}"),
    }
}
