//! Variables: a frame for each block that has its own, and the frames around it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::value::Value;

/// The variables of one block. No frame is held by a value that it holds: macros and loops know theirs weakly.
#[derive(Debug, Default)]
pub(super) struct Frame {
    variables: RefCell<Vec<(Arc<str>, Value)>>,
    around: Option<Rc<Frame>>,
}

impl Frame {
    /// A frame within another.
    pub(super) fn within(around: &Rc<Frame>) -> Rc<Frame> {
        Rc::new(Frame {
            variables: RefCell::default(),
            around: Some(Rc::clone(around)),
        })
    }

    /// Looks a variable up, from the inside out.
    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let mut frame = Some(self);
        while let Some(here) = frame {
            let variables = here.variables.borrow();
            if let Some((_, value)) = variables.iter().find(|(known, _)| &**known == name) {
                return Some(value.clone());
            }
            frame = here.around.as_deref();
        }
        None
    }

    /// Sets a variable of this frame. What was there before is dropped when nothing is borrowed any more.
    pub(super) fn set(&self, name: &Arc<str>, value: Value) {
        let mut variables = self.variables.borrow_mut();
        let place = variables.iter_mut().find(|(known, _)| known == name);
        let before = match place {
            Some((_, place)) => Some(std::mem::replace(place, value)),
            None => {
                variables.push((Arc::clone(name), value));
                None
            }
        };
        drop(variables);
        drop(before);
    }
}
