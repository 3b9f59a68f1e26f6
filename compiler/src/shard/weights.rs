//! What a rank has of a model's weights: views of the same bytes, and copies of what would lie in pieces.

use std::collections::HashMap;
use std::sync::Arc;

use crate::graph::{Program, Share, WeightDecl};
use crate::weights::{Blob, Tensor, View, Weights, WeightsError};

/// Alignment of what is copied, in bytes: a cache line.
const ALIGNMENT: usize = 64;

impl Weights {
    /// The weights of a rank. `program` is the plain one of the whole model, and `shares` says what the rank has of each weight of
    /// its blocks. What all ranks have, and rows that follow each other, stay where they are.
    ///
    /// # Errors
    /// No memory for what is copied.
    pub(crate) fn share(
        &self,
        program: &Program,
        shares: &[Vec<Share>],
    ) -> Result<Weights, WeightsError> {
        let sections = std::iter::once(&self.embed)
            .chain(&self.layers)
            .chain([&self.head]);
        let mut sharing = Sharing {
            whole: self,
            tensors: vec![],
            places: HashMap::new(),
            copies: vec![],
            bytes: 0,
        };
        let mut views = vec![];
        for (block, section) in program.run_order().zip(sections) {
            let decls = &program.blocks[block].graph.weights;
            views.push(sharing.section(decls, &shares[block], section));
        }
        let copied = sharing.copied()?;
        let tensors = sharing.tensors;
        let head = views.pop().unwrap_or_default();
        let mut layers = views.into_iter();
        let embed = layers.next().unwrap_or_default();
        let mut blobs = self.blobs.clone();
        blobs.push(Arc::new(copied));
        Ok(Weights {
            blobs,
            tensors,
            embed,
            layers: layers.collect(),
            head,
            widened: vec![],
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
        let slots = decls.iter().zip(shares);
        let slots = slots.flat_map(|slot| std::iter::repeat_n(slot, slot.0.count));
        let views = slots.zip(views);
        views
            .map(|((decl, share), view)| self.view(decl, share, view))
            .collect()
    }

    fn view(&mut self, decl: &WeightDecl, share: &Share, view: &'a View) -> View {
        let own = decl.share(share);
        let bytes = match share {
            Share::Whole => view.bytes,
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
            encoding: view.encoding,
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
