//! Operations: what each is, in a file for each family with its options, operands, shape and text; and the closed set of them.

mod attention;
mod collective;
mod epilogue;
mod expert_block;
mod experts;
mod facts;
mod grouping;
mod heads;
mod index;
mod matmul;
mod norm;
mod op;
mod operand;
mod read;
mod recurrent;
mod rows;
mod rule;
mod scan;
mod words;

pub use attention::*;
pub use collective::*;
pub use epilogue::*;
pub use expert_block::*;
pub use experts::*;
pub use facts::*;
pub use grouping::*;
pub use heads::*;
pub use index::*;
pub use matmul::*;
pub use norm::*;
pub use op::Op;
pub use operand::*;
pub use recurrent::*;
pub use rows::*;
pub use scan::*;

pub(super) use rule::{Given, Rule, ShapeError};
pub(super) use words::{Attr, AttrError, Words};
