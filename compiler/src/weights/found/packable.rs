//! Which packed layout a weight's integers go into without loss.

use graver_runtime::abi::Quant;

use super::{Found, as_stored};
use crate::spec::model::{Model, Weight};
use crate::walk::{Role, Slot};
use crate::weights::blocked::Rows;
use crate::weights::checkpoint::Checkpoint;
use crate::weights::error::WeightsError;
use crate::weights::integer_rows::IntegerRows;
use crate::weights::published::Stored;
use crate::weights::resolve::{At, Layout, candidates};

impl Found {
    /// The layout that holds the same values as a tensor, if there is one, and what a slot reads of it are rows that begin with a
    /// panel, for products or to be looked up.
    pub(super) fn packable(
        &mut self,
        checkpoint: &Checkpoint,
        (slot, label, name): (&Slot<'_>, &str, &str),
        stored: &Stored<'_>,
        layout: &Layout,
        weight: &Weight,
    ) -> Result<Option<Quant>, WeightsError> {
        let is_product = matches!(slot.role, Role::Matrix | Role::Table);
        if !checkpoint.packs || !is_product || layout.first_panel(weight).is_none() {
            return Ok(None);
        }
        if let Stored::Integers(_) = stored {
            let integers = self.published.integers().expect("they were found by it");
            let matrix = integers.matrix(checkpoint, name, &layout.stored, label)?;
            let is_one_of_many = weight.family.is_some();
            return Ok(IntegerRows::of(checkpoint, &matrix).packable(is_one_of_many));
        }
        let (Some(storage), header) = (stored.storage(), stored.header()) else {
            return Ok(None);
        };
        // All experts of a tensor ask for it.
        let packable = self.packable.entry(header.name.clone());
        Ok(*packable.or_insert_with(|| {
            let bytes = checkpoint.files[checkpoint.tensors[&header.name].file].bytes(header);
            Rows::of(storage, bytes, &header.shape).packable()
        }))
    }

    /// The layout that all experts of a family go into, each of which has a tensor of its own: none where one of them does not,
    /// since generated code reads them alike.
    pub(super) fn alike(
        &mut self,
        checkpoint: &Checkpoint,
        model: &Model,
        slot: &Slot<'_>,
        label: &str,
        at: At,
    ) -> Result<Option<Quant>, WeightsError> {
        let mut alike = None;
        for expert in 0..slot.weight.count() {
            let at = At {
                expert: Some(expert),
                ..at
            };
            let tried = candidates(model, slot.weight, at);
            let there = |name: &str| self.published.stored(checkpoint, name).is_some();
            let Some(found) = tried.into_iter().find(|c| there(&c.name)) else {
                return Ok(None);
            };
            let stored = self.published.stored(checkpoint, &found.name);
            let stored = stored.expect("just found");
            let weight = as_stored(found.weight, &stored);
            let layout = Layout::of(&weight, label, at.layer, found.stack)?;
            let place = (slot, label, found.name.as_str());
            let quant = self.packable(checkpoint, place, &stored, &layout, &weight)?;
            if quant.is_none() || alike.is_some_and(|alike| alike != quant) {
                return Ok(None);
            }
            alike = Some(quant);
        }
        Ok(alike.flatten())
    }
}
