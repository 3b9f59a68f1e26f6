//! Compiled models: in memory, and in a shared library.

use std::path::PathBuf;

use graver::runtime::session::SessionOptions;
use pyo3::prelude::*;

use crate::error::raised;
use crate::report::data;
use crate::session::Session;

/// A model compiled in memory; sessions share its code and weights.
#[pyclass(frozen, module = "graver")]
pub(crate) struct Compiled(graver::Compiled);

impl Compiled {
    pub(crate) fn new(compiled: graver::Compiled) -> Compiled {
        Compiled(compiled)
    }
}

fn session_options(
    threads: Option<usize>,
    context: Option<usize>,
    sequences: usize,
    pin: bool,
) -> SessionOptions {
    SessionOptions {
        threads,
        context,
        slots: sequences,
        pin,
        alone: true,
        ..SessionOptions::default()
    }
}

#[pymethods]
impl Compiled {
    /// Makes it ready to run.
    #[pyo3(signature = (*, threads=None, context=None, sequences=1, pin=false))]
    fn session(
        &self,
        python: Python<'_>,
        threads: Option<usize>,
        context: Option<usize>,
        sequences: usize,
        pin: bool,
    ) -> PyResult<Session> {
        let options = session_options(threads, context, sequences, pin);
        let session = python.detach(|| self.0.session(options));
        session.map(Session::new).map_err(raised)
    }

    /// What the code says about itself: spec, sizes, types, passes, target.
    #[getter]
    fn manifest(&self, python: Python<'_>) -> PyResult<Py<PyAny>> {
        data(python, self.0.manifest())
    }
}

/// A shared library that `graver compile --emit so` wrote. Loading it runs what is in it: only load files whose maker you trust.
#[pyclass(frozen, module = "graver")]
pub(crate) struct Artifact(graver::Artifact);

#[pymethods]
impl Artifact {
    #[new]
    fn new(python: Python<'_>, path: PathBuf) -> PyResult<Artifact> {
        // SAFETY: the documentation says whom a file is to be trusted from, as for any extension of Python's.
        let loaded = python.detach(|| unsafe { graver::Artifact::load(path) });
        loaded.map(Artifact).map_err(raised)
    }

    /// Makes it ready to run.
    #[pyo3(signature = (*, threads=None, context=None, sequences=1, pin=false))]
    fn session(
        &self,
        python: Python<'_>,
        threads: Option<usize>,
        context: Option<usize>,
        sequences: usize,
        pin: bool,
    ) -> PyResult<Session> {
        let options = session_options(threads, context, sequences, pin);
        let session = python.detach(|| self.0.session(options));
        session.map(Session::new).map_err(raised)
    }

    /// Reads everything, weights included, and compares it with what was written.
    fn check(&self, python: Python<'_>) -> PyResult<()> {
        python.detach(|| self.0.check()).map_err(raised)
    }

    /// What the code says about itself: spec, sizes, types, passes, target.
    #[getter]
    fn manifest(&self, python: Python<'_>) -> PyResult<Py<PyAny>> {
        data(python, self.0.manifest())
    }
}
