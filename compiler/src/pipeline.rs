//! The whole line on one page: spec → graph → passes → schedule → memory → code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use graver_runtime::abi::{
    ABI_VERSION, BlobInfo, CacheType, Dtype, Encoding, KernelInfo, Manifest, ProgramInfo,
    StateInfo, WeightInfo,
};
use serde_json::Value;

use crate::agree;
use crate::codegen::{Instruments, Planned, Target};
use crate::graph::{Program, ProgramKind, Storage, build};
use crate::memory;
use crate::passes::{self, PassOptions, PassReport};
use crate::schedule::{max_tokens, query_tile, schedule};
use crate::spec::model::{Model, Section, Weight};
use crate::spec::{self, Spec, SpecSource};
use crate::weights::{
    self, Blob, Checkpoint, QuantChoice, RandomWeights, Source, Weights, WeightsError,
    resolve_with, split_kinds,
};

/// A bound model with its weights.
#[derive(Debug)]
pub struct Loaded {
    /// Numbers and structure.
    pub model: Model,
    /// Bytes.
    pub weights: Weights,
}

/// Choices of a compilation.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// Which passes run.
    pub passes: PassOptions,
    /// What keys and values are kept in.
    pub cache: CacheType,
    /// Processor.
    pub target: Target,
    /// What the code does beside computing.
    pub instruments: Instruments,
}

impl CompileOptions {
    /// Code that only computes.
    pub fn new(passes: PassOptions, cache: CacheType, target: Target) -> CompileOptions {
        CompileOptions {
            passes,
            cache,
            target,
            instruments: Instruments::default(),
        }
    }
}

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

/// Loads a checkpoint folder, with a spec of its own where one is given.
///
/// # Errors
/// Anything wrong with spec, config or weights.
pub fn load_checkpoint(dir: &Path, spec_file: Option<&Path>) -> Result<Loaded, LoadError> {
    load_checkpoint_with(dir, spec_file, &|_, _| {})
}

/// [`load_checkpoint`]; `progress` hears how many bytes of weights are to be converted in all, and how many more have been.
///
/// # Errors
/// As [`load_checkpoint`].
pub fn load_checkpoint_with(
    dir: &Path,
    spec_file: Option<&Path>,
    progress: weights::Progress<'_>,
) -> Result<Loaded, LoadError> {
    let checkpoint = Checkpoint::open(dir)?;
    let spec = match spec_file {
        Some(file) => spec::load(SpecSource::File(file))?,
        None => spec::for_config(&checkpoint.config)?,
    };
    let model = spec.bind(&checkpoint.config)?;
    finish_loading(model, Source::Checkpoint(checkpoint), progress)
}

/// Binds a spec to an opened checkpoint.
///
/// # Errors
/// Specs that do not add up with the config, and weights that are not what the model needs.
pub fn load_opened(checkpoint: Checkpoint, spec: &Spec) -> Result<Loaded, LoadError> {
    let model = spec.bind(&checkpoint.config)?;
    finish_loading(model, Source::Checkpoint(checkpoint), &|_, _| {})
}

/// Binds a spec to one of its presets, with random weights.
///
/// # Errors
/// Unknown presets, and specs that do not add up.
pub fn load_preset(
    spec: &Spec,
    preset: &str,
    seed: u64,
    dtype: Option<Dtype>,
) -> Result<Loaded, LoadError> {
    let config: Value = spec.preset(preset)?;
    let model = spec.bind(&config)?;
    let dtype = dtype.unwrap_or_else(|| RandomWeights::default_dtype(&model));
    let source = Source::Random(RandomWeights::new(seed, dtype));
    finish_loading(model, source, &|_, _| {})
}

/// [`load_preset`] without drawing the weights, which are drawn where they are written: for artifacts, at any size. Such a
/// model can be planned and written out, not run.
///
/// # Errors
/// Unknown presets, and specs that do not add up.
pub fn load_undrawn(
    spec: &Spec,
    preset: &str,
    seed: u64,
    dtype: Option<Dtype>,
) -> Result<Loaded, LoadError> {
    undrawn(spec, &spec.preset(preset)?, seed, dtype)
}

/// Binds a spec to a config (a preset's, or a checkpoint's) without weights: what `explain` and `inspect` need, at once at
/// any size. Such a model can be planned, not run.
///
/// # Errors
/// Specs that do not add up.
pub fn load_shapes(spec: &Spec, config: &Value, dtype: Option<Dtype>) -> Result<Loaded, LoadError> {
    undrawn(spec, config, 0, dtype)
}

fn undrawn(
    spec: &Spec,
    config: &Value,
    seed: u64,
    dtype: Option<Dtype>,
) -> Result<Loaded, LoadError> {
    let model = spec.bind(config)?;
    let dtype = dtype.unwrap_or_else(|| RandomWeights::default_dtype(&model));
    let source = Source::Shapes(RandomWeights::new(seed, dtype));
    finish_loading(model, source, &|_, _| {})
}

fn finish_loading(
    mut model: Model,
    source: Source,
    progress: weights::Progress<'_>,
) -> Result<Loaded, LoadError> {
    let weights = resolve_with(&model, source, progress)?;
    split_kinds(&mut model, &weights);
    Ok(Loaded { model, weights })
}

/// Rounds a model's matrices to integers in groups, and packs them in memory. `progress` hears how many bytes there are in
/// all, and how many more are written.
///
/// # Errors
/// No memory for the packed weights; weights that are not finite, or too large for the type.
pub fn quantize(
    loaded: Loaded,
    choice: QuantChoice,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Loaded, WeightsError> {
    let Loaded { model, weights } = loaded;
    let weights = weights::quantize(&model, weights, choice, progress)?;
    Ok(Loaded { model, weights })
}

/// [`quantize`] for a model that is written out: matrices are packed one after the other, when they are written.
///
/// # Errors
/// Weights that stay in floats and are not finite.
pub fn quantize_when_written(loaded: Loaded, choice: QuantChoice) -> Result<Loaded, WeightsError> {
    let Loaded { model, weights } = loaded;
    let weights = weights::quantize_when_written(&model, weights, choice)?;
    Ok(Loaded { model, weights })
}

/// The shapes that [`quantize`] would give, with nothing packed: for what looks at a program without running it.
pub fn quantize_shapes(loaded: Loaded, choice: QuantChoice) -> Loaded {
    let Loaded { model, weights } = loaded;
    let plan = weights::plan_quantized(&model, &weights, choice);
    let weights = plan.into_weights(weights, Blob::Empty);
    Loaded { model, weights }
}

/// The plain graph of a program.
///
/// # Panics
/// Where a rule of [`Program::verify`] or [`agree`] does not hold, here and in what follows: a mistake of ours, whatever a
/// user can cause being refused when spec and weights are read.
pub fn plain_program(loaded: &Loaded, kind: ProgramKind, cache: CacheType) -> Program {
    let storage =
        |section: Section, w: &Weight| match loaded.weights.find(&loaded.model, section, &w.slot) {
            Some(v) => Storage {
                encoding: v.encoding,
                row_stride: Some(v.row_stride_bytes),
                transposed: v.transposed,
            },
            None => Storage {
                encoding: Encoding::Float(Dtype::F32),
                row_stride: None,
                transposed: w.transposed,
            },
        };
    let program = build(&loaded.model, kind, cache, &storage);
    program.expect_valid("as it is built");
    agree::expect(agree::slots(&program, &loaded.weights), "as it is built");
    agree::expect(agree::sizes(&program, &loaded.model), "as it is built");
    program
}

/// From a graph to what code is made from.
pub fn plan(mut program: Program, options: &PassOptions) -> (Planned, Vec<PassReport>) {
    let reports = passes::run(&mut program, options);
    let schedule = schedule(&mut program);
    program.expect_valid("as it is scheduled");
    let memory = memory::plan(&program, &schedule);
    (
        Planned {
            program,
            schedule,
            memory,
            instruments: Instruments::default(),
        },
        reports,
    )
}

/// Both programs of a model.
pub fn plan_both(loaded: &Loaded, options: &CompileOptions) -> [Planned; 2] {
    let planned = [ProgramKind::Decode, ProgramKind::Prefill].map(|kind| Planned {
        instruments: options.instruments,
        ..plan(plain_program(loaded, kind, options.cache), &options.passes).0
    });
    let [decode, prefill] = planned.each_ref().map(|p| &p.program);
    agree::expect(agree::programs(decode, prefill), "as they are planned");
    planned
}

/// What the artifact says about itself; blobs are those of `loaded.weights`, in place.
pub fn manifest(
    loaded: &Loaded,
    planned: &[Planned; 2],
    options: &CompileOptions,
) -> Arc<Manifest> {
    let model = &loaded.model;
    let states = states(&planned[0].program);
    for program in planned.each_ref().map(|p| &p.program) {
        agree::expect(agree::states(program, &states), "in the manifest");
        agree::expect(agree::slots(program, &loaded.weights), "in the manifest");
    }
    let weights = loaded.weights.views().map(|v| WeightInfo {
        name: v.name.clone(),
        blob: v.blob,
        offset: v.offset_bytes,
        bytes: v.bytes,
    });
    let blob = |b: &crate::weights::Blob| BlobInfo {
        file: None,
        offset: 0,
        bytes: b.as_bytes().len(),
    };
    Arc::new(Manifest {
        abi: ABI_VERSION,
        compiler: env!("CARGO_PKG_VERSION").into(),
        spec: model.name.clone(),
        target: options.target.name.clone(),
        features: options.target.features.clone(),
        passes: options
            .passes
            .enabled()
            .iter()
            .map(|p| p.name.to_string())
            .collect(),
        vocab: model.vocab,
        hidden: model.hidden,
        layers: model.layers.len(),
        context: model.context,
        cache: options.cache,
        weight_types: weight_types(&loaded.weights),
        eos: model.eos.clone(),
        bos: model.bos,
        decode: program_info(&planned[0]),
        prefill: program_info(&planned[1]),
        length_switches: length_switches(model),
        states,
        weights: weights.collect(),
        blobs: loaded.weights.blobs.iter().map(blob).collect(),
    })
}

/// Kernels of all blocks, in the order in which time stamps count them.
fn kernel_infos(p: &Planned) -> Vec<KernelInfo> {
    let blocks = p.program.blocks.iter().zip(&p.schedule.blocks).enumerate();
    blocks
        .flat_map(|(i, (block, schedule))| {
            let prefix = p.program.place(i);
            schedule.kernels.iter().map(move |k| KernelInfo {
                at: format!("{prefix}.{}", k.name),
                op: block.graph.op(k.node).name().into(),
            })
        })
        .collect()
}

/// Bytes of every element type. What views of one tensor read is of one type.
fn weight_types(weights: &Weights) -> BTreeMap<String, usize> {
    let tensors: BTreeMap<usize, Encoding> =
        weights.views().map(|v| (v.tensor, v.encoding)).collect();
    let mut types = BTreeMap::new();
    for (tensor, encoding) in tensors {
        *types.entry(encoding.to_string()).or_insert(0) += weights.tensors[tensor].bytes;
    }
    types
}

/// Lengths at which a rotary embedding changes, ascending.
fn length_switches(model: &Model) -> Vec<usize> {
    let long = model.ropes.iter().filter_map(|r| r.long.as_ref());
    let lengths: BTreeSet<usize> = long.map(|l| l.above).collect();
    lengths.into_iter().collect()
}

fn program_info(p: &Planned) -> ProgramInfo {
    ProgramInfo {
        max_tokens: max_tokens(p.program.kind),
        arena_bytes: p.memory.arena_bytes,
        arena_bytes_per_position: p.memory.arena_bytes_per_position,
        scratch_bytes: p.memory.scratch_bytes,
        query_tile: query_tile(p.program.kind),
        kernels: if p.instruments.stamps {
            kernel_infos(p)
        } else {
            vec![]
        },
    }
}

/// Keys, values and recurrent states of every layer, in the order of the state table.
pub fn states(program: &Program) -> Vec<StateInfo> {
    let mut out = vec![];
    for (i, block) in program.layers.iter().enumerate() {
        if program.sources[i].is_some() {
            continue;
        }
        for s in &program.blocks[*block].graph.states {
            for (side, bytes_per_position) in s.buffers() {
                let name = format!("layers.{i}.{}.{side}", s.name);
                out.push(StateInfo {
                    name,
                    bytes_per_position,
                    fixed_bytes: 0,
                    ring: s.ring,
                });
            }
        }
        let recurrent = &program.blocks[*block].graph.recurrent;
        out.extend(recurrent.iter().map(|r| StateInfo {
            name: format!("layers.{i}.{}", r.name),
            bytes_per_position: 0,
            fixed_bytes: r.bytes(),
            ring: None,
        }));
    }
    out
}
