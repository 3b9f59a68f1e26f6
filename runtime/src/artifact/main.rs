//! The command line of a generated executable: what `graver run` takes, the modes it was compiled with, `--info` and `--check`.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use clap::builder::Styles;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, CommandFactory, FromArgMatches, Parser};

use super::Artifact;
use super::modes::{self, Call, Modes};
use crate::Error;
use crate::abi::Manifest;
use crate::cli::{self, RunArgs, RunError, SpecialIds};
use crate::files::shown;
use crate::info;
use crate::kernels::Isa;
use crate::sequence::Sequence;
use crate::stdout;

/// The command line; `about` alone would be what the package says of itself.
#[derive(Parser)]
#[command(about = "A language model, compiled by Graver", long_about = None)]
struct Cli {
    #[command(flatten)]
    run: RunArgs,
    /// Print spec, sizes, types, passes and target (as JSON with --json), and exit
    #[arg(long)]
    info: bool,
    /// Print version, model, target and kernels, and exit
    #[arg(short = 'V', long, conflicts_with_all = ["info", "check"])]
    version: bool,
    /// Verify the checksums of code and weights, and exit
    #[arg(long, conflicts_with = "info")]
    check: bool,
    /// Weights file, if weights are not in the executable
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Chat with the model; must come first, --chat --help lists its options
    #[arg(long)]
    chat: bool,
    /// Serve the OpenAI API; must come first, --serve --help lists its options
    #[arg(long)]
    serve: bool,
}

/// Does what the command line says; returns the exit code.
pub(crate) fn main(
    arguments: Vec<OsString>,
    modes: Modes,
    open: fn() -> Result<Artifact, Error>,
) -> u8 {
    // First of all, so that no file takes the place of an output that is closed.
    let out = stdout::open();
    stdout::fill_closed();
    let err = io::stderr();
    let outcome = catch_unwind(AssertUnwindSafe(|| -> modes::Outcome {
        if let Some(entry) = modes.named(arguments.get(1).map(AsRef::as_ref)) {
            return Call::run(
                entry,
                arguments,
                open,
                same(&out).map_err(RunError::Output)?,
            );
        }
        let cli = parse(&arguments, modes)?;
        let mut out = same(&out).map_err(RunError::Output)?;
        run(&cli, open, &mut out, &mut &err)
    }));
    say_error(match outcome {
        Ok(Ok(())) => return 0,
        Ok(Err(error)) => match error.downcast::<clap::Error>() {
            Ok(usage) => return show(&usage, out),
            Err(error) => error.to_string(),
        },
        // What happened has been printed by then.
        Err(_) => "this is a bug in Graver or in a library it uses; please report it".into(),
    });
    1
}

/// The same output once more, or why there is none.
fn same(out: &io::Result<File>) -> io::Result<File> {
    match out {
        Ok(out) => out.try_clone(),
        Err(error) => Err(error
            .raw_os_error()
            .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)),
    }
}

/// Prints what went wrong, its first word in colour for a terminal, as the parser of the command line does.
fn say_error(message: impl Display) {
    let style = Styles::styled();
    let style = style.get_error();
    let _ = writeln!(anstream::stderr(), "{style}error:{style:#} {message}");
}

/// Shows help, or what is wrong with the command line.
fn show(message: &clap::Error, out: io::Result<File>) -> u8 {
    let printed = match message.use_stderr() || io::stdout().is_terminal() {
        true => message.print(),
        false => out.and_then(|mut out| write!(out, "{}", message.render())),
    };
    match printed {
        Err(error) if !message.use_stderr() && error.kind() != io::ErrorKind::BrokenPipe => {
            say_error(RunError::Output(error));
            1
        }
        Ok(()) | Err(_) => message.exit_code() as u8,
    }
}

/// Reads the command line. What would be ignored beside `--info` or `--check` is refused.
fn parse(arguments: &[OsString], modes: Modes) -> Result<Cli, clap::Error> {
    let mut command = Cli::command()
        .mut_arg("chat", |arg| arg.hide(modes.chat.is_none()))
        .mut_arg("serve", |arg| arg.hide(modes.serve.is_none()));
    let matches = command.try_get_matches_from_mut(arguments)?;
    let cli = Cli::from_arg_matches(&matches)?;
    for (given, mode, has) in [
        (cli.chat, modes::CHAT, modes.chat.is_some()),
        (cli.serve, modes::SERVE, modes.serve.is_some()),
    ] {
        let message = match (given, has) {
            (false, _) => continue,
            (true, true) => format!("{mode} goes first, before options of its own"),
            (true, false) => format!(
                "{mode}: this executable was compiled without it; compile it again with --with {}",
                mode.trim_start_matches('-')
            ),
        };
        return Err(command.error(ErrorKind::UnknownArgument, message));
    }
    let alone: Option<(&str, &[&str])> = match (cli.info, cli.check, cli.version) {
        (true, ..) => Some(("--info", &["info", "json"])),
        (_, true, _) => Some(("--check", &["check", "weights"])),
        (.., true) => Some(("--version", &["version"])),
        (false, false, false) => None,
    };
    let Some((verb, allowed)) = alone else {
        return Ok(cli);
    };
    let given = |argument: &&Arg| {
        let id = argument.get_id().as_str();
        matches.value_source(id) == Some(ValueSource::CommandLine) && !allowed.contains(&id)
    };
    let other = command.get_arguments().find(given).map(Arg::to_string);
    match other {
        None => Ok(cli),
        Some(other) => {
            let message = format!("the argument '{verb}' cannot be used with '{other}'");
            Err(command.error(ErrorKind::ArgumentConflict, message))
        }
    }
}

fn run(
    cli: &Cli,
    open: fn() -> Result<Artifact, Error>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Box<dyn StdError>> {
    cli.run.sampling.check(false)?;
    let artifact = open()?;
    let told = match (cli.info, cli.check, cli.version) {
        (true, ..) => print_info(&artifact, cli.run.json, out),
        (_, true, _) => {
            artifact.check(cli.weights.as_deref())?;
            writeln!(out, "{}: OK, all checksums match", shown(artifact.path()))
        }
        (.., true) => writeln!(out, "{}", version(artifact.manifest())),
        (false, false, false) => return generate(cli, &artifact, out, err),
    };
    match told {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        told => Ok(told.map_err(RunError::Output)?),
    }
}

/// `llama, compiled by graver 0.1.0 (target: native, kernels: avx2)`.
fn version(manifest: &Manifest) -> String {
    let kernels = match Isa::chosen() {
        Ok(isa) => isa.name().to_string(),
        Err(error) => format!("none: {error}"),
    };
    format!(
        "{}, compiled by graver {} (target: {}, kernels: {kernels})",
        manifest.spec, manifest.compiler, manifest.target
    )
}

fn print_info(artifact: &Artifact, json: bool, out: &mut dyn Write) -> io::Result<()> {
    let manifest = artifact.manifest();
    if json {
        writeln!(out, "{}", serde_json::to_string(&**manifest)?)
    } else {
        write!(out, "{}", info::describe(manifest))?;
        match Isa::chosen() {
            Ok(isa) => writeln!(out, "kernels       {}", isa.name()),
            Err(error) => writeln!(out, "kernels       none: {error}"),
        }
    }
}

fn generate(
    cli: &Cli,
    artifact: &Artifact,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Box<dyn StdError>> {
    let options = cli.run.session.options();
    if artifact.follows() {
        let session = artifact.session(cli.weights.as_deref(), options)?;
        return Ok(session.follow()?);
    }
    let source = artifact.tokenizer(cli.weights.as_deref())?;
    let tokenizer = cli.run.tokenizer(source)?;
    let manifest = artifact.manifest();
    let mut session = artifact.session(cli.weights.as_deref(), options)?;
    let special = SpecialIds {
        bos: manifest.bos,
        eos: manifest.eos.clone(),
    };
    let mut model = Sequence::new(&mut session);
    cli::run(&cli.run, &mut model, tokenizer, &special, out, err)?;
    Ok(cli::write_profile(
        &cli.run.session,
        cli.run.quiet,
        &session.profiles()?,
        err,
    )?)
}
