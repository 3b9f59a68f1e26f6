//! `graver explain`: every candidate of every pass, fused or not, and why.

use std::process::ExitCode;

use graver::driver::Purpose;
use graver::explain::explain_ranks;

use super::model::ModelArgs;
use super::outcome::Outcome;
use super::print::{json, print};
use super::ranks::RankArgs;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    ranks: RankArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let loaded = args.model.load(Purpose::Inspect)?;
    let (passes, cache) = (args.model.passes()?, args.model.quant.cache());
    let part = args.ranks.part(&loaded, &args.model.options()?)?;
    let explanation = explain_ranks(&loaded, &passes, cache, part)?;
    match args.json {
        true => print(json(&explanation)?)?,
        false => print(explanation)?,
    }
    Ok(ExitCode::SUCCESS)
}
