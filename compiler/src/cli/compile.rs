//! `graver compile`: an executable, a shared library or an object.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use graver::artifact::{self, ARCHIVE, Emit, Placement, WriteOptions, Written};
use graver::codegen::{DEFAULT_TARGET, Target};
use graver::pipeline;
use graver_runtime::info::Size;

use super::model::ModelArgs;
use super::progress::Bar;
use super::{Outcome, interrupt};

/// The bar of weights that are written.
const LOOK: &str = "weights {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Output; MODEL's own name in the current folder if not given
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What to make
    #[arg(long, value_enum, value_name = "KIND", default_value = "exe")]
    emit: Kind,
    /// Where weights go
    #[arg(long, value_enum, value_name = "PLACE", default_value = "embed")]
    weights: Place,
    /// Processor to compile for: native for this one, or a level such as x86-64-v3
    #[arg(long, value_name = "NAME", default_value = DEFAULT_TARGET)]
    target_cpu: String,
    /// Make code that takes the time of its kernels, which the executable's --profile needs
    #[arg(long)]
    profile: bool,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// A program that takes the options of `graver run`
    Exe,
    /// A shared library, with a C header beside it
    So,
    /// An object, with the runtime as an archive, the weights and a C header beside it
    Obj,
}

#[derive(Clone, Copy, ValueEnum)]
enum Place {
    /// In the output itself
    Embed,
    /// In a file of their own beside it, NAME.weights
    External,
}

impl Kind {
    fn emit(self) -> Emit {
        match self {
            Kind::Exe => Emit::Executable,
            Kind::So => Emit::SharedLibrary,
            Kind::Obj => Emit::Object,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Kind::Exe => "",
            Kind::So => ".so",
            Kind::Obj => ".o",
        }
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let started = Instant::now();
    let target = Target::named(&args.target_cpu)?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| default_out(args.model.name(), args.emit));
    let text = args.model.text()?;
    let mut loaded = args.model.load_to_write()?;
    loaded.model.eos = text.eos_with(&loaded.model.eos);
    let mut options = args.model.options_for(target)?;
    options.instruments.stamps = args.profile;
    let planned = pipeline::plan_both(&loaded, &options);
    let manifest = pipeline::manifest(&loaded, &planned, &options);
    let write = WriteOptions {
        out: &out,
        emit: args.emit.emit(),
        weights: match args.weights {
            Place::Embed => Placement::Embedded,
            Place::External => Placement::External,
        },
        tokenizer: &text.tokenizer,
        target: &options.target,
    };
    interrupt::catch();
    let bar = Bar::new(LOOK, args.quiet);
    let written = artifact::write(
        &loaded.weights,
        &planned,
        &manifest,
        &write,
        &mut |more, all| {
            bar.advance(all, more);
            interrupt::check()
        },
    );
    bar.clear();
    let written = written?;
    if !args.quiet {
        report(&written, args.emit, started.elapsed());
    }
    Ok(ExitCode::SUCCESS)
}

/// `stories260k` for a folder, `llama` for `specs/llama.json`.
fn default_out(model: &str, kind: Kind) -> PathBuf {
    let path = Path::new(model)
        .canonicalize()
        .unwrap_or_else(|_| model.into());
    let name = match path.is_dir() {
        true => path.file_name(),
        false => path.file_stem(),
    };
    let name = name.map_or_else(|| "model".into(), |name| name.to_string_lossy());
    format!("{}{}", name.replace(' ', "-"), kind.suffix()).into()
}

fn report(written: &[Written], kind: Kind, time: Duration) {
    for Written { path, bytes } in written {
        println!("{} ({})", path.display(), Size(*bytes as usize));
    }
    println!("compiled in {:.2} s", time.as_secs_f64());
    let path = |i: usize| written[i].path.display();
    let libraries = artifact::link_arguments().join(" ");
    match kind {
        Kind::Exe => {}
        Kind::So => println!("link with: cc main.c {} -Wl,-rpath,'$ORIGIN'", path(0)),
        Kind::Obj => println!("link with: cc main.c {} {ARCHIVE} {libraries}", path(0)),
    }
}
