//! `graver run`: compile in memory and generate.

use std::io;
use std::process::ExitCode;

use graver_runtime::cli::{self, RunArgs, SpecialIds};
use graver_runtime::sequence::Sequence;
use graver_runtime::tokenizer::Tokenizer;

use super::Outcome;
use super::model::{ModelArgs, open};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    run: RunArgs,
    /// Compare every access of generated code with what its kernel may touch; many times slower, same results
    #[arg(long, conflicts_with = "profile")]
    checked: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    // One seed for everything random, sampling and weights, unless there are two.
    let mut model = args.model.clone();
    model.weights_seed = model.weights_seed.or(args.run.seed);
    model.instruments.checks = args.checked;
    model.instruments.verified = args.checked;
    let text = model.text()?;
    let tokenizer = Tokenizer::load_in_background(text.tokenizer.clone())?;
    let loaded = model.load()?;
    let special = SpecialIds {
        bos: loaded.model.bos,
        eos: text.eos_with(&loaded.model.eos),
    };
    let options = args.run.session_options();
    let mut session = open(loaded, &model.options()?, options)?;
    let mut sequence = Sequence::new(&mut session);
    let (out, err) = (&mut io::stdout().lock(), &mut io::stderr().lock());
    cli::run(&args.run, &mut sequence, tokenizer, &special, out, err)?;
    cli::write_profile(&args.run, session.profile(), err)?;
    Ok(ExitCode::SUCCESS)
}
