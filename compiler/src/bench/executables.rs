//! Two compiled executables against each other, each run as a user runs it, in turn.
//!
//! In: two files that `graver compile` made, numbers of tokens, how many rounds. In each round both run once, beginning with the other one each
//! time. Out: a [`Duel`]. Times are those that the programs print themselves, without start and reading of weights.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use graver_runtime::abi::Manifest;
use graver_runtime::files::shown;
use serde::{Deserialize, Serialize};

use super::measure::token_ids;
use super::record::Phase;
use super::stats::{Ratio, median, paired};

/// What both are to do.
#[derive(Clone, Copy, Debug)]
pub struct DuelSettings {
    /// Tokens to read at once, at least one; where nobody chose, 512, or what both have room for.
    pub prompt: Option<usize>,
    /// Tokens to write after them, or 0; where nobody chose, 64, or half of what both have room for.
    pub generate: Option<usize>,
    /// Times that each runs; a first one warms up and is not kept.
    pub rounds: usize,
    /// Threads.
    pub threads: usize,
}

/// Both, measured.
#[derive(Clone, Debug, Serialize)]
pub struct Duel {
    /// Version of this description.
    pub format: u32,
    /// The files.
    pub executables: [PathBuf; 2],
    /// Threads.
    pub threads: usize,
    /// Runs of each.
    pub rounds: usize,
    /// Reading, and writing if that was asked for.
    pub points: Vec<DuelPoint>,
}

/// One thing that both did.
#[derive(Clone, Debug, Serialize)]
pub struct DuelPoint {
    /// Reading or writing.
    pub phase: Phase,
    /// Tokens.
    pub tokens: usize,
    /// Tokens a second of each, the median of the runs.
    pub tokens_per_second: [f64; 2],
    /// Tokens a second of each run.
    pub runs: [Vec<f64>; 2],
    /// The second one's time over the first one's.
    pub ratio: Ratio,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum DuelError {
    /// A file that does not run.
    #[error(
        "{}: cannot run it: {source}; expected an executable made by graver compile",
        shown(path)
    )]
    Run {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program that failed.
    #[error("{}: {said}", shown(path))]
    Failed {
        /// The file.
        path: PathBuf,
        /// Its complaint.
        said: String,
    },
    /// A program that printed something else.
    #[error(
        "{}: unexpected output with {option} --json: {source}; expected an executable made by graver compile",
        shown(path)
    )]
    Output {
        /// The file.
        path: PathBuf,
        /// What it was asked for.
        option: &'static str,
        /// Where its output is something else.
        source: serde_json::Error,
    },
    /// A context without room.
    #[error(
        "{}: {tokens} tokens do not fit its context of {context}: choose a smaller --prompt or --gen",
        shown(path)
    )]
    Context {
        /// The file.
        path: PathBuf,
        /// All tokens.
        tokens: usize,
        /// Its positions.
        context: usize,
    },
}

/// What a run prints of its speed.
#[derive(Deserialize)]
struct Speeds {
    prompt_tokens_per_second: f64,
    generation_tokens_per_second: f64,
}

/// Measures both. `progress` hears how far it has come, from 0 to 1.
///
/// # Errors
/// What cannot be run, or fails.
pub fn duel(
    executables: [&Path; 2],
    settings: &DuelSettings,
    progress: &dyn Fn(f64),
) -> Result<Duel, DuelError> {
    let manifests = [manifest(executables[0])?, manifest(executables[1])?];
    let lengths = Lengths::new(settings, manifests[0].context.min(manifests[1].context));
    for (path, manifest) in executables.iter().zip(&manifests) {
        lengths.check(path, manifest.context)?;
    }
    // The same ids for both, whatever they make of them.
    let vocab = manifests[0].vocab.min(manifests[1].vocab);
    let tokens = token_ids(0, lengths.prompt, vocab).into_iter();
    let tokens = tokens
        .map(|id| id.to_string())
        .collect::<Vec<_>>()
        .join(",");
    let mut runs: [[Vec<f64>; 2]; 2] = Default::default();
    for round in 0..=settings.rounds {
        progress(round as f64 / (settings.rounds + 1) as f64);
        for i in 0..2 {
            let which = (i + round) % 2;
            let speeds = speeds(executables[which], &tokens, &lengths, settings.threads)?;
            if round > 0 {
                runs[0][which].push(speeds.prompt_tokens_per_second);
                runs[1][which].push(speeds.generation_tokens_per_second);
            }
        }
    }
    let [prompt, generation] = runs;
    let mut points = vec![point(Phase::Prefill, lengths.prompt, prompt)];
    if lengths.generate > 0 {
        points.push(point(Phase::Decode, lengths.generate, generation));
    }
    Ok(Duel {
        format: super::record::FORMAT,
        executables: executables.map(Path::to_path_buf),
        threads: settings.threads,
        rounds: settings.rounds,
        points,
    })
}

fn point(phase: Phase, tokens: usize, runs: [Vec<f64>; 2]) -> DuelPoint {
    let [seconds, others] = [0, 1].map(|i| runs[i].iter().map(|rate| 1.0 / rate).collect());
    let (seconds, others): (Vec<f64>, Vec<f64>) = (seconds, others);
    DuelPoint {
        phase,
        tokens,
        tokens_per_second: [median(&runs[0]), median(&runs[1])],
        ratio: paired(&seconds, &others),
        runs,
    }
}

/// Tokens that both read and write.
struct Lengths {
    prompt: usize,
    generate: usize,
}

impl Lengths {
    /// What was chosen, and else what fits into `context`.
    fn new(settings: &DuelSettings, context: usize) -> Self {
        let generate = settings.generate.unwrap_or(64.min(context / 2));
        let room = context.saturating_sub(generate);
        let prompt = settings.prompt.unwrap_or(512.min(room)).max(1);
        Self { prompt, generate }
    }

    /// All positions that are needed.
    fn tokens(&self) -> usize {
        self.prompt.saturating_add(self.generate)
    }

    fn check(&self, path: &Path, context: usize) -> Result<(), DuelError> {
        match self.tokens() {
            tokens if context < tokens => Err(DuelError::Context {
                path: path.into(),
                tokens,
                context,
            }),
            _ => Ok(()),
        }
    }
}

fn manifest(path: &Path) -> Result<Manifest, DuelError> {
    said(path, "--info", &["--info"])
}

fn speeds(
    path: &Path,
    tokens: &str,
    lengths: &Lengths,
    threads: usize,
) -> Result<Speeds, DuelError> {
    // The first token comes with the prompt's logits.
    let n = lengths.generate.saturating_add(1).to_string();
    let (threads, context) = (threads.to_string(), lengths.tokens().to_string());
    let arguments = ["--tokens", tokens, "-n", &n, "-t", &threads, "-c", &context];
    let always = ["--temp", "0", "--ignore-eos", "--pin"];
    said(path, "--tokens", &[&arguments[..], &always].concat())
}

/// What an executable prints as JSON.
fn said<T: serde::de::DeserializeOwned>(
    path: &Path,
    option: &'static str,
    arguments: &[&str],
) -> Result<T, DuelError> {
    // A name without a folder is a file here, not a command.
    let program = Path::new(".").join(path);
    let output = Command::new(program).args(arguments).arg("--json").output();
    let output = output.map_err(|source| DuelError::Run {
        path: path.into(),
        source,
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(DuelError::Failed {
            path: path.into(),
            said: said.trim().trim_start_matches("error: ").into(),
        });
    }
    serde_json::from_slice(&output.stdout).map_err(|source| DuelError::Output {
        path: path.into(),
        option,
        source,
    })
}

impl fmt::Display for Duel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = [0, 1].map(|i| shown(&self.executables[i]).to_string());
        for p in &self.points {
            let [first, second] = p.tokens_per_second;
            writeln!(f, "{} {} tokens", p.phase, p.tokens)?;
            let width = a.chars().count().max(b.chars().count());
            writeln!(f, "  {a:<width$}  {first:>9.2} tokens/s")?;
            writeln!(
                f,
                "  {b:<width$}  {second:>9.2} tokens/s, {} of the time{}",
                p.ratio,
                p.ratio.doubt()
            )?;
        }
        Ok(())
    }
}
