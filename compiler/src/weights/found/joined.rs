//! Finds the tensors of a matrix whose heads are put together from several.

use graver_runtime::abi::Dtype;

use super::{ALIGNMENT, Found, misshapen, same_shape};
use crate::spec::model::{Joined, Weight};
use crate::weights::checkpoint::Checkpoint;
use crate::weights::error::WeightsError;
use crate::weights::joined::{Elements, Joint, Joints};
use crate::weights::nearest::nearest;
use crate::weights::published::Widen;
use crate::weights::resolve::{At, Layout};
use crate::weights::view::{Tensor, View};
use crate::weights::widen::Conversion;

impl Found {
    /// A matrix put together in f32, where converted ones go.
    pub(super) fn joined(
        &mut self,
        checkpoint: &Checkpoint,
        (weight, joined): (&Weight, &Joined),
        label: &str,
        at: At,
    ) -> Result<View, WeightsError> {
        let columns = weight.shape[1];
        let mut parts = vec![];
        for part in &joined.parts {
            let layer = at.layer.map(|layer| layer.to_string()).unwrap_or_default();
            let name = part.tensor.replace("{i}", &layer);
            let Some(stored) = checkpoint.tensors.get(&name) else {
                let tried = vec![name];
                let nearest = nearest(&tried, checkpoint.tensors.keys().map(String::as_str));
                return Err(WeightsError::MissingTensor {
                    slot: label.to_string(),
                    tried,
                    nearest,
                });
            };
            let expected = match part.transposed {
                true => vec![joined.heads, columns, part.rows],
                false => vec![joined.heads, part.rows, columns],
            };
            let header = &stored.header;
            if !same_shape(&header.shape, &expected, expected.len()) {
                return Err(misshapen(&name, label, weight, &header.shape, expected));
            }
            parts.push(Joint {
                rows: part.rows,
                transposed: part.transposed,
                elements: Elements::of(header, stored.storage, label)?,
                name,
            });
        }
        let names = parts.iter().map(|part| part.name.clone());
        self.used.extend(names.clone());
        self.expected.extend(names);
        let (offset_bytes, bytes) = (self.converted_bytes, weight.shape[0] * columns * 4);
        self.converted_bytes = (offset_bytes + bytes).next_multiple_of(ALIGNMENT);
        let name = parts[0].name.clone();
        self.conversions.push(Conversion {
            name: name.clone(),
            how: Widen::Joined(Joints { columns, parts }),
            offset_bytes,
            bytes,
        });
        self.tensors.push(Tensor {
            name,
            blob: checkpoint.files.len(),
            offset_bytes,
            bytes,
        });
        let tensor = self.tensors.len() - 1;
        let layout = Layout::of(weight, label, None, None)?;
        Ok(layout.view(weight, tensor, &self.tensors[tensor], Dtype::F32))
    }
}
