//! Links a compiled object with the runtime's archive, through the system's `cc`.
//!
//! The archive is carried by this program, so that it needs nothing but `cc`, wherever it is copied to. Code that nothing
//! reaches is left out; kernels and the runtime's own functions keep their names, for profilers and debuggers.

use std::env;
use std::process::{Command, Output};

use super::error::CompileError;
use super::object::Object;
use super::options::{ARCHIVE, ArtifactKind};
use super::staging::Staging;

/// The runtime's archive as `build.rs` made it, compressed.
static RUNTIME: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/runtime.a.lz4"));
/// Names of the runtime's own functions, one a line.
const RUNTIME_SYMBOLS: &str = include_str!(concat!(env!("OUT_DIR"), "/runtime.symbols"));

const OBJECT: &str = "graver.o";
const EXPORTS: &str = "exports.map";
const SYMBOLS: &str = "symbols.txt";
/// What a shared library shows: the interface, and the model, which the runtime asks libraries for. Everything else is its own, so that two
/// of them can be loaded side by side.
const EXPORTED: &str =
    "{ global: graver_*; local: graver_decode; graver_prefill; graver_main; *; };\n";

/// One function of every file of the archive that has some of the interface.
const WANTED: [&str; 2] = ["graver_open", "graver_generate"];

/// Arguments that an object has to be linked with, besides itself and [`ARCHIVE`].
pub fn link_arguments() -> Vec<&'static str> {
    let mpi = env!("GRAVER_MPI_LIBRARIES").split_whitespace();
    // The compiler's support library is linked in, since a system without a compiler may lack the shared one.
    let own = ["-static-libgcc", "-lpthread", "-ldl", "-lm"];
    mpi.chain(own).collect()
}

/// Whether the runtime that is linked knows MPI.
pub fn has_mpi() -> bool {
    cfg!(feature = "mpi")
}

/// The runtime's archive.
pub(super) fn archive() -> Vec<u8> {
    lz4_flex::decompress_size_prepended(RUNTIME).expect("build.rs compressed it")
}

/// Links `object` into the staged file `name`.
pub(super) fn link(
    object: &Object,
    kind: ArtifactKind,
    staging: &Staging,
    name: &str,
) -> Result<(), CompileError> {
    let symbols = object.symbols.join("\n") + "\n" + RUNTIME_SYMBOLS;
    let inputs = [
        (OBJECT, object.bytes.as_slice()),
        (ARCHIVE, &archive()),
        (SYMBOLS, symbols.as_bytes()),
        (EXPORTS, EXPORTED.as_bytes()),
    ];
    for (name, contents) in inputs {
        staging.write_part(name, contents)?;
    }
    let program = env::var("CC").ok().filter(|cc| !cc.is_empty());
    let program = program.unwrap_or_else(|| "cc".into());
    let done = command(&program, kind, staging, name).output();
    let done = done.map_err(|source| CompileError::NoLinker {
        program: program.clone(),
        source,
    })?;
    check(program, done)
}

fn command(program: &str, kind: ArtifactKind, staging: &Staging, name: &str) -> Command {
    let mut cc = Command::new(program);
    cc.env("LC_ALL", "C").current_dir(staging.outputs());
    cc.arg("-o").arg(format!("./{name}"));
    if kind == ArtifactKind::SharedLibrary {
        // The archive's functions are wanted although nothing in the object calls them.
        cc.args(["-shared", "-Wl,-Bsymbolic"]);
        cc.args(WANTED.map(|name| format!("-Wl,--undefined={name}")));
        let exports = Staging::part(EXPORTS);
        cc.arg(format!("-Wl,--version-script={exports}"));
        // Programs look for the library by its name, not by the path it had when they were linked.
        cc.args(["-Xlinker", "-soname", "-Xlinker", name]);
    }
    cc.args([OBJECT, ARCHIVE].map(Staging::part));
    // Without a build id, too, the same input gives the same bytes.
    cc.args([
        "-Wl,--build-id=none",
        "-Wl,--gc-sections",
        &format!("-Wl,--retain-symbols-file={}", Staging::part(SYMBOLS)),
        "-Wl,-z,noexecstack",
    ]);
    cc.args(link_arguments());
    cc
}

fn check(program: String, done: Output) -> Result<(), CompileError> {
    if done.status.success() {
        return Ok(());
    }
    Err(CompileError::Linker {
        program,
        status: done.status,
        stderr: String::from_utf8_lossy(&done.stderr).trim_end().into(),
    })
}
