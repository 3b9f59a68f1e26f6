//! `graver explain`: every candidate of every pass, fused or not, and why.

use std::process::ExitCode;

use graver::driver::Purpose;
use graver::explain::explain;

use super::model::ModelArgs;
use super::outcome::Outcome;
use super::print::{json, print};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let loaded = args.model.load(Purpose::Inspect)?;
    let explanation = explain(&loaded, &args.model.passes()?, args.model.quant.cache());
    match args.json {
        true => print(json(&explanation)?)?,
        false => print(explanation)?,
    }
    Ok(ExitCode::SUCCESS)
}
