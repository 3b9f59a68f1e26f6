//! `graver verify`: compare with golden logits, or without any with the plain interpreter, pass by pass.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use graver::divergence::{
    Bounds, Divergence, DivergenceReport, Reference, against_reference, of_interpreter,
};
use graver::driver::{CompileOptions, Loaded, Purpose};
use graver::verify::oracle::{any_tokens, ranks_against_interpreter};
use graver::verify::{Golden, Report, against_golden};
use graver::weights::WeightsError;
use graver_runtime::abi::CacheType;
use graver_runtime::session::SessionOptions;
use indicatif::{ProgressBar, ProgressStyle};

use super::model::{ModelArgs, WeightedModelArgs, open};
use super::outcome::Outcome;
use super::perplexity::{self, WindowArgs};
use super::print::{json, print};
use super::ranks::RanksArgs;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: WeightedModelArgs,
    /// Reference logits [default: those of the interpreter, after every pass; with --quantize or a KV cache below f32, those of the
    /// unquantised model]
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// Compare the perplexity of a text with that of the unquantised model
    #[arg(long, value_name = "FILE", conflicts_with_all = ["golden", "tokens", "checked"])]
    text: Option<PathBuf>,
    #[command(flatten)]
    windows: WindowArgs,
    /// Number of tokens to compare, without --golden [default: 80; with --quantize or a KV cache below f32, 256 that the unquantised
    /// model writes]
    #[arg(long, value_name = "N", conflicts_with = "golden", value_parser = clap::value_parser!(u32).range(1..))]
    tokens: Option<u32>,
    /// Number of threads [default: all available processors]
    #[arg(short = 't', long, value_name = "K")]
    threads: Option<usize>,
    #[command(flatten)]
    ranks: RanksArgs,
    /// Also check every memory access of generated code; much slower, same results
    #[arg(long)]
    checked: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let mut model = args.model.model()?;
    model.instruments.checks = args.checked;
    model.instruments.verified = true;
    if let Some(text) = &args.text {
        return perplexity::compare(&model, text, args.windows, args.threads, args.json);
    }
    if model.quant.rounds() {
        return rounded(&model, args);
    }
    match &args.golden {
        None if args.ranks.is_process() => Err(
            "processes that MPI has started are compared with reference logits: pass them with --golden, or run without mpirun".into(),
        ),
        Some(path) => with_golden(&model, args, path),
        None => with_interpreter(&model, args),
    }
}

/// How many tokens are compared: as many as were asked for, or as usual, as far as the context has room.
fn tokens(args: &Args, usual: u32, context: usize) -> Result<usize, Box<dyn Error>> {
    match args.tokens {
        None => Ok(context.min(usual as usize)),
        Some(n) if n as usize <= context => Ok(n as usize),
        Some(n) => Err(format!("--tokens {n}: this model takes 1 to {context} positions").into()),
    }
}

/// A model whose weights are all finite: one that is not is named here, where steps would only say that a logit is not.
fn finite(loaded: Loaded) -> Result<Loaded, WeightsError> {
    loaded.weights.check_finite()?;
    Ok(loaded)
}

fn with_golden(model: &ModelArgs, args: &Args, path: &Path) -> Outcome {
    let loaded = finite(model.load(Purpose::Run)?)?;
    let golden = Golden::open(path)?;
    golden.fits(loaded.model.vocab, loaded.model.context, path)?;
    let options = SessionOptions {
        threads: args.threads,
        context: Some(golden.positions()),
        ..SessionOptions::default()
    };
    let Some(mut session) = args.ranks.open(loaded, &model.options()?, options)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let report = against_golden(&mut session, &golden, path)?;
    match args.json {
        true => print(json(&report)?)?,
        false => print(text(&report))?,
    }
    Ok(outcome(report.passed))
}

/// Tokens for the interpreter: more than one tile of queries, more than one step of decode.
const TOKENS: u32 = 80;

fn with_interpreter(model: &ModelArgs, args: &Args) -> Outcome {
    let loaded = finite(model.load(Purpose::Run)?)?;
    let n = tokens(args, TOKENS, loaded.model.context)?;
    let tokens = any_tokens(n, loaded.model.vocab);
    let bar = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("{spinner} {msg}").unwrap_or(ProgressStyle::default_spinner()),
    );
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut progress = |pass: &str| bar.set_message(format!("comparing: {pass}"));
    let options = model.options()?;
    let division = args.ranks.division(&loaded, &options, None)?;
    let threads = args.ranks.threads(args.threads);
    let options = (&options, division);
    let report = ranks_against_interpreter(loaded, options, &tokens, threads, &mut progress)?;
    bar.finish_and_clear();
    match args.json {
        true => print(json(&report)?)?,
        false => print(&report)?,
    }
    Ok(outcome(report.passed))
}

fn outcome(passed: bool) -> ExitCode {
    match passed {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Quantised weights, and keys and values in less than f32, are measured by what they lose, not by a difference of logits.
fn rounded(model: &ModelArgs, args: &Args) -> Outcome {
    let reference = reference(model, args)?;
    let options = SessionOptions {
        threads: args.threads,
        context: Some(reference.tokens.len()),
        ..SessionOptions::default()
    };
    let loaded = finite(model.load(Purpose::Run)?)?;
    let Some(mut session) = args.ranks.open(loaded, &model.options()?, options)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let bounds = Bounds::of(model.quant.plan()?.as_ref());
    let mut report = against_reference(&mut session, &reference, bounds)?;
    if !report.passed {
        let (loaded, cache) = (model.load(Purpose::Run)?, model.options()?.cache);
        let exact = of_interpreter(&loaded, cache, &reference, bounds);
        exact.into_iter().for_each(|exact| report.beside(exact));
    }
    match args.json {
        true => print(json(&report)?)?,
        false => print(text_of_divergence(&report))?,
    }
    Ok(outcome(report.passed))
}

/// What a model that rounds is compared with: golden logits, or those of the model as it was on text of its own.
fn reference(model: &ModelArgs, args: &Args) -> Result<Reference, Box<dyn Error>> {
    if let Some(path) = &args.golden {
        let golden = Golden::open(path)?;
        return Ok(Reference {
            tokens: golden.input_ids,
            logits: golden.logits,
        });
    }
    let loaded = finite(model.load_unquantized()?)?;
    // Configs cut down for trials keep the token of the full vocabulary.
    let bos = loaded
        .model
        .bos
        .filter(|id| (*id as usize) < loaded.model.vocab);
    let (context, first) = (loaded.model.context, bos.unwrap_or(0));
    let n = tokens(args, 256, context)?;
    let options = SessionOptions {
        threads: args.threads,
        context: Some(n),
        ..SessionOptions::default()
    };
    let options_of_floats = CompileOptions {
        cache: CacheType::F32,
        ..model.options()?
    };
    let mut session = open(loaded, &options_of_floats, options)?;
    Ok(Reference::drawn(&mut session, first, n, 0)?)
}

fn text_of_divergence(report: &DivergenceReport) -> String {
    let line = |p: &Divergence| {
        format!(
            "{:<20} KL {:.2e} nats (largest {:.2e}, at {}), same top token {:.1} %, {:.1} % of {} that lead clearly\n",
            p.path,
            p.mean_kl,
            p.max_kl,
            p.max_at,
            100.0 * p.top1,
            100.0 * p.clear_top1,
            p.clear
        )
    };
    let out: String = report.paths.iter().chain(&report.exact).map(line).collect();
    let word = if report.passed { "passed" } else { "FAILED" };
    let why = match report.exact {
        None => "",
        Some(_) => {
            "rounding costs this model so much that code is measured by the interpreter, which sums exactly; "
        }
    };
    out + &format!(
        "{word}: {why}allowed are a mean KL of {} nats and, where the top token leads clearly, at least {:.0} % the same\n",
        (report.bounds.mean_kl * 1e3).round() / 1e3,
        100.0 * report.bounds.top1.max(0.0)
    )
}

fn text(report: &Report) -> String {
    let mut out: String = report.paths.iter().map(|p| format!("{p}\n")).collect();
    out += &format!(
        "greedy               {} of {} steps agree\n",
        report.greedy_agreed, report.greedy_counted
    );
    out.extend(report.ties.iter().map(|tie| format!("{tie}\n")));
    let word = if report.passed { "passed" } else { "FAILED" };
    out + &format!(
        "{word}: largest difference {:.2e} standard deviations, allowed {:.0e}\n",
        report.largest, report.tolerance
    )
}
