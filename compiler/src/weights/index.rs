//! The index of a checkpoint in shards, and the tensors of the shards that it lists.
//!
//! Which tensors a checkpoint has, its shards say; the index says only which files are shards, and which of two is meant
//! where both hold a tensor. Indexes go stale: they list tensors that were taken out, and lack some that were put in. So a
//! tensor that a shard holds is there whether it is listed or not, and one that no shard holds, or several, is an error only
//! where it is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Component, Path};

use graver_runtime::files;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::error::WeightsError;
use super::file::{SafetensorsFile, StoredTensor};
use super::file_error::{IndexError, Unplaced};
use super::name::Name;
use crate::spec::in_json;

/// Most entries of an index: ten times those of the largest checkpoints.
const MAX_ENTRIES: usize = 1 << 20;

/// The shards of a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Shards {
    /// In the order of their names.
    pub(super) files: Vec<SafetensorsFile>,
    pub(super) tensors: BTreeMap<String, StoredTensor>,
    /// Tensors that are not there, or not in one place.
    pub(super) unplaced: BTreeMap<String, Unplaced>,
}

/// Opens all shards that the index at `path` lists, which lie in `dir`.
pub(super) fn open_shards(dir: &Path, path: &Path) -> Result<Shards, WeightsError> {
    let bad_index = |problem| WeightsError::Index {
        path: path.to_path_buf(),
        problem,
    };
    let index = Index::parse(&files::read(path, files::MAX_CONFIG)?).map_err(bad_index)?;
    let mut files = vec![];
    for (shard, tensors) in &index.by_shard {
        let path = dir.join(shard);
        if !files::is_there(&path) {
            return Err(bad_index(IndexError::MissingShard {
                file: shard.clone(),
                tensor: tensors[0].clone(),
                tensors: tensors.len(),
            }));
        }
        files.push(SafetensorsFile::open(&path)?);
    }
    Ok(index.place(files))
}

/// What an index says.
struct Index {
    /// The tensors that should be in each shard; no list is empty.
    by_shard: BTreeMap<String, Vec<String>>,
}

impl Index {
    fn parse(text: &[u8]) -> Result<Index, IndexError> {
        let raw: RawIndex = serde_json::from_slice(text).map_err(IndexError::Json)?;
        let RawMap(entries) = raw.weight_map.ok_or(IndexError::NoWeightMap)?;
        let mut by_shard: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (tensor, file) in entries {
            match file.as_str().filter(|file| is_plain_name(file)) {
                Some(file) => by_shard.entry(file.into()).or_default().push(tensor),
                None => {
                    let name = file.as_str().map(|name| Name(name).to_string());
                    let found = name.unwrap_or_else(|| in_json(&file));
                    return Err(IndexError::BadFileName { tensor, found });
                }
            }
        }
        match by_shard.is_empty() {
            true => Err(IndexError::NoWeightMap),
            false => Ok(Index { by_shard }),
        }
    }

    /// Finds every tensor of `files`, the shards in order.
    fn place(&self, files: Vec<SafetensorsFile>) -> Shards {
        let names: Vec<&String> = self.by_shard.keys().collect();
        let mut said: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for (file, tensors) in self.by_shard.values().enumerate() {
            for tensor in tensors {
                said.entry(tensor).or_default().insert(file);
            }
        }
        let mut held: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (file, shard) in files.iter().enumerate() {
            for tensor in shard.tensors.keys() {
                held.entry(tensor).or_default().push(file);
            }
        }
        let (mut tensors, mut unplaced) = (BTreeMap::new(), BTreeMap::new());
        for (name, holders) in &held {
            let of_index = said.get(name);
            let meant = |file: &usize| of_index.is_some_and(|said| said.contains(file));
            let found = match holders.iter().any(meant) {
                true => holders.iter().copied().filter(meant).collect(),
                false => holders.clone(),
            };
            if let [file] = found[..] {
                let stored = StoredTensor {
                    file,
                    header: files[file].tensors[*name].clone(),
                    listed: of_index.is_some(),
                    storage: None,
                };
                tensors.insert(name.to_string(), stored);
            } else {
                let files = found.iter().map(|file| names[*file].clone()).collect();
                unplaced.insert(name.to_string(), Unplaced::Several { files });
            }
        }
        for (name, said) in &said {
            if let (None, Some(file)) = (held.get(name), said.first()) {
                let file = names[*file].clone();
                unplaced.insert(name.to_string(), Unplaced::Nowhere { file });
            }
        }
        Shards {
            files,
            tensors,
            unplaced,
        }
    }
}

/// Whether a path stays in the folder it is joined to: an index must not reach for files elsewhere.
fn is_plain_name(file: &str) -> bool {
    let mut parts = Path::new(file).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == file)
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct RawIndex {
    weight_map: Option<RawMap>,
}

/// The entries of a map in their order, duplicates included.
struct RawMap(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for RawMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawMap, D::Error> {
        deserializer.deserialize_map(RawMapVisitor)
    }
}

struct RawMapVisitor;

impl<'de> Visitor<'de> for RawMapVisitor {
    type Value = RawMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object from tensor names to file names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawMap, A::Error> {
        let mut entries = vec![];
        while let Some(entry) = map.next_entry()? {
            if entries.len() == MAX_ENTRIES {
                return Err(A::Error::custom(format!("more than {MAX_ENTRIES} tensors")));
            }
            entries.push(entry);
        }
        Ok(RawMap(entries))
    }
}
