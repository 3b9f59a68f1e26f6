//! Numbers that become numpy arrays without being copied.

use graver::runtime::session::TakenLogits;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Numbers where the step has written them, which an array that is made of them keeps alive: the session goes on with other memory.
#[pyclass(frozen)]
struct Floats {
    logits: TakenLogits,
    shape: Vec<usize>,
}

#[pymethods]
impl Floats {
    /// Numpy's protocol: where the numbers are, and that nobody is to write to them.
    #[getter]
    fn __array_interface__<'py>(&self, python: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(python);
        let shape = pyo3::types::PyTuple::new(python, &self.shape)?;
        interface.set_item("version", 3)?;
        interface.set_item("shape", shape)?;
        interface.set_item("typestr", "<f4")?;
        interface.set_item("data", (self.logits.values().as_ptr().addr(), true))?;
        Ok(interface)
    }
}

/// An array of rows of logits, `[rows, vocab]`.
pub(crate) fn rows(python: Python<'_>, logits: TakenLogits) -> PyResult<Py<PyAny>> {
    let shape = vec![logits.n_rows(), logits.width()];
    array(python, Floats { logits, shape })
}

/// An array of the only row, `[vocab]`.
pub(crate) fn row(python: Python<'_>, logits: TakenLogits) -> PyResult<Py<PyAny>> {
    let shape = vec![logits.values().len()];
    array(python, Floats { logits, shape })
}

fn array(python: Python<'_>, floats: Floats) -> PyResult<Py<PyAny>> {
    let floats = Bound::new(python, floats)?;
    let numpy = python.import("numpy")?;
    Ok(numpy.call_method1("asarray", (floats,))?.unbind())
}
