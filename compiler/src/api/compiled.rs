//! A compiled model: code and weights, which any number of sessions share.

use std::sync::Arc;

use graver_runtime::abi::Manifest;
use graver_runtime::cli::SpecialIds;
use graver_runtime::session::{Program, SessionOptions};
use graver_runtime::tokenizer::Source;

use super::error::Error;
use super::session::Session;
use super::text::Text;
use crate::driver::{self, CompileOptions, Loaded};
use crate::weights::Weights;

/// A model compiled for this processor, in memory.
///
/// ```
/// use graver::runtime::session::SessionOptions;
/// use graver::{Model, Options};
///
/// let compiled = Model::built_in().compile(Options::default())?;
/// let options = SessionOptions { context: Some(64), ..SessionOptions::default() };
/// // Sessions have threads and state of their own, and share code and weights.
/// let (mut a, mut b) = (compiled.session(options.clone())?, compiled.session(options)?);
/// assert_eq!(a.append(&[1, 42, 7])?, b.append(&[1, 42, 7])?);
/// # Ok::<(), graver::Error>(())
/// ```
#[derive(Clone)]
pub struct Compiled {
    program: Program,
    weights: Arc<Weights>,
    text: Arc<Text>,
}

impl Compiled {
    pub(super) fn new(
        mut loaded: Loaded,
        options: &CompileOptions,
        tokenizer: Source,
    ) -> Result<Compiled, Error> {
        loaded.weights.settle();
        let program = driver::compile(&loaded, options)?;
        let special = SpecialIds {
            bos: loaded.model.bos,
            eos: loaded.model.eos,
        };
        Ok(Compiled {
            program,
            weights: Arc::new(loaded.weights),
            text: Arc::new(Text::new(tokenizer, special)),
        })
    }

    /// Makes it ready to run.
    ///
    /// # Errors
    /// Options that do not fit the model, or the memory.
    pub fn session(&self, options: SessionOptions) -> Result<Session, Error> {
        let session = driver::start(self.program.clone(), &self.weights, options)?;
        Ok(Session::new(session, Arc::clone(&self.text)))
    }

    /// What the code says about itself: sizes, types, passes, target.
    pub fn manifest(&self) -> &Manifest {
        self.program.manifest()
    }
}
