//! Variables: a frame for each block that has its own, and the frames around it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::error::Outcome;
use super::fuel::Fuel;
use super::names::{self, Search};
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
    pub(super) fn get(&self, name: &str, fuel: &Fuel) -> Outcome<Option<Value>> {
        let mut search = Search::new(name, fuel);
        let mut frame = Some(self);
        while let Some(here) = frame {
            let variables = here.variables.borrow();
            if let Some(at) = search.among(&variables)? {
                return Ok(Some(variables[at].1.clone()));
            }
            frame = here.around.as_deref();
        }
        Ok(None)
    }

    /// Sets a variable of this frame. What was there before is dropped when nothing is borrowed any more.
    pub(super) fn set(&self, name: &Arc<str>, value: Value, fuel: &Fuel) -> Outcome<()> {
        let mut variables = self.variables.borrow_mut();
        let before = match names::position(&variables, name, fuel)? {
            Some(at) => Some(std::mem::replace(&mut variables[at].1, value)),
            None => {
                variables.push((Arc::clone(name), value));
                None
            }
        };
        drop(variables);
        drop(before);
        Ok(())
    }
}
