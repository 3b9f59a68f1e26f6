//! Finds the tensor behind every weight slot, checks its type and shape, and describes what of it the slot reads.
//!
//! Matrices stay where they are. Vectors that are not f32 are converted into one blob of our own, at the end, when it is
//! known how much memory they take.

use super::checkpoint::{Checkpoint, FileBytes};
use super::error::WeightsError;
use super::nearest::nearest;
use super::random::{RandomWeights, plan_random, plan_shapes};
use super::slots::{Role, Slot, block_slots, kind_slots};
use super::{Blob, Tensor, View, Weights};
use crate::spec::model::{Model, Range, Weight};
use graver_runtime::abi::{Dtype, Encoding};
use half::{bf16, f16};
use safetensors::Dtype as StoredDtype;
use std::collections::{BTreeSet, HashMap};

/// Alignment of tensors in memory of our own, in bytes: a cache line.
const ALIGNMENT: usize = 64;
/// How many left-over tensors a message lists.
const LEFT_OVER_EXAMPLES: usize = 4;

/// Where weights come from.
#[derive(Debug)]
pub enum Source {
    /// A checkpoint on disk.
    Checkpoint(Checkpoint),
    /// Random numbers.
    Random(RandomWeights),
    /// Where random weights would lie, to be drawn where they are written: enough to plan, to inspect and to write an
    /// artifact at any size, not to run.
    Shapes(RandomWeights),
}

/// Finds, checks and describes the bytes of every weight slot of `model`.
///
/// The checkpoint's files stay mapped inside the result. Fails for tensors that are missing, misshapen, of no weight
/// type, or left over.
pub fn resolve(model: &Model, source: Source) -> Result<Weights, WeightsError> {
    match source {
        Source::Checkpoint(checkpoint) => {
            let mut found = Found::default();
            let (embed, layers, head) = walk(model, |slot, label, place| {
                found.view(&checkpoint, model, slot, label, place)
            })?;
            check_left_over(model, &checkpoint, &found)?;
            found.into_weights(checkpoint, embed, layers, head)
        }
        Source::Random(random) => plan_random(model, random),
        Source::Shapes(random) => plan_shapes(model, random),
    }
}

pub(super) type Walked = (Vec<View>, Vec<Vec<View>>, Vec<View>);

/// Which of several weights with one slot: of which layer, of which expert.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct At {
    pub(super) layer: Option<usize>,
    expert: Option<usize>,
}

/// Calls `view(slot, label, at)` for every slot in order, and for every expert of a family; labels are for messages:
/// `layers.3.attention.q.weight`, `layers.3.moe.up.weight[17]`.
pub(super) fn walk(
    model: &Model,
    mut view: impl FnMut(&Slot<'_>, &str, At) -> Result<View, WeightsError>,
) -> Result<Walked, WeightsError> {
    let mut block = |slots: &[Slot<'_>], block: &str, layer: Option<usize>| {
        let mut views = Vec::with_capacity(slots.iter().map(|s| s.weight.count()).sum());
        for slot in slots {
            let label = format!("{block}.{}", slot.weight.slot);
            let Some(experts) = slot.weight.family else {
                let expert = None;
                views.push(view(slot, &label, At { layer, expert })?);
                continue;
            };
            let first = views.len();
            for e in 0..experts {
                let expert = Some(e);
                views.push(view(slot, &format!("{label}[{e}]"), At { layer, expert })?);
            }
            check_alike(&label, &views[first..])?;
        }
        Ok(views)
    };
    let embed = block(&block_slots(&model.embed), "embed", None)?;
    let kinds: Vec<Vec<Slot<'_>>> = model.kinds.iter().map(kind_slots).collect();
    let layers = model.layers.iter().enumerate();
    let layers = layers
        .map(|(i, kind)| block(&kinds[*kind], &format!("layers.{i}"), Some(i)))
        .collect::<Result<_, _>>()?;
    let head = block(&block_slots(&model.head), "head", None)?;
    Ok((embed, layers, head))
}

/// Generated code reads all experts of a family alike.
fn check_alike(label: &str, views: &[View]) -> Result<(), WeightsError> {
    let form = |v: &View| (v.encoding, v.row_stride_bytes, v.transposed);
    let odd = views.iter().find(|v| form(v) != form(&views[0]));
    odd.map_or(Ok(()), |odd| {
        Err(WeightsError::MixedFamily {
            slot: label.to_string(),
            first: (views[0].name.clone(), views[0].encoding),
            other: (odd.name.clone(), odd.encoding),
        })
    })
}

/// All names under which a weight may be stored, in the order in which they are tried, each with the experts that such a
/// tensor stacks and which of them the weight is.
pub(super) fn candidates(model: &Model, weight: &Weight, at: At) -> Vec<(String, Option<Stack>)> {
    let filled = weight.tensors.iter().map(|template| {
        let mut name = template.clone();
        if let Some(layer) = at.layer {
            name = name.replace("{i}", &layer.to_string());
        }
        let of = weight.family.filter(|_| !template.contains("{e}"));
        if let Some(expert) = at.expert.filter(|_| of.is_none()) {
            name = name.replace("{e}", &expert.to_string());
        }
        let stack = of.zip(at.expert).map(|(of, expert)| Stack { expert, of });
        (name, stack)
    });
    filled
        .flat_map(|(name, stack)| {
            with_prefixes(&model.prefixes, name)
                .into_iter()
                .map(move |name| (name, stack))
        })
        .collect()
}

/// A name, and the same with each of the other prefixes in place of the first.
fn with_prefixes(prefixes: &[String], name: String) -> Vec<String> {
    let rest = prefixes
        .split_first()
        .and_then(|(first, others)| Some((name.strip_prefix(first.as_str())?, others)));
    let others: Vec<String> = match rest {
        Some((rest, others)) => others
            .iter()
            .map(|prefix| format!("{prefix}{rest}"))
            .collect(),
        None => Vec::new(),
    };
    std::iter::once(name).chain(others).collect()
}

/// One of several weights that a tensor stacks along its first dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stack {
    expert: usize,
    of: usize,
}

/// Shape, type and strides of what a slot reads inside a stored tensor.
pub(super) struct Layout {
    /// Shape the tensor has to have as stored.
    pub(super) stored: Vec<usize>,
    /// First row and column of the part, as the graph counts them.
    first: (usize, usize),
    stack: Option<Stack>,
}

impl Layout {
    pub(super) fn of(
        weight: &Weight,
        label: &str,
        layer: Option<usize>,
        stack: Option<Stack>,
    ) -> Result<Layout, WeightsError> {
        let bad = |problem| WeightsError::BadWeight {
            slot: label.to_string(),
            shape: weight.shape.clone(),
            problem,
        };
        let mut stored = weight.shape.clone();
        if stored.is_empty() {
            return Err(bad("a weight needs a dimension"));
        }
        if stored.contains(&0) {
            return Err(bad("no dimension can be zero"));
        }
        if weight.transposed && stored.len() > 2 {
            return Err(bad("only a matrix can be transposed"));
        }
        let by_head = |range: &Option<Range>| range.is_some_and(|r| r.heads > 1);
        if by_head(&weight.columns) || by_head(&weight.part) && stored.len() != 2 {
            return Err(bad("only rows of a matrix can be taken by head"));
        }
        if weight.columns.is_some() && stored.len() != 2 {
            return Err(bad("only a matrix has columns"));
        }
        let mut run = |range: Option<Range>, dimension: usize| {
            let Some(range) = range else { return Some(0) };
            let first = range.first_in(layer);
            let end = first.checked_add(stored[dimension] / range.heads)?;
            stored[dimension] = range.of.checked_mul(range.heads)?;
            (end <= range.of).then_some(first)
        };
        let first = run(weight.part, 0).zip(run(weight.columns, 1));
        let first = first.ok_or_else(|| bad("the part reaches beyond the whole"))?;
        if weight.transposed {
            stored.reverse();
        }
        stored.splice(0..0, stack.map(|s| s.of));
        Ok(Layout {
            stored,
            first,
            stack,
        })
    }

    /// The view of a tensor that has the right shape, so that no product overflows.
    pub(super) fn view(&self, weight: &Weight, tensor: usize, held: &Tensor, dtype: Dtype) -> View {
        let is_transposed = weight.transposed && weight.shape.len() == 2;
        // What is stored of one expert.
        let stored = &self.stored[usize::from(self.stack.is_some())..];
        let (row, one_row) = (
            stored[1..].iter().product::<usize>(),
            weight.shape.len() == 1,
        );
        // Bytes between rows; a vector is a single row of its own length.
        let row_stride = if one_row { weight.shape[0] } else { row };
        let (part_row, part_column) = self.first;
        let rows = match weight.blocks() {
            Some(blocks) => blocks.place(weight.shape[0] - 1) + 1,
            None => weight.shape[0],
        };
        let (first, elements) = match (one_row, is_transposed) {
            (true, _) => (part_row, weight.shape[0]),
            (false, true) => (
                part_column * row_stride + part_row,
                (weight.shape[1] - 1) * row_stride + rows,
            ),
            (false, false) => (
                part_row * row_stride + part_column,
                (rows - 1) * row_stride + weight.shape[1],
            ),
        };
        let before = self.stack.map_or(0, |s| s.expert) * stored[0] * row;
        View {
            slot: weight.slot.clone(),
            name: held.name.clone(),
            tensor,
            blob: held.blob,
            offset_bytes: held.offset_bytes + (before + first) * dtype.size(),
            encoding: Encoding::Float(dtype),
            row_stride_bytes: row_stride * dtype.size(),
            bytes: elements * dtype.size(),
            transposed: is_transposed,
        }
    }
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    tensors: Vec<Tensor>,
    /// By name and whether the tensor is held as converted f32.
    by_name: HashMap<(String, bool), usize>,
    /// Conversions to make, in the order of their bytes in the new blob.
    conversions: Vec<Conversion>,
    converted_bytes: usize,
    /// Tensors of the checkpoint that some slot reads.
    used: BTreeSet<String>,
    /// All names tried.
    expected: BTreeSet<String>,
}

/// A vector to be converted to f32.
struct Conversion {
    name: String,
    dtype: Dtype,
    offset_bytes: usize,
}

impl Found {
    fn view(
        &mut self,
        checkpoint: &Checkpoint,
        model: &Model,
        slot: &Slot<'_>,
        label: &str,
        at: At,
    ) -> Result<View, WeightsError> {
        let weight = slot.weight;
        let tried = candidates(model, weight, at);
        let found = tried
            .iter()
            .find_map(|(name, stack)| Some((checkpoint.tensors.get(name)?, *stack)));
        let Some((stored, stack)) = found else {
            let tried: Vec<String> = tried.into_iter().map(|(name, _)| name).collect();
            let nearest = nearest(&tried, checkpoint.tensors.keys().map(String::as_str));
            return Err(WeightsError::MissingTensor {
                slot: label.to_string(),
                tried,
                nearest,
            });
        };
        self.expected
            .extend(tried.into_iter().map(|(name, _)| name));
        let layout = Layout::of(weight, label, at.layer, stack)?;
        let header = &stored.header;
        if !same_shape(&header.shape, &layout.stored) {
            return Err(misshapen(
                &header.name,
                label,
                weight,
                &header.shape,
                layout.stored,
            ));
        }
        let dtype = weight_type(header.dtype).ok_or_else(|| {
            let (tensor, slot) = (header.name.clone(), label.to_string());
            WeightsError::WrongType {
                tensor,
                slot,
                found: header.dtype.to_string(),
            }
        })?;
        self.used.insert(header.name.clone());
        let converted = is_vector(slot.role) && dtype != Dtype::F32;
        let tensor = self.tensor(checkpoint, &header.name, dtype, converted);
        let held = if converted { Dtype::F32 } else { dtype };
        Ok(layout.view(weight, tensor, &self.tensors[tensor], held))
    }

    /// The tensor of a name, as stored or converted; made on first use.
    fn tensor(
        &mut self,
        checkpoint: &Checkpoint,
        name: &str,
        dtype: Dtype,
        converted: bool,
    ) -> usize {
        let key = (name.to_string(), converted);
        if let Some(tensor) = self.by_name.get(&key) {
            return *tensor;
        }
        let stored = &checkpoint.tensors[name];
        let (blob, offset_bytes, bytes) = if converted {
            let offset_bytes = self.converted_bytes;
            let bytes = stored.header.bytes / dtype.size() * Dtype::F32.size();
            self.conversions.push(Conversion {
                name: name.to_string(),
                dtype,
                offset_bytes,
            });
            self.converted_bytes = (offset_bytes + bytes).next_multiple_of(ALIGNMENT);
            // The blob that follows the checkpoint's files.
            (checkpoint.files.len(), offset_bytes, bytes)
        } else {
            (stored.file, stored.header.offset_bytes, stored.header.bytes)
        };
        self.tensors.push(Tensor {
            name: name.to_string(),
            blob,
            offset_bytes,
            bytes,
        });
        self.by_name.insert(key, self.tensors.len() - 1);
        self.tensors.len() - 1
    }

    fn into_weights(
        self,
        checkpoint: Checkpoint,
        embed: Vec<View>,
        layers: Vec<Vec<View>>,
        head: Vec<View>,
    ) -> Result<Weights, WeightsError> {
        let converted = if self.conversions.is_empty() {
            Blob::Empty
        } else {
            self.convert(&checkpoint)?
        };
        let mut blobs: Vec<Blob> = checkpoint
            .files
            .into_iter()
            .map(|file| match file.bytes {
                FileBytes::Mapped(map) => Blob::Mapped {
                    path: file.path,
                    map,
                },
                FileBytes::Held(memory) => Blob::Owned(memory),
            })
            .collect();
        blobs.push(converted);
        Ok(Weights {
            blobs,
            tensors: self.tensors,
            embed,
            layers,
            head,
        })
    }

    fn convert(&self, checkpoint: &Checkpoint) -> Result<Blob, WeightsError> {
        let mut memory = Blob::zeroed(self.converted_bytes)?;
        for conversion in &self.conversions {
            let stored = &checkpoint.tensors[&conversion.name];
            let bytes = checkpoint.files[stored.file].bytes(&stored.header);
            to_f32(
                bytes,
                conversion.dtype,
                &mut memory[conversion.offset_bytes..],
            );
        }
        Ok(Blob::Owned(memory))
    }
}

fn is_vector(role: Role) -> bool {
    match role {
        Role::Gain { .. } | Role::Bias => true,
        Role::Matrix | Role::ByHead | Role::Router | Role::Table | Role::Positions => false,
    }
}

fn weight_type(dtype: StoredDtype) -> Option<Dtype> {
    match dtype {
        StoredDtype::F32 => Some(Dtype::F32),
        StoredDtype::BF16 => Some(Dtype::Bf16),
        StoredDtype::F16 => Some(Dtype::F16),
        _ => None,
    }
}

/// Writes the values of `bytes` as f32 to the start of `out`.
fn to_f32(bytes: &[u8], dtype: Dtype, out: &mut [u8]) {
    let values = bytes.chunks_exact(dtype.size()).map(|value| match dtype {
        Dtype::F32 => f32::from_le_bytes([value[0], value[1], value[2], value[3]]),
        Dtype::Bf16 => bf16::from_le_bytes([value[0], value[1]]).to_f32(),
        Dtype::F16 => f16::from_le_bytes([value[0], value[1]]).to_f32(),
    });
    for (value, out) in values.zip(out.chunks_exact_mut(4)) {
        out.copy_from_slice(&value.to_le_bytes());
    }
}

/// Whether two shapes hold the same elements in the same order: dimensions of one element may be there or not.
fn same_shape(a: &[usize], b: &[usize]) -> bool {
    let long = |n: &&usize| **n != 1;
    a.iter().filter(long).eq(b.iter().filter(long))
}

fn misshapen(
    tensor: &str,
    label: &str,
    weight: &Weight,
    found: &[usize],
    expected: Vec<usize>,
) -> WeightsError {
    let is_part = weight.part.or(weight.columns).is_some();
    let is_reversed = found.iter().rev().eq(expected.iter());
    let note = match (weight.transposed, is_part, is_reversed) {
        (true, _, true) => ", which the spec says is stored as [in, out]; it is not",
        (false, _, true) => "; it seems to be stored transposed, which the spec does not say",
        (_, true, false) => ", which is one part of it",
        (_, false, false) => "",
    };
    let (tensor, slot, found) = (tensor.to_string(), label.to_string(), found.to_vec());
    WeightsError::Misshapen {
        tensor,
        slot,
        found,
        expected,
        note,
    }
}

fn check_left_over(
    model: &Model,
    checkpoint: &Checkpoint,
    found: &Found,
) -> Result<(), WeightsError> {
    let ignored: Vec<String> = model
        .ignore
        .iter()
        .flat_map(|pattern| with_prefixes(&model.prefixes, pattern.clone()))
        .collect();
    let is_ignored = |name: &str| {
        ignored
            .iter()
            .any(|pattern| matches(pattern.as_bytes(), name.as_bytes()))
    };
    let left: Vec<&String> = checkpoint
        .tensors
        .keys()
        .filter(|name| !found.used.contains(*name) && !is_ignored(name))
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    let nearest = |name: &String| {
        nearest(
            std::slice::from_ref(name),
            found.expected.iter().map(String::as_str),
        )
    };
    let examples = left
        .iter()
        .take(LEFT_OVER_EXAMPLES)
        .map(|name| ((*name).clone(), nearest(name)))
        .collect();
    Err(WeightsError::LeftOver {
        count: left.len(),
        examples,
    })
}

/// Whether `name` matches `pattern`, in which `*` stands for any number of characters.
///
/// Greedy with one point to go back to, so that no pattern takes more than `pattern · name` steps.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            (p, n) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}
