//! A step while it is read, and what it knows of the model around it.

use serde_json::Value;

use super::error::{Fault, Read};
use super::form;
use super::model::Rope;
use super::part::Part;
use super::read::{Fields, Node};
use super::seen::Seen;

/// What steps need to know about the model around them.
#[derive(Clone, Copy)]
pub(super) struct Around<'m> {
    pub(super) hidden: usize,
    pub(super) vocab: usize,
    pub(super) context: usize,
    pub(super) ropes: &'m [Rope],
    pub(super) part: Part,
}

impl<'m> Around<'m> {
    /// The same around another part of the spec.
    pub(super) fn within(self, part: Part) -> Around<'m> {
        Around { part, ..self }
    }
}

/// A step while it is read.
pub(super) struct At<'m, 's, 'a> {
    pub(super) node: Node<'s, 'a>,
    pub(super) name: String,
    pub(super) op: &'a Value,
    pub(super) around: Around<'m>,
    pub(super) width: Option<usize>,
    pub(super) seen: &'m Seen,
}

impl<'s, 'a> At<'_, 's, 'a> {
    pub(super) fn fields(&self) -> Read<Fields<'s, 'a>> {
        let keys = form::keys_of(self.op).map_err(|f| self.node.fault(f))?;
        self.node.object_of(&[form::STEP, keys])
    }

    /// The named value that it reads, if any.
    pub(super) fn from(&self) -> Read<Option<String>> {
        let node = self.node.object_unchecked()?.optional("from")?;
        node.map(|n| n.literal("the name of a value").map(String::from))
            .transpose()
    }

    /// The name that its result gets, if any.
    pub(super) fn keep(&self) -> Read<Option<String>> {
        let node = self.node.object_unchecked()?.optional("as")?;
        node.map(|n| n.literal("a name for the result").map(String::from))
            .transpose()
    }

    /// With the named value's width for its own input's.
    pub(super) fn with_input(mut self, name: Option<&str>) -> Read<Self> {
        if let Some(name) = name {
            self.width = Some(self.seen.width(name).map_err(|f| self.node.fault(f))?);
        }
        Ok(self)
    }

    /// Adds a state of so many elements to what a sequence has.
    pub(super) fn add_state(&self, sizes: [usize; 3]) -> Read<()> {
        let total = &self.node.names.params.total;
        total.add_state(&sizes).map_err(|f| self.node.fault(f))
    }

    pub(super) fn slot(&self, field: &str) -> String {
        format!("{}.{field}", self.name)
    }

    /// Width of the input; only an embedding does without.
    pub(super) fn width(&self) -> Read<usize> {
        self.width.ok_or_else(|| self.node.fault(Fault::NothingYet))
    }
}
