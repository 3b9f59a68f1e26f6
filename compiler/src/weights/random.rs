//! Random weights from a seed: what a spec runs on when there is no checkpoint.
//!
//! A tensor's values depend on the seed, its name and its place in the tensor alone, not on other tensors or on how many
//! threads draw them. Variances keep activations near 1 and logits of order 1, and make every gain and bias matter.

use super::blobs::{Blob, Weights};
use super::drawing::{Draw, Recipe, fill, name_seed};
use super::error::WeightsError;
use super::resolve::{At, Layout, Walked, candidates, walk};
use super::view::{Tensor, View};
use crate::spec::model::{Made, Model, Section, StepOp};
use crate::walk::{Role, Slot, slots};
use graver_runtime::abi::Dtype;
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// Alignment of tensors, in bytes: a cache line.
const ALIGNMENT: usize = 64;
/// Matrix elements above which weights are bf16 by default: f32 would take more than 512 MB.
const LARGE: usize = 128 << 20;

/// Random weights, yet to be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RandomWeights {
    /// Decides all values.
    pub seed: u64,
    /// Type of matrices; vectors are always f32.
    pub dtype: Dtype,
}

impl RandomWeights {
    /// Weights drawn from `seed`, matrices stored as `dtype`.
    pub(crate) fn new(seed: u64, dtype: Dtype) -> RandomWeights {
        RandomWeights { seed, dtype }
    }

    /// The type that suits a model's size: f32, and bf16 for models whose f32 weights would be over half a gigabyte.
    pub(crate) fn default_dtype(model: &Model) -> Dtype {
        let elements = |section| {
            slots(model, section)
                .iter()
                .map(|slot| {
                    slot.weight
                        .shape
                        .iter()
                        .fold(slot.weight.count(), |product, n| product.saturating_mul(*n))
                })
                .fold(0, usize::saturating_add)
        };
        let kinds = (0..model.kinds.len()).map(|kind| elements(Section::Kind(kind)));
        let kinds: Vec<usize> = kinds.collect();
        let layers = model
            .layers
            .iter()
            .fold(0usize, |sum, kind| sum.saturating_add(kinds[*kind]));
        let total = layers
            .saturating_add(elements(Section::Embed))
            .saturating_add(elements(Section::Head));
        if total > LARGE {
            Dtype::Bf16
        } else {
            Dtype::F32
        }
    }
}

/// Lays out and draws the weights of `model`.
pub(super) fn plan_random(model: &Model, random: RandomWeights) -> Result<Weights, WeightsError> {
    lay_out(model, random, Plan::draw)
}

/// Lays the weights out without drawing them: every size and place, and how to draw each tensor when it is written.
pub(super) fn plan_shapes(model: &Model, random: RandomWeights) -> Result<Weights, WeightsError> {
    lay_out(model, random, |plan| {
        Ok(Blob::Recipe(Recipe {
            seed: random.seed,
            draws: plan
                .tensors
                .iter()
                .map(|t| t.offset_bytes)
                .zip(plan.draws.clone())
                .collect(),
        }))
    })
}

fn lay_out(
    model: &Model,
    random: RandomWeights,
    bytes: impl FnOnce(&Plan) -> Result<Blob, WeightsError>,
) -> Result<Weights, WeightsError> {
    let mut plan = Plan {
        random,
        is_tied: is_tied(model),
        tensors: Vec::new(),
        draws: Vec::new(),
        by_name: HashMap::new(),
        total_bytes: 0,
    };
    let (embed, layers, head) = plan.walk(model)?;
    let blob = bytes(&plan)?;
    Ok(Weights {
        blobs: vec![Arc::new(blob)],
        tensors: plan.tensors,
        embed,
        layers,
        head,
        widened: vec![],
        worth: vec![],
    })
}

/// Tensors being laid out, one after the other, in one blob.
struct Plan {
    random: RandomWeights,
    /// The head reads the embedding's table.
    is_tied: bool,
    tensors: Vec<Tensor>,
    /// How to draw each of `tensors`.
    draws: Vec<Draw>,
    /// By name and type.
    by_name: HashMap<(String, Dtype), usize>,
    total_bytes: usize,
}

impl Plan {
    fn walk(&mut self, model: &Model) -> Result<Walked, WeightsError> {
        walk(model, |slot, label, at| {
            if let Some(made) = slot.weight.made {
                return self.made(slot, label, (made, at.layer));
            }
            let tried = candidates(model, slot.weight, at);
            // A tensor that another slot has already, such as the embedding for a tied head, is shared, unless one of the
            // two needs it in f32.
            let dtype = self.dtype_of(slot.role);
            let shared = tried.iter().find_map(|candidate| {
                let tensor = self.by_name.get(&(candidate.name.clone(), dtype))?;
                Some((*tensor, candidate))
            });
            let first = shared.map(|(_, candidate)| candidate).or(tried.first());
            let weight = first.map_or(slot.weight, |c| c.weight);
            let layout = Layout::of(weight, label, at.layer, first.and_then(|c| c.stack))?;
            let tensor = match shared {
                Some((tensor, _)) => tensor,
                None => self.add(first.map_or(label, |c| &c.name), slot, &layout.stored)?,
            };
            let (held, draw) = (&self.tensors[tensor], self.draws[tensor]);
            let fits = byte_size(&layout.stored, draw.dtype) == Some(held.bytes);
            if !fits {
                let problem = "another slot reads the same tensor with another size";
                return Err(WeightsError::BadWeight {
                    slot: label.to_string(),
                    shape: slot.weight.shape.clone(),
                    problem,
                });
            }
            Ok(layout.view(weight, tensor, held, draw.dtype))
        })
    }

    /// A vector that no checkpoint holds, which is not drawn either.
    fn made(
        &mut self,
        slot: &Slot<'_>,
        label: &str,
        made: (Made, Option<usize>),
    ) -> Result<View, WeightsError> {
        let draw = Draw {
            made: Some(made),
            ..self.draw_of(slot)
        };
        let layout = Layout::of(slot.weight, label, None, None)?;
        let tensor = self.place(label, draw, &layout.stored)?;
        Ok(layout.view(slot.weight, tensor, &self.tensors[tensor], draw.dtype))
    }

    fn add(
        &mut self,
        name: &str,
        slot: &Slot<'_>,
        stored: &[usize],
    ) -> Result<usize, WeightsError> {
        let draw = self.draw_of(slot);
        let tensor = self.place(name, draw, stored)?;
        self.by_name.insert((name.to_string(), draw.dtype), tensor);
        Ok(tensor)
    }

    /// Makes room for a tensor after the others.
    fn place(&mut self, name: &str, draw: Draw, stored: &[usize]) -> Result<usize, WeightsError> {
        let end = byte_size(stored, draw.dtype).and_then(|bytes| {
            Some((
                bytes,
                self.total_bytes
                    .checked_add(bytes)?
                    .checked_next_multiple_of(ALIGNMENT)?,
            ))
        });
        let Some((bytes, end)) = end else {
            return Err(WeightsError::Memory {
                bytes: usize::MAX,
                source: std::io::ErrorKind::OutOfMemory.into(),
            });
        };
        self.tensors.push(Tensor {
            name: name.to_string(),
            blob: 0,
            offset_bytes: self.total_bytes,
            bytes,
        });
        self.draws.push(draw);
        self.total_bytes = end;
        Ok(self.tensors.len() - 1)
    }

    fn dtype_of(&self, role: Role) -> Dtype {
        match role.is_vector() {
            true => Dtype::F32,
            false => self.random.dtype,
        }
    }

    fn draw_of(&self, slot: &Slot<'_>) -> Draw {
        // The last dimension of the graph's shape is what a product sums over.
        let fan_in = slot.weight.shape.last().copied().unwrap_or(1).max(1) as f32;
        let (mean, deviation) = match slot.role {
            Role::Matrix | Role::ByHead | Role::Router | Role::Filter => {
                (0.0, fan_in.sqrt().recip())
            }
            // A tied table is also the output projection, so it has a matrix's scale, and learned positions must not
            // drown it.
            Role::Table | Role::Positions if self.is_tied => (0.0, fan_in.sqrt().recip()),
            Role::Table | Role::Positions => (0.0, 1.0),
            Role::Gain { unit_offset: true } => (0.0, 0.2),
            Role::Gain { unit_offset: false } => (1.0, 0.2),
            Role::Bias => (0.0, 0.3),
            Role::Listed { .. } => (0.0, 0.0),
        };
        let below = match slot.role {
            Role::Listed { below } => Some(below),
            _ => None,
        };
        Draw {
            dtype: self.dtype_of(slot.role),
            mean,
            deviation,
            below,
            made: None,
        }
    }

    fn draw(&self) -> Result<Blob, WeightsError> {
        let mut memory = Blob::zeroed(self.total_bytes)?;
        let mut rest: &mut [u8] = &mut memory;
        let mut end = 0;
        let mut chunks = Vec::new();
        for (tensor, draw) in self.tensors.iter().zip(&self.draws) {
            let (_, from) = rest.split_at_mut(tensor.offset_bytes - end);
            let (bytes, after) = from.split_at_mut(tensor.bytes);
            (rest, end) = (after, tensor.offset_bytes + tensor.bytes);
            let seed = name_seed(self.random.seed, &tensor.name);
            chunks.extend(draw.chunks(seed, 0, bytes));
        }
        chunks.into_par_iter().for_each(fill);
        Ok(Blob::Owned(memory))
    }
}

/// Whether the head reads a table of the embedding.
fn is_tied(model: &Model) -> bool {
    let head: Vec<String> = slots(model, Section::Head)
        .iter()
        .flat_map(|slot| candidates(model, slot.weight, At::default()))
        .map(|c| c.name)
        .collect();
    let tables = model.embed.iter().filter_map(|step| match &step.op {
        StepOp::Embed { table, .. } => Some(table),
        _ => None,
    });
    tables
        .flat_map(|table| candidates(model, table, At::default()))
        .any(|c| head.contains(&c.name))
}

fn byte_size(shape: &[usize], dtype: Dtype) -> Option<usize> {
    shape
        .iter()
        .try_fold(dtype.size(), |product, n| product.checked_mul(*n))
}
