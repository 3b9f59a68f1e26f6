//! The one walk of a bound model: the steps of each of its sections in order, with the weights and the state that each has.
//!
//! Generated code reaches weights and states by their place in a table, so that their order is a fact; it is written here and
//! nowhere else. The graph declares what this walk gives, weights are resolved, drawn, quantised and packed in its order.

mod slots;
mod states;
mod steps;

pub(crate) use slots::{Role, Slot, kind_slots, slots};
pub(crate) use states::{Kept, State, states};
