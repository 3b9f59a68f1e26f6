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
    #[error("the object file cannot be made: {0}")]
    Object(ObjectError),
    /// An output with a name that cannot be a file's.
    #[error(
        "{}: expected an output file with a name in UTF-8; name another one with -o",
        shown(path)
    )]
    Name {
        /// The output.
        path: PathBuf,
    },
    /// An output that is a folder.
    #[error("{}: is a folder; name the output with -o FILE", shown(path))]
    IsFolder {
        /// The output.
        path: PathBuf,
    },
    /// An output that is a device, a pipe or the like.
    #[error(
        "{}: is not a plain file, and cannot be replaced by one; name another output with -o FILE",
        shown(path)
    )]
    NotAFile {
        /// The output.
        path: PathBuf,
    },
    /// A folder that nothing can be written to.
    #[error(
        "{}: no file can be made in this folder: {source}; name an output elsewhere with -o FILE",
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
        "{}: the weights take {}, and {} are free in this folder; make room, choose another place with -o FILE, or round the matrices (--quantize q4)",
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
    #[error(
        "{}: cannot be written: {source}; nothing was left behind",
        shown(path)
    )]
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
        "{}: cannot be written: {source}; {} was written and cannot be taken back: {reason}; what it replaced is in {}",
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
        "{}: is the name of a file that is written beside the output; name another output with -o FILE",
        shown(path)
    )]
    SameName {
        /// The output.
        path: PathBuf,
    },
    /// No C compiler.
    #[error(
        "cannot run `{program}`, which links the output: {source}; install a C compiler (gcc or clang), or name one in CC"
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
        "{}: the symbols cannot be written: {source}; remove the file, or unset GRAVER_PERF_MAP",
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
        "this system forbids running code that was made in memory ({source}); `graver compile` makes an executable, which runs here"
    )]
    Forbidden {
        /// What the system said.
        source: io::Error,
    },
    /// No memory for the code.
    #[error("cannot reserve {bytes} bytes for code: {source}; raise the limit on memory")]
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
