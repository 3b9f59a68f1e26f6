//! `graver verify`: compare with golden logits, or without any with the plain interpreter, pass by pass.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use graver::divergence::{Bounds, DivergenceReport, Reference, against_reference};
use graver::pipeline::CompileOptions;
use graver::verify::oracle::{against_interpreter, any_tokens};
use graver::verify::{Golden, Report, against_golden};
use graver_runtime::abi::CacheType;
use graver_runtime::session::SessionOptions;
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;
use super::model::{ModelArgs, open};

#[derive(Clone, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Reference logits. Without them the compiled code is compared, after every pass, with the plain interpreter;
    /// quantised weights, and keys and values in less than f32, with the model that has neither
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// Tokens to compare on where there are no reference logits: 80, or 256 that the unquantised model writes
    #[arg(long, value_name = "N", conflicts_with = "golden", value_parser = clap::value_parser!(u32).range(1..))]
    tokens: Option<u32>,
    /// Threads to compute with
    #[arg(short = 't', long)]
    threads: Option<usize>,
    /// Compare every access of generated code with what its kernel may touch, too; many times slower, same results
    #[arg(long)]
    checked: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let mut args = args.clone();
    args.model.instruments.checks = args.checked;
    args.model.instruments.verified = true;
    verify(&args)
}

fn verify(args: &Args) -> Outcome {
    if args.model.quant.rounds() {
        return rounded(args);
    }
    match &args.golden {
        Some(path) => with_golden(args, path),
        None => with_interpreter(args),
    }
}

fn with_golden(args: &Args, path: &Path) -> Outcome {
    let loaded = args.model.load()?;
    let golden = Golden::open(path)?;
    golden.fits(loaded.model.vocab, loaded.model.context, path)?;
    let options = SessionOptions {
        threads: args.threads,
        context: Some(golden.positions()),
        ..SessionOptions::default()
    };
    let mut session = open(loaded, &args.model.options()?, options)?;
    let report = against_golden(&mut session, &golden, path)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(outcome(report.passed))
}

/// Tokens for the interpreter: more than one tile of queries, more than one step of decode.
const TOKENS: u32 = 80;

fn with_interpreter(args: &Args) -> Outcome {
    let loaded = args.model.load()?;
    let n = args.tokens.unwrap_or(TOKENS) as usize;
    let tokens = any_tokens(n.min(loaded.model.context), loaded.model.vocab);
    let bar = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("{spinner} {msg}").unwrap_or(ProgressStyle::default_spinner()),
    );
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut progress = |pass: &str| bar.set_message(format!("comparing: {pass}"));
    let options = args.model.options()?;
    let report = against_interpreter(loaded, &options, &tokens, args.threads, &mut progress)?;
    bar.finish_and_clear();
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print!("{report}"),
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
fn rounded(args: &Args) -> Outcome {
    let reference = reference(args)?;
    let options = SessionOptions {
        threads: args.threads,
        context: Some(reference.tokens.len()),
        ..SessionOptions::default()
    };
    let mut session = open(args.model.load()?, &args.model.options()?, options)?;
    let report = against_reference(
        &mut session,
        &reference,
        Bounds::of(args.model.quant.choice()),
    )?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_divergence(&report);
    }
    Ok(outcome(report.passed))
}

/// What a model that rounds is compared with: golden logits, or those of the model as it was on text of its own.
fn reference(args: &Args) -> Result<Reference, Box<dyn Error>> {
    if let Some(path) = &args.golden {
        let golden = Golden::open(path)?;
        return Ok(Reference {
            tokens: golden.input_ids,
            logits: golden.logits,
        });
    }
    let loaded = args.model.load_unquantized()?;
    // Configs cut down for trials keep the token of the full vocabulary.
    let bos = loaded
        .model
        .bos
        .filter(|id| (*id as usize) < loaded.model.vocab);
    let (context, first) = (loaded.model.context, bos.unwrap_or(0));
    let n = (args.tokens.unwrap_or(256) as usize).min(context);
    let options = SessionOptions {
        threads: args.threads,
        context: Some(n),
        ..SessionOptions::default()
    };
    let options_of_floats = CompileOptions {
        cache: CacheType::F32,
        ..args.model.options()?
    };
    let mut session = open(loaded, &options_of_floats, options)?;
    Ok(Reference::drawn(&mut session, first, n, 0)?)
}

fn print_divergence(report: &DivergenceReport) {
    for p in &report.paths {
        println!(
            "{:<20} KL {:.2e} nats (largest {:.2e}, at {}), same top token {:.1} %, {:.1} % of {} that lead clearly",
            p.path,
            p.mean_kl,
            p.max_kl,
            p.max_at,
            100.0 * p.top1,
            100.0 * p.clear_top1,
            p.clear
        );
    }
    let word = if report.passed { "passed" } else { "FAILED" };
    println!(
        "{word}: allowed are a mean of {} nats, and at least {:.0} % of the top tokens that lead clearly",
        report.bounds.mean_kl,
        100.0 * report.bounds.top1
    );
}

fn print(report: &Report) {
    for p in &report.paths {
        println!("{p}");
    }
    println!(
        "greedy               {} of {} steps agree",
        report.greedy_agreed, report.greedy_counted
    );
    let word = if report.passed { "passed" } else { "FAILED" };
    println!(
        "{word}: largest difference {:.2e} standard deviations, allowed {:.0e}",
        report.largest, report.tolerance
    );
}
