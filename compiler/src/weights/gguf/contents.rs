//! What is in a model's files, counted.

use std::collections::BTreeMap;

use serde::Serialize;

use super::model::GgufModel;

/// Tensors of one type.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TypeCount {
    /// What the format calls it: `Q4_K`.
    pub name: &'static str,
    /// How many there are.
    pub tensors: usize,
    /// Their bytes in the files.
    pub bytes: u64,
}

impl GgufModel {
    /// All types of tensors, the one with the most bytes first.
    pub fn types(&self) -> Vec<TypeCount> {
        let mut all: BTreeMap<&str, TypeCount> = BTreeMap::new();
        for (_, tensor) in self.tensors() {
            let name = tensor.storage.name;
            let (tensors, bytes) = (0, 0);
            let entry = all.entry(name).or_insert(TypeCount {
                name,
                tensors,
                bytes,
            });
            entry.tensors += 1;
            entry.bytes += tensor.bytes as u64;
        }
        let mut all: Vec<TypeCount> = all.into_values().collect();
        all.sort_by_key(|t| std::cmp::Reverse(t.bytes));
        all
    }

    /// The numbers, flags and texts of the metadata, as text: long texts cut, lists by their length.
    pub fn keys(&self) -> Vec<(String, String)> {
        let first = &self.files[0];
        let metadata = &first.header.metadata;
        let keys = metadata.keys();
        let shown = keys.map(|key| (key.into(), metadata.shown(&first.bytes, key)));
        shown.collect()
    }
}
