//! `graver explore`: a page on this machine where every kernel of a model can be looked into, and passes switched off and on.

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use graver::driver::{Loaded, Purpose};
use graver::explore::{About, Explorer};
use graver_serve::http::LocalPage;

use super::machine::MachineArgs;
use super::model::{ModelArgs, WeightedModelArgs, alone};
use super::outcome::Outcome;
use super::print::say;
use super::title::title;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: WeightedModelArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Port to listen at, on this machine alone; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 8090)]
    port: u16,
    /// Time no kernels; they are not timed either where weights are missing, or random and of more than 1 GB
    #[arg(long)]
    no_times: bool,
}

/// Random weights of more bytes are not drawn to be timed.
const MOST_RANDOM: usize = 1 << 30;

pub(crate) fn run(args: &Args) -> Outcome {
    let model = args.model.model()?;
    let shapes = model.load(Purpose::Inspect)?;
    let limits = args.machine.limits(&shapes);
    let summary = model.summary(Some(limits.machine), (&alone, None))?;
    let runs = (!args.no_times).then(|| weights(&model, &shapes)).flatten();
    let timed = runs.is_some();
    let explorer = Explorer {
        about: About::of(&title(&model)?, &summary, timed).live(),
        loaded: Arc::new(runs.unwrap_or(shapes)),
        options: model.options()?,
        threads: args.machine.threads(),
        measuring: Mutex::new(()),
    };
    let name = explorer.about.model.clone();
    let answering = Arc::new(move |path: &str, query: &str| explorer.answer(path, query));
    let mut page = LocalPage::start(args.port, true, answering)?;
    say(format_args!(
        "{name}: open http://{} in a browser; Ctrl-C ends it",
        page.address()
    ));
    page.wait()?;
    Ok(ExitCode::SUCCESS)
}

/// The model with its weights, if they are there and worth drawing.
fn weights(model: &ModelArgs, shapes: &Loaded) -> Option<Loaded> {
    let bytes = shapes.weights.total_bytes();
    if model.has_random_weights() && bytes > MOST_RANDOM {
        return None;
    }
    match model.load(Purpose::Run) {
        Ok(mut loaded) => {
            loaded.weights.settle();
            Some(loaded)
        }
        Err(error) => {
            say(format_args!("kernels are not timed: {error}"));
            None
        }
    }
}
