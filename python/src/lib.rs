//! Graver for Python: the crate's own interface as classes. Errors are exceptions, arrays are numpy's, and Python's lock is given up
//! while anything is computed.

mod arrays;
mod compiled;
mod error;
mod graph;
mod model;
mod options;
mod report;
mod session;
mod stream;

use pyo3::prelude::*;

/// The extension module.
#[pymodule]
fn _graver(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let python = module.py();
    module.add("GraverError", python.get_type::<error::GraverError>())?;
    module.add("__version__", graver::VERSION)?;
    module.add_class::<model::Model>()?;
    module.add_class::<compiled::Compiled>()?;
    module.add_class::<compiled::Artifact>()?;
    module.add_class::<session::Session>()?;
    module.add_class::<stream::Stream>()?;
    module.add_class::<stream::Piece>()?;
    module.add_class::<report::Report>()?;
    module.add_class::<graph::Block>()?;
    module.add_class::<graph::Node>()?;
    Ok(())
}
