//! Collectives: thread 0 hands this rank's rows to the runtime, which comes back with what all ranks' rows have become. Barriers
//! stand before and after, since a collective is an epoch of its own.

use std::mem::offset_of;

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::IntCC;
use graver_runtime::abi::StepContext;

use super::kernel::Site;
use super::writer::Writer;
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
