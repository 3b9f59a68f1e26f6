//! `extends`: a child's JSON laid over its parent's, by [`super::edit`].
//!
//! Layer kinds are merged by [`kinds`]. What describes one file only (`about`, `match`, `presets`) is not inherited.

use serde_json::{Map, Value};

use super::edit::lay;
use super::error::Located;
use super::kinds;

/// Keys that stay with their file.
const OWN: [&str; 5] = ["about", "match", "presets", "extends", "$schema"];

/// Merges the versions of a spec, the outermost parent first. A fault comes with the version in which it stands.
pub(super) fn merge(versions: &[&Value]) -> Result<Value, (usize, Located)> {
    let mut merged = Value::Object(Map::new());
    for (i, version) in versions.iter().enumerate() {
        if let Some(map) = merged.as_object_mut() {
            map.retain(|key, _| !OWN.contains(&key.as_str()));
        }
        let mut version = (*version).clone();
        if let Some(map) = version.as_object_mut() {
            map.shift_remove("layers");
        }
        lay(&mut merged, &version, "").map_err(|e| (i, e))?;
    }
    if versions.iter().any(|v| v.get("layers").is_some()) {
        merged["layers"] = kinds::written_out(versions)?;
    }
    Ok(merged)
}
