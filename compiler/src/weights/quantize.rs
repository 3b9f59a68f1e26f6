//! Quantised weights: matrices and embedding tables rounded to integers in groups, packed once into panels.
//!
//! In go resolved [`Weights`] and the types wanted; out come the same slots, of which every matrix and every table looked
//! up by token is in panels in one new blob. Vectors, tables of learned positions and routers stay as they are: they are
//! small, and the choices of a router are what small errors disturb most. So do matrices that are multiplied by head along
//! either dimension, while panels run along one. Slots that read the same part of the same
//! tensor, such as a tied head, share its panels. Blobs that no slot reads any more are let go.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;

use graver_runtime::abi::quant::{GROUP, PANEL_ROWS};
use graver_runtime::abi::{Encoding, Quant};
use rayon::prelude::*;

use super::round::round;
use super::slots::{Role, Slot, block_slots, kind_slots};
use super::{Blob, Tensor, View, Weights, WeightsError};
use crate::spec::model::{Blocks, Model};

/// Alignment of a packed matrix in its blob, in bytes: a cache line.
const ALIGNMENT: usize = 64;

/// Types of quantised weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantChoice {
    /// Matrices of the layers.
    pub layers: Quant,
    /// The embedding and the head.
    pub head: Quant,
}

/// A matrix to be packed: where its floats are, and where its panels go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackJob {
    source: View,
    blocks: Option<Blocks>,
    rows: usize,
    k: usize,
    quant: Quant,
    /// Bytes of the packed blob.
    pub to: Range<usize>,
}

/// What has to be packed, and what the slots read afterwards.
#[derive(Debug)]
pub struct PackPlan {
    /// Each matrix once, in the order of the packed blob.
    pub jobs: Vec<PackJob>,
    /// Size of the packed blob.
    pub bytes: usize,
    views: [Vec<View>; 2],
    layers: Vec<Vec<View>>,
    tensors: Vec<Tensor>,
}

/// Says what has to be packed; nothing is read yet.
pub fn plan_quantized(model: &Model, weights: &Weights, choice: QuantChoice) -> PackPlan {
    let mut p = Planner {
        weights,
        jobs: vec![],
        bytes: 0,
        tensors: weights.tensors.clone(),
        packed: BTreeMap::new(),
    };
    let embed = p.block(&block_slots(&model.embed), &weights.embed, choice.head);
    let kinds: Vec<_> = model.kinds.iter().map(kind_slots).collect();
    let layers = model.layers.iter().zip(&weights.layers);
    let layers = layers
        .map(|(kind, views)| p.block(&kinds[*kind], views, choice.layers))
        .collect();
    let head = p.block(&block_slots(&model.head), &weights.head, choice.head);
    PackPlan {
        jobs: p.jobs,
        bytes: p.bytes,
        views: [embed, head],
        layers,
        tensors: p.tensors,
    }
}

/// Packs in memory. `progress` hears how many bytes there are in all, and how many more are written.
///
/// # Errors
/// No memory for the panels.
pub fn quantize(
    model: &Model,
    weights: Weights,
    choice: QuantChoice,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Weights, WeightsError> {
    let plan = plan_quantized(model, &weights, choice);
    let mut memory = Blob::zeroed(plan.bytes)?;
    for job in &plan.jobs {
        let progress = |bytes| progress(plan.bytes, bytes);
        job.pack(&weights, &mut memory[job.to.clone()], &progress);
    }
    Ok(plan.into_weights(weights, Blob::Owned(memory)))
}

/// [`quantize`] without packing: each matrix is packed when it is written, so that memory stays small whatever the size of
/// the model. Weights that have yet to be drawn are drawn then, a tensor at once.
pub fn quantize_when_written(model: &Model, weights: Weights, choice: QuantChoice) -> Weights {
    let plan = plan_quantized(model, &weights, choice);
    let jobs = plan.jobs.iter().map(|job| (job.to.start, job.clone()));
    let packing = Blob::Packing(Packing(jobs.collect()));
    plan.with_packed(weights, packing)
}

/// How the matrices of a blob are packed: by their first byte.
#[derive(Debug)]
pub struct Packing(BTreeMap<usize, PackJob>);

impl Packing {
    /// Packs the matrix at `offset` into `out`, some `piece` bytes at once.
    pub(super) fn write(
        &self,
        weights: &Weights,
        offset: usize,
        piece: usize,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let job = &self.0[&offset];
        let source = &job.source;
        let drawn = weights.drawn(&weights.tensors[source.tensor], piece)?;
        let bytes = match &drawn {
            Some(tensor) => {
                let start = source.offset_bytes - weights.tensors[source.tensor].offset_bytes;
                &tensor[start..start + source.bytes]
            }
            None => weights.bytes(source),
        };
        let panel = job.quant.panel_bytes(job.k);
        let panels_at_once = (piece / panel).max(1);
        let mut buffer = vec![0; job.to.len().min(panels_at_once * panel)];
        let (mut done, mut first) = (0, 0);
        while done < job.to.len() {
            let n = buffer.len().min(job.to.len() - done);
            job.pack_panels(bytes, first, &mut buffer[..n], &|_| {});
            out.write_all(&buffer[..n])?;
            (done, first) = (done + n, first + panels_at_once);
        }
        weights.blobs[source.blob].release(source.offset_bytes, source.offset_bytes + source.bytes);
        Ok(())
    }
}

impl Weights {
    /// All of a tensor that is drawn only where it is written; none where its bytes are there.
    fn drawn(&self, tensor: &Tensor, piece: usize) -> io::Result<Option<Vec<u8>>> {
        let Blob::Recipe(recipe) = &self.blobs[tensor.blob] else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(tensor.bytes)?;
        recipe.write(tensor, piece, &mut bytes)?;
        Ok(Some(bytes))
    }
}

struct Planner<'a> {
    weights: &'a Weights,
    jobs: Vec<PackJob>,
    bytes: usize,
    tensors: Vec<Tensor>,
    /// By tensor, first byte and shape, with the type: the view of what is packed already.
    packed: BTreeMap<(usize, usize, Vec<usize>, Quant), View>,
}

impl Planner<'_> {
    fn block(&mut self, slots: &[Slot<'_>], views: &[View], quant: Quant) -> Vec<View> {
        let one = |(slot, view): (&Slot<'_>, &View)| match slot.role {
            Role::Matrix | Role::Table => self.packed(slot, view, quant),
            Role::ByHead
            | Role::Router
            | Role::Filter
            | Role::Positions
            | Role::Gain { .. }
            | Role::Bias => view.clone(),
        };
        let each = slots
            .iter()
            .flat_map(|slot| std::iter::repeat_n(slot, slot.weight.count()));
        each.zip(views).map(one).collect()
    }

    fn packed(&mut self, slot: &Slot<'_>, view: &View, quant: Quant) -> View {
        let key = (
            view.tensor,
            view.offset_bytes,
            slot.weight.shape.clone(),
            quant,
        );
        let made = match self.packed.get(&key) {
            Some(made) => made.clone(),
            None => {
                let made = self.add(slot, view, quant);
                self.packed.insert(key, made.clone());
                made
            }
        };
        View {
            slot: view.slot.clone(),
            ..made
        }
    }

    fn add(&mut self, slot: &Slot<'_>, view: &View, quant: Quant) -> View {
        let shape = &slot.weight.shape;
        let k = *shape.last().unwrap_or(&1);
        let rows = shape.iter().product::<usize>() / k;
        let bytes = quant.matrix_bytes(rows, k);
        let (blob, offset_bytes) = (self.weights.blobs.len(), self.bytes);
        self.bytes = (offset_bytes + bytes).next_multiple_of(ALIGNMENT);
        self.jobs.push(PackJob {
            source: view.clone(),
            blocks: slot.weight.blocks(),
            rows,
            k,
            quant,
            to: offset_bytes..offset_bytes + bytes,
        });
        let name = view.name.clone();
        self.tensors.push(Tensor {
            name: name.clone(),
            blob,
            offset_bytes,
            bytes,
        });
        View {
            slot: view.slot.clone(),
            name,
            tensor: self.tensors.len() - 1,
            blob,
            offset_bytes,
            encoding: Encoding::Quantized(quant),
            row_stride_bytes: quant.panel_bytes(k),
            bytes,
            transposed: false,
        }
    }
}

impl PackPlan {
    /// The weights with their packed blob in place.
    pub fn into_weights(self, weights: Weights, packed: Blob) -> Weights {
        let mut out = self.with_packed(weights, packed);
        out.drop_unread();
        out
    }

    fn with_packed(self, weights: Weights, packed: Blob) -> Weights {
        let [embed, head] = self.views;
        let mut blobs = weights.blobs;
        blobs.push(packed);
        Weights {
            blobs,
            tensors: self.tensors,
            embed,
            layers: self.layers,
            head,
        }
    }
}

impl Weights {
    /// Lets go of tensors that no slot reads, and of blobs in which none is left.
    fn drop_unread(&mut self) {
        let mut place = vec![None; self.tensors.len()];
        let mut kept = vec![];
        for view in self
            .embed
            .iter_mut()
            .chain(self.layers.iter_mut().flatten())
            .chain(&mut self.head)
        {
            view.tensor = *place[view.tensor].get_or_insert_with(|| {
                kept.push(self.tensors[view.tensor].clone());
                kept.len() - 1
            });
        }
        self.tensors = kept;
        for (i, blob) in self.blobs.iter_mut().enumerate() {
            if self.tensors.iter().all(|t| t.blob != i) {
                *blob = Blob::Empty;
            }
        }
    }
}

impl PackJob {
    /// Writes the panels to `out`, which is as long as `to`; `progress` hears how many more bytes are written.
    pub fn pack(&self, weights: &Weights, out: &mut [u8], progress: &(dyn Fn(usize) + Sync)) {
        self.pack_panels(weights.bytes(&self.source), 0, out, progress);
    }

    /// Writes whole panels from number `first` on; `bytes` are those of the matrix' floats.
    fn pack_panels(
        &self,
        bytes: &[u8],
        first: usize,
        out: &mut [u8],
        progress: &(dyn Fn(usize) + Sync),
    ) {
        let panels = out
            .par_chunks_mut(self.quant.panel_bytes(self.k))
            .enumerate();
        panels.for_each_init(
            || vec![[0.0; GROUP]; PANEL_ROWS],
            |rows, (panel, out)| {
                for (group, out) in out.chunks_exact_mut(self.quant.group_bytes()).enumerate() {
                    self.read(bytes, first + panel, group, rows);
                    self.write(rows, out);
                }
                progress(out.len());
            },
        );
    }

    /// The floats of one group of a panel, zeros beyond the matrix' edges.
    fn read(&self, bytes: &[u8], panel: usize, group: usize, out: &mut [[f32; GROUP]]) {
        let dtype = self
            .source
            .encoding
            .float()
            .expect("floats are packed, not panels");
        let (size, stride) = (dtype.size(), self.source.row_stride_bytes);
        let columns = (self.k - group * GROUP).min(GROUP);
        for (lane, out) in out.iter_mut().enumerate() {
            let row = panel * PANEL_ROWS + lane;
            *out = [0.0; GROUP];
            if row >= self.rows {
                continue;
            }
            let row = self.blocks.map_or(row, |b| b.place(row));
            for (i, out) in out[..columns].iter_mut().enumerate() {
                let column = group * GROUP + i;
                let at = match self.source.transposed {
                    true => column * stride + row * size,
                    false => row * stride + column * size,
                };
                *out = dtype.read(&bytes[at..at + size]);
            }
        }
    }

    fn write(&self, rows: &[[f32; GROUP]], out: &mut [u8]) {
        for (lane, x) in rows.iter().enumerate() {
            let rounded = round(self.quant, x);
            Quant::put_scale(out, lane, rounded.scale);
            for (i, q) in rounded.q.iter().enumerate() {
                self.quant.put(out, lane, i, i32::from(*q));
            }
        }
    }
}
