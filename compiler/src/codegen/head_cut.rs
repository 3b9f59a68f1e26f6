//! How the query heads of a key head are cut, where attention takes some of them together.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::writer::Writer;
use crate::graph::Attention;

/// Most query heads of one key head that decode takes together where there is but one run of keys to share out.
const HEADS: usize = 8;

/// How the query heads of a key head are cut.
#[derive(Clone, Copy)]
pub(super) struct HeadCut {
    /// Into how many parts.
    pub(super) parts: Value,
    /// Heads of every part but the last.
    heads: Value,
}

impl HeadCut {
    /// All heads together where keys come in several runs; else by [`HEADS`], so that a key head that serves many, as that
    /// of latents does, is not left to one thread.
    pub(super) fn of(e: &mut Writer, a: &Attention, runs: Value) -> HeadCut {
        let (group, most) = (a.group(), a.group().min(HEADS));
        let single = e.b.ins().icmp_imm_s(IntCC::Equal, runs, 1);
        let mut choice = |single_run: usize, several: usize| {
            let (x, y) = (e.int(single_run), e.int(several));
            e.b.ins().select(single, x, y)
        };
        HeadCut {
            parts: choice(group.div_ceil(most), 1),
            heads: choice(most, group),
        }
    }

    /// Into `count` parts of `heads` heads, the last of which may have fewer.
    pub(super) fn into(e: &mut Writer, heads: usize, count: usize) -> HeadCut {
        HeadCut {
            parts: e.int(count),
            heads: e.int(heads),
        }
    }

    /// Part `part` of all heads: key head after key head.
    pub(super) fn heads(self, e: &mut Writer, a: &Attention, part: Value) -> Heads {
        let key = e.b.ins().udiv(part, self.parts);
        let share = e.b.ins().urem(part, self.parts);
        let (before, skipped) = (e.times(key, a.group()), e.mul(share, self.heads));
        let all = e.int(a.group());
        let left = e.sub(all, skipped);
        Heads {
            key,
            first: e.add(before, skipped),
            count: e.min(left, self.heads),
        }
    }
}

/// Query heads that are taken together.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    /// Their key head.
    pub(super) key: Value,
    /// The first of them.
    pub(super) first: Value,
    /// How many.
    pub(super) count: Value,
}
