//! Loads a shared library that `graver compile --emit so` wrote into this process, for this runtime.
//!
//! In: a path. Out: an [`Artifact`], as the library itself would find it. What the library carries is looked at before any of it is
//! loaded: a file that is no library of ours, or whose code has changed, is refused without running it.

use std::ffi::{CStr, CString, c_int, c_void};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Artifact;
use crate::abi::{CompiledModel, MODEL_SYMBOL};
use crate::appendix::{Appendix, AppendixError};
use crate::files::{self, FileError, shown};

/// Why a library could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not as the compiler wrote it.
    #[error(transparent)]
    Appendix(#[from] AppendixError),
    /// Its path cannot be followed.
    #[error("{}: {source}", shown(path))]
    Path {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system does not load it.
    #[error(
        "{}: cannot be loaded: {reason}; expected a library that `graver compile --emit so` wrote",
        shown(path)
    )]
    Refused {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// The runtime.
    #[error(transparent)]
    Runtime(#[from] crate::Error),
}

impl Artifact {
    /// Loads a shared library of [`ArtifactKind::SharedLibrary`'s kind](crate::abi::CompiledModel): its code runs on this runtime. It
    /// stays loaded until the process ends.
    ///
    /// # Errors
    /// Files that are no such library, were changed, or are of another version.
    ///
    /// # Safety
    /// Whoever made the file is trusted as whoever made this program: loading a library runs what is in it. Checksums protect from
    /// damage, not from malice.
    pub unsafe fn load(path: &Path) -> Result<Artifact, LoadError> {
        // The loader takes a name without a slash for one to be searched for.
        let path = fs::canonicalize(path).map_err(|source| LoadError::Path {
            path: path.into(),
            source,
        })?;
        let (file, _) = files::open(&path)?;
        let appendix = Appendix::open(file, &path)?;
        appendix.check(&appendix.directory().code)?;
        // SAFETY: the caller vouches for the library.
        let model = unsafe { model_of(&path) }?;
        // SAFETY: the library exports what the compiler's object defines, and is never unloaded.
        Ok(unsafe { Artifact::open(model) }?)
    }
}

/// # Safety
/// The library is one that may be loaded.
unsafe fn model_of(path: &Path) -> Result<&'static CompiledModel, LoadError> {
    let refused = |reason| LoadError::Refused {
        path: path.into(),
        reason,
    };
    let nul = |_| refused("its path has a zero byte".into());
    let name = CString::new(path.as_os_str().as_bytes()).map_err(nul)?;
    const FLAGS: c_int = libc::RTLD_NOW | libc::RTLD_LOCAL;
    // SAFETY: the name ends with a zero, and the caller vouches for what is loaded.
    let library = unsafe { libc::dlopen(name.as_ptr(), FLAGS) };
    if library.is_null() {
        return Err(refused(loader_error()));
    }
    // SAFETY: the library was loaded, and the symbol's name ends with a zero.
    let symbol: *mut c_void = unsafe { libc::dlsym(library, MODEL_SYMBOL_C.as_ptr()) };
    if symbol.is_null() {
        return Err(refused(format!("it has no `{MODEL_SYMBOL}`")));
    }
    // SAFETY: in a library of the compiler's, for which the caller vouches, the symbol is a model's, in data that is only read and
    // stays while the library is loaded, which is for ever.
    Ok(unsafe { &*symbol.cast::<CompiledModel>() })
}

/// [`MODEL_SYMBOL`] as the loader takes it.
const MODEL_SYMBOL_C: &CStr = c"graver_model";

/// What the loader says about its last error on this thread.
fn loader_error() -> String {
    // SAFETY: NULL, or a text of the loader's that ends with a zero and stays until its next call on this thread.
    let text = unsafe { libc::dlerror() };
    match text.is_null() {
        true => "no reason given".into(),
        // SAFETY: as above; the text is copied at once.
        false => unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_symbol_is_that_of_objects() {
        assert_eq!(MODEL_SYMBOL_C.to_str().unwrap(), MODEL_SYMBOL);
    }

    #[test]
    fn what_is_no_library_is_refused_before_it_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.so");
        // SAFETY: no file here gets as far as the loader.
        let said = |path: &Path| match unsafe { Artifact::load(path) } {
            Err(error) => error.to_string(),
            Ok(_) => panic!("it was loaded"),
        };
        assert!(said(&path).contains("No such file"), "{}", said(&path));
        fs::write(&path, "not a library").unwrap();
        assert!(said(&path).contains("its last 32 bytes"), "{}", said(&path));
        assert!(said(folder.path()).contains("expected a regular file"));
    }
}
