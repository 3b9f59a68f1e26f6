//! Storage types: how files hold a tensor's values in blocks of bits, as data.
//!
//! A block is some values of a row. Each has a code of a few bits, which may lie in several places of the block ([`Bits`](bits::Bits));
//! codes become integers, by taking a zero point away or through a codebook; a value is its integer times the scale of
//! its group, plus or minus the group's minimum. All types are rows of one table ([`StorageType::ALL`]), and everything
//! else follows from a row: what a value is, bit for bit ([`StorageType::read`]), and which packed layout holds the same
//! values ([`StorageType::packed`]).

mod bits;
mod form;
mod read;
mod table;

pub use form::{FloatType, StorageType};
pub(super) use read::Parts;
