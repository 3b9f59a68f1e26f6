//! A checkpoint folder: `config.json`, and `model.safetensors` or the shards that `model.safetensors.index.json` lists.
//!
//! Files are mapped, never read into memory; other files of the folder are not weights and not looked at.

use super::Blob;
use super::error::{IndexError, WeightsError};
use super::header::{HeaderTensor, parse_header};
use super::nearest::nearest;
use crate::spec::parse_json;
use graver_runtime::pages;
use memmap2::{Mmap, MmapMut};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::ops::Deref;
use std::path::{Component, Path, PathBuf};

const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Largest `config.json` or index that is read, in bytes; real ones are under 10 MB.
const MAX_JSON: u64 = 64 << 20;

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
}

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor {
    /// Index into [`Checkpoint::files`].
    pub file: usize,
    /// Type, shape and place in the file.
    pub header: HeaderTensor,
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
        let (files, tensors) = of_single(file);
        Ok(Checkpoint {
            dir,
            config,
            files,
            tensors,
        })
    }

    /// Opens the checkpoint in `dir`: reads the configuration, maps the weights, checks all headers.
    pub fn open(dir: &Path) -> Result<Checkpoint, WeightsError> {
        let config = read_object(&dir.join(CONFIG))?;
        let single = dir.join(SINGLE);
        let index = dir.join(INDEX);
        let (files, tensors) = if single.exists() {
            open_single(&single)?
        } else if index.exists() {
            open_shards(dir, &index)?
        } else {
            return Err(WeightsError::NoWeights {
                dir: dir.to_path_buf(),
                hint: other_formats(dir),
            });
        };
        Ok(Checkpoint {
            dir: dir.to_path_buf(),
            config,
            files,
            tensors,
        })
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

type Opened = (Vec<SafetensorsFile>, BTreeMap<String, StoredTensor>);

fn open_single(path: &Path) -> Result<Opened, WeightsError> {
    Ok(of_single(SafetensorsFile::open(path)?))
}

fn of_single(file: SafetensorsFile) -> Opened {
    let stored = |(name, header): (&String, &HeaderTensor)| {
        (
            name.clone(),
            StoredTensor {
                file: 0,
                header: header.clone(),
            },
        )
    };
    let tensors = file.tensors.iter().map(stored).collect();
    (vec![file], tensors)
}

fn open_shards(dir: &Path, index: &Path) -> Result<Opened, WeightsError> {
    let bad_index = |problem| WeightsError::Index {
        path: index.to_path_buf(),
        problem,
    };
    let listed = tensors_by_shard(&read_object(index)?).map_err(bad_index)?;
    let (mut files, mut tensors) = (Vec::new(), BTreeMap::new());
    for (shard, names) in listed {
        let path = dir.join(&shard);
        if !path.exists() {
            let problem = IndexError::MissingShard {
                file: shard,
                tensor: names[0].clone(),
                tensors: names.len(),
            };
            return Err(bad_index(problem));
        }
        let file = SafetensorsFile::open(&path)?;
        for name in names {
            let Some(header) = file.tensors.get(&name) else {
                let nearest = nearest(
                    std::slice::from_ref(&name),
                    file.tensors.keys().map(String::as_str),
                );
                return Err(bad_index(IndexError::NotInShard {
                    tensor: name,
                    file: shard,
                    nearest,
                }));
            };
            tensors.insert(
                name,
                StoredTensor {
                    file: files.len(),
                    header: header.clone(),
                },
            );
        }
        files.push(file);
    }
    Ok((files, tensors))
}

/// The index's tensors, by the file that should hold them; no file has an empty list.
fn tensors_by_shard(index: &Value) -> Result<BTreeMap<String, Vec<String>>, IndexError> {
    let map = index
        .get("weight_map")
        .and_then(Value::as_object)
        .filter(|map| !map.is_empty())
        .ok_or(IndexError::NoWeightMap)?;
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, file) in map {
        match file.as_str().filter(|file| is_plain_name(file)) {
            Some(file) => shards
                .entry(file.to_string())
                .or_default()
                .push(tensor.clone()),
            None => {
                let found = file
                    .as_str()
                    .map_or_else(|| file.to_string(), str::to_string);
                return Err(IndexError::BadFileName {
                    tensor: tensor.clone(),
                    found,
                });
            }
        }
    }
    Ok(shards)
}

/// Whether a path stays in the folder it is joined to: an index must not reach for files elsewhere.
fn is_plain_name(file: &str) -> bool {
    let mut parts = Path::new(file).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == file)
}

/// What other weights lie in the folder, in words.
fn other_formats(dir: &Path) -> Option<&'static str> {
    let names: Vec<String> = fs::read_dir(dir)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let has = |end: &str| names.iter().any(|name| name.ends_with(end));
    if has(".bin") || has(".pt") || has(".pth") {
        Some("the folder has pickled weights, which are not read: convert them to safetensors")
    } else if has(".safetensors") {
        Some(
            "the folder has other .safetensors files: rename the weights to model.safetensors, or add the index",
        )
    } else {
        None
    }
}

fn read_object(path: &Path) -> Result<Value, WeightsError> {
    let (file, bytes) = open_regular(path)?;
    if bytes > MAX_JSON {
        return Err(WeightsError::JsonTooLarge {
            path: path.to_path_buf(),
            bytes,
            limit: MAX_JSON,
        });
    }
    let mut text = Vec::new();
    file.take(MAX_JSON)
        .read_to_end(&mut text)
        .map_err(io(path, "read"))?;
    parse_object(path, &text)
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

fn map_file(path: &Path) -> Result<Mmap, WeightsError> {
    let (file, _) = open_regular(path)?;
    // SAFETY: the map is read-only and private. The bytes are only as constant as the file: whoever changes a
    // checkpoint in place while it is in use changes weights under the model, and who truncates it gets SIGBUS, as
    // with every program that maps files. Offsets are checked against the length mapped here.
    let map = unsafe { Mmap::map(&file) }.map_err(io(path, "map"))?;
    pages::advise(&map);
    Ok(map)
}

/// Opens a plain file (through links), and says how long it is. A pipe would block, a folder fails later and worse.
fn open_regular(path: &Path) -> Result<(File, u64), WeightsError> {
    let metadata = fs::metadata(path).map_err(io(path, "open"))?;
    if !metadata.is_file() {
        return Err(WeightsError::NotAFile {
            path: path.to_path_buf(),
        });
    }
    let file = File::open(path).map_err(io(path, "open"))?;
    Ok((file, metadata.len()))
}

fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> WeightsError {
    let path = path.to_path_buf();
    move |source| WeightsError::Io {
        path,
        action,
        source,
    }
}
