//! A model that has been found and not yet been loaded.

use std::path::{Path, PathBuf};

use graver_runtime::abi::CacheType;
use graver_runtime::files::shown;
use graver_runtime::text::LoadedText;
use graver_runtime::tokenizer::{Missing, Source};
use serde_json::Value;

use super::compiled::Compiled;
use super::error::Error;
use super::model_error::ModelError;
use super::options::Options;
use crate::driver::{self, Activations, LoadProgress, Loaded, ModelSource, Purpose};
use crate::explain::{Explanation, explain};
use crate::named::{self, Named};
use crate::spec::{self, Spec, SpecSource};
use crate::summary::{Summary, summarize};
use crate::verify::oracle::{OracleReport, against_interpreter, any_tokens};
use crate::weights::QuantPlan;
use crate::{embedded, text};

/// Sizes of a spec that nobody chose: those of this preset.
const TINY: &str = "tiny";
/// Tokens that [`Model::verify`] computes: more than one tile of queries, and than one step of decode.
const VERIFIED: usize = 80;

/// A model: a checkpoint folder, a GGUF file, a spec with random weights, or the small model inside the program.
///
/// ```
/// use graver::{Model, Options};
///
/// let model = Model::open("llama:3.1-8b")?;
/// // Shapes alone: nothing is drawn, so that any size takes no time.
/// let summary = model.summary(&Options::default())?;
/// assert_eq!(summary.parameters, 8_030_261_248);
/// # Ok::<(), graver::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Model {
    name: PathBuf,
    named: Named,
    /// A spec instead of the built-in one that fits the checkpoint.
    spec: Option<PathBuf>,
    /// Of a spec.
    sizes: Sizes,
    seed: Option<u64>,
}

/// Where a spec's sizes come from.
#[derive(Clone, Debug)]
enum Sizes {
    /// One of its presets; `tiny` if none is chosen.
    Preset(Option<String>),
    /// A `config.json`, and its path.
    Config(Value, PathBuf),
}

impl Model {
    /// Finds a model: a checkpoint folder, a `.gguf` file or a folder with one, a spec (built in, or a file) with random weights,
    /// `SPEC:PRESET`, or `owner/name` of a model in Hugging Face's cache. Nothing large is read yet.
    ///
    /// # Errors
    /// A path that is no model, with what was probably meant.
    pub fn open(path: impl AsRef<Path>) -> Result<Model, Error> {
        let path = path.as_ref();
        Ok(Model::new(path, named::find(path)?))
    }

    /// The model of 0.7 million parameters inside the program.
    pub fn built_in() -> Model {
        Model::new(Path::new(embedded::NAME), Named::Embedded)
    }

    /// A spec given as JSON, with random weights.
    ///
    /// # Errors
    /// A spec with a mistake, with its place.
    pub fn from_spec(name: &str, json: &str) -> Result<Model, Error> {
        let spec = spec::load(SpecSource::Text { name, text: json })?;
        Ok(Model::new(Path::new(name), Named::Spec(spec, None)))
    }

    /// The shape that a `config.json` describes, with random weights, by the built-in spec that takes it.
    ///
    /// # Errors
    /// A file that cannot be read, and a `model_type` that no built-in spec takes.
    pub fn from_config(path: impl AsRef<Path>) -> Result<Model, Error> {
        let path = path.as_ref();
        let config = spec::read_config(path)?;
        let spec = spec::for_config(&config)?;
        let model = Model::new(path, Named::Spec(spec, None));
        Ok(Model {
            sizes: Sizes::Config(config, path.into()),
            ..model
        })
    }

    fn new(name: &Path, named: Named) -> Model {
        let preset = match &named {
            Named::Spec(_, preset) => preset.clone(),
            Named::Embedded | Named::Folder(_) | Named::Gguf(_) => None,
        };
        Model {
            name: name.into(),
            named,
            spec: None,
            sizes: Sizes::Preset(preset),
            seed: None,
        }
    }

    /// The same checkpoint by another spec: a file, or the name of a built-in one.
    ///
    /// # Errors
    /// Models that are specs themselves, or the built-in one; files that are not there.
    pub fn with_spec(self, spec: impl Into<PathBuf>) -> Result<Model, Error> {
        let spec = spec.into();
        match &self.named {
            Named::Folder(_) | Named::Gguf(_) => {
                spec::load_named(&spec)?;
                let spec = Some(spec);
                Ok(Model { spec, ..self })
            }
            Named::Embedded | Named::Spec(..) => {
                let what = self.named.what();
                Err(ModelError::Spec { spec, what }.into())
            }
        }
    }

    /// The same spec with the sizes of one of its presets.
    ///
    /// # Errors
    /// Models that have sizes of their own.
    pub fn with_preset(self, preset: &str) -> Result<Model, Error> {
        let preset = preset.to_string();
        match (&self.named, &self.sizes) {
            (Named::Spec(_, None), Sizes::Preset(_)) => Ok(Model {
                sizes: Sizes::Preset(Some(preset)),
                ..self
            }),
            (Named::Spec(_, Some(name)), _) => {
                let name = name.clone();
                Err(ModelError::TwoPresets { name, preset }.into())
            }
            (Named::Spec(..), Sizes::Config(..)) => {
                let what = "a configuration";
                Err(ModelError::Preset { preset, what }.into())
            }
            (Named::Embedded | Named::Folder(_) | Named::Gguf(_), _) => {
                let what = self.named.what();
                Err(ModelError::Preset { preset, what }.into())
            }
        }
    }

    /// The same spec with the sizes of a `config.json`.
    ///
    /// # Errors
    /// Models that have sizes of their own, and files that cannot be read.
    pub fn with_config(self, config: impl Into<PathBuf>) -> Result<Model, Error> {
        let path = config.into();
        match &self.named {
            Named::Spec(_, None) => Ok(Model {
                sizes: Sizes::Config(spec::read_config(&path)?, path),
                ..self
            }),
            named => {
                let what = match named {
                    Named::Spec(..) => "a preset",
                    Named::Embedded | Named::Folder(_) | Named::Gguf(_) => named.what(),
                };
                Err(ModelError::Config { config: path, what }.into())
            }
        }
    }

    /// The same spec with weights drawn from another seed than 0.
    ///
    /// # Errors
    /// Models that have weights of their own.
    pub fn with_seed(self, seed: u64) -> Result<Model, Error> {
        if !self.has_random_weights() {
            let what = self.named.what();
            return Err(ModelError::Seed { what }.into());
        }
        let seed = Some(seed);
        Ok(Model { seed, ..self })
    }

    /// What it was called when it was opened.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// What to call it in a table: a folder or file, or a spec with the name of its sizes.
    pub fn label(&self) -> String {
        let name = shown(&self.name).to_string();
        match (&self.named, &self.sizes) {
            (Named::Spec(spec, _), Sizes::Config(_, path)) => {
                format!("{} {}", spec.name(), shown(path))
            }
            (Named::Spec(_, None), Sizes::Preset(preset)) => {
                format!("{name} {}", preset.as_deref().unwrap_or(TINY))
            }
            (Named::Spec(_, Some(preset)), Sizes::Preset(_)) => {
                let spec = name.strip_suffix(&format!(":{preset}")).unwrap_or(&name);
                format!("{spec} {preset}")
            }
            (Named::Embedded | Named::Folder(_) | Named::Gguf(_), _) => name,
        }
    }

    /// What the name stands for.
    pub fn named(&self) -> &Named {
        &self.named
    }

    /// Whether weights are drawn from a seed.
    pub fn has_random_weights(&self) -> bool {
        matches!(self.named, Named::Spec(..))
    }

    /// Compiles the model for this processor, with its weights in memory or mapped.
    ///
    /// # Errors
    /// Anything wrong with spec, configuration or weights; passes that do not exist; systems that forbid running code that was made
    /// in memory.
    pub fn compile(&self, options: Options) -> Result<Compiled, Error> {
        crate::artifact::check_jit()?;
        let compile = options.compile()?;
        let text = self.text()?;
        let mut loaded = self.load(
            Purpose::Run,
            options.quantize.as_ref(),
            options.floats,
            &|_, _, _| {},
        )?;
        loaded = loaded.with_activations(options.activations)?;
        loaded.model.eos = text.eos_with(&loaded.model.eos);
        Compiled::new(loaded, &compile, text.tokenizer)
    }

    /// Every candidate of every pass: fused or not, and why.
    ///
    /// # Errors
    /// As [`Model::compile`].
    pub fn explain(&self, options: &Options) -> Result<Explanation, Error> {
        let compile = options.compile()?;
        let loaded = self.shapes(options)?;
        Ok(explain(&loaded, &compile.passes, compile.cache))
    }

    /// What the model is made of and what its steps cost, by its shapes.
    ///
    /// # Errors
    /// As [`Model::compile`].
    pub fn summary(&self, options: &Options) -> Result<Summary, Error> {
        let compile = options.compile()?;
        let loaded = self.shapes(options)?;
        Ok(summarize(&self.label(), &loaded, &compile, None))
    }

    /// Compares the compiled code with the plain interpreter, pass by pass, on tokens that stand for nothing.
    ///
    /// # Errors
    /// As [`Model::compile`]; and options that round weights or state, which differ from the interpreter by more than its tolerance.
    pub fn verify(&self, options: &Options) -> Result<OracleReport, Error> {
        let compile = options.compile()?;
        let rounds = options.quantize.is_some() || compile.cache != CacheType::F32;
        if rounds || options.activations != Activations::F32 {
            return Err(Error::Rounded);
        }
        let loaded = self.load(Purpose::Run, None, options.floats, &|_, _, _| {})?;
        loaded
            .weights
            .check_finite()
            .map_err(driver::LoadError::from)?;
        let n = loaded.model.context.min(VERIFIED);
        let tokens = any_tokens(n, loaded.model.vocab);
        Ok(against_interpreter(
            loaded,
            &compile,
            &tokens,
            None,
            &mut |_| {},
        )?)
    }

    /// The model with its shapes alone.
    fn shapes(&self, options: &Options) -> Result<Loaded, Error> {
        let loaded = self.load(
            Purpose::Inspect,
            options.quantize.as_ref(),
            options.floats,
            &|_, _, _| {},
        )?;
        Ok(loaded.with_activations(options.activations)?)
    }

    /// Loads it for `purpose`, its matrices rounded where `quantize` says to what. `floats` makes floats of a GGUF file's integers.
    ///
    /// # Errors
    /// Anything wrong with spec, configuration or weights.
    pub fn load(
        &self,
        purpose: Purpose,
        quantize: Option<&QuantPlan>,
        floats: bool,
        progress: LoadProgress<'_>,
    ) -> Result<Loaded, Error> {
        let source = self.source(floats)?;
        Ok(driver::load(&source, purpose, quantize, progress)?)
    }

    fn source(&self, floats: bool) -> Result<ModelSource<'_>, Error> {
        let spec = self.spec.as_deref();
        Ok(match &self.named {
            Named::Embedded => ModelSource::Embedded,
            Named::Folder(dir) => ModelSource::Checkpoint { dir, spec, floats },
            Named::Gguf(path) => ModelSource::Gguf { path, spec, floats },
            Named::Spec(spec, _) => self.random(spec)?,
        })
    }

    fn random<'a>(&self, spec: &'a Spec) -> Result<ModelSource<'a>, Error> {
        let seed = self.seed.unwrap_or(0);
        Ok(match &self.sizes {
            Sizes::Preset(preset) => {
                ModelSource::preset(spec, preset.as_deref().unwrap_or(TINY), seed)?
            }
            Sizes::Config(config, _) => ModelSource::Random {
                spec,
                config: config.clone(),
                seed,
                dtype: None,
            },
        })
    }

    /// What is known of text: where the tokenizer is, and the tokens that end one.
    ///
    /// # Errors
    /// Files that cannot be read, or are not what they should be.
    pub fn text(&self) -> Result<LoadedText, Error> {
        let tokenizer = match &self.named {
            Named::Folder(folder) => return Ok(text::folder_text(folder)?),
            Named::Gguf(path) => return Ok(text::gguf_text(path).map_err(driver::LoadError::from)?),
            Named::Spec(..) => Source::Missing(Missing::Spec {
                name: shown(&self.name).to_string(),
            }),
            Named::Embedded => embedded::tokenizer(),
        };
        let eos = vec![];
        Ok(LoadedText { tokenizer, eos })
    }
}
