//! How far a program whose weights or whose keys and values are rounded is from the one without, and what rounding costs by itself.

mod exact;
mod paths;

pub use self::exact::of_interpreter;
pub use self::paths::{
    Bounds, Divergence, DivergenceError, DivergenceReport, Reference, against_reference,
};
