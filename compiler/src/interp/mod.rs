//! The plain interpreter: evaluates any program in float32, written for clarity, never for speed.
//!
//! It is the oracle for every pass and for the compiled code: whatever the graph has been rewritten to, its value is
//! defined here, operation by operation, over whole rows of `Vec<f32>`. One sequence, all of a step's logits.
//!
//! Ranks that share a model are evaluated in turn, each as far as it comes without the others: to where all meet, or to where it is
//! handed what another has not come to.

mod attend;
mod collective;
mod evaluate;
mod experts;
mod heads;
mod index;
mod noise;
mod recurrent;
mod rows;
mod seen;
mod stored;
mod streams;
mod values;
mod walk;

use self::collective::meet;
pub use self::seen::Seen;
pub use self::values::WeightBytes;
use self::walk::{Mail, Rank, Walk};
use crate::graph::Program;

/// A program with its weights and the state of one sequence; or one of each rank.
pub struct Interpreter<'a> {
    ranks: Vec<Rank<'a>>,
    position: usize,
    /// Values are off in their last bits, as this says.
    noise: Option<u64>,
}

impl<'a> Interpreter<'a> {
    /// An empty sequence.
    pub fn new(program: &'a Program, weights: &'a dyn WeightBytes) -> Self {
        Interpreter::of_ranks([(program, weights)])
    }

    /// An empty sequence, of which is remembered what matrices are multiplied with.
    pub fn watching(program: &'a Program, weights: &'a dyn WeightBytes) -> Self {
        let mut interpreter = Interpreter::new(program, weights);
        interpreter.ranks.iter_mut().for_each(Rank::watch);
        interpreter
    }

    /// What the matrix in each slot has been multiplied with since [`Interpreter::watching`] began.
    pub fn seen(self) -> Vec<Seen> {
        self.ranks.into_iter().flat_map(Rank::seen).collect()
    }

    /// An empty sequence of ranks that share a model.
    pub fn of_ranks(ranks: impl IntoIterator<Item = (&'a Program, &'a dyn WeightBytes)>) -> Self {
        let ranks = ranks.into_iter();
        Interpreter {
            ranks: ranks.map(|(p, weights)| Rank::new(p, weights)).collect(),
            position: 0,
            noise: None,
        }
    }

    /// The same with every computed number off in its last bit by chance: how far results are off then is how far roundings of float32 can
    /// take them.
    pub fn shaken(self, seed: u64) -> Self {
        let noise = Some(seed);
        Interpreter { noise, ..self }
    }

    /// Appends tokens; returns the logits of each, `[tokens, vocab]`, as the first rank has them.
    pub fn step(&mut self, tokens: &[u32]) -> Vec<f32> {
        self.step_of_ranks(tokens).swap_remove(0)
    }

    /// Appends tokens; returns the logits of each, `[tokens, vocab]`, as every rank has them.
    ///
    /// # Panics
    /// Where ranks wait for each other, or do not meet at the same collective.
    pub fn step_of_ranks(&mut self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let (start, noise) = (self.position, self.noise);
        let ranks = self.ranks.iter_mut().enumerate();
        let walk = |(number, rank)| Walk::begin(number, rank, tokens, start, noise);
        let mut ranks: Vec<Walk> = ranks.map(walk).collect();
        let mut mail = Mail::among(ranks.len());
        while !ranks.iter().all(Walk::is_done) {
            let mut moved = false;
            for rank in &mut ranks {
                moved |= rank.go_on(&mut mail);
            }
            let here: Option<Vec<_>> = ranks.iter().map(Walk::meeting).collect();
            if let Some(here) = here.filter(|here| !here.is_empty()) {
                let values = meet(here.into_iter());
                for (rank, value) in ranks.iter_mut().zip(values) {
                    rank.take(value);
                }
                moved = true;
            }
            assert!(moved, "ranks wait for each other");
        }
        self.position += tokens.len();
        ranks.into_iter().map(Walk::logits).collect()
    }
}
