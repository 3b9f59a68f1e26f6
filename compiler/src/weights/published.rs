//! Matrices as large models are published: which tensors hold their values and their scales, and whether these fit.
//!
//! Blocks of FP8 (e4m3, Micikevicius et al. 2022) have a scale each, and become f32: their products need its precision.
//! MXFP4 (Open Compute Project 2023) has groups of 32 e2m1 values with a power of two each, and becomes bf16, which holds
//! them all, or f32 where a vector is stored so. Integers of 4 and 8 bits are `integers.rs`'s. Which of them a checkpoint uses,
//! `quantization_config` of its config says; what names go with that is data, in `published.json`.

use super::checkpoint::Checkpoint;
use super::error::WeightsError;
use super::file::StoredTensor;
use super::header::{HeaderTensor, weight_type};
use super::integer_matrix::IntegerMatrix;
use super::integers::{IntegerForm, Integers};
use super::joined::Joints;
use super::settings::Settings;
use super::storage::StorageType;
use crate::spec::in_json;
use crate::spec::model::Blocks;
use graver_runtime::abi::{Dtype, Quant};
use safetensors::Dtype as StoredDtype;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Values that share one power of two in MXFP4.
pub(super) const GROUP: usize = 32;

/// How a checkpoint stores what it quantises.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    /// FP8, and a tensor of scales whose name ends with this: one for each block, or for what the strategy says.
    ScaledBlocks {
        scales: String,
        strategy: Option<Strategy>,
        /// What the config may call the type, where it does.
        #[serde(default)]
        formats: Vec<String>,
    },
    /// Two tensors whose names end with these.
    Packed { blocks: String, scales: String },
    /// Several tensors in the place of one.
    Integers(IntegerForm),
    /// One of these, by the `format` that the config names.
    Formats(BTreeMap<String, Method>),
}

/// What has a scale of its own.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Strategy {
    Tensor,
    Channel,
    Block,
}

impl Settings<'_> {
    /// What has a scale of its own, of numbers of 8 bits.
    fn strategy(&self) -> Result<Option<Strategy>, WeightsError> {
        self.word("type", &["float"])?;
        match self.whole(&["num_bits"])? {
            None | Some((_, 8)) => {}
            Some((key, _)) => return Err(self.wrong(key, "8")),
        }
        Ok(
            match self.word("strategy", &["block", "channel", "tensor"])? {
                Some("block") => Some(Strategy::Block),
                Some("channel") => Some(Strategy::Channel),
                Some(_) => Some(Strategy::Tensor),
                None => None,
            },
        )
    }
}

/// How one checkpoint stores its matrices.
#[derive(Clone, Debug, Default)]
pub(super) struct Published {
    method: Option<Method>,
    /// Rows and columns that share a scale; all of them without it.
    block: Option<[usize; 2]>,
    /// Sizes of integers, if that is the method.
    integers: Option<Integers>,
}

/// The tensor or tensors of one name.
#[derive(Clone, Debug)]
pub(super) enum Stored<'a> {
    /// Itself.
    Plain(&'a StoredTensor),
    /// Groups, and the name under which a scale for each is expected.
    Packed {
        blocks: &'a StoredTensor,
        scales: String,
    },
    /// Codes of integers, whose other tensors go by the name.
    Integers(&'a StoredTensor),
}

/// How a tensor becomes floats.
#[derive(Clone, Debug)]
pub(super) enum Widen {
    /// From another float type to f32.
    Float(Dtype),
    /// From the negative of their exponentials, of any float type, to f32.
    Logarithm(Dtype),
    /// Numbers of a vector that lie apart, from any float type to f32: the first, and where the others are.
    Gathered {
        dtype: Dtype,
        first: usize,
        blocks: Blocks,
    },
    /// From several tensors to f32, each of which has some rows of every head.
    Joined(Joints),
    /// From whole numbers below one that f32 holds, of so many bytes each.
    Whole { bytes_each: usize, below: usize },
    /// From FP8 to f32, with scales in a tensor, one for each block.
    Blocks { scales: String, block: [usize; 2] },
    /// From MXFP4 to bf16 or f32, both of which hold every value.
    Packed { scales: String, to: Dtype },
    /// From blocks of a storage type to f32.
    Blocked(&'static StorageType),
    /// From blocks to panels of a type that holds the same values.
    Panels(&'static StorageType, Quant),
    /// From integers to panels of a type that holds the same values, or to f32.
    Integers(Box<IntegerMatrix>, Option<Quant>),
}

static METHODS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("published.json")).expect("published.json is an object")
});

impl Published {
    /// Reads `quantization_config`, of the whole or of a multimodal model's text half.
    pub(super) fn of(checkpoint: &Checkpoint) -> Result<Published, WeightsError> {
        let config = &checkpoint.config;
        let places = [config, &config["text_config"]].map(|c| &c["quantization_config"]);
        let Some(q) = places.into_iter().find(|q| !q.is_null()) else {
            return Ok(Published::default());
        };
        if !q.is_object() {
            return Err(WeightsError::QuantizationKind { found: in_json(q) });
        }
        let found = match &q["quant_method"] {
            Value::Null => "none named".into(),
            Value::String(name) => name.clone(),
            other => in_json(other),
        };
        let method = METHODS.get(&found).ok_or_else(|| WeightsError::Method {
            found: found.clone(),
            known: METHODS.keys().cloned().collect::<Vec<_>>().join(", "),
        })?;
        let method = Method::deserialize(method).expect("published.json names known methods");
        Published::by(method, q)
    }

    fn by(method: Method, q: &Value) -> Result<Published, WeightsError> {
        let (mut block, mut integers) = (block_size(&q["weight_block_size"])?, None);
        match &method {
            Method::Packed { .. } => {}
            Method::ScaledBlocks {
                strategy, formats, ..
            } => {
                let config = Settings::new(q);
                let formats: Vec<&str> = formats.iter().map(String::as_str).collect();
                if !formats.is_empty() {
                    config.word("fmt", &formats)?;
                }
                let weights = config.of_weights()?;
                match weights.strategy()?.or(*strategy) {
                    Some(Strategy::Channel) => block = Some([1, usize::MAX]),
                    Some(Strategy::Block) => {
                        let structure = weights.get("block_structure");
                        block = block_size(structure.unwrap_or(&Value::Null))?;
                    }
                    Some(Strategy::Tensor) | None => {}
                }
            }
            Method::Integers(form) => integers = Some(Integers::of(form.clone(), q)?),
            Method::Formats(formats) => {
                let config = Settings::new(q);
                let known: Vec<&str> = formats.keys().map(String::as_str).collect();
                let found = config.word("format", &known)?;
                let one = found.and_then(|found| formats.get(found)).cloned();
                let one = one.ok_or_else(|| config.wrong("format", &known.join(" or ")))?;
                return Published::by(one, q);
            }
        }
        Ok(Published {
            method: Some(method),
            block,
            integers,
        })
    }

    /// What a checkpoint has under a name.
    pub(super) fn stored<'a>(&self, checkpoint: &'a Checkpoint, name: &str) -> Option<Stored<'a>> {
        if let Some(tensor) = checkpoint.tensors.get(name) {
            return Some(Stored::Plain(tensor));
        }
        if let Some(integers) = &self.integers {
            let codes = checkpoint.tensors.get(&integers.codes(name)?)?;
            return Some(Stored::Integers(codes));
        }
        let Some(Method::Packed { blocks, scales }) = &self.method else {
            return None;
        };
        let blocks = checkpoint.tensors.get(&format!("{name}{blocks}"))?;
        let scales = format!("{name}{scales}");
        Some(Stored::Packed { blocks, scales })
    }

    /// All names under which a checkpoint may have a part of what is called `name`.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        let endings = match &self.method {
            None | Some(Method::Integers(_) | Method::Formats(_)) => vec![],
            Some(Method::ScaledBlocks { scales, .. }) => vec![scales],
            Some(Method::Packed { blocks, scales }) => vec![blocks, scales],
        };
        let others = endings.into_iter().map(|end| format!("{name}{end}"));
        let integers = self.integers.iter().flat_map(|i| i.names(name));
        std::iter::once(name.to_string())
            .chain(others)
            .chain(integers)
            .collect()
    }

    /// The sizes of integers, where the checkpoint stores any.
    pub(super) fn integers(&self) -> Option<&Integers> {
        self.integers.as_ref()
    }

    /// How a tensor of FP8 becomes f32, its scales checked; none for tensors of other types.
    pub(super) fn scaled(
        &self,
        checkpoint: &Checkpoint,
        header: &HeaderTensor,
        slot: &str,
    ) -> Result<Option<Widen>, WeightsError> {
        let Some(Method::ScaledBlocks { scales, .. }) = &self.method else {
            return Ok(None);
        };
        if header.dtype != StoredDtype::F8_E4M3 || header.shape.is_empty() {
            return Ok(None);
        }
        let name = format!("{}{scales}", header.name);
        let (rows, columns) = plane(&header.shape);
        let block = self.block.unwrap_or([rows, columns]);
        let expected = scale_shape(&header.shape, block);
        let found = checkpoint.tensors.get(&name).map(|t| &t.header);
        let fits = |h: &&HeaderTensor| {
            let one = self.block.is_none() && h.shape.iter().product::<usize>() == 1;
            weight_type(h.dtype).is_some() && (h.shape == expected || one)
        };
        if found.filter(fits).is_none() {
            return Err(WeightsError::Scales {
                tensor: name.clone(),
                slot: slot.into(),
                found: found.map_or_else(|| absent(checkpoint, &name), described),
                expected: format!(
                    "F32 {expected:?}, a scale for each {block:?} of {:?}",
                    header.shape
                ),
            });
        }
        Ok(Some(Widen::Blocks {
            scales: name,
            block,
        }))
    }
}

impl Stored<'_> {
    /// How the values are stored, where that is no type of safetensors files.
    pub(super) fn storage(&self) -> Option<&'static StorageType> {
        match self {
            Stored::Plain(tensor)
            | Stored::Packed { blocks: tensor, .. }
            | Stored::Integers(tensor) => tensor.storage,
        }
    }

    /// Header of the tensor that holds the values.
    pub(super) fn header(&self) -> &HeaderTensor {
        match self {
            Stored::Plain(tensor)
            | Stored::Packed { blocks: tensor, .. }
            | Stored::Integers(tensor) => &tensor.header,
        }
    }
}

impl Widen {
    /// How groups and their scales become a tensor of `shape`, both checked.
    pub(super) fn packed(
        checkpoint: &Checkpoint,
        [blocks, scales]: [&str; 2],
        shape: &[usize],
        to: Dtype,
        slot: &str,
    ) -> Result<Widen, WeightsError> {
        let (columns, rest) = shape.split_last().expect("a matrix has columns");
        let groups = [rest, &[columns / GROUP]].concat();
        let bytes = [&groups[..], &[GROUP / 2]].concat();
        for (name, expected) in [(blocks, bytes), (scales, groups)] {
            let header = checkpoint.tensors.get(name).map(|t| &t.header);
            let fits = |h: &&HeaderTensor| h.shape == expected && h.dtype == StoredDtype::U8;
            if !columns.is_multiple_of(GROUP) || header.filter(fits).is_none() {
                return Err(WeightsError::Scales {
                    tensor: name.into(),
                    slot: slot.into(),
                    found: header.map_or_else(|| absent(checkpoint, name), described),
                    expected: format!(
                        "U8 {expected:?}, in groups of {GROUP} along the {columns} columns"
                    ),
                });
            }
        }
        Ok(Widen::Packed {
            scales: scales.into(),
            to,
        })
    }

    /// The tensor of scales.
    pub(super) fn scales(&self) -> Option<&str> {
        match self {
            Widen::Float(_)
            | Widen::Logarithm(_)
            | Widen::Gathered { .. }
            | Widen::Whole { .. }
            | Widen::Blocked(_)
            | Widen::Panels(..)
            | Widen::Joined(_)
            | Widen::Integers(..) => None,
            Widen::Blocks { scales, .. } | Widen::Packed { scales, .. } => Some(scales),
        }
    }

    /// Which numbers of the tensor are converted, unless all are.
    pub(super) fn run(&self) -> Option<(usize, Blocks)> {
        match self {
            Widen::Gathered { first, blocks, .. } => Some((*first, *blocks)),
            Widen::Float(_)
            | Widen::Logarithm(_)
            | Widen::Whole { .. }
            | Widen::Blocks { .. }
            | Widen::Packed { .. }
            | Widen::Blocked(_)
            | Widen::Panels(..)
            | Widen::Joined(_)
            | Widen::Integers(..) => None,
        }
    }
}

/// Rows and columns of a block, where the config gives them.
fn block_size(found: &Value) -> Result<Option<[usize; 2]>, WeightsError> {
    if found.is_null() {
        return Ok(None);
    }
    match <[usize; 2]>::deserialize(found) {
        Ok(block) if !block.contains(&0) => Ok(Some(block)),
        Ok(_) | Err(_) => Err(WeightsError::BlockSize {
            found: found.to_string(),
        }),
    }
}

/// What is found of a tensor that is not there.
fn absent(checkpoint: &Checkpoint, name: &str) -> String {
    match checkpoint.unplaced.get(name) {
        Some(unplaced) => format!("nothing (it {unplaced})"),
        None => "nothing".into(),
    }
}

fn described(header: &HeaderTensor) -> String {
    format!("{} {:?}", header.dtype, header.shape)
}

/// Rows and columns of a tensor's matrices; a vector is one row.
pub(super) fn plane(shape: &[usize]) -> (usize, usize) {
    match shape {
        [.., rows, columns] => (*rows, *columns),
        [columns] => (1, *columns),
        [] => (1, 1),
    }
}

/// As many scales as there are blocks, in as many dimensions as the tensor has.
fn scale_shape(shape: &[usize], block: [usize; 2]) -> Vec<usize> {
    let mut out = shape.to_vec();
    for (size, block) in out.iter_mut().rev().zip([block[1], block[0]]) {
        *size = size.div_ceil(block);
    }
    out
}
