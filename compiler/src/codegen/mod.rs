//! Code generation: from a scheduled program to Cranelift functions in a module, JIT or object alike.
//!
//! One function for each kernel, one for each block, one entry for each program. The entry walks a table of layers, which
//! lies in read-only data beside the code: block, first weight pointer, first state offset.

mod annotate;
mod attention;
mod barriers;
mod cache;
mod checks;
mod collective;
mod epilogue;
mod experts;
mod groups;
mod head_cut;
mod heads;
mod index;
mod kernel;
mod latent;
mod listing;
mod loops;
mod matmul;
mod norms;
mod online;
mod picked;
mod places;
mod plain;
mod products;
mod recurrent;
mod relative;
mod route;
mod rows;
mod scan;
mod share;
mod streams;
mod target;
mod tiles;
mod vectors;
mod writer;
mod written;

use std::collections::BTreeSet;
use std::mem::offset_of;

use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, Function, InstBuilder, Signature, UserFuncName, Value};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module, ModuleError};
use graver_runtime::abi::{StepContext, stretch};

use self::annotate::{Annotated, annotate};
use self::kernel::{Early, Site};
use self::places::Places;
use self::writer::{Writer, kernel_signature, signature};
use self::written::{Emitted, Listed, Written};
use crate::graph::{Cut, Program, ProgramKind};
use crate::memory::MemoryPlan;
use crate::schedule::early::early_sum;
use crate::schedule::{Kernel, Schedule};

pub use listing::{Listing, MachineCode, Note, NoteKind};
pub use target::{DEFAULT_TARGET, Target, TargetError};

/// A program with its schedule and memory plan: what code is made from.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The graphs.
    pub program: Program,
    /// Their kernels.
    pub schedule: Schedule,
    /// Where values lie.
    pub memory: MemoryPlan,
    /// What the code does beside computing.
    pub instruments: Instruments,
}

/// What code does beside computing, and how it is looked at while it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instruments {
    /// It takes the time of every kernel.
    pub stamps: bool,
    /// It asks before every access.
    pub checks: bool,
    /// Cranelift's verifier looks at it, and so does a check that all threads meet at the same barriers.
    pub verified: bool,
}

impl Planned {
    /// The place of kernel `index` of block `block` among all kernels of the program: what time stamps call it.
    pub(crate) fn kernel_place(&self, block: usize, index: usize) -> usize {
        let before = &self.schedule.blocks[..block];
        before.iter().map(|b| b.kernels.len()).sum::<usize>() + index
    }
}

/// Emits all functions of a program into `module` and returns its entry, exported as `symbol`.
///
/// # Errors
/// What the module reports; none of it is the user's to mend.
pub fn emit(
    module: &mut dyn Module,
    planned: &Planned,
    symbol: &str,
    listings: Option<&mut Vec<Listing>>,
) -> Result<FuncId, Box<ModuleError>> {
    let mut unit = Unit {
        module,
        planned,
        functions: FunctionBuilderContext::new(),
        written: vec![],
        ropes: vec![],
        names: BTreeSet::from([symbol.to_string()]),
        is_listed: listings.is_some(),
    };
    unit.rope_data()?;
    let mut blocks = vec![];
    for b in 0..planned.program.blocks.len() {
        blocks.push(unit.block(b)?);
    }
    let entry = unit.entry(symbol, &blocks)?;
    let listed = written::define(unit.module, unit.written)?;
    if let Some(listings) = listings {
        listings.extend(listed);
    }
    Ok(entry)
}

struct Unit<'a> {
    module: &'a mut dyn Module,
    planned: &'a Planned,
    functions: FunctionBuilderContext,
    written: Vec<Written>,
    ropes: Vec<DataId>,
    /// Symbols that are taken.
    names: BTreeSet<String>,
    is_listed: bool,
}

impl Unit<'_> {
    fn kind(&self) -> ProgramKind {
        self.planned.program.kind
    }

    /// Rotary frequencies as read-only data, those of long sequences after the others.
    fn rope_data(&mut self) -> Emitted<()> {
        for (i, r) in self.planned.program.ropes.iter().enumerate() {
            let name = self.own_name(format!("{}.rope{i}", self.kind()));
            let long = r.long.iter().flat_map(|l| &l.freqs);
            let all = r.freqs.iter().chain(long);
            let bytes: Vec<u8> = all.flat_map(|f| f.to_le_bytes()).collect();
            let id = self.data(&name, bytes)?;
            self.ropes.push(id);
        }
        Ok(())
    }

    /// A symbol of that name, with a number after it where another has the name: kinds of layers are called what their
    /// spec likes, and `a-b` and `a_b` look the same here.
    fn own_name(&mut self, name: String) -> String {
        let numbered = (2..).map(|n| format!("{name}.{n}"));
        let mut names = std::iter::once(name.clone()).chain(numbered);
        let free = names.find(|n| !self.names.contains(n));
        let free = free.expect("finitely many names are taken");
        self.names.insert(free.clone());
        free
    }

    fn data(&mut self, name: &str, mut bytes: Vec<u8>) -> Emitted<DataId> {
        let id = self
            .module
            .declare_data(name, Linkage::Local, false, false)?;
        if bytes.is_empty() {
            bytes.push(0);
        }
        let mut d = DataDescription::new();
        d.define(bytes.into());
        d.set_align(64);
        self.module.define_data(id, &d)?;
        Ok(id)
    }

    /// Writes one function with `body`.
    fn function(
        &mut self,
        name: &str,
        linkage: Linkage,
        signature: Signature,
        site: Option<&Site>,
        body: impl FnOnce(&mut Writer, &mut dyn Module),
    ) -> Emitted<FuncId> {
        let id = self.module.declare_function(name, linkage, &signature)?;
        let function = Function::with_name_signature(UserFuncName::user(0, id.as_u32()), signature);
        let mut context = Context::for_function(function);
        let config = self.module.target_config();
        let builder = FunctionBuilder::new(&mut context.func, &mut self.functions);
        let mut e = Writer::begin(builder, config.default_call_conv);
        body(&mut e, self.module);
        e.finish(config);
        if self.planned.instruments.verified {
            // The entry has no block of its own, so that it lacks addresses of weights and states.
            let thread = if linkage == Linkage::Export { 1 } else { 3 };
            if let Some(what) = barriers::divergent(&context.func, thread) {
                panic!("{name}: {what}\n{}", context.func.display());
            }
        }
        let listed = self.is_listed.then(|| Listed {
            name: name.into(),
            kernel: site.map(|s| (s.block, s.index)),
            annotated: self.annotated(&mut context, site),
        });
        self.written.push(Written {
            id,
            context,
            listed,
        });
        Ok(id)
    }

    /// The function that was just written, with comments on what it reaches.
    fn annotated(&self, context: &mut Context, site: Option<&Site>) -> Annotated {
        context.set_disasm(true);
        let places = site.map(Places::of).unwrap_or_default();
        let declarations = self.module.declarations();
        let symbol = |namespace, index| match namespace {
            0 => {
                let id = FuncId::from_u32(index);
                declarations
                    .get_function_decl(id)
                    .linkage_name(id)
                    .into_owned()
            }
            _ => {
                let id = DataId::from_u32(index);
                declarations.get_data_decl(id).linkage_name(id).into_owned()
            }
        };
        annotate(&mut context.func, &places, &symbol)
    }

    fn block(&mut self, index: usize) -> Emitted<FuncId> {
        let planned = self.planned;
        let block = &planned.program.blocks[index];
        let kernels = &planned.schedule.blocks[index].kernels;
        let mut functions = vec![];
        for k in 0..kernels.len() {
            functions.push(self.kernel(index, k)?);
        }
        let name = self.own_name(format!("{}.{}", self.kind(), symbol_part(&block.name)));
        let signature = kernel_signature(self.module.target_config().default_call_conv);
        self.function(&name, Linkage::Local, signature, None, |e, module| {
            let mut at = 0;
            while at < kernels.len() {
                let run = kernels[at..].iter().take_while(|k| k.per_tile).count();
                let place = |i| {
                    planned
                        .instruments
                        .stamps
                        .then(|| planned.kernel_place(index, i))
                };
                if run == 0 {
                    call_kernel(e, module, &kernels[at], functions[at], None, place(at));
                    at += 1;
                    continue;
                }
                let tiles = e.field(offset_of!(StepContext, n_tiles));
                e.repeat(tiles, |e, tile| {
                    for i in at..at + run {
                        let place = place(i);
                        call_kernel(e, module, &kernels[i], functions[i], Some(tile), place);
                    }
                });
                at += run;
            }
        })
    }

    /// Kernel `index` of block `block`.
    fn kernel(&mut self, block: usize, index: usize) -> Emitted<FuncId> {
        let planned = self.planned;
        let kernel = &planned.schedule.blocks[block].kernels[index];
        let program = &planned.program;
        let (graph, ropes) = (&program.blocks[block].graph, program.ropes.as_slice());
        let blocks = &planned.schedule.blocks;
        let early = early_sum(graph, &blocks[block], program.kind, kernel.node);
        let site = Site {
            kind: program.kind,
            graph,
            plan: &planned.memory,
            block,
            index,
            kernel,
            ropes,
            early: early.map(|sum| Early {
                sum,
                index: program.collective(block, sum),
            }),
        };
        let mut signature = kernel_signature(self.module.target_config().default_call_conv);
        if kernel.per_tile {
            signature.params.push(AbiParam::new(I64));
        }
        // Two nodes may stand at one place in the spec; the operation's name tells them apart, and a number the rest.
        let (block_name, op) = (symbol_part(&program.blocks[block].name), site.op().name());
        let kernel_name = symbol_part(&kernel.name);
        let kind = program.kind;
        let name = self.own_name(format!("{kind}.{block_name}.{index}.{kernel_name}.{op}"));
        let rope_ids = self.ropes.clone();
        let place = planned.kernel_place(block, index);
        let instruments = planned.instruments;
        self.function(
            &name,
            Linkage::Local,
            signature,
            Some(&site),
            |e, module| {
                let addresses = rope_ids
                    .iter()
                    .map(|id| module.declare_data_in_func(*id, e.b.func))
                    .collect();
                e.rope_data = addresses;
                e.stamped = instruments.stamps.then_some(place);
                let tile = kernel.per_tile.then(|| {
                    let entry = e.b.current_block().expect("just begun");
                    e.b.block_params(entry)[4]
                });
                if instruments.checks {
                    e.enter_kernel(place, tile);
                }
                emit_kernel(e, program, &site, tile);
            },
        )
    }

    /// The entry: embedding, each layer of the table, and the head where logits are wanted.
    fn entry(&mut self, symbol: &str, blocks: &[FuncId]) -> Emitted<FuncId> {
        let program = &self.planned.program;
        let (weights, states) = (program.weight_bases(), program.state_bases());
        let order: Vec<usize> = program.run_order().collect();
        let row = |i: usize| [order[i] as u64, 8 * weights[i] as u64, 8 * states[i] as u64];
        let table: Vec<u8> = (0..order.len())
            .flat_map(row)
            .flat_map(u64::to_le_bytes)
            .collect();
        let name = self.own_name(format!("{}.layers", self.kind()));
        let table = self.data(&name, table)?;
        let (layers, n_blocks) = (program.layers.len(), blocks.len());
        let done = self.planned.kernel_place(n_blocks, 0);
        let done = self
            .planned
            .instruments
            .stamps
            .then(|| stretch(done, false));
        let call_conv = self.module.target_config().default_call_conv;
        let signature = signature(call_conv, &[I64, I64], None);
        self.function(symbol, Linkage::Export, signature, None, |e, module| {
            let global = module.declare_data_in_func(table, e.b.func);
            let base = e.b.ins().symbol_value(I64, global);
            let zero = e.int(0);
            call_layer(e, module, base, zero, &blocks[..1], 0);
            let (first, end) = (e.int(1), e.int(layers + 1));
            e.range(first, end, 1, |e, i| {
                call_layer(e, module, base, i, &blocks[1..n_blocks - 1], 1)
            });
            let rows = e.field(offset_of!(StepContext, n_logit_rows));
            let wanted = e.b.ins().icmp_imm_s(IntCC::NotEqual, rows, 0);
            e.when(wanted, |e| {
                call_layer(e, module, base, end, &blocks[n_blocks - 1..], n_blocks - 1)
            });
            e.meet(false, done);
        })
    }
}

fn emit_kernel(e: &mut Writer, program: &Program, site: &Site, tile: Option<Value>) {
    let tile = || tile.expect("a kernel of a tile is called with its index");
    match site.op().facts().cut {
        Cut::View => unreachable!("no kernel is made for a view"),
        Cut::Rows(_) => rows::emit(e, site),
        Cut::Matmul(m) => matmul::emit(e, site, m),
        Cut::HeadMatmul(m) => heads::matmul(e, site, m),
        Cut::Scores(a) => plain::scores(e, site, a, tile()),
        Cut::Softmax(a) => plain::softmax(e, site, a, tile()),
        Cut::Mix(a) => plain::mix(e, site, a, tile()),
        Cut::Attention(a) => attention::emit(e, site, a),
        Cut::IndexScores(i) => index::scores(e, site, i, tile()),
        Cut::PickKeys(p) => index::pick(e, site, p, tile()),
        Cut::LatentAttention(l) => latent::emit(e, site, l),
        Cut::ShortConv(c) => recurrent::short_conv(e, site, c),
        Cut::DeltaRule(d) => recurrent::delta_rule(e, site, d),
        Cut::Scan(c) => scan::scan(e, site, c),
        Cut::GroupByExpert(g) => experts::group(e, site, g),
        Cut::GroupedMatmul(m) => experts::grouped_matmul(e, site, m),
        Cut::ExpertsIn(x) => experts::experts_in(e, site, x),
        Cut::ExpertsOut(x) => experts::experts_out(e, site, x),
        Cut::Collective(_) => {
            collective::emit(e, site, program.collective(site.block, site.kernel.node))
        }
    }
}

fn call_kernel(
    e: &mut Writer,
    module: &mut dyn Module,
    kernel: &Kernel,
    id: FuncId,
    tile: Option<Value>,
    stamped: Option<usize>,
) {
    e.meet(kernel.barrier, stamped.map(|place| stretch(place, false)));
    let f = module.declare_func_in_func(id, e.b.func);
    let mut args = vec![e.ctx, e.weights, e.states, e.thread];
    args.extend(tile);
    e.b.ins().call(f, &args);
}

/// Calls the block that row `index` of the table names, which is one of `blocks`, numbered from `first`.
fn call_layer(
    e: &mut Writer,
    module: &mut dyn Module,
    table: Value,
    index: Value,
    blocks: &[FuncId],
    first: usize,
) {
    let row = e.at(table, index, 24);
    let (block, weight, state) = (e.field_at(row, 0), e.field_at(row, 8), e.field_at(row, 16));
    let weights = e.field(offset_of!(StepContext, weights));
    let states = e.field(offset_of!(StepContext, state_offset));
    let args = [
        e.ctx,
        e.add(weights, weight),
        e.add(states, state),
        e.thread,
    ];
    let done = e.b.create_block();
    for (i, id) in blocks.iter().enumerate() {
        let f = module.declare_func_in_func(*id, e.b.func);
        if i + 1 == blocks.len() {
            e.b.ins().call(f, &args);
            e.jump(done);
            break;
        }
        let (here, next) = (e.b.create_block(), e.b.create_block());
        let mine =
            e.b.ins()
                .icmp_imm_s(IntCC::Equal, block, (first + i) as i64);
        e.b.ins().brif(mine, here, &[], next, &[]);
        e.b.switch_to_block(here);
        e.b.ins().call(f, &args);
        e.jump(done);
        e.b.switch_to_block(next);
    }
    if blocks.is_empty() {
        e.jump(done);
    }
    e.b.switch_to_block(done);
}

/// A name as assemblers and debuggers like it.
fn symbol_part(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' || c == '_' {
                c
            } else {
                '_'
            }
        })
        .collect()
}
