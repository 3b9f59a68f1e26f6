//! `graver compile`: an executable, a shared library or an object.

use std::borrow::Cow;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use graver::artifact::{self, ARCHIVE, ArtifactKind, Modes, Placement, WriteOptions, Written};
use graver::codegen::{DEFAULT_TARGET, Target};
use graver::driver::{self, Purpose, Ranks};
use graver_runtime::files::shown;
use graver_runtime::info::Size;
use graver_runtime::kernels::Record;
use graver_runtime::tokenizer::{Missing, Source, Tokenizer, TokenizerError};
use graver_serve::template::TemplateFiles;

use super::interrupt;
use super::model::WeightedModelArgs;
use super::outcome::Outcome;
use super::parts;
use super::print::print;
use super::progress::{Bar, WRITING};
use super::ranks::RanksArgs;
use super::tune;

const INTERRUPTED: &str = "interrupted; no file was written";

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: WeightedModelArgs,
    /// Output file, or with --ranks a folder for one executable per rank [default: MODEL's name, in the current folder]
    #[arg(short, long = "output", visible_alias = "out", value_name = "FILE")]
    out: Option<PathBuf>,
    /// Kind of output
    #[arg(long, value_enum, value_name = "KIND", default_value = "exe")]
    emit: Kind,
    /// Where to put weights [default: embed; external with --emit obj]
    #[arg(long, value_enum, value_name = "PLACE")]
    weights: Option<WeightsPlace>,
    /// Modes to add to the executable, as its options --chat and --serve
    #[arg(long, value_enum, value_name = "MODES", value_delimiter = ',')]
    with: Vec<Mode>,
    /// Target processor: native, or a level such as x86-64-v3
    #[arg(long, value_name = "NAME", default_value = DEFAULT_TARGET)]
    target_cpu: String,
    /// Carry the choices of FILE, which graver tune wrote, for the processors that it was run on
    #[arg(long, value_name = "FILE")]
    tuned: Option<PathBuf>,
    /// Measure which kernels are faster on this processor, and carry these choices
    #[arg(long)]
    tune: bool,
    /// Add time stamps for the executable's --profile
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    ranks: RanksArgs,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// An executable that takes the options of graver run
    Exe,
    /// A shared library and a C header
    So,
    /// An object file, the runtime as a static library, weights and a C header
    Obj,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// A chat in the terminal
    Chat,
    /// A server of the OpenAI API
    Serve,
}

#[derive(Clone, Copy, ValueEnum)]
enum WeightsPlace {
    /// In the output
    Embed,
    /// In a separate file, NAME.weights
    External,
}

impl Kind {
    fn artifact(self) -> ArtifactKind {
        match self {
            Kind::Exe => ArtifactKind::Executable,
            Kind::So => ArtifactKind::SharedLibrary,
            Kind::Obj => ArtifactKind::Object,
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
    let mut model = args.model.model()?;
    model.instruments.stamps = args.profile;
    let target = Target::named(&args.target_cpu)?;
    let (placement, with) = (args.placement()?, args.modes()?);
    let (out, name) = (args.out.clone(), model.name()?);
    let out = out.unwrap_or_else(|| default_out(&name, args.emit));
    model.check_output("-o", &out)?;
    let text = model.text()?;
    let tokenizer = text.tokenizer.clone().made()?;
    let templates = match with.any() {
        true => TemplateFiles::of_tokenizer(&tokenizer)?,
        false => TemplateFiles::default(),
    };
    let tokenizer = tokenizer.prepared()?;
    // A tokenizer that cannot be loaded is better found now than by the user of the executable.
    let check = Tokenizer::load_in_background(tokenizer.clone())?;
    let purpose = args.purpose()?;
    let mut loaded = model.load(purpose)?;
    loaded.model.eos = text.eos_with(&loaded.model.eos);
    let mut options = model.options_for(target)?;
    options.tuned = args.record()?;
    let missing = args.missing(check.wait())?;
    if let Some(missing) = missing.as_ref().filter(|_| with.any()) {
        return Err(
            format!("{missing}, which --with needs; drop --with, or add one to the model").into(),
        );
    }
    let carried = with.any().then(|| serde_json::to_vec(&templates));
    let carried = carried.transpose()?.map(Cow::Owned);
    let write = WriteOptions {
        out: &out,
        kind: args.emit.artifact(),
        weights: placement,
        tokenizer: match &tokenizer {
            Source::Bytes { files, .. } => Some(files),
            Source::Files(_) | Source::Recipe(_) | Source::Missing(_) => None,
        },
        with,
        templates: carried.as_ref(),
    };
    interrupt::catch();
    if args.ranks.ranks() != 1 {
        let division = args.ranks.division(&loaded, &options, None)?;
        let ranks = Ranks::plan(&loaded, &options, division)?;
        let written = parts::write(&ranks, division.ranks, &write, args.quiet)?;
        if !args.quiet {
            print(report(&written, args.emit, started.elapsed(), missing))?;
            print(parts::how_to_start(&out, division.ranks))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let planned = driver::plan(&loaded, &options);
    let bar = Bar::new(WRITING, args.quiet);
    let written = artifact::write(&planned, &loaded.weights, &write, &mut |more, all| {
        bar.advance(all, more);
        interrupt::check()
    });
    bar.clear();
    let written = match written {
        // `cc` has the terminal too: what it complains about then is the interruption.
        Err(_) if interrupt::check().is_err() => return Err(INTERRUPTED.into()),
        written => written?,
    };
    if !args.quiet {
        print(report(&written, args.emit, started.elapsed(), missing))?;
        if with.any() && templates.templates.is_empty() {
            print(
                "no chat template was found: conversations need one of their own (--chat --template FILE, --serve --chat-template FILE)\n",
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// What the model is loaded for. Parts of weights are taken from weights that are there.
    fn purpose(&self) -> Result<Purpose, Box<dyn Error>> {
        match (self.ranks.ranks(), self.emit) {
            (1, _) => Ok(Purpose::Write),
            (ranks, Kind::So | Kind::Obj) => Err(format!(
                "--ranks {ranks}: MPI starts executables; drop --emit, or compile for one rank"
            )
            .into()),
            (ranks, Kind::Exe) if !artifact::has_mpi() => Err(format!(
                "--ranks {ranks}: this graver was built without MPI; build it with --features mpi, or use graver run --ranks"
            )
            .into()),
            (_, Kind::Exe) => Ok(Purpose::Run),
        }
    }

    /// Which kernels are faster on which processors.
    fn record(&self) -> Result<Record, Box<dyn Error>> {
        let mut record = match &self.tuned {
            Some(path) => Record::read(path)?,
            None => Record::default(),
        };
        if self.tune {
            let found = tune::measure(&mut record, None)?;
            if !self.quiet {
                print(found)?;
            }
        }
        Ok(record)
    }

    /// Where weights go. An object has them in a file of their own.
    fn placement(&self) -> Result<Placement, Box<dyn Error>> {
        match (self.emit, self.weights) {
            (Kind::Obj, Some(WeightsPlace::Embed)) => Err(
                "--weights embed: an object file cannot contain weights; drop the option, or choose another --emit"
                    .into(),
            ),
            (Kind::Obj, _) | (_, Some(WeightsPlace::External)) => Ok(Placement::External),
            (Kind::Exe | Kind::So, _) => Ok(Placement::Embedded),
        }
    }

    /// What an executable does in addition.
    fn modes(&self) -> Result<Modes, Box<dyn Error>> {
        let with = Modes {
            chat: self.with.contains(&Mode::Chat),
            serve: self.with.contains(&Mode::Serve),
        };
        match self.emit {
            Kind::So | Kind::Obj if with.any() => Err(
                "--with: only executables have a command line; drop the option, or use --emit exe"
                    .into(),
            ),
            Kind::Exe | Kind::So | Kind::Obj => Ok(with),
        }
    }

    /// Why an executable will have no tokenizer, if so. Libraries and objects take token ids in any case.
    fn missing(
        &self,
        loaded: Result<Tokenizer, TokenizerError>,
    ) -> Result<Option<Missing>, TokenizerError> {
        match (self.emit, loaded) {
            (Kind::So | Kind::Obj, _) | (Kind::Exe, Ok(_)) => Ok(None),
            (Kind::Exe, Err(TokenizerError::Missing(missing))) => Ok(Some(missing)),
            (Kind::Exe, Err(other)) => Err(other),
        }
    }
}

/// `stories260k` for a folder, `llama` for `specs/llama.json` and `llama:3.1-8b`, `Llama-3.2-1B` for a model of a hub's cache.
fn default_out(model: &Path, kind: Kind) -> PathBuf {
    let path = model.canonicalize().unwrap_or_else(|_| model.into());
    let is_named = path.extension().is_some_and(|e| e == "gguf" || e == "json");
    let name = match path.is_file() && is_named {
        true => path.file_stem(),
        false => path.file_name(),
    };
    let mut name = name.unwrap_or("model".as_ref()).to_os_string();
    if let Some(text) = name.to_str() {
        let preset = text.rsplit_once(':').filter(|_| !path.exists());
        let text = preset.map_or(text, |(spec, _)| spec.trim_end_matches(".json"));
        name = text.replace(' ', "-").into();
    }
    name.push(kind.suffix());
    name.into()
}

fn report(written: &[Written], kind: Kind, time: Duration, missing: Option<Missing>) -> String {
    let mut out = String::new();
    for Written { path, bytes } in written {
        out += &format!("{} ({})\n", shown(path), Size(*bytes as usize));
    }
    out += &format!("compiled in {:.2} s\n", time.as_secs_f64());
    if let Some(missing) = missing {
        out += &format!("{missing}: the executable accepts token ids only (--tokens 1,2,3)\n");
    }
    let path = |i: usize| quoted(&written[i].path);
    let libraries = artifact::link_arguments().join(" ");
    match kind {
        Kind::Exe => {}
        Kind::So => {
            out += &format!("link with: cc main.c {} -Wl,-rpath,'$ORIGIN'\n", path(0));
        }
        Kind::Obj => {
            out += &format!("link with: cc main.c {} {ARCHIVE} {libraries}\n", path(0));
        }
    }
    out
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,=@%".contains(c);
    match text.chars().all(is_plain) && !text.starts_with('-') {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_called_what_the_model_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.v2.json");
        std::fs::write(&file, "{}").unwrap();
        for (model, expected) in [
            ("llama", "llama"),
            ("llama:3.1-8b", "llama"),
            ("meta-llama/Llama-3.2-1B", "Llama-3.2-1B"),
            (file.to_str().unwrap(), "mine.v2"),
            ("some/mine.json:tiny", "mine"),
            ("embedded model", "embedded-model"),
        ] {
            let out = default_out(Path::new(model), Kind::Exe);
            assert_eq!(out, Path::new(expected), "{model}");
        }
    }

    #[test]
    fn paths_are_quoted_for_a_shell_where_they_need_it() {
        for (path, expected) in [
            ("a/b-1.5.so", "a/b-1.5.so"),
            ("größe.o", "größe.o"),
            ("a b.o", "'a b.o'"),
            ("it's.o", "'it'\\''s.o'"),
            ("$(x).o", "'$(x).o'"),
            ("a\nb.o", "'a\nb.o'"),
            ("-o.o", "'-o.o'"),
        ] {
            assert_eq!(quoted(Path::new(path)), expected);
        }
    }
}
