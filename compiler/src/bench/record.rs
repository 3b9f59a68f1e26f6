//! What a measurement is of, and what it gives.

use std::fmt;

use graver_runtime::kernels::Choices;
use graver_runtime::profile::Profile;
use serde::{Deserialize, Serialize};

use super::stats::Ratio;
use crate::units::counted;

/// Version of the report's JSON.
pub const FORMAT: u32 = 1;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// All tokens at once, or one after the other.
    pub phase: Phase,
    /// Tokens of each sequence.
    pub tokens: usize,
    /// Positions of each that are filled before.
    pub depth: usize,
    /// Sequences that decode together, a token of each in every step.
    #[serde(default = "one")]
    pub sequences: usize,
}

/// What reports of before there were several have.
fn one() -> usize {
    1
}

/// Reading a prompt, or writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// As many tokens of a step as there can be.
    Prefill,
    /// One token of each sequence a step.
    Decode,
}

impl Point {
    /// Tokens of all sequences.
    pub fn all_tokens(&self) -> usize {
        self.tokens * self.sequences
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Prefill => "prefill",
            Phase::Decode => "decode",
        })
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (phase, tokens) = (self.phase, counted(self.tokens, "token"));
        match self.depth {
            0 => write!(f, "{phase} {tokens}, empty cache")?,
            depth => write!(f, "{phase} {tokens} after {depth}")?,
        }
        match self.sequences {
            1 => Ok(()),
            n => write!(f, ", {n} sequences at once"),
        }
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// What the caller calls the model.
    pub model: String,
    /// Checksum of its shape, [`Manifest::model_checksum`](graver_runtime::abi::Manifest::model_checksum); empty in files of before
    /// there was one.
    #[serde(default)]
    pub model_checksum: String,
    /// What fusion is worth and which pass matters most, in a sentence, if that was measured.
    #[serde(default)]
    pub verdict: Option<String>,
    /// Bytes of its weights.
    pub weight_bytes: u64,
    /// Model of the processor, where the system says.
    #[serde(default)]
    pub processor: Option<String>,
    /// Instruction set whose kernels ran.
    #[serde(default)]
    pub kernels: String,
    /// Choices among them.
    #[serde(default)]
    pub choices: Option<Choices>,
    /// Threads of each rank.
    pub threads: usize,
    /// Ranks that shared the model.
    #[serde(default = "one")]
    pub ranks: usize,
    /// Runs of each variant.
    pub rounds: usize,
    /// 10⁹ operations a second that the machine reached in registers, at its best between the runs: in f32, in f32 with
    /// bf16 where weights are bf16 (which is faster with AMX), in bf16 where activations are as well, or on integers of 8 bits where weights are integers.
    pub gflops_ceiling: f64,
    /// What others took of the machine.
    #[serde(default)]
    pub busy: Busy,
    /// The figures most asked for.
    #[serde(flatten)]
    pub headline: Headline,
    /// Point by point.
    pub points: Vec<PointReport>,
    /// Where the time of the variant that was profiled went, warming up included, on each rank.
    #[serde(skip)]
    pub profiles: Vec<Profile>,
}

/// What others took of the machine while it was measured. A run that was disturbed throughout repeats itself as well as any, so that
/// no interval shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Busy {
    /// Share of their time that the threads were not on a processor, where the system says.
    pub lost: Option<f64>,
    /// Share of the machine's time that the host of a virtual machine took, where the system says.
    pub steal: Option<f64>,
}

impl Busy {
    /// Shares that a machine loses which nobody else uses: interrupts, and threads that sleep between steps.
    const USUAL: f64 = 0.03;

    /// Whether times were longer than they need be.
    pub(crate) fn is_busy(&self) -> bool {
        [self.lost, self.steal]
            .into_iter()
            .flatten()
            .any(|share| share > Busy::USUAL)
    }
}

/// One point.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PointReport {
    /// Which.
    #[serde(flatten)]
    pub point: Point,
    /// 10⁹ bytes a second that the machine read from as many bytes as one step of the first variant reads.
    pub gbps_ceiling: f64,
    /// Variant by variant; ratios are to the first.
    pub variants: Vec<VariantReport>,
}

/// One variant at one point.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VariantReport {
    /// Its name.
    pub name: String,
    /// Kernels of a step.
    pub kernels: usize,
    /// Barriers of a step.
    pub barriers: usize,
    /// Floating-point operations of all tokens.
    pub flops: u64,
    /// Bytes of weights and state of all steps.
    pub memory_bytes: u64,
    /// The same with activations.
    pub bytes: u64,
    /// Each run.
    pub seconds: Vec<f64>,
    /// Tokens of all sequences a second, by the median run.
    pub tokens_per_second: f64,
    /// Quartiles of the runs over their median.
    pub spread: [f64; 2],
    /// Weights and state that were read, in 10⁹ bytes a second.
    pub gbps: f64,
    /// 10⁹ operations a second.
    pub gflops: f64,
    /// The larger share of the two ceilings that was reached.
    pub ceiling_share: f64,
    /// The share is above 1: something was measured or counted wrongly.
    pub impossible: bool,
    /// This variant's time over the first one's.
    pub ratio: Option<Ratio>,
}

/// Tokens a second at the first points of a report; nothing where there is no such point or variant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Headline {
    /// The first variant.
    #[serde(flatten)]
    pub fused: Speeds,
    /// The variant called `unfused`.
    pub unfused: Option<Speeds>,
}

/// Speeds of one variant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Speeds {
    /// Prompt tokens a second, the median.
    pub pp: Option<f64>,
    /// Generated tokens a second, the median.
    pub tg: Option<f64>,
    /// Prompt tokens a second of each run.
    pub pp_all: Vec<f64>,
    /// Generated tokens a second of each run.
    pub tg_all: Vec<f64>,
    /// The larger share of the machine's ceilings that the prompt reached.
    pub pp_share: Option<f64>,
    /// The same of the generation.
    pub tg_share: Option<f64>,
}
