//! A compiled model as it finds itself in memory: its code and manifest are loaded, weights and tokenizer are still in files.
//!
//! In: the [`CompiledModel`] that the compiler's object exports. Out: a checked manifest, mapped weights, the tokenizer's
//! source, and a [`Session`]. Works alike in an executable, a shared library and a program that was linked with an object;
//! what an artifact carries is found through the file that its code was mapped from.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::abi::{ABI_VERSION, BlobInfo, CompiledModel, Manifest};
use crate::appendix::{Appendix, Checksum};
use crate::files::{self, shown};
use crate::mapped::{Blob, WeightSource};
use crate::session::{Program, Session, SessionOptions};
use crate::tokenizer::{Files, Missing, Source};

#[cfg(feature = "artifact")]
mod main;

#[cfg(feature = "artifact")]
pub(crate) use main::main;

/// A compiled model whose manifest and own file have been checked.
pub struct Artifact {
    program: Program,
    manifest_checksum: u64,
    /// The file the code lies in.
    path: PathBuf,
    /// What it carries; `None` where all weights are in other files and nothing else is needed.
    appendix: Option<Appendix>,
}

impl Artifact {
    /// Checks the interface, the manifest and the file that the code was loaded from.
    ///
    /// # Errors
    /// Code of another interface; a manifest or file that is not as the compiler wrote it.
    ///
    /// # Safety
    /// `model` is what an object of the compiler exports, of whatever version.
    pub unsafe fn open(model: &'static CompiledModel) -> Result<Artifact, Error> {
        if model.abi != u64::from(ABI_VERSION) {
            return Err(Error::Abi {
                found: u32::try_from(model.abi).unwrap_or(u32::MAX),
                expected: ABI_VERSION,
            });
        }
        // SAFETY: the object is of this interface (checked).
        let manifest = Arc::new(unsafe { manifest(model) }?);
        let (path, appendix) = own_file(model)?;
        // SAFETY: object and runtime agree on the interface (checked), and the manifest is the one that was made with the
        // code, of which it has the checksum.
        let program = unsafe { Program::new(model.decode, model.prefill, manifest, Arc::new(())) };
        Ok(Artifact {
            program,
            manifest_checksum: model.manifest_checksum,
            path,
            appendix,
        })
    }

    /// What the model says about itself.
    pub fn manifest(&self) -> &Arc<Manifest> {
        self.program.manifest()
    }

    /// The file the code lies in; empty where it was not found and is not needed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Maps the weights: from the artifact's own file, and from the files its manifest names, which lie beside it or are all
    /// replaced by `file`.
    ///
    /// # Errors
    /// Files that are missing, damaged, or of another model; a file that nothing would be read from.
    pub fn weights(&self, file: Option<&Path>) -> Result<WeightSource, Error> {
        self.check_use(file)?;
        let blobs = self.manifest().blobs.iter();
        let blobs = blobs
            .map(|blob| self.blob(blob, file))
            .collect::<Result<_, _>>()?;
        Ok(WeightSource { blobs })
    }

    /// Makes the model ready to run.
    ///
    /// # Errors
    /// A processor that lacks features; weights as for [`Artifact::weights`]; sizes that do not fit.
    pub fn session(
        &self,
        weights: Option<&Path>,
        options: SessionOptions,
    ) -> Result<Session, Error> {
        // A processor that cannot run the code is the better message where the weights are missing, too.
        crate::sizes::check_manifest(self.manifest())?;
        Session::new(self.program.clone(), self.weights(weights)?, options)
    }

    /// Where the tokenizer is: in the artifact, or nowhere.
    ///
    /// The bytes stay mapped until the process ends.
    ///
    /// # Errors
    /// A file that is not as the compiler wrote it.
    pub fn tokenizer(&self) -> Result<Source, Error> {
        let carried = |name| {
            let file = self.appendix.as_ref().map(|appendix| appendix.file(name));
            let file = file.transpose()?.flatten();
            Ok::<_, Error>(file.map(|blob| Box::leak(Box::new(blob)).as_slice().into()))
        };
        let place = shown(&self.path).to_string();
        Ok(match Files::find(carried)? {
            Some(files) => Source::Bytes { place, files },
            None => Source::Missing(Missing::Artifact { place }),
        })
    }

    /// Reads everything, weights included, and compares it with what was written.
    ///
    /// # Errors
    /// What is damaged or missing.
    pub fn check(&self, file: Option<&Path>) -> Result<(), Error> {
        self.check_use(file)?;
        for blob in &self.manifest().blobs {
            if let Some(name) = &blob.file {
                let appendix = self.external(name, file)?;
                appendix.check(&appendix.directory().weights)?;
            }
        }
        if let Some(appendix) = &self.appendix {
            let directory = appendix.directory();
            for part in std::iter::once(&directory.weights).chain(&directory.files) {
                appendix.check(part)?;
            }
        }
        Ok(())
    }

    /// A file of weights is refused where all weights are in the artifact itself.
    fn check_use(&self, file: Option<&Path>) -> Result<(), Error> {
        match file {
            Some(file) if self.manifest().blobs.iter().all(|b| b.file.is_none()) => {
                Err(Error::WeightsNotUsed {
                    file: file.into(),
                    artifact: self.path.clone(),
                })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn blob(&self, blob: &BlobInfo, file: Option<&Path>) -> Result<Blob, Error> {
        let offset = blob.offset as u64;
        match (&blob.file, &self.appendix) {
            (Some(name), _) => Ok(self.external(name, file)?.weights(offset, blob.bytes)?),
            (None, Some(appendix)) => Ok(appendix.weights(offset, blob.bytes)?),
            // An object that somebody else linked should name files only.
            (None, None) => Err(Error::OwnFile {
                source: io::ErrorKind::NotFound.into(),
            }),
        }
    }

    fn external(&self, name: &str, file: Option<&Path>) -> Result<Appendix, Error> {
        let beside = || self.path.parent().unwrap_or(Path::new("")).join(name);
        let path = file.map_or_else(beside, Path::to_path_buf);
        let (opened, _) = files::open(&path)?;
        let appendix = Appendix::open(opened, &path)?;
        appendix.check_manifest(self.manifest_checksum)?;
        Ok(appendix)
    }
}

/// A manifest as an object carries it: JSON, compressed, because a model with many experts has as many slots as a library
/// has lines, and they are much alike.
pub fn pack_manifest(manifest: &Manifest) -> Vec<u8> {
    let text = serde_json::to_vec(manifest).expect("a manifest is plain data");
    lz4_flex::compress_prepend_size(&text)
}

/// # Safety
/// `model` is what an object of this interface exports.
unsafe fn manifest(model: &CompiledModel) -> Result<Manifest, Error> {
    // SAFETY: such an object points to that many bytes of its own read-only data.
    let packed = unsafe { std::slice::from_raw_parts(model.manifest, model.manifest_bytes) };
    let (found, expected) = (Checksum::of(packed), model.manifest_checksum);
    if found != expected {
        return Err(Error::ManifestChecksum { found, expected });
    }
    // What is as the compiler wrote it does not lie about its size.
    let text = lz4_flex::decompress_size_prepended(packed)
        .map_err(|source| Error::ManifestPacking { source })?;
    serde_json::from_slice(&text).map_err(|source| Error::ManifestJson { source })
}

/// The file that the code lies in, and what follows the code there. Checks both: damaged code must not run, and reading it
/// takes a few milliseconds.
fn own_file(model: &CompiledModel) -> Result<(PathBuf, Option<Appendix>), Error> {
    let found = OwnFile::find(model);
    if model.has_appendix == 0 {
        return Ok((found.map_or_else(|_| PathBuf::new(), |own| own.path), None));
    }
    let OwnFile { path, file } = found.map_err(|source| Error::OwnFile { source })?;
    let appendix = Appendix::open(file, &path)?;
    appendix.check_manifest(model.manifest_checksum)?;
    appendix.check(&appendix.directory().code)?;
    Ok((path, Some(appendix)))
}

/// The file that code was loaded from.
struct OwnFile {
    path: PathBuf,
    file: File,
}

impl OwnFile {
    /// Finds the file whose mapping has `model` in it, as the system lists them: a library has no better way to its own
    /// file, and a path that was relative when it was loaded no longer is.
    fn find(model: &CompiledModel) -> io::Result<OwnFile> {
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        let mapping =
            mapping_of(&maps, std::ptr::from_ref(model).addr()).ok_or(io::ErrorKind::NotFound)?;
        let path = PathBuf::from(mapping.path);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.ino(), file)));
        match opened {
            Ok((inode, file)) if inode == mapping.inode => Ok(OwnFile { path, file }),
            // Moved, replaced or deleted since; for an executable the system still has it.
            Ok(_) | Err(_) => OwnFile::executable(path, mapping.inode),
        }
    }

    fn executable(path: PathBuf, inode: u64) -> io::Result<OwnFile> {
        let file = File::open("/proc/self/exe")?;
        if file.metadata()?.ino() != inode {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} has been moved or replaced", path.display()),
            ));
        }
        Ok(OwnFile { path, file })
    }
}

/// A line of `/proc/self/maps`.
struct Mapping<'a> {
    inode: u64,
    path: &'a str,
}

/// The mapping of a file that covers an address. Lines read `start-end perms offset device inode path`.
fn mapping_of(maps: &str, address: usize) -> Option<Mapping<'_>> {
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |hex| usize::from_str_radix(hex, 16).ok();
        if !(number(start)?..number(end)?).contains(&address) {
            return None;
        }
        let mut fields = rest.splitn(5, ' ');
        let inode = fields.nth(3)?.parse().ok()?;
        Some(Mapping {
            inode,
            path: fields.next()?.trim_start(),
        })
    })
}

#[cfg(test)]
mod tests;
