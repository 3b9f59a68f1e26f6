//! What goes wrong, as an exception.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(
    graver,
    GraverError,
    PyException,
    "What went wrong: the place, what was found, what was expected, and what to do."
);

/// An error as an exception.
pub(crate) fn raised(error: impl std::fmt::Display) -> PyErr {
    GraverError::new_err(error.to_string())
}
