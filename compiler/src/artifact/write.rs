//! Writes an artifact: object, link, weights, and what lies beside the output.
//!
//! In: a planned model and its weights. Out: files, all of them or none. The manifest becomes part of the
//! object before anything is linked, so that it states where weights lie inside their part of the file, not in the file.

use std::borrow::Cow;
use std::io::Write;

use graver_runtime::HEADER;
use graver_runtime::abi::{BlobInfo, Manifest};
use graver_runtime::artifact::TEMPLATES;
use graver_runtime::tokenizer::Files;

use super::append::{Carried, Run, append, offsets};
use super::error::CompileError;
use super::options::{ARCHIVE, ArtifactKind, Placement, Progress, WriteOptions, Written};
use super::planned::PlannedModel;
use super::staging::Staging;
use super::{layout, link, object, pkg_config};
use crate::weights::Weights;

/// Writes an artifact of a planned model with its weights; returns its files, the main one first.
///
/// # Errors
/// Files that cannot be read or written, and linkers that are missing or fail. Nothing stays behind then.
pub fn write(
    model: &PlannedModel,
    weights: &Weights,
    options: &WriteOptions<'_>,
    progress: Progress<'_>,
) -> Result<Vec<Written>, CompileError> {
    let names = Names::of(options)?;
    let staging = Staging::begin(options.out, &names.all())?;
    let (run, slots) = layout::lay_out(weights);
    staging.expect_room(run.bytes as u64)?;
    let runs = [run];
    let manifest = Manifest {
        blobs: blobs(&runs, names.weights.as_deref()),
        weights: slots,
        ..Manifest::clone(&model.manifest)
    };
    let object = object::object(model, &manifest, options.kind, options.with)?;
    let (checksum, mut inside) = (object.manifest_checksum, runs.as_slice());
    if let Some(name) = &names.weights {
        let beside = match options.kind {
            ArtifactKind::Object => carried(options),
            ArtifactKind::Executable | ArtifactKind::SharedLibrary => vec![],
        };
        staging.write(name, |file| {
            append(file, checksum, &runs, &beside, progress)
        })?;
        inside = &[];
    }
    match options.kind {
        ArtifactKind::Executable | ArtifactKind::SharedLibrary => {
            link::link(&object, options.kind, &staging, &names.main)?;
            let carried = carried(options);
            staging.extend(&names.main, |file| {
                append(file, checksum, inside, &carried, progress)
            })?;
        }
        ArtifactKind::Object => {
            staging.write(&names.main, |file| file.write_all(&object.bytes))?;
            staging.write(ARCHIVE, |file| file.write_all(&link::archive()))?;
        }
    }
    if let Some(name) = &names.header {
        staging.write(name, |file| file.write_all(HEADER.as_bytes()))?;
    }
    if let Some(name) = &names.pkg_config {
        let text = pkg_config::file(&names.main, options.kind, &manifest.spec);
        staging.write(name, |file| file.write_all(text.as_bytes()))?;
    }
    staging.commit()
}

/// Names of the files of an artifact, all in one folder.
struct Names {
    main: String,
    header: Option<String>,
    pkg_config: Option<String>,
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
        let suffix = match options.kind {
            ArtifactKind::Executable => "",
            ArtifactKind::SharedLibrary => ".so",
            ArtifactKind::Object => ".o",
        };
        let stem = main.strip_suffix(suffix).unwrap_or(&main).to_string();
        let is_object = options.kind == ArtifactKind::Object;
        let is_external = is_object || options.weights == Placement::External;
        let is_library = options.kind != ArtifactKind::Executable;
        let names = Names {
            header: is_library.then(|| format!("{stem}.h")),
            pkg_config: is_library.then(|| format!("{stem}.pc")),
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
        let others = [&self.header, &self.pkg_config, &self.weights, &self.archive];
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

/// The tokenizer's files, and chat templates for who uses them: in the artifact itself or, with an object, in its file of weights.
fn carried<'a>(options: &WriteOptions<'a>) -> Vec<Carried<'a>> {
    let files = options.tokenizer.into_iter().flat_map(Files::all);
    let files = files.chain(options.templates.map(|templates| (TEMPLATES, templates)));
    let file = |(name, contents): (_, &'a Cow<'static, [u8]>)| Carried { name, contents };
    files.map(file).collect()
}
