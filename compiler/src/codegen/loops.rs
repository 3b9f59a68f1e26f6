//! Control flow of generated code: loops over ranges, over vectors of elements, and sums.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, I64};
use cranelift_codegen::ir::{Block, InstBuilder, Value};
use cranelift_frontend::Variable;

use super::writer::{Count, Lanes, Writer};

impl Writer<'_> {
    /// `for i in (from..to).step_by(step)`.
    pub(super) fn range(
        &mut self,
        from: Value,
        to: Value,
        step: usize,
        body: impl FnOnce(&mut Self, Value),
    ) {
        self.advance(from, to, |e, i| {
            body(e, i);
            e.int(step)
        });
    }

    /// Calls `body` with the beginning and the length of each piece of `from..to`, all but the last of which have `most`.
    pub(super) fn pieces(
        &mut self,
        from: Value,
        to: Value,
        most: usize,
        body: impl FnOnce(&mut Self, Value, Value),
    ) {
        self.range(from, to, most, |e, i| {
            let (left, most) = (e.sub(to, i), e.int(most));
            let n = e.min(left, most);
            body(e, i, n);
        });
    }

    /// `while i < to`, from `from` on; `body` gives how much is added to `i`.
    pub(super) fn advance(
        &mut self,
        from: Value,
        to: Value,
        body: impl FnOnce(&mut Self, Value) -> Value,
    ) {
        let (head, inner, done) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        let i = self.b.append_block_param(head, I64);
        self.b.ins().jump(head, &[from.into()]);
        self.b.switch_to_block(head);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, i, to);
        self.b.ins().brif(more, inner, &[], done, &[]);
        self.b.switch_to_block(inner);
        let step = body(self, i);
        let next = self.add(i, step);
        self.b.ins().jump(head, &[next.into()]);
        self.b.switch_to_block(done);
    }

    /// `for i in 0..n`.
    pub(super) fn repeat(&mut self, n: Value, body: impl FnOnce(&mut Self, Value)) {
        let zero = self.int(0);
        self.range(zero, n, 1, body);
    }

    pub(super) fn when(&mut self, condition: Value, body: impl FnOnce(&mut Self)) {
        let (inner, done) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(condition, inner, &[], done, &[]);
        self.b.switch_to_block(inner);
        body(self);
        self.jump(done);
        self.b.switch_to_block(done);
    }

    pub(super) fn jump(&mut self, to: Block) {
        self.b.ins().jump(to, &[]);
    }

    /// Runs `body` over `n` elements, four at a time and then one by one; the value is the byte offset. Four vectors make a turn, where there are
    /// as many, so that the processor sees past what one of them waits for.
    pub(super) fn each(&mut self, n: Count, mut body: impl FnMut(&mut Self, Value, Lanes)) {
        let (long, whole, end) = match n {
            Count::Known(n) => (self.int(n / 16 * 64), self.int(n / 4 * 16), self.int(n * 4)),
            Count::Dynamic(n) => {
                let end = self.times(n, 4);
                let [long, whole] = [-64, -16].map(|mask| self.b.ins().band_imm_s(end, mask));
                (long, whole, end)
            }
        };
        let zero = self.int(0);
        if !matches!(n, Count::Known(0..=15)) {
            self.range(zero, long, 64, |e, i| {
                for vector in 0..4 {
                    let at = e.plus(i, 16 * vector);
                    body(e, at, Lanes::Four);
                }
            });
        }
        if !matches!(n, Count::Known(n) if n % 16 < 4) {
            self.range(long, whole, 16, |e, i| body(e, i, Lanes::Four));
        }
        if !matches!(n, Count::Known(n) if n.is_multiple_of(4)) {
            self.range(whole, end, 4, |e, i| body(e, i, Lanes::One));
        }
    }

    /// Sums `term` over `n` elements, in an order that depends on `n` alone.
    pub(super) fn sum(
        &mut self,
        n: usize,
        mut term: impl FnMut(&mut Self, Value, Lanes) -> Value,
    ) -> Value {
        let zero = self.float(0.0);
        let zeros = self.b.ins().splat(F32X4, zero);
        let accumulators: Vec<Variable> = (0..4).map(|_| self.var(F32X4, zeros)).collect();
        let tail = self.var(F32, zero);
        let (long, whole, end) = (self.int(n / 16 * 64), self.int(n / 4 * 16), self.int(n * 4));
        let start = self.int(0);
        self.range(start, long, 64, |e, i| {
            for (lane, acc) in accumulators.iter().enumerate() {
                let at = e.plus(i, lane * 16);
                let x = term(e, at, Lanes::Four);
                e.accumulate(*acc, x);
            }
        });
        self.range(long, whole, 16, |e, i| {
            let x = term(e, i, Lanes::Four);
            e.accumulate(accumulators[0], x);
        });
        self.range(whole, end, 4, |e, i| {
            let x = term(e, i, Lanes::One);
            e.accumulate(tail, x);
        });
        let v: Vec<Value> = accumulators.iter().map(|a| self.b.use_var(*a)).collect();
        let (a, b) = (self.b.ins().fadd(v[0], v[1]), self.b.ins().fadd(v[2], v[3]));
        let all = self.b.ins().fadd(a, b);
        let lanes: Vec<Value> = (0..4u8).map(|i| self.b.ins().extractlane(all, i)).collect();
        let (a, b) = (
            self.b.ins().fadd(lanes[0], lanes[1]),
            self.b.ins().fadd(lanes[2], lanes[3]),
        );
        let sum = self.b.ins().fadd(a, b);
        let tail = self.b.use_var(tail);
        self.b.ins().fadd(sum, tail)
    }

    fn accumulate(&mut self, var: Variable, x: Value) {
        let old = self.b.use_var(var);
        let new = self.b.ins().fadd(old, x);
        self.b.def_var(var, new);
    }
}
