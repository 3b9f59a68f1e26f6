//! An operation's options as text: `norm(rms eps=1e-5 group=64)`, `residual`, `scale=0.125`.
//!
//! A small tree of words serves printing and parsing alike. Which words an operation has stands beside its options, once in
//! each direction.

use std::fmt;
use std::str::FromStr;

use super::operand::Role;
use crate::graph::dim::{RecurrentId, StateId};
use crate::spec::model::Activation;

/// A word, with a value or with words inside it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::graph) struct Attr {
    pub(in crate::graph) key: String,
    pub(in crate::graph) value: Option<String>,
    pub(in crate::graph) inner: Vec<Attr>,
}

pub(super) fn flag(key: &str) -> Attr {
    tree(key, vec![])
}

pub(super) fn set(key: &str, value: impl ToString) -> Attr {
    Attr {
        value: Some(value.to_string()),
        ..flag(key)
    }
}

pub(super) fn float(key: &str, value: f32) -> Attr {
    set(key, format!("{value:?}"))
}

pub(super) fn tree(key: &str, inner: Vec<Attr>) -> Attr {
    Attr {
        key: key.into(),
        value: None,
        inner,
    }
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(v) = &self.value {
            write!(f, "={v}")?;
        }
        if !self.inner.is_empty() {
            let words: Vec<_> = self.inner.iter().map(Attr::to_string).collect();
            write!(f, "({})", words.join(" "))?;
        }
        Ok(())
    }
}

/// Why words do not make an operation.
#[derive(Debug, thiserror::Error)]
pub(in crate::graph) enum AttrError {
    /// A word that has to be there is not.
    #[error("{op}: option {key} is missing")]
    Missing {
        /// Operation.
        op: String,
        /// The word.
        key: String,
    },
    /// A value that cannot be read.
    #[error("{op}: option {key}={found} is not {expected}")]
    Value {
        /// Operation.
        op: String,
        /// The word.
        key: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// No such operation.
    #[error("unknown operation {0}")]
    Unknown(String),
}

/// The words of an operation that is read, and the operands that it is given, by name.
pub(in crate::graph) struct Words<'a> {
    pub(in crate::graph) op: &'a str,
    pub(in crate::graph) words: &'a [Attr],
    pub(in crate::graph) roles: &'a [String],
}

impl<'a> Words<'a> {
    /// Whether an operand is given.
    pub(super) fn given(&self, role: Role) -> bool {
        let role = role.to_string();
        self.roles.contains(&role)
    }

    pub(super) fn find(&self, key: &str) -> Option<&'a Attr> {
        self.words.iter().find(|a| a.key == key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    pub(super) fn inside(&self, attr: &'a Attr) -> Words<'a> {
        Words {
            words: &attr.inner,
            ..*self
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.find(key).and_then(|a| a.value.as_deref())
    }

    pub(super) fn bad(&self, key: &str, found: &str, expected: &'static str) -> AttrError {
        AttrError::Value {
            op: self.op.into(),
            key: key.into(),
            found: found.into(),
            expected,
        }
    }

    fn missing(&self, key: &str) -> AttrError {
        AttrError::Missing {
            op: self.op.into(),
            key: key.into(),
        }
    }

    pub(super) fn maybe<T: FromStr>(&self, key: &str) -> Result<Option<T>, AttrError> {
        self.text(key)
            .map(|v| v.parse().map_err(|_| self.bad(key, v, "a number")))
            .transpose()
    }

    pub(super) fn get<T: FromStr>(&self, key: &str) -> Result<T, AttrError> {
        self.maybe(key)?.ok_or_else(|| self.missing(key))
    }

    /// The words inside the word `key`.
    pub(super) fn within(&self, key: &str) -> Result<Words<'a>, AttrError> {
        let found = self.find(key).map(|a| self.inside(a));
        found.ok_or_else(|| self.missing(key))
    }

    /// The words inside each word `part`.
    pub(super) fn parts(&self) -> impl Iterator<Item = Words<'a>> + '_ {
        let parts = self.words.iter().filter(|a| a.key == "part");
        parts.map(|a| self.inside(a))
    }

    pub(super) fn state(&self, key: &str) -> Result<StateId, AttrError> {
        let v = self.text(key).ok_or_else(|| self.missing(key))?;
        let number = v.strip_prefix('s').and_then(|n| n.parse().ok());
        number
            .map(StateId)
            .ok_or_else(|| self.bad(key, v, "a state such as s0"))
    }

    pub(super) fn recurrent(&self) -> Result<RecurrentId, AttrError> {
        let word: String = self.get("state")?;
        let number = word.strip_prefix('r').and_then(|n| n.parse().ok());
        number
            .map(RecurrentId)
            .ok_or_else(|| self.bad("state", &word, "a recurrent state such as r0"))
    }

    pub(super) fn act(&self, key: &str) -> Result<Option<Activation>, AttrError> {
        let named = |v| activation(v).ok_or_else(|| self.bad(key, v, "an activation"));
        self.text(key).map(named).transpose()
    }
}

/// The activation of that name.
pub(super) fn activation(name: &str) -> Option<Activation> {
    Activation::ALL.into_iter().find(|a| a.name() == name)
}
