//! What can be wrong with a checkpoint, in words: the place, what was found, what was expected, what to do.

use super::file_error::{HeaderError, IndexError, Unplaced};
use super::foreign::Foreign;
use super::gguf::error::{GgufError, SplitError};
use super::name::{Name, list};
use crate::spec::JsonError;
use graver_runtime::abi::{Encoding, Quant};
use graver_runtime::files::{FileError, shown};
use graver_runtime::info::Size;
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
    /// A rule about matrices of which there are none.
    #[error("{pattern}=…: matches no matrix to quantise that later rules leave{}", nearest.as_ref().map_or(String::new(), |name| format!("; the nearest is {}", Name(name))))]
    NoSuchMatrix {
        /// The rule's pattern.
        pattern: String,
        /// The name closest to it.
        nearest: Option<String>,
    },
    /// A layout that published integers go into, and floats do not.
    #[error(
        "{quant}: nothing is rounded to this type; choose {}, {} or {}",
        Quant::Q8,
        Quant::Q4Super,
        Quant::Q4
    )]
    NotRounded {
        /// The type.
        quant: Quant,
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
    /// A tensor of a type that weights cannot have.
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
    /// Integers stored in a way that is not known.
    #[error(
        "config.json: quantization_config.{key}: found {found}, expected {expected}; use the checkpoint's unquantised form"
    )]
    Quantization {
        /// What says so.
        key: String,
        /// What stands there.
        found: String,
        /// What can be read.
        expected: String,
    },
    /// A `quantization_config` that holds no settings.
    #[error(
        "config.json: quantization_config: found {found}, expected an object, or null for a checkpoint that is not quantised"
    )]
    QuantizationKind {
        /// What stands there.
        found: String,
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
        "tensor {}: for {slot}: found {found}, expected {expected}; download the checkpoint again, or its unquantised form",
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
    /// A weight that is not finite. Rounded, it would look like a number.
    #[error("{place}: found {found}, expected a finite number; download the checkpoint again")]
    NotFinite {
        /// Where.
        place: TensorPlace,
        /// What stands there.
        found: f32,
    },
    /// A number that is no expert's.
    #[error("{place}: found {found}, expected the number of an expert, 0 to {}", below - 1)]
    NoExpert {
        /// Where.
        place: TensorPlace,
        /// What stands there.
        found: i64,
        /// How many experts there are.
        below: usize,
    },
    /// A table of experts that is not of whole numbers.
    #[error(
        "tensor {}: found type {found}, expected I32 or I64 for {slot}, whole numbers",
        Name(tensor)
    )]
    NotWhole {
        /// The tensor.
        tensor: String,
        /// What it is for.
        slot: String,
        /// Its type.
        found: String,
    },
    /// A weight that no scale of the type reaches.
    #[error(
        "{place}: found {found:e}, expected a magnitude of at most {limit}, the largest in {quant}; choose another --quantize, or none"
    )]
    TooLarge {
        /// Where.
        place: TensorPlace,
        /// What stands there.
        found: f32,
        /// The type.
        quant: Quant,
        /// The largest magnitude.
        limit: f32,
    },
    /// A number that its scale makes infinite.
    #[error(
        "{place}: found {value} in a block of scale {scale:e}, expected a product below 2^128, the limit of f32 and bf16; download the checkpoint again"
    )]
    Overflow {
        /// Where.
        place: TensorPlace,
        /// What stands there.
        value: f32,
        /// What it is multiplied by.
        scale: f64,
    },
    /// Experts of one layer that are stored in different ways.
    #[error(
        "{slot}: {} is stored as {}, {} as {}, expected the same type for all experts of a layer; convert them to one type",
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
    /// Converted, packed or random weights that memory has no room for.
    #[error(
        "the weights need {} of memory, but only {} is available; choose smaller sizes (--preset), or `graver compile`, which needs little memory",
        Size(*bytes),
        Size(*available)
    )]
    NoMemoryFor {
        /// Bytes wanted.
        bytes: usize,
        /// Bytes that the system has left.
        available: usize,
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

/// A value inside a stored tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPlace {
    /// Name in the checkpoint.
    pub tensor: String,
    /// Row as stored, counted through all matrices of the tensor.
    pub row: usize,
    /// Column as stored.
    pub column: usize,
}

impl fmt::Display for TensorPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TensorPlace {
            tensor,
            row,
            column,
        } = self;
        write!(f, "tensor {}: row {row}, column {column}", Name(tensor))
    }
}

fn plural<'a>(n: usize, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
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
