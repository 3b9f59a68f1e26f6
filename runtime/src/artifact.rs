//! A compiled model as it finds itself in memory: its code and manifest are loaded, weights and tokenizer are still in files.
//!
//! In: the [`CompiledModel`] that the compiler's object exports. Out: a checked manifest, mapped weights, the tokenizer's
//! source, and a [`Session`]. Works alike in an executable, a shared library and a program that was linked with an object;
//! what an artifact carries is found through the file that its code was mapped from.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::abi::{ABI_VERSION, BlobInfo, CompiledModel, Manifest};
use crate::appendix::{Appendix, Checksum};
use crate::files::{self, shown};
use crate::mapped::{Blob, WeightSource};
use crate::ranks;
use crate::session::{Program, Session, SessionOptions};
use crate::tokenizer::{Files, Missing, Source};

mod load;
#[cfg(feature = "artifact")]
mod main;
#[cfg(feature = "artifact")]
pub mod modes;
mod own_file;

pub use load::LoadError;
#[cfg(feature = "artifact")]
pub(crate) use main::main;

/// Name of the carried file with a model's chat templates, for executables that talk.
pub const TEMPLATES: &str = "chat_templates.json";

/// A compiled model whose manifest and own file have been checked.
pub struct Artifact {
    program: Program,
    manifest_checksum: u64,
    own: Own,
}

/// The file the code lies in.
enum Own {
    /// Carries nothing but code. Empty where it was not found, which matters only where something has to lie beside it.
    Plain(PathBuf),
    /// With what it carries.
    Carrier(PathBuf, Appendix),
    /// It was not found, and has no weights.
    Lost(io::Error),
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
        let own = own(model, &manifest)?;
        // SAFETY: object and runtime agree on the interface (checked), and the manifest is the one that was made with the
        // code, of which it has the checksum.
        let program = unsafe { Program::new(model.decode, model.prefill, manifest, Arc::new(())) };
        Ok(Artifact {
            program,
            manifest_checksum: model.manifest_checksum,
            own,
        })
    }

    /// What the model says about itself.
    pub fn manifest(&self) -> &Arc<Manifest> {
        self.program.manifest()
    }

    /// The file the code lies in; empty where it was not found and is not needed.
    pub fn path(&self) -> &Path {
        match &self.own {
            Own::Plain(path) | Own::Carrier(path, _) => path,
            Own::Lost(_) => Path::new(""),
        }
    }

    /// What its file carries in addition to code, if it should carry anything.
    fn appendix(&self) -> Result<Option<&Appendix>, Error> {
        match &self.own {
            Own::Plain(_) => Ok(None),
            Own::Carrier(_, appendix) => Ok(Some(appendix)),
            Own::Lost(reason) => Err(Error::OwnFile {
                source: io::Error::new(reason.kind(), reason.to_string()),
            }),
        }
    }

    /// Ranks that share the model.
    fn ranks(&self) -> usize {
        self.manifest().rank.map_or(1, |rank| rank.ranks)
    }

    /// Whether another rank says what is to be done.
    pub fn follows(&self) -> bool {
        self.manifest().rank.is_some_and(|rank| rank.rank > 0)
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
        let (program, weights) = (self.program.clone(), self.weights(weights)?);
        match self.ranks() {
            1 => Session::new(program, weights, options),
            ranks => {
                let communicator = ranks::of_process(ranks)?;
                Session::of_rank(program, weights, options, communicator)
            }
        }
    }

    /// Where the tokenizer is: in the artifact, or, where somebody else linked it, in its file of weights, or nowhere. `weights` is
    /// that file's place, as for [`Artifact::weights`].
    ///
    /// The bytes stay mapped until the process ends.
    ///
    /// # Errors
    /// A file that is not as the compiler wrote it.
    pub fn tokenizer(&self, weights: Option<&Path>) -> Result<Source, Error> {
        let beside = self.file_of_weights(weights)?;
        let appendix = self.appendix()?.or(beside.as_ref());
        let place = shown(self.path()).to_string();
        let carried = |name| Ok::<_, Error>(lasting(appendix, name)?.map(Cow::Borrowed));
        Ok(match Files::find(carried)? {
            Some(files) => Source::Bytes { place, files },
            None => Source::Missing(Missing::Artifact { place }),
        })
    }

    /// A file that the artifact carries; it stays mapped until the process ends.
    ///
    /// # Errors
    /// A file that is not as the compiler wrote it.
    pub fn carried(&self, name: &str) -> Result<Option<&'static [u8]>, Error> {
        lasting(self.appendix()?, name)
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
        if let Some(appendix) = self.appendix()? {
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
                    artifact: self.path().into(),
                })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The file of weights beside code that has no appendix of its own.
    fn file_of_weights(&self, file: Option<&Path>) -> Result<Option<Appendix>, Error> {
        let names = self.manifest().blobs.iter().find_map(|b| b.file.as_deref());
        match (&self.own, names) {
            (Own::Plain(_), Some(name)) => Ok(Some(self.external(name, file)?)),
            (Own::Plain(_), None) | (Own::Carrier(..) | Own::Lost(_), _) => Ok(None),
        }
    }

    fn blob(&self, blob: &BlobInfo, file: Option<&Path>) -> Result<Blob, Error> {
        let offset = blob.offset as u64;
        if let Some(name) = &blob.file {
            return Ok(self.external(name, file)?.weights(offset, blob.bytes)?);
        }
        match self.appendix()? {
            Some(appendix) => Ok(appendix.weights(offset, blob.bytes)?),
            // An object that somebody else linked should name files only.
            None => Err(Error::OwnFile {
                source: io::ErrorKind::NotFound.into(),
            }),
        }
    }

    fn external(&self, name: &str, file: Option<&Path>) -> Result<Appendix, Error> {
        let path = match file {
            Some(file) => file.to_path_buf(),
            None => {
                self.appendix()?;
                self.path().parent().unwrap_or(Path::new("")).join(name)
            }
        };
        let (opened, _) = files::open(&path)?;
        let appendix = Appendix::open(opened, &path)?;
        appendix.check_manifest(self.manifest_checksum)?;
        Ok(appendix)
    }
}

/// A file that an appendix carries, mapped until the process ends.
fn lasting(appendix: Option<&Appendix>, name: &str) -> Result<Option<&'static [u8]>, Error> {
    let file = appendix.map(|appendix| appendix.file(name));
    let file = file.transpose()?.flatten();
    Ok(file.map(|blob| Box::leak(Box::new(blob)).as_slice()))
}

/// A manifest as an object carries it: JSON, compressed, because a model with many experts has as many slots as a library
/// has lines, and they are much alike.
pub fn pack_manifest(manifest: &Manifest) -> Vec<u8> {
    let text = serde_json::to_vec(manifest).expect("a manifest is plain data");
    lz4_flex::compress_prepend_size(&text)
}

/// The file of a model's code. One that is lost is an error only where the weights are in it: other things may not be needed.
fn own(model: &CompiledModel, manifest: &Manifest) -> Result<Own, Error> {
    if model.has_appendix == 0 {
        return Ok(Own::Plain(own_file::path(model).unwrap_or_default()));
    }
    match own_file::own_file(model) {
        Ok((path, appendix)) => Ok(Own::Carrier(path, appendix)),
        Err(Error::OwnFile { source }) if manifest.blobs.iter().all(|b| b.file.is_some()) => {
            Ok(Own::Lost(source))
        }
        Err(error) => Err(error),
    }
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

#[cfg(test)]
mod tests;
