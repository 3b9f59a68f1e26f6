//! `graver verify`: compare with golden logits.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use graver::divergence::{Bounds, DivergenceReport, Reference, against_reference};
use graver::pipeline::CompileOptions;
use graver::verify::{Golden, Report, against_golden};
use graver::weights::QuantChoice;
use graver_runtime::abi::Dtype;
use graver_runtime::session::SessionOptions;

use super::Outcome;
use super::model::{ModelArgs, open};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Reference logits; quantised weights are compared with the unquantised model's where none are given
    #[arg(long, value_name = "FILE", required_unless_present = "quantize")]
    golden: Option<PathBuf>,
    /// Tokens that the unquantised model writes, to be compared on where there are no reference logits
    #[arg(
        long,
        value_name = "N",
        default_value_t = 256,
        conflicts_with = "golden"
    )]
    tokens: usize,
    /// Threads to compute with
    #[arg(short = 't', long)]
    threads: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(choice) = args.model.quant.choice() {
        return quantized(args, choice);
    }
    let path = args
        .golden
        .as_deref()
        .expect("required where nothing is quantised");
    let loaded = args.model.load()?;
    let golden = Golden::open(path)?;
    let context = (golden.input_ids.len() + golden.greedy_ids.len()).min(loaded.model.context);
    let options = SessionOptions {
        threads: args.threads,
        context: Some(context),
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

fn outcome(passed: bool) -> ExitCode {
    match passed {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Quantised weights are measured by what they lose, not by a difference of logits.
fn quantized(args: &Args, choice: QuantChoice) -> Outcome {
    let reference = reference(args)?;
    let options = SessionOptions {
        threads: args.threads,
        context: Some(reference.tokens.len()),
        ..SessionOptions::default()
    };
    let mut session = open(args.model.load()?, &args.model.options()?, options)?;
    let report = against_reference(&mut session, &reference, Bounds::of(choice))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_divergence(&report);
    }
    Ok(outcome(report.passed))
}

/// What the quantised model is compared with: golden logits, or those of the unquantised model on text of its own.
fn reference(args: &Args) -> Result<Reference, Box<dyn Error>> {
    if let Some(path) = &args.golden {
        let golden = Golden::open(path)?;
        return Ok(Reference {
            tokens: golden.input_ids,
            logits: golden.logits,
        });
    }
    let loaded = args.model.load_unquantized()?;
    let (context, first) = (loaded.model.context, loaded.model.bos.unwrap_or(0));
    let n = args.tokens.clamp(1, context);
    let options = SessionOptions {
        threads: args.threads,
        context: Some(n),
        ..SessionOptions::default()
    };
    let options_of_floats = CompileOptions {
        cache: Dtype::F32,
        ..args.model.options()?
    };
    let mut session = open(loaded, &options_of_floats, options)?;
    Ok(Reference::drawn(&mut session, first, n, 0)?)
}

fn print_divergence(report: &DivergenceReport) {
    for p in &report.paths {
        println!(
            "{:<20} KL {:.2e} nats (largest {:.2e}, at {}), same top token {:.1} %",
            p.path,
            p.mean_kl,
            p.max_kl,
            p.max_at,
            100.0 * p.top1
        );
    }
    let word = if report.passed { "passed" } else { "FAILED" };
    println!(
        "{word}: allowed are a mean of {} nats, and at least {:.0} % of the top tokens",
        report.bounds.mean_kl,
        100.0 * report.bounds.top1
    );
}

fn print(report: &Report) {
    for p in &report.paths {
        println!(
            "{:<20} {:.2e} (row {}, token {})",
            p.path, p.difference, p.row, p.column
        );
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
