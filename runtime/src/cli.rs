//! The command line that `graver run` and generated executables share: a prompt in, a stream of text out.
//!
//! In: parsed [`RunArgs`], a [`Model`] whose sequence is empty, a tokenizer that is being loaded. Out: on the given writers,
//! the prompt and the generated text (or ids, or one JSON object) and a closing line. Opening the model with `--threads`,
//! `--context` and `--pin` is the caller's.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::files::shown;
use crate::generate::{
    GenerateError, Generation, Limits, Meetings, Model, Stop, Timings, check_prompt,
};
use crate::info::Size;
use crate::profile::Profile;
use crate::sampling::{Sampler, SamplingError};
use crate::tokenizer::{Pending, Source, Tokenizer, TokenizerError};

mod options;
mod output;
mod values;

pub use options::{SamplingArgs, SessionArgs};
use output::Output;

/// Options of a generation.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct RunArgs {
    /// Prompt text
    #[arg(short, long, value_name = "TEXT", conflicts_with_all = ["prompt_file", "tokens"], allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// File with the prompt (- for stdin); a final newline is dropped
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "tokens")]
    pub prompt_file: Option<PathBuf>,
    /// Prompt as token ids: 1,2,3
    #[arg(long, value_name = "IDS", value_delimiter = ',', value_parser = values::token)]
    pub tokens: Option<Vec<u32>>,
    /// Maximum number of tokens to generate
    #[arg(short = 'n', long, value_name = "N", default_value_t = 256, value_parser = values::count, allow_negative_numbers = true)]
    pub max_tokens: usize,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// What the model is computed with.
    #[command(flatten)]
    pub session: SessionArgs,
    /// Print token ids, separated by commas, instead of text
    #[arg(long)]
    pub print_tokens: bool,
    /// Continue past end-of-text tokens
    #[arg(long)]
    pub ignore_eos: bool,
    /// Print only the result
    #[arg(short, long)]
    pub quiet: bool,
    /// Print one JSON object at the end instead of streaming text
    #[arg(long, conflicts_with = "print_tokens")]
    pub json: bool,
}

impl RunArgs {
    /// Starts loading a tokenizer, unless ids go in and come out.
    ///
    /// # Errors
    /// No thread to load it on.
    pub fn tokenizer(&self, source: Source) -> Result<Pending, TokenizerError> {
        match self.is_ids_alone() {
            true => Ok(Pending::when_asked_for(source)),
            false => Tokenizer::load_in_background(source),
        }
    }

    fn is_ids_alone(&self) -> bool {
        self.print_tokens && self.tokens.is_some()
    }
}

/// Tokens with a meaning of their own, from the model's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Starts a sequence where the prompt is empty and the tokenizer adds nothing.
    pub bos: Option<u32>,
    /// Any of these ends the text.
    pub eos: Vec<u32>,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The prompt's file cannot be read, or is not UTF-8.
    #[error(
        "{}: cannot read the prompt: {source}; expected UTF-8 text",
        shown(path)
    )]
    PromptFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The profile's file cannot be written.
    #[error(
        "{}: cannot write the profile: {source}; choose another file",
        shown(path)
    )]
    ProfileFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An option that would change nothing.
    #[error(
        "{option} has no effect with --temp 0, which always picks the most likely token; drop one of the two"
    )]
    NoEffect {
        /// Its name.
        option: &'static str,
    },
    /// An option outside its range.
    #[error(transparent)]
    Options(#[from] SamplingError),
    /// Text could not become ids, or the other way round.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The generation failed.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The output cannot be written; a reader that has gone is not an error.
    #[error("cannot write the output: {0}; free some space, or redirect it elsewhere")]
    Output(#[from] io::Error),
}

/// Writes the profile that a session recorded to `--profile`'s file, and a table of it to `err`; in addition, what all ranks' time went into, where there are several.
///
/// # Errors
/// A file or an output that cannot be written.
pub fn write_profile(
    args: &SessionArgs,
    quiet: bool,
    profiles: &[Profile],
    err: &mut dyn Write,
) -> Result<(), RunError> {
    let Some((path, first)) = args.profile.as_ref().zip(profiles.first()) else {
        return Ok(());
    };
    save_trace(path, profiles)?;
    if !quiet {
        write!(err, "{first}")?;
        if profiles.len() > 1 {
            write!(err, "{}", Profile::breakdowns(profiles))?;
        }
    }
    Ok(())
}

/// Writes a profile, or those of all ranks, as one trace.
pub fn save_trace(path: &Path, profiles: &[Profile]) -> Result<(), RunError> {
    let failed = |source| RunError::ProfileFile {
        path: path.into(),
        source,
    };
    let file = std::fs::File::create(path).map_err(failed)?;
    let mut file = io::BufWriter::new(file);
    Profile::write_traces(profiles, &mut file).map_err(failed)?;
    file.flush().map_err(failed)
}

/// Generates as the options say. Text goes to `out` as it comes, everything else to `err`. Returns without an error when
/// the reader of `out` has gone.
pub fn run(
    args: &RunArgs,
    model: &mut dyn Model,
    tokenizer: Pending,
    special: &SpecialIds,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), RunError> {
    match generate(args, model, tokenizer, special, out, err) {
        Err(RunError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn generate(
    args: &RunArgs,
    model: &mut dyn Model,
    pending: Pending,
    special: &SpecialIds,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), RunError> {
    let options = args.sampling.options();
    let (seed, sampler) = (options.seed, Sampler::new(options)?);
    let prompt = read_prompt(args)?;
    let tokenizer = load_tokenizer(args, &prompt, pending, special, err)?;
    let tokenizer = tokenizer.as_ref();
    let ids = prompt_ids(&prompt, tokenizer, special)?;
    check_prompt(model, &ids)?;

    let mut output = Output::start(args, &prompt, &ids, tokenizer, out)?;
    let limits = limits(args, special);
    let context = model.context();
    let mut generation = Generation::start(model, &ids, sampler, limits)?;
    while let Some(token) = generation.next_token()? {
        output.token(token, generation.is_eos(token))?;
    }
    let (stop, timings) = (generation.stop(), generation.timings());
    let ranks = generation.meetings();
    let report = Report {
        ranks,
        ..Report::new(stop, &timings, seed)
    };
    output.finish(&report)?;
    if !args.quiet {
        // Notes that cannot be written are not a failure.
        let _ = write_notes(err, stop, &timings, context);
        let _ = ranks.map_or(Ok(()), |ranks| write_meetings(err, &ranks));
    }
    Ok(())
}

/// What the user wants continued.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Prompt {
    Nothing,
    Text(String),
    Ids(Vec<u32>),
}

fn read_prompt(args: &RunArgs) -> Result<Prompt, RunError> {
    if let Some(ids) = &args.tokens {
        return Ok(Prompt::Ids(ids.clone()));
    }
    if let Some(path) = &args.prompt_file {
        let text = read_prompt_file(path).map_err(|source| RunError::PromptFile {
            path: path.clone(),
            source,
        })?;
        return Ok(Prompt::Text(
            text.strip_suffix('\n').unwrap_or(&text).to_owned(),
        ));
    }
    Ok(args.prompt.clone().map_or(Prompt::Nothing, Prompt::Text))
}

/// Longest prompt that is read, in bytes: several times what the longest contexts have room for.
const LONGEST_PROMPT: u64 = 64 << 20;

/// Reads a text from a file, a pipe or standard input.
fn read_prompt_file(path: &Path) -> io::Result<String> {
    let from: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin()),
        false => Box::new(std::fs::File::open(path)?),
    };
    let text = io::read_to_string(from.take(LONGEST_PROMPT + 1))?;
    if text.len() as u64 > LONGEST_PROMPT {
        let message = format!("it is longer than {LONGEST_PROMPT} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// Waits for the tokenizer where it is needed. Where there is none, a run that does not start from text prints ids.
fn load_tokenizer(
    args: &RunArgs,
    prompt: &Prompt,
    pending: Pending,
    special: &SpecialIds,
    err: &mut dyn Write,
) -> Result<Option<Tokenizer>, RunError> {
    let can_do_without = match prompt {
        Prompt::Text(_) => false,
        Prompt::Ids(_) => true,
        Prompt::Nothing => special.bos.is_some(),
    };
    if args.is_ids_alone() {
        return Ok(None);
    }
    match pending.wait() {
        Ok(tokenizer) => Ok(Some(tokenizer)),
        Err(TokenizerError::Missing(missing)) if can_do_without => {
            if !args.quiet {
                let _ = writeln!(err, "{missing}, so token ids are printed instead of text");
            }
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn prompt_ids(
    prompt: &Prompt,
    tokenizer: Option<&Tokenizer>,
    special: &SpecialIds,
) -> Result<Vec<u32>, RunError> {
    let text = match prompt {
        Prompt::Ids(ids) => return Ok(ids.clone()),
        Prompt::Text(text) => text,
        Prompt::Nothing => "",
    };
    let ids = tokenizer.map_or(Ok(Vec::new()), |tokenizer| tokenizer.encode(text))?;
    Ok(if ids.is_empty() {
        special.bos.into_iter().collect()
    } else {
        ids
    })
}

fn limits(args: &RunArgs, special: &SpecialIds) -> Limits {
    let eos = if args.ignore_eos {
        Vec::new()
    } else {
        special.eos.clone()
    };
    Limits {
        max_tokens: args.max_tokens,
        eos,
    }
}

/// The part of the JSON object that is known at the end.
#[derive(Clone, Debug, Serialize)]
struct Report {
    stop: Option<&'static str>,
    seed: u64,
    prompt_tokens_per_second: f64,
    generation_tokens_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ranks: Option<Meetings>,
}

impl Report {
    fn new(stop: Option<Stop>, timings: &Timings, seed: u64) -> Report {
        let stop = stop.map(|stop| match stop {
            Stop::Eos => "eos",
            Stop::Length => "length",
            Stop::Context => "context",
        });
        let (prompt, generation) = (timings.prompt_rate(), timings.generation_rate());
        Report {
            stop,
            seed,
            prompt_tokens_per_second: prompt,
            generation_tokens_per_second: generation,
            ranks: None,
        }
    }
}

fn write_notes(
    err: &mut dyn Write,
    stop: Option<Stop>,
    timings: &Timings,
    context: usize,
) -> io::Result<()> {
    if stop == Some(Stop::Context) {
        writeln!(err, "stopped: the context of {context} tokens is full")?;
    }
    writeln!(
        err,
        "prompt: {}, {} tok/s; generation: {}, {} tok/s",
        tokens(timings.prompt_tokens),
        figure(timings.prompt_rate()),
        tokens(timings.generated_tokens),
        figure(timings.generation_rate()),
    )
}

fn tokens(n: usize) -> String {
    match n {
        1 => "1 token".into(),
        _ => format!("{n} tokens"),
    }
}

fn write_meetings(err: &mut dyn Write, ranks: &Meetings) -> io::Result<()> {
    writeln!(
        err,
        "{} ranks: met {} times; the first brought {}",
        ranks.ranks,
        ranks.meetings,
        Size(ranks.brought_bytes as usize)
    )
}

/// Three digits or more tell enough; slow models get one after the point.
fn figure(rate: f64) -> String {
    if rate < 99.95 {
        format!("{rate:.1}")
    } else {
        format!("{rate:.0}")
    }
}

#[cfg(test)]
mod tests;
