//! Lists of names in messages, and hints.

use super::super::known::is_value;

pub(super) fn hint(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|n| format!(" (did you mean `{n}`?)"))
        .unwrap_or_default()
}

/// Most names that a message lists.
const MAX_NAMES: usize = 100;

pub(super) fn list(names: &[String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(MAX_NAMES)
        .map(|n| format!("`{n}`"))
        .collect();
    match names.len() {
        0 => "none".into(),
        n if n > MAX_NAMES => format!("{} and {} more", shown.join(", "), n - MAX_NAMES),
        _ => shown.join(", "),
    }
}

/// How a string is written where an expression may stand.
pub(super) fn quoted(name: &str) -> String {
    format!("a string has quotes of its own: `'{name}'`")
}

/// The same, where a name is one that values of configs have.
pub(super) fn meant(name: &str) -> String {
    match is_value(name) {
        true => format!("; {}", quoted(name)),
        false => String::new(),
    }
}
