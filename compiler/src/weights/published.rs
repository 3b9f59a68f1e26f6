//! Matrices as large models are published, made into floats when they are loaded; every value stays exact.
//!
//! Blocks of FP8 (e4m3, Micikevicius et al. 2022) have a scale each, and become f32: their products need its precision.
//! MXFP4 (Open Compute Project 2023) has groups of 32 e2m1 values with a power of two each, and becomes bf16, which holds
//! them all, or f32 where a vector is stored so. Which of the two a checkpoint uses, `quantization_config` of its config says; what names go with that is data,
//! in `published.json`.

use super::checkpoint::{Checkpoint, StoredTensor};
use super::error::WeightsError;
use super::found::weight_type;
use super::header::HeaderTensor;
use super::resolve::Progress;
use graver_runtime::abi::Dtype;
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype as StoredDtype;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// Values that share one power of two in MXFP4.
const GROUP: usize = 32;
/// Bytes of the result that are made in one piece: the grain of parallel work.
const PIECE: usize = 1 << 20;

/// How a checkpoint stores what it quantises.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    /// FP8, and a tensor of scales under the name with this behind it.
    ScaledBlocks { scales: String },
    /// Two tensors under the name with these behind it.
    Packed { blocks: String, scales: String },
}

/// How one checkpoint stores its matrices.
#[derive(Clone, Debug, Default)]
pub(super) struct Published {
    method: Option<Method>,
    /// Rows and columns that share a scale; all of them without it.
    block: Option<[usize; 2]>,
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
}

/// How a tensor becomes floats.
#[derive(Clone, Debug)]
pub(super) enum Widen {
    /// From another float type to f32.
    Float(Dtype),
    /// From FP8 to f32, with scales in a tensor, one for each block.
    Blocks { scales: String, block: [usize; 2] },
    /// From MXFP4 to bf16 or f32, both of which hold every value.
    Packed { scales: String, to: Dtype },
}

/// A tensor to be converted.
#[derive(Clone, Debug)]
pub(super) struct Conversion {
    /// Name of the tensor that holds the values.
    pub(super) name: String,
    pub(super) how: Widen,
    /// Where the result goes.
    pub(super) offset_bytes: usize,
    pub(super) bytes: usize,
}

static METHODS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("published.json")).expect("published.json is an object")
});

impl Published {
    /// Reads `quantization_config`, of the whole or of a multimodal model's text half.
    pub(super) fn of(checkpoint: &Checkpoint) -> Result<Published, WeightsError> {
        let config = &checkpoint.config;
        let places = [config, &config["text_config"]].map(|c| &c["quantization_config"]);
        let Some(q) = places.into_iter().find(|q| q.is_object()) else {
            return Ok(Published::default());
        };
        let found = q["quant_method"].as_str().unwrap_or("none named");
        let method = METHODS.get(found).ok_or_else(|| WeightsError::Method {
            found: found.into(),
            known: METHODS.keys().cloned().collect::<Vec<_>>().join(", "),
        })?;
        let method = Method::deserialize(method).expect("published.json names known methods");
        Ok(Published {
            method: Some(method),
            block: block_size(&q["weight_block_size"])?,
        })
    }

    /// What a checkpoint has under a name.
    pub(super) fn stored<'a>(&self, checkpoint: &'a Checkpoint, name: &str) -> Option<Stored<'a>> {
        if let Some(tensor) = checkpoint.tensors.get(name) {
            return Some(Stored::Plain(tensor));
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
        let behind = match &self.method {
            None => vec![],
            Some(Method::ScaledBlocks { scales }) => vec![scales],
            Some(Method::Packed { blocks, scales }) => vec![blocks, scales],
        };
        let others = behind.into_iter().map(|end| format!("{name}{end}"));
        std::iter::once(name.to_string()).chain(others).collect()
    }

    /// How a tensor of FP8 becomes f32, its scales checked; none for tensors of other types.
    pub(super) fn scaled(
        &self,
        checkpoint: &Checkpoint,
        header: &HeaderTensor,
        slot: &str,
    ) -> Result<Option<Widen>, WeightsError> {
        let Some(Method::ScaledBlocks { scales }) = &self.method else {
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
                expected: format!("F32 {expected:?}, a scale for each {block:?} of the matrix"),
            });
        }
        Ok(Some(Widen::Blocks {
            scales: name,
            block,
        }))
    }
}

impl Stored<'_> {
    /// Header of the tensor that holds the values.
    pub(super) fn header(&self) -> &HeaderTensor {
        match self {
            Stored::Plain(tensor) | Stored::Packed { blocks: tensor, .. } => &tensor.header,
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
            Widen::Float(_) => None,
            Widen::Blocks { scales, .. } | Widen::Packed { scales, .. } => Some(scales),
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
fn plane(shape: &[usize]) -> (usize, usize) {
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

/// Makes all conversions, each into its place in `memory`, which they fill in order.
pub(super) fn widen(
    checkpoint: &Checkpoint,
    conversions: &[Conversion],
    memory: &mut [u8],
    progress: Progress<'_>,
) {
    let total = conversions.iter().map(|c| c.bytes).sum();
    let (mut rest, mut end) = (memory, 0);
    let mut pieces = vec![];
    for c in conversions {
        let (_, from) = std::mem::take(&mut rest).split_at_mut(c.offset_bytes - end);
        let (own, after) = from.split_at_mut(c.bytes);
        (rest, end) = (after, c.offset_bytes + c.bytes);
        let source = Source::of(checkpoint, c);
        let grain = source.grain_bytes();
        let size = (PIECE / grain).max(1) * grain;
        let parts = own.chunks_mut(size).enumerate();
        pieces.extend(parts.map(|(i, out)| (source, i * size / grain, out)));
    }
    pieces.into_par_iter().for_each(|(source, first, out)| {
        source.fill(first, out);
        progress(total, out.len());
    });
}

/// What a conversion reads.
#[derive(Clone, Copy)]
enum Source<'a> {
    Float {
        bytes: &'a [u8],
        dtype: Dtype,
    },
    Blocks(Blocks<'a>),
    Packed {
        bytes: &'a [u8],
        scales: &'a [u8],
        to: Dtype,
    },
}

/// FP8 with its scales.
#[derive(Clone, Copy)]
struct Blocks<'a> {
    bytes: &'a [u8],
    /// Rows and columns of each matrix.
    plane: (usize, usize),
    block: [usize; 2],
    scales: &'a [u8],
    scale_type: Dtype,
}

impl<'a> Source<'a> {
    fn of(checkpoint: &'a Checkpoint, c: &'a Conversion) -> Source<'a> {
        let read = |name: &str| {
            let stored = &checkpoint.tensors[name];
            (
                checkpoint.files[stored.file].bytes(&stored.header),
                &stored.header,
            )
        };
        let (bytes, header) = read(&c.name);
        match &c.how {
            Widen::Float(dtype) => Source::Float {
                bytes,
                dtype: *dtype,
            },
            Widen::Blocks { scales, block } => {
                let (scales, of) = read(scales);
                Source::Blocks(Blocks {
                    bytes,
                    plane: plane(&header.shape),
                    block: *block,
                    scales,
                    scale_type: weight_type(of.dtype).expect("checked"),
                })
            }
            Widen::Packed { scales, to } => Source::Packed {
                bytes,
                scales: read(scales).0,
                to: *to,
            },
        }
    }

    /// Bytes of the result that are made from the same scales, so that pieces hold whole ones.
    fn grain_bytes(self) -> usize {
        match self {
            Source::Float { .. } => 4,
            Source::Blocks(blocks) => blocks.plane.1 * 4,
            Source::Packed { to, .. } => GROUP * to.size(),
        }
    }

    /// Makes a piece that begins with grain number `first`.
    fn fill(self, first: usize, out: &mut [u8]) {
        match self {
            Source::Float { bytes, dtype } => {
                let values = bytes[first * dtype.size()..].chunks_exact(dtype.size());
                for (out, value) in out.chunks_exact_mut(4).zip(values) {
                    out.copy_from_slice(&dtype.read(value).to_le_bytes());
                }
            }
            Source::Blocks(blocks) => {
                let rows = out.chunks_exact_mut(blocks.plane.1 * 4).enumerate();
                rows.for_each(|(i, out)| blocks.fill_row(first + i, out));
            }
            Source::Packed { bytes, scales, to } => {
                let groups = out.chunks_exact_mut(GROUP * to.size());
                let groups = groups.zip(&scales[first..]);
                let values = bytes[first * GROUP / 2..].chunks_exact(GROUP / 2);
                for ((out, scale), pairs) in groups.zip(values) {
                    fill_group(pairs, *scale, to, out);
                }
            }
        }
    }
}

impl Blocks<'_> {
    /// Makes one row; rows of all matrices are counted through.
    fn fill_row(&self, row: usize, out: &mut [u8]) {
        let ((rows, columns), [high, wide]) = (self.plane, self.block);
        let scale_row = row / rows * rows.div_ceil(high) + row % rows / high;
        let first_scale = scale_row * columns.div_ceil(wide);
        // One scale may be for everything, all matrices of a stack.
        let last_scale = self.scales.len() / self.scale_type.size() - 1;
        let values = &self.bytes[row * columns..][..columns];
        let runs = out.chunks_mut(wide * 4).zip(values.chunks(wide));
        for (b, (out, values)) in runs.enumerate() {
            let at = (first_scale + b).min(last_scale) * self.scale_type.size();
            let scale = self.scale_type.read(&self.scales[at..]);
            for (out, value) in out.chunks_exact_mut(4).zip(values) {
                out.copy_from_slice(&(E4M3[usize::from(*value)] * scale).to_le_bytes());
            }
        }
    }
}

/// Makes one group of MXFP4: the lower half of a byte comes first.
fn fill_group(pairs: &[u8], scale: u8, to: Dtype, out: &mut [u8]) {
    let scale = f64::from(i32::from(scale) - 127).exp2();
    let codes = pairs.iter().flat_map(|pair| [pair & 15, pair >> 4]);
    for (out, code) in out.chunks_exact_mut(to.size()).zip(codes) {
        let value = f64::from(E2M1[usize::from(code)]) * scale;
        match to {
            Dtype::F32 => out.copy_from_slice(&(value as f32).to_le_bytes()),
            Dtype::Bf16 => out.copy_from_slice(&bf16::from_f64(value).to_le_bytes()),
            Dtype::F16 => out.copy_from_slice(&f16::from_f64(value).to_le_bytes()),
        }
    }
}

/// The values of e2m1: a sign, two bits of exponent, one of mantissa.
const E2M1: [f32; 16] = [
    0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0,
];

/// The values of e4m3: a sign, four bits of exponent (bias 7), three of mantissa; no infinity, one NaN.
static E4M3: LazyLock<[f32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|code| {
        let (exponent, mantissa) = ((code >> 3 & 15) as i32, (code & 7) as f32);
        let sign = if code >> 7 == 0 { 1.0 } else { -1.0 };
        match (exponent, code & 7) {
            (15, 7) => f32::NAN,
            (0, _) => sign * mantissa / 8.0 * 2f32.powi(-6),
            _ => sign * (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
        }
    })
});
