//! How large a model is as a whole. Later stages multiply and add sizes without looking, and have a table of all weights, so that
//! both are limited here: far above any model there is, far below what overflows.

use std::cell::Cell;

use super::error::Fault;

/// Most weights of a model, each expert's counted: entries of the table of pointers.
const MAX_WEIGHTS: usize = 1 << 19;
/// Most elements of all weights together, and of the state of a sequence as long as the context.
const MAX_ELEMENTS: usize = 1 << 50;

/// What has been counted so far.
#[derive(Default)]
pub(super) struct Total {
    weights: Cell<usize>,
    elements: Cell<usize>,
    state: Cell<usize>,
}

impl Total {
    /// Counts `family` weights of a shape.
    pub(super) fn add_weight(&self, shape: &[usize], family: usize) -> Result<(), Fault> {
        let weights = self.weights.get() + family;
        self.weights.set(weights);
        if weights > MAX_WEIGHTS {
            return Err(Fault::Range {
                found: format!("more than {MAX_WEIGHTS} weights, each expert's counted"),
                expected: "a model of fewer experts or layers".into(),
            });
        }
        let elements = product(shape).and_then(|n| n.checked_mul(family));
        add(&self.elements, elements).map_err(|()| Fault::Range {
            found: format!(
                "weights of more than {MAX_ELEMENTS} elements, with this one of shape {shape:?}"
            ),
            expected: "smaller sizes".into(),
        })
    }

    /// Counts the state that a layer keeps of a sequence.
    pub(super) fn add_state(&self, sizes: &[usize]) -> Result<(), Fault> {
        add(&self.state, product(sizes)).map_err(|()| Fault::Range {
            found: format!(
                "a state of more than {MAX_ELEMENTS} elements for a sequence as long as the context"
            ),
            expected: "a shorter context, fewer layers or smaller heads".into(),
        })
    }
}

fn product(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

fn add(total: &Cell<usize>, more: Option<usize>) -> Result<(), ()> {
    let sum = more.and_then(|n| n.checked_add(total.get()));
    let sum = sum.filter(|n| *n <= MAX_ELEMENTS).ok_or(())?;
    total.set(sum);
    Ok(())
}
