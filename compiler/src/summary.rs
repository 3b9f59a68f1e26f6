//! A model's shape in numbers, without weights: parameters, state, and what a step of each program costs.
//!
//! In: a loaded model (shapes will do) and which passes run. Out: a [`Summary`], which prints as text and serialises as JSON.
//! Predictions are the roofline's: no step can be faster than memory and arithmetic allow.

mod machine;
mod ranks;

use std::collections::BTreeSet;
use std::fmt;

use graver_runtime::abi::{CACHE_GROUP, PREFILL_TOKENS, StateInfo};
use serde::Serialize;

use crate::codegen::Planned;
use crate::contents::Contents;
use crate::cost::{self, Cost, Step};
use crate::driver::{self, CompileOptions, Loaded};
use crate::explain::{Counts, counts};
use crate::graph::ProgramKind;
use crate::mechanisms::{Mechanism, is_tied, mechanisms};
use crate::schedule::largest_step;
use crate::shard::{Division, RanksError};
use crate::spec::model::{Item, Model, Step as ModelStep, StepOp};
use crate::units::{bytes, count, counted, flops};

pub use self::machine::Machine;
pub use self::ranks::{Link, RanksStep, RanksSummary, quickest};

/// A model's shape in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What the caller calls the model: `llama 3.1-8b`.
    pub model: String,
    /// Name of the spec.
    pub spec: String,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Vocabulary size.
    pub vocab: usize,
    /// Longest context, in positions.
    pub context: usize,
    /// All weights, a tensor that is used twice counted once.
    pub parameters: u64,
    /// Weights that one token of decode reads: of a table one row, of experts those that are chosen.
    pub active_parameters: u64,
    /// Whether the head reads the embedding's table, of which a token otherwise reads one row.
    pub tied: bool,
    /// Bytes of all weights.
    pub weight_bytes: u64,
    /// What the model is made of.
    pub mechanisms: Vec<Mechanism>,
    /// Keys and values, or what stands for them.
    pub state: StateSize,
    /// What steps cost: decode at several depths, and a long prefill.
    pub steps: Vec<StepCost>,
    /// What predictions assume.
    pub machine: Option<Machine>,
    /// The same steps where ranks share the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<RanksSummary>,
    /// What is in the file, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Contents>,
}

/// Bytes of one sequence's state.
#[derive(Clone, Debug, Serialize)]
pub struct StateSize {
    /// For each further token, as long as no window is full.
    pub bytes_per_token: u64,
    /// Of a sequence, however long: recurrent state.
    pub recurrent_bytes: u64,
    /// The same if every query head had keys and values of its own (multi-head attention), of the same type.
    pub mha_bytes_per_token: u64,
    /// At several context lengths.
    pub at: Vec<StateAt>,
}

/// Bytes of state at one context length.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StateAt {
    /// Positions filled.
    pub context: usize,
    /// Bytes.
    pub bytes: u64,
}

/// What one step costs.
#[derive(Clone, Debug, Serialize)]
pub struct StepCost {
    /// `decode` or `prefill`.
    pub program: String,
    /// The step.
    pub step: Step,
    /// All its kernels together.
    pub cost: Cost,
    /// Kernels and barriers.
    #[serde(flatten)]
    pub counts: Counts,
    /// Tokens a second that the machine allows at most.
    pub tokens_per_second: Option<f64>,
}

/// Context lengths that are shown, as far as the model has them.
const CONTEXTS: [usize; 4] = [1024, 8192, 32768, 131_072];

/// Summarises a model that the caller calls `name`.
pub fn summarize(
    name: &str,
    loaded: &Loaded,
    options: &CompileOptions,
    machine: Option<Machine>,
) -> Summary {
    let planned = driver::plan(loaded, options).programs;
    let model = &loaded.model;
    let decode_once = step_cost(&planned[0], Step::decode(0), machine);
    let parameters = parameters(loaded, &planned[0]);
    Summary {
        model: name.into(),
        spec: model.name.clone(),
        hidden: model.hidden,
        vocab: model.vocab,
        context: model.context,
        parameters,
        // A tied head reads the whole table, the embedding a row of it again.
        active_parameters: decode_once.cost.parameters.min(parameters),
        tied: is_tied(loaded),
        weight_bytes: loaded.weights.total_bytes() as u64,
        mechanisms: mechanisms(loaded),
        state: state_size(model, &planned[0], options),
        steps: steps(model, &planned, machine),
        machine,
        ranks: None,
        file: None,
    }
}

impl Summary {
    /// The same with what steps cost where ranks share the model.
    ///
    /// # Errors
    /// Numbers of ranks that there cannot be.
    pub fn with_ranks(
        mut self,
        loaded: &Loaded,
        options: &CompileOptions,
        division: impl Into<Division>,
        link: Option<Link>,
    ) -> Result<Summary, RanksError> {
        let kind = |s: &StepCost| match s.step.tokens {
            1 => ProgramKind::Decode,
            _ => ProgramKind::Prefill,
        };
        let steps: Vec<_> = self.steps.iter().map(|s| (kind(s), s.step)).collect();
        let machine = self.machine.zip(link);
        let division = division.into();
        let ranks = ranks::summarize(loaded, options, division, &steps, machine)?;
        self.ranks = Some(ranks);
        Ok(self)
    }
}

fn steps(model: &Model, planned: &[Planned; 2], machine: Option<Machine>) -> Vec<StepCost> {
    let [decode, prefill] = planned;
    let depths = contexts(model).into_iter().map(|c| Step::decode(c - 1));
    let mut out: Vec<_> = depths.map(|s| step_cost(decode, s, machine)).collect();
    let tokens = PREFILL_TOKENS.min(model.context);
    out.push(step_cost(prefill, Step::prefill(tokens, 0), machine));
    out
}

/// What a step of a program costs.
fn step_cost(planned: &Planned, step: Step, machine: Option<Machine>) -> StepCost {
    let kernels = cost::kernels(planned, step);
    let seconds = machine.map(|m| cost::least_seconds(&kernels, m.gbps, m.gflops));
    StepCost {
        program: planned.program.kind.to_string(),
        step,
        cost: cost::total(&kernels),
        counts: counts(planned),
        tokens_per_second: seconds.map(|s| step.tokens as f64 / s),
    }
}

fn contexts(model: &Model) -> Vec<usize> {
    let mut out: Vec<_> = CONTEXTS
        .into_iter()
        .filter(|c| *c < model.context)
        .collect();
    out.push(model.context);
    out
}

/// Elements of all weights; views of the same place are one weight.
fn parameters(loaded: &Loaded, planned: &Planned) -> u64 {
    let program = &planned.program;
    let declared = program
        .run_order()
        .flat_map(|b| &program.blocks[b].graph.weights)
        .flat_map(|w| std::iter::repeat_n(w, w.count));
    let mut seen = BTreeSet::new();
    let counted = declared.zip(loaded.weights.views());
    counted
        .filter(|(_, view)| seen.insert((view.tensor, view.offset_bytes)))
        .map(|(w, _)| w.shape.iter().map(|n| *n as u64).product::<u64>())
        .sum()
}

fn state_size(model: &Model, planned: &Planned, options: &CompileOptions) -> StateSize {
    let states = driver::states(&planned.program);
    let heads: usize = model
        .layers
        .iter()
        .map(|k| mha_width(&model.kinds[*k].items))
        .sum();
    StateSize {
        recurrent_bytes: states.iter().map(|s| s.fixed_bytes as u64).sum(),
        bytes_per_token: states.iter().map(|s| s.bytes_per_position as u64).sum(),
        mha_bytes_per_token: options.cache.bytes(heads, CACHE_GROUP) as u64,
        at: contexts(model)
            .into_iter()
            .map(|context| StateAt {
                context,
                bytes: states.iter().map(|s| state_bytes(s, context)).sum(),
            })
            .collect(),
    }
}

fn state_bytes(s: &StateInfo, context: usize) -> u64 {
    let rows = s
        .ring
        .map_or(context, |r| (r + largest_step()).min(context));
    (s.fixed_bytes + rows * s.bytes_per_position) as u64
}

/// Elements that a layer would cache for each token if every query head had keys and values.
fn mha_width(items: &[Item]) -> usize {
    items.iter().flat_map(Item::steps).map(step_mha_width).sum()
}

fn step_mha_width(step: &ModelStep) -> usize {
    match &step.op {
        StepOp::Attention(a) => a.heads * (a.head_dim + a.value_dim),
        StepOp::LatentAttention(a) => a.heads * (a.head_dim() + a.value_dim),
        StepOp::DeltaNet(d) => d.value_heads * (d.key_dim + d.value_dim),
        StepOp::Recurrence(r) => r.heads * (r.key_dim + r.value_dim),
        StepOp::Embed { .. }
        | StepOp::PositionEmbed { .. }
        | StepOp::Sinusoids { .. }
        | StepOp::Norm(_)
        | StepOp::Linear(_)
        | StepOp::Pick
        | StepOp::Act(_)
        | StepOp::Add(_)
        | StepOp::Mul(_)
        | StepOp::WeightedSum { .. }
        | StepOp::MatchRms { .. }
        | StepOp::Scale(_)
        | StepOp::Softcap(_)
        | StepOp::Concat(_)
        | StepOp::Clamp { .. }
        | StepOp::Xielu(_)
        | StepOp::ShortConv(_)
        | StepOp::Index(_)
        | StepOp::Decay(_)
        | StepOp::Mlp(_)
        | StepOp::Moe(_) => 0,
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.rows() {
            writeln!(f, "{name:<24}  {value}")?;
        }
        for (key, value) in self.file.iter().flat_map(|file| &file.metadata) {
            writeln!(f, "{key} = {value}")?;
        }
        Ok(())
    }
}

impl Summary {
    /// All that there is to say, one line each: what is printed, and what two models are compared by.
    pub fn rows(&self) -> Vec<(String, String)> {
        let mut out = vec![
            row("parameters", count(self.parameters)),
            row("read per token", self.read_per_token()),
            row("weights", bytes(self.weight_bytes)),
        ];
        out.extend(self.file.iter().flat_map(Contents::rows));
        out.extend([
            row(
                "hidden, vocabulary",
                format!("{}, {}", self.hidden, self.vocab),
            ),
            row("context", self.context),
        ]);
        out.extend(self.mechanisms.iter().map(|m| row(m.name, &m.value)));
        out.push(row("KV cache per token", self.state.per_token()));
        if self.state.recurrent_bytes > 0 {
            let recurrent = bytes(self.state.recurrent_bytes);
            out.push(row("state per sequence", format!("{recurrent}, recurrent")));
        }
        out.extend(
            self.state
                .at
                .iter()
                .map(|s| row(&format!("state at {}", s.context), bytes(s.bytes))),
        );
        for s in &self.steps {
            let name = match s.step.tokens {
                1 => format!("{} at {}", s.program, s.step.depth + 1),
                n => format!("{} of {n}", s.program),
            };
            out.push(row(&name, s));
        }
        out.extend(self.ranks.iter().flat_map(RanksSummary::rows));
        out
    }
}

impl Summary {
    fn read_per_token(&self) -> String {
        let read = count(self.active_parameters);
        match self.tied {
            true => read,
            false => format!("{read} (without the embedding table)"),
        }
    }
}

fn row(name: &str, value: impl ToString) -> (String, String) {
    (name.into(), value.to_string())
}

impl StateSize {
    fn per_token(&self) -> String {
        let (own, mha) = (self.bytes_per_token, self.mha_bytes_per_token);
        match own {
            0 => "none".into(),
            _ if own == mha => format!("{}, as MHA", bytes(own)),
            _ => {
                let share = mha as f64 / own as f64;
                let digits = usize::from(share < 9.95);
                let share = format!("{share:.digits$}");
                let share = share.trim_end_matches(".0");
                format!("{} (1/{share} of MHA's {})", bytes(own), bytes(mha))
            }
        }
    }
}

impl fmt::Display for StepCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cost, tokens) = (&self.cost, self.step.tokens as u64);
        write!(
            f,
            "{} a token; {} weights, {} state, {} activations a step; {}, {}",
            flops(cost.flops / tokens),
            bytes(cost.weight_bytes),
            bytes(cost.state_bytes),
            bytes(cost.activation_bytes),
            counted(self.counts.kernels, "kernel"),
            counted(self.counts.barriers, "barrier")
        )?;
        match self.tokens_per_second {
            Some(t) if t < 10.0 => write!(f, "; at most {t:.2} tokens/s"),
            Some(t) => write!(f, "; at most {t:.0} tokens/s"),
            None => Ok(()),
        }
    }
}
