//! Storage types: how files hold a tensor's values in blocks of bits, as data.
//!
//! A block is some values of a row. Each has a code of a few bits, which may lie in several places of the block ([`Bits`]);
//! codes become integers, by taking a zero point away or through a codebook; a value is its integer times the scale of
//! its group, plus or minus the group's minimum. All types are rows of one table ([`StorageType::ALL`]), and everything
//! else follows from a row: what a value is, bit for bit ([`StorageType::read`]), and which packed layout holds the same
//! values ([`StorageType::packed`]).

mod bits;
mod read;
mod table;

use bits::Bits;

/// How a tensor's values are stored.
#[derive(Debug, PartialEq)]
pub struct StorageType {
    /// What the format calls it: `Q4_K`.
    pub name: &'static str,
    /// Its number in GGUF files.
    gguf: u32,
    /// Values of a block.
    pub block: usize,
    /// Bytes of a block.
    pub bytes: usize,
    /// What its bytes mean.
    form: Form,
}

/// What the bytes of a block mean.
#[derive(Debug, PartialEq)]
enum Form {
    /// A float.
    Float(FloatType),
    /// Codes in groups.
    Groups(Groups),
    /// Something that is not read.
    Other,
}

/// Types of floats, in blocks of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatType {
    /// float32.
    F32,
    /// float16.
    F16,
    /// bfloat16.
    Bf16,
}

/// Codes in groups that share a scale.
#[derive(Debug, PartialEq)]
struct Groups {
    /// Values of a group.
    group: usize,
    /// The codes, lowest bits first.
    codes: &'static [Bits],
    integers: Integers,
    /// The block's scale.
    scale: Scale,
    /// A factor on it for each group.
    scales: Option<Factors>,
    minimum: Minimum,
}

/// What integer a code stands for.
#[derive(Debug, PartialEq)]
enum Integers {
    /// Itself, less this; codes of 8 bits have a sign of their own.
    Less(i8),
    /// What a codebook has in its place.
    Book(&'static [i8; 16]),
}

/// A scale of a block, and its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    F16(usize),
    /// Half of the power of two with this exponent, offset by 127, as the doubled codebook wants it.
    HalfPower(usize),
}

/// A small integer for each group.
#[derive(Debug, PartialEq)]
struct Factors {
    bits: &'static [Bits],
    /// Taken away; those of 8 bits have a sign of their own.
    less: i8,
}

/// What is added to all values of a group.
#[derive(Debug, PartialEq)]
enum Minimum {
    None,
    /// The f16 at this byte.
    Plus(usize),
    /// Taken away: the f16 at this byte, times a factor for each group.
    Minus(usize, Factors),
}
