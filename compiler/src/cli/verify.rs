//! `graver verify`: compare with golden logits.

use std::path::PathBuf;
use std::process::ExitCode;

use graver::verify::{Golden, Report, against_golden};
use graver_runtime::session::SessionOptions;

use super::Outcome;
use super::model::{ModelArgs, open};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Reference logits
    #[arg(long, value_name = "FILE")]
    golden: PathBuf,
    /// Threads to compute with
    #[arg(short = 't', long)]
    threads: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let loaded = args.model.load()?;
    let golden = Golden::open(&args.golden)?;
    let context = (golden.input_ids.len() + golden.greedy_ids.len()).min(loaded.model.context);
    let options = SessionOptions {
        threads: args.threads,
        context: Some(context),
        ..SessionOptions::default()
    };
    let mut session = open(loaded, &args.model.options()?, options)?;
    let report = against_golden(&mut session, &golden, &args.golden)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(if report.passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
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
