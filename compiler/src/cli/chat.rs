//! `graver chat`: compile in memory and talk.

use std::io;
use std::process::ExitCode;

use graver::driver::Purpose;
use graver_runtime::cli;
use graver_runtime::files::shown;
use graver_serve::chat::{Chat, ChatArgs};
use graver_serve::template::TemplateFiles;

use super::model::WeightedModelArgs;
use super::outcome::Outcome;
use super::print;
use super::ranks::RanksArgs;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: WeightedModelArgs,
    #[command(flatten)]
    chat: ChatArgs,
    #[command(flatten)]
    ranks: RanksArgs,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let model = args.model.model_or_seed(args.chat.sampling.seed)?;
    let seed_is_weights_too = model.has_random_weights() && !args.model.has_seed();
    args.chat.sampling.check(seed_is_weights_too)?;
    if let Some(profile) = &args.chat.session.profile {
        model.check_output("--profile", profile)?;
    }
    let mut out = print::open()?;
    let text = model.text()?;
    let tokenizer = text.tokenizer.clone().made()?;
    let templates = TemplateFiles::of_tokenizer(&tokenizer)?;
    let name = shown(&model.name()?).to_string();
    let mut chat = Chat::prepare(&args.chat, &name, tokenizer, templates)?;
    let loaded = model.load(Purpose::Run)?;
    chat.eos = text.eos_with(&loaded.model.eos);
    let options = args.chat.session.options();
    let Some(mut session) = args.ranks.open(loaded, &model.options()?, options)? else {
        return Ok(ExitCode::SUCCESS);
    };
    chat.run(&args.chat, &mut session, &mut out)?;
    cli::write_profile(
        &args.chat.session,
        false,
        &session.profiles()?,
        &mut io::stderr(),
    )?;
    Ok(ExitCode::SUCCESS)
}
