//! Names of steps and of values that have been met so far.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Fault, unknown};

/// What has been named so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Steps; their names are unique where weight slots share a table.
    pub(super) names: BTreeSet<String>,
    /// Values with their widths.
    pub(super) values: BTreeMap<String, usize>,
}

impl Seen {
    /// Nothing but values.
    pub(super) fn values<'n>(values: impl Iterator<Item = (&'n str, usize)>) -> Seen {
        let values = values.map(|(name, width)| (name.to_string(), width));
        Seen {
            names: BTreeSet::new(),
            values: values.collect(),
        }
    }

    /// Width of a value.
    pub(super) fn width(&self, name: &str) -> Result<usize, Fault> {
        let known = || self.values.keys().map(String::as_str);
        let found = self.values.get(name).copied();
        found.ok_or_else(|| unknown("value", name, known()))
    }

    /// Names a value; a name that is taken keeps its width.
    pub(super) fn keep(&mut self, name: &str, width: usize) -> Result<(), Fault> {
        check_name(name)?;
        match self.values.insert(name.into(), width) {
            Some(expected) if expected != width => Err(Fault::Mismatch {
                what: "its output's width",
                found: width,
                expected,
            }),
            _ => Ok(()),
        }
    }
}

/// That dumps can show a value's name.
fn check_name(name: &str) -> Result<(), Fault> {
    match !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        true => Ok(()),
        false => Err(Fault::ValueName(name.into())),
    }
}

/// That a value handed from layer to layer has a name that means nothing else there.
pub(super) fn check_carried(name: &str) -> Result<(), Fault> {
    check_name(name)?;
    let number = name.strip_prefix("rope").filter(|n| !n.is_empty());
    let is_angles = number.is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let meaning = match name {
        "h" => "the residual stream",
        "logits" => "what the head gives",
        _ if is_angles => "the angles of a rope",
        _ => return Ok(()),
    };
    let name = name.into();
    Err(Fault::Reserved { name, meaning })
}
