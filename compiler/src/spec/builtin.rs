//! The specs inside the program: every JSON file of `specs/`, as the build script found them.

use super::error::Error;
use super::near::nearest;

// `FILES`: name and text of each file, by name.
include!(concat!(env!("OUT_DIR"), "/builtin_specs.rs"));

/// Names of the built-in specs, in alphabetical order.
pub fn builtin_names() -> Vec<&'static str> {
    FILES.iter().map(|(name, _)| *name).collect()
}

/// Text of a built-in spec.
pub(super) fn text(name: &str) -> Result<&'static str, Error> {
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
