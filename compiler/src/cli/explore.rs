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
use super::ranks::RankArgs;
use super::title::title;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: WeightedModelArgs,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    ranks: RankArgs,
    /// Port to listen on, on localhost; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 8090)]
    port: u16,
    /// Do not time kernels; implied if weights are missing, or random and larger than 1 GB
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
    let options = model.options()?;
    let part = args.ranks.part(&shapes, &options)?;
    // Whether there is such a part is said before the page is opened.
    part.plain_programs(&shapes, options.cache)?;
    let name = match part.is_shared() {
        true => format!(
            "{}, rank {} of {}",
            title(&model)?,
            part.rank,
            part.division.ranks
        ),
        false => title(&model)?,
    };
    let runs = (!args.no_times).then(|| weights(&model, &shapes)).flatten();
    let timed = runs.is_some();
    let explorer = Explorer {
        about: About::of(&name, &summary, timed).live(),
        loaded: Arc::new(runs.unwrap_or(shapes)),
        part,
        options,
        threads: (args.machine.threads() / part.division.ranks).max(1),
        measuring: Mutex::new(()),
    };
    let answering = Arc::new(move |path: &str, query: &str| explorer.answer(path, query));
    let mut page = LocalPage::start(args.port, true, answering)?;
    say(format_args!(
        "{name}: open http://{} in a browser; press Ctrl-C to stop",
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
