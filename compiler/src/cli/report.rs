//! `graver report`: one page about a model.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use graver::bench;
use graver::driver::{Loaded, Purpose};
use graver::report::{Measured, page};
use graver::summary::Machine;
use graver_runtime::files::{self, shown};
use graver_runtime::profile::Profile;
use graver_runtime::{ceilings, cpu};
use serde_json::Value;

use super::model::ModelArgs;
use super::outcome::Outcome;
use super::print::print;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Output file
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// What `graver bench --ablate --json` printed
    #[arg(long, value_name = "FILE")]
    bench: Option<PathBuf>,
    /// What `--profile` wrote
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Compare with this model: a folder, a spec, or SPEC:PRESET
    #[arg(long, value_name = "MODEL")]
    compare: Option<PathBuf>,
    /// Threads to measure the peaks of [default: as many as the system allows]
    #[arg(short = 't', long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    // Files are read before anything is measured, which takes a while.
    let bench = args.bench.as_deref().map(read_bench).transpose()?;
    let profile = args.profile.as_deref().map(read_profile).transpose()?;
    let loaded = args.model.load(Purpose::Inspect)?;
    let machine = machine(args.threads, &loaded);
    let beside = |other: &PathBuf| {
        let other = args.model.with_model(other);
        let gbps = machine.gbps_for(&other.load(Purpose::Inspect)?);
        let machine = Machine {
            gbps,
            ..machine.ceilings
        };
        other.summary(Some(machine))
    };
    let measured = Measured {
        machine: Some(machine.ceilings),
        beside: args.compare.as_ref().map(beside).transpose()?,
        bench,
        profile,
    };
    let html = page(
        &args.model.label()?,
        &loaded,
        &args.model.options()?,
        measured,
    );
    std::fs::write(&args.output, &html)
        .map_err(|e| format!("{}: {e}; choose another -o", shown(&args.output)))?;
    let (path, kilobytes) = (shown(&args.output), html.len() / 1000);
    print(format_args!("{path} ({kilobytes} kB)\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// What the machine reaches with a model.
struct Measurement {
    threads: usize,
    /// As many bytes were read as the model has, which come from memory or, where they fit, from caches.
    bytes: usize,
    ceilings: Machine,
}

/// No cache is as large.
const FROM_MEMORY: usize = 512 << 20;

fn bytes_read(loaded: &Loaded) -> usize {
    loaded.weights.total_bytes().min(FROM_MEMORY)
}

fn machine(threads: Option<u16>, loaded: &Loaded) -> Measurement {
    let threads = threads.map_or_else(cpu::available_threads, usize::from);
    let bytes = bytes_read(loaded);
    let ceilings = Machine {
        gbps: ceilings::gbps(threads, bytes),
        gflops: ceilings::gflops(threads),
    };
    Measurement {
        threads,
        bytes,
        ceilings,
    }
}

impl Measurement {
    /// For another model: the same figure if both come from memory, so that noise does not set them apart.
    fn gbps_for(&self, other: &Loaded) -> f64 {
        match bytes_read(other) {
            bytes if bytes == self.bytes => self.ceilings.gbps,
            bytes => ceilings::gbps(self.threads, bytes),
        }
    }
}

fn read_bench(path: &Path) -> Result<bench::Report, Box<dyn Error>> {
    super::bench::read(path)
}

fn read_profile(path: &Path) -> Result<Profile, Box<dyn Error>> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", shown(path));
    let text = files::read_text(path, super::bench::MAX_REPORT)?;
    let trace: Value = serde_json::from_str(&text).map_err(|e| failed(&e))?;
    let sums = trace["otherData"]["graver"].clone();
    let foreign = |e| failed(&format!("not a trace of --profile: {e}"));
    Ok(serde_json::from_value(sums).map_err(foreign)?)
}
