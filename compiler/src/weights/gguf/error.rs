//! What can be wrong with a GGUF file, in words.

use crate::weights::name::Name;
use thiserror::Error;

/// A GGUF file that cannot be used. Which file it is, the caller says.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum GgufError {
    /// Something else altogether.
    #[error("found {found}, expected a GGUF file, which begins with `GGUF`")]
    Magic {
        /// The first bytes, or what they are known to begin.
        found: String,
    },
    /// The other order of bytes.
    #[error("a big-endian GGUF file, expected little-endian; download or convert it in that order")]
    BigEndian,
    /// A version that is not read.
    #[error(
        "GGUF version {found}, expected 2 or 3; convert the model again, or download a newer file"
    )]
    Version {
        /// The version.
        found: u32,
    },
    /// A file that ends too soon.
    #[error(
        "{what}: found {left} bytes after byte {at}, expected {wanted}; the file is truncated or damaged, download it again"
    )]
    Ends {
        /// `key 3`.
        what: String,
        /// Where it should begin.
        at: usize,
        /// How many bytes.
        wanted: u64,
        /// How many there are.
        left: usize,
    },
    /// Metadata that is longer than any real one.
    #[error("metadata and list of tensors: larger than {limit} bytes; the file is damaged")]
    LongHeader {
        /// The limit.
        limit: usize,
    },
    /// More of something than any real file has.
    #[error(
        "found {found} {what}, expected at most {limit}; the file is damaged, download it again"
    )]
    TooMany {
        /// `tensors`.
        what: String,
        /// How many.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A name that is longer than any real one.
    #[error("{what}: a name of {bytes} bytes, expected at most {limit}")]
    LongName {
        /// `tensor 3`.
        what: String,
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A name or a text that is none.
    #[error("{what}: the string at byte {at} is not UTF-8")]
    NotUtf8 {
        /// `key 3`.
        what: String,
        /// Its place.
        at: usize,
    },
    /// A type of metadata that does not exist.
    #[error("key {}: unknown type {found} of a value, expected 0 to 12", Name(key))]
    ValueType {
        /// The key.
        key: String,
        /// The type's number.
        found: u32,
    },
    /// A list of lists.
    #[error("key {}: a list of lists, expected a list of values", Name(key))]
    Nested {
        /// The key.
        key: String,
    },
    /// A flag that is neither true nor false.
    #[error("key {}: found {found} for a flag, expected 0 or 1", Name(key))]
    Flag {
        /// The key.
        key: String,
        /// The byte.
        found: u8,
    },
    /// A key that stands twice.
    #[error("key {} occurs twice", Name(key))]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A key whose value is of another type than its meaning needs.
    #[error("key {}: found {found}, expected {expected}", Name(key))]
    WrongType {
        /// The key.
        key: String,
        /// What there is.
        found: String,
        /// `a whole number`.
        expected: &'static str,
    },
    /// A key inside of one that has a value itself.
    #[error(
        "key {}: found a value under the beginning of its name as well, expected one of them",
        Name(key)
    )]
    InTheWay {
        /// The key.
        key: String,
    },
    /// A key that has to be there.
    #[error("key {} is missing; download a complete model", Name(key))]
    MissingKey {
        /// The key.
        key: String,
    },
    /// An alignment that is none.
    #[error("key \"general.alignment\": found {found}, expected 1 to {limit}")]
    Alignment {
        /// What stands there.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A tensor with too many dimensions, or none.
    #[error("tensor {}: {found} dimensions, expected 1 to {limit}", Name(tensor))]
    Dimensions {
        /// The tensor.
        tensor: String,
        /// How many.
        found: u32,
        /// The limit.
        limit: u32,
    },
    /// A tensor of settings in a form that is not read.
    #[error(
        "tensor {}: found {dtype} {shape:?}, expected F32, and at most {limit} values",
        Name(tensor)
    )]
    NoValues {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: &'static str,
        /// Its dimensions, outermost first.
        shape: Vec<usize>,
        /// The limit.
        limit: usize,
    },
    /// A tensor that stands twice.
    #[error("tensor {} is listed twice", Name(tensor))]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
    },
    /// A type of tensors that is not known.
    #[error(
        "tensor {}: unknown type {found}; the file is damaged, or the type is newer than this program",
        Name(tensor)
    )]
    TensorType {
        /// The tensor.
        tensor: String,
        /// The type's number.
        found: u32,
    },
    /// Dimensions of no size, or whose product no machine can hold.
    #[error(
        "tensor {}: dimensions {dimensions:?} of {dtype} have no size",
        Name(tensor)
    )]
    Size {
        /// The tensor.
        tensor: String,
        /// Its dimensions, innermost first, as the file has them.
        dimensions: Vec<u64>,
        /// Its type.
        dtype: &'static str,
    },
    /// Rows that are not whole blocks.
    #[error(
        "tensor {}: rows of {columns} values, expected a multiple of {block}, a block of {dtype}",
        Name(tensor)
    )]
    RaggedRows {
        /// The tensor.
        tensor: String,
        /// Values of a row.
        columns: u64,
        /// Values of a block.
        block: usize,
        /// Its type.
        dtype: &'static str,
    },
    /// An offset that is not aligned.
    #[error(
        "tensor {}: at byte {offset} of the data, expected a multiple of {alignment}",
        Name(tensor)
    )]
    Unaligned {
        /// The tensor.
        tensor: String,
        /// Its offset.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// A tensor that ends after the end of the file.
    #[error(
        "tensor {} of {bytes} bytes at byte {offset} of the data, which has only {available}; the file is truncated, download it again",
        Name(tensor)
    )]
    OutOfRange {
        /// The tensor.
        tensor: String,
        /// Its offset.
        offset: u64,
        /// Its length.
        bytes: usize,
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
        end: usize,
        /// The other.
        second: String,
        /// Its first byte.
        begin: usize,
    },
}

/// What can be wrong with a model in several GGUF files.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SplitError {
    /// A part whose name does not say which it is.
    #[error(
        "part {number} of {count}, but the name does not end in -{number:05}-of-{count:05}.gguf, as part names do; rename it to its published name"
    )]
    Name {
        /// Which part, from 1.
        number: u64,
        /// Of how many.
        count: u64,
    },
    /// More parts than any model has.
    #[error("a model of {count} parts, expected 1 to {limit}")]
    Count {
        /// How many.
        count: u64,
        /// The limit.
        limit: u64,
    },
    /// A part that says that it is another.
    #[error(
        "found part {found} of {found_count}, expected part {expected} of {count}; download this part again"
    )]
    Part {
        /// Which it says that it is, from 1.
        found: u64,
        /// Of how many.
        found_count: u64,
        /// Which it should be.
        expected: u64,
        /// Of how many.
        count: u64,
    },
    /// A tensor in two parts.
    #[error("tensor {} is in an earlier part as well", Name(tensor))]
    Twice {
        /// The tensor.
        tensor: String,
    },
    /// Tensors that are in no part, or too many.
    #[error(
        "the parts have {found} tensors, but the first part says {expected}; download them again"
    )]
    Tensors {
        /// How many there are.
        found: u64,
        /// How many there should be.
        expected: u64,
    },
}
