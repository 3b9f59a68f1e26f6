//! A small model, run as code and as the interpreter reads it.

use std::sync::Arc;

use graver::artifact::jit;
use graver::codegen::{Instruments, Planned};
use graver::driver::{self, CompileOptions, Loaded, Purpose, plain_program};
use graver::graph::{Op, Program, ProgramKind};
use graver::interp::Interpreter;
use graver::passes::PassOptions;
use graver::verify::{Golden, TOLERANCE};
use graver::weights::{QuantChoice, Weights, WeightsError};
use graver_runtime::abi::{CacheType, Quant};
use graver_runtime::checked::CheckOptions;
use graver_runtime::session::{self, SessionOptions, Wanted};

use super::Choices;
use crate::{arena, compile_options};

/// Largest model that is run: bytes of weights, layers, tokens in its vocabulary, slots of weights.
const MAX_BYTES: usize = 1 << 20;
const MAX_LAYERS: usize = 12;
const MAX_VOCAB: usize = 2048;
const MAX_SLOTS: usize = 2000;
/// Largest arena, scratch and state in bytes.
const MAX_MEMORY: usize = 64 << 20;
/// Most tokens that are fed.
const MAX_TOKENS: usize = 40;
/// Allowed where keys and values are kept in half precision: a number close to a border goes either way.
const HALF_TOLERANCE: f64 = 5e-2;
/// Allowed where numbers are rounded to integers, whose borders are wider apart: only what is plainly wrong is seen.
const INTEGER_TOLERANCE: f64 = 0.5;

/// How a model is compiled and fed.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    /// Nothing fused.
    pub(crate) no_fuse: bool,
    /// What keys and values are kept in.
    pub(crate) cache: CacheType,
    /// Integers for its weights.
    pub(crate) quant: Option<QuantChoice>,
    /// Whether everything that the code reads and writes is looked at.
    pub(crate) checks: Option<CheckOptions>,
    /// Tokens of each step.
    pub(crate) runs: Vec<usize>,
}

impl Way {
    /// A way to run a model: mostly in f32, fused, a few tokens at once and a few more.
    pub(crate) fn choose(choices: &mut Choices<'_>) -> Way {
        let no_fuse = choices.below(3) == 1;
        let cache = match choices.below(8) {
            5 => CacheType::F16,
            6 => CacheType::Bf16,
            7 => CacheType::Q8,
            _ => CacheType::F32,
        };
        let quant = match choices.below(6) {
            4 => Some((Quant::Q8, Quant::Q8)),
            5 => Some((Quant::Q4Super, Quant::Q8)),
            _ => None,
        };
        let mut runs = vec![1 + choices.below(24)];
        for _ in 0..choices.below(3) {
            runs.push(1 + choices.below(8));
        }
        let checks = CheckOptions {
            order: Some(u64::from(choices.byte())),
            ..CheckOptions::ALL
        };
        Way {
            no_fuse,
            cache,
            checks: choices.flag().then_some(checks),
            quant: quant.map(|(layers, head)| QuantChoice { layers, head }),
            runs,
        }
    }

    /// What is allowed for a model that picks experts, or has none to pick.
    fn tolerance(&self, routes: bool) -> f64 {
        match (self.quant, self.cache) {
            (None, CacheType::F32) => TOLERANCE,
            // Another expert is picked where two scores are close, and then everything is another number.
            (_, _) if routes => f64::INFINITY,
            (None, CacheType::F16 | CacheType::Bf16) => HALF_TOLERANCE,
            (None, CacheType::Q8) | (Some(_), _) => INTEGER_TOLERANCE,
        }
    }
}

/// Whether a model is small enough to be run.
pub(crate) fn is_small(loaded: &Loaded) -> bool {
    let (model, weights) = (&loaded.model, &loaded.weights);
    weights.total_bytes() <= MAX_BYTES
        && model.layers.len() <= MAX_LAYERS
        && model.vocab <= MAX_VOCAB
        && weights.views().count() <= MAX_SLOTS
}

/// Runs a model both ways, and compares; says how far that went.
///
/// # Panics
/// Where anything does, and where code and interpreter differ.
pub(crate) fn check(loaded: Loaded, way: &Way) -> &'static str {
    let loaded = match way.quant {
        Some(choice) => match loaded.quantized(&choice.into(), Purpose::Run, &|_, _, _| {}) {
            Ok(packed) => packed,
            // Numbers may be changed to what is not finite, which rounding refuses.
            Err(WeightsError::NotFinite { .. }) => return "not finite",
            Err(e) => panic!("{e}"),
        },
        None => loaded,
    };
    let n: usize = way
        .runs
        .iter()
        .sum::<usize>()
        .min(MAX_TOKENS)
        .min(loaded.model.context);
    // What a sequence had before it outgrew its frequencies it keeps, so that only all at once is what the interpreter computes.
    let mut borders = loaded.model.ropes.iter().filter_map(|r| r.long.as_ref());
    let outgrows = borders.any(|long| long.above < n);
    let whole = Way {
        runs: vec![n],
        ..way.clone()
    };
    let way = if outgrows { &whole } else { way };
    let tokens = graver::verify::oracle::any_tokens(n, loaded.model.vocab);
    let passes = PassOptions {
        no_fuse: way.no_fuse,
        ..PassOptions::default()
    };
    let options = CompileOptions {
        instruments: Instruments {
            checks: way.checks.is_some(),
            verified: true,
            ..Instruments::default()
        },
        ..compile_options(passes, way.cache)
    };
    let planned = driver::plan(&loaded, &options);
    if !planned.programs.iter().all(|p| fits(p, n)) {
        return "too large to be run";
    }
    for p in &planned.programs {
        p.program.expect_valid("as it is planned");
        assert_eq!(arena::fault(p, n), None, "{}", p.program);
    }
    let plain = plain_program(&loaded, ProgramKind::Prefill, way.cache);
    let program = jit(&planned).expect("code for this processor");
    let weights = Arc::new(loaded.weights);
    let interpret = |p: &Program| Interpreter::new(p, &weights.slots()).step(&tokens);
    let golden = Golden {
        logits: interpret(&plain),
        input_ids: tokens.clone(),
        greedy_ids: vec![],
        greedy_gap: vec![],
    };
    let Some(found) = code(program, &weights, &tokens, way) else {
        return "too large for this system";
    };
    if !can_be_compared(&golden.logits) {
        return "run, with logits that are not compared";
    }
    let found = golden.difference("code", &found);
    if found.difference > way.tolerance(routes(&plain)) {
        let graphs = planned.programs.each_ref().map(|p| {
            let name = p.program.kind.to_string();
            golden.difference(&name, &interpret(&p.program))
        });
        let [decode, prefill] = planned.programs.map(|p| p.program);
        let [d, p] = graphs;
        panic!("{found}\ngraphs: {d} {p}\n{way:?}\n{decode}\n{prefill}");
    }
    "run, and compared"
}

/// Whether a program picks experts.
fn routes(program: &Program) -> bool {
    let graphs = program.blocks.iter().map(|b| &b.graph);
    let mut ops = graphs.flat_map(|g| g.order().into_iter().map(|id| g.op(id)));
    ops.any(|op| matches!(op, Op::Route(_)))
}

/// Whether a plan asks for little memory.
fn fits(p: &Planned, positions: usize) -> bool {
    let memory = &p.memory;
    let arena = memory.arena_bytes_per_position.saturating_mul(positions);
    let states = driver::states(&p.program);
    let state = states.iter().map(|s| {
        s.bytes_per_position
            .saturating_mul(positions)
            .saturating_add(s.fixed_bytes)
    });
    [memory.arena_bytes, arena, memory.scratch_bytes]
        .into_iter()
        .chain(state)
        .all(|bytes| bytes <= MAX_MEMORY)
}

/// All logits of a compiled program; nothing where the system has no memory.
fn code(
    program: session::Program,
    weights: &Arc<Weights>,
    tokens: &[u32],
    way: &Way,
) -> Option<Vec<f32>> {
    let options = SessionOptions {
        threads: Some(if way.checks.is_some() { 2 } else { 1 }),
        context: Some(tokens.len()),
        checks: way.checks,
        ..SessionOptions::default()
    };
    let mut session = driver::start(program, weights, options).ok()?;
    let (mut logits, mut at) = (vec![], 0);
    // What is left after the last run goes in one step.
    for run in way.runs.iter().copied().chain([tokens.len()]) {
        let run = run.min(tokens.len() - at);
        if run > 0 {
            let rows = session
                .feed(0, &tokens[at..at + run], Wanted::All)
                .unwrap_or_else(|e| panic!("{e}\n{way:?}"));
            logits.extend_from_slice(rows.values());
            at += run;
        }
    }
    Some(logits)
}

/// Whether logits are numbers of a size at which their differences mean something.
fn can_be_compared(logits: &[f32]) -> bool {
    let most = logits.iter().fold(0f32, |m, v| m.max(v.abs()));
    let least = logits.iter().fold(f32::INFINITY, |m, v| m.min(*v));
    let largest = logits.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    let spread = largest - least;
    logits.iter().all(|v| v.is_finite()) && most < 1e6 && spread > 1e-6 * most.max(1e-12)
}
