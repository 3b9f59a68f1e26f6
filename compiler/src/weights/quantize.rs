//! Quantised weights: matrices and embedding tables rounded to integers in groups, packed once into panels.
//!
//! In go resolved [`Weights`] and the types wanted; out come the same slots, of which every matrix and every table looked
//! up by token is in panels in one new blob. Vectors, tables of learned positions and routers stay as they are: they are
//! small, and the choices of a router are what small errors disturb most. So do matrices that are multiplied by head along
//! either dimension, while panels run along one. Slots that read the same part of the same
//! tensor in the same way, such as a tied head, share its panels. Blobs that no slot reads any more are let go.
//!
//! Integers hide what was no number: every value that is packed, and every one beside it that stays a float and whose
//! products are rounded, is checked to be finite, and not too large for a scale.

use std::collections::HashMap;
use std::sync::Arc;

use graver_runtime::abi::{Encoding, Quant};

use super::blobs::{Blob, Weights};
use super::error::WeightsError;
use super::nearest::nearest;
use super::quant_plan::QuantPlan;
use super::reading::{PackJob, Packing, Reading};
use super::view::{Tensor, View};
use crate::spec::model::Model;
use crate::spec::model::Section;
use crate::walk::{Slot, kind_slots, slots};

/// Alignment of a packed matrix in its blob, in bytes: a cache line.
const ALIGNMENT: usize = 64;

/// What has to be packed, and what the slots read afterwards.
#[derive(Debug)]
pub(crate) struct PackPlan {
    /// Each matrix once, in the order of the packed blob.
    pub jobs: Vec<PackJob>,
    /// Size of the packed blob.
    pub bytes: usize,
    /// What stays in floats.
    kept: Vec<View>,
    views: [Vec<View>; 2],
    layers: Vec<Vec<View>>,
    tensors: Vec<Tensor>,
}

/// Says what has to be packed; nothing is read yet.
///
/// # Errors
/// A type that nothing is rounded to, and a rule that fits no matrix.
pub(crate) fn plan_quantized(
    model: &Model,
    weights: &Weights,
    plan: &QuantPlan,
) -> Result<PackPlan, WeightsError> {
    let rules = plan.rules.iter().filter_map(|rule| rule.quant);
    let mut wanted = [plan.usual.layers, plan.usual.head]
        .into_iter()
        .chain(rules);
    if let Some(quant) = wanted.find(|quant| !is_rounded_to(*quant)) {
        return Err(WeightsError::NotRounded { quant });
    }
    let mut p = PackPlanner {
        weights,
        plan,
        jobs: vec![],
        bytes: 0,
        tensors: weights.tensors.clone(),
        slot: 0,
        packed: HashMap::new(),
        kept: vec![],
        names: vec![],
        used: vec![false; plan.rules.len()],
    };
    let usual = plan.usual;
    let embed = slots(model, Section::Embed);
    let embed = p.block("embed", &embed, &weights.embed, usual.head);
    let kinds = kind_slots(model);
    let layers = model.layers.iter().zip(&weights.layers).enumerate();
    let layers = layers
        .map(|(i, (kind, views))| {
            p.block(&format!("layers.{i}"), &kinds[*kind], views, usual.layers)
        })
        .collect();
    let head = slots(model, Section::Head);
    let head = p.block("head", &head, &weights.head, usual.head);
    if let Some(unused) = p.used.iter().position(|used| !used) {
        let pattern = &plan.rules[unused].pattern;
        let names = p.names.iter().map(String::as_str);
        return Err(WeightsError::NoSuchMatrix {
            pattern: pattern.clone(),
            nearest: nearest(std::slice::from_ref(pattern), names),
        });
    }
    Ok(PackPlan {
        jobs: p.jobs,
        bytes: p.bytes,
        kept: p.kept,
        views: [embed, head],
        layers,
        tensors: p.tensors,
    })
}

/// Whether floats are rounded to a type.
fn is_rounded_to(quant: Quant) -> bool {
    match quant {
        Quant::Q8 | Quant::Q4 | Quant::Q4Super => true,
        Quant::Q4Min | Quant::Q8Min | Quant::Q8Half | Quant::Q4Narrow => false,
    }
}

/// Packs in memory. `progress` hears how many bytes there are in all, and how many more are written.
///
/// # Errors
/// No memory for the panels; weights that are not finite, or too large for the type; a rule that fits no matrix.
pub(crate) fn quantize(
    model: &Model,
    weights: Weights,
    plan: &QuantPlan,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Weights, WeightsError> {
    let plan = plan_quantized(model, &weights, plan)?;
    weights.check_finite_in(&plan.kept)?;
    let mut memory = Blob::zeroed(plan.bytes)?;
    for job in &plan.jobs {
        let progress = |bytes| progress(plan.bytes, bytes);
        job.pack(&weights, &mut memory[job.to.clone()], &progress)?;
    }
    Ok(plan.into_weights(weights, Blob::Owned(memory)))
}

/// [`quantize`] without packing: each matrix is packed when it is written, so that memory stays small whatever the size of
/// the model. Weights that have yet to be drawn are drawn then, a tensor at once.
///
/// # Errors
/// Weights that stay in floats and are not finite, and a rule that fits no matrix. What is packed is checked when it is written.
pub(crate) fn quantize_when_written(
    model: &Model,
    weights: Weights,
    plan: &QuantPlan,
) -> Result<Weights, WeightsError> {
    let plan = plan_quantized(model, &weights, plan)?;
    weights.check_finite_in(&plan.kept)?;
    let packing = Blob::Packing(Packing::of(&plan.jobs));
    Ok(plan.with_packed(weights, packing))
}

struct PackPlanner<'a> {
    weights: &'a Weights,
    plan: &'a QuantPlan,
    jobs: Vec<PackJob>,
    bytes: usize,
    tensors: Vec<Tensor>,
    /// How many slots have been planned.
    slot: usize,
    /// The view of what is packed already, and its job.
    packed: HashMap<Reading, (View, usize)>,
    kept: Vec<View>,
    /// Matrices that rules may be about.
    names: Vec<String>,
    /// Which rules fitted one.
    used: Vec<bool>,
}

impl PackPlanner<'_> {
    /// What the slots of a section read, whose matrices are rounded to `usual` where no rule says otherwise.
    fn block(&mut self, at: &str, slots: &[Slot<'_>], views: &[View], usual: Quant) -> Vec<View> {
        let (mut out, mut rest) = (Vec::with_capacity(views.len()), views);
        for slot in slots {
            let (family, others) = rest.split_at(slot.weight.count());
            rest = others;
            let quant = self.quant(at, slot, family, usual);
            for view in family {
                out.push(match quant {
                    Some(quant) => self.packed(slot, view, quant),
                    // In panels already.
                    None if view.encoding.quant().is_some() => view.clone(),
                    None => self.kept(view),
                });
                self.slot += 1;
            }
        }
        out
    }

    /// What a family of weights is rounded to, if to anything.
    fn quant(&mut self, at: &str, slot: &Slot<'_>, family: &[View], usual: Quant) -> Option<Quant> {
        let are_floats = family.iter().all(|v| v.encoding.quant().is_none());
        if !slot.role.may_be_rounded() || !are_floats {
            return None;
        }
        if self.plan.rules.is_empty() {
            return Some(usual);
        }
        let mut names = vec![format!("{at}.{}", slot.weight.slot)];
        names.extend(family.iter().map(|view| view.name.clone()));
        let rule = self.plan.rule(&names);
        self.names.extend(names);
        match rule {
            None => Some(usual),
            Some(rule) => {
                self.used[rule] = true;
                self.plan.rules[rule].quant
            }
        }
    }

    fn kept(&mut self, view: &View) -> View {
        self.kept.push(view.clone());
        view.clone()
    }

    fn packed(&mut self, slot: &Slot<'_>, view: &View, quant: Quant) -> View {
        let reading = Reading::of(slot.weight, view, quant);
        let (made, job) = match self.packed.get(&reading) {
            Some(made) => made.clone(),
            None => {
                let made = (self.add(view, &reading), self.jobs.len() - 1);
                self.packed.insert(reading, made.clone());
                made
            }
        };
        // Of slots that share panels, such as a tied head's, the first one that is multiplied with anything decides.
        let worth = self.weights.worth.get(self.slot).cloned().flatten();
        self.jobs[job].worth = self.jobs[job].worth.take().or(worth);
        View {
            slot: view.slot.clone(),
            ..made
        }
    }

    fn add(&mut self, view: &View, reading: &Reading) -> View {
        let bytes = reading.packed_bytes();
        let (blob, offset_bytes) = (self.weights.blobs.len(), self.bytes);
        self.bytes = (offset_bytes + bytes).next_multiple_of(ALIGNMENT);
        self.jobs.push(PackJob {
            reading: reading.clone(),
            worth: None,
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
            encoding: Encoding::Quantized(reading.quant),
            row_stride_bytes: reading.panel_bytes(),
            bytes,
            transposed: false,
        }
    }
}

impl PackPlan {
    /// The weights with their packed blob in place.
    pub(crate) fn into_weights(self, weights: Weights, packed: Blob) -> Weights {
        let mut out = self.with_packed(weights, packed);
        out.drop_unread();
        out
    }

    fn with_packed(self, weights: Weights, packed: Blob) -> Weights {
        let [embed, head] = self.views;
        let mut blobs = weights.blobs;
        blobs.push(Arc::new(packed));
        Weights {
            blobs,
            tensors: self.tensors,
            embed,
            layers: self.layers,
            head,
            widened: weights.widened,
            worth: vec![],
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
                *blob = Arc::new(Blob::Empty);
            }
        }
    }
}
