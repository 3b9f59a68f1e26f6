//! The MODEL argument (a checkpoint folder, a spec with random weights, or the built-in model), and how it is compiled.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use graver::Model;
use graver::artifact::check_jit;
use graver::codegen::{Instruments, Target};
use graver::contents::Contents;
use graver::driver::{self, CompileOptions, HiddenStates, Loaded, OpenError, Purpose};
use graver::named::Named;
use graver::passes::PassOptions;
use graver::shard::{Division, RanksError};
use graver::summary::{Link, Machine, Summary, summarize};
use graver::weights::QuantPlan;
use graver_runtime::files;
use graver_runtime::info::Size;
use graver_runtime::pages;
use graver_runtime::session::{Session, SessionOptions};
use graver_runtime::text::LoadedText;
use graver_runtime::tokenizer::Tokenizer;

use super::inputs::check_output;
use super::print::say;
use super::progress::while_loading;
use super::quant::QuantArgs;

/// Tokens that matrices are rounded for.
const CALIBRATION: usize = 512;
/// So few say too little.
const LEAST_CALIBRATION: usize = 32;
/// The longest text of which those are taken, in bytes.
const LONGEST_CALIBRATION: u64 = 1 << 20;

/// How ranks share a model that is loaded.
pub(crate) type Divide<'a> = dyn Fn(&Loaded, &CompileOptions) -> Result<Division, RanksError> + 'a;

/// One rank has all of it.
pub(crate) fn alone(_: &Loaded, _: &CompileOptions) -> Result<Division, RanksError> {
    Ok(1.into())
}

/// Which model, and how it is compiled.
#[derive(Args, Clone, Debug)]
pub(crate) struct ModelArgs {
    /// A checkpoint folder, a .gguf file, owner/name in Hugging Face's cache, or a spec with random weights: SPEC or SPEC:PRESET, built
    /// in or a file [default: the built-in 0.7M model]
    model: Option<PathBuf>,
    /// Spec to use instead of the one that matches config.json: a file, or the name of a built-in one
    #[arg(help_heading = "Model", long, value_name = "SPEC")]
    spec: Option<PathBuf>,
    /// Preset with the sizes, if MODEL is a spec [default: tiny]
    #[arg(help_heading = "Model", long, value_name = "NAME")]
    preset: Option<String>,
    /// config.json with the sizes, if MODEL is a spec or not given; weights are random
    #[arg(
        help_heading = "Model",
        long,
        value_name = "FILE",
        conflicts_with = "preset"
    )]
    config: Option<PathBuf>,
    /// Of random weights.
    #[arg(skip)]
    seed: Option<u64>,
    #[command(flatten)]
    passes: PassArgs,
    #[command(flatten)]
    pub(crate) quant: QuantArgs,
    /// What code that runs here does beside computing.
    #[arg(skip)]
    pub(crate) instruments: Instruments,
}

/// A model whose weights are wanted, and not only its shapes.
#[derive(Args, Clone, Debug)]
pub(crate) struct WeightedModelArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Seed of random weights, if MODEL is a spec [default: 0]
    #[arg(long = "seed", value_name = "S", help_heading = "Model")]
    weights_seed: Option<u64>,
}

impl WeightedModelArgs {
    /// The model with its seed.
    pub(crate) fn model(&self) -> Result<ModelArgs, Box<dyn Error>> {
        self.model_or_seed(None)
    }

    /// MODEL as it was given.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.model.model.as_deref()
    }

    /// Whether weights have a seed of their own.
    pub(crate) fn has_seed(&self) -> bool {
        self.weights_seed.is_some()
    }

    /// The model with its seed, or else with `seed`, which is of use for other things as well.
    pub(crate) fn model_or_seed(&self, seed: Option<u64>) -> Result<ModelArgs, Box<dyn Error>> {
        if let Some(seed) = self.weights_seed {
            self.model.found()?.with_seed(seed)?;
        }
        Ok(ModelArgs {
            seed: self.weights_seed.or(seed),
            ..self.model.clone()
        })
    }
}

#[derive(Args, Clone, Debug)]
struct PassArgs {
    /// Disable all passes
    #[arg(help_heading = "Passes", long, conflicts_with_all = ["no_pass", "pass_limit"])]
    no_fuse: bool,
    /// Disable a pass; can be repeated
    #[arg(help_heading = "Passes", long = "no-pass", value_name = "NAME")]
    no_pass: Vec<String>,
    /// Run only the first N passes
    #[arg(help_heading = "Passes", long, value_name = "N")]
    pass_limit: Option<usize>,
}

impl ModelArgs {
    /// The model for `purpose`, quantised where that is asked for.
    pub(crate) fn load(&self, purpose: Purpose) -> Result<Loaded, Box<dyn Error>> {
        let mut plan = self.quant.plan()?;
        if let (Some(plan), Some(text)) = (&mut plan, self.quant.calibrate()) {
            plan.calibration = self.calibration(text)?;
        }
        let loaded = self.load_as(purpose, plan.as_ref())?;
        Ok(loaded.with_activations(self.quant.activations())?)
    }

    /// The first tokens of a text.
    fn calibration(&self, path: &Path) -> Result<Vec<u32>, Box<dyn Error>> {
        let text = files::read_text(path, LONGEST_CALIBRATION)?;
        let tokenizer = Tokenizer::load(&self.text()?.tokenizer)
            .map_err(|e| format!("--calibrate {}: {e}", files::shown(path)))?;
        let mut tokens = tokenizer.encode(&text)?;
        tokens.truncate(CALIBRATION);
        match tokens.len() {
            n if n < LEAST_CALIBRATION => Err(format!(
                "--calibrate {}: found a text of {n} tokens, expected at least {LEAST_CALIBRATION}; give a longer one",
                files::shown(path)
            )
            .into()),
            _ => Ok(tokens),
        }
    }

    /// The model as it is stored, for running it.
    pub(crate) fn load_unquantized(&self) -> Result<Loaded, Box<dyn Error>> {
        self.load_as(Purpose::Run, None)
    }

    fn load_as(
        &self,
        purpose: Purpose,
        quantize: Option<&QuantPlan>,
    ) -> Result<Loaded, Box<dyn Error>> {
        if purpose == Purpose::Run {
            check_jit()?;
        }
        let (model, floats) = (self.found()?, self.quant.floats());
        let loaded = while_loading(|progress| model.load(purpose, quantize, floats, progress))?;
        for w in &loaded.weights.widened {
            let why = match floats {
                true => ", as --quantize none asks",
                false => ", since there is no kernel for it",
            };
            say(format_args!(
                "{} of {} in {} tensor{} became {} of f32{why}",
                Size(w.stored_bytes),
                w.storage,
                w.tensors,
                if w.tensors == 1 { "" } else { "s" },
                Size(w.held_bytes)
            ));
        }
        Ok(loaded)
    }

    /// What is known of text: the tokenizer, and the tokens that end one.
    pub(crate) fn text(&self) -> Result<LoadedText, Box<dyn Error>> {
        Ok(self.found()?.text()?)
    }

    /// Whether weights are drawn, from a seed.
    pub(crate) fn has_random_weights(&self) -> bool {
        self.found().is_ok_and(|model| model.has_random_weights())
    }

    /// What to call the model: a folder, or a spec with the name of its sizes.
    pub(crate) fn label(&self) -> Result<String, Box<dyn Error>> {
        Ok(self.found()?.label())
    }

    /// What the model was called on the command line.
    pub(crate) fn name(&self) -> Result<PathBuf, Box<dyn Error>> {
        Ok(self.found()?.name().into())
    }

    /// What the model is and costs, by its shapes, on `machine`, and where ranks share it as `divide` says.
    pub(crate) fn summary(
        &self,
        machine: Option<Machine>,
        (divide, link): (&Divide<'_>, Option<Link>),
    ) -> Result<Summary, Box<dyn Error>> {
        let model = self.found()?;
        let loaded = self.load(Purpose::Inspect)?;
        let file = match model.named() {
            Named::Gguf(path) => Some(Contents::of_gguf(path)?),
            Named::Embedded | Named::Folder(_) | Named::Spec(..) => None,
        };
        let options = self.options()?;
        let summary = summarize(&model.label(), &loaded, &options, machine);
        let summary = Summary { file, ..summary };
        let division = divide(&loaded, &options)?;
        Ok(match division.ranks {
            1 => summary,
            _ => summary.with_ranks(&loaded, &options, division, link)?,
        })
    }

    /// The same choices for another model. A folder, and a spec named with a preset, have sizes of their own.
    pub(crate) fn with_model(&self, model: &Path) -> ModelArgs {
        let takes_preset =
            Model::open(model).is_ok_and(|found| matches!(found.named(), Named::Spec(_, None)));
        ModelArgs {
            model: Some(model.into()),
            spec: None,
            config: None,
            preset: self.preset.clone().filter(|_| takes_preset),
            ..self.clone()
        }
    }

    /// Refuses an output in place of something that the model is read from.
    pub(crate) fn check_output(&self, option: &str, output: &Path) -> Result<(), Box<dyn Error>> {
        let mut inputs = match self.found()?.named() {
            Named::Folder(path) | Named::Gguf(path) => vec![path.clone()],
            Named::Spec(..) | Named::Embedded => vec![],
        };
        // What is built in has a name alone, which a file may have as well.
        let is_file = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "json");
        let files = [&self.model, &self.spec, &self.config];
        inputs.extend(files.into_iter().flatten().filter(is_file).cloned());
        Ok(check_output(option, output, &inputs)?)
    }

    /// The model that is meant. Options that do not go with it are refused.
    fn found(&self) -> Result<Model, graver::Error> {
        let mut model = match (&self.model, &self.config) {
            (Some(path), _) => Model::open(path)?,
            (None, Some(config)) => match &self.spec {
                // Sizes without a spec choose one; with a spec, that is the model.
                Some(spec) => return Model::open(spec)?.with_config(config),
                None => Model::from_config(config)?,
            },
            (None, None) => Model::built_in(),
        };
        if let Some(preset) = &self.preset {
            model = model.with_preset(preset)?;
        }
        if let Some(config) = self.config.as_ref().filter(|_| self.model.is_some()) {
            model = model.with_config(config)?;
        }
        if let Some(spec) = &self.spec {
            model = model.with_spec(spec)?;
        }
        match self.seed.filter(|_| model.has_random_weights()) {
            Some(seed) => model.with_seed(seed),
            None => Ok(model),
        }
    }

    pub(crate) fn passes(&self) -> Result<PassOptions, Box<dyn Error>> {
        let PassArgs {
            no_fuse,
            no_pass,
            pass_limit,
        } = self.passes.clone();
        let options = PassOptions {
            no_fuse,
            disabled: no_pass,
            limit: pass_limit,
        };
        options.check()?;
        Ok(options)
    }

    /// Choices for code that runs here and now.
    pub(crate) fn options(&self) -> Result<CompileOptions, Box<dyn Error>> {
        self.options_for(Target::named("native")?)
    }

    pub(crate) fn options_for(&self, target: Target) -> Result<CompileOptions, Box<dyn Error>> {
        Ok(CompileOptions {
            instruments: self.instruments,
            ..CompileOptions::new(self.passes()?, self.quant.cache(), target)
        })
    }
}

/// Where `perf` looks for the symbols of this process, if `GRAVER_PERF_MAP` asks for them.
fn perf_map() -> Option<PathBuf> {
    let wanted = std::env::var_os("GRAVER_PERF_MAP").is_some_and(|v| !v.is_empty() && v != "0");
    wanted.then(|| PathBuf::from(format!("/tmp/perf-{}.map", std::process::id())))
}

/// Compiles in memory. Weights that memory has no room for are read from their file again in every step, which a line says.
pub(crate) fn open(
    loaded: Loaded,
    options: &CompileOptions,
    session: SessionOptions,
) -> Result<Session, OpenError> {
    warn_of_memory(&loaded);
    driver::open(loaded, &with_perf_map(options), session)
}

/// [`open`], and a way to a session that gives hidden states.
pub(crate) fn open_with_hidden(
    loaded: Loaded,
    options: &CompileOptions,
    session: SessionOptions,
) -> Result<(Session, Option<HiddenStates>), OpenError> {
    warn_of_memory(&loaded);
    driver::open_with_hidden(loaded, &with_perf_map(options), session)
}

fn with_perf_map(options: &CompileOptions) -> CompileOptions {
    CompileOptions {
        symbols: perf_map(),
        ..options.clone()
    }
}

fn warn_of_memory(loaded: &Loaded) {
    let (needed, available) = (loaded.weights.mapped_bytes(), pages::available());
    if let Some(available) = available.filter(|available| *available < needed) {
        say(format_args!(
            "the weights need {}, but only {} of memory is available: the rest is read from the file again for every token; --quantize \
             makes them smaller",
            Size(needed),
            Size(available)
        ));
    }
}
