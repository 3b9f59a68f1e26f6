//! `graver report`: one page about a model, or about its code.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use graver::bench;
use graver::driver::{self, Purpose};
use graver::explore::{self, About, Times, view};
use graver::report::{Measured, page};
use graver_runtime::files::{self, shown};
use graver_runtime::profile::Profile;
use serde_json::Value;

use super::inputs::check_output;
use super::machine::MachineArgs;
use super::model::{ModelArgs, alone};
use super::outcome::Outcome;
use super::print::print;
use super::title::title;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Output file
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// Include measurements: the output of graver bench --ablate --json
    #[arg(long, value_name = "FILE")]
    bench: Option<PathBuf>,
    /// Include a profile: a file written by --profile
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Compare with this model
    #[arg(long, value_name = "MODEL")]
    compare: Option<PathBuf>,
    /// Write the page of graver explore instead, as a file
    #[arg(long, conflicts_with_all = ["bench", "compare"])]
    code: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

pub(crate) fn run(args: &Args) -> Outcome {
    // Files are read before anything is measured, which takes a while.
    args.model.check_output("-o", &args.output)?;
    let measured: Vec<_> = args.bench.iter().chain(&args.profile).cloned().collect();
    check_output("-o", &args.output, &measured)?;
    let bench = args.bench.as_deref().map(read_bench).transpose()?;
    let profile = args.profile.as_deref().map(read_profile).transpose()?;
    let loaded = args.model.load(Purpose::Inspect)?;
    let options = args.model.options()?;
    let own = Own {
        name: title(&args.model)?,
        checksum: driver::plan(&loaded, &options).manifest.model_checksum(),
    };
    if let Some((path, bench)) = args.bench.as_deref().zip(bench.as_ref()) {
        own.expect(path, &bench.model_checksum, &format!("of {}", bench.model))?;
    }
    if let Some((path, profile)) = args.profile.as_deref().zip(profile.as_ref()) {
        own.expect(path, &profile.model_checksum, "of another model")?;
    }
    let limits = args.machine.limits(&loaded);
    let html = match args.code {
        true => {
            let summary = args.model.summary(Some(limits.machine), (&alone, None))?;
            let about = About::of(&own.name, &summary, false);
            let times = profile.as_ref().map(Times::of);
            explore::page(
                &about,
                &view((&loaded, driver::Part::whole()), &options)?,
                times.as_ref(),
            )
        }
        false => {
            let beside = |other: &PathBuf| {
                let other = args.model.with_model(other);
                other.summary(
                    Some(limits.for_other(&other.load(Purpose::Inspect)?)),
                    (&alone, None),
                )
            };
            let measured = Measured {
                machine: Some(limits.machine),
                is_assumed: !limits.is_measured(),
                beside: args.compare.as_ref().map(beside).transpose()?,
                bench,
                profile,
            };
            page(&own.name, &loaded, &options, measured)
        }
    };
    std::fs::write(&args.output, &html)
        .map_err(|e| format!("{}: {e}; choose another -o", shown(&args.output)))?;
    let (path, kilobytes) = (shown(&args.output), html.len() / 1000);
    print(format_args!("{path} ({kilobytes} kB)\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The model that the page is about.
struct Own {
    name: String,
    checksum: String,
}

impl Own {
    /// Complains about figures of another model.
    fn expect(&self, path: &Path, found: &str, of: &str) -> Result<(), FiguresError> {
        let (path, name) = (path.to_path_buf(), self.name.clone());
        match found {
            found if found == self.checksum => Ok(()),
            "" => Err(FiguresError::Unknown { path, name }),
            found => Err(FiguresError::Other {
                path,
                name,
                of: of.into(),
                found: found.into(),
                expected: self.checksum.clone(),
            }),
        }
    }
}

/// Figures that do not go with the model.
#[derive(Debug, thiserror::Error)]
enum FiguresError {
    #[error(
        "{}: contains measurements {of}, not of {name}: model checksum {found}, expected {expected}; measure this model, with the same \
         --quantize and --kv",
        shown(path)
    )]
    Other {
        path: PathBuf,
        name: String,
        of: String,
        found: String,
        expected: String,
    },
    #[error(
        "{}: does not say which model was measured (written by an earlier version); measure {name} again",
        shown(path)
    )]
    Unknown { path: PathBuf, name: String },
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
