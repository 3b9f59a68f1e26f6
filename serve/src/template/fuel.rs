//! What rendering may cost: one budget for time and memory, and a limit on depth.
//!
//! Every statement, expression and item that is visited costs a unit, and so do 64 bytes that are made or looked at. Nothing is
//! allocated before it has been paid for, so that the budget bounds memory as well: whatever a template does, it holds
//! no more than 64 bytes a unit.

use std::cell::Cell;

use super::error::{Fault, Limit, Outcome};

/// Units that a template has whatever it is given.
const BASE: u64 = 2_000_000;
/// Further units for each byte of the conversation.
const PER_BYTE: u64 = 16;
/// Units that no conversation gets more of.
const MOST: u64 = 16_000_000;
/// Bytes that are worth a unit.
const BYTES: usize = 64;
/// Most bytes of output.
pub(super) const MAX_OUTPUT: usize = 64 << 20;
/// The deepest that evaluation goes: macros within macros, blocks, expressions.
pub(super) const MAX_CALLS: usize = 320;
/// The deepest list or dict.
pub(super) const MAX_NESTING: usize = 100;

/// What is left.
#[derive(Debug)]
pub(super) struct Fuel {
    all: u64,
    left: Cell<u64>,
    depth: Cell<usize>,
}

impl Fuel {
    /// A budget for a conversation of so many bytes.
    pub(super) fn new(input_bytes: usize) -> Fuel {
        let all = (input_bytes as u64)
            .saturating_mul(PER_BYTE)
            .saturating_add(BASE)
            .min(MOST);
        Fuel {
            all,
            left: Cell::new(all),
            depth: Cell::new(0),
        }
    }

    /// Pays for so many steps.
    pub(super) fn spend(&self, units: usize) -> Outcome<()> {
        match self.left.get().checked_sub(units as u64) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => {
                self.left.set(0);
                Err(Fault::limit(Limit::Work(self.all)))
            }
        }
    }

    /// Pays for so many bytes, and a step.
    pub(super) fn bytes(&self, bytes: usize) -> Outcome<()> {
        self.spend(1 + bytes / BYTES)
    }

    /// Pays for so many bytes that are looked at in a step that is paid for: short texts cost nothing more.
    pub(super) fn look(&self, bytes: usize) -> Outcome<()> {
        self.spend(bytes / BYTES)
    }

    /// Pays for so many values in a list.
    pub(super) fn values(&self, count: usize) -> Outcome<()> {
        self.spend(count.saturating_add(1))
    }

    /// Does what lies one level deeper.
    pub(super) fn deeper<T>(&self, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        let depth = self.depth.get();
        if depth == MAX_CALLS {
            return Err(Fault::limit(Limit::Depth(MAX_CALLS)));
        }
        self.depth.set(depth + 1);
        let outcome = work();
        self.depth.set(depth);
        outcome
    }
}

/// Text that is written, and paid for as it grows.
#[derive(Debug)]
pub(super) struct Writer<'f> {
    fuel: &'f Fuel,
    text: String,
}

impl<'f> Writer<'f> {
    pub(super) fn new(fuel: &'f Fuel) -> Writer<'f> {
        Writer {
            fuel,
            text: String::new(),
        }
    }

    pub(super) fn push(&mut self, text: &str) -> Outcome<()> {
        self.fuel.bytes(text.len())?;
        if self.text.len() + text.len() > MAX_OUTPUT {
            return Err(Fault::limit(Limit::Output(MAX_OUTPUT)));
        }
        self.text.push_str(text);
        Ok(())
    }

    pub(super) fn repeat(&mut self, text: &str, times: usize) -> Outcome<()> {
        for _ in 0..times {
            self.push(text)?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}
