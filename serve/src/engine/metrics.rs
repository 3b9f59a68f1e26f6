//! What the engine counts, for whoever looks at it from outside.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that only grow.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests taken.
    pub requests: Count,
    /// Requests turned away because the queue was full.
    pub refused: Count,
    /// Choices completed.
    pub finished: Count,
    /// Choices whose reader left before they were complete.
    pub abandoned: Count,
    /// Choices that failed.
    pub failed: Count,
    /// Tokens of prompts, those included that had been read before.
    pub prompt_tokens: Count,
    /// Tokens of prompts that had been read before.
    pub cached_tokens: Count,
    /// Tokens generated.
    pub generated_tokens: Count,
    /// Steps computed.
    pub steps: Count,
    /// Microseconds of all steps together.
    pub step_micros: Count,
    /// Snapshots taken of sequences that cannot be cut.
    pub snapshots: Count,
}

/// Numbers that go up and down.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Slots in which something is computed.
    pub slots_busy: Count,
    /// Requests that wait for a slot.
    pub waiting: Count,
    /// Bytes of snapshots that are kept.
    pub snapshot_bytes: Count,
}

/// A number that one thread writes and others read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    pub(super) fn set(&self, now: usize) {
        self.0.store(now as u64, Ordering::Relaxed);
    }
}
