//! A shared library that `graver compile --emit so` wrote.

use std::path::Path;
use std::sync::Arc;

use graver_runtime::abi::Manifest;
use graver_runtime::artifact;
use graver_runtime::cli::SpecialIds;
use graver_runtime::session::SessionOptions;

use super::error::Error;
use super::session::Session;
use super::text::Text;

/// A compiled model in a shared library: nothing is compiled, and no checkpoint is needed.
pub struct Artifact {
    artifact: artifact::Artifact,
    text: Arc<Text>,
}

impl Artifact {
    /// Loads a library that `graver compile --emit so` wrote. Its code has the compiler's checksum, and its interface is this version's,
    /// or it is refused. It stays loaded until the process ends.
    ///
    /// # Errors
    /// Files that are no such library, are damaged, or were compiled by another version.
    ///
    /// # Safety
    /// Whoever made the file is trusted as whoever made this program: loading a library runs what is in it.
    pub unsafe fn load(path: impl AsRef<Path>) -> Result<Artifact, Error> {
        // SAFETY: the caller vouches for the file.
        let artifact = unsafe { artifact::Artifact::load(path.as_ref()) }?;
        let manifest = artifact.manifest();
        let special = SpecialIds {
            bos: manifest.bos,
            eos: manifest.eos.clone(),
        };
        let text = Arc::new(Text::new(artifact.tokenizer(None)?, special));
        Ok(Artifact { artifact, text })
    }

    /// Makes it ready to run, with the weights that it carries or that lie beside it.
    ///
    /// # Errors
    /// A processor that lacks features; weights that are missing; options that do not fit.
    pub fn session(&self, options: SessionOptions) -> Result<Session, Error> {
        let session = self.artifact.session(None, options)?;
        Ok(Session::new(session, Arc::clone(&self.text)))
    }

    /// Reads everything, weights included, and compares it with what was written.
    ///
    /// # Errors
    /// What is damaged or missing.
    pub fn check(&self) -> Result<(), Error> {
        Ok(self.artifact.check(None)?)
    }

    /// What the code says about itself: sizes, types, passes, target.
    pub fn manifest(&self) -> &Manifest {
        self.artifact.manifest()
    }
}
