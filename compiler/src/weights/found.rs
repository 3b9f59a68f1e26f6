//! Finds the tensor behind every weight slot of a checkpoint, and checks its type and shape.
//!
//! Matrices of a float type stay where they are. Vectors that are not f32, and matrices in the forms in which large models
//! are published, are converted into one blob of our own, at the end, when it is known how much memory they take.

mod joined;
mod packable;
mod widened;

use self::widened::widened;
use super::blobs::{Blob, Weights};
use super::checkpoint::Checkpoint;
use super::drawing::write_made;
use super::error::WeightsError;
use super::file::{FileBytes, StoredTensor};
use super::file_error::Unplaced;
use super::header::{HeaderTensor, weight_type};
use super::left_over::check_left_over;
use super::nearest::nearest;
use super::published::{Published, Stored, Widen};
use super::resolve::{At, Candidate, Layout, Progress, candidates, walk};
use super::storage::StorageType;
use super::view::{Tensor, View};
use super::widen::{Conversion, convert};
use crate::spec::model::{Blocks, Made, Model, Weight};
use crate::walk::{Role, Slot};
use graver_runtime::abi::{Dtype, Encoding, Quant};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// Alignment of tensors in memory of our own, in bytes: a cache line.
const ALIGNMENT: usize = 64;

/// Finds, checks and describes all weights of `model` in `checkpoint`.
pub(super) fn find(
    model: &Model,
    checkpoint: Checkpoint,
    progress: Progress<'_>,
) -> Result<Weights, WeightsError> {
    let mut found = Found::new(Published::of(&checkpoint)?);
    let (embed, layers, head) = walk(model, |slot, label, place| {
        found.view(&checkpoint, model, slot, label, place)
    })?;
    check_left_over(model, &checkpoint, (&found.used, &found.expected))?;
    found.into_weights(checkpoint, embed, layers, head, progress)
}

/// What is held of a tensor: its name; what it is converted to, if it is; the first number and where the others are, if not all;
/// whether they are logarithms.
type Held = (String, Option<Encoding>, Option<(usize, Blocks)>, bool);

/// What has been found so far.
struct Found {
    tensors: Vec<Tensor>,
    /// By name and, where the tensor is held converted, the type that it is converted to: a matrix and a vector may read one
    /// tensor in two types.
    by_name: HashMap<Held, usize>,
    /// Conversions to make, in the order of their bytes in the new blob.
    conversions: Vec<Conversion>,
    /// Vectors that are in no tensor, in the same blob: where, what, and of which layer.
    made: Vec<(Range<usize>, Made, Option<usize>)>,
    converted_bytes: usize,
    /// What tensors of blocks can be packed in, by name.
    packable: HashMap<String, Option<Quant>>,
    /// What all experts of the family that is being read can be packed in.
    alike: Option<Quant>,
    /// How the checkpoint stores what it quantises.
    published: Published,
    /// Tensors of the checkpoint that some slot reads.
    used: BTreeSet<String>,
    /// All names tried.
    expected: BTreeSet<String>,
}

impl Found {
    fn new(published: Published) -> Found {
        Found {
            tensors: vec![],
            by_name: HashMap::new(),
            conversions: vec![],
            made: vec![],
            converted_bytes: 0,
            packable: HashMap::new(),
            alike: None,
            published,
            used: BTreeSet::new(),
            expected: BTreeSet::new(),
        }
    }

    fn view(
        &mut self,
        checkpoint: &Checkpoint,
        model: &Model,
        slot: &Slot<'_>,
        label: &str,
        at: At,
    ) -> Result<View, WeightsError> {
        if let Some(made) = slot.weight.made {
            return self.made(checkpoint, slot.weight, label, (made, at.layer));
        }
        let tried = candidates(model, slot.weight, at);
        let stored = |name: &str| self.published.stored(checkpoint, name);
        let found = tried.iter().position(|c| stored(&c.name).is_some());
        self.check_placed(checkpoint, label, &tried, found)?;
        let Some(Candidate {
            name,
            stack,
            weight,
        }) = found.map(|found| tried[found].clone())
        else {
            let tried: Vec<String> = tried.into_iter().map(|c| c.name).collect();
            let nearest = nearest(&tried, checkpoint.tensors.keys().map(String::as_str));
            return Err(WeightsError::MissingTensor {
                slot: label.to_string(),
                tried,
                nearest,
            });
        };
        let stored = stored(&name).expect("found");
        self.expected.extend(tried.into_iter().map(|c| c.name));
        if let Some(joined) = &weight.joined {
            return self.joined(checkpoint, (weight, joined), label, at);
        }
        let weight = as_stored(weight, &stored);
        let mut layout = Layout::of(&weight, label, at.layer, stack)?;
        let packed = match (at.expert, stack) {
            (None, _) | (_, Some(_)) => {
                let place = (slot, label, name.as_str());
                self.packable(checkpoint, place, &stored, &layout, &weight)?
            }
            // Of experts with a tensor each, the first decides for all.
            (Some(0), None) => {
                self.alike = self.alike(checkpoint, model, slot, label, at)?;
                self.alike
            }
            (Some(_), None) => self.alike,
        };
        let place = (slot, label, name.as_str());
        let (how, held) = self.check(checkpoint, place, &stored, (&layout, packed), &weight)?;
        if weight.scattered().is_some() {
            layout = Layout::gathered(&weight);
        }
        let tensor = self.tensor(checkpoint, &name, &stored, how, held, &layout);
        let found = &self.tensors[tensor];
        Ok(match held {
            Encoding::Float(dtype) => layout.view(&weight, tensor, found, dtype),
            Encoding::Quantized(quant) => {
                let first = layout.first_panel(&weight).expect("checked");
                panels(&weight, tensor, found, (quant, first))
            }
        })
    }

    /// A vector that is in no tensor: its numbers go where converted ones do.
    fn made(
        &mut self,
        checkpoint: &Checkpoint,
        weight: &Weight,
        label: &str,
        (made, layer): (Made, Option<usize>),
    ) -> Result<View, WeightsError> {
        let layout = Layout::of(weight, label, None, None)?;
        let (offset_bytes, bytes) = (self.converted_bytes, weight.shape[0] * 4);
        self.converted_bytes = (offset_bytes + bytes).next_multiple_of(ALIGNMENT);
        self.made
            .push((offset_bytes..offset_bytes + bytes, made, layer));
        self.tensors.push(Tensor {
            name: label.to_string(),
            blob: checkpoint.files.len(),
            offset_bytes,
            bytes,
        });
        let tensor = self.tensors.len() - 1;
        Ok(layout.view(weight, tensor, &self.tensors[tensor], Dtype::F32))
    }

    /// Checks that shards leave no doubt about the names that were `tried` before one was `found`, if one was; if none was, and
    /// the index names one of them, that says more than that it is missing.
    fn check_placed(
        &self,
        checkpoint: &Checkpoint,
        label: &str,
        tried: &[Candidate<'_>],
        found: Option<usize>,
    ) -> Result<(), WeightsError> {
        if checkpoint.unplaced.is_empty() {
            return Ok(());
        }
        let before = &tried[..found.unwrap_or(tried.len())];
        let names = before.iter().flat_map(|c| self.published.names(&c.name));
        let in_doubt = |unplaced: &Unplaced| match unplaced {
            Unplaced::Nowhere { .. } => found.is_none(),
            Unplaced::Several { .. } => true,
        };
        let mut unplaced = names.filter_map(|name| Some((checkpoint.unplaced.get(&name)?, name)));
        match unplaced.find(|(unplaced, _)| in_doubt(unplaced)) {
            Some((unplaced, tensor)) => Err(WeightsError::Unplaced {
                slot: label.to_string(),
                tensor,
                unplaced: unplaced.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Whether a tensor has the shape and a type that the slot can read: how it is converted, if at all, and what it is then.
    fn check(
        &mut self,
        checkpoint: &Checkpoint,
        (slot, label, name): (&Slot<'_>, &str, &str),
        stored: &Stored<'_>,
        (layout, packed): (&Layout, Option<Quant>),
        weight: &Weight,
    ) -> Result<(Option<Widen>, Encoding), WeightsError> {
        let is_float =
            |t: &StoredTensor| t.storage.is_none() && weight_type(t.header.dtype).is_some();
        let is_plain = matches!(stored, Stored::Plain(tensor) if is_float(tensor));
        let is_vector = slot.role.is_vector() && weight.scattered().is_none();
        if weight.exponential && !(is_plain && is_vector) {
            return Err(WeightsError::BadWeight {
                slot: label.to_string(),
                shape: weight.shape.clone(),
                problem: "only floats that are no matrix of a product can be exponentials",
            });
        }
        if let Stored::Integers(_) = stored {
            return self.check_integers(checkpoint, (name, label), layout, packed);
        }
        if let (Stored::Packed { blocks, scales }, None) = (stored, weight.scattered()) {
            let names = [blocks.header.name.as_str(), scales];
            let held = match slot.role.is_vector() {
                true => Dtype::F32,
                false => Dtype::Bf16,
            };
            let how = Widen::packed(checkpoint, names, &layout.stored, held, label)?;
            self.used.extend(names.map(str::to_string));
            return Ok((Some(how), Encoding::Float(held)));
        }
        let header = stored.header();
        if !same_shape(&header.shape, &layout.stored, weight.shape.len()) {
            let expected = layout.stored.clone();
            let found = &header.shape;
            return Err(misshapen(&header.name, label, weight, found, expected));
        }
        self.used.insert(header.name.clone());
        if let Role::Listed { below } = slot.role {
            let how = Widen::whole(header, label, below)?;
            return Ok((Some(how), Encoding::Float(Dtype::F32)));
        }
        if let Some(blocks) = weight.scattered() {
            let dtype = float_type(header, label)?;
            let first = layout.first_row();
            let how = Widen::Gathered {
                dtype,
                first,
                blocks,
            };
            return Ok((Some(how), Encoding::Float(Dtype::F32)));
        }
        if let Some(how) = self.published.scaled(checkpoint, header, label)? {
            self.used.extend(how.scales().map(str::to_string));
            return Ok((Some(how), Encoding::Float(Dtype::F32)));
        }
        if let Some(storage) = stored.storage() {
            return check_blocked(label, header, storage, packed);
        }
        let dtype = float_type(header, label)?;
        let how = match slot.role.is_vector() {
            true if weight.exponential => Some(Widen::Logarithm(dtype)),
            true => Some(Widen::Float(dtype)).filter(|_| dtype != Dtype::F32),
            false => None,
        };
        let held = how.as_ref().map_or(dtype, |_| Dtype::F32);
        Ok((how, Encoding::Float(held)))
    }

    /// What becomes of integers: panels as [of blocks](check_blocked), or f32.
    fn check_integers(
        &mut self,
        checkpoint: &Checkpoint,
        (name, label): (&str, &str),
        layout: &Layout,
        packed: Option<Quant>,
    ) -> Result<(Option<Widen>, Encoding), WeightsError> {
        let integers = self.published.integers().expect("they were found by it");
        let matrix = integers.matrix(checkpoint, name, &layout.stored, label)?;
        let there = |part: &String| checkpoint.tensors.contains_key(part);
        self.used
            .extend(integers.names(name).into_iter().filter(there));
        let held = packed.map_or(Encoding::Float(Dtype::F32), Encoding::Quantized);
        Ok((Some(Widen::Integers(Box::new(matrix), packed)), held))
    }

    /// The tensor of a name, as stored or converted; made on first use.
    fn tensor(
        &mut self,
        checkpoint: &Checkpoint,
        name: &str,
        stored: &Stored<'_>,
        how: Option<Widen>,
        held: Encoding,
        layout: &Layout,
    ) -> usize {
        let run = how.as_ref().and_then(Widen::run);
        let is_log = matches!(how, Some(Widen::Logarithm(_)));
        let key = (name.to_string(), how.is_some().then_some(held), run, is_log);
        if let Some(tensor) = self.by_name.get(&key) {
            return *tensor;
        }
        let header = stored.header();
        let (blob, offset_bytes, bytes) = match how {
            Some(how) => {
                let offset_bytes = self.converted_bytes;
                let bytes = held_bytes(held, &layout.stored);
                self.conversions.push(Conversion {
                    name: header.name.clone(),
                    how,
                    offset_bytes,
                    bytes,
                });
                self.converted_bytes = (offset_bytes + bytes).next_multiple_of(ALIGNMENT);
                // The blob that follows the checkpoint's files.
                (checkpoint.files.len(), offset_bytes, bytes)
            }
            None => (
                checkpoint.tensors[&header.name].file,
                header.offset_bytes,
                header.bytes,
            ),
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
        progress: Progress<'_>,
    ) -> Result<Weights, WeightsError> {
        let converted = if self.converted_bytes == 0 || checkpoint.is_shape {
            Blob::Empty
        } else {
            let mut memory = Blob::zeroed(self.converted_bytes)?;
            convert(&checkpoint, &self.conversions, &mut memory, progress)?;
            for (place, made, layer) in self.made {
                write_made(made, layer, &mut memory[place]);
            }
            Blob::Owned(memory)
        };
        let widened = widened(&checkpoint, &self.conversions);
        let mut blobs: Vec<Arc<Blob>> = checkpoint
            .files
            .into_iter()
            .map(|file| match file.bytes {
                FileBytes::Mapped(map) => Arc::new(Blob::Mapped(map)),
                FileBytes::Held(memory) => Arc::new(Blob::Owned(memory)),
            })
            .collect();
        blobs.push(Arc::new(converted));
        Ok(Weights {
            widened,
            worth: vec![],
            blobs,
            tensors: self.tensors,
            embed,
            layers,
            head,
        })
    }
}

/// A weight in the form in which it was found: what is packed lies as `[out, in]`, whichever way round the plain form would.
fn as_stored(weight: &Weight, stored: &Stored<'_>) -> Weight {
    let mut weight = weight.clone();
    if let Stored::Packed { .. } | Stored::Integers(_) = stored {
        weight.transposed = false;
    }
    weight
}

/// What becomes of blocks that no kernel reads: panels that hold the same values, where there are such, or f32.
fn check_blocked(
    label: &str,
    header: &HeaderTensor,
    storage: &'static StorageType,
    packed: Option<Quant>,
) -> Result<(Option<Widen>, Encoding), WeightsError> {
    if !storage.is_read() {
        return Err(WeightsError::WrongType {
            tensor: header.name.clone(),
            slot: label.to_string(),
            found: storage.name.into(),
        });
    }
    Ok(match packed {
        Some(quant) => (
            Some(Widen::Panels(storage, quant)),
            Encoding::Quantized(quant),
        ),
        None => (Some(Widen::Blocked(storage)), Encoding::Float(Dtype::F32)),
    })
}

/// The type of a tensor of floats.
fn float_type(header: &HeaderTensor, label: &str) -> Result<Dtype, WeightsError> {
    weight_type(header.dtype).ok_or_else(|| WeightsError::WrongType {
        tensor: header.name.clone(),
        slot: label.to_string(),
        found: header.dtype.to_string(),
    })
}

/// Bytes of a tensor of some shape.
fn held_bytes(held: Encoding, shape: &[usize]) -> usize {
    let elements: usize = shape.iter().product();
    match held {
        Encoding::Float(dtype) => elements * dtype.size(),
        Encoding::Quantized(quant) => {
            let columns = shape.last().copied().unwrap_or(1);
            quant.matrix_bytes(elements / columns, columns)
        }
    }
}

/// What a slot reads of a tensor in panels, from number `first` on.
fn panels(weight: &Weight, tensor: usize, held: &Tensor, (quant, first): (Quant, usize)) -> View {
    let (rows, columns) = (weight.shape[0], weight.shape[1]);
    View {
        slot: weight.slot.clone(),
        name: held.name.clone(),
        tensor,
        blob: held.blob,
        offset_bytes: held.offset_bytes + first * quant.panel_bytes(columns),
        encoding: Encoding::Quantized(quant),
        row_stride_bytes: quant.panel_bytes(columns),
        bytes: quant.matrix_bytes(rows, columns),
        transposed: false,
    }
}

/// Whether two shapes hold the same elements in the same order: dimensions of one element may be there or not, a weight of one
/// dimension may be stored in several (gains of heads), and rows in a stack.
fn same_shape(a: &[usize], b: &[usize], dimensions: usize) -> bool {
    let long = |n: &&usize| **n != 1;
    let product = |dims: &[usize]| dims.iter().try_fold(1, |n: usize, d| n.checked_mul(*d));
    match (a, b) {
        (_, [n]) if dimensions == 1 => product(a) == Some(*n),
        // Rows of several matrices, one below the other.
        ([stack @ .., columns], [rows, expected]) if stack.len() > 1 && columns == expected => {
            product(stack) == Some(*rows)
        }
        _ => a.iter().filter(long).eq(b.iter().filter(long)),
    }
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
