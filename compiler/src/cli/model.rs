//! The MODEL argument (a checkpoint folder, a spec with random weights, or the built-in model), and how it is compiled.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Args;
use graver::artifact::check_jit;
use graver::codegen::{Instruments, Target};
use graver::contents::Contents;
use graver::driver::{self, CompileOptions, Loaded, ModelSource, OpenError, Purpose};
use graver::embedded;
use graver::passes::PassOptions;
use graver::summary::{Machine, Summary, summarize};
use graver::text;
use graver::weights::QuantChoice;
use graver_runtime::files::{is_there, shown};
use graver_runtime::info::Size;
use graver_runtime::session::{Session, SessionOptions};
use graver_runtime::text::LoadedText;
use graver_runtime::tokenizer::{Missing, Source};

use super::named::{self, Named};
use super::print::say;
use super::progress::while_loading;
use super::quant::QuantArgs;

/// Which model, and how it is compiled.
#[derive(Args, Clone, Debug)]
pub(crate) struct ModelArgs {
    /// A checkpoint folder, a .gguf file, or a spec (a file, or the name of a built-in one) with random weights [default: the built-in
    /// 0.7M model]
    model: Option<PathBuf>,
    /// Spec to use instead of the built-in one that matches config.json
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Sizes to use where MODEL is a spec [default: tiny]
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
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
    /// Seed of random weights, where MODEL is a spec [default: 0]
    #[arg(long = "seed", value_name = "S")]
    weights_seed: Option<u64>,
}

impl WeightedModelArgs {
    /// The model with its seed.
    pub(crate) fn model(&self) -> Result<ModelArgs, Box<dyn Error>> {
        self.model_or_seed(None)
    }

    /// Whether weights have a seed of their own.
    pub(crate) fn has_seed(&self) -> bool {
        self.weights_seed.is_some()
    }

    /// The model with its seed, or else with `seed`, which is of use for other things as well.
    pub(crate) fn model_or_seed(&self, seed: Option<u64>) -> Result<ModelArgs, Box<dyn Error>> {
        if self.weights_seed.is_some() && !self.model.has_random_weights() {
            return Err(ModelError::Seed.into());
        }
        Ok(ModelArgs {
            seed: self.weights_seed.or(seed),
            ..self.model.clone()
        })
    }
}

/// An option that does not go with MODEL.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelError {
    #[error(
        "--preset {preset}: MODEL is {what}, which has sizes of its own; presets are for specs"
    )]
    Preset { preset: String, what: &'static str },
    #[error(
        "a seed for weights: MODEL has weights of its own; a seed is for specs, whose weights are random"
    )]
    Seed,
    #[error(
        "--spec {}: MODEL is {what}; --spec is for checkpoint folders",
        shown(spec)
    )]
    Spec { spec: PathBuf, what: &'static str },
    #[error(
        "--spec {}: no such file; a built-in spec is chosen by config.json alone, and `graver specs` lists them",
        shown(spec)
    )]
    NoSpecFile { spec: PathBuf },
}

#[derive(Args, Clone, Debug)]
struct PassArgs {
    /// Run no pass: fuse nothing
    #[arg(long, conflicts_with_all = ["no_pass", "pass_limit"])]
    no_fuse: bool,
    /// Leave a pass out; can be repeated
    #[arg(long = "no-pass", value_name = "NAME")]
    no_pass: Vec<String>,
    /// Run only the first N passes
    #[arg(long, value_name = "N")]
    pass_limit: Option<usize>,
}

impl ModelArgs {
    /// The model for `purpose`, quantised where that is asked for.
    pub(crate) fn load(&self, purpose: Purpose) -> Result<Loaded, Box<dyn Error>> {
        self.load_as(purpose, self.quant.choice())
    }

    /// The model as it is stored, for running it.
    pub(crate) fn load_unquantized(&self) -> Result<Loaded, Box<dyn Error>> {
        self.load_as(Purpose::Run, None)
    }

    fn load_as(
        &self,
        purpose: Purpose,
        quantize: Option<QuantChoice>,
    ) -> Result<Loaded, Box<dyn Error>> {
        if purpose == Purpose::Run {
            check_jit()?;
        }
        let named = self.named()?;
        let source = match &named {
            Named::Embedded => ModelSource::Embedded,
            Named::Folder(dir) => ModelSource::Checkpoint {
                dir,
                spec: self.spec.as_deref(),
            },
            Named::Gguf(path) => ModelSource::Gguf {
                path,
                spec: self.spec.as_deref(),
                floats: self.quant.floats(),
            },
            Named::Spec(spec) => ModelSource::preset(spec, self.preset(), self.seed.unwrap_or(0))?,
        };
        let loaded = while_loading(|progress| driver::load(&source, purpose, quantize, progress))?;
        for w in &loaded.weights.widened {
            say(format_args!(
                "{} has no kernel yet: {} in {} tensor{} became {} of f32",
                w.storage,
                Size(w.stored_bytes),
                w.tensors,
                if w.tensors == 1 { "" } else { "s" },
                Size(w.held_bytes)
            ));
        }
        Ok(loaded)
    }

    /// What is known of text: the tokenizer, and the tokens that end one.
    pub(crate) fn text(&self) -> Result<LoadedText, Box<dyn Error>> {
        let tokenizer = match self.named()? {
            Named::Folder(folder) => return Ok(text::folder_text(&folder)?),
            Named::Gguf(path) => return Ok(text::gguf_text(&path)?),
            Named::Spec(_) => Source::Missing(Missing::Spec {
                name: shown(self.name()).to_string(),
            }),
            Named::Embedded => embedded::tokenizer(),
        };
        Ok(LoadedText {
            tokenizer,
            eos: vec![],
        })
    }

    /// Whether weights are drawn, from a seed.
    pub(crate) fn has_random_weights(&self) -> bool {
        self.model.is_some() && !self.has_weights()
    }

    /// Whether MODEL is a folder or file with weights of its own.
    fn has_weights(&self) -> bool {
        let found = named::find(self.model.as_deref());
        matches!(found, Ok(Named::Folder(_) | Named::Gguf(_)))
    }

    /// What to call the model: a folder, or a spec with the name of its sizes.
    pub(crate) fn label(&self) -> String {
        match &self.model {
            None => embedded::NAME.into(),
            Some(model) if self.has_weights() => shown(model).to_string(),
            Some(model) => format!("{} {}", shown(model), self.preset()),
        }
    }

    /// What the model was called on the command line.
    pub(crate) fn name(&self) -> &Path {
        self.model.as_deref().unwrap_or(Path::new(embedded::NAME))
    }

    /// What the model is and costs, by its shapes, on `machine`.
    pub(crate) fn summary(&self, machine: Option<Machine>) -> Result<Summary, Box<dyn Error>> {
        let loaded = self.load(Purpose::Inspect)?;
        let file = match self.named()? {
            Named::Gguf(path) => Some(Contents::of_gguf(&path)?),
            Named::Embedded | Named::Folder(_) | Named::Spec(_) => None,
        };
        let summary = summarize(&self.label(), &loaded, &self.options()?, machine);
        Ok(Summary { file, ..summary })
    }

    /// The same choices for another model; `SPEC:PRESET` names a built-in spec's sizes too. A folder has sizes of its own.
    pub(crate) fn with_model(&self, model: &Path) -> ModelArgs {
        let has_weights = matches!(
            named::find(Some(model)),
            Ok(Named::Folder(_) | Named::Gguf(_))
        );
        let preset = self.preset.clone().filter(|_| !has_weights);
        let named = model.to_str().and_then(|text| text.rsplit_once(':'));
        let (model, preset) = match named {
            Some((spec, preset)) if !model.exists() => (Path::new(spec), Some(preset.into())),
            Some(_) | None => (model, preset),
        };
        ModelArgs {
            model: Some(model.into()),
            spec: None,
            preset,
            ..self.clone()
        }
    }

    fn preset(&self) -> &str {
        self.preset.as_deref().unwrap_or("tiny")
    }

    /// Where the model comes from. Options that do not go with it are refused.
    fn named(&self) -> Result<Named<'_>, Box<dyn Error>> {
        let named = named::find(self.model.as_deref())?;
        let (what, is_spec) = match &named {
            Named::Embedded => ("the built-in model", false),
            Named::Folder(_) => ("a checkpoint folder", false),
            Named::Gguf(_) => ("a GGUF file", false),
            Named::Spec(_) => ("a spec itself", true),
        };
        if let Some(preset) = self.preset.clone().filter(|_| !is_spec) {
            return Err(ModelError::Preset { preset, what }.into());
        }
        match (&self.spec, &named) {
            (None, _) => {}
            (Some(spec), Named::Folder(_) | Named::Gguf(_)) if is_there(spec) => {}
            (Some(spec), Named::Folder(_) | Named::Gguf(_)) => {
                return Err(ModelError::NoSpecFile { spec: spec.clone() }.into());
            }
            (Some(spec), Named::Embedded | Named::Spec(_)) => {
                let spec = spec.clone();
                return Err(ModelError::Spec { spec, what }.into());
            }
        }
        Ok(named)
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

/// Compiles in memory.
pub(crate) fn open(
    loaded: Loaded,
    options: &CompileOptions,
    session: SessionOptions,
) -> Result<Session, OpenError> {
    let options = CompileOptions {
        symbols: perf_map(),
        ..options.clone()
    };
    driver::open(loaded, &options, session)
}
