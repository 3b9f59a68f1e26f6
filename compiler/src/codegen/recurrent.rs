//! Kernels with recurrent state: the tokens of a sequence in order, its heads and channels side by side.
//!
//! Work is cut over segments × heads, or × runs of channels; the steps of the delta rule are the micro-kernel's.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use graver_runtime::abi::{DeltaRun, KernelTable, StepContext};

use super::kernel::{Rows, Site};
use super::norms::norm;
use super::tiles::{by_segment, by_segment_and_columns};
use super::vectors::{activate, add_weighted, combine, copy, scale_by};
use super::writer::{Count, Lanes, Writer};
use crate::graph::{Binary, DecayOperands, DeltaRule, NodeId, NormVectors, RecurrentId, ShortConv};
use crate::schedule::scratch::{ConvScratch, DecayScratch, DeltaScratch};

impl Site<'_> {
    /// Address of a slot's recurrent state.
    pub(super) fn recurrent(&self, e: &mut Writer, id: RecurrentId, slot: Value) -> Value {
        let bases = e.field(offset_of!(StepContext, slot_base));
        let at = e.at(bases, slot, 8);
        let base = e.field_at(at, 0);
        let offset = e.field_at(e.states, self.graph.recurrent_buffer(id) * 8);
        e.add(base, offset)
    }
}

/// `exp(−exp(rate[h]) · softplus(x + bias))` of one row, or `exp(lower · sigmoid(exp(rate[h]) · (x + bias)))`.
pub(super) fn decay(e: &mut Writer, s: &Site, (heads, lower): (usize, Option<f32>), t: Value) {
    let n = s.graph.width(s.kernel.node);
    let o = s.read(DecayOperands::of);
    let x = s.row(e, o.x, t);
    let (rate, bias) = (s.pointer(e, o.rate), s.pointer(e, o.bias));
    let (to, rates) = (s.out_row(e, t), e.scratch(DecayScratch::of(heads).rates));
    combine(e, Binary::Add, x, bias, to, Count::Known(n));
    let (count, heads_count) = (e.int(n), e.int(heads));
    if lower.is_none() {
        e.map(offset_of!(KernelTable, softplus), to, count);
    }
    copy(e, rate, rates, heads, 1.0);
    e.map(offset_of!(KernelTable, exp), rates, heads_count);
    e.repeat(heads_count, |e, h| {
        let own = e.at(rates, h, 4);
        let rate = e.load(Lanes::One, own, 0);
        let factor = match lower {
            Some(_) => rate,
            None => e.b.ins().fneg(rate),
        };
        let head = e.at(to, h, n / heads * 4);
        scale_by(e, head, Count::Known(n / heads), factor);
    });
    if let Some(lower) = lower {
        e.map(offset_of!(KernelTable, sigmoid), to, count);
        copy(e, to, to, n, lower);
    }
    e.map(offset_of!(KernelTable, exp), to, count);
}

/// Tokens that a convolution takes together where all that they see lies in the step: weights are read once for them, and so is
/// what several of them see.
const TOGETHER: usize = 4;

/// The weights of a run of channels, `[taps, width]`.
#[derive(Clone, Copy)]
struct Taps {
    base: Value,
    width: usize,
}

/// Some channels of one segment.
struct Channels {
    /// The step's rows, from the segment's first token and the first channel on.
    x: Rows,
    /// The rows before them, `[taps − 1, all channels]`, from the first channel on.
    past: Rows,
    taps: usize,
    /// How many.
    n: Value,
}

/// Emits a short convolution.
pub(super) fn short_conv(e: &mut Writer, s: &Site, c: &ShortConv) {
    let all = s.graph.width(s.kernel.node);
    let o = s.read(|take| c.operands(take));
    by_segment_and_columns(e, s, |e, segment, columns| {
        let (first, width) = (columns.first, columns.width);
        let (x, out) = (s.rows(e, o.x), s.out(e));
        let [x, out] = [x, out].map(|rows| Rows {
            base: {
                let row = rows.row(e, segment.start_row);
                e.at(row, first, 4)
            },
            ..rows
        });
        let past = s.recurrent(e, c.state, segment.slot);
        let channels = Channels {
            x,
            past: Rows {
                base: e.at(past, first, 4),
                stride: all * 4,
            },
            taps: c.taps,
            n: columns.count(e),
        };
        let taps = side_by_side(e, s, (c, o.weight), first, width, channels.n);
        let weights = Taps { base: taps, width };
        channels.tokens(e, segment.queries, |e, t, together| {
            match together {
                1 => channels.sum(e, weights, t, out),
                _ => channels.sums(e, weights, t, out),
            }
            for k in 0..together {
                let t = e.plus(t, k);
                let to = out.row(e, t);
                follow(e, c, to, channels.n);
            }
        });
        channels.remember(e, segment.queries);
    });
}

/// The weights of a run of channels as `[taps, width]` in scratch; gives their address.
fn side_by_side(
    e: &mut Writer,
    s: &Site,
    (c, w): (&ShortConv, NodeId),
    first: Value,
    width: usize,
    n: Value,
) -> Value {
    let stride = s.weight(w).1.row_stride;
    let base = s.pointer(e, w);
    let (from, to) = (
        e.at(base, first, stride),
        e.scratch(ConvScratch::of(c).taps),
    );
    e.repeat(n, |e, i| {
        let (from, to) = (e.at(from, i, stride), e.at(to, i, 4));
        for j in 0..c.taps {
            let w = e.load(Lanes::One, from, j * 4);
            e.store(w, to, j * width * 4);
        }
    });
    to
}

/// Activation and norm of a run of channels.
fn follow(e: &mut Writer, c: &ShortConv, at: Value, n: Value) {
    if let Some(act) = c.act {
        activate(e, act, at, n);
    }
    if let Some(own) = &c.norm {
        let group = e.int(own.group);
        let groups = e.b.ins().udiv(n, group);
        e.repeat(groups, |e, g| {
            let at = e.at(at, g, own.group * 4);
            norm(e, own, at, at, NormVectors::NONE);
        });
    }
}

impl Channels {
    /// The row of position `index`, counted from the segment's first token; those before it have negative ones.
    fn row(&self, e: &mut Writer, index: Value) -> Value {
        let (new, from_oldest) = (self.x.row(e, index), e.plus(index, self.taps - 1));
        let old = self.past.row(e, from_oldest);
        let before = e.b.ins().icmp_imm_s(IntCC::SignedLessThan, index, 0);
        e.b.ins().select(before, old, new)
    }

    /// Calls `body` with all tokens in order, one by one or [`TOGETHER`]: the first of them, and how many.
    fn tokens(
        &self,
        e: &mut Writer,
        tokens: Value,
        mut body: impl FnMut(&mut Writer, Value, usize),
    ) {
        let (start, most) = (e.int(0), e.int(self.taps - 1));
        let first = e.min(tokens, most);
        let left = e.sub(tokens, first);
        let whole = e.b.ins().band_imm_s(left, -(TOGETHER as i64));
        let rest = e.add(first, whole);
        e.range(start, first, 1, |e, t| body(e, t, 1));
        e.range(first, rest, TOGETHER, |e, t| body(e, t, TOGETHER));
        e.range(rest, tokens, 1, |e, t| body(e, t, 1));
    }

    /// [`Channels::sum`] of [`TOGETHER`] tokens, which see nothing before the step.
    fn sums(&self, e: &mut Writer, taps: Taps, t: Value, out: Rows) {
        let oldest = e.b.ins().iadd_imm_s(t, 1 - self.taps as i64);
        let (from, to) = (self.x.row(e, oldest), out.row(e, t));
        e.each(Count::Dynamic(self.n), |e, i, lanes| {
            let [weights, from, to] = [taps.base, from, to].map(|base| e.add(base, i));
            let weights = (0..self.taps).map(|j| e.load(lanes, weights, j * taps.width * 4));
            let weights: Vec<Value> = weights.collect();
            let seen =
                (0..self.taps + TOGETHER - 1).map(|r| e.load(lanes, from, r * self.x.stride));
            let seen: Vec<Value> = seen.collect();
            for k in 0..TOGETHER {
                let mut sum = None;
                for (w, x) in weights.iter().zip(&seen[k..]) {
                    let term = e.b.ins().fmul(*x, *w);
                    sum = Some(sum.map_or(term, |sum| e.b.ins().fadd(sum, term)));
                }
                e.store(sum.expect("a convolution has taps"), to, k * out.stride);
            }
        });
    }

    /// `out[c] = Σ_j taps[j, c] · x[t − taps + 1 + j, c]`, in the order of `j`.
    fn sum(&self, e: &mut Writer, taps: Taps, t: Value, out: Rows) {
        let (out, width) = (out.row(e, t), taps.width);
        let rows: Vec<Value> = (0..self.taps)
            .map(|j| {
                let back = (self.taps - 1 - j) as i64;
                let index = e.b.ins().iadd_imm_s(t, -back);
                self.row(e, index)
            })
            .collect();
        e.each(Count::Dynamic(self.n), |e, i, lanes| {
            let weights = e.add(taps.base, i);
            let mut sum = None;
            for (j, row) in rows.iter().enumerate() {
                let at = e.add(*row, i);
                let (x, w) = (e.load(lanes, at, 0), e.load(lanes, weights, j * width * 4));
                let term = e.b.ins().fmul(x, w);
                sum = Some(sum.map_or(term, |sum| e.b.ins().fadd(sum, term)));
            }
            let to = e.add(out, i);
            e.store(sum.expect("a convolution has taps"), to, 0);
        });
    }

    /// Keeps the last rows for the next step. Rows move towards the front alone, so that none is overwritten before it moves.
    fn remember(&self, e: &mut Writer, tokens: Value) {
        for r in 0..self.taps - 1 {
            let back = (self.taps - 1 - r) as i64;
            let index = e.b.ins().iadd_imm_s(tokens, -back);
            let (from, place) = (self.row(e, index), e.int(r));
            let to = self.past.row(e, place);
            e.each(Count::Dynamic(self.n), |e, i, lanes| {
                let (from, to) = (e.add(from, i), e.add(to, i));
                let x = e.load(lanes, from, 0);
                e.store(x, to, 0);
            });
        }
    }
}

/// Emits the gated delta rule.
pub(super) fn delta_rule(e: &mut Writer, s: &Site, d: &DeltaRule) {
    let o = s.read(|take| d.operands(take));
    by_segment(e, s, d.heads, |e, segment, head| {
        let key_head = match d.in_turn {
            true => {
                let key_heads = e.int(d.key_heads);
                e.b.ins().urem(head, key_heads)
            }
            false => {
                let group = e.int(d.group());
                e.b.ins().udiv(head, group)
            }
        };
        // A vector that all tokens see has no columns.
        let constant = s.graph.weight(o.decay).map(|w| w.shape[0]);
        let decays = constant.unwrap_or_else(|| s.graph.width(o.decay)) / d.heads;
        let state = s.recurrent(e, d.state, segment.slot);
        let mut of = |id: NodeId, head: Value, dim: usize| {
            let (first, stride) = match s.graph.weight(id) {
                // All tokens see the same.
                Some(_) => (s.pointer(e, id), 0),
                None => {
                    let rows = s.rows(e, id);
                    (rows.row(e, segment.start_row), rows.stride)
                }
            };
            Rows {
                base: e.at(first, head, dim * 4),
                stride,
            }
        };
        let inputs = [
            of(o.q, key_head, d.key_dim),
            of(o.k, key_head, d.key_dim),
            of(o.v, head, d.value_dim),
            of(o.decay, head, decays),
            of(o.beta, head, 1),
        ];
        let skip = o.skip.map(|id| {
            let base = s.pointer(e, id);
            let at = e.at(base, head, 4);
            e.load(Lanes::One, at, 0)
        });
        let out = s.out(e);
        let row = out.row(e, segment.start_row);
        let out = Rows {
            base: e.at(row, head, d.value_dim * 4),
            ..out
        };
        let rule = Head {
            d,
            state: e.at(state, head, d.key_dim * d.value_dim * 4),
            inputs,
            decays,
            out,
        };
        let start = e.int(0);
        e.range(start, segment.queries, TOKENS, |e, first| {
            let (left, most) = (e.sub(segment.queries, first), e.int(TOKENS));
            let (tokens, rule) = (e.min(left, most), rule.from(e, first));
            rule.steps(e, tokens);
            if let Some(skip) = skip {
                rule.add_values(e, tokens, skip);
            }
            let first_row = e.add(segment.start_row, first);
            rule.follow(e, s, (o.norm, o.gate), (first_row, tokens), head);
        });
    });
}

/// Tokens whose steps are taken before what follows them: their results, which lie as far apart as all heads are wide, are near still.
const TOKENS: usize = 64;

/// One head of one segment: addresses from its first token on.
#[derive(Clone, Copy)]
struct Head<'a> {
    d: &'a DeltaRule,
    /// `[key_dim, value_dim]`.
    state: Value,
    /// Queries, keys, values, decay, beta.
    inputs: [Rows; 5],
    decays: usize,
    out: Rows,
}

impl Head<'_> {
    /// The same from another token on.
    fn from(self, e: &mut Writer, first: Value) -> Self {
        let mut from = |rows: Rows| Rows {
            base: rows.row(e, first),
            ..rows
        };
        Head {
            inputs: self.inputs.map(&mut from),
            out: from(self.out),
            ..self
        }
    }

    /// The steps of so many tokens, by the micro-kernel, which wants them described in memory.
    fn steps(&self, e: &mut Writer, tokens: Value) {
        let run = e.scratch(DeltaScratch::of().run);
        let [q, k, v, decay, beta] = self.inputs;
        let addresses = [
            (offset_of!(DeltaRun, state), self.state),
            (offset_of!(DeltaRun, tokens), tokens),
            (offset_of!(DeltaRun, q), q.base),
            (offset_of!(DeltaRun, k), k.base),
            (offset_of!(DeltaRun, v), v.base),
            (offset_of!(DeltaRun, decay), decay.base),
            (offset_of!(DeltaRun, beta), beta.base),
            (offset_of!(DeltaRun, out), self.out.base),
        ];
        let sizes = [
            (offset_of!(DeltaRun, rows), self.d.key_dim),
            (offset_of!(DeltaRun, columns), self.d.value_dim),
            (offset_of!(DeltaRun, q_stride), q.stride / 4),
            (offset_of!(DeltaRun, k_stride), k.stride / 4),
            (offset_of!(DeltaRun, v_stride), v.stride / 4),
            (offset_of!(DeltaRun, decay_stride), decay.stride / 4),
            (offset_of!(DeltaRun, decays), self.decays),
            (offset_of!(DeltaRun, beta_stride), beta.stride / 4),
            (offset_of!(DeltaRun, out_stride), self.out.stride / 4),
        ];
        for (at, value) in addresses {
            e.store(value, run, at);
        }
        for (at, size) in sizes {
            let size = e.int(size);
            e.store(size, run, at);
        }
        let scale = e.float(self.d.scale);
        e.store(scale, run, offset_of!(DeltaRun, scale));
        let corrects = e.b.ins().iconst(types::I32, i64::from(self.d.corrects));
        e.store(corrects, run, offset_of!(DeltaRun, corrects));
        e.micro(offset_of!(KernelTable, delta_rule), &[run], None);
    }

    /// `out += skip · v` for all tokens.
    fn add_values(&self, e: &mut Writer, tokens: Value, skip: Value) {
        let [_, _, v, _, _] = self.inputs;
        let n = Count::Known(self.d.value_dim);
        e.repeat(tokens, |e, t| {
            let (from, to) = (v.row(e, t), self.out.row(e, t));
            add_weighted(e, from, to, n, Some(skip));
        });
    }

    /// Norm and gate of the head's results.
    fn follow(
        &self,
        e: &mut Writer,
        s: &Site,
        (vectors, gate): (NormVectors<NodeId>, Option<NodeId>),
        (first_row, tokens): (Value, Value),
        head: Value,
    ) {
        let n = self.d.value_dim;
        let norm_of = self.d.norm.as_ref().map(|own| (own, s.vectors(e, vectors)));
        let gate = gate.map(|id| s.rows(e, id));
        if norm_of.is_none() && gate.is_none() {
            return;
        }
        e.repeat(tokens, |e, t| {
            let at = self.out.row(e, t);
            if let Some((own, vectors)) = norm_of {
                norm(e, own, at, at, vectors);
            }
            if let Some(gate) = gate {
                let row = e.add(first_row, t);
                let gate = gate.row(e, row);
                let gate = e.at(gate, head, n * 4);
                combine(e, Binary::Mul, at, gate, at, Count::Known(n));
            }
        });
    }
}
