//! The table of commands, which have a file each, and how one is run.

mod bench;
mod chat;
mod compile;
mod completions;
mod explain;
mod explore;
mod inputs;
mod inspect;
mod interrupt;
mod machine;
mod man;
mod model;
mod outcome;
mod parts;
mod perplexity;
mod print;
mod progress;
mod quant;
mod ranks;
mod report;
mod run;
mod serve;
mod specs;
mod terminal;
mod title;
mod tune;
mod verify;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::process::ExitCode;
use std::sync::LazyLock;

use self::outcome::Outcome;
use self::print::{say, say_error};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use graver_runtime::caught;
use graver_runtime::kernels::Isa;

/// An ahead-of-time compiler for language models on CPUs.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compile a model in memory and generate text
    Run(run::Args),
    /// Compile a model in memory and chat with it
    Chat(chat::Args),
    /// Measure speed, and the gain from fusion and from each pass
    Bench(bench::Args),
    /// Compile a model to an executable, a shared library or an object file
    Compile(compile::Args),
    /// List every fusion candidate: fused or not, and why
    Explain(explain::Args),
    /// Browse kernels with their operations, code and cost, and toggle passes
    Explore(explore::Args),
    /// Summarise a model, compare two, or print any compiler stage
    Inspect(inspect::Args),
    /// Serve the OpenAI API, and a chat page
    Serve(serve::Args),
    /// Compute the perplexity of a text
    Perplexity(perplexity::Args),
    /// List the built-in specs
    Specs(specs::Args),
    /// Write an HTML report: graphs, memory, state, roofline and measurements
    Report(report::Args),
    /// Measure which of several equivalent kernels are fastest on this processor
    Tune(tune::Args),
    /// Check compiled code against reference logits or, after every pass, the interpreter
    Verify(verify::Args),
    /// Print a shell completion script
    Completions(completions::Args),
    /// Write man pages to a folder
    Man(man::Args),
}

/// The version with its commit, what it was built for, and whose kernels run on this processor.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let kernels = match Isa::chosen() {
        Ok(isa) => isa.name().to_string(),
        Err(error) => error.to_string(),
    };
    format!(
        "{} (target: {}, kernels: {kernels})",
        graver::VERSION,
        graver::TARGET
    )
});

/// The command line. `run` and `chat` have a seed already, which is that of random weights as well.
fn command() -> clap::Command {
    Cli::command()
        .version(&**VERSION)
        .mut_subcommand("run", with_two_seeds)
        .mut_subcommand("chat", with_two_seeds)
}

fn with_two_seeds(command: clap::Command) -> clap::Command {
    command.mut_arg("weights_seed", |seed| {
        seed.long("weights-seed")
            .help("Seed of random weights, if MODEL is a spec [default: that of --seed, else 0]")
    })
}

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    interrupt::end_with_reader();
    let matches = command().try_get_matches();
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(message) => return show(&message),
    };
    panic::set_hook(Box::new(report_panic));
    // The hook has said what happened.
    let outcome = panic::catch_unwind(|| dispatch(cli)).unwrap_or(Ok(ExitCode::from(PANICKED)));
    outcome.unwrap_or_else(|e| {
        say_error(e);
        ExitCode::FAILURE
    })
}

/// Shows help, or what is wrong with the command line.
fn show(message: &clap::Error) -> ExitCode {
    let lost = match (message.use_stderr(), io::stdout().is_terminal()) {
        (true, _) => message.print().err().and(None),
        // In colour, for a terminal.
        (false, true) => message.print().err().map(Into::into),
        (false, false) => print::print(message.render()).err(),
    };
    match lost {
        Some(lost) => {
            say_error(lost);
            ExitCode::FAILURE
        }
        None => ExitCode::from(message.exit_code() as u8),
    }
}

fn dispatch(cli: Cli) -> Outcome {
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Compile(args) => compile::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Explore(args) => explore::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Perplexity(args) => perplexity::run(&args),
        Command::Specs(args) => specs::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Completions(args) => completions::run(&args, command()),
        Command::Man(args) => man::run(&args, command()),
    }
}

/// Exit code after a panic, as Rust's own is.
const PANICKED: u8 = 101;

/// Says what went wrong and where, and that it is a bug: on any thread, in any library.
fn report_panic(info: &PanicHookInfo<'_>) {
    // A library's, on a file that it cannot read: the error says so.
    if caught::is_caught() {
        return;
    }
    let what = info.payload_as_str().unwrap_or("no message");
    let place = info
        .location()
        .map(|l| format!(" ({l})"))
        .unwrap_or_default();
    say(format_args!("graver: internal error: {what}{place}"));
    say(concat!(
        "This is a bug in graver ",
        env!("CARGO_PKG_VERSION"),
        ", not a mistake of yours. Please report it, with the command line and this message."
    ));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        say(backtrace);
    }
}

#[cfg(test)]
mod tests {
    /// Options of different groups that share a name hide each other.
    #[test]
    fn no_two_options_of_a_command_are_the_same() {
        super::command().debug_assert();
    }
}
