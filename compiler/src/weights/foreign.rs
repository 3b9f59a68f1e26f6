//! What there is in place of weights that can be read: in a folder, and in a file. For messages only.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use graver_runtime::files::{self, shown};
use serde_json::Value;

use super::name::Name;

/// Entries of a folder that are looked at.
const MOST_ENTRIES: usize = 1000;
/// Largest `adapter_config.json` that is read for a message, in bytes.
const MAX_ADAPTER_CONFIG: u64 = 1 << 20;

/// What lies in a folder that has no weights to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// Changes to the weights of another model.
    Adapter {
        /// Its file, where it is there.
        file: PathBuf,
        /// `LORA`.
        kind: Option<String>,
        /// The model that it changes.
        base: Option<String>,
    },
    /// Shards without their index.
    Shards {
        /// One of them.
        file: PathBuf,
    },
    /// Safetensors files under other names.
    OtherNames {
        /// The first.
        file: PathBuf,
        /// How many there are.
        files: usize,
    },
    /// A format of PyTorch, which is a program that builds objects.
    Pickled {
        /// The first file.
        file: PathBuf,
    },
    /// A GGUF file.
    Gguf {
        /// The first.
        file: PathBuf,
    },
    /// Weights of another framework.
    Framework {
        /// The first file.
        file: PathBuf,
    },
}

impl Foreign {
    /// Looks into `folder`.
    pub fn find(folder: &Path) -> Option<Foreign> {
        let entries = fs::read_dir(folder).ok()?.take(MOST_ENTRIES);
        let names = entries.filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())));
        let mut names: Vec<PathBuf> = names.collect();
        names.sort();
        let all = |is_it: fn(&Path) -> bool| names.iter().filter(move |name| is_it(name));
        let first = |is_it| all(is_it).next().cloned();
        if let Some(file) = first(is_adapter).or_else(|| first(is_adapter_config)) {
            return Some(adapter(folder, file));
        }
        if let Some(file) = first(is_shard) {
            return Some(Foreign::Shards { file });
        }
        if let Some(file) = first(is_safetensors) {
            let files = all(is_safetensors).count();
            return Some(Foreign::OtherNames { file, files });
        }
        let pickled = first(is_pickled).map(|file| Foreign::Pickled { file });
        let gguf = || first(is_gguf).map(|file| Foreign::Gguf { file });
        let other = || first(is_of_framework).map(|file| Foreign::Framework { file });
        pickled.or_else(gguf).or_else(other)
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Foreign::Adapter { file, kind, base } => {
                let kind = kind.as_ref().map_or("an".into(), |kind| article(kind));
                write!(f, "{} is {kind} adapter", shown(file))?;
                match base {
                    Some(base) => write!(f, " of {}", Name(base))?,
                    None => write!(f, " of another model")?,
                }
                f.write_str(", not a model: merge it into that model's weights")
            }
            Foreign::Shards { file } => write!(
                f,
                "{} is a shard, and their index is missing: fetch model.safetensors.index.json",
                shown(file)
            ),
            Foreign::OtherNames { file, files: 1 } => {
                write!(
                    f,
                    "rename {} to model.safetensors if it is the model",
                    shown(file)
                )
            }
            Foreign::OtherNames { file, files } => write!(
                f,
                "{} and {} more have other names: rename the model's to model.safetensors, or add an index",
                shown(file),
                files - 1
            ),
            Foreign::Pickled { file } => write!(
                f,
                "{} is a pickle, which can run any code and is not read: convert it to model.safetensors",
                shown(file)
            ),
            Foreign::Gguf { file } => write!(
                f,
                "{} is a GGUF file: give that in place of the folder",
                shown(file)
            ),
            Foreign::Framework { file } => write!(
                f,
                "{} is another framework's, and not read: fetch the model as safetensors",
                shown(file)
            ),
        }
    }
}

/// `LORA` as `a LoRA`; other kinds as they are written.
fn article(kind: &str) -> String {
    match kind {
        "LORA" => "a LoRA".into(),
        _ => format!("a {}", Name(kind)),
    }
}

fn adapter(folder: &Path, file: PathBuf) -> Foreign {
    let config = files::read(&folder.join("adapter_config.json"), MAX_ADAPTER_CONFIG).ok();
    let config: Option<Value> = config.and_then(|text| serde_json::from_slice(&text).ok());
    let text = |key| Some(config.as_ref()?.get(key)?.as_str()?.to_string());
    Foreign::Adapter {
        file,
        kind: text("peft_type"),
        base: text("base_model_name_or_path").filter(|base| !base.is_empty()),
    }
}

fn is_adapter(name: &Path) -> bool {
    name.file_stem().is_some_and(|stem| stem == "adapter_model")
}

fn is_adapter_config(name: &Path) -> bool {
    name == Path::new("adapter_config.json")
}

fn is_safetensors(name: &Path) -> bool {
    has_extension(name, &["safetensors"])
}

/// `model-00001-of-00005.safetensors`.
fn is_shard(name: &Path) -> bool {
    let stem = name.file_stem().and_then(OsStr::to_str).unwrap_or("");
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let numbers = stem.rsplit_once("-of-");
    let numbers = numbers.and_then(|(start, of)| Some((start.rsplit_once('-')?.1, of)));
    is_safetensors(name) && numbers.is_some_and(|(n, of)| number(n) && number(of))
}

fn is_pickled(name: &Path) -> bool {
    // What training leaves beside a model is not a model.
    const STATES: [&str; 4] = ["training_args", "optimizer", "scheduler", "rng_state"];
    let stem = name.file_stem().and_then(OsStr::to_str).unwrap_or("");
    let is_state = STATES.iter().any(|state| stem.starts_with(state));
    has_extension(name, &["bin", "pt", "pth", "ckpt", "pkl"]) && !is_state
}

fn is_gguf(name: &Path) -> bool {
    has_extension(name, &["gguf", "ggml"])
}

fn is_of_framework(name: &Path) -> bool {
    has_extension(name, &["onnx", "h5", "msgpack", "npz", "tflite"])
}

fn has_extension(name: &Path, extensions: &[&str]) -> bool {
    let found = name.extension().and_then(OsStr::to_str);
    found.is_some_and(|found| extensions.contains(&found.to_ascii_lowercase().as_str()))
}

/// What a file is that is not safetensors, by its first bytes.
pub(super) fn format_of(file: &[u8]) -> Option<String> {
    const MARKS: [(&[u8], &str); 7] = [
        (b"GGUF", "a GGUF file"),
        (b"PK\x03\x04", "a zip archive, as of pickled weights"),
        (b"\x80\x02", "a pickle"),
        (b"\x80\x04", "a pickle"),
        (b"\x89HDF", "an HDF5 file"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    ];
    let marked = MARKS.iter().find(|(mark, _)| file.starts_with(mark));
    marked
        .map(|(_, what)| what.to_string())
        .or_else(|| text_of(file))
}

/// A text, such as the page that a server sends in place of a file.
fn text_of(file: &[u8]) -> Option<String> {
    const SHOWN: usize = 40;
    let start = &file[..file.len().min(SHOWN)];
    let is_text = |b: &u8| b.is_ascii_graphic() || b.is_ascii_whitespace();
    let text = std::str::from_utf8(start).ok()?;
    let line = text.lines().next().unwrap_or("");
    let shown = start.len() >= 8 && start.iter().all(is_text);
    shown.then(|| format!("a text that begins with {line:?}"))
}
