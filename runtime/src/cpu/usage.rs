//! What a process got of its processors over a stretch of time: its own time on them, and what the host took away.

use std::time::{Duration, Instant};

/// Counters at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    at: Instant,
    /// Processor time of all threads of this process, if the system says so.
    process: Option<Duration>,
    /// Of the machine, if the system says so.
    machine: Option<Machine>,
}

/// Counters of `/proc/stat`, in its unit, summed over processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Machine {
    all: u64,
    /// Taken by the host of a virtual machine.
    stolen: u64,
}

/// Sums of stretches of time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Of which the process's time is known.
    wall: Duration,
    process: Duration,
    all: u64,
    stolen: u64,
}

impl Usage {
    /// The counters now.
    pub fn now() -> Usage {
        let stat = std::fs::read_to_string("/proc/stat").ok();
        Usage {
            at: Instant::now(),
            process: process_time(),
            machine: stat.and_then(|text| Machine::read(&text)),
        }
    }
}

impl Machine {
    fn read(stat: &str) -> Option<Machine> {
        // user, nice, system, idle, iowait, irq, softirq, steal; guests' time after them is part of user's.
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let fields: Option<Vec<u64>> = line
            .split_whitespace()
            .take(8)
            .map(|n| n.parse().ok())
            .collect();
        let fields = fields?;
        Some(Machine {
            all: fields.iter().sum(),
            stolen: *fields.get(7)?,
        })
    }
}

impl Spent {
    /// Adds the time since `begun`.
    pub fn add(&mut self, begun: &Usage) {
        let now = Usage::now();
        if let Some((process, before)) = now.process.zip(begun.process) {
            self.wall += now.at - begun.at;
            self.process += process.saturating_sub(before);
        }
        if let Some((now, begun)) = now.machine.zip(begun.machine) {
            self.all += now.all.saturating_sub(begun.all);
            self.stolen += now.stolen.saturating_sub(begun.stolen);
        }
    }

    /// The share of the time that `threads` threads, busy all of it, were not on a processor.
    pub fn lost(&self, threads: usize) -> Option<f64> {
        let due = self.wall.as_secs_f64() * threads as f64;
        (due > 0.0).then(|| (1.0 - self.process.as_secs_f64() / due).max(0.0))
    }

    /// The share of the machine's time that its host took; nothing where the system does not say, or the time was too short.
    pub fn steal(&self) -> Option<f64> {
        (self.all > 0).then(|| self.stolen as f64 / self.all as f64)
    }
}

/// Processor time of all threads of this process.
#[cfg(target_os = "linux")]
fn process_time() -> Option<Duration> {
    // SAFETY: `rusage` is plain numbers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a writable `rusage`.
    let failed = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) } != 0;
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec as u64) + Duration::from_micros(t.tv_usec as u64)
    };
    (!failed).then(|| time(usage.ru_utime) + time(usage.ru_stime))
}

/// Processor time of all threads of this process: not known on this system.
#[cfg(not(target_os = "linux"))]
fn process_time() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_of_the_counters() {
        let stat = "cpu  10 20 30 400 5 6 7 22 3 4\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        let read = Machine::read(stat);
        assert_eq!(
            read,
            Some(Machine {
                all: 500,
                stolen: 22
            })
        );
        for bad in [
            "",
            "cpu0 1 2 3 4 5 6 7 8\n",
            "cpu  1 2 x 4 5 6 7 8\n",
            "cpu  1 2 3\n",
        ] {
            assert_eq!(Machine::read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_thread_that_sleeps_loses_its_time() {
        let (mut spent, begun) = (Spent::default(), Usage::now());
        std::thread::sleep(Duration::from_millis(60));
        spent.add(&begun);
        // Other tests of this process may have been on a processor: as many threads as can have been there are not enough.
        assert!(spent.lost(1000).is_none_or(|lost| lost > 0.5), "{spent:?}");
        assert_eq!(Spent::default().lost(2), None);
        assert_eq!(Spent::default().steal(), None);
        let of = |all, stolen| Spent {
            all,
            stolen,
            ..Spent::default()
        };
        assert_eq!(of(200, 50).steal(), Some(0.25));
        let half = Spent {
            wall: Duration::from_secs(2),
            process: Duration::from_secs(2),
            ..of(0, 0)
        };
        assert_eq!(half.lost(2), Some(0.5));
    }
}
