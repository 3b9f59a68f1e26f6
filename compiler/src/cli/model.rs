//! The MODEL argument: a checkpoint folder, or a spec with random weights; and how it is compiled.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use graver::artifact::{jit, weight_source};
use graver::codegen::Target;
use graver::passes::PassOptions;
use graver::pipeline::{self, CompileOptions, Loaded};
use graver::spec::{self, Spec, SpecSource};
use graver_runtime::session::{Session, SessionOptions};

use super::quant::QuantArgs;

/// Which model, and how it is compiled.
#[derive(Args, Clone, Debug)]
pub(crate) struct ModelArgs {
    /// A checkpoint folder, or a spec (a file, or the name of a built-in one) with random weights
    pub(crate) model: String,
    /// Spec to use instead of the built-in one that matches config.json
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Sizes to use where MODEL is a spec
    #[arg(long, value_name = "NAME", default_value = "tiny")]
    preset: String,
    /// Seed of random weights
    #[arg(long, value_name = "S", default_value_t = 0)]
    weights_seed: u64,
    #[command(flatten)]
    passes: PassArgs,
    #[command(flatten)]
    pub(crate) quant: QuantArgs,
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
    pub(crate) fn load(&self) -> Result<Loaded, Box<dyn std::error::Error>> {
        Ok(self.quant.apply(self.load_unquantized()?)?)
    }

    /// The model as it is stored.
    pub(crate) fn load_unquantized(&self) -> Result<Loaded, Box<dyn std::error::Error>> {
        let path = Path::new(&self.model);
        if path.is_dir() {
            return Ok(pipeline::load_checkpoint(path, self.spec.as_deref())?);
        }
        let spec = self.named_spec()?;
        Ok(pipeline::load_preset(
            &spec,
            &self.preset,
            self.weights_seed,
            None,
        )?)
    }

    /// The model for writing it out: random weights are drawn on the way.
    pub(crate) fn load_to_write(&self) -> Result<Loaded, Box<dyn std::error::Error>> {
        // Quantising needs the numbers.
        if Path::new(&self.model).is_dir() || self.quant.choice().is_some() {
            return self.load();
        }
        let spec = self.named_spec()?;
        Ok(pipeline::load_undrawn(
            &spec,
            &self.preset,
            self.weights_seed,
            None,
        )?)
    }

    /// What to call the model: a folder, or a spec with the name of its sizes.
    pub(crate) fn label(&self) -> String {
        match Path::new(&self.model).is_dir() {
            true => self.model.clone(),
            false => format!("{} {}", self.model, self.preset),
        }
    }

    /// The same choices for another model; `SPEC:PRESET` names a built-in spec's sizes too.
    pub(crate) fn with_model(&self, model: &str) -> ModelArgs {
        let mut other = ModelArgs {
            model: model.into(),
            spec: None,
            ..self.clone()
        };
        if let Some((spec, preset)) = model
            .rsplit_once(':')
            .filter(|_| !Path::new(model).exists())
        {
            (other.model, other.preset) = (spec.into(), preset.into());
        }
        other
    }

    /// The model without the bytes of its weights where it has none on disk: at once, whatever its size.
    ///
    /// A folder's weights are mapped, since their types decide the code; one that has only a config.json is a shape.
    pub(crate) fn load_shapes(&self) -> Result<Loaded, Box<dyn std::error::Error>> {
        Ok(self.quant.apply_to_shapes(self.load_stored_shapes()?))
    }

    fn load_stored_shapes(&self) -> Result<Loaded, Box<dyn std::error::Error>> {
        let path = Path::new(&self.model);
        if !path.is_dir() {
            let spec = self.named_spec()?;
            let config = spec.preset(&self.preset)?;
            return Ok(pipeline::load_shapes(&spec, &config, None)?);
        }
        let weights = ["model.safetensors", "model.safetensors.index.json"];
        if weights.iter().any(|f| path.join(f).exists()) {
            return self.load_unquantized();
        }
        let config = spec::read_config(&path.join("config.json"))?;
        let spec = match &self.spec {
            Some(file) => spec::load(SpecSource::File(file))?,
            None => spec::for_config(&config)?,
        };
        Ok(pipeline::load_shapes(&spec, &config, None)?)
    }

    fn named_spec(&self) -> Result<Spec, spec::Error> {
        match spec::builtin_names().contains(&self.model.as_str()) {
            true => spec::load(SpecSource::Builtin(&self.model)),
            false => spec::load(SpecSource::File(Path::new(&self.model))),
        }
    }

    pub(crate) fn passes(&self) -> Result<PassOptions, Box<dyn std::error::Error>> {
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
    pub(crate) fn options(&self) -> Result<CompileOptions, Box<dyn std::error::Error>> {
        self.options_for(Target::named("native")?)
    }

    pub(crate) fn options_for(
        &self,
        target: Target,
    ) -> Result<CompileOptions, Box<dyn std::error::Error>> {
        Ok(CompileOptions {
            passes: self.passes()?,
            cache: self.quant.cache(),
            target,
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
) -> Result<Session, Box<dyn std::error::Error>> {
    let mut planned = pipeline::plan_both(&loaded, options);
    for p in &mut planned {
        p.stamps = session.profile;
    }
    let manifest = pipeline::manifest(&loaded, &planned, options);
    let program = jit(&planned, manifest, perf_map().as_deref())?;
    let weights = Arc::new(loaded.weights);
    Ok(Session::new(program, weight_source(&weights), session)?)
}
