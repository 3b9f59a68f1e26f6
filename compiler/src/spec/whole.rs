//! A spec as a whole: its parents merged in, not yet bound to a config.

use serde_json::Value;

use super::bind;
use super::error::{Error, IN_CONFIG, Located};
use super::locate::depth_of;
use super::model::Model;
use super::near::nearest;

/// Result of this stage.
pub type Result<T> = std::result::Result<T, Error>;

/// A spec, its parents merged in, not yet bound to a config.
#[derive(Clone, Debug)]
pub struct Spec {
    pub(super) name: String,
    /// The spec's own file first, then its parents: names and contents before merging, for messages.
    pub(super) files: Vec<(String, Value)>,
    pub(super) merged: Value,
}

impl Spec {
    /// The spec's name: that of its file without `.json`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One line on what the spec describes; empty if it has none.
    pub fn about(&self) -> &str {
        self.merged["about"].as_str().unwrap_or_default()
    }

    /// The `model_type`s that the spec takes; `outer/inner` is a config whose `config_section` has a type of its own.
    pub fn model_types(&self) -> Vec<&str> {
        let list = self.merged["match"]["model_type"].as_array();
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// The `model_type` that a config has in this spec's `config_section`.
    pub(super) fn inner_type<'c>(&self, config: &'c Value) -> Option<&'c str> {
        let section = self.merged.get("config_section")?.as_str()?;
        config.get(section)?.get("model_type")?.as_str()
    }

    /// Names of the spec's presets: its own or, where it has none, those of the nearest spec it extends, which has the same numbers.
    pub fn presets(&self) -> Vec<&str> {
        let presets = self.preset_table().as_object();
        presets
            .into_iter()
            .flat_map(|p| p.keys())
            .map(String::as_str)
            .collect()
    }

    fn preset_table(&self) -> &Value {
        let own = std::iter::once(&self.merged);
        let parents = self.files.iter().skip(1).map(|(_, file)| file);
        let mut tables = own.chain(parents).map(|spec| &spec["presets"]);
        let has_any = |table: &&Value| table.as_object().is_some_and(|t| !t.is_empty());
        tables.find(has_any).unwrap_or(&Value::Null)
    }

    /// The config of a preset, as a `config.json` would have it.
    ///
    /// # Errors
    /// A preset that there is not.
    pub fn preset(&self, name: &str) -> Result<Value> {
        let Some(preset) = self.preset_table().get(name) else {
            let known: Vec<String> = self.presets().into_iter().map(String::from).collect();
            let file = self.files[0].0.clone();
            if known.is_empty() {
                return Err(Error::NoPresets { file });
            }
            let nearest = nearest(name, known.iter().map(String::as_str));
            return Err(Error::UnknownPreset {
                file,
                name: name.into(),
                known,
                nearest,
            });
        };
        let mut config = preset.clone();
        // What a parent's sizes are of is not what this spec takes.
        let is_own = self.merged["presets"].get(name).is_some();
        if let (Some(map), Some(own)) = (config.as_object_mut(), self.model_types().first())
            && !(is_own && map.contains_key("model_type"))
        {
            map.insert("model_type".into(), (*own).into());
        }
        Ok(config)
    }

    /// Binds the spec to a config: evaluates its expressions and checks that everything fits together.
    pub fn bind(&self, config: &Value) -> Result<Model> {
        bind::bind(&self.name, &self.merged, config).map_err(|e| self.located(e))
    }

    /// Finds the file in which a fault stands: the one that has most of its path, the extension before its parents.
    pub(super) fn located(&self, e: Located) -> Error {
        let in_spec = e.path.split(IN_CONFIG).next().unwrap_or_default();
        let best = self
            .files
            .iter()
            .rev()
            .max_by_key(|(_, doc)| depth_of(doc, in_spec));
        let file = best.map_or_else(String::new, |(name, _)| name.clone());
        Error::At {
            file,
            path: e.path,
            fault: e.fault,
        }
    }
}
