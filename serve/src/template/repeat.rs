//! The `loop` variable.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::ast::For;
use super::frame::Frame;
use super::value::{List, Value};

/// A loop that is under way.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) definition: Arc<For>,
    pub(super) items: Rc<List>,
    pub(super) index: Cell<usize>,
    /// Loops of the same definition around this one.
    pub(super) depth: usize,
    /// The variables around it, for when it is called.
    pub(super) around: Weak<Frame>,
    /// What `changed` was asked about last. Emptied when the loop ends, so that no value holds itself through it.
    pub(super) last: RefCell<Option<Vec<Value>>>,
}

impl Loop {
    /// What `loop.name` is.
    pub(super) fn attribute(&self, name: &str) -> Option<Value> {
        let (index, length) = (self.index.get(), self.items.items.len());
        let int = |number: usize| Value::Int(number as i128);
        let neighbour = |at: Option<usize>, what: &str| {
            let item = at.and_then(|at| self.items.items.get(at));
            item.cloned().unwrap_or_else(|| Value::undefined(what))
        };
        Some(match name {
            "index" => int(index + 1),
            "index0" => int(index),
            "revindex" => int(length - index),
            "revindex0" => int(length - index - 1),
            "first" => Value::Bool(index == 0),
            "last" => Value::Bool(index + 1 == length),
            "length" => int(length),
            "depth" => int(self.depth + 1),
            "depth0" => int(self.depth),
            "previtem" => neighbour(index.checked_sub(1), "loop.previtem"),
            "nextitem" => neighbour(Some(index + 1), "loop.nextitem"),
            _unknown => return None,
        })
    }
}
