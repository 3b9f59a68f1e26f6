//! Writes an artifact: object, link, weights, and what lies beside the output.
//!
//! In: planned programs, their manifest and weights. Out: files, all of them or none. The manifest becomes part of the
//! object before anything is linked, so that it states where weights lie inside their part of the file, not in the file.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use graver_runtime::abi::{BlobInfo, Manifest};
use graver_runtime::tokenizer::Files;

use super::append::{Carried, Run, append, offsets};
use super::staging::Staging;
use super::{CompileError, layout, link, object};
use crate::codegen::{Planned, Target};
use crate::weights::Weights;

/// The interface of shared libraries and objects, for C.
pub const HEADER: &str = include_str!("../../../runtime/include/graver.h");
/// Name of the runtime's archive beside an object.
pub const ARCHIVE: &str = "libgraver_runtime.a";

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emit {
    /// A program with the command line of `graver run`.
    Executable,
    /// A shared library with the interface of `graver.h`.
    SharedLibrary,
    /// An object for somebody else's linker, with the runtime as an archive.
    Object,
}

/// Where weights go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Behind the code, into the same file.
    Embedded,
    /// Into a file of their own beside it, `NAME.weights`.
    External,
}

/// Choices of how an artifact is written.
#[derive(Clone, Debug)]
pub struct WriteOptions<'a> {
    /// The main file; others lie beside it and share its name.
    pub out: &'a Path,
    /// What it is.
    pub emit: Emit,
    /// Where weights go; an object's are always in a file of their own.
    pub weights: Placement,
    /// Contents of the tokenizer's files, which an executable carries; without them it takes token ids only.
    pub tokenizer: Option<&'a Files<Cow<'static, [u8]>>>,
    /// The processor.
    pub target: &'a Target,
}

/// Hears how many more bytes are written, and how many weights there are in all; its error ends the writing.
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize) -> io::Result<()>;

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// Length in bytes.
    pub bytes: u64,
}

/// Writes an artifact; returns its files, the main one first. `manifest` is the pipeline's, with weights in place.
///
/// # Errors
/// Files that cannot be read or written, and linkers that are missing or fail. Nothing stays behind then.
pub fn write(
    weights: &Weights,
    planned: &[Planned; 2],
    manifest: &Manifest,
    options: &WriteOptions<'_>,
    progress: Progress<'_>,
) -> Result<Vec<Written>, CompileError> {
    let names = Names::of(options)?;
    let staging = Staging::begin(options.out, &names.all())?;
    let (run, slots) = layout::lay_out(weights);
    let runs = [run];
    let manifest = Manifest {
        blobs: blobs(&runs, names.weights.as_deref()),
        weights: slots,
        ..manifest.clone()
    };
    let object = object::object(planned, &manifest, options.target, options.emit)?;
    let (checksum, mut inside) = (object.manifest_checksum, runs.as_slice());
    if let Some(name) = &names.weights {
        staging.write(name, |file| append(file, checksum, &runs, &[], progress))?;
        inside = &[];
    }
    match options.emit {
        Emit::Executable | Emit::SharedLibrary => {
            link::link(&object, options.emit, &staging, &names.main)?;
            let carried = carried(options);
            staging.extend(&names.main, |file| {
                append(file, checksum, inside, &carried, progress)
            })?;
        }
        Emit::Object => {
            staging.write(&names.main, |file| file.write_all(&object.bytes))?;
            staging.write(ARCHIVE, |file| file.write_all(&link::archive()))?;
        }
    }
    if let Some(name) = &names.header {
        staging.write(name, |file| file.write_all(HEADER.as_bytes()))?;
    }
    staging.commit()
}

/// Names of the files of an artifact, all in one folder.
struct Names {
    main: String,
    header: Option<String>,
    weights: Option<String>,
    archive: Option<String>,
}

impl Names {
    fn of(options: &WriteOptions<'_>) -> Result<Names, CompileError> {
        let name = options.out.file_name().map(|name| name.to_str());
        let main = match name {
            Some(Some(name)) => name.to_string(),
            Some(None) | None => {
                return Err(CompileError::Name {
                    path: options.out.into(),
                });
            }
        };
        let suffix = match options.emit {
            Emit::Executable => "",
            Emit::SharedLibrary => ".so",
            Emit::Object => ".o",
        };
        let stem = main.strip_suffix(suffix).unwrap_or(&main).to_string();
        let is_object = options.emit == Emit::Object;
        let is_external = is_object || options.weights == Placement::External;
        let is_library = options.emit != Emit::Executable;
        let names = Names {
            header: is_library.then(|| format!("{stem}.h")),
            weights: is_external.then(|| format!("{stem}.weights")),
            archive: is_object.then(|| ARCHIVE.to_string()),
            main,
        };
        match names.all().split_first() {
            Some((main, others)) if others.contains(main) => Err(CompileError::SameName {
                path: options.out.into(),
            }),
            Some(_) | None => Ok(names),
        }
    }

    /// All of them, the main one first.
    fn all(&self) -> Vec<&str> {
        let others = [&self.header, &self.weights, &self.archive];
        let others = others.into_iter().flatten();
        std::iter::once(&self.main)
            .chain(others)
            .map(String::as_str)
            .collect()
    }
}

/// How the manifest describes runs that are written one after the other, in this file or another.
fn blobs(runs: &[Run<'_>], file: Option<&str>) -> Vec<BlobInfo> {
    let info = |(run, offset): (&Run<'_>, usize)| BlobInfo {
        file: file.map(str::to_string),
        offset,
        bytes: run.bytes,
    };
    runs.iter().zip(offsets(runs)).map(info).collect()
}

/// The tokenizer's files; only a command line has a use for them.
fn carried<'a>(options: &WriteOptions<'a>) -> Vec<Carried<'a>> {
    let files = match options.emit {
        Emit::Executable => options.tokenizer,
        Emit::SharedLibrary | Emit::Object => None,
    };
    let files = files.into_iter().flat_map(Files::all);
    let file = |(name, contents): (_, &'a Cow<'static, [u8]>)| Carried { name, contents };
    files.map(file).collect()
}
