//! Names of steps and of values that have been met so far.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Fault, unknown};
use super::model::Listing;

/// What has been named so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Steps; their names are unique where weight slots share a table.
    pub(super) names: BTreeSet<String>,
    /// Values with their widths.
    pub(super) values: BTreeMap<String, usize>,
    /// Those that list positions, and what each lists.
    listings: BTreeMap<String, Listing>,
}

impl Seen {
    /// Nothing but values.
    pub(super) fn values<'n>(values: impl Iterator<Item = (&'n str, usize)>) -> Seen {
        let values = values.map(|(name, width)| (name.to_string(), width));
        Seen {
            values: values.collect(),
            ..Seen::default()
        }
    }

    /// What a value lists for each token.
    pub(super) fn listing(&self, name: &str) -> Result<Listing, Fault> {
        self.width(name)?;
        let found = self.listings.get(name).copied();
        found.ok_or_else(|| Fault::Range {
            found: format!("`{name}`, which does not list positions"),
            expected: "the name of what an `index` gives".into(),
        })
    }

    /// Says what a named value lists, if it does.
    pub(super) fn lists(&mut self, name: &str, listing: Option<Listing>) {
        match listing {
            Some(listing) => drop(self.listings.insert(name.into(), listing)),
            None => drop(self.listings.remove(name)),
        }
    }

    /// Puts its values in the place of those that `other` has; names of steps stay taken.
    pub(super) fn values_again(self, other: &mut Seen) {
        (other.values, other.listings) = (self.values, self.listings);
    }

    /// Takes over from `inner`, which is behind a part of the model, the values that are handed on and have been made there.
    pub(super) fn hand_on(
        &mut self,
        inner: &Seen,
        carried: &[(String, usize)],
    ) -> Result<(), Fault> {
        for (name, expected) in carried {
            let Some(found) = inner.values.get(name).copied() else {
                continue;
            };
            if found != *expected {
                let (what, expected) = ("its output's width", *expected);
                return Err(Fault::Mismatch {
                    what,
                    found,
                    expected,
                });
            }
            self.values.insert(name.clone(), found);
            self.lists(name, inner.listings.get(name).copied());
        }
        Ok(())
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
