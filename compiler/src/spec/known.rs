//! Names that stand in config files: `tables.json`.

use std::sync::LazyLock;

use serde_json::Value;

/// Tables of names, by what they name.
pub(super) static TABLES: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("tables.json")).expect("tables.json is JSON")
});

/// Whether a name is that of an activation, a scoring function or a scaling.
pub(super) fn is_value(name: &str) -> bool {
    ["activation", "score", "rope_type"]
        .iter()
        .any(|table| TABLES[table].get(name).is_some())
}
