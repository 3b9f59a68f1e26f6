//! The weights of a model as they are held: runs of bytes, tensors in them, and a view for every slot.

use std::sync::Arc;

use graver_runtime::pages;
use memmap2::{Mmap, MmapMut};

use super::drawing::Recipe;
use super::error::WeightsError;
use super::reading::Packing;
use super::view::{Tensor, View};
use crate::spec::model::{Model, Section};

/// Every weight of a model, and the bytes behind it.
#[derive(Debug)]
pub struct Weights {
    /// Runs of bytes that tensors lie in.
    pub(crate) blobs: Vec<Arc<Blob>>,
    /// Whole tensors, each once however many views it has.
    pub(crate) tensors: Vec<Tensor>,
    /// Slots of [`Model::embed`].
    pub(crate) embed: Vec<View>,
    /// Slots of each layer, in the order of its kind's slots.
    pub(crate) layers: Vec<Vec<View>>,
    /// Slots of [`Model::head`].
    pub(crate) head: Vec<View>,
    /// What became floats since no kernel reads it, by type.
    pub widened: Vec<Widened>,
    /// What errors of the columns of each slot's matrix count, in slot order, where that has been measured.
    pub(crate) worth: Vec<Option<Arc<[f32]>>>,
}

/// Tensors of a storage type that became f32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widened {
    /// The type.
    pub storage: &'static str,
    /// How many tensors.
    pub tensors: usize,
    /// Their bytes in the file.
    pub stored_bytes: usize,
    /// Their bytes in memory.
    pub held_bytes: usize,
}

impl AsRef<Weights> for Weights {
    fn as_ref(&self) -> &Weights {
        self
    }
}

impl Weights {
    /// The bytes of every slot of the pointer table, in order.
    pub fn slots(&self) -> Vec<&[u8]> {
        self.views().map(|v| self.bytes(v)).collect()
    }

    /// All views in slot order: embedding, layers, head.
    pub fn views(&self) -> impl Iterator<Item = &View> {
        self.embed
            .iter()
            .chain(self.layers.iter().flatten())
            .chain(&self.head)
    }

    /// The view of a slot of `embed`, of a layer kind (any of its layers: after `split_kinds` they agree in type,
    /// stride and orientation) or of `head`; `None` where there is no such slot, or no layer of that kind.
    pub fn find(&self, model: &Model, section: Section, slot: &str) -> Option<&View> {
        let views = match section {
            Section::Embed => &self.embed,
            Section::Head => &self.head,
            Section::Kind(kind) => {
                let layer = model.layers.iter().position(|of| *of == kind)?;
                &self.layers[layer]
            }
        };
        views.iter().find(|view| view.slot == slot)
    }

    /// The bytes a view may read: from its first element to its last, so with the gaps between rows of a slice.
    pub fn bytes(&self, view: &View) -> &[u8] {
        &self.blobs[view.blob].as_bytes()[view.offset_bytes..view.offset_bytes + view.bytes]
    }

    /// Whether a view's bytes are there, rather than made where they are written.
    pub(crate) fn is_there(&self, view: &View) -> bool {
        !self.blobs[view.blob].as_bytes().is_empty()
    }

    /// Prepares for steps in this process, which read all weights again and again.
    pub fn settle(&mut self) {
        let mut read = vec![0; self.blobs.len()];
        self.tensors.iter().for_each(|t| read[t.blob] += t.bytes);
        for (blob, read) in self.blobs.iter_mut().zip(read) {
            // A file whose matrices were packed is read for a few vectors alone, and what is shared already is in use where it is.
            if 2 * read >= blob.as_bytes().len()
                && let Some(blob) = Arc::get_mut(blob)
            {
                blob.settle();
            }
        }
    }

    /// Bytes of tensors that lie in mapped files, which memory need not have room for.
    pub fn mapped_bytes(&self) -> usize {
        let is_mapped = |t: &&Tensor| matches!(*self.blobs[t.blob], Blob::Mapped(_));
        let mapped = self.tensors.iter().filter(is_mapped);
        mapped.map(|tensor| tensor.bytes).sum()
    }

    /// Bytes of all tensors together.
    pub fn total_bytes(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.bytes).sum()
    }
}

/// A run of bytes.
#[derive(Debug)]
pub(crate) enum Blob {
    /// A file of the checkpoint, mapped whole.
    Mapped(Mmap),
    /// Memory of our own, page-aligned: converted vectors, random weights.
    Owned(MmapMut),
    /// Random numbers that are drawn only where they are written; no bytes until then.
    Recipe(Recipe),
    /// Matrices that are packed only where they are written, from others of these blobs; no bytes until then.
    Packing(Packing),
    /// No bytes at all.
    Empty,
}

impl Blob {
    /// All bytes of the blob that are there.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Blob::Mapped(map) => map,
            Blob::Owned(map) => map,
            Blob::Recipe(_) | Blob::Packing(_) | Blob::Empty => &[],
        }
    }

    /// Makes bytes that will be read again and again quick to read: see [`pages::copy_of`].
    fn settle(&mut self) {
        if let Blob::Mapped(map) = self
            && let Some(copy) = pages::copy_of(map)
        {
            *self = Blob::Owned(copy);
        }
    }

    /// Zeroed memory of `bytes` bytes, in large pages where the system has them: with small ones a thread that streams
    /// weights waits for addresses, and reads half as much in a second. What is not there is not promised: more than is available is
    /// an error now, not the end of the process later.
    pub(crate) fn zeroed(bytes: usize) -> Result<MmapMut, WeightsError> {
        if let Some(available) = pages::available().filter(|available| *available < bytes) {
            return Err(WeightsError::NoMemoryFor { bytes, available });
        }
        let map = MmapMut::map_anon(bytes.max(1));
        let map = map.map_err(|source| WeightsError::Memory { bytes, source })?;
        // Only a wish: a kernel without large pages says no, and nothing else changes.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(map)
    }
}
