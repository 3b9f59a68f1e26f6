//! A checkpoint folder: `config.json`, and `model.safetensors` or the shards that `model.safetensors.index.json` lists.
//!
//! Files are mapped, never read into memory; other files of the folder are not weights and not looked at.

use super::blobs::Blob;
use super::error::WeightsError;
use super::file::{FileBytes, SafetensorsFile, StoredTensor, release};
use super::file_error::Unplaced;
use super::foreign::Foreign;
use super::gguf::GgufModel;
use super::header::HeaderTensor;
use super::index::{Shards, open_shards};
use super::storage::FloatType;
use crate::spec::parse_json;
use graver_runtime::files::{self, MAX_CONFIG};
use safetensors::Dtype as StoredDtype;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A folder with a model's configuration and weights.
#[derive(Debug)]
pub struct Checkpoint {
    /// The folder.
    pub dir: PathBuf,
    /// What `config.json` holds: always an object.
    pub config: Value,
    /// The weight files, in the order of their names.
    pub files: Vec<SafetensorsFile>,
    /// Tensors by name.
    pub tensors: BTreeMap<String, StoredTensor>,
    /// Tensors of the index or of shards that cannot be read, and why.
    pub unplaced: BTreeMap<String, Unplaced>,
    /// Whether blocks of integers may go into packed layouts that hold the same values, whose products round their other
    /// operand; all of them become floats otherwise.
    pub packs: bool,
    /// Whether nothing is converted, since nobody will read the weights.
    pub is_shape: bool,
}

impl Checkpoint {
    /// A checkpoint that the program carries: the bytes of `config.json` and of `model.safetensors`, which are copied to
    /// aligned memory. `name` is what messages call it.
    pub fn from_bytes(
        name: &str,
        config: &[u8],
        weights: &[u8],
    ) -> Result<Checkpoint, WeightsError> {
        let dir = PathBuf::from(name);
        let config = parse_object(&dir.join(CONFIG), config)?;
        let mut memory = Blob::zeroed(weights.len())?;
        memory[..weights.len()].copy_from_slice(weights);
        let file = SafetensorsFile::check(dir.join(SINGLE), FileBytes::Held(memory))?;
        Ok(Checkpoint::of(dir, config, of_single(file)))
    }

    /// Opens the checkpoint in `dir`: reads the configuration, maps the weights, checks all headers.
    pub fn open(dir: &Path) -> Result<Checkpoint, WeightsError> {
        let config = read_object(&dir.join(CONFIG))?;
        let single = dir.join(SINGLE);
        let index = dir.join(INDEX);
        let shards = if files::is_there(&single) {
            of_single(SafetensorsFile::open(&single)?)
        } else if files::is_there(&index) {
            open_shards(dir, &index)?
        } else {
            return Err(WeightsError::NoWeights {
                dir: dir.to_path_buf(),
                instead: Foreign::find(dir),
            });
        };
        Ok(Checkpoint::of(dir.to_path_buf(), config, shards))
    }

    fn of(dir: PathBuf, config: Value, shards: Shards) -> Checkpoint {
        Checkpoint {
            dir,
            config,
            files: shards.files,
            tensors: shards.tensors,
            unplaced: shards.unplaced,
            packs: false,
            is_shape: false,
        }
    }

    /// A model in GGUF files, and the config that it stands for. Where `packs` is set, blocks of integers may go into packed
    /// layouts that hold the same values.
    pub fn of_gguf(model: GgufModel, config: Value, packs: bool) -> Checkpoint {
        let tensors = model.tensors().map(|(file, t)| {
            let (dtype, storage) = match t.storage.float() {
                Some(FloatType::F32) => (StoredDtype::F32, None),
                Some(FloatType::F16) => (StoredDtype::F16, None),
                Some(FloatType::Bf16) => (StoredDtype::BF16, None),
                None => (StoredDtype::U8, Some(t.storage)),
            };
            let header = HeaderTensor {
                name: t.name.clone(),
                dtype,
                shape: t.shape.clone(),
                offset_bytes: t.offset_bytes,
                bytes: t.bytes,
            };
            let stored = StoredTensor {
                file,
                header,
                listed: true,
                storage,
            };
            (t.name.clone(), stored)
        });
        let tensors = tensors.collect();
        let dir = model.files[0].path.clone();
        let files = model.files.into_iter().map(|file| SafetensorsFile {
            path: file.path,
            bytes: file.bytes,
            tensors: BTreeMap::new(),
        });
        Checkpoint {
            dir,
            config,
            files: files.collect(),
            tensors,
            unplaced: BTreeMap::new(),
            packs,
            is_shape: false,
        }
    }

    /// Lets go of the memory of a tensor that was read.
    pub(super) fn release(&self, name: &str) {
        let Some(stored) = self.tensors.get(name) else {
            return;
        };
        if let FileBytes::Mapped(map) = &self.files[stored.file].bytes {
            let HeaderTensor {
                offset_bytes,
                bytes,
                ..
            } = stored.header;
            release(map, offset_bytes, offset_bytes + bytes);
        }
    }

    /// Whether `dir` has weights, whole or not.
    pub fn has_weights(dir: &Path) -> bool {
        [SINGLE, INDEX]
            .iter()
            .any(|name| files::is_there(&dir.join(name)))
    }
}

/// A checkpoint in one file.
fn of_single(file: SafetensorsFile) -> Shards {
    let stored = |(name, header): (&String, &HeaderTensor)| {
        (
            name.clone(),
            StoredTensor {
                file: 0,
                header: header.clone(),
                listed: true,
                storage: None,
            },
        )
    };
    Shards {
        tensors: file.tensors.iter().map(stored).collect(),
        files: vec![file],
        unplaced: BTreeMap::new(),
    }
}

fn read_object(path: &Path) -> Result<Value, WeightsError> {
    parse_object(path, &files::read(path, MAX_CONFIG)?)
}

fn parse_object(path: &Path, text: &[u8]) -> Result<Value, WeightsError> {
    let value = parse_json(text).map_err(|source| WeightsError::Json {
        path: path.to_path_buf(),
        source,
    })?;
    let found = match value {
        Value::Object(_) => return Ok(value),
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
    };
    Err(WeightsError::JsonNotObject {
        path: path.to_path_buf(),
        found,
    })
}
