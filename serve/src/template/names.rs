//! Values by name, searched from the first to the last: variables, fields, arguments.

use std::sync::Arc;

use super::error::Outcome;
use super::fuel::Fuel;

/// Names that are passed for a unit.
const NAMES: usize = 32;

/// A search for a name, in one list after the other, paid for as it goes on.
pub(super) struct Search<'s> {
    name: &'s str,
    fuel: &'s Fuel,
    /// Names passed that are not paid for yet, a list counting as one more.
    passed: usize,
}

impl<'s> Search<'s> {
    pub(super) fn new(name: &'s str, fuel: &'s Fuel) -> Search<'s> {
        let passed = 0;
        Search { name, fuel, passed }
    }

    /// Where the name is in a list.
    pub(super) fn among<T>(&mut self, all: &[(Arc<str>, T)]) -> Outcome<Option<usize>> {
        self.passed += 1 + all.len();
        self.fuel.spend(self.passed / NAMES)?;
        self.passed %= NAMES;
        for (at, (known, _)) in all.iter().enumerate() {
            if known.len() == self.name.len() {
                self.fuel.look(known.len())?;
                if **known == *self.name {
                    return Ok(Some(at));
                }
            }
        }
        Ok(None)
    }
}

/// Where a name is in a list.
pub(super) fn position<T>(
    all: &[(Arc<str>, T)],
    name: &str,
    fuel: &Fuel,
) -> Outcome<Option<usize>> {
    Search::new(name, fuel).among(all)
}
