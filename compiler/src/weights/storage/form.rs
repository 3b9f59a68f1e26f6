//! What a storage type is made of, as data.

use super::bits::Bits;

/// How a tensor's values are stored.
#[derive(Debug, PartialEq)]
pub struct StorageType {
    /// What the format calls it: `Q4_K`.
    pub name: &'static str,
    /// Its number in GGUF files.
    pub(super) gguf: u32,
    /// Values of a block.
    pub block: usize,
    /// Bytes of a block.
    pub bytes: usize,
    /// What its bytes mean.
    pub(super) form: Form,
}

/// What the bytes of a block mean.
#[derive(Debug, PartialEq)]
pub(super) enum Form {
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
pub(super) struct Groups {
    /// Values of a group, a power of two.
    pub(super) group: usize,
    /// The codes, lowest bits first.
    pub(super) codes: &'static [Bits],
    pub(super) integers: Integers,
    /// The block's scale.
    pub(super) scale: Scale,
    /// A factor on it for each group.
    pub(super) scales: Option<Factors>,
    pub(super) minimum: Minimum,
}

/// What integer a code stands for.
#[derive(Debug, PartialEq)]
pub(super) enum Integers {
    /// Itself, less this; codes of 8 bits have a sign of their own.
    Less(i8),
    /// What a codebook has in its place.
    Book(&'static [i8; 16]),
}

/// A scale of a block, and its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    F16(usize),
    /// Half of the power of two with this exponent, offset by 127, as the doubled codebook wants it.
    HalfPower(usize),
}

/// A small integer for each group.
#[derive(Debug, PartialEq)]
pub(super) struct Factors {
    pub(super) bits: &'static [Bits],
    /// Taken away; those of 8 bits have a sign of their own.
    pub(super) less: i8,
}

/// What is added to all values of a group.
#[derive(Debug, PartialEq)]
pub(super) enum Minimum {
    None,
    /// The f16 at this byte.
    Plus(usize),
    /// Taken away: the f16 at this byte, times a factor for each group.
    Minus(usize, Factors),
}
