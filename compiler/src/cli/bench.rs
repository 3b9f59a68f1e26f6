//! `graver bench`: how fast a model is, and what fusion and each pass are worth.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgMatches, FromArgMatches, Subcommand};
use graver::bench::{self, Phase, Point, Report, Settings, Variant};
use graver::pipeline::{CompileOptions, Loaded};
use graver_runtime::cpu;
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;
use super::model::ModelArgs;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    model: Wanted,
    #[command(flatten)]
    bench: BenchArgs,
}

/// The model, unless a subcommand stands in its place. (An `Option` of arguments that have flattened ones inside is never filled
/// by the derived code.)
struct Wanted(Option<ModelArgs>);

impl clap::Args for Wanted {
    fn augment_args(command: clap::Command) -> clap::Command {
        ModelArgs::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        ModelArgs::augment_args_for_update(command)
    }
}

impl FromArgMatches for Wanted {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = matches.contains_id("model");
        let model = given.then(|| ModelArgs::from_arg_matches(matches));
        Ok(Wanted(model.transpose()?))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Wanted::from_arg_matches(matches)?;
        Ok(())
    }
}

#[derive(Subcommand)]
enum Command {
    /// Compare two reports; exits with 1 where the second is slower beyond the noise
    Diff(DiffArgs),
}

#[derive(clap::Args)]
struct DiffArgs {
    /// Report from --json
    old: PathBuf,
    /// Report from --json
    new: PathBuf,
    /// Slowdowns of up to this share count as noise
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    tolerance: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct BenchArgs {
    /// Compare the fused graph with the unfused one
    #[arg(long)]
    ab: bool,
    /// Switch every pass off alone, and on alone
    #[arg(long)]
    ablate: bool,
    /// Tokens of a prompt that is read; several lengths may be given, 0 for none
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "512")]
    prompt: Vec<usize>,
    /// Tokens that are written one after the other; several lengths may be given, 0 for none
    #[arg(
        long = "gen",
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "64"
    )]
    generate: Vec<usize>,
    /// Positions that are filled before; several may be given
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "0")]
    depth: Vec<usize>,
    /// Times that everything is measured
    #[arg(long, alias = "rounds", value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    repeat: u16,
    /// Threads to compute with, each on a processor of its own; as many as the system allows if not given
    #[arg(short = 't', long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Print JSON, as docs/bench.md describes it
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print Markdown
    #[arg(long)]
    markdown: bool,
}

/// Nobody writes without a prompt: a generation has some positions before it.
const LEAST_DEPTH: usize = 4;

pub(crate) fn run(args: &Args) -> Outcome {
    match (&args.command, &args.model.0) {
        (Some(Command::Diff(diff)), _) => run_diff(diff),
        (None, Some(model)) => args.bench.run(model),
        (None, None) => Err("no model given: graver bench MODEL".into()),
    }
}

impl BenchArgs {
    fn run(&self, model: &ModelArgs) -> Outcome {
        let (loaded, options) = (model.load()?, model.options()?);
        let variants = self.variants(&loaded, &options);
        let settings = Settings {
            rounds: self.repeat.into(),
            threads: self
                .threads
                .map_or_else(cpu::available_threads, usize::from),
        };
        let bar = ProgressBar::new(1000);
        let style = ProgressStyle::with_template("{bar:30} {msg}").expect("a valid template");
        bar.set_style(style);
        let progress = |what: &str, share: f64| {
            bar.set_message(what.to_string());
            bar.set_position((1000.0 * share) as u64);
        };
        let (label, points) = (model.label(), self.points());
        let report = bench::run(
            &label, loaded, &options, &variants, &points, &settings, &progress,
        )?;
        bar.finish_and_clear();
        match (self.json, self.markdown) {
            (true, _) => println!("{}", serde_json::to_string_pretty(&report)?),
            (false, true) => print!("{}", report.markdown()),
            (false, false) => print!("{report}"),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn variants(&self, loaded: &Loaded, options: &CompileOptions) -> Vec<Variant> {
        match (self.ablate, self.ab) {
            (true, _) => bench::ablation(loaded, options),
            (false, true) => bench::ab(&options.passes),
            (false, false) if options.passes.no_fuse => vec![bench::unfused()],
            (false, false) => bench::ab(&options.passes),
        }
    }

    fn points(&self) -> Vec<Point> {
        let mut out = vec![];
        for &depth in &self.depth {
            let lists = [
                (Phase::Prefill, &self.prompt),
                (Phase::Decode, &self.generate),
            ];
            for (phase, lengths) in lists {
                let some = lengths.iter().filter(|n| **n > 0);
                out.extend(some.map(|&tokens| Point {
                    phase,
                    tokens,
                    depth: match phase {
                        Phase::Prefill => depth,
                        Phase::Decode => depth.max(LEAST_DEPTH),
                    },
                }));
            }
        }
        out
    }
}

fn run_diff(args: &DiffArgs) -> Outcome {
    let (old, new) = (read(&args.old)?, read(&args.new)?);
    let differences = bench::diff(&old, &new, args.tolerance);
    if differences.rows.is_empty() {
        return Err("the two reports have no point and variant in common".into());
    }
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&differences)?),
        false => print!("{differences}"),
    }
    Ok(match differences.regressed() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

pub(super) fn read(path: &Path) -> Result<Report, Box<dyn Error>> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| failed(&e))?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|e| failed(&format!("not a report of graver bench --json: {e}")))?;
    match report.format {
        bench::FORMAT => Ok(report),
        other => Err(failed(&format!("format {other}, expected {}", bench::FORMAT)).into()),
    }
}
