//! `graver explain`: every candidate of every pass, fused or not, and why.

use std::process::ExitCode;

use graver::explain::explain;
use graver_runtime::abi::CacheType;

use super::Outcome;
use super::model::ModelArgs;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let loaded = args.model.load_shapes()?;
    let explanation = explain(&loaded, &args.model.passes()?, CacheType::F32);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&explanation)?);
    } else {
        print!("{explanation}");
    }
    Ok(ExitCode::SUCCESS)
}
