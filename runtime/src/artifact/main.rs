//! The command line of a generated executable: what `graver run` takes, `--info` and `--check`.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use clap::Parser;

use super::Artifact;
use crate::Error;
use crate::cli::{self, RunArgs, SpecialIds};
use crate::info;
use crate::sequence::Sequence;
use crate::tokenizer::Tokenizer;

/// A language model, compiled by Graver
#[derive(Parser)]
#[command(about)]
struct Cli {
    #[command(flatten)]
    run: RunArgs,
    /// Say what was compiled, and for what processor (with --json as JSON), and stop
    #[arg(long)]
    info: bool,
    /// Read code, weights and all, compare them with what was written, and stop
    #[arg(long, conflicts_with = "info")]
    check: bool,
    /// File of weights to use, where they are not in the executable itself
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

/// Does what the command line says; returns the exit code.
pub(crate) fn main(arguments: Vec<OsString>, open: impl FnOnce() -> Result<Artifact, Error>) -> u8 {
    let cli = Cli::parse_from(arguments);
    let (mut out, mut err) = (io::stdout().lock(), io::stderr());
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        run(&cli, open, &mut out, &mut err.lock())
    }));
    let message = match outcome {
        Ok(Ok(())) => return 0,
        Ok(Err(error)) => format!("error: {error}"),
        // What happened has been printed by then.
        Err(_) => {
            "error: this is a mistake in Graver or in a library it uses; please report it".into()
        }
    };
    let _ = writeln!(err, "{message}");
    1
}

fn run(
    cli: &Cli,
    open: impl FnOnce() -> Result<Artifact, Error>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Box<dyn StdError>> {
    let artifact = open()?;
    if cli.info {
        return Ok(print_info(&artifact, cli.run.json, out)?);
    }
    if cli.check {
        artifact.check(cli.weights.as_deref())?;
        return Ok(writeln!(out, "{}: whole", artifact.path().display())?);
    }
    generate(cli, &artifact, out, err)
}

fn print_info(artifact: &Artifact, json: bool, out: &mut dyn Write) -> io::Result<()> {
    let manifest = artifact.manifest();
    if json {
        writeln!(out, "{}", serde_json::to_string(&**manifest)?)
    } else {
        write!(out, "{}", info::describe(manifest))
    }
}

fn generate(
    cli: &Cli,
    artifact: &Artifact,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Box<dyn StdError>> {
    let tokenizer = Tokenizer::load_in_background(artifact.tokenizer()?)?;
    let manifest = artifact.manifest();
    let mut session = artifact.session(cli.weights.as_deref(), cli.run.session_options())?;
    let special = SpecialIds {
        bos: manifest.bos,
        eos: manifest.eos.clone(),
    };
    let mut model = Sequence::new(&mut session);
    cli::run(&cli.run, &mut model, tokenizer, &special, out, err)?;
    Ok(cli::write_profile(&cli.run, session.profile(), err)?)
}
