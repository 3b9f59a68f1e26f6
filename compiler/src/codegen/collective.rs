//! Collectives: thread 0 hands this rank's rows to the runtime, which comes back with what all ranks' rows have become. Barriers
//! stand before and after, since a collective is an epoch of its own. A kernel whose result is summed up early says which columns are
//! done, and the runtime may begin.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::StepContext;

use super::kernel::Site;
use super::vectors::count;
use super::writer::{Count, Writer};
use crate::graph::Single;

/// Emits the kernel of a collective, the `index`-th of the program.
pub(super) fn emit(e: &mut Writer, s: &Site, index: usize) {
    let x = s.read(Single::of).x;
    let from = s.rows(e, x);
    let to = s.out(e);
    let rows = s.n_rows(e);
    let is_first = e.b.ins().icmp_imm_s(IntCC::Equal, e.thread, 0);
    e.when(is_first, |e| {
        let (index, stride) = (e.int(index), e.int(from.stride / 4));
        let args = [e.ctx, index, from.base, stride, to.base, rows];
        e.callback(offset_of!(StepContext, collective), &args, None);
    });
}

/// Says that columns `first..first + n` of the kernel's result are done, if they may be summed up before all are.
pub(super) fn finished(e: &mut Writer, s: &Site, first: Value, n: Count) {
    let Some(early) = s.early else { return };
    let from = s.out(e);
    let to = s.rows(e, early.sum);
    let (index, n, stride) = (e.int(early.index), count(e, n), e.int(from.stride / 4));
    let rows = s.n_rows(e);
    let args = [
        e.ctx, e.thread, index, first, n, from.base, stride, to.base, rows,
    ];
    e.callback(offset_of!(StepContext, finished), &args, None);
}
