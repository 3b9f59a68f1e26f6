//! `graver tune`: which of the kernels that give the same results are faster on this processor.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use graver_runtime::files::{is_there, shown};
use graver_runtime::kernels::{Isa, Record, TUNED};
use graver_runtime::{cpu, tune};

use super::outcome::Outcome;
use super::print::print;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the choices to FILE, replacing its entry for this processor; set GRAVER_TUNED=FILE for programs to use them
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Number of threads to measure with [default: all available processors]
    #[arg(short = 't', long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let mut record = match &args.output {
        Some(path) if is_there(path) => Record::read(path)?,
        Some(_) | None => Record::default(),
    };
    let threads = args.threads.map(usize::from);
    let mut text = measure(&mut record, threads)?;
    if let Some(path) = &args.output {
        fs::write(path, record.text()).map_err(|e| format!("{}: {e}", shown(path)))?;
        text += &format!("{TUNED}={} uses these choices\n", shown(path));
    }
    print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// Measures on so many threads, by default on all, sets what is faster on this processor in a record, and says what was found.
pub(super) fn measure(
    record: &mut Record,
    threads: Option<usize>,
) -> Result<String, Box<dyn Error>> {
    let isa = Isa::chosen()?;
    let processor = cpu::model_name().ok_or(
        "the processor cannot be identified, so measurements could not be matched to it later",
    )?;
    let threads = threads.unwrap_or_else(cpu::available_threads);
    let (choices, findings) = tune::measure(isa, threads)?;
    record.set(&processor, isa.name(), choices);
    let mut text = format!("{processor}, {} kernels, {threads} threads\n", isa.name());
    for f in &findings {
        let taken = if f.changed { f.other.0 } else { f.usual.0 };
        let ratio = f.other.1 / f.usual.1;
        text += &format!(
            "{:<42} {taken:<7} ({} is {ratio:.2} × as fast as {})\n",
            f.what, f.other.0, f.usual.0
        );
    }
    if findings.is_empty() {
        text += "no kernels to choose from on this processor\n";
    }
    Ok(text)
}
