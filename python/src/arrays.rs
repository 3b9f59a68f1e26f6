//! Numbers that become numpy arrays without being copied again.

use graver::runtime::session::Logits;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Numbers in memory of their own, which an array that is made of them keeps alive. They were copied once, out of memory that the next
/// step writes over.
#[pyclass(frozen)]
struct Floats {
    values: Vec<f32>,
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
        interface.set_item("data", (self.values.as_ptr().addr(), true))?;
        Ok(interface)
    }
}

/// An array of these numbers.
pub(crate) fn array(python: Python<'_>, values: Vec<f32>, shape: &[usize]) -> PyResult<Py<PyAny>> {
    let shape = shape.to_vec();
    let floats = Bound::new(python, Floats { values, shape })?;
    let numpy = python.import("numpy")?;
    Ok(numpy.call_method1("asarray", (floats,))?.unbind())
}

/// Rows of logits with their shape, out of the session's memory.
pub(crate) fn rows(logits: &Logits<'_>, vocab: usize) -> (Vec<f32>, [usize; 2]) {
    (logits.values().to_vec(), [logits.n_rows(), vocab])
}
