//! Specs.
pub mod model;
