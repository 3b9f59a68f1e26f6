//! What the compiler says about a model: as text, and as data.

use pyo3::prelude::*;
use pyo3::types::PyAny;
use serde::Serialize;

use crate::error::raised;

/// What the compiler says: `str(report)` is what the command line prints, `report["passes"]` the data that `--json` prints.
#[pyclass(frozen, module = "graver")]
pub(crate) struct Report {
    text: String,
    data: Py<PyAny>,
}

impl Report {
    /// A report of something that can be printed and serialised.
    pub(crate) fn new(
        python: Python<'_>,
        of: &(impl std::fmt::Display + Serialize),
    ) -> PyResult<Report> {
        Ok(Report {
            text: of.to_string(),
            data: data(python, of)?,
        })
    }
}

/// Dictionaries and lists as JSON has them.
pub(crate) fn data(python: Python<'_>, of: &impl Serialize) -> PyResult<Py<PyAny>> {
    let text = serde_json::to_string(of).map_err(raised)?;
    let json = python.import("json")?;
    Ok(json.call_method1("loads", (text,))?.unbind())
}

#[pymethods]
impl Report {
    /// All of it, as dictionaries and lists.
    #[getter]
    fn data(&self, python: Python<'_>) -> Py<PyAny> {
        self.data.clone_ref(python)
    }

    fn __getitem__(&self, python: Python<'_>, key: &str) -> PyResult<Py<PyAny>> {
        Ok(self.data.bind(python).get_item(key)?.unbind())
    }

    fn keys(&self, python: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.data.bind(python).call_method0("keys")?.unbind())
    }

    fn __str__(&self) -> &str {
        &self.text
    }

    fn __repr__(&self) -> &str {
        &self.text
    }
}
