//! Comments for a function: what each load, store and call reaches, by name.
//!
//! In: a function as it was written, and what its addresses mean. Out: its text with comments, and for each instruction a source
//! location that leads back to its comment, so that machine code gets the same ones. Follows additions from the four
//! arguments on; what went through a loop's variable has no name.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::instructions::CallInfo;
use cranelift_codegen::ir::{
    ExternalName, Function, GlobalValueData, Inst, InstructionData, Opcode, SourceLoc, Value,
};
use cranelift_codegen::write::{FuncWriter, PlainWriter, decorate_function};
use graver_runtime::abi::names::{CONTEXT_FIELDS, KERNEL_FIELDS, SPAN_FIELDS, field_at};
use graver_runtime::abi::{Span, StepContext};

use super::listing::{Note, NoteKind};
use super::places::Places;

/// A function's text, and what its instructions reach.
pub(super) struct Annotated {
    pub(super) clif: String,
    notes: BTreeMap<u32, Note>,
}

/// Comments on `func`; `symbol` names what lies outside of it.
pub(super) fn annotate(
    func: &mut Function,
    places: &Places,
    symbol: &dyn Fn(u32, u32) -> String,
) -> Annotated {
    let mut walk = Walk {
        func,
        places,
        symbol,
        known: BTreeMap::new(),
        notes: BTreeMap::new(),
    };
    walk.arguments();
    walk.instructions();
    let notes = walk.notes;
    let mut clif = String::new();
    decorate_function(&mut Commented(&notes), &mut clif, func).expect("a string takes all");
    locate(func, &notes);
    Annotated { clif, notes }
}

impl Annotated {
    /// The comment behind a source location.
    pub(super) fn note(&self, location: SourceLoc) -> Option<&Note> {
        self.notes.get(&location.bits())
    }
}

/// Makes machine code lead back to comments; arithmetic into which a load may be folded leads to that of the load.
fn locate(func: &mut Function, notes: &BTreeMap<u32, Note>) {
    let all: Vec<Inst> = func
        .layout
        .blocks()
        .flat_map(|b| func.layout.block_insts(b))
        .collect();
    for inst in all {
        let own = notes.contains_key(&inst.as_u32()).then_some(inst);
        let args = func.dfg.inst_args(inst).iter();
        let loaded = args.filter_map(|v| func.dfg.value_def(func.dfg.resolve_aliases(*v)).inst());
        let mut loads = loaded.filter(|i| func.dfg.insts[*i].opcode().can_load());
        let folded = loads.find(|i| notes.contains_key(&i.as_u32()));
        if let Some(inst_of_note) = own.or(folded) {
            func.set_srcloc(inst, SourceLoc::new(inst_of_note.as_u32()));
        }
    }
}

/// What is known of a value.
#[derive(Clone, Debug, PartialEq)]
enum Known {
    Int(i64),
    /// `at` bytes into something, and, where it `moved`, as many more as nobody knows here.
    Address {
        of: Base,
        at: i64,
        moved: bool,
    },
    /// Something that has a name.
    Named(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Context,
    /// The block's entries of the table of weights' pointers.
    WeightTable,
    /// The block's entries of the table of states' offsets.
    StateTable,
    /// What a context field holds.
    Field(usize),
    Weight(usize),
    StateOffset(usize),
    Slot,
    State(usize),
}

const KERNELS: usize = std::mem::offset_of!(StepContext, kernels);
const ARENA: usize = std::mem::offset_of!(StepContext, arena);
const SCRATCH: usize = std::mem::offset_of!(StepContext, scratch);
const LOGITS: usize = std::mem::offset_of!(StepContext, logits);
const SLOT_BASE: usize = std::mem::offset_of!(StepContext, slot_base);
const SPANS: [usize; 2] = [
    std::mem::offset_of!(StepContext, spans),
    std::mem::offset_of!(StepContext, tiles),
];

struct Walk<'a> {
    func: &'a Function,
    places: &'a Places,
    symbol: &'a dyn Fn(u32, u32) -> String,
    known: BTreeMap<u32, Known>,
    notes: BTreeMap<u32, Note>,
}

impl Walk<'_> {
    fn arguments(&mut self) {
        let Some(entry) = self.func.layout.entry_block() else {
            return;
        };
        let base = |of| Known::Address {
            of,
            at: 0,
            moved: false,
        };
        let named = |name: &str| Known::Named(name.into());
        let params = self.func.dfg.block_params(entry);
        let meanings = match params.len() {
            // The entry of a program has no block of its own.
            2 => vec![base(Base::Context), named("thread")],
            _ => vec![
                base(Base::Context),
                base(Base::WeightTable),
                base(Base::StateTable),
                named("thread"),
                named("tile"),
            ],
        };
        for (value, known) in params.iter().zip(meanings) {
            self.known.insert(value.as_u32(), known);
        }
    }

    fn instructions(&mut self) {
        let func = self.func;
        for block in func.layout.blocks() {
            for inst in func.layout.block_insts(block) {
                let (known, note) = self.instruction(inst);
                if let (Some(known), [result, ..]) = (known, func.dfg.inst_results(inst)) {
                    self.known.insert(result.as_u32(), known);
                }
                if let Some((kind, text)) = note {
                    self.notes.insert(inst.as_u32(), Note { kind, text });
                }
            }
        }
    }

    /// What an instruction's result is, and what to say of it.
    fn instruction(&self, inst: Inst) -> (Option<Known>, Option<(NoteKind, String)>) {
        let data = self.func.dfg.insts[inst];
        let access = |text: Option<String>| text.map(|t| (NoteKind::Access, t));
        match data {
            InstructionData::UnaryImm {
                opcode: Opcode::Iconst,
                imm,
            } => (Some(Known::Int(imm.bits())), None),
            InstructionData::UnaryGlobalValue { global_value, .. } => {
                let name = match &self.func.global_values[global_value] {
                    GlobalValueData::Symbol { name, .. } => self.external(name),
                    _ => return (None, None),
                };
                (
                    Some(Known::Named(name.clone())),
                    Some((NoteKind::Address, name)),
                )
            }
            InstructionData::Binary {
                opcode: Opcode::Iadd,
                args,
            } => self.sum(args),
            InstructionData::Unary {
                opcode: Opcode::Ireduce | Opcode::Uextend,
                arg,
            } => (self.get(arg), None),
            InstructionData::Load { arg, offset, .. } => {
                let address = self.get(arg).map(|a| plus(a, i64::from(i32::from(offset))));
                let text = address.as_ref().and_then(|a| self.text(a));
                let known = address.and_then(|a| self.loaded(&a));
                (known, access(text))
            }
            InstructionData::Store { args, offset, .. } => {
                let address = self
                    .get(args[1])
                    .map(|a| plus(a, i64::from(i32::from(offset))));
                (None, access(address.and_then(|a| self.text(&a))))
            }
            InstructionData::Call { .. } | InstructionData::CallIndirect { .. } => {
                (None, self.call(inst).map(|text| (NoteKind::Call, text)))
            }
            _ => (None, None),
        }
    }

    fn get(&self, value: Value) -> Option<Known> {
        let value = self.func.dfg.resolve_aliases(value);
        self.known.get(&value.as_u32()).cloned()
    }

    /// A sum, with a comment where it comes to lie in something else.
    fn sum(&self, args: [Value; 2]) -> (Option<Known>, Option<(NoteKind, String)>) {
        let [a, b] = args.map(|v| self.get(v));
        let sum = match (&a, &b) {
            (Some(Known::Int(a)), Some(Known::Int(b))) => Some(Known::Int(a.wrapping_add(*b))),
            (
                Some(Known::Address { of: Base::Slot, .. }),
                Some(Known::Address {
                    of: Base::StateOffset(i),
                    ..
                }),
            ) => Some(Known::Address {
                of: Base::State(*i),
                at: 0,
                moved: false,
            }),
            (Some(x @ Known::Address { .. }), Some(Known::Int(n)))
            | (Some(Known::Int(n)), Some(x @ Known::Address { .. })) => Some(plus(x.clone(), *n)),
            (Some(x @ Known::Address { .. }), _)
            | (None | Some(Known::Named(_)), Some(x @ Known::Address { .. })) => {
                Some(moved(x.clone()))
            }
            _ => None,
        };
        let before = [&a, &b].map(|k| k.as_ref().and_then(|k| self.place(k)));
        let name = sum.as_ref().and_then(|s| self.place(s));
        let says_more = name.is_some() && !before.contains(&name);
        let note = name.filter(|_| says_more).map(|n| (NoteKind::Address, n));
        (sum, note)
    }

    /// What a load gives.
    fn loaded(&self, from: &Known) -> Option<Known> {
        let Known::Address { of, at, moved } = from else {
            return None;
        };
        let entry = |index: &i64| usize::try_from(*index / 8).ok();
        let address = |of| {
            Some(Known::Address {
                of,
                at: 0,
                moved: false,
            })
        };
        match of {
            Base::Context => address(Base::Field(usize::try_from(*at).ok()?)),
            // Whichever of a family of experts it is.
            Base::WeightTable => Some(Known::Address {
                of: Base::Weight(entry(at)?),
                at: 0,
                moved: *moved,
            }),
            Base::StateTable => address(Base::StateOffset(entry(at)?)),
            Base::Field(SLOT_BASE) => address(Base::Slot),
            Base::Field(ARENA | SCRATCH | LOGITS) => None,
            Base::Field(_) => self.text(from).map(Known::Named),
            Base::Weight(_) | Base::StateOffset(_) | Base::Slot | Base::State(_) => None,
        }
    }

    /// A call with those arguments that have names.
    fn call(&self, inst: Inst) -> Option<String> {
        let data = &self.func.dfg.insts[inst];
        let pool = &self.func.dfg.value_lists;
        match data.analyze_call(pool, &self.func.dfg.exception_tables) {
            CallInfo::Direct(callee, _) => {
                Some(self.external(&self.func.dfg.ext_funcs[callee].name))
            }
            CallInfo::Indirect(_, args) => {
                let callee = self.func.dfg.inst_args(inst)[0];
                let name = self.text(&self.get(callee)?)?;
                let args: Vec<String> = args.iter().map(|v| self.argument(*v)).collect();
                Some(format!("{name}({})", args.join(", ")))
            }
            CallInfo::NotACall | CallInfo::DirectWithSig(..) => None,
        }
    }

    fn argument(&self, value: Value) -> String {
        match self.get(value) {
            Some(Known::Int(n)) => n.to_string(),
            Some(known) => self.text(&known).unwrap_or_else(|| "_".into()),
            None => "_".into(),
        }
    }

    fn external(&self, name: &ExternalName) -> String {
        match name {
            ExternalName::User(reference) => {
                let user = &self.func.params.user_named_funcs()[*reference];
                (self.symbol)(user.namespace, user.index)
            }
            other => other.display(Some(&self.func.params)).to_string(),
        }
    }

    /// The name of an address in weights, state, arena, scratch or logits.
    fn place(&self, known: &Known) -> Option<String> {
        let Known::Address { of, at, .. } = known else {
            return None;
        };
        match of {
            Base::Field(ARENA | SCRATCH) if *at == 0 => None,
            Base::Field(ARENA | SCRATCH | LOGITS) | Base::Weight(_) | Base::State(_) => {
                self.text(known)
            }
            _ => None,
        }
    }

    fn text(&self, known: &Known) -> Option<String> {
        let (of, at, moved) = match known {
            Known::Int(_) => return None,
            Known::Named(name) => return Some(name.clone()),
            Known::Address { of, at, moved } => (*of, *at, *moved),
        };
        let at = usize::try_from(at).ok()?;
        let and_on = if moved { "…" } else { "" };
        let beyond = |n: usize| match n {
            0 => and_on.to_string(),
            n => format!("+{n}{and_on}"),
        };
        let field = |offset| field_at(CONTEXT_FIELDS, offset);
        match of {
            Base::Context => field(at).map(String::from),
            Base::WeightTable => Some(format!(
                "pointer of {}",
                self.places.weights.find(at / 8)?.0
            )),
            Base::StateTable => Some(format!(
                "offset of state[{}]",
                self.places.states.find(at / 8)?.0
            )),
            Base::Field(KERNELS) => Some(format!("kernels.{}", field_at(KERNEL_FIELDS, at)?)),
            Base::Field(ARENA) => {
                let (name, more) = self.places.arena.find(at)?;
                Some(format!("arena[{name}]{}", beyond(more)))
            }
            Base::Field(SCRATCH) => {
                let (name, more) = self.places.scratch.find(at)?;
                Some(format!(
                    "scratch[{name}]{}",
                    if more > 0 {
                        format!("+{more}")
                    } else {
                        String::new()
                    }
                ))
            }
            Base::Field(f) if SPANS.contains(&f) && moved => {
                let part = field_at(SPAN_FIELDS, at % size_of::<Span>())?;
                Some(format!("{}[…].{part}", field(f)?))
            }
            Base::Field(f) if moved => Some(format!("{}[…]", field(f)?)),
            Base::Field(f) => Some(field(f)?.into()),
            Base::Weight(i) => Some(format!("{}{}", self.places.weights.find(i)?.0, beyond(at))),
            Base::StateOffset(i) => Some(format!(
                "offset of state[{}]",
                self.places.states.find(i)?.0
            )),
            Base::Slot => Some("the slot's state".into()),
            Base::State(i) => Some(format!(
                "state[{}]{}",
                self.places.states.find(i)?.0,
                beyond(at)
            )),
        }
    }
}

fn plus(known: Known, n: i64) -> Known {
    match known {
        Known::Address { of, at, moved } => Known::Address {
            of,
            at: at.wrapping_add(n),
            moved,
        },
        Known::Int(x) => Known::Int(x.wrapping_add(n)),
        Known::Named(name) => Known::Named(name),
    }
}

fn moved(known: Known) -> Known {
    match known {
        Known::Address { of, at, .. } => Known::Address {
            of,
            at,
            moved: true,
        },
        other => other,
    }
}

/// Columns before a comment.
const COLUMN: usize = 58;

/// Writes instructions with their comments.
struct Commented<'a>(&'a BTreeMap<u32, Note>);

impl FuncWriter for Commented<'_> {
    fn write_block_header(
        &mut self,
        w: &mut dyn Write,
        func: &Function,
        block: cranelift_codegen::ir::Block,
        indent: usize,
    ) -> fmt::Result {
        PlainWriter.write_block_header(w, func, block, indent)
    }

    fn write_instruction(
        &mut self,
        w: &mut dyn Write,
        func: &Function,
        aliases: &SecondaryMap<Value, Vec<Value>>,
        inst: Inst,
        indent: usize,
    ) -> fmt::Result {
        let Some(note) = self.0.get(&inst.as_u32()) else {
            return PlainWriter.write_instruction(w, func, aliases, inst, indent);
        };
        let mut line = String::new();
        PlainWriter.write_instruction(&mut line, func, aliases, inst, indent)?;
        writeln!(w, "{:<COLUMN$}  ; {}", line.trim_end(), note.text)
    }
}
