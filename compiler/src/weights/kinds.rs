//! Splits layer kinds whose layers store their weights differently.
//!
//! Layers of one kind share generated code, which has element types, row strides and orientation baked in. A checkpoint
//! that keeps, say, its first and last layer in f32 and the rest in bf16 makes two kinds out of one.

use super::blobs::Weights;
use super::view::View;
use crate::spec::model::{LayerKind, Model};
use graver_runtime::abi::Encoding;

/// Gives layers of one kind whose weights differ in type, row stride or orientation a kind each: `dense`, `dense.2`, …, numbers that are taken left out.
///
/// Afterwards all layers of a kind agree in every slot. Kinds that agree already keep their place and name.
pub(crate) fn split_kinds(model: &mut Model, weights: &Weights) {
    // For each kind after splitting: the kind it was, and its layers' signature.
    let mut variants: Vec<(usize, Option<Vec<Signature>>)> =
        (0..model.kinds.len()).map(|kind| (kind, None)).collect();
    for (layer, views) in weights.layers.iter().enumerate() {
        let kind = model.layers[layer];
        // The experts of a family are alike, so that the first stands for all.
        let slots = views.chunk_by(|a, b| a.slot == b.slot);
        let signature: Vec<Signature> = slots.map(|family| signature(&family[0])).collect();
        let fits = |(original, seen): &(usize, Option<Vec<Signature>>)| {
            *original == kind && seen.as_ref().is_none_or(|seen| *seen == signature)
        };
        let variant = variants.iter().position(fits).unwrap_or_else(|| {
            let earlier = variants
                .iter()
                .filter(|(original, _)| *original == kind)
                .count();
            let mut copy = model.kinds[kind].clone();
            let taken = |name: &str| model.kinds.iter().any(|k| k.name == name);
            copy.name = LayerKind::variant_name(&copy.name, earlier + 1, taken);
            model.kinds.push(copy);
            variants.push((kind, None));
            variants.len() - 1
        });
        variants[variant].1 = Some(signature);
        model.layers[layer] = variant;
    }
}

type Signature = (Encoding, usize, bool);

fn signature(view: &View) -> Signature {
    (view.encoding, view.row_stride_bytes, view.transposed)
}
