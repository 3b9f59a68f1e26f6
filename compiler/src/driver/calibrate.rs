//! What the columns of matrices are worth: how large the numbers are that they are multiplied with while the model reads a text.
//!
//! An error of a weight moves a product by as much as its column's number is large, so that squared errors count by the mean square of
//! that, over rows of the same size. In go the model as it is stored, and tokens; out comes, for each slot with a matrix that anything was multiplied with, the worth of its
//! columns, 1 on average.

use std::sync::Arc;

use graver_runtime::abi::CacheType;
use rayon::prelude::*;

use super::compile::plain_program;
use super::loaded::Loaded;
use crate::graph::ProgramKind;
use crate::interp::{Interpreter, Seen};

/// Tokens that are read in one sequence: the text's pieces are read side by side.
const WINDOW: usize = 128;
/// The least that a column is worth: what nothing is multiplied with in one text may matter in another.
const LEAST: f64 = 1e-3;

/// The worth of each slot's columns. Tokens that the model has no embedding for are left out.
pub(crate) fn worth_of_columns(loaded: &Loaded, tokens: &[u32]) -> Vec<Option<Arc<[f32]>>> {
    let known = |token: &u32| (*token as usize) < loaded.model.vocab;
    let tokens: Vec<u32> = tokens.iter().copied().filter(known).collect();
    let program = plain_program(loaded, ProgramKind::Prefill, CacheType::F32);
    let slots = loaded.weights.slots();
    let windows = tokens.par_chunks(WINDOW.min(loaded.model.context));
    let seen: Vec<Vec<Seen>> = windows
        .map(|window| {
            let mut interpreter = Interpreter::watching(&program, &slots);
            interpreter.step(window);
            interpreter.seen()
        })
        .collect();
    let mut all = vec![Seen::default(); slots.len()];
    for window in &seen {
        let both = all.iter_mut().zip(window);
        both.for_each(|(all, window)| all.merge(window));
    }
    all.iter().map(worth).collect()
}

/// The sums over their mean; none where everything was zero, or not finite.
fn worth(seen: &Seen) -> Option<Arc<[f32]>> {
    let sum: f64 = seen.squares.iter().sum();
    let mean = sum / seen.squares.len() as f64;
    let each = seen
        .squares
        .iter()
        .map(|sum| (sum / mean).max(LEAST) as f32);
    (mean > 0.0 && mean.is_finite()).then(|| each.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{ModelSource, Purpose, load};

    fn built_in() -> Loaded {
        load(&ModelSource::Embedded, Purpose::Run, None, &|_, _, _| {}).unwrap()
    }

    #[test]
    fn every_matrix_that_is_multiplied_has_a_worth_of_one_on_average() {
        let loaded = built_in();
        let tokens: Vec<u32> = (0..200).map(|i| i * 31 % 1000).collect();
        let worth = worth_of_columns(&loaded, &tokens);
        let views: Vec<_> = loaded.weights.views().collect();
        assert_eq!(worth.len(), views.len());
        for (view, worth) in views.iter().zip(&worth) {
            let is_vector = view.bytes == view.row_stride_bytes;
            let is_table = view.slot.contains("embed");
            assert_eq!(worth.is_none(), is_vector || is_table, "{}", view.slot);
            let Some(worth) = worth else { continue };
            let mean = worth.iter().sum::<f32>() / worth.len() as f32;
            assert!((mean - 1.0).abs() < 1e-2, "{} {mean}", view.slot);
            let most = worth.iter().copied().fold(0.0, f32::max);
            assert!(most > 1.5, "{}: all columns are alike", view.slot);
        }
    }

    #[test]
    fn no_text_and_unknown_tokens_say_nothing() {
        let loaded = built_in();
        for tokens in [&[][..], &[u32::MAX, 1024]] {
            let worth = worth_of_columns(&loaded, tokens);
            assert!(worth.iter().all(Option::is_none));
        }
    }

    #[test]
    fn a_worth_is_a_sum_over_the_mean() {
        let seen = |squares: &[f64]| {
            worth(&Seen {
                squares: squares.into(),
            })
        };
        assert_eq!(
            seen(&[1.0, 3.0, 0.0, 0.0]).unwrap()[..],
            [1.0, 3.0, 1e-3, 1e-3]
        );
        assert_eq!(seen(&[0.0, 0.0]), None);
        assert_eq!(seen(&[f64::NAN, 1.0]), None);
        assert_eq!(seen(&[]), None);
    }
}
