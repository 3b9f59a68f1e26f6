//! What may come next in constrained sequences, computed on a thread of its own while the step runs.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::constraint::{Constraint, ConstraintError, Mask, guarded};
use super::plan::Rows;
use super::request::EngineError;
use super::sequence::Sequence;

/// A constraint on its way there.
struct Order {
    index: usize,
    constraint: Box<dyn Constraint>,
}

/// And on its way back.
struct Reply {
    index: usize,
    constraint: Box<dyn Constraint>,
    mask: Result<Mask, ConstraintError>,
}

/// The thread, and what is under way.
pub(super) struct Masks {
    orders: Option<Sender<Order>>,
    replies: Receiver<Reply>,
    under_way: usize,
    thread: Option<JoinHandle<()>>,
}

impl Masks {
    /// Starts the thread.
    pub(super) fn start() -> std::io::Result<Masks> {
        let (orders, received) = channel::<Order>();
        let (replies_to, replies) = channel();
        let builder = std::thread::Builder::new().name("masks".into());
        let thread = builder.spawn(move || {
            for Order {
                index,
                mut constraint,
            } in received
            {
                let mask = guarded(|| constraint.mask());
                let reply = Reply {
                    index,
                    constraint,
                    mask,
                };
                if replies_to.send(reply).is_err() {
                    return;
                }
            }
        })?;
        Ok(Masks {
            orders: Some(orders),
            replies,
            under_way: 0,
            thread: Some(thread),
        })
    }

    /// Begins with those of all sequences of a step that will choose a token after it.
    pub(super) fn begin(&mut self, running: &mut [Sequence<'_>], rows: &[Rows]) {
        for row in rows {
            let sequence = &mut running[row.index];
            if sequence.read + row.prompt < sequence.prompt().len() {
                continue;
            }
            let Some((constraint, orders)) = sequence.constraint.take().zip(self.orders.as_ref())
            else {
                continue;
            };
            let index = row.index;
            if orders.send(Order { index, constraint }).is_ok() {
                self.under_way += 1;
            }
        }
    }

    /// Gives constraints back with their masks; returns the sequences that cannot go on.
    pub(super) fn end(&mut self, running: &mut [Sequence<'_>]) -> Vec<(usize, EngineError)> {
        let mut failed = Vec::new();
        while self.under_way > 0 {
            self.under_way -= 1;
            let Ok(reply) = self.replies.recv() else {
                break;
            };
            let sequence = &mut running[reply.index];
            sequence.constraint = Some(reply.constraint);
            match reply.mask {
                Ok(mask) => sequence.mask = Some(mask),
                Err(error) => failed.push((reply.index, error.into())),
            }
        }
        failed
    }
}

impl Drop for Masks {
    fn drop(&mut self) {
        self.orders = None;
        // It has nothing to report.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
