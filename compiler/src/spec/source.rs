//! Where specs come from, and what has to hold before a spec is bound.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use graver_runtime::files::{self, FileError};
use serde_json::Value;

use super::builtin;
use super::error::{Error, Fault, Kind, Located};
use super::form;
use super::json::{JsonError, parse_json, parse_unique};
use super::keys;
use super::merge;
use super::whole::{Result, Spec};

/// Largest file that is read as a spec; those built in have 10 KB.
const MAX_SPEC: u64 = 1 << 20;
/// Longest chain of `extends`.
const MAX_PARENTS: usize = 8;

/// Where a spec is.
#[derive(Clone, Copy, Debug)]
pub enum SpecSource<'a> {
    /// Inside the program, by name.
    Builtin(&'a str),
    /// A file.
    File(&'a Path),
    /// Text, with the name that messages and the model give it.
    Text {
        /// The spec's name.
        name: &'a str,
        /// Its JSON.
        text: &'a str,
    },
}

/// Loads a spec and the specs it extends.
///
/// # Errors
/// Files that cannot be read or are no JSON, unknown keys at the top, a `match` or `presets` of the wrong form, and
/// circular `extends`. What stands inside layers is checked by [`Spec::bind`].
pub fn load(source: SpecSource<'_>) -> Result<Spec> {
    let own = Document::open(source)?;
    let name = own.name.clone();
    let mut chain = vec![own];
    while let Some(parent) = parent(&chain)? {
        chain.push(parent);
    }
    // The outermost parent first.
    let versions: Vec<&Value> = chain.iter().rev().map(|d| &d.json).collect();
    let located = |(version, e): (usize, Located)| chain[chain.len() - 1 - version].located(e);
    let merged = merge::merge(&versions).map_err(located)?;
    Ok(Spec {
        name,
        merged,
        files: chain.into_iter().map(|d| (d.file, d.json)).collect(),
    })
}

/// The spec that `name` stands for: a built-in one, or a file.
///
/// # Errors
/// Names that nothing has; as [`load`].
pub fn load_named(name: &Path) -> Result<Spec> {
    match name
        .to_str()
        .filter(|n| builtin::builtin_names().contains(n))
    {
        Some(builtin) => load(SpecSource::Builtin(builtin)),
        None if name.components().count() == 1 && !files::is_there(name) => {
            load(SpecSource::Builtin(&name.to_string_lossy()))
        }
        None => load(SpecSource::File(name)),
    }
}

/// Reads a `config.json`.
///
/// # Errors
/// A file that cannot be read, is unreasonably large, or is not JSON.
pub fn read_config(path: &Path) -> Result<Value> {
    let text = files::read(path, files::MAX_CONFIG)?;
    parse_json(&text).map_err(|source| bad_json(&files::shown(path).to_string(), source))
}

/// One file of a chain of specs.
struct Document {
    name: String,
    /// As messages call it.
    file: String,
    /// Folder that relative paths start from.
    folder: Option<PathBuf>,
    json: Value,
}

impl Document {
    fn open(source: SpecSource<'_>) -> Result<Document> {
        let (name, file, folder, json) = match source {
            SpecSource::Builtin(name) => {
                let file = format!("{name}.json");
                // A test sees to it that no key of theirs occurs twice.
                let json = parse_json(builtin::text(name)?.as_bytes());
                let json = json.map_err(|source| bad_json(&file, source))?;
                (name.to_string(), file, None, json)
            }
            SpecSource::File(path) => {
                let file = files::shown(path).to_string();
                let name = path
                    .file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let json = parse_spec(&file, &files::read(path, MAX_SPEC)?)?;
                (
                    name,
                    file,
                    Some(path.parent().unwrap_or(Path::new("")).to_path_buf()),
                    json,
                )
            }
            SpecSource::Text { name, text } => {
                let json = parse_spec(name, text.as_bytes())?;
                (name.into(), name.into(), None, json)
            }
        };
        let document = Document {
            name,
            file,
            folder,
            json,
        };
        document.check().map_err(|e| document.located(e))?;
        Ok(document)
    }

    fn located(&self, e: Located) -> Error {
        Error::At {
            file: self.file.clone(),
            path: e.path,
            fault: e.fault,
        }
    }

    /// Checks what does not depend on a config.
    fn check(&self) -> std::result::Result<(), Located> {
        let wrong = |v: &Value, path: &str, expected| {
            Err(Fault::WrongType {
                found: Kind::of(v),
                expected,
            }
            .at(path))
        };
        let Some(map) = self.json.as_object() else {
            return wrong(&self.json, "(top)", "an object");
        };
        if let Some(fault) = keys::unknown_key(map, &[form::SPEC]) {
            return Err(fault.at("(top)"));
        }
        if let Some(condition) = map.get("if") {
            return wrong(condition, "if", "no condition: a spec is always there");
        }
        for key in [
            "params",
            "layer_params",
            "require",
            "ropes",
            "layers",
            "presets",
            "match",
        ] {
            match map.get(key) {
                Some(v) if !v.is_object() => return wrong(v, key, "an object"),
                _ => {}
            }
        }
        if let Some(matches) = map.get("match").and_then(Value::as_object) {
            let types = &matches.get("model_type").unwrap_or(&Value::Null);
            if !types
                .as_array()
                .is_some_and(|l| !l.is_empty() && l.iter().all(Value::is_string))
            {
                return wrong(types, "match.model_type", "a list of strings");
            }
        }
        for (name, preset) in map
            .get("presets")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            if !preset.is_object() {
                return wrong(
                    preset,
                    &format!("presets.{name}"),
                    "an object such as a config.json holds",
                );
            }
        }
        Ok(())
    }
}

/// The spec that the last of `chain` extends: a file beside it where the name ends in `.json`, else a built-in one.
fn parent(chain: &[Document]) -> Result<Option<Document>> {
    let child = &chain[chain.len() - 1];
    let Some(value) = child.json.get("extends") else {
        return Ok(None);
    };
    let Some(name) = value.as_str() else {
        let expected = "the name of a built-in spec, or a file's name ending in `.json`";
        return Err(child.located(
            Fault::WrongType {
                found: Kind::of(value),
                expected,
            }
            .at("extends"),
        ));
    };
    let parent = match &child.folder {
        Some(folder) if name.ends_with(".json") => {
            Document::open(SpecSource::File(&folder.join(name)))
        }
        _ => Document::open(SpecSource::Builtin(name)),
    };
    let parent = parent.map_err(|error| without_parent(child, name, error))?;
    let again = chain.iter().any(|d| d.file == parent.file);
    if again || chain.len() > MAX_PARENTS {
        let names = chain
            .iter()
            .chain([&parent])
            .map(|d| d.name.clone())
            .collect();
        return Err(child.located(Fault::ExtendsCycle(names).at("extends")));
    }
    Ok(Some(parent))
}

/// The error of opening what `child` extends as `name`; one that names no place gets the child's.
fn without_parent(child: &Document, name: &str, error: Error) -> Error {
    let fault = match error {
        Error::UnknownSpec {
            name,
            known,
            nearest,
        } => Fault::UnknownName {
            what: "spec",
            name,
            known,
            nearest,
        },
        Error::File(FileError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Fault::NoParent(name.into())
        }
        other => return other,
    };
    child.located(fault.at("extends"))
}

/// A spec is written by hand, where a key that occurs twice is a mistake; configs are read as Python reads them.
fn parse_spec(file: &str, text: &[u8]) -> Result<Value> {
    parse_unique(text).map_err(|source| bad_json(file, source))
}

fn bad_json(file: &str, source: JsonError) -> Error {
    Error::Json {
        file: file.into(),
        source,
    }
}
