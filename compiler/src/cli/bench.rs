//! `graver bench`: how fast a model is, and what fusion and each pass are worth.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use graver::bench::{self, DuelSettings, Phase, Point, Report, Settings, Variant};
use graver::driver::{CompileOptions, Loaded, Purpose};
use graver_runtime::abi::PREFILL_TOKENS;
use graver_runtime::cli::save_trace;
use graver_runtime::cpu;
use graver_runtime::files::{self, shown};
use graver_runtime::ranks::{Communicator, Shared};
use indicatif::{ProgressBar, ProgressStyle};

use super::model::{ModelArgs, WeightedModelArgs};
use super::outcome::Outcome;
use super::print::{json, print};
use super::ranks::RanksArgs;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    model: WeightedModelArgs,
    /// Second executable: MODEL and OTHER, both made by graver compile, run in turn and are compared
    #[arg(value_name = "OTHER", requires = "model", conflicts_with_all = [
        "spec", "preset", "config", "no_fuse", "no_pass", "pass_limit", "quantize", "head", "kv", "weights_seed",
        "ab", "ablate", "fused_only", "batch", "depth", "profile", "markdown",
    ])]
    other: Option<PathBuf>,
    #[command(flatten)]
    bench: BenchArgs,
    #[command(flatten)]
    ranks: RanksArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Compare two JSON reports; exit with 1 if NEW is slower beyond the noise
    Diff(DiffArgs),
}

#[derive(clap::Args)]
struct DiffArgs {
    /// Baseline, written by --json
    old: PathBuf,
    /// Report to compare with it, written by --json
    new: PathBuf,
    /// Slowdown that counts as noise, as a fraction
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, value_parser = share, allow_negative_numbers = true)]
    tolerance: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && x >= 0.0 => Ok(x),
        _ => Err(format!("{text}: expected a number, 0 or more")),
    }
}

/// As many as a step has room for.
fn sequences(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=PREFILL_TOKENS).contains(&n) => Ok(n),
        _ => Err(format!("{text}: expected 1 to {PREFILL_TOKENS}")),
    }
}

#[derive(clap::Args)]
struct BenchArgs {
    /// Compare fused and unfused in ten rounds instead of three
    #[arg(long)]
    ab: bool,
    /// Also measure with each pass disabled, and with each pass alone
    #[arg(long)]
    ablate: bool,
    /// Measure only the fused graph
    #[arg(long, conflicts_with_all = ["ab", "ablate"])]
    fused_only: bool,
    /// Prompt lengths, in tokens; 0 for none [default: 512, at most the model's context]
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    prompt: Option<Vec<usize>>,
    /// Numbers of tokens to generate; 0 for none [default: 64]
    #[arg(long = "gen", value_name = "N,…", value_delimiter = ',')]
    generate: Option<Vec<usize>>,
    /// Numbers of sequences decoded together, a token of each per step; speeds are their total
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1", value_parser = sequences)]
    batch: Vec<usize>,
    /// Positions already in the KV cache; at least 4 with --gen
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "0")]
    depth: Vec<usize>,
    /// Number of rounds [default: 3; 10 with --ab, --ablate or OTHER]
    #[arg(long, visible_alias = "repeat", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Number of threads, each pinned to a processor [default: all available processors]
    #[arg(short = 't', long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Write a profile of the fused graph, as a trace for Perfetto and chrome://tracing; the variant `profiled` shows what profiling
    /// costs
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Print JSON (format: docs/bench.md)
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print Markdown
    #[arg(long)]
    markdown: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    match &args.command {
        Some(Command::Diff(diff)) => run_diff(diff),
        None => match (args.model.path(), &args.other) {
            (Some(model), Some(other)) => args.bench.run_executables([model, other]),
            _ => args.bench.run(&args.model.model()?, args.ranks),
        },
    }
}

impl BenchArgs {
    fn run(&self, model: &ModelArgs, ranks: RanksArgs) -> Outcome {
        if let Some(profile) = &self.profile {
            model.check_output("--profile", profile)?;
        }
        let options = model.options()?;
        if options.passes.no_fuse {
            return Err("--no-fuse leaves nothing to compare: bench measures the fused graph against the unfused one".into());
        }
        let loaded = model.load(Purpose::Run)?;
        let variants = self.variants(&loaded, &options);
        let settings = Settings {
            rounds: self.rounds(),
            threads: ranks
                .threads(self.threads.map(usize::from))
                .unwrap_or_else(cpu::available_threads),
            division: ranks.division(&loaded, &options, None)?,
            others: ranks.others()?.map(Shared::new),
        };
        let leads = settings.others.as_ref().is_none_or(|o| o.rank() == 0);
        let bar = match leads {
            true => progress_bar(),
            false => ProgressBar::hidden(),
        };
        let progress = |what: &str, share: f64| {
            bar.set_message(what.to_string());
            bar.set_position((1000.0 * share) as u64);
        };
        let (label, points) = (model.label()?, self.points(loaded.model.context));
        if points.is_empty() {
            return Err(self.nothing(loaded.model.context).into());
        }
        let report = bench::run(
            &label, loaded, &options, &variants, &points, settings, &progress,
        )?;
        bar.finish_and_clear();
        let Some(report) = report else {
            return Ok(ExitCode::SUCCESS);
        };
        if let Some(path) = self
            .profile
            .as_ref()
            .filter(|_| !report.profiles.is_empty())
        {
            save_trace(path, &report.profiles)?;
        }
        match (self.json, self.markdown) {
            (true, _) => print(json(&report)?)?,
            (false, true) => print(report.markdown())?,
            (false, false) => print(report)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Why there is nothing to measure.
    fn nothing(&self, context: usize) -> String {
        match self.depth.iter().find(|depth| **depth >= context) {
            Some(depth) => format!(
                "--depth {depth}: the model's context of {context} has no room after it; choose a smaller --depth"
            ),
            None => "nothing to measure: --prompt and --gen are both 0".into(),
        }
    }

    /// Two executables, in turn.
    fn run_executables(&self, executables: [&Path; 2]) -> Outcome {
        let one = |given: &Option<Vec<usize>>, option: &str| match given.as_deref() {
            None => Ok(None),
            Some(&[n]) => Ok(Some(n)),
            Some(_) => Err(format!(
                "{option}: two executables are compared at one length, expected a single number"
            )),
        };
        let settings = DuelSettings {
            prompt: one(&self.prompt, "--prompt")?,
            generate: one(&self.generate, "--gen")?,
            rounds: self.rounds.map_or(10, usize::from),
            threads: self.threads(),
        };
        let bar = progress_bar();
        bar.set_message("both in turn");
        let progress = |share: f64| bar.set_position((1000.0 * share) as u64);
        let duel = bench::duel(executables, &settings, &progress)?;
        bar.finish_and_clear();
        match self.json {
            true => print(json(&duel)?)?,
            false => print(duel)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn threads(&self) -> usize {
        self.threads
            .map_or_else(cpu::available_threads, usize::from)
    }

    fn variants(&self, loaded: &Loaded, options: &CompileOptions) -> Vec<Variant> {
        let mut out = match (self.ablate, self.fused_only) {
            (true, _) => bench::ablation(loaded, options),
            (false, true) => vec![bench::fused(&options.passes)],
            (false, false) => bench::ab(&options.passes),
        };
        out.extend(
            self.profile
                .as_ref()
                .map(|_| bench::profiled(&options.passes)),
        );
        out
    }

    fn rounds(&self) -> usize {
        let usual = if self.ab || self.ablate { 10 } else { 3 };
        self.rounds.map_or(usual, usize::from)
    }

    /// Every length at every depth, written by every number of sequences; lengths that nobody chose fit into `context`.
    fn points(&self, context: usize) -> Vec<Point> {
        let deepest = self
            .depth
            .iter()
            .copied()
            .max()
            .unwrap_or(0)
            .max(LEAST_DEPTH);
        let room = context.saturating_sub(deepest);
        let usual = |given: &Option<Vec<usize>>, n: usize, room: usize| {
            given.clone().unwrap_or_else(|| vec![n.min(room)])
        };
        // A prompt at no depth may fill the context.
        let prompt_room = if deepest > LEAST_DEPTH { room } else { context };
        let (prompt, generate) = (
            usual(&self.prompt, 512, prompt_room),
            usual(&self.generate, 64, room),
        );
        let mut out = vec![];
        for &depth in &self.depth {
            let point = |phase, depth, sequences| {
                move |&tokens: &usize| Point {
                    phase,
                    tokens,
                    depth,
                    sequences,
                }
            };
            let some = |n: &&usize| **n > 0;
            let prefill = point(Phase::Prefill, depth, 1);
            out.extend(prompt.iter().filter(some).map(prefill));
            for &sequences in &self.batch {
                let decode = point(Phase::Decode, depth.max(LEAST_DEPTH), sequences);
                out.extend(generate.iter().filter(some).map(decode));
            }
        }
        out
    }
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(1000);
    let style = ProgressStyle::with_template("{bar:30} {msg}").expect("a valid template");
    bar.set_style(style);
    bar
}

/// Positions filled before tokens are written: the very first steps have almost no attention.
const LEAST_DEPTH: usize = 4;

fn run_diff(args: &DiffArgs) -> Outcome {
    let (old, new) = (read(&args.old)?, read(&args.new)?);
    let differences = bench::diff(&old, &new, args.tolerance);
    if differences.rows.is_empty() {
        return Err("the two reports have no point and variant in common".into());
    }
    match args.json {
        true => print(json(&differences)?)?,
        false => print(&differences)?,
    }
    Ok(match differences.regressed() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// Largest report or trace that is read, in bytes.
pub(super) const MAX_REPORT: u64 = 256 << 20;

pub(super) fn read(path: &Path) -> Result<Report, Box<dyn Error>> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", shown(path));
    let text = files::read_text(path, MAX_REPORT)?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|e| failed(&format!("not a report of graver bench --json: {e}")))?;
    match report.format {
        bench::FORMAT => Ok(report),
        other => Err(failed(&format!("format {other}, expected {}", bench::FORMAT)).into()),
    }
}
