//! What became floats because no kernel reads it as it is stored.

use std::collections::BTreeMap;

use crate::weights::blobs::Widened;
use crate::weights::checkpoint::Checkpoint;
use crate::weights::published::Widen;
use crate::weights::storage::StorageType;
use crate::weights::widen::Conversion;

/// Which of the conversions make floats of blocks, summed up by type.
pub(super) fn widened(checkpoint: &Checkpoint, conversions: &[Conversion]) -> Vec<Widened> {
    let mut all: BTreeMap<&'static str, Widened> = BTreeMap::new();
    for c in conversions {
        let name = match &c.how {
            Widen::Blocked(StorageType { name, .. }) => *name,
            Widen::Integers(matrix, None) => matrix.storage(),
            Widen::Integers(_, Some(_))
            | Widen::Float(_)
            | Widen::Logarithm(_)
            | Widen::Gathered { .. }
            | Widen::Whole { .. }
            | Widen::Blocks { .. }
            | Widen::Packed { .. }
            | Widen::Joined(_)
            | Widen::Panels(..) => continue,
        };
        let of_type = all.entry(name).or_insert(Widened {
            storage: name,
            tensors: 0,
            stored_bytes: 0,
            held_bytes: 0,
        });
        of_type.tensors += 1;
        of_type.stored_bytes += checkpoint.tensors[&c.name].header.bytes;
        of_type.held_bytes += c.bytes;
    }
    all.into_values().collect()
}
