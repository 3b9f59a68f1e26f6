//! The specs inside the program: every JSON file of `specs/`, as the build script found them.

use serde_json::Value;

use super::error::Kind;
use super::near::nearest;
use super::{Error, Result, Spec, SpecSource, load};

// `FILES`: name and text of each file, by name.
include!(concat!(env!("OUT_DIR"), "/builtin_specs.rs"));

/// Names of the built-in specs, in alphabetical order.
pub fn builtin_names() -> Vec<&'static str> {
    FILES.iter().map(|(name, _)| *name).collect()
}

/// The built-in spec that takes a config, by its `model_type`.
///
/// # Errors
/// [`Error::UnknownModelType`] and [`Error::NoModelType`], which list the types that are known.
pub fn for_config(config: &Value) -> Result<Spec> {
    let specs = builtin_names()
        .into_iter()
        .map(|name| load(SpecSource::Builtin(name)))
        .collect::<Result<Vec<_>>>()?;
    let known = || {
        specs
            .iter()
            .flat_map(Spec::model_types)
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let Some(found) = config.get("model_type").and_then(Value::as_str) else {
        let found = config
            .get("model_type")
            .map_or_else(Kind::nothing, Kind::of);
        return Err(Error::NoModelType {
            found,
            known: known(),
        });
    };
    let unknown = || {
        let known = known();
        let nearest = nearest(found, known.iter().map(String::as_str));
        Error::UnknownModelType {
            found: found.into(),
            known,
            nearest,
        }
    };
    specs
        .iter()
        .find(|s| s.model_types().contains(&found))
        .cloned()
        .ok_or_else(unknown)
}

/// Text of a built-in spec.
pub(super) fn text(name: &str) -> Result<&'static str> {
    let found = FILES
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, text)| *text);
    found.ok_or_else(|| {
        let known: Vec<String> = FILES.iter().map(|(n, _)| n.to_string()).collect();
        let nearest = nearest(name, known.iter().map(String::as_str));
        Error::UnknownSpec {
            name: name.into(),
            known,
            nearest,
        }
    })
}
