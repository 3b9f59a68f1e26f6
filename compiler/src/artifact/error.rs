//! What can go wrong between planned programs and files.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use cranelift_module::ModuleError;
use cranelift_object::object::write::Error as ObjectError;
use graver_runtime::files::shown;
use graver_runtime::info::Size;

use crate::codegen::TargetError;
use crate::weights::WeightsError;

/// Why an artifact was not written. Nothing of it stays behind.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The processor.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Cranelift.
    #[error("code generation failed: {0}")]
    Module(#[from] Box<ModuleError>),
    /// The object file.
    #[error("cannot write the object file: {0}")]
    Object(ObjectError),
    /// An output with a name that cannot be a file's.
    #[error(
        "{}: expected an output name in UTF-8; choose another with -o",
        shown(path)
    )]
    Name {
        /// The output.
        path: PathBuf,
    },
    /// An output that is a folder.
    #[error("{}: is a folder; choose an output file with -o FILE", shown(path))]
    IsFolder {
        /// The output.
        path: PathBuf,
    },
    /// An output that is a device, a pipe or the like.
    #[error(
        "{}: is not a regular file; choose another output with -o FILE",
        shown(path)
    )]
    NotAFile {
        /// The output.
        path: PathBuf,
    },
    /// A folder that nothing can be written to.
    #[error(
        "{}: cannot create a file in this folder: {source}; choose another output with -o FILE",
        shown(folder)
    )]
    Folder {
        /// Folder of the output.
        folder: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file system without room for the output.
    #[error(
        "{}: the weights need {}, but only {} is free in this folder; free some space, write elsewhere with -o FILE, or quantise (--quantize q4)",
        shown(folder),
        Size(*bytes as usize),
        Size(*free as usize)
    )]
    NoRoom {
        /// Folder of the output.
        folder: PathBuf,
        /// Bytes of the weights.
        bytes: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// An output that cannot be written.
    #[error("{}: cannot write it: {source}; no output is left", shown(path))]
    Write {
        /// The output.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Weights that cannot be written as they should be.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// An output that cannot be written, and another one that cannot be taken back.
    #[error(
        "{}: cannot write it: {source}; {} has been written and cannot be undone: {reason}; the previous version is in {}",
        shown(path),
        shown(stuck),
        shown(kept)
    )]
    NotUndone {
        /// The output.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
        /// What stays.
        stuck: PathBuf,
        /// Why.
        reason: io::Error,
        /// Where its older version is, if there was one.
        kept: PathBuf,
    },
    /// An output whose name is that of a file beside it.
    #[error(
        "{}: is also the name of a file written beside the output; choose another output with -o FILE",
        shown(path)
    )]
    SameName {
        /// The output.
        path: PathBuf,
    },
    /// No C compiler.
    #[error(
        "cannot run `{program}`, which links the output: {source}; install a C compiler (gcc or clang), or set CC"
    )]
    NoLinker {
        /// What was looked for.
        program: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A C compiler that failed.
    #[error("`{program}` could not link the output ({status}):\n{stderr}")]
    Linker {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
}

/// Why code could not be made in memory.
#[derive(Debug, thiserror::Error)]
pub enum JitError {
    /// The processor.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The list of symbols.
    #[error(
        "{}: cannot write the symbols: {source}; remove the file, or unset GRAVER_PERF_MAP",
        shown(path)
    )]
    PerfMap {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A system whose rules forbid it.
    #[error(
        "this system forbids running code generated in memory ({source}); use `graver compile` to make an executable"
    )]
    Forbidden {
        /// What the system said.
        source: io::Error,
    },
    /// No memory for the code.
    #[error("cannot reserve {bytes} bytes for code: {source}; raise the memory limit")]
    NoMemory {
        /// Bytes asked for.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
    /// Cranelift.
    #[error("code generation failed: {0}")]
    Module(#[from] Box<ModuleError>),
}
