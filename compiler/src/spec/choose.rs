//! Which built-in spec takes a config.

use serde_json::Value;

use super::builtin::builtin_names;
use super::error::{Error, Kind};
use super::near::nearest;
use super::source::{SpecSource, load};
use super::whole::{Result, Spec};

/// The built-in spec that takes a config, by its `model_type`, or by that and the one of its `config_section`.
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
    // `outer/inner` says more than `outer`.
    let inside = |s: &&Spec| {
        s.inner_type(config)
            .is_some_and(|inner| s.model_types().contains(&&*format!("{found}/{inner}")))
    };
    let alone = |s: &&Spec| s.model_types().contains(&found);
    let spec = specs.iter().find(inside).or(specs.iter().find(alone));
    spec.cloned().ok_or_else(unknown)
}
