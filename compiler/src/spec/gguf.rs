//! GGUF: which spec takes a file, the config that its metadata stand for, and the spec as it is with the names and the
//! conventions of the format.
//!
//! What all files have in common is data beside this (`gguf.json`); what a family has of its own stands in its spec under
//! `gguf`. Expressions there see the architecture's metadata as `config` (`config.attention.head_count`), with the shapes of
//! tensors as `config.tensors` (numbers in names left out: `config.tensors.blk.attn_q.weight[0]`) and the values of a few
//! small ones as `config.values`; and all other metadata as `outer`.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::builtin::builtin_names;
use super::error::{Error, Fault, Kind, Read};
use super::merge::merge;
use super::near::nearest;
use super::params::{Names, Params, Sources};
use super::source::{SpecSource, load};
use super::whole::{Result, Spec};

/// Key of a spec with what it makes of the format.
const SECTION: &str = "gguf";
/// Parts of a spec that name tensors.
const NAMING: [&str; 3] = ["embed", "layers", "head"];

/// What a GGUF file says of its model.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufFacts {
    /// `general.architecture`.
    pub architecture: String,
    /// The architecture's metadata, by the parts of their keys; `tensors` and `values`.
    pub config: Value,
    /// All other metadata.
    pub outer: Value,
}

/// The built-in spec that takes a GGUF file, by its architecture, as it is for the format; and the config.
///
/// # Errors
/// [`Error::UnknownArchitecture`], which lists those that are known; metadata that are missing.
pub fn for_gguf(facts: &GgufFacts) -> Result<(Spec, Value)> {
    let mut known = vec![];
    for name in builtin_names() {
        let spec = load(SpecSource::Builtin(name))?;
        let architectures = spec.architectures();
        if architectures.contains(&facts.architecture.as_str())
            && spec.takes(facts).map_err(|e| spec.located(e))?
        {
            return spec.of_gguf(facts);
        }
        known.extend(architectures.into_iter().map(String::from));
    }
    known.sort();
    known.dedup();
    Err(Error::UnknownArchitecture {
        found: facts.architecture.clone(),
        nearest: nearest(&facts.architecture, known.iter().map(String::as_str)),
        known,
    })
}

/// Tensors whose values config keys are made of.
pub(crate) fn gguf_values() -> impl Iterator<Item = &'static str> {
    let names = FORMAT["values"].as_array();
    names.into_iter().flatten().filter_map(Value::as_str)
}

static FORMAT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("gguf.json")).expect("gguf.json is JSON"));

impl Spec {
    /// The architectures of GGUF files that the spec takes.
    pub fn architectures(&self) -> Vec<&str> {
        let list = self.files[0].1[SECTION]["architecture"].as_array();
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// Whether the spec's condition on files holds. Neither it nor the architectures are inherited.
    fn takes(&self, facts: &GgufFacts) -> Read<bool> {
        let Some(condition) = self.files[0].1[SECTION].get("if") else {
            return Ok(true);
        };
        let defs = Map::new();
        let params = params(&defs, facts)?;
        let names = Names {
            params: &params,
            layer: None,
        };
        let path = "gguf.if";
        let found = names.value(condition, path, 0)?;
        found.as_bool().ok_or_else(|| {
            let (found, expected) = (Kind::of(&found), "true or false");
            Fault::WrongType { found, expected }.at(path)
        })
    }

    /// The spec with the names and conventions of GGUF, and the config that the file stands for.
    ///
    /// # Errors
    /// A spec that says nothing about the format, or what does not add up; metadata that are missing.
    pub fn of_gguf(&self, facts: &GgufFacts) -> Result<(Spec, Value)> {
        let Some(section) = self.merged.get(SECTION).filter(|s| s.is_object()) else {
            let name = self.name.clone();
            return Err(Error::NoGguf { name });
        };
        let config = self.gguf_config(section, facts);
        let config = config.map_err(|e| self.located(e))?;
        let mut spec = self.changed(&section["changes"])?;
        let names = overlaid("names", section.get("tensors"));
        for part in NAMING {
            rename(&mut spec.merged[part], &names);
        }
        let list = |from: &Value| from["ignore"].as_array().cloned().unwrap_or_default();
        spec.merged["ignore"] = [list(&FORMAT), list(section)].concat().into();
        spec.merged["prefixes"] = Value::Array(vec![]);
        Ok((spec, config))
    }

    /// The spec with an extension laid over it.
    fn changed(&self, changes: &Value) -> Result<Spec> {
        let mut versions: Vec<&Value> = self.files.iter().rev().map(|(_, json)| json).collect();
        if changes.is_object() {
            versions.push(changes);
        }
        let mut merged = merge(&versions).map_err(|(_, e)| {
            let path = format!("{SECTION}.changes.{}", e.path);
            self.located(e.fault.at(&path))
        })?;
        // An extension leaves these out, but this is the same spec.
        for key in ["about", "match", "presets"] {
            if let Some(own) = self.merged.get(key) {
                merged[key] = own.clone();
            }
        }
        Ok(Spec {
            merged,
            ..self.clone()
        })
    }

    fn gguf_config(&self, section: &Value, facts: &GgufFacts) -> Read<Value> {
        let defs = overlaid("config", section.get("config"));
        let params = params(&defs, facts)?;
        let mut config = Map::new();
        for name in defs.keys() {
            let value = params.get(name, 0)?;
            // Those with a `_` are for the others only.
            if !value.is_null() && !name.starts_with('_') {
                insert(&mut config, name, value.into_owned());
            }
        }
        if let Some(model_type) = self.files[0].1["match"]["model_type"].get(0) {
            config.insert("model_type".into(), model_type.clone());
        }
        Ok(config.into())
    }
}

fn params<'a>(defs: &'a Map<String, Value>, facts: &'a GgufFacts) -> Read<Params<'a>> {
    static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    Params::new(Sources {
        defs,
        of_layers: &NONE,
        config: &facts.config,
        outer: &facts.outer,
    })
}

/// What the format has under `key`, and over it what a spec has.
fn overlaid(key: &str, own: Option<&Value>) -> Map<String, Value> {
    let mut all = FORMAT[key].as_object().cloned().unwrap_or_default();
    let own = own.and_then(Value::as_object);
    all.extend(
        own.into_iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone())),
    );
    all
}

/// Puts `a.b` where `b` of the object `a` is.
fn insert(config: &mut Map<String, Value>, name: &str, value: Value) {
    match name.split_once('.') {
        None => drop(config.insert(name.into(), value)),
        Some((outer, inner)) => {
            let entry = config.entry(outer).or_insert_with(|| Map::new().into());
            if let Some(map) = entry.as_object_mut() {
                insert(map, inner, value);
            }
        }
    }
}

/// Replaces every text that is a name by the one that the format has in its place.
fn rename(value: &mut Value, names: &Map<String, Value>) {
    match value {
        Value::String(name) => {
            if let Some(new) = names.get(name.as_str()).filter(|new| new.is_string()) {
                *value = new.clone();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|v| rename(v, names)),
        Value::Object(map) => map.values_mut().for_each(|v| rename(v, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
