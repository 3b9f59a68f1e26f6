//! The MODEL argument: a checkpoint folder, a spec with random weights, or the model inside the program; and how it is
//! compiled.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use graver::artifact::{jit, weight_source};
use graver::codegen::{Instruments, Target};
use graver::embedded;
use graver::passes::PassOptions;
use graver::pipeline::{self, CompileOptions, Loaded};
use graver::spec::{self, Spec, SpecSource};
use graver::summary::{Machine, Summary, summarize};
use graver_runtime::checked::CheckOptions;
use graver_runtime::session::{Session, SessionOptions};
use graver_runtime::text::{LoadedText, TextError};

use super::progress::shown;
use super::quant::QuantArgs;

/// Which model, and how it is compiled.
#[derive(Args, Clone, Debug)]
pub(crate) struct ModelArgs {
    /// A checkpoint folder, or a spec (a file, or the name of a built-in one) with random weights; a small model that the
    /// program carries if not given
    model: Option<String>,
    /// Spec to use instead of the built-in one that matches config.json
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Sizes to use where MODEL is a spec: tiny if not given
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Seed of random weights, where MODEL is a spec; 0 if not given
    #[arg(long = "seed", value_name = "S")]
    pub(crate) weights_seed: Option<u64>,
    #[command(flatten)]
    passes: PassArgs,
    #[command(flatten)]
    pub(crate) quant: QuantArgs,
    /// What code that runs here does beside computing.
    #[arg(skip)]
    pub(crate) instruments: Instruments,
}

/// Where a model comes from.
enum Place<'a> {
    Embedded,
    Folder(&'a Path),
    Spec(Spec),
}

/// A MODEL that is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelError {
    #[error(
        "{model}: neither a checkpoint folder nor a spec{}; expected a folder with a config.json, a spec's .json file, or one of {}",
        nearest.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default(),
        spec::builtin_names().join(", ")
    )]
    Unknown {
        model: String,
        nearest: Option<String>,
    },
    #[error("{}: a file of weights alone; expected the folder that it lies in, with its config.json", path.display())]
    WeightFile { path: PathBuf },
    #[error(
        "--preset {preset}: MODEL is {what}, which has sizes of its own; presets are for specs"
    )]
    Preset { preset: String, what: &'static str },
    #[error(transparent)]
    Spec(#[from] spec::Error),
}

#[derive(Args, Clone, Debug)]
struct PassArgs {
    /// Leave all fusions out
    #[arg(long)]
    no_fuse: bool,
    /// Leave a pass out; may be given several times
    #[arg(long = "no-pass", value_name = "NAME")]
    no_pass: Vec<String>,
    /// Run only the first N passes
    #[arg(long, value_name = "N")]
    pass_limit: Option<usize>,
}

impl ModelArgs {
    /// The model, quantised where that is asked for.
    pub(crate) fn load(&self) -> Result<Loaded, Box<dyn Error>> {
        Ok(self.quant.apply(self.load_unquantized()?)?)
    }

    /// The model as it is stored.
    pub(crate) fn load_unquantized(&self) -> Result<Loaded, Box<dyn Error>> {
        Ok(match self.place()? {
            Place::Embedded => embedded::load()?,
            Place::Folder(dir) => shown("converting weights", |progress| {
                pipeline::load_checkpoint_with(dir, self.spec.as_deref(), progress)
            })?,
            Place::Spec(spec) => pipeline::load_preset(&spec, self.preset(), self.seed(), None)?,
        })
    }

    /// What is known of text: the tokenizer, and the tokens that end one.
    pub(crate) fn text(&self) -> Result<LoadedText, TextError> {
        match &self.model {
            None => Ok(LoadedText {
                tokenizer: embedded::tokenizer(),
                eos: vec![],
            }),
            Some(model) => LoadedText::find(Path::new(model)),
        }
    }

    /// The model for writing it out: random weights are drawn, and matrices packed, on the way.
    pub(crate) fn load_to_write(&self) -> Result<Loaded, Box<dyn Error>> {
        let stored = match self.place()? {
            Place::Spec(spec) => pipeline::load_undrawn(&spec, self.preset(), self.seed(), None)?,
            Place::Embedded | Place::Folder(_) => self.load_unquantized()?,
        };
        Ok(match self.quant.choice() {
            Some(choice) => pipeline::quantize_when_written(stored, choice),
            None => stored,
        })
    }

    fn seed(&self) -> u64 {
        self.weights_seed.unwrap_or(0)
    }

    /// What to call the model: a folder, or a spec with the name of its sizes.
    pub(crate) fn label(&self) -> String {
        match &self.model {
            None => embedded::NAME.into(),
            Some(model) if Path::new(model).is_dir() => model.clone(),
            Some(model) => format!("{model} {}", self.preset()),
        }
    }

    /// What the model was called on the command line.
    pub(crate) fn name(&self) -> &str {
        self.model.as_deref().unwrap_or(embedded::NAME)
    }

    /// What the model is and costs, by its shapes, on `machine`.
    pub(crate) fn summary(&self, machine: Option<Machine>) -> Result<Summary, Box<dyn Error>> {
        let loaded = self.load_shapes()?;
        Ok(summarize(&self.label(), &loaded, &self.options()?, machine))
    }

    /// The same choices for another model; `SPEC:PRESET` names a built-in spec's sizes too.
    pub(crate) fn with_model(&self, model: &str) -> ModelArgs {
        let mut other = ModelArgs {
            model: Some(model.into()),
            spec: None,
            ..self.clone()
        };
        if let Some((spec, preset)) = model
            .rsplit_once(':')
            .filter(|_| !Path::new(model).exists())
        {
            (other.model, other.preset) = (Some(spec.into()), Some(preset.into()));
        }
        other
    }

    /// The model without the bytes of its weights where it has none on disk: at once, whatever its size.
    ///
    /// A folder's weights are mapped, since their types decide the code; one that has only a config.json is a shape.
    pub(crate) fn load_shapes(&self) -> Result<Loaded, Box<dyn Error>> {
        Ok(self.quant.apply_to_shapes(self.load_stored_shapes()?))
    }

    fn load_stored_shapes(&self) -> Result<Loaded, Box<dyn Error>> {
        let (spec, config) = match self.place()? {
            Place::Embedded => return self.load_unquantized(),
            Place::Spec(spec) => {
                let config = spec.preset(self.preset())?;
                (spec, config)
            }
            Place::Folder(dir) => {
                let weights = ["model.safetensors", "model.safetensors.index.json"];
                if weights.iter().any(|f| dir.join(f).exists()) {
                    return self.load_unquantized();
                }
                let config = spec::read_config(&dir.join("config.json"))?;
                let spec = match &self.spec {
                    Some(file) => spec::load(SpecSource::File(file))?,
                    None => spec::for_config(&config)?,
                };
                (spec, config)
            }
        };
        Ok(pipeline::load_shapes(&spec, &config, None)?)
    }

    fn preset(&self) -> &str {
        self.preset.as_deref().unwrap_or("tiny")
    }

    /// Where the model comes from.
    fn place(&self) -> Result<Place<'_>, ModelError> {
        let Some(model) = &self.model else {
            self.no_preset("the model that the program carries")?;
            return Ok(Place::Embedded);
        };
        let path = Path::new(model);
        if path.is_dir() {
            self.no_preset("a checkpoint folder")?;
            return Ok(Place::Folder(path));
        }
        if spec::builtin_names().contains(&model.as_str()) {
            return Ok(Place::Spec(spec::load(SpecSource::Builtin(model))?));
        }
        match path.extension().and_then(|e| e.to_str()) {
            Some("json") if path.exists() => Ok(Place::Spec(spec::load(SpecSource::File(path))?)),
            Some("safetensors" | "gguf" | "bin") if path.exists() => {
                Err(ModelError::WeightFile { path: path.into() })
            }
            _ => Err(ModelError::Unknown {
                model: model.clone(),
                nearest: spec::nearest(model, spec::builtin_names()),
            }),
        }
    }

    fn no_preset(&self, what: &'static str) -> Result<(), ModelError> {
        match &self.preset {
            Some(preset) => Err(ModelError::Preset {
                preset: preset.clone(),
                what,
            }),
            None => Ok(()),
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
        let mut options = CompileOptions::new(self.passes()?, self.quant.cache(), target);
        options.instruments = self.instruments;
        Ok(options)
    }
}

/// Where `perf` looks for the symbols of this process, if `GRAVER_PERF_MAP` asks for them.
fn perf_map() -> Option<PathBuf> {
    let wanted = std::env::var_os("GRAVER_PERF_MAP").is_some_and(|v| !v.is_empty() && v != "0");
    wanted.then(|| PathBuf::from(format!("/tmp/perf-{}.map", std::process::id())))
}

/// Compiles in memory.
pub(crate) fn open(
    mut loaded: Loaded,
    options: &CompileOptions,
    session: SessionOptions,
) -> Result<Session, Box<dyn Error>> {
    loaded.weights.settle();
    let mut options = options.clone();
    options.instruments.stamps |= session.profile;
    let session = SessionOptions {
        checks: options.instruments.checks.then_some(CheckOptions::ALL),
        ..session
    };
    let planned = pipeline::plan_both(&loaded, &options);
    let manifest = pipeline::manifest(&loaded, &planned, &options);
    let program = jit(&planned, manifest, perf_map().as_deref())?;
    let weights = Arc::new(loaded.weights);
    Ok(Session::new(program, weight_source(&weights), session)?)
}
