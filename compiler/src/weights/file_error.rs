//! What can be wrong with the files of a checkpoint by themselves: headers, and the index of shards.

use std::fmt;

use thiserror::Error;

use super::name::{Name, Shape, list};

/// Longest header the format allows, in bytes.
pub(super) const MAX_HEADER: usize = 100_000_000;

/// What can be wrong with a safetensors file.
#[derive(Debug, Error)]
pub enum HeaderError {
    /// Not even the length of the header is there.
    #[error(
        "{bytes} bytes is too short for a safetensors file; expected at least 8, the length of its header; is it truncated?"
    )]
    TooShort {
        /// Size of the file.
        bytes: usize,
    },
    /// A header longer than the file, or than any real one.
    #[error("the header says it is {found} bytes long; expected at most {limit}, {}; is the file truncated, or not safetensors?", if *limit == MAX_HEADER { "the format's limit" } else { "what is left of the file" })]
    TooLong {
        /// What the file says.
        found: u64,
        /// What it can be.
        limit: usize,
    },
    /// Something else altogether.
    #[error("found {what}, expected a safetensors file; download the file again, or convert it")]
    Foreign {
        /// `a GGUF file`.
        what: String,
    },
    /// Not text.
    #[error("the header is not UTF-8 at byte {at}; is it a safetensors file?")]
    NotUtf8 {
        /// First bad byte, counted from the start of the file.
        at: usize,
    },
    /// Not a JSON object of tensors.
    #[error("the header does not parse: {0}")]
    Json(serde_json::Error),
    /// A name that stands twice.
    #[error("tensor {} is listed twice", Name(name))]
    Duplicate {
        /// The name.
        name: String,
    },
    /// An element type nobody knows.
    #[error(
        "tensor {}: unknown type {}; expected one of F32, F16, BF16, F64, I8 to I64, U8 to U64, BOOL, F8_*, F6_*, F4, C64",
        Name(name),
        Name(found)
    )]
    UnknownType {
        /// The tensor.
        name: String,
        /// The type.
        found: String,
    },
    /// Dimensions whose product no machine can hold.
    #[error(
        "tensor {}: shape {} of {dtype} overflows the size of memory",
        Name(name),
        Shape(shape)
    )]
    Overflow {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its type.
        dtype: String,
    },
    /// Offsets that do not hold what the shape says.
    #[error("tensor {}: found {found} bytes (data_offsets [{begin}, {end}]), expected {expected} for shape {} of {dtype}", Name(name), Shape(shape), found = i128::from(*end) - i128::from(*begin))]
    WrongSize {
        /// The tensor.
        name: String,
        /// First byte.
        begin: u64,
        /// One past the last byte.
        end: u64,
        /// Bytes that the shape needs.
        expected: usize,
        /// Its shape.
        shape: Vec<usize>,
        /// Its type.
        dtype: String,
    },
    /// A tensor that ends after the end of the file.
    #[error(
        "tensor {} ends at byte {end} of the data, but the file has only {available}; is it truncated?",
        Name(name)
    )]
    OutOfRange {
        /// The tensor.
        name: String,
        /// One past its last byte.
        end: u64,
        /// Bytes of data in the file.
        available: usize,
    },
    /// Two tensors over the same bytes.
    #[error(
        "tensors {} and {} overlap: the first ends at byte {end} of the data, the second begins at {begin}",
        Name(first),
        Name(second)
    )]
    Overlap {
        /// The tensor that begins first.
        first: String,
        /// One past its last byte.
        end: u64,
        /// The other.
        second: String,
        /// Its first byte.
        begin: u64,
    },
    /// Bytes that belong to no tensor.
    #[error(
        "bytes {begin} to {end} of the data belong to no tensor; the file is damaged or was joined from several"
    )]
    Hole {
        /// First such byte.
        begin: u64,
        /// One past the last.
        end: u64,
    },
}

/// What can be wrong with `model.safetensors.index.json`.
#[derive(Debug, Error)]
pub enum IndexError {
    /// Not JSON of that form.
    #[error("{0}; expected an object with `weight_map`, from tensor names to file names")]
    Json(serde_json::Error),
    /// No map from tensors to files.
    #[error("expected `weight_map`, an object from tensor names to file names")]
    NoWeightMap,
    /// A file name that is not one.
    #[error(
        "tensor {}: expected the name of a file in this folder, found {found}",
        Name(tensor)
    )]
    BadFileName {
        /// The tensor.
        tensor: String,
        /// What stands there.
        found: String,
    },
    /// A shard that is not there.
    #[error("tensor {} (and {} more) should be in {}, which is not in this folder; was the download complete?", Name(tensor), tensors - 1, Name(file))]
    MissingShard {
        /// The shard.
        file: String,
        /// One of its tensors.
        tensor: String,
        /// How many of them.
        tensors: usize,
    },
}

/// Why a tensor that an index or a shard names cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// The index puts it into a shard, and no shard has it.
    Nowhere {
        /// The shard.
        file: String,
    },
    /// Several shards have it, and the index does not say which one is meant.
    Several {
        /// The shards.
        files: Vec<String>,
    },
}

impl fmt::Display for Unplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unplaced::Nowhere { file } => write!(
                f,
                "should be in {}, as the index says, but no shard has it; fetch the shard again, or the index, if one of them is older",
                Name(file)
            ),
            Unplaced::Several { files } => write!(
                f,
                "is in each of {}, and the index does not say which one is meant; fetch the index again",
                list(files, " and ")
            ),
        }
    }
}
