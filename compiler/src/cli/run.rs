//! `graver run`: compile in memory and generate.

use std::io;
use std::process::ExitCode;

use graver::driver::Purpose;
use graver_runtime::cli::{self, RunArgs, SpecialIds};
use graver_runtime::sequence::Sequence;

use super::model::WeightedModelArgs;
use super::outcome::Outcome;
use super::print;
use super::ranks::RanksArgs;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: WeightedModelArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    ranks: RanksArgs,
    /// Check every memory access of generated code; much slower, same results
    #[arg(long, conflicts_with = "profile")]
    checked: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    // One seed for everything random, sampling and weights, unless there are two.
    let mut model = args.model.model_or_seed(args.run.sampling.seed)?;
    let seed_is_weights_too = model.has_random_weights() && !args.model.has_seed();
    args.run.sampling.check(seed_is_weights_too)?;
    if let Some(profile) = &args.run.session.profile {
        model.check_output("--profile", profile)?;
    }
    let mut out = print::open()?;
    model.instruments.checks = args.checked;
    model.instruments.verified = args.checked;
    let text = model.text()?;
    let tokenizer = args.run.tokenizer(text.tokenizer.clone())?;
    let loaded = model.load(Purpose::Run)?;
    let special = SpecialIds {
        bos: loaded.model.bos,
        eos: text.eos_with(&loaded.model.eos),
    };
    let options = args.run.session.options();
    let Some(mut session) = args.ranks.open(loaded, &model.options()?, options)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let mut sequence = Sequence::new(&mut session);
    // Not locked: a thread that panics writes there as well, and may be waited for.
    let err = &mut io::stderr();
    cli::run(&args.run, &mut sequence, tokenizer, &special, &mut out, err)?;
    cli::write_profile(&args.run.session, args.run.quiet, &session.profiles()?, err)?;
    Ok(ExitCode::SUCCESS)
}
