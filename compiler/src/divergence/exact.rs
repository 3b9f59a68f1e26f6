//! What rounding itself costs a model: the loss of the interpreter, which sums exactly, with the same weights.
//!
//! Bounds are those of models that make little of small changes. One that makes much of them loses more, whoever computes it; code is then
//! right if it loses no more than the interpreter does.

use graver_runtime::abi::CacheType;

use super::paths::{Bounds, Divergence, DivergenceReport, Judge, Reference};
use crate::driver::{Loaded, plain_program};
use crate::graph::ProgramKind;
use crate::interp::Interpreter;

/// Code may lose so many times what the interpreter does: roundings to integers that turn over are different ones.
const TIMES: f64 = 1.25;

/// And have so much smaller a share of the likeliest tokens.
const LESS: f64 = 0.1;

/// Bytes of weights times tokens that the interpreter does in bearable time.
const MOST_WORK: usize = 1 << 33;

/// The loss of the interpreter on the model that a report is of; nothing where that would take too long.
pub fn of_interpreter(
    loaded: &Loaded,
    cache: CacheType,
    reference: &Reference,
    bounds: Bounds,
) -> Option<Divergence> {
    let all: usize = loaded.weights.views().map(|view| view.bytes).sum();
    if all.saturating_mul(reference.tokens.len()) > MOST_WORK {
        return None;
    }
    let program = plain_program(loaded, ProgramKind::Prefill, cache);
    let slots = loaded.weights.slots();
    let logits = Interpreter::new(&program, &slots).step(&reference.tokens);
    let vocab = reference.logits.len() / reference.tokens.len();
    let mut judge = Judge::new(bounds);
    judge.rows(&reference.logits, &logits, vocab);
    Some(judge.divergence("interpreter".into()))
}

impl DivergenceReport {
    /// Judges paths by what the interpreter loses, where that is more than is usual.
    pub fn beside(&mut self, exact: Divergence) {
        let allowed = Bounds {
            mean_kl: self.bounds.mean_kl.max(TIMES * exact.mean_kl),
            top1: self.bounds.top1.min(exact.clear_top1 - LESS),
        };
        self.passed = self.paths.iter().all(|path| allowed.hold(path));
        self.bounds = allowed;
        self.exact = Some(exact);
    }
}
