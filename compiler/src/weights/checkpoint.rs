//! A checkpoint folder: `config.json`, and `model.safetensors` or the shards that `model.safetensors.index.json` lists.
//!
//! Files are mapped, never read into memory; other files of the folder are not weights and not looked at.

use super::Blob;
use super::error::WeightsError;
use super::foreign::Foreign;
use super::header::{HeaderTensor, parse_header};
use super::index::{Shards, Unplaced, open_shards};
use crate::spec::parse_json;
use graver_runtime::files::{self, FileError, MAX_CONFIG};
use graver_runtime::pages;
use memmap2::{Mmap, MmapMut};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Deref;
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

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor {
    /// Index into [`Checkpoint::files`].
    pub file: usize,
    /// Type, shape and place in the file.
    pub header: HeaderTensor,
    /// Whether the index lists it, where there is one.
    pub listed: bool,
}

/// A safetensors file whose header has been checked.
#[derive(Debug)]
pub struct SafetensorsFile {
    /// The file.
    pub path: PathBuf,
    /// All its bytes.
    pub bytes: FileBytes,
    /// Its tensors by name.
    pub tensors: BTreeMap<String, HeaderTensor>,
}

/// Where the bytes of a file are.
#[derive(Debug)]
pub enum FileBytes {
    /// Mapped.
    Mapped(Mmap),
    /// In memory: of a file that the program carries.
    Held(MmapMut),
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            FileBytes::Mapped(map) => map,
            FileBytes::Held(memory) => memory,
        }
    }
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

impl SafetensorsFile {
    /// Maps `path` and checks its header.
    pub fn open(path: &Path) -> Result<SafetensorsFile, WeightsError> {
        SafetensorsFile::check(path.to_path_buf(), FileBytes::Mapped(map_file(path)?))
    }

    fn check(path: PathBuf, bytes: FileBytes) -> Result<SafetensorsFile, WeightsError> {
        let tensors = parse_header(&bytes).map_err(|problem| WeightsError::Header {
            path: path.clone(),
            problem,
        })?;
        let tensors = tensors
            .into_iter()
            .map(|tensor| (tensor.name.clone(), tensor))
            .collect();
        Ok(SafetensorsFile {
            path,
            bytes,
            tensors,
        })
    }

    /// The bytes of one of the file's tensors.
    pub fn bytes(&self, tensor: &HeaderTensor) -> &[u8] {
        &self.bytes[tensor.offset_bytes..tensor.offset_bytes + tensor.bytes]
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

pub(super) fn map_file(path: &Path) -> Result<Mmap, WeightsError> {
    let (file, _) = files::open(path)?;
    // SAFETY: the map is read-only and private. The bytes are only as constant as the file: whoever changes a
    // checkpoint in place while it is in use changes weights under the model, and who truncates it gets SIGBUS, as
    // with every program that maps files. Offsets are checked against the length mapped here.
    let map = unsafe { Mmap::map(&file) }.map_err(|source| FileError::Io {
        path: path.to_path_buf(),
        action: "map",
        source,
    })?;
    pages::advise(&map);
    Ok(map)
}
