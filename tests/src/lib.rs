//! What the tests share: opening a checkpoint or preset and compiling it in memory; filetests.

pub mod arena;
pub mod browser;
pub mod converted;
pub mod filetest;
pub mod fuzz;
pub mod gguf;
pub mod http;
pub mod mixture;
pub mod programs;
pub mod share;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use graver::codegen::Instruments;
use graver::driver::{self, CompileOptions, LoadError, Loaded, ModelSource, Purpose};
use graver::passes::PassOptions;
use graver::spec::{self, Spec, SpecSource};
use graver::weights::{QuantPlan, Weights};
use graver_runtime::abi::{CacheType, Dtype};
use graver_runtime::session::{Program, Session, SessionOptions};
use serde_json::Value;

/// The folder of committed checkpoints with golden logits.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The checkpoint folders of [`fixtures`], in order.
pub fn fixture_folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixtures()).expect("the folder is committed");
    let paths = entries.map(|e| e.expect("a readable entry").path());
    let mut folders: Vec<PathBuf> = paths.filter(|p| p.join("config.json").is_file()).collect();
    folders.sort();
    folders
}

/// Compiles for this processor with f32 state.
pub fn compile(loaded: Loaded, passes: PassOptions, session: SessionOptions) -> Session {
    compile_with(loaded, passes, CacheType::F32, session)
}

/// Compiles for this processor.
pub fn compile_with(
    loaded: Loaded,
    passes: PassOptions,
    cache: CacheType,
    session: SessionOptions,
) -> Session {
    let options = CompileOptions {
        instruments: Instruments {
            verified: true,
            ..Instruments::default()
        },
        ..compile_options(passes, cache)
    };
    driver::open(loaded, &options, session).expect("a session")
}

/// Choices for code that runs on this processor.
pub fn compile_options(passes: PassOptions, cache: CacheType) -> CompileOptions {
    CompileOptions {
        passes,
        cache,
        ..CompileOptions::native().expect("always known")
    }
}

/// Code for this processor with its weights, for sessions that differ in their threads.
pub struct Compiled {
    program: Program,
    weights: Arc<Weights>,
}

impl Compiled {
    /// Compiles with f32 state, all fusions or none.
    pub fn new(mut loaded: Loaded, no_fuse: bool) -> Compiled {
        let passes = PassOptions {
            no_fuse,
            ..PassOptions::default()
        };
        let mut options = compile_options(passes, CacheType::F32);
        options.instruments.verified = true;
        loaded.weights.settle();
        Compiled {
            program: driver::compile(&loaded, &options).expect("code for this processor"),
            weights: Arc::new(loaded.weights),
        }
    }

    /// A session with so many threads.
    pub fn session(&self, threads: usize) -> Session {
        let options = SessionOptions {
            threads: Some(threads),
            ..SessionOptions::default()
        };
        driver::start(self.program.clone(), &self.weights, options).expect("a session")
    }
}

/// A session with `threads` threads, with all fusions or none.
pub fn compile_for(loaded: Loaded, no_fuse: bool, threads: usize) -> Session {
    Compiled::new(loaded, no_fuse).session(threads)
}

/// A built-in spec's tiny preset with random weights.
pub fn tiny(name: &str) -> Loaded {
    let spec = spec::load(SpecSource::Builtin(name)).expect("a built-in spec");
    load_preset(&spec, "tiny", 0, None).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// A checkpoint folder, with the built-in spec that matches it.
///
/// # Errors
/// Anything wrong with it.
pub fn load_checkpoint(dir: &Path) -> Result<Loaded, LoadError> {
    let source = ModelSource::Checkpoint {
        dir,
        spec: None,
        // Goldens are of float activations.
        floats: true,
    };
    driver::load(&source, Purpose::Run, None, &|_, _, _| {})
}

/// A spec's preset with random weights.
///
/// # Errors
/// Unknown presets, and specs that do not add up.
pub fn load_preset(
    spec: &Spec,
    preset: &str,
    seed: u64,
    dtype: Option<Dtype>,
) -> Result<Loaded, LoadError> {
    let source = ModelSource::Random {
        spec,
        config: spec.preset(preset)?,
        seed,
        dtype,
    };
    driver::load(&source, Purpose::Run, None, &|_, _, _| {})
}

/// A spec with the sizes of a config and random weights.
///
/// # Errors
/// Specs that do not add up.
pub fn load_config(spec: &Spec, config: Value, seed: u64) -> Result<Loaded, LoadError> {
    let source = ModelSource::Random {
        spec,
        config,
        seed,
        dtype: None,
    };
    driver::load(&source, Purpose::Run, None, &|_, _, _| {})
}

/// A spec with the sizes of a config, and no weights.
///
/// # Errors
/// Specs that do not add up.
pub fn load_shapes(spec: &Spec, config: &Value, dtype: Option<Dtype>) -> Result<Loaded, LoadError> {
    let source = ModelSource::Random {
        spec,
        config: config.clone(),
        seed: 0,
        dtype,
    };
    driver::load(&source, Purpose::Inspect, None, &|_, _, _| {})
}

/// A loaded model with its matrices rounded.
///
/// # Panics
/// Without memory for the packed weights.
pub fn quantized(loaded: Loaded, plan: impl Into<QuantPlan>) -> Loaded {
    let packed = loaded.quantized(&plan.into(), Purpose::Run, &|_, _, _| {});
    packed.expect("memory for weights")
}
