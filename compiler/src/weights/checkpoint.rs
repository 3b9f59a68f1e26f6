//! A checkpoint folder: `config.json`, and `model.safetensors` or the shards that `model.safetensors.index.json` lists.
//!
//! Files are mapped, never read into memory; other files of the folder are not weights and not looked at.

use super::blobs::Blob;
use super::error::WeightsError;
use super::file::{FileBytes, SafetensorsFile, StoredTensor};
use super::file_error::Unplaced;
use super::foreign::Foreign;
use super::header::HeaderTensor;
use super::index::{Shards, open_shards};
use crate::spec::parse_json;
use graver_runtime::files::{self, MAX_CONFIG};
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
