//! Commands, one file each; here the table of them and what they share.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "commands talk to people"
)]

mod bench;
mod compile;
mod explain;
mod inspect;
mod model;
mod quant;
mod report;
mod run;
mod specs;
mod verify;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An ahead-of-time compiler for language models on CPUs.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compile a model in memory and generate text with it
    Run(run::Args),
    /// Measure speed, what fusion is worth, and what each pass is worth
    Bench(bench::Args),
    /// Make an executable, a shared library or an object
    Compile(compile::Args),
    /// Say of every candidate of every pass whether it was fused, and why
    Explain(explain::Args),
    /// Sum a model up without its weights, compare two, or show what a stage made of it
    Inspect(inspect::Args),
    /// List the built-in specs
    Specs(specs::Args),
    /// Draw a page about a model: graphs, memory, state, roofline, and what was measured
    Report(report::Args),
    /// Compare the compiled code with golden logits, or after every pass with the plain interpreter
    Verify(verify::Args),
}

type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Compile(args) => compile::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Specs(args) => specs::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Verify(args) => verify::run(&args),
    };
    outcome.unwrap_or_else(|e| {
        eprintln!("error: {e}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    /// Options of different groups that share a name hide each other.
    #[test]
    fn no_two_options_of_a_command_are_the_same() {
        super::Cli::command().debug_assert();
    }
}
