//! Random weights from a seed: what a spec runs on when there is no checkpoint.
//!
//! A tensor's values depend on the seed, its name and its place in the tensor alone, not on other tensors or on how many
//! threads draw them. Variances keep activations near 1 and logits of order 1, and make every gain and bias matter.

use super::error::WeightsError;
use super::resolve::{At, Layout, Walked, candidates, walk};
use super::{Blob, Tensor, Weights};
use crate::spec::model::Section;
use crate::spec::model::{Model, StepOp};
use crate::walk::{Role, Slot, slots};
use graver_runtime::abi::Dtype;
use half::{bf16, f16};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

/// Alignment of tensors, in bytes: a cache line.
const ALIGNMENT: usize = 64;
/// Elements drawn from one generator: the grain of parallel work.
const CHUNK: usize = 1 << 16;
/// Matrix elements above which weights are bf16 by default: f32 would take more than 512 MB.
const LARGE: usize = 128 << 20;

/// Random weights, yet to be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomWeights {
    /// Decides all values.
    pub seed: u64,
    /// Type of matrices; vectors are always f32.
    pub dtype: Dtype,
}

impl RandomWeights {
    /// Weights drawn from `seed`, matrices stored as `dtype`.
    pub fn new(seed: u64, dtype: Dtype) -> RandomWeights {
        RandomWeights { seed, dtype }
    }

    /// The type that suits a model's size: f32, and bf16 for models whose f32 weights would be over half a gigabyte.
    pub fn default_dtype(model: &Model) -> Dtype {
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
        blobs: vec![blob],
        tensors: plan.tensors,
        embed,
        layers,
        head,
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

/// How to draw all tensors of a blob.
#[derive(Debug)]
pub struct Recipe {
    seed: u64,
    /// By a tensor's first byte.
    draws: BTreeMap<usize, Draw>,
}

impl Recipe {
    /// Draws a tensor of the blob into `out`, some `piece` bytes at once.
    pub(super) fn write(
        &self,
        tensor: &Tensor,
        piece: usize,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let bytes = tensor.bytes;
        let draw = self.draws[&tensor.offset_bytes];
        let seed = name_seed(self.seed, &tensor.name);
        let chunks_at_once = (piece / draw.chunk_bytes()).max(1);
        let mut buffer = vec![0; bytes.min(chunks_at_once * draw.chunk_bytes())];
        let (mut done, mut chunk) = (0, 0);
        while done < bytes {
            let n = buffer.len().min(bytes - done);
            draw.chunks(seed, chunk, &mut buffer[..n])
                .par_bridge()
                .for_each(fill);
            out.write_all(&buffer[..n])?;
            (done, chunk) = (done + n, chunk + chunks_at_once);
        }
        Ok(())
    }
}

/// How to draw a tensor: `mean + deviation · N(0, 1)`.
#[derive(Clone, Copy, Debug)]
struct Draw {
    dtype: Dtype,
    mean: f32,
    deviation: f32,
}

/// Numbers that come from one generator: a seed, how to draw, and where they go.
type Chunk<'a> = (u64, Draw, &'a mut [u8]);

impl Draw {
    fn chunk_bytes(self) -> usize {
        CHUNK * self.dtype.size()
    }

    /// Cuts a tensor, or a part of it that begins at chunk `first`, into chunks.
    fn chunks(
        self,
        seed: u64,
        first: usize,
        bytes: &mut [u8],
    ) -> impl Iterator<Item = Chunk<'_>> + Send {
        let pieces = bytes.chunks_mut(self.chunk_bytes()).enumerate();
        pieces.map(move |(i, piece)| (seed ^ mix((first + i) as u64 + 1), self, piece))
    }
}

impl Plan {
    fn walk(&mut self, model: &Model) -> Result<Walked, WeightsError> {
        walk(model, |slot, label, at| {
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

    fn add(
        &mut self,
        name: &str,
        slot: &Slot<'_>,
        stored: &[usize],
    ) -> Result<usize, WeightsError> {
        let draw = self.draw_of(slot);
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
        self.by_name
            .insert((name.to_string(), draw.dtype), self.tensors.len() - 1);
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
        let dtype = self.dtype_of(slot.role);
        match slot.role {
            Role::Matrix | Role::ByHead | Role::Router => Draw {
                dtype,
                mean: 0.0,
                deviation: fan_in.sqrt().recip(),
            },
            // A tied table is also the output projection, so it has a matrix's scale, and learned positions must not
            // drown it.
            Role::Table | Role::Positions => Draw {
                dtype,
                mean: 0.0,
                deviation: if self.is_tied {
                    fan_in.sqrt().recip()
                } else {
                    1.0
                },
            },
            Role::Gain { unit_offset } => Draw {
                dtype,
                mean: if unit_offset { 0.0 } else { 1.0 },
                deviation: 0.2,
            },
            Role::Filter => Draw {
                dtype,
                mean: 0.0,
                deviation: fan_in.sqrt().recip(),
            },
            Role::Bias => Draw {
                dtype,
                mean: 0.0,
                deviation: 0.3,
            },
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

/// FNV-1a over the name, mixed with the seed.
fn name_seed(seed: u64, name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(hash ^ mix(seed))
}

/// The finaliser of SplitMix64 (Steele et al. 2014): every bit of the input moves every bit of the output.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Fills one chunk. The normal distribution is approximated by the sum of two triangular ones, four uniform numbers of 16
/// bits each: no logarithm, and no value beyond 3.5 deviations, which random weights are better without.
fn fill((seed, draw, out): Chunk<'_>) {
    // The sum of four uniform numbers in 0..65536 has mean 131070 and this deviation.
    const DEVIATION: f32 = 37_837.3;
    let mut counter = seed;
    let mut next = || {
        counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = mix(counter);
        let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
        draw.mean + (sum as f32 - 131_070.0) * (draw.deviation / DEVIATION)
    };
    match draw.dtype {
        Dtype::F32 => out
            .chunks_exact_mut(4)
            .for_each(|out| out.copy_from_slice(&next().to_le_bytes())),
        Dtype::Bf16 => out
            .chunks_exact_mut(2)
            .for_each(|out| out.copy_from_slice(&bf16::from_f32(next()).to_le_bytes())),
        Dtype::F16 => out
            .chunks_exact_mut(2)
            .for_each(|out| out.copy_from_slice(&f16::from_f32(next()).to_le_bytes())),
    }
}
