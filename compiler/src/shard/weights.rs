//! What a rank has of a model's weights: views of the same bytes, and copies of what would lie in pieces.

use std::collections::HashMap;
use std::sync::Arc;

use super::RankProgram;
use crate::graph::{Program, Share, WeightDecl};
use crate::weights::{Blob, Tensor, View, Weights, WeightsError};

/// Alignment of what is copied, in bytes: a cache line.
const ALIGNMENT: usize = 64;

impl Weights {
    /// The weights of a rank. `program` is the plain one of the whole model, of whose layers the rank has `layers`, and `shares` says what
    /// it has of each weight of its blocks. What all ranks have, and rows that follow each other, stay where they are.
    ///
    /// # Errors
    /// No memory for what is copied.
    pub(crate) fn share(
        &self,
        program: &Program,
        RankProgram { shares, layers, .. }: &RankProgram,
    ) -> Result<Weights, WeightsError> {
        let mut sharing = Sharing {
            whole: self,
            tensors: vec![],
            places: HashMap::new(),
            copies: vec![],
            bytes: 0,
        };
        let mut section = |block: usize, views| {
            let decls = &program.blocks[block].graph.weights;
            sharing.section(decls, &shares[block], views)
        };
        let embed = section(0, &self.embed);
        let layer = |layer: &Option<usize>| {
            let layer = layer.map(|l| section(program.layers[l], &self.layers[l]));
            layer.unwrap_or_default()
        };
        let layers = layers.iter().map(layer).collect();
        let head = section(program.head(), &self.head);
        let copied = sharing.copied()?;
        let tensors = sharing.tensors;
        let mut blobs = self.blobs.clone();
        blobs.push(Arc::new(copied));
        Ok(Weights {
            blobs,
            tensors,
            embed,
            layers,
            head,
            widened: vec![],
            worth: vec![],
        })
    }
}

struct Sharing<'a> {
    whole: &'a Weights,
    /// One for each run of bytes that a slot reads.
    tensors: Vec<Tensor>,
    /// Where each is, by its blob, first byte and length.
    places: HashMap<(usize, usize, usize), usize>,
    /// What is copied: of which view, how, and to which byte.
    copies: Vec<(&'a View, WeightDecl, Share, usize)>,
    /// Bytes of all copies together.
    bytes: usize,
}

impl<'a> Sharing<'a> {
    /// The views of a section's slots, of a family one for each member.
    fn section(&mut self, decls: &[WeightDecl], shares: &[Share], views: &'a [View]) -> Vec<View> {
        let (mut out, mut views) = (vec![], views.iter());
        for (decl, share) in decls.iter().zip(shares) {
            let family = views.by_ref().take(decl.count).enumerate();
            let is_here = |member: usize| match share {
                Share::Members(here) => here.contains(&member),
                Share::Whole | Share::Rows(_) | Share::Columns(_) => true,
            };
            let here = family.filter(|(member, _)| is_here(*member));
            out.extend(here.map(|(_, view)| self.view(decl, share, view)));
        }
        out
    }

    fn view(&mut self, decl: &WeightDecl, share: &Share, view: &'a View) -> View {
        let own = decl.share(share);
        let bytes = match share {
            Share::Whole | Share::Members(_) => view.bytes,
            Share::Rows(_) | Share::Columns(_) => own.span_bytes(),
        };
        let (blob, offset_bytes) = match decl.copies(share) {
            true => {
                let at = self.bytes;
                self.bytes = (at + bytes).next_multiple_of(ALIGNMENT);
                self.copies.push((view, decl.clone(), share.clone(), at));
                (self.whole.blobs.len(), at)
            }
            false => (view.blob, view.offset_bytes + decl.first_byte(share)),
        };
        // Slots that read the same run, such as a tied head, share a tensor.
        let name = view.name.clone();
        let tensor = Tensor {
            name: name.clone(),
            blob,
            offset_bytes,
            bytes,
        };
        let next = self.tensors.len();
        let tensors = &mut self.tensors;
        let tensor = *self
            .places
            .entry((blob, offset_bytes, bytes))
            .or_insert_with(|| {
                tensors.push(tensor);
                next
            });
        View {
            slot: view.slot.clone(),
            name,
            tensor,
            blob,
            offset_bytes,
            encoding: own.encoding,
            row_stride_bytes: own.row_stride,
            bytes,
            transposed: view.transposed,
        }
    }

    fn copied(&self) -> Result<Blob, WeightsError> {
        // What is only looked at has no bytes to be copied.
        let copies = self.copies.iter();
        if !copies.map(|c| c.0).any(|view| self.whole.is_there(view)) {
            return Ok(Blob::Empty);
        }
        let mut memory = Blob::zeroed(self.bytes)?;
        for (view, decl, share, at) in &self.copies {
            let bytes = decl.copy_share(share, self.whole.bytes(view));
            memory[*at..at + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(Blob::Owned(memory))
    }
}
