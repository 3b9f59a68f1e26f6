//! The manifest: what an artifact says about itself, and what a session is opened by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::CacheType;
use super::tuned::Record;

/// What an artifact says about itself; JSON inside the artifact, printed by `--info`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`super::ABI_VERSION`] of the compiler.
    pub abi: u32,
    /// Version of the compiler.
    pub compiler: String,
    /// Name of the spec, `llama`.
    pub spec: String,
    /// Target processor, `x86-64-v3`.
    pub target: String,
    /// Processor features the code needs, by their Rust names (`avx2`, `fma`).
    pub features: Vec<String>,
    /// Which kernels are faster on which processors, where the compiler was told.
    #[serde(default, skip_serializing_if = "Record::is_empty")]
    pub tuned: Record,
    /// Passes that ran, in order.
    pub passes: Vec<String>,
    /// Vocabulary size, the width of a row of logits.
    pub vocab: usize,
    /// Width of a row of what a step gives, where that is hidden states instead of logits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<usize>,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// The longest context the model was made for.
    pub context: usize,
    /// What keys and values are kept in.
    pub cache: CacheType,
    /// Bytes of weights in each element type, over all tensors.
    pub weight_types: BTreeMap<String, usize>,
    /// Whether prompts multiply matrices in bf16 with activations rounded to bf16.
    #[serde(default)]
    pub rounds_activations: bool,
    /// Tokens that end a generation (`eos_token_id` of the configs, one or several).
    pub eos: Vec<u32>,
    /// Token that the config says begins a sequence; the tokenizer decides whether it is added to text.
    pub bos: Option<u32>,
    /// The decode program.
    pub decode: ProgramInfo,
    /// The prefill program.
    pub prefill: ProgramInfo,
    /// Lengths of a sequence, ascending, beyond which its earlier positions would have been computed otherwise.
    pub length_switches: Vec<usize>,
    /// State buffers of one slot.
    pub states: Vec<StateInfo>,
    /// Weight slots, in the order generated code indexes them.
    pub weights: Vec<WeightInfo>,
    /// Where weight bytes are.
    pub blobs: Vec<BlobInfo>,
    /// Which of several ranks this is for; nothing where one has the whole model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<RankInfo>,
}

/// One of the ranks that share a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankInfo {
    /// Which.
    pub rank: usize,
    /// Of how many.
    pub ranks: usize,
    /// The same for all ranks of one model, and for no others.
    pub model: u64,
}

/// Where ranks meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectiveInfo {
    /// Place in the spec: `layers.dense.attention.o.reduce`.
    pub at: String,
    /// What becomes of the rows that they come with.
    pub kind: CollectiveKind,
    /// Times that a step comes there: the layers of its kind.
    pub times: usize,
    /// First of this rank's columns in the result.
    pub first: usize,
    /// This rank's columns.
    pub own: usize,
    /// Columns of the result.
    pub width: usize,
    /// Code says which columns are there before all are, so that they can be handed over early.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub early: bool,
}

/// What ranks do where they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CollectiveKind {
    /// Sum up.
    AllReduce,
    /// Set columns side by side.
    AllGather,
    /// One has rows for another, or for all others.
    HandOver {
        /// Who has them.
        from: usize,
        /// Who gets them; all others where that is not said.
        to: Option<usize>,
    },
}

impl CollectiveKind {
    /// Whether all ranks bring something.
    pub(crate) fn is_of_all(self) -> bool {
        match self {
            CollectiveKind::AllReduce | CollectiveKind::AllGather => true,
            CollectiveKind::HandOver { .. } => false,
        }
    }
}

impl Manifest {
    /// Width of a row of what a step gives.
    pub fn width(&self) -> usize {
        self.output.unwrap_or(self.vocab)
    }
}

/// Memory needs of one program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgramInfo {
    /// The most tokens of one step.
    pub max_tokens: usize,
    /// Arena bytes of buffers whose size is fixed.
    pub arena_bytes: usize,
    /// Further arena bytes for each position of the context.
    pub arena_bytes_per_position: usize,
    /// Scratch bytes of one thread.
    pub scratch_bytes: usize,
    /// Queries per attention tile.
    pub query_tile: usize,
    /// Kernels of the program's blocks in order, which time stamps refer to; empty where the code has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<KernelInfo>,
    /// Where ranks meet, in the order in which code numbers these places; none where there is one rank.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collectives: Vec<CollectiveInfo>,
}

/// A kernel, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelInfo {
    /// Place in the spec: `layers.dense.attention.q+k+v`.
    pub at: String,
    /// The operation: `matmul`.
    pub op: String,
}

/// One state buffer: its size is `fixed_bytes + positions · bytes_per_position`, where `positions` is the context or, for
/// rings, at most `ring` rows plus the largest step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateInfo {
    /// For people: `layers.3.attention.kv`.
    pub name: String,
    /// Bytes for each position held.
    pub bytes_per_position: usize,
    /// Bytes that do not depend on the context.
    pub fixed_bytes: usize,
    /// For a ring: rows in the window.
    pub ring: Option<usize>,
}

/// A weight slot: bytes `offset..offset + bytes` of a blob.
///
/// In JSON an array of its fields: models with many experts have tens of thousands of slots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "WeightRow", into = "WeightRow")]
pub struct WeightInfo {
    /// Tensor (or part of one) the slot holds.
    pub name: String,
    /// Index into [`Manifest::blobs`].
    pub blob: usize,
    /// First byte.
    pub offset: usize,
    /// Bytes from the first to the last that generated code may read.
    pub bytes: usize,
}

type WeightRow = (String, usize, usize, usize);

impl From<WeightRow> for WeightInfo {
    fn from((name, blob, offset, bytes): WeightRow) -> WeightInfo {
        WeightInfo {
            name,
            blob,
            offset,
            bytes,
        }
    }
}

impl From<WeightInfo> for WeightRow {
    fn from(info: WeightInfo) -> WeightRow {
        (info.name, info.blob, info.offset, info.bytes)
    }
}

/// A run of weight bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlobInfo {
    /// Name of the `.weights` file it is mapped from, beside the artifact; `None` for the artifact's own file.
    pub file: Option<String>,
    /// First byte, counted from where that file's weights start.
    pub offset: usize,
    /// Length in bytes.
    pub bytes: usize,
}
