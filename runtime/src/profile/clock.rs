//! A clock that costs some nanoseconds to read: the processor's counter, and its rate by the system's clock.

use std::time::Instant;

/// Where counting began.
pub(super) struct Clock {
    ticks: u64,
    time: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock {
            ticks: now(),
            time: Instant::now(),
        }
    }

    /// Nanoseconds of a tick, better the longer the clock has run.
    pub(super) fn ns_per_tick(&self) -> f64 {
        let ticks = now().saturating_sub(self.ticks).max(1);
        self.time.elapsed().as_nanos() as f64 / ticks as f64
    }

    pub(super) fn since_start(&self, ticks: u64, ns_per_tick: f64) -> u64 {
        (ticks.saturating_sub(self.ticks) as f64 * ns_per_tick) as u64
    }
}

/// The processor's counter: constant in rate and the same on all cores wherever Linux itself keeps time with it.
#[cfg(target_arch = "x86_64")]
pub(crate) fn now() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// The architecture's virtual counter.
#[cfg(target_arch = "aarch64")]
pub(crate) fn now() -> u64 {
    let ticks: u64;
    // SAFETY: user code may read this register on Linux; it changes nothing.
    unsafe { std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

/// The system's clock, in nanoseconds.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn now() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}
