//! Loading: source × purpose × quantised or not.
//!
//! In: where a model comes from, what it is loaded for, and the types its matrices are rounded to, if any. Out: a bound model,
//! and for every weight the bytes or, where nobody runs the model, how to make them.

use std::path::Path;

use graver_runtime::abi::Dtype;
use serde_json::Value;

use super::calibrate::worth_of_columns;
use super::loaded::{Activations, Loaded};
use crate::embedded;
use crate::spec::model::Model;
use crate::spec::{self, Spec};
use crate::weights::{
    self, Blob, Checkpoint, GgufModel, QuantPlan, RandomWeights, Source, Weights, WeightsError,
    split_kinds,
};

/// Where a model comes from.
#[derive(Clone, Debug)]
pub enum ModelSource<'a> {
    /// A checkpoint folder.
    Checkpoint {
        /// The folder.
        dir: &'a Path,
        /// A spec's file or name, instead of the built-in spec that matches `config.json`.
        spec: Option<&'a Path>,
        /// As for a GGUF file, where the folder has integers.
        floats: bool,
    },
    /// A model in a GGUF file, or in several of which this is one.
    Gguf {
        /// The file.
        path: &'a Path,
        /// A spec's file or name, instead of the built-in spec that takes the architecture.
        spec: Option<&'a Path>,
        /// Whether all weights become floats; otherwise those in blocks of integers may be packed, if that loses nothing, so that
        /// what they are multiplied with is rounded to int8.
        floats: bool,
    },
    /// The checkpoint inside the program.
    Embedded,
    /// A spec with sizes, whose weights are drawn.
    Random {
        /// The spec.
        spec: &'a Spec,
        /// The sizes: a preset's, or those of a `config.json`.
        config: Value,
        /// Decides all weights.
        seed: u64,
        /// Type of matrices; by the model's size if not given.
        dtype: Option<Dtype>,
    },
}

impl<'a> ModelSource<'a> {
    /// A spec with the sizes of one of its presets, and weights from a seed.
    ///
    /// # Errors
    /// Unknown presets.
    pub fn preset(spec: &'a Spec, preset: &str, seed: u64) -> Result<Self, spec::Error> {
        let config = spec.preset(preset)?;
        Ok(ModelSource::Random {
            spec,
            config,
            seed,
            dtype: None,
        })
    }
}

/// What a model is loaded for, which decides when the bytes of its weights are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To run it in this process: all weights are in memory or mapped.
    Run,
    /// To write it out: random weights are drawn, and matrices packed, while they are written.
    Write,
    /// To look at its shapes: no weights are made at all, so that any size takes no time. A folder's weights are mapped where
    /// it has some, since their types decide the code; one that has only a `config.json` is a shape as well.
    Inspect,
}

/// Long work on weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadStage {
    /// Making floats of weights in other formats.
    Convert,
    /// Rounding matrices to integers.
    Quantize,
}

/// Hears of long work: how many bytes there are in all, and how many more are done since it was last called.
pub type LoadProgress<'a> = &'a (dyn Fn(LoadStage, usize, usize) + Sync);

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A spec or a config.
    #[error(transparent)]
    Spec(#[from] spec::Error),
    /// A checkpoint.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// Loads a model for `purpose`, its matrices rounded where `quantize` says to what.
///
/// # Errors
/// Anything wrong with spec, config or weights.
pub fn load(
    source: &ModelSource<'_>,
    purpose: Purpose,
    quantize: Option<&QuantPlan>,
    progress: LoadProgress<'_>,
) -> Result<Loaded, LoadError> {
    let (mut model, source) = bind(source, purpose)?;
    let convert = |all, more| progress(LoadStage::Convert, all, more);
    let weights = weights::resolve_with(&model, source, &convert)?;
    split_kinds(&mut model, &weights);
    let activations = Activations::default();
    let stored = Loaded {
        model,
        weights,
        activations,
    };
    match quantize {
        Some(plan) => Ok(stored.quantized(plan, purpose, progress)?),
        None => Ok(stored),
    }
}

/// The model that a source describes, and where its weights are found.
fn bind(source: &ModelSource<'_>, purpose: Purpose) -> Result<(Model, Source), LoadError> {
    match source {
        ModelSource::Embedded => bind_checkpoint(embedded::checkpoint()?, None),
        ModelSource::Checkpoint { dir, spec, .. }
            if purpose == Purpose::Inspect && !Checkpoint::has_weights(dir) =>
        {
            let config = spec::read_config(&dir.join("config.json"))?;
            bind_random(&spec_for(&config, *spec)?, &config, 0, None, purpose)
        }
        ModelSource::Gguf { path, spec, floats } => bind_gguf(path, *spec, *floats, purpose),
        ModelSource::Checkpoint { dir, spec, floats } => {
            let checkpoint = Checkpoint {
                packs: !floats,
                ..Checkpoint::open(dir)?
            };
            bind_checkpoint(checkpoint, *spec)
        }
        ModelSource::Random {
            spec,
            config,
            seed,
            dtype,
        } => bind_random(spec, config, *seed, *dtype, purpose),
    }
}

fn bind_checkpoint(
    checkpoint: Checkpoint,
    spec: Option<&Path>,
) -> Result<(Model, Source), LoadError> {
    let spec = spec_for(&checkpoint.config, spec)?;
    let model = spec.bind(&checkpoint.config)?;
    Ok((model, Source::Checkpoint(checkpoint)))
}

fn bind_gguf(
    path: &Path,
    spec: Option<&Path>,
    floats: bool,
    purpose: Purpose,
) -> Result<(Model, Source), LoadError> {
    let files = GgufModel::open(path)?;
    let facts = files.facts()?;
    let (spec, config) = match spec {
        Some(named) => spec::load_named(named)?.of_gguf(&facts)?,
        None => spec::for_gguf(&facts)?,
    };
    let model = spec.bind(&config)?;
    let checkpoint = Checkpoint {
        is_shape: purpose == Purpose::Inspect,
        ..Checkpoint::of_gguf(files, config, !floats)
    };
    Ok((model, Source::Checkpoint(checkpoint)))
}

fn bind_random(
    spec: &Spec,
    config: &Value,
    seed: u64,
    dtype: Option<Dtype>,
    purpose: Purpose,
) -> Result<(Model, Source), LoadError> {
    let model = spec.bind(config)?;
    let dtype = dtype.unwrap_or_else(|| RandomWeights::default_dtype(&model));
    let random = RandomWeights::new(seed, dtype);
    let source = match purpose {
        Purpose::Run => Source::Random(random),
        Purpose::Write | Purpose::Inspect => Source::Shapes(random),
    };
    Ok((model, source))
}

/// The spec that was named, or else the built-in one that matches a config.
fn spec_for(config: &Value, named: Option<&Path>) -> Result<Spec, spec::Error> {
    match named {
        Some(named) => spec::load_named(named),
        None => spec::for_config(config),
    }
}

impl Loaded {
    /// The model with its matrices rounded to integers in groups, for the purpose that it was loaded for.
    ///
    /// # Errors
    /// No memory for the packed weights; weights that are not finite, or too large for the type; a rule that fits no matrix.
    pub fn quantized(
        self,
        plan: &QuantPlan,
        purpose: Purpose,
        progress: LoadProgress<'_>,
    ) -> Result<Loaded, WeightsError> {
        let reads = purpose != Purpose::Inspect && !plan.calibration.is_empty();
        let is_there = |w: &Weights| w.views().all(|view| w.is_there(view));
        let worth = match reads && is_there(&self.weights) {
            true => worth_of_columns(&self, &plan.calibration),
            false => vec![],
        };
        let Loaded {
            mut model,
            weights,
            activations,
        } = self;
        let weights = Weights { worth, ..weights };
        let pack = |all, more| progress(LoadStage::Quantize, all, more);
        let weights = match purpose {
            Purpose::Run => weights::quantize(&model, weights, plan, &pack)?,
            Purpose::Write => weights::quantize_when_written(&model, weights, plan)?,
            Purpose::Inspect => {
                let plan = weights::plan_quantized(&model, &weights, plan)?;
                plan.into_weights(weights, Blob::Empty)
            }
        };
        // A rule about some layers of a kind makes others of them.
        split_kinds(&mut model, &weights);
        Ok(Loaded {
            model,
            weights,
            activations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::SpecSource;
    use graver_runtime::abi::{Encoding, Quant};

    /// What code is made from: of every slot its name, encoding, stride and size.
    fn slots(loaded: &Loaded) -> Vec<(String, Encoding, usize, usize)> {
        let views = loaded.weights.views();
        views
            .map(|v| (v.slot.clone(), v.encoding, v.row_stride_bytes, v.bytes))
            .collect()
    }

    fn held_bytes(loaded: &Loaded) -> usize {
        let blobs = loaded.weights.blobs.iter();
        blobs.map(|b| b.as_bytes().len()).sum()
    }

    #[test]
    fn all_purposes_give_the_same_slots_of_every_source() {
        let spec = spec::load(SpecSource::Builtin("qwen3")).unwrap();
        let random = ModelSource::preset(&spec, "tiny", 3).unwrap();
        let mut plan = QuantPlan::from(Quant::Q4);
        plan.rules = ["head=q8", "layers.1=none", "*.mlp.down=q8"]
            .map(|r| r.parse().unwrap())
            .to_vec();
        for source in [ModelSource::Embedded, random] {
            for quantize in [None, Some(&plan)] {
                let load = |purpose| load(&source, purpose, quantize, &|_, _, _| {}).unwrap();
                let run = load(Purpose::Run);
                let (write, inspect) = (load(Purpose::Write), load(Purpose::Inspect));
                assert_eq!(slots(&write), slots(&run), "{quantize:?}");
                assert_eq!(slots(&inspect), slots(&run), "{quantize:?}");
                assert!(held_bytes(&run) >= run.weights.total_bytes());
                if quantize.is_some() || matches!(source, ModelSource::Random { .. }) {
                    assert!(held_bytes(&write) < write.weights.total_bytes());
                }
            }
        }
    }

    #[test]
    fn a_folder_with_a_config_alone_is_a_shape_and_cannot_be_run() {
        let spec = spec::load(SpecSource::Builtin("llama")).unwrap();
        let mut config = spec.preset("tiny").unwrap();
        config["model_type"] = "llama".into();
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
        let source = ModelSource::Checkpoint {
            dir,
            spec: None,
            floats: false,
        };
        let shape = load(&source, Purpose::Inspect, None, &|_, _, _| {}).unwrap();
        let tiny = ModelSource::preset(&spec, "tiny", 0).unwrap();
        let tiny = load(&tiny, Purpose::Inspect, None, &|_, _, _| {}).unwrap();
        assert_eq!(slots(&shape), slots(&tiny));
        for purpose in [Purpose::Run, Purpose::Write] {
            let refused = load(&source, purpose, None, &|_, _, _| {}).unwrap_err();
            assert!(matches!(
                refused,
                LoadError::Weights(WeightsError::NoWeights { .. })
            ));
        }
    }
}
