//! `graver perplexity`: how well a model knows a text. `graver verify --text` sets a rounded model beside the one without.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use graver::driver::{CompileOptions, Loaded, Purpose};
use graver::perplexity::{Perplexity, Windows, perplexity};
use graver_runtime::abi::CacheType;
use graver_runtime::files;
use graver_runtime::session::{DEFAULT_CONTEXT, SessionOptions};
use graver_runtime::tokenizer::Tokenizer;
use serde::Serialize;

use super::model::{ModelArgs, WeightedModelArgs, open};
use super::outcome::Outcome;
use super::print::{json, print};

/// Longest text that is measured, in bytes.
const LONGEST_TEXT: u64 = 1 << 30;
/// Tokens that a window moves by.
const STRIDE: usize = 512;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: WeightedModelArgs,
    /// Text file
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    #[command(flatten)]
    windows: WindowArgs,
    /// Number of threads [default: all available processors]
    #[arg(short = 't', long, value_name = "K")]
    threads: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How the text is cut.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct WindowArgs {
    /// Window length in tokens [default: the model's context, at most 4096]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Distance between windows in tokens [default: 512, at most the window length]
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let model = args.model.model()?;
    let tokens = tokens(&model, &args.text)?;
    let loaded = model.load(Purpose::Run)?;
    let options = model.options()?;
    let found = measure(loaded, &options, &tokens, args.windows, args.threads)?;
    match args.json {
        true => print(json(&found)?)?,
        false => print(line("perplexity", &found))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A rounded model beside the one that it was made from.
#[derive(Serialize)]
struct Comparison {
    rounded: Perplexity,
    unrounded: Perplexity,
    /// The first over the second: 1 is no loss.
    ratio: f64,
}

/// Measures a model with and without what rounds it.
pub(crate) fn compare(
    model: &ModelArgs,
    text: &Path,
    windows: WindowArgs,
    threads: Option<usize>,
    as_json: bool,
) -> Outcome {
    let tokens = tokens(model, text)?;
    let options = model.options()?;
    let exact = CompileOptions {
        cache: CacheType::F32,
        ..options.clone()
    };
    let unrounded = measure(model.load_unquantized()?, &exact, &tokens, windows, threads)?;
    let rounded = measure(
        model.load(Purpose::Run)?,
        &options,
        &tokens,
        windows,
        threads,
    )?;
    let ratio = rounded.perplexity / unrounded.perplexity;
    let both = Comparison {
        rounded,
        unrounded,
        ratio,
    };
    match as_json {
        true => print(json(&both)?)?,
        false => print(format!(
            "{}{}{:<20} {:.5}\n",
            line("unrounded", &both.unrounded),
            line("rounded", &both.rounded),
            "ratio",
            both.ratio
        ))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The ids of a text, as the tokenizer begins and ends one.
fn tokens(model: &ModelArgs, path: &Path) -> Result<Vec<u32>, Box<dyn Error>> {
    let text = files::read_text(path, LONGEST_TEXT)?;
    let tokenizer = Tokenizer::load(&model.text()?.tokenizer)?;
    Ok(tokenizer.encode(&text)?)
}

fn measure(
    loaded: Loaded,
    options: &CompileOptions,
    tokens: &[u32],
    windows: WindowArgs,
    threads: Option<usize>,
) -> Result<Perplexity, Box<dyn Error>> {
    loaded.weights.check_finite()?;
    let usual = loaded.model.context.min(DEFAULT_CONTEXT);
    let max_length = windows.max_length.unwrap_or(usual);
    let cut = Windows {
        max_length,
        stride: windows.stride.unwrap_or(STRIDE.min(max_length)),
    };
    let session = SessionOptions {
        threads,
        context: Some(max_length),
        ..SessionOptions::default()
    };
    let mut session = open(loaded, options, session)?;
    Ok(perplexity(&mut session, tokens, cut)?)
}

fn line(name: &str, found: &Perplexity) -> String {
    let Windows { max_length, stride } = found.cut;
    format!(
        "{name:<20} {:.4} ({:.5} nats a token; {} tokens, windows: {} of {max_length} that move by {stride})\n",
        found.perplexity, found.mean_nll, found.tokens, found.windows
    )
}
