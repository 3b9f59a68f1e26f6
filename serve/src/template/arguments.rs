//! What a filter, a method or a macro is called with.

use std::sync::Arc;

use super::error::{Fault, Outcome};
use super::value::Value;

/// Values by place and by name.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(Arc<str>, Value)>,
}

impl Given {
    /// Values by place.
    pub(super) fn of(positional: Vec<Value>) -> Given {
        Given {
            positional,
            named: Vec::new(),
        }
    }

    /// The values of `N` parameters of `callee`, none where it is not given.
    pub(super) fn bind<const N: usize>(
        self,
        callee: &str,
        parameters: [&str; N],
    ) -> Outcome<[Option<Value>; N]> {
        let mut bound = [const { None }; N];
        if self.positional.len() > N {
            let found = self.positional.len();
            let what = format!("{callee}: {found} arguments, expected at most {N}");
            return Err(Fault::wrong(what));
        }
        for (place, value) in bound.iter_mut().zip(self.positional) {
            *place = Some(value);
        }
        for (name, value) in self.named {
            let place = parameters.iter().position(|known| **known == *name);
            match place {
                Some(place) if bound[place].is_none() => bound[place] = Some(value),
                Some(_) => return Err(Fault::wrong(format!("{callee}: {name} is given twice"))),
                None => {
                    let what = format!("{callee}: no argument is called {name}");
                    return Err(Fault::wrong(what));
                }
            }
        }
        Ok(bound)
    }

    /// The one value that `callee` takes.
    pub(super) fn one(self, callee: &str, parameter: &str) -> Outcome<Value> {
        let [value] = self.bind(callee, [parameter])?;
        value.ok_or_else(|| Fault::wrong(format!("{callee}: {parameter} is not given")))
    }

    /// Nothing.
    pub(super) fn none(self, callee: &str) -> Outcome<()> {
        self.bind(callee, []).map(|[]| ())
    }
}

/// A text, where one is expected.
pub(super) fn as_text(value: &Value, callee: &str) -> Outcome<Arc<str>> {
    match value.defined()? {
        Value::Text(text) => Ok(Arc::clone(text)),
        other => {
            let found = other.type_name();
            Err(Fault::wrong(format!(
                "{callee}: found a {found}, expected a str"
            )))
        }
    }
}

/// A whole number, where one is expected.
pub(super) fn as_int(value: &Value, callee: &str) -> Outcome<i128> {
    let found = value.defined()?;
    found.as_int().ok_or_else(|| {
        let found = found.type_name();
        Fault::wrong(format!("{callee}: found a {found}, expected an int"))
    })
}

/// A count; negative ones are 0.
pub(super) fn as_count(value: &Value, callee: &str) -> Outcome<usize> {
    let number = as_int(value, callee)?.max(0);
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}
