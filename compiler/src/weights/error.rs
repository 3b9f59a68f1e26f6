//! What can be wrong with a checkpoint, in words: the place, what was found, what was expected, what to do.

use super::foreign::Foreign;
use super::gguf::{GgufError, SplitError};
use super::index::Unplaced;
use super::pack::Place;
use crate::spec::JsonError;
use graver_runtime::abi::{Encoding, Quant};
use graver_runtime::files::{FileError, shown};
use std::fmt;
use std::path::PathBuf;
use thiserror::Error;

/// A checkpoint that cannot be used.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// A file that cannot be opened, read or mapped.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not JSON.
    #[error("{}: {source}", shown(path))]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: JsonError,
    },
    /// JSON, but not an object.
    #[error("{}: expected a JSON object, found {found}", shown(path))]
    JsonNotObject {
        /// The file.
        path: PathBuf,
        /// `an array`.
        found: &'static str,
    },
    /// A folder without weights.
    #[error("{}: found neither model.safetensors nor model.safetensors.index.json{}", shown(dir), instead.as_ref().map_or(String::new(), |it| format!("; {it}")))]
    NoWeights {
        /// The folder.
        dir: PathBuf,
        /// What lies there instead.
        instead: Option<Foreign>,
    },
    /// A broken safetensors file.
    #[error("{}: {problem}", shown(path))]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: HeaderError,
    },
    /// A broken GGUF file.
    #[error("{}: {problem}", shown(path))]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: GgufError,
    },
    /// A model in several GGUF files that do not fit each other.
    #[error("{}: {problem}", shown(path))]
    Split {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: SplitError,
    },
    /// A broken index of shards.
    #[error("{}: {problem}", shown(path))]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        problem: IndexError,
    },
    /// A weight that the checkpoint lacks.
    #[error("{slot}: no tensor named {}{}; check the names in the spec, or whether a file of the checkpoint is missing", list(tried, " or "), nearest.as_ref().map_or(String::new(), |name| format!("; the nearest name in the checkpoint is {}", Name(name))))]
    MissingTensor {
        /// `layers.3.attention.q.weight`.
        slot: String,
        /// All names tried.
        tried: Vec<String>,
        /// The name in the checkpoint closest to one of them.
        nearest: Option<String>,
    },
    /// A weight whose tensor is in no shard, or in several.
    #[error("{slot}: tensor {} {unplaced}", Name(tensor))]
    Unplaced {
        /// `layers.3.attention.q.weight`.
        slot: String,
        /// Name in the checkpoint.
        tensor: String,
        /// Why it cannot be read.
        unplaced: Unplaced,
    },
    /// A tensor of another shape than the model's.
    #[error(
        "tensor {}: found shape {found:?}, expected {expected:?} for {slot}{note}; config.json and the weights do not belong together, or the spec's shape is wrong",
        Name(tensor)
    )]
    Misshapen {
        /// Name in the checkpoint.
        tensor: String,
        /// `layers.3.attention.q.weight`.
        slot: String,
        /// Shape stored.
        found: Vec<usize>,
        /// Shape wanted.
        expected: Vec<usize>,
        /// ` (stored transposed)` and the like, or nothing.
        note: &'static str,
    },
    /// A tensor of a type that is no weight type.
    #[error(
        "tensor {}: found type {found}, expected F32, F16 or BF16 for {slot}",
        Name(tensor)
    )]
    WrongType {
        /// Name in the checkpoint.
        tensor: String,
        /// `layers.3.attention.q.weight`.
        slot: String,
        /// Type stored.
        found: String,
    },
    /// A way of storing quantised weights that is not known.
    #[error(
        "config.json: quantization_config.quant_method: `{found}` cannot be read; known are {known}; use the checkpoint's unquantised form"
    )]
    Method {
        /// What stands there.
        found: String,
        /// All that are known.
        known: String,
    },
    /// Sizes of blocks that are none.
    #[error(
        "config.json: quantization_config.weight_block_size: found {found}, expected two sizes of at least 1, as in [128, 128]"
    )]
    BlockSize {
        /// What stands there.
        found: String,
    },
    /// Scales that are missing or do not fit what they scale.
    #[error(
        "tensor {}: for {slot}: found {found}, expected {expected}; fetch the checkpoint again, or its unquantised form",
        Name(tensor)
    )]
    Scales {
        /// The scales' name in the checkpoint.
        tensor: String,
        /// `layers.3.attention.q.weight`.
        slot: String,
        /// What there is.
        found: String,
        /// What there should be.
        expected: String,
    },
    /// A weight that is no number. Rounded, it would look like one.
    #[error("{place}: found {found}, expected a finite number; fetch the checkpoint again")]
    NotFinite {
        /// Where.
        place: Place,
        /// What stands there.
        found: f32,
    },
    /// A weight that no scale of the type reaches.
    #[error(
        "{place}: found {found:e}, expected a magnitude of at most {limit}, the largest in {quant}; choose another --quantize, or none"
    )]
    TooLarge {
        /// Where.
        place: Place,
        /// What stands there.
        found: f32,
        /// The type.
        quant: Quant,
        /// The largest magnitude.
        limit: f32,
    },
    /// A number that its scale makes infinite.
    #[error(
        "{place}: found {value} in a block of scale {scale:e}, expected a product below 2^128, where f32 and bf16 end; fetch the checkpoint again"
    )]
    Overflow {
        /// Where.
        place: Place,
        /// What stands there.
        value: f32,
        /// What it is multiplied by.
        scale: f64,
    },
    /// Experts of one layer that are stored in different ways.
    #[error(
        "{slot}: {} is stored as {}, {} as {}, but the experts of a layer have to be stored alike; store them in one type",
        Name(&first.0), first.1, Name(&other.0), other.1
    )]
    MixedFamily {
        /// `layers.3.moe.up.weight`.
        slot: String,
        /// The first expert's tensor and its type.
        first: (String, Encoding),
        /// The first that differs.
        other: (String, Encoding),
    },
    /// Tensors that no slot reads.
    #[error("{count} tensor{} of the checkpoint left over: {}; the spec has no weight for {}, nor lists {} under `ignore`", plural(*count, "", "s"), left_over(examples, *count), plural(*count, "it", "them"), plural(*count, "it", "them"))]
    LeftOver {
        /// How many.
        count: usize,
        /// The first few, each with the nearest name that a slot would have read.
        examples: Vec<(String, Option<String>)>,
    },
    /// A spec whose weight cannot be laid out.
    #[error("{slot}: the spec's weight of shape {shape:?} cannot be laid out: {problem}")]
    BadWeight {
        /// `layers.3.attention.q.weight`.
        slot: String,
        /// Shape in the spec.
        shape: Vec<usize>,
        /// Why not.
        problem: &'static str,
    },
    /// No memory for converted or random weights.
    #[error("cannot allocate {bytes} bytes for weights: {source}; try a smaller preset")]
    Memory {
        /// Bytes wanted.
        bytes: usize,
        /// Why not.
        source: std::io::Error,
    },
}

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
    #[error("the header says it is {found} bytes long; expected at most {limit}, {}; is the file truncated, or not safetensors?", if *limit == crate::weights::header::MAX_HEADER { "the format's limit" } else { "what is left of the file" })]
    TooLong {
        /// What the file says.
        found: u64,
        /// What it can be.
        limit: usize,
    },
    /// Something else altogether.
    #[error("found {what}, expected a safetensors file; fetch the file again, or convert it")]
    Foreign {
        /// `a GGUF file`.
        what: String,
    },
    /// Not text.
    #[error("the header is not UTF-8 from byte {at} on; is it a safetensors file?")]
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
    /// A tensor that ends behind the end of the file.
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
        "tensor {}: expected the name of a file in this folder, found {}",
        Name(tensor),
        Name(found)
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

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place {
            tensor,
            row,
            column,
        } = self;
        write!(f, "tensor {}: row {row}, column {column}", Name(tensor))
    }
}

/// A name out of a file: quoted, escaped, and cut where it is absurdly long.
pub(super) struct Name<'a>(pub(super) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 200;
        match self.0.char_indices().nth(LONGEST) {
            None => write!(f, "{:?}", self.0),
            Some((cut, _)) => write!(f, "{:?}… ({} bytes)", &self.0[..cut], self.0.len()),
        }
    }
}

/// A shape out of a file, cut where it has absurdly many dimensions.
struct Shape<'a>(&'a [usize]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 8;
        if self.0.len() <= MOST {
            return write!(f, "{:?}", self.0);
        }
        write!(f, "{:?}… ({} dimensions)", &self.0[..MOST], self.0.len())
    }
}

fn plural<'a>(n: usize, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
}

fn list(names: &[String], between: &str) -> String {
    names
        .iter()
        .map(|name| Name(name).to_string())
        .collect::<Vec<_>>()
        .join(between)
}

fn left_over(examples: &[(String, Option<String>)], count: usize) -> String {
    let mut parts: Vec<String> = examples
        .iter()
        .map(|(name, nearest)| match nearest {
            Some(nearest) => format!("{} (nearest expected: {})", Name(name), Name(nearest)),
            None => Name(name).to_string(),
        })
        .collect();
    if count > examples.len() {
        parts.push(format!("{} more", count - examples.len()));
    }
    parts.join(", ")
}
