//! What the page shows of both programs, compiled with some passes.

use std::collections::BTreeMap;
use std::time::Instant;

use graver_runtime::abi::DECODE_TOKENS;
use serde::Serialize;

use crate::artifact::{ListingError, listings};
use crate::codegen::Listing;
use crate::cost::{self, Cost, Step};
use crate::disasm::{Disassembly, disassemble};
use crate::driver::{CompileOptions, Loaded, Part};
use crate::explain::{Counts, counts};
use crate::graph::{Graph, NodeId, Op, op_text, shape_text};
use crate::history::History;
use crate::passes::{Outcome, PASSES};
use crate::schedule::{Kernel, root};
use crate::shard::RanksError;

/// Why there is no view.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Machine code for a processor that code cannot be made for.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// Ranks that there cannot be.
    #[error(transparent)]
    Ranks(#[from] RanksError),
}

/// Both programs.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    passes: Vec<PassView>,
    programs: Vec<ProgramView>,
    /// What compiling took.
    milliseconds: f64,
}

#[derive(Clone, Debug, Serialize)]
struct PassView {
    name: &'static str,
    about: &'static str,
    enabled: bool,
    /// Places where it fused something, in both programs.
    fused: usize,
}

#[derive(Clone, Debug, Serialize)]
struct ProgramView {
    program: String,
    /// What costs are for.
    step: Step,
    /// Kernels and barriers of a step.
    counts: Counts,
    /// Bytes of machine code of all functions.
    code_bytes: usize,
    arena_bytes: usize,
    blocks: Vec<BlockView>,
}

#[derive(Clone, Debug, Serialize)]
struct BlockView {
    /// `layers.dense`.
    place: String,
    layers: usize,
    kernels: Vec<KernelView>,
    /// The plain graph, without weights.
    plain: Vec<PlainView>,
}

/// An operation of the plain graph.
#[derive(Clone, Debug, Serialize)]
struct PlainView {
    op: &'static str,
    name: String,
    text: String,
    shape: String,
    weights: Vec<String>,
    /// The operations whose results it reads, by index, and names of what the block is given.
    reads: Vec<Read>,
    /// The pass that took it away.
    gone: Option<usize>,
}

#[derive(Clone, Debug, Serialize)]
struct Read {
    role: String,
    /// Index among the kernels or operations of the block.
    from: Option<usize>,
    name: String,
}

#[derive(Clone, Debug, Serialize)]
struct KernelView {
    /// Place in the spec, without that of the block.
    name: String,
    op: &'static str,
    symbol: String,
    text: String,
    shape: String,
    /// Threads wait for each other first.
    barrier: bool,
    /// How it is cut into chunks.
    work: String,
    weights: Vec<String>,
    reads: Vec<Read>,
    /// Passes that made it.
    passes: Vec<usize>,
    /// Operations of the plain graph, by index.
    origins: Vec<usize>,
    remarks: Vec<RemarkView>,
    clif: String,
    /// Machine code, or what Cranelift prints where there is no decoder for the processor.
    asm: Option<Disassembly>,
    asm_text: String,
    cost: Cost,
}

#[derive(Clone, Debug, Serialize)]
struct RemarkView {
    pass: usize,
    at: String,
    fused: bool,
    text: String,
}

/// Tokens of a prompt that costs and times are for.
const PROMPT: usize = 128;

/// The step of each program that costs and times are for: a token after a short prompt, and the prompt.
pub(super) fn steps(loaded: &Loaded) -> [Step; 2] {
    // A longer step than decode has, with room for what decode writes after it.
    let prompt = PROMPT.min(loaded.model.context / 2);
    let prompt = match prompt > DECODE_TOKENS {
        true => prompt,
        false => loaded.model.context.min(DECODE_TOKENS + 1),
    };
    let depth = prompt.min(loaded.model.context.saturating_sub(1));
    [Step::decode(depth), Step::prefill(prompt, 0)]
}

/// Compiles both programs of a part of a model and takes them apart.
///
/// # Errors
/// Processors that code cannot be made for, what Cranelift reports, and parts that there are not.
pub fn view((loaded, part): (&Loaded, Part), options: &CompileOptions) -> Result<View, ViewError> {
    let begun = Instant::now();
    let histories = part
        .plain_programs(loaded, options.cache)?
        .map(|plain| History::of(plain, &options.passes));
    let mut programs = vec![];
    for (history, step) in histories.iter().zip(steps(loaded)) {
        let functions = listings(&history.planned, &options.target)?;
        programs.push(program(history, functions, step));
    }
    let enabled = options.passes.enabled();
    let pass = |(index, pass): (usize, &crate::passes::Pass)| PassView {
        name: pass.name,
        about: pass.about,
        enabled: enabled.iter().any(|p| p.name == pass.name),
        fused: histories.iter().map(|h| h.fused(index)).sum(),
    };
    Ok(View {
        passes: PASSES.iter().enumerate().map(pass).collect(),
        programs,
        milliseconds: begun.elapsed().as_secs_f64() * 1e3,
    })
}

fn program(history: &History, functions: Vec<Listing>, step: Step) -> ProgramView {
    let planned = &history.planned;
    let code_bytes = functions.iter().map(|f| f.code.bytes.len()).sum();
    let code: BTreeMap<_, _> = functions
        .into_iter()
        .filter_map(|f| Some((f.kernel?, f)))
        .collect();
    let program = &planned.program;
    let block = |b: usize| BlockView {
        place: program.place(b),
        layers: program.run_order().filter(|i| *i == b).count(),
        kernels: (0..planned.schedule.blocks[b].kernels.len())
            .map(|k| kernel(history, (b, k), code.get(&(b, k)), step))
            .collect(),
        plain: plain(history, b),
    };
    ProgramView {
        program: program.kind.to_string(),
        step,
        counts: counts(planned),
        code_bytes,
        arena_bytes: planned.memory.arena_bytes,
        blocks: (0..program.blocks.len()).map(block).collect(),
    }
}

fn kernel(history: &History, at: (usize, usize), code: Option<&Listing>, step: Step) -> KernelView {
    let (block, kernels) = (at.0, &history.planned.schedule.blocks[at.0].kernels);
    let (k, graph) = (&kernels[at.1], history.after(block));
    let node = graph.node(k.node);
    let asm = code.and_then(|c| disassemble(&c.code));
    KernelView {
        name: k.name.clone(),
        op: node.op.name(),
        symbol: code.map(|c| c.name.clone()).unwrap_or_default(),
        text: op_text(&node.op),
        shape: shape_text(&node.shape),
        barrier: k.barrier,
        work: k.work.to_string(),
        weights: weights(graph, k.node),
        reads: reads(graph, k.node, &|id| {
            kernels.iter().position(|k: &Kernel| k.node == id)
        }),
        passes: history.passes_of(block, k.node),
        origins: origins(history, block, k.node),
        remarks: remarks(history, block, k.node),
        clif: code.map(|c| c.clif.clone()).unwrap_or_default(),
        asm_text: match asm {
            Some(_) => String::new(),
            None => code.map(|c| c.code.text.clone()).unwrap_or_default(),
        },
        asm,
        cost: cost::kernel(graph, k.node, step),
    }
}

fn remarks(history: &History, block: usize, node: NodeId) -> Vec<RemarkView> {
    let all = history.remarks(block, node).into_iter();
    all.map(|(pass, candidate)| {
        let (fused, text) = match &candidate.outcome {
            Outcome::Fused(into) => (true, into.clone()),
            Outcome::Kept(why) => (false, why.clone()),
        };
        RemarkView {
            pass,
            at: candidate.at.clone(),
            fused,
            text,
        }
    })
    .collect()
}

/// Nodes of the plain graph that are shown: all but weights.
fn shown(graph: &Graph) -> Vec<NodeId> {
    graph.all(|op| !matches!(op, Op::Weight(_) | Op::Input(_)))
}

fn origins(history: &History, block: usize, node: NodeId) -> Vec<usize> {
    let own = history.origins(block, node);
    let shown = shown(&history.before.blocks[block].graph);
    let places = shown.iter().enumerate().filter(|(_, id)| own.contains(id));
    places.map(|(i, _)| i).collect()
}

fn plain(history: &History, block: usize) -> Vec<PlainView> {
    let graph = &history.before.blocks[block].graph;
    let shown = shown(graph);
    let view = |id: &NodeId| {
        let node = graph.node(*id);
        PlainView {
            op: node.op.name(),
            name: node.name.clone(),
            text: op_text(&node.op),
            shape: shape_text(&node.shape),
            weights: weights(graph, *id),
            reads: reads(graph, *id, &|o| shown.iter().position(|s| *s == o)),
            gone: history.gone_by(block, *id),
        }
    };
    shown.iter().map(view).collect()
}

/// Operands but weights, each with where it was computed.
fn reads(graph: &Graph, id: NodeId, place: &dyn Fn(NodeId) -> Option<usize>) -> Vec<Read> {
    let roles = graph.op(id).roles().into_iter().map(|(role, _)| role);
    let values = roles
        .zip(graph.operands(id))
        .filter(|(_, o)| graph.weight(*o).is_none());
    values
        .map(|(role, o)| Read {
            role: role.to_string(),
            from: place(o).or_else(|| place(root(graph, o))),
            name: graph.node(o).name.clone(),
        })
        .collect()
}

/// `attention.q.weight: bf16[4096, 4096]`.
fn weights(graph: &Graph, id: NodeId) -> Vec<String> {
    let read = graph
        .operands(id)
        .into_iter()
        .filter_map(|o| graph.weight(o));
    read.map(|w| {
        let text = w.to_string();
        let text = text.strip_prefix("weight @").unwrap_or(&text);
        match w.count {
            1 => text.to_string(),
            n => format!("{text} × {n}"),
        }
    })
    .collect()
}
