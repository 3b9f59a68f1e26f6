//! What stands for a model (a folder, a file, a name), and, where nothing does, what was probably meant.
//!
//! In: a path or a name as a user writes it. Out: where the model comes from. Folders and files go before names; nothing is read
//! but what is needed to tell one thing from another.

mod hub;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use graver_runtime::files::{self, FileError, is_there, shown};
use serde_json::Value;

use crate::spec::{self, Spec, SpecSource};
use crate::weights::Foreign;

/// Where a model comes from.
#[derive(Clone, Debug)]
pub enum Named {
    /// Inside the program.
    Embedded,
    /// A checkpoint folder.
    Folder(PathBuf),
    /// A GGUF file.
    Gguf(PathBuf),
    /// A spec, with random weights, and the preset that was named with it (`llama:3.1-8b`).
    Spec(Spec, Option<String>),
}

impl Named {
    /// What it is, in words.
    pub fn what(&self) -> &'static str {
        match self {
            Named::Embedded => "the built-in model",
            Named::Folder(_) => "a checkpoint folder",
            Named::Gguf(_) => "a GGUF file",
            Named::Spec(..) => "a spec",
        }
    }
}

/// A name that does not stand for a model.
#[derive(Debug, thiserror::Error)]
pub enum NamedError {
    /// A name without a folder before it, which nothing has.
    #[error(
        "{}: neither a checkpoint folder nor a spec{}; expected a folder with a config.json, a .gguf file, a spec's .json file, owner/name of a model in Hugging Face's cache, or a built-in spec, which `graver specs` lists",
        shown(model),
        nearest.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default()
    )]
    Unknown {
        /// What was given.
        model: PathBuf,
        /// The most similar built-in spec.
        nearest: Option<String>,
    },
    /// A path at which nothing is.
    #[error(
        "{}: no such file or folder; expected a checkpoint folder, a .gguf file or a spec's .json file. Graver downloads nothing: fetch a model from a hub first (hf download OWNER/NAME)",
        shown(path)
    )]
    NotThere {
        /// The path.
        path: PathBuf,
    },
    /// Something is there, and cannot be looked at.
    #[error("{}: cannot be opened: {source}", shown(path))]
    Closed {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A link to nothing.
    #[error(
        "{}: a broken link to {}; use the folder or file itself",
        shown(path),
        shown(target)
    )]
    BrokenLink {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A file of weights, without what describes them.
    #[error(
        "{}: a weights file; expected its folder, with a config.json",
        shown(path)
    )]
    WeightFile {
        /// The file.
        path: PathBuf,
    },
    /// A format that is not read.
    #[error(
        "{}: {what}, which cannot be read; expected a checkpoint folder with a config.json and .safetensors files",
        shown(path)
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its format, in words.
        what: &'static str,
    },
    /// A file beside a checkpoint's weights.
    #[error(
        "{}: a file of a checkpoint, not a spec; use its folder: {}",
        shown(path),
        shown(folder)
    )]
    CheckpointFile {
        /// The file.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// A checkpoint's configuration.
    #[error(
        "{}: a checkpoint's configuration, not a spec; use its folder, {}, or, for these sizes with random weights, --config {}",
        shown(path),
        shown(folder),
        shown(path)
    )]
    Config {
        /// The file.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// A file that is nothing known.
    #[error(
        "{}: a file, but neither a spec's .json file nor a checkpoint folder; expected one of the two",
        shown(path)
    )]
    OtherFile {
        /// The file.
        path: PathBuf,
    },
    /// A folder that is no checkpoint.
    #[error(
        "{}: no config.json in this folder{found}; expected a checkpoint folder, with a config.json and .safetensors files{}",
        shown(folder),
        instead.as_ref().map(|i| format!(" (did you mean {}?)", shown(i))).unwrap_or_default()
    )]
    NoConfig {
        /// The folder.
        folder: PathBuf,
        /// What is in it instead.
        found: String,
        /// A checkpoint inside it.
        instead: Option<PathBuf>,
    },
    /// A folder with more than one model.
    #[error("{}: several GGUF files; choose one: {}", shown(folder), names.join(", "))]
    SeveralGguf {
        /// The folder.
        folder: PathBuf,
        /// Names of the files.
        names: Vec<String>,
    },
    /// A model of the hub's cache, without files.
    #[error(
        "{}: in the cache of Hugging Face at {}, but without a snapshot; download the model again, or use a folder",
        shown(model),
        shown(place)
    )]
    Cache {
        /// `owner/name`.
        model: PathBuf,
        /// Its place in the cache.
        place: PathBuf,
    },
    /// A file that cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A spec with a mistake.
    #[error(transparent)]
    Spec(#[from] spec::Error),
}

type Result<T> = std::result::Result<T, NamedError>;

/// What `path` stands for: a folder, a file, a built-in spec, `SPEC:PRESET`, or `owner/name` of a model in the hub's cache.
///
/// # Errors
/// A path that stands for nothing, or for something that is no model.
pub fn find(path: &Path) -> Result<Named> {
    if path.is_dir() {
        return folder(path);
    }
    if let Some(spec) = builtin(path)? {
        return Ok(Named::Spec(spec, None));
    }
    let source = match fs::metadata(path) {
        Ok(_) => return file(path),
        Err(source) => source,
    };
    if let Some((spec, preset)) = with_preset(path)? {
        return Ok(Named::Spec(spec, Some(preset)));
    }
    match hub::find(path) {
        Ok(Some(snapshot)) => folder(&snapshot),
        Ok(None) => Err(nothing(path, source)),
        Err(hub::NoSnapshot(place)) => Err(NamedError::Cache {
            model: path.into(),
            place,
        }),
    }
}

/// A built-in spec, by its name.
fn builtin(path: &Path) -> Result<Option<Spec>> {
    let name = path.to_str().filter(|n| spec::builtin_names().contains(n));
    Ok(name
        .map(|n| spec::load(SpecSource::Builtin(n)))
        .transpose()?)
}

/// `SPEC:PRESET`, where the spec is a built-in one or a file.
fn with_preset(path: &Path) -> Result<Option<(Spec, String)>> {
    let Some((spec, preset)) = path.to_str().and_then(|text| text.rsplit_once(':')) else {
        return Ok(None);
    };
    let spec = Path::new(spec);
    let found = match builtin(spec)? {
        None if spec.is_file() => match file(spec)? {
            Named::Spec(spec, _) => Some(spec),
            Named::Embedded | Named::Folder(_) | Named::Gguf(_) => None,
        },
        found => found,
    };
    Ok(found.map(|spec| (spec, preset.into())))
}

/// A folder: a checkpoint, or one model in a GGUF file.
fn folder(path: &Path) -> Result<Named> {
    if !is_there(&path.join("config.json"))
        && let Some(gguf) = gguf_in(path)?
    {
        return Ok(Named::Gguf(gguf));
    }
    check_folder(path)?;
    Ok(Named::Folder(path.into()))
}

/// The only GGUF model in a folder: a file, or the first of those that it is split into.
fn gguf_in(folder: &Path) -> Result<Option<PathBuf>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(None);
    };
    let entries = entries.take(MOST_ENTRIES).flatten().map(|e| e.path());
    let is_gguf = |path: &PathBuf| path.extension().is_some_and(|e| e == "gguf");
    // Pictures are read by a model of their own.
    let is_text = |path: &PathBuf| !file_name(path).starts_with("mmproj");
    let is_later = |path: &PathBuf| {
        let name = file_name(path);
        name.contains("-of-") && !name.contains("-00001-of-")
    };
    let mut models: Vec<PathBuf> = entries.filter(is_gguf).filter(is_text).collect();
    models.retain(|path| !is_later(path));
    models.sort();
    match models.len() {
        0 | 1 => Ok(models.pop()),
        _ => Err(NamedError::SeveralGguf {
            folder: folder.into(),
            names: models.iter().map(|path| file_name(path)).collect(),
        }),
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// A file: a spec, if anything.
fn file(path: &Path) -> Result<Named> {
    let (opened, _) = files::open(path)?;
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    if extension == "gguf" || is_gguf(&opened) {
        return Ok(Named::Gguf(path.into()));
    }
    if let Some(what) = foreign(extension) {
        let path = path.into();
        return Err(NamedError::Foreign { path, what });
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder.into(),
        Some(_) | None => ".".into(),
    };
    let path = path.to_path_buf();
    match extension {
        "safetensors" => Err(NamedError::WeightFile { path }),
        "json" if is_beside_weights(&path) => Err(NamedError::CheckpointFile { path, folder }),
        "json" if is_config(&path) => Err(NamedError::Config { path, folder }),
        "json" => Ok(Named::Spec(spec::load(SpecSource::File(&path))?, None)),
        _ => Err(NamedError::OtherFile { path }),
    }
}

/// Whether a file is GGUF, whatever its name: those of a hub's cache have none.
fn is_gguf(mut file: &File) -> bool {
    let mut start = [0; 4];
    file.read_exact(&mut start).is_ok() && &start == b"GGUF"
}

/// Weights in other formats, by their names.
fn foreign(extension: &str) -> Option<&'static str> {
    match extension {
        "bin" | "pt" | "pth" | "ckpt" => Some("a file of weights in PyTorch's own format"),
        "onnx" => Some("an ONNX model"),
        _ => None,
    }
}

/// Files that lie in every checkpoint folder.
fn is_beside_weights(path: &Path) -> bool {
    const NAMES: [&str; 5] = [
        "generation_config.json",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    ];
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| NAMES.contains(&name))
}

/// A checkpoint's configuration, which may have another name: a spec has its model types under `match`.
fn is_config(path: &Path) -> bool {
    let config: Option<Value> = files::read(path, files::MAX_CONFIG)
        .ok()
        .and_then(|text| spec::parse_json(&text).ok());
    config.is_some_and(|c| c.get("model_type").is_some() || c.get("architectures").is_some())
}

/// A path that leads nowhere.
fn nothing(path: &Path, source: io::Error) -> NamedError {
    let path = path.to_path_buf();
    if source.kind() != io::ErrorKind::NotFound {
        return NamedError::Closed { path, source };
    }
    if let Ok(target) = fs::read_link(&path) {
        return NamedError::BrokenLink { path, target };
    }
    match path.to_str() {
        Some(name) if !name.contains('/') => NamedError::Unknown {
            nearest: nearest(name),
            model: path,
        },
        Some(_) | None => NamedError::NotThere { path },
    }
}

/// What a name was probably meant to be.
fn nearest(name: &str) -> Option<String> {
    let (spec, preset) = match name.split_once(':') {
        Some((spec, preset)) => (spec, format!(":{preset}")),
        None => (name, String::new()),
    };
    let nearest = spec::nearest(spec, spec::builtin_names())?;
    Some(nearest + &preset)
}

/// A folder without a config.json is not a checkpoint.
fn check_folder(folder: &Path) -> Result<()> {
    if is_there(&folder.join("config.json")) {
        return Ok(());
    }
    let closed = |source| NamedError::Closed {
        path: folder.into(),
        source,
    };
    let mut entries = vec![];
    for entry in fs::read_dir(folder).map_err(closed)?.take(MOST_ENTRIES) {
        entries.push(entry.map_err(closed)?.path());
    }
    let found = match Foreign::find(folder) {
        _ if entries.is_empty() => ", which is empty".into(),
        Some(Foreign::Shards { .. } | Foreign::OtherNames { .. }) => {
            " beside its .safetensors files".into()
        }
        Some(found) => format!("; {found}"),
        None => String::new(),
    };
    Err(NamedError::NoConfig {
        folder: folder.into(),
        found,
        instead: inside(entries),
    })
}

/// Entries of a folder that are looked at for a hint.
const MOST_ENTRIES: usize = 1000;

/// The one checkpoint folder among `entries`, or among what their folders called `snapshots` have: so hubs keep copies.
fn inside(entries: Vec<PathBuf>) -> Option<PathBuf> {
    let snapshots = entries.iter().filter(|path| path.ends_with("snapshots"));
    let snapshots = snapshots.filter_map(|path| fs::read_dir(path).ok());
    let below = snapshots.flat_map(|found| found.take(MOST_ENTRIES).flatten().map(|e| e.path()));
    let all: Vec<PathBuf> = below.chain(entries.iter().cloned()).collect();
    let mut checkpoints = all
        .into_iter()
        .filter(|path| is_there(&path.join("config.json")));
    checkpoints.next().filter(|_| checkpoints.next().is_none())
}
