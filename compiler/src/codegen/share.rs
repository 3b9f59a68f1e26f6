//! How chunks are shared out among threads, and where these wait for each other.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, MemFlagsData, Value};
use graver_runtime::abi::{StepContext, stretch};

use super::writer::Writer;

/// How chunks are handed to threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// A contiguous run for each thread.
    Static,
    /// From a counter.
    Claimed(usize),
}

impl Writer<'_> {
    /// Calls `body` with each chunk that falls to this thread.
    pub(super) fn chunks(&mut self, n: Value, share: Share, body: impl FnOnce(&mut Self, Value)) {
        match share {
            Share::Static => {
                let (from, to) = self.own_run(n);
                self.own_chunks(from, to, body);
            }
            Share::Claimed(counter) => self.claim(n, counter, body),
        }
    }

    /// The run of `n` chunks that is this thread's.
    pub(super) fn own_run(&mut self, n: Value) -> (Value, Value) {
        let threads = self.field(offset_of!(StepContext, n_threads));
        self.part(n, self.thread, threads)
    }

    /// The `i`-th of `parts` runs that are as long as each other, or nearly, and together all of `n`.
    pub(super) fn part(&mut self, n: Value, i: Value, parts: Value) -> (Value, Value) {
        let next = self.plus(i, 1);
        let (from, to) = (self.mul(i, n), self.mul(next, n));
        (self.b.ins().udiv(from, parts), self.b.ins().udiv(to, parts))
    }

    /// What a run has of the `n` that come behind `before`, counted from these on.
    pub(super) fn inside(
        &mut self,
        (from, to): (Value, Value),
        before: Value,
        n: Value,
    ) -> [Value; 2] {
        [from, to].map(|i| {
            let i = self.sub(i, before);
            self.clamp(i, n)
        })
    }

    fn claim(&mut self, n: Value, counter: usize, body: impl FnOnce(&mut Self, Value)) {
        let counters = self.field(offset_of!(StepContext, counters));
        let at = self.plus(counters, counter * 8);
        let (head, inner, done) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        self.jump(head);
        self.b.switch_to_block(head);
        let one = self.int(1);
        let chunk =
            self.b
                .ins()
                .atomic_rmw(I64, MemFlagsData::trusted(), AtomicRmwOp::Add, at, one);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, chunk, n);
        self.b.ins().brif(more, inner, &[], done, &[]);
        self.b.switch_to_block(inner);
        let zero = self.int(0);
        let chunk = self.chunk(chunk, zero, n);
        body(self, chunk);
        self.jump(head);
        self.b.switch_to_block(done);
    }

    /// Waits for all threads in the midst of a kernel.
    pub(super) fn barrier(&mut self) {
        self.meet(true, self.stamped.map(|kernel| stretch(kernel, true)));
    }

    /// Begins stretch `timed` of the thread's time, if times are taken; with `barrier`, once all threads have come. A barrier
    /// takes the time itself: only there it is known whether the thread has to wait, and so needs a second stamp.
    pub(super) fn meet(&mut self, barrier: bool, timed: Option<usize>) {
        match (barrier, timed) {
            (true, Some(s)) => self.sync(offset_of!(StepContext, timed_barrier), Some(s)),
            (true, None) => self.sync(offset_of!(StepContext, barrier), None),
            (false, Some(s)) => self.sync(offset_of!(StepContext, stamp), Some(s)),
            (false, None) => {}
        }
    }

    /// Calls what a context field points to with the context, the thread and a number.
    fn sync(&mut self, field: usize, number: Option<usize>) {
        let mut args = vec![self.ctx, self.thread];
        args.extend(number.map(|n| self.int(n)));
        self.callback(field, &args, None);
    }
}
