//! A look at a finished function: do all threads pass the same barriers?
//!
//! Threads enter with the same context and different indices. A barrier is passed by all of them or by none if no branch that
//! decides about it depends on the thread: on its index, on chunks it has claimed, on anything read from memory that kernels
//! write. What decides about a block are the branches that it is control-dependent on (Ferrante, Ottenstein & Warren 1987),
//! and those that decide about them. Kernels and blocks that are called may have barriers inside, so that calls count as such.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;

use cranelift_codegen::ir::{
    Block, BlockArg, Function, Inst, InstructionData, Opcode, Value, ValueDef,
};
use graver_runtime::abi::StepContext;

/// The first barrier that some threads may pass and others not, as text.
///
/// `thread` is the function's parameter that differs from thread to thread.
pub(super) fn divergent(func: &Function, thread: usize) -> Option<String> {
    let flow = Flow::of(func);
    let differs = flow.differing(func, thread);
    let barriers = flow.blocks.iter().enumerate().flat_map(|(b, block)| {
        let calls = func.layout.block_insts(*block).filter(|i| meets(func, *i));
        calls.map(move |inst| (b, inst))
    });
    for (b, inst) in barriers {
        for branch in flow.deciding(b) {
            if differs.contains(&flow.condition(func, branch)?) {
                return Some(format!(
                    "{} in {} depends on a branch of {} that threads may take differently",
                    func.dfg.display_inst(inst),
                    flow.blocks[b],
                    flow.blocks[branch]
                ));
            }
        }
    }
    None
}

/// Blocks in layout order, and how control passes between them; the last place, after all blocks, is the function's end.
struct Flow {
    blocks: Vec<Block>,
    next: Vec<BTreeSet<usize>>,
    /// For each block, the blocks through which control passes on every way from it to the end, itself included.
    post_dominators: Vec<BTreeSet<usize>>,
}

impl Flow {
    fn of(func: &Function) -> Flow {
        let blocks: Vec<Block> = func.layout.blocks().collect();
        let place: BTreeMap<Block, usize> = blocks.iter().copied().zip(0..).collect();
        let end = blocks.len();
        let next: Vec<BTreeSet<usize>> = blocks
            .iter()
            .map(|b| {
                let to = func.layout.last_inst(*b).map(|i| destinations(func, i));
                let to = to.unwrap_or_default();
                match to.is_empty() {
                    true => BTreeSet::from([end]),
                    false => to.iter().map(|(block, _)| place[block]).collect(),
                }
            })
            .collect();
        let post_dominators = post_dominators(&next);
        Flow {
            blocks,
            next,
            post_dominators,
        }
    }

    /// Blocks whose branch decides whether control reaches block `b`, directly or through others.
    fn deciding(&self, b: usize) -> BTreeSet<usize> {
        let (mut found, mut open) = (BTreeSet::new(), vec![b]);
        while let Some(b) = open.pop() {
            for a in 0..self.blocks.len() {
                let leads = self.next[a].iter().any(|s| self.post_dominates(b, *s));
                let always = a != b && self.post_dominates(b, a);
                if self.next[a].len() > 1 && leads && !always && found.insert(a) {
                    open.push(a);
                }
            }
        }
        found
    }

    fn post_dominates(&self, b: usize, a: usize) -> bool {
        self.post_dominators
            .get(a)
            .is_some_and(|set| set.contains(&b))
    }

    /// What the branch at the end of a block goes by.
    fn condition(&self, func: &Function, block: usize) -> Option<Value> {
        let last = func.layout.last_inst(self.blocks[block])?;
        func.dfg.inst_args(last).first().copied()
    }

    /// Values that may differ from thread to thread.
    fn differing(&self, func: &Function, thread: usize) -> BTreeSet<Value> {
        let entry = func.dfg.block_params(self.blocks[0]);
        let mut found = BTreeSet::from([entry[thread]]);
        loop {
            let before = found.len();
            for (b, block) in self.blocks.iter().enumerate() {
                for inst in func.layout.block_insts(*block) {
                    if inst_differs(func, inst, &found) {
                        found.extend(func.dfg.inst_results(inst));
                    }
                }
                self.pass_on(func, b, &mut found);
            }
            if found.len() == before {
                return found;
            }
        }
    }

    /// Arguments of block `b`'s branch become parameters of other blocks: those that differ, and all where threads come from
    /// different places.
    fn pass_on(&self, func: &Function, b: usize, found: &mut BTreeSet<Value>) {
        let Some(last) = func.layout.last_inst(self.blocks[b]) else {
            return;
        };
        let differs = |block: usize, found: &BTreeSet<Value>| {
            let condition = self.condition(func, block);
            condition.is_some_and(|c| found.contains(&c))
        };
        let apart = self.next[b].len() > 1 && differs(b, found);
        let apart = apart || self.deciding(b).into_iter().any(|a| differs(a, found));
        for (block, args) in destinations(func, last) {
            let params = func.dfg.block_params(block);
            for (param, arg) in params.iter().zip(args) {
                let differs = match arg {
                    BlockArg::Value(v) => found.contains(&func.dfg.resolve_aliases(v)),
                    BlockArg::TryCallRet(_) | BlockArg::TryCallExn(_) => true,
                };
                if differs || apart {
                    found.insert(*param);
                }
            }
        }
    }
}

/// Where an instruction may jump, with arguments.
fn destinations(func: &Function, inst: Inst) -> Vec<(Block, Vec<BlockArg>)> {
    let dfg = &func.dfg;
    let to = dfg.insts[inst].branch_destination(&dfg.jump_tables, &dfg.exception_tables);
    let pool = &dfg.value_lists;
    to.iter()
        .map(|call| (call.block(pool), call.args(pool).collect()))
        .collect()
}

/// For each block the set of those that all ways to the end pass.
fn post_dominators(next: &[BTreeSet<usize>]) -> Vec<BTreeSet<usize>> {
    let end = next.len();
    let all: BTreeSet<usize> = (0..=end).collect();
    let mut sets = vec![all; end];
    sets.push(BTreeSet::from([end]));
    loop {
        let mut changed = false;
        for b in (0..end).rev() {
            let mut ways = next[b].iter().map(|s| sets[*s].clone());
            let first = ways.next().unwrap_or_default();
            let mut own = ways.fold(first, |common, set| &common & &set);
            own.insert(b);
            changed |= own != sets[b];
            sets[b] = own;
        }
        if !changed {
            return sets;
        }
    }
}

/// Whether an instruction waits for other threads, or may call something that does.
fn meets(func: &Function, inst: Inst) -> bool {
    match func.dfg.insts[inst].opcode() {
        Opcode::Call => true,
        Opcode::CallIndirect => {
            let field = context_field(func, func.dfg.inst_args(inst)[0]);
            field == Some(offset_of!(StepContext, barrier))
                || field == Some(offset_of!(StepContext, timed_barrier))
        }
        _ => false,
    }
}

/// The field of the step context that a value was loaded from.
fn context_field(func: &Function, value: Value) -> Option<usize> {
    let entry = func.layout.entry_block()?;
    let context = func.dfg.block_params(entry)[0];
    let ValueDef::Result(inst, _) = func.dfg.value_def(func.dfg.resolve_aliases(value)) else {
        return None;
    };
    match func.dfg.insts[inst] {
        InstructionData::Load { arg, offset, .. } if arg == context => {
            usize::try_from(i32::from(offset)).ok()
        }
        _ => None,
    }
}

/// Whether an instruction's results may differ where its arguments do, or by themselves.
fn inst_differs(func: &Function, inst: Inst, found: &BTreeSet<Value>) -> bool {
    let args = func.dfg.inst_args(inst);
    let differs = |v: &Value| found.contains(&func.dfg.resolve_aliases(*v));
    match &func.dfg.insts[inst] {
        // What is only read during a step is the same for all.
        InstructionData::Load { flags, .. } => {
            !func.dfg.mem_flags[*flags].readonly() || args.iter().any(differs)
        }
        data => match data.opcode() {
            Opcode::CallIndirect => match context_field(func, args[0]) {
                // A checked access goes where it would go unchecked.
                Some(field) if field == offset_of!(StepContext, check) => differs(&args[3]),
                _ => true,
            },
            Opcode::Call | Opcode::AtomicRmw => true,
            _ => args.iter().any(differs),
        },
    }
}

#[cfg(test)]
mod tests {
    use cranelift_codegen::ir::condcodes::IntCC;
    use cranelift_codegen::ir::types::I64;
    use cranelift_codegen::ir::{AbiParam, InstBuilder, Signature, UserFuncName};
    use cranelift_codegen::isa::CallConv;
    use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

    use super::*;
    use crate::codegen::target::Target;
    use crate::codegen::writer::{Writer, kernel_signature};

    /// What is found in a kernel with `body`.
    fn found(body: impl FnOnce(&mut Writer)) -> Option<String> {
        let isa = Target::named("native").unwrap().isa(false).unwrap();
        let signature: Signature = kernel_signature(CallConv::SystemV);
        assert_eq!(signature.params[3], AbiParam::new(I64));
        let mut func = Function::with_name_signature(UserFuncName::user(0, 0), signature);
        let mut context = FunctionBuilderContext::new();
        let builder = FunctionBuilder::new(&mut func, &mut context);
        let mut e = Writer::begin(builder, CallConv::SystemV);
        body(&mut e);
        e.finish(isa.frontend_config());
        divergent(&func, 3)
    }

    fn is_zero(e: &mut Writer, v: Value) -> Value {
        e.b.ins().icmp_imm_s(IntCC::Equal, v, 0)
    }

    #[test]
    fn barriers_that_depend_on_the_step_are_met_by_all() {
        assert_eq!(found(|e| e.barrier()), None);
        let by_tokens = |e: &mut Writer| {
            let tokens = e.tokens();
            e.repeat(tokens, |e, _| e.barrier());
            let none = is_zero(e, tokens);
            e.when(none, |e| e.barrier());
        };
        assert_eq!(found(by_tokens), None);
        let beside = |e: &mut Writer| {
            let own = is_zero(e, e.thread);
            e.when(own, |e| {
                e.scratch(crate::schedule::scratch::PRODUCTS);
            });
            e.barrier();
        };
        assert_eq!(found(beside), None, "threads come together again before it");
    }

    #[test]
    fn a_barrier_that_depends_on_the_thread_is_found() {
        let by_index = |e: &mut Writer| {
            let own = is_zero(e, e.thread);
            e.when(own, |e| e.barrier());
        };
        let text = found(by_index).expect("some threads pass it");
        assert!(text.contains("depends on a branch"), "{text}");
    }

    #[test]
    fn so_is_one_that_depends_on_it_in_a_roundabout_way() {
        let by_claims = |e: &mut Writer| {
            let n = e.tokens();
            e.chunks(n, crate::codegen::share::Share::Claimed(0), |e, _| {
                e.barrier()
            });
        };
        assert!(
            found(by_claims).is_some(),
            "chunks are claimed by whoever comes first"
        );
        let by_data = |e: &mut Writer| {
            let at = e.scratch(crate::schedule::scratch::PRODUCTS);
            let v = e.load_as(I64, at, 0);
            let none = is_zero(e, v);
            e.when(none, |e| e.barrier());
        };
        assert!(found(by_data).is_some());
        let by_way = |e: &mut Writer| {
            let (own, zero) = (is_zero(e, e.thread), e.int(0));
            let count = e.var(I64, zero);
            e.when(own, |e| {
                let one = e.int(1);
                e.b.def_var(count, one);
            });
            let count = e.b.use_var(count);
            e.repeat(count, |e, _| e.barrier());
        };
        assert!(found(by_way).is_some(), "the way decides about the count");
    }
}
