//! What the MODEL argument stands for; and, where it stands for nothing, what it was probably meant to be.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use graver::spec::{self, Spec, SpecSource};
use graver::weights::Foreign;
use graver_runtime::files::{self, FileError, is_there, shown};
use serde_json::Value;

use super::hub;

/// Where a model comes from.
pub(super) enum Named<'a> {
    /// Inside the program.
    Embedded,
    /// A checkpoint folder.
    Folder(Cow<'a, Path>),
    /// A GGUF file.
    Gguf(PathBuf),
    /// A spec, with random weights.
    Spec(Spec),
}

/// A MODEL that does not stand for one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamedError {
    #[error(
        "{}: neither a checkpoint folder nor a spec{}; expected a folder with a config.json, a .gguf file, a spec's .json file, or one of {}",
        shown(model),
        nearest.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default(),
        spec::builtin_names().join(", ")
    )]
    Unknown {
        model: PathBuf,
        nearest: Option<String>,
    },
    #[error(
        "{}: no such file or folder; expected a checkpoint folder, a .gguf file or a spec's .json file. Nothing is downloaded: a model from a hub has to be in a folder or in the hub's cache already",
        shown(path)
    )]
    NotThere { path: PathBuf },
    #[error("{}: cannot be opened: {source}", shown(path))]
    Closed { path: PathBuf, source: io::Error },
    #[error(
        "{}: a broken link, to {}; give the folder or file itself",
        shown(path),
        shown(target)
    )]
    BrokenLink { path: PathBuf, target: PathBuf },
    #[error(
        "{}: a file of weights alone; expected the folder that it lies in, with its config.json",
        shown(path)
    )]
    WeightFile { path: PathBuf },
    #[error(
        "{}: {what}, which cannot be read; expected a checkpoint folder with a config.json and .safetensors files",
        shown(path)
    )]
    Foreign { path: PathBuf, what: &'static str },
    #[error(
        "{}: a checkpoint's file, not a spec; give the folder that it lies in: {}",
        shown(path),
        shown(folder)
    )]
    CheckpointFile { path: PathBuf, folder: PathBuf },
    #[error(
        "{}: a file, but neither a spec's .json file nor a checkpoint folder; expected one of the two",
        shown(path)
    )]
    OtherFile { path: PathBuf },
    #[error(
        "{}: no config.json in this folder{found}; expected a checkpoint folder, with a config.json and .safetensors files{}",
        shown(folder),
        instead.as_ref().map(|i| format!(" (did you mean {}?)", shown(i))).unwrap_or_default()
    )]
    NoConfig {
        folder: PathBuf,
        found: String,
        instead: Option<PathBuf>,
    },
    #[error("{}: several GGUF files; give one of them: {}", shown(folder), names.join(", "))]
    SeveralGguf { folder: PathBuf, names: Vec<String> },
    #[error(
        "{}: in the cache of Hugging Face at {}, but without a snapshot; fetch the model again, or give a folder",
        shown(model),
        shown(place)
    )]
    Cache { model: PathBuf, place: PathBuf },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Spec(#[from] spec::Error),
}

type Result<T> = std::result::Result<T, NamedError>;

/// Looks at what MODEL names.
pub(super) fn find(model: Option<&Path>) -> Result<Named<'_>> {
    let Some(path) = model else {
        return Ok(Named::Embedded);
    };
    if path.is_dir() {
        return folder(Cow::Borrowed(path));
    }
    if let Some(name) = path.to_str().filter(|n| spec::builtin_names().contains(n)) {
        return Ok(Named::Spec(spec::load(SpecSource::Builtin(name))?));
    }
    match fs::metadata(path) {
        Ok(_) => file(path),
        Err(source) => match hub::find(path) {
            Ok(Some(snapshot)) => folder(Cow::Owned(snapshot)),
            Ok(None) => Err(nothing(path, source)),
            Err(hub::NoSnapshot(place)) => Err(NamedError::Cache {
                model: path.into(),
                place,
            }),
        },
    }
}

/// A folder: a checkpoint, or one model in a GGUF file.
fn folder(path: Cow<'_, Path>) -> Result<Named<'_>> {
    if !is_there(&path.join("config.json"))
        && let Some(gguf) = gguf_in(&path)?
    {
        return Ok(Named::Gguf(gguf));
    }
    check_folder(&path)?;
    Ok(Named::Folder(path))
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
fn file(path: &Path) -> Result<Named<'_>> {
    let (opened, _) = files::open(path)?;
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    if extension == "gguf" || is_gguf(&opened) {
        return Ok(Named::Gguf(path.into()));
    }
    if let Some(what) = foreign(extension) {
        let path = path.into();
        return Err(NamedError::Foreign { path, what });
    }
    match extension {
        "safetensors" => Err(NamedError::WeightFile { path: path.into() }),
        "json" if is_of_checkpoint(path) => Err(NamedError::CheckpointFile {
            path: path.into(),
            folder: match path.parent() {
                Some(folder) if folder != Path::new("") => folder.into(),
                Some(_) | None => ".".into(),
            },
        }),
        "json" => Ok(Named::Spec(spec::load(SpecSource::File(path))?)),
        _ => Err(NamedError::OtherFile { path: path.into() }),
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

/// Files that lie in every checkpoint folder; a `config.json` under another name is known by what is in it.
fn is_of_checkpoint(path: &Path) -> bool {
    const NAMES: [&str; 5] = [
        "generation_config.json",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    ];
    let name = path.file_name().and_then(|name| name.to_str());
    if name.is_some_and(|name| NAMES.contains(&name)) {
        return true;
    }
    let config: Option<Value> = files::read(path, files::MAX_CONFIG)
        .ok()
        .and_then(|text| spec::parse_json(&text).ok());
    // A spec has its model types under `match`.
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
    let names = spec::builtin_names();
    match name.split_once(':') {
        Some((spec, preset)) if names.contains(&spec) => Some(format!("{spec} --preset {preset}")),
        Some(_) | None => spec::nearest(name, names),
    }
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
