//! What checked code asks: before each access where it may go, and which chunk to compute.

use std::mem::offset_of;

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::{CHECK_WRITE, StepContext};

use super::writer::Writer;

impl Writer<'_> {
    /// Where to access `bytes` bytes at `at + offset`: there, or where a check sends it.
    pub(super) fn allowed(
        &mut self,
        at: Value,
        offset: usize,
        bytes: u32,
        write: bool,
    ) -> (Value, i32) {
        if !self.checked {
            let offset = i32::try_from(offset).expect("an offset inside a row or a table");
            return (at, offset);
        }
        let at = self.plus(at, offset);
        let mark = if write { CHECK_WRITE as i64 } else { 0 };
        let bytes = self.b.ins().iconst(I64, i64::from(bytes) | mark);
        let args = [self.ctx, self.thread, at, bytes];
        let at = self.callback(offset_of!(StepContext, check), &args, Some(I64));
        (at.expect("it returns an address"), 0)
    }

    /// Says that kernel `place` of the program begins, for tile `tile` where it runs once for each.
    pub(super) fn enter_kernel(&mut self, place: usize, tile: Option<Value>) {
        self.checked = true;
        let (place, tile) = (self.int(place), tile.unwrap_or_else(|| self.int(0)));
        let args = [
            self.ctx,
            self.thread,
            self.weights,
            self.states,
            place,
            tile,
        ];
        self.callback(offset_of!(StepContext, enter_kernel), &args, None);
    }

    /// The chunk of `from..to` to compute when it is chunk `index`'s turn.
    pub(super) fn chunk(&mut self, index: Value, from: Value, to: Value) -> Value {
        if !self.checked {
            return index;
        }
        let args = [self.ctx, self.thread, index, from, to];
        let chunk = self.callback(offset_of!(StepContext, chunk), &args, Some(I64));
        chunk.expect("it returns a chunk")
    }

    /// Calls `body` with each chunk of `from..to`, all of which are this thread's.
    pub(super) fn own_chunks(
        &mut self,
        from: Value,
        to: Value,
        body: impl FnOnce(&mut Self, Value),
    ) {
        self.range(from, to, 1, |e, i| {
            let chunk = e.chunk(i, from, to);
            body(e, chunk);
        });
    }
}
