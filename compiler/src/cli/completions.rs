//! `graver completions`: what a shell has to know to complete commands and options.

use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use super::outcome::Outcome;
use super::print::print;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Shell to complete for
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script for the program's own command line.
pub(crate) fn run(args: &Args, mut command: Command) -> Outcome {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut command, "graver", &mut script);
    print(String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
