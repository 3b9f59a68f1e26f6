//! Where specs come from, and what has to hold before a spec is bound.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::{Error, Fault, Kind, Located};
use super::near::nearest;
use super::{Result, Spec, bind, builtin, merge};

/// Largest file that is read as a spec or config.
const MAX_BYTES: u64 = 16 << 20;
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
    let mut merged = chain[chain.len() - 1].json.clone();
    merge::write_out_kinds(&mut merged).map_err(|e| chain[chain.len() - 1].located(e))?;
    for document in chain.iter().rev().skip(1) {
        merged = merge::merge(&merged, &document.json).map_err(|e| document.located(e))?;
        merge::write_out_kinds(&mut merged).map_err(|e| document.located(e))?;
    }
    Ok(Spec {
        name,
        merged,
        files: chain.into_iter().map(|d| (d.file, d.json)).collect(),
    })
}

/// Reads a `config.json`.
///
/// # Errors
/// A file that cannot be read, is unreasonably large, or is not JSON.
pub fn read_config(path: &Path) -> Result<Value> {
    parse(&path.display().to_string(), &read_text(path)?)
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
                let json = parse(&file, builtin::text(name)?)?;
                (name.to_string(), file, None, json)
            }
            SpecSource::File(path) => {
                let file = path.display().to_string();
                let name = path
                    .file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let json = parse(&file, &read_text(path)?)?;
                (
                    name,
                    file,
                    Some(path.parent().unwrap_or(Path::new("")).to_path_buf()),
                    json,
                )
            }
            SpecSource::Text { name, text } => (name.into(), name.into(), None, parse(name, text)?),
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
        check_keys(map.keys(), &bind::KEYS, "(top)")?;
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
            check_keys(matches.keys(), &["model_type"], "match")?;
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

fn check_keys<'k>(
    mut keys: impl Iterator<Item = &'k String>,
    known: &[&str],
    path: &str,
) -> std::result::Result<(), Located> {
    if let Some(key) = keys.find(|k| !known.contains(&k.as_str())) {
        let nearest = nearest(key, known.iter().copied());
        let known = known.iter().map(|k| k.to_string()).collect();
        return Err(Fault::UnknownKey {
            key: key.clone(),
            known,
            nearest,
        }
        .at(path));
    }
    Ok(())
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
            Document::open(SpecSource::File(&folder.join(name)))?
        }
        _ => Document::open(SpecSource::Builtin(name))?,
    };
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

fn read_text(path: &Path) -> Result<String> {
    let io = |source| Error::Io {
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    if bytes > MAX_BYTES {
        return Err(Error::FileTooLarge {
            file: path.display().to_string(),
            bytes,
            limit: MAX_BYTES,
        });
    }
    let mut text = String::new();
    // A pipe has no length, so that the limit holds for what is read as well.
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

fn parse(file: &str, text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|source| Error::Json {
        file: file.into(),
        source,
    })
}
