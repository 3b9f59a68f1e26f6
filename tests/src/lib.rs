//! What the tests share: opening a checkpoint or preset and compiling it in memory; filetests.

pub mod arena;
pub mod filetest;
pub mod fuzz;
pub mod programs;
pub mod share;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use graver::artifact::{jit, weight_source};
use graver::codegen::{Instruments, Target};
use graver::passes::PassOptions;
use graver::pipeline::{self, CompileOptions, Loaded};
use graver::spec::{self, SpecSource};
use graver_runtime::abi::CacheType;
use graver_runtime::session::{Session, SessionOptions};

/// The folder of committed checkpoints with golden logits.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The folders of [`fixtures`], in order.
pub fn fixture_folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixtures()).expect("the folder is committed");
    let paths = entries.map(|e| e.expect("a readable entry").path());
    let mut folders: Vec<PathBuf> = paths.filter(|p| p.is_dir()).collect();
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
    let target = Target::named("native").expect("always known");
    let mut options = CompileOptions::new(passes, cache, target);
    options.instruments = Instruments {
        stamps: session.profile,
        checks: session.checks.is_some(),
        verified: true,
    };
    let planned = pipeline::plan_both(&loaded, &options);
    let manifest = pipeline::manifest(&loaded, &planned, &options);
    let program = jit(&planned, manifest, None).expect("code for this processor");
    let weights = Arc::new(loaded.weights);
    Session::new(program, weight_source(&weights), session).expect("a session")
}

/// The same for `threads` threads, with all fusions or none.
pub fn compile_for(loaded: Loaded, no_fuse: bool, threads: usize) -> Session {
    let passes = PassOptions {
        no_fuse,
        ..PassOptions::default()
    };
    let options = SessionOptions {
        threads: Some(threads),
        ..SessionOptions::default()
    };
    compile(loaded, passes, options)
}

/// A built-in spec's tiny preset with random weights.
pub fn tiny(name: &str) -> Loaded {
    let spec = spec::load(SpecSource::Builtin(name)).expect("a built-in spec");
    pipeline::load_preset(&spec, "tiny", 0, None).unwrap_or_else(|e| panic!("{name}: {e}"))
}
