//! A model that has been found and not yet been loaded.

use std::path::PathBuf;

use graver::driver::{self, Purpose};
use graver::dump::{DumpStage, dump};
use graver::graph::ProgramKind;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::compiled::Compiled;
use crate::error::raised;
use crate::graph::{Block, blocks};
use crate::options::{QuantizePlan, options};
use crate::report::Report;

/// A model: a checkpoint folder, a `.gguf` file, a spec (`"qwen3"`, `"llama:3.1-8b"`, a file) with random weights, `owner/name` of a model
/// in Hugging Face's cache; without a path, the small model inside this package.
#[pyclass(frozen, module = "graver")]
pub(crate) struct Model(graver::Model);

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (path=None, *, spec=None, preset=None, config=None, seed=None))]
    fn new(
        path: Option<PathBuf>,
        spec: Option<PathBuf>,
        preset: Option<&str>,
        config: Option<PathBuf>,
        seed: Option<u64>,
    ) -> PyResult<Model> {
        let open = || -> Result<graver::Model, graver::Error> {
            let mut model = match (&path, &config) {
                (Some(path), _) => graver::Model::open(path)?,
                (None, Some(config)) => graver::Model::from_config(config)?,
                (None, None) => graver::Model::built_in(),
            };
            if let Some(preset) = preset {
                model = model.with_preset(preset)?;
            }
            if let Some(config) = config.as_ref().filter(|_| path.is_some()) {
                model = model.with_config(config)?;
            }
            if let Some(spec) = spec {
                model = model.with_spec(spec)?;
            }
            match seed {
                Some(seed) => model.with_seed(seed),
                None => Ok(model),
            }
        };
        open().map(Model).map_err(raised)
    }

    /// A spec given as JSON, with random weights.
    #[staticmethod]
    fn from_spec(name: &str, json: &str) -> PyResult<Model> {
        graver::Model::from_spec(name, json)
            .map(Model)
            .map_err(raised)
    }

    /// What to call it in a table.
    #[getter]
    fn label(&self) -> String {
        self.0.label()
    }

    /// Compiles it for this processor, in memory.
    #[pyo3(signature = (*, quantize=None, quantize_plan=None, kv=None, activations=None, without=Vec::new(), fuse=true))]
    fn compile(
        &self,
        python: Python<'_>,
        quantize: Option<&str>,
        quantize_plan: Option<QuantizePlan>,
        kv: Option<&str>,
        activations: Option<&str>,
        without: Vec<String>,
        fuse: bool,
    ) -> PyResult<Compiled> {
        let options = options(quantize, quantize_plan, kv, activations, without, fuse)?;
        let compiled = python.detach(|| self.0.compile(options));
        compiled.map(Compiled::new).map_err(raised)
    }

    /// Every candidate of every pass: fused or not, and why.
    #[pyo3(signature = (*, quantize=None, quantize_plan=None, kv=None, activations=None, without=Vec::new(), fuse=true))]
    fn explain(
        &self,
        python: Python<'_>,
        quantize: Option<&str>,
        quantize_plan: Option<QuantizePlan>,
        kv: Option<&str>,
        activations: Option<&str>,
        without: Vec<String>,
        fuse: bool,
    ) -> PyResult<Report> {
        let options = options(quantize, quantize_plan, kv, activations, without, fuse)?;
        let found = python.detach(|| self.0.explain(&options));
        Report::new(python, &found.map_err(raised)?)
    }

    /// What the model is made of and what its steps cost, by its shapes.
    #[pyo3(signature = (*, quantize=None, quantize_plan=None, kv=None, activations=None, without=Vec::new(), fuse=true))]
    fn summary(
        &self,
        python: Python<'_>,
        quantize: Option<&str>,
        quantize_plan: Option<QuantizePlan>,
        kv: Option<&str>,
        activations: Option<&str>,
        without: Vec<String>,
        fuse: bool,
    ) -> PyResult<Report> {
        let options = options(quantize, quantize_plan, kv, activations, without, fuse)?;
        let found = python.detach(|| self.0.summary(&options));
        Report::new(python, &found.map_err(raised)?)
    }

    /// Compares the compiled code with the plain interpreter, pass by pass.
    #[pyo3(signature = (*, without=Vec::new(), fuse=true))]
    fn verify(&self, python: Python<'_>, without: Vec<String>, fuse: bool) -> PyResult<Report> {
        let options = options(None, None, None, None, without, fuse)?;
        let found = python.detach(|| self.0.verify(&options));
        Report::new(python, &found.map_err(raised)?)
    }

    /// The graph of a program after its passes: `"decode"` for short steps, `"prefill"` for long ones.
    #[pyo3(signature = (program="decode", *, quantize=None, quantize_plan=None, kv=None, activations=None, without=Vec::new(), fuse=true))]
    fn graph(
        &self,
        python: Python<'_>,
        program: &str,
        quantize: Option<&str>,
        quantize_plan: Option<QuantizePlan>,
        kv: Option<&str>,
        activations: Option<&str>,
        without: Vec<String>,
        fuse: bool,
    ) -> PyResult<Vec<Block>> {
        let kind: ProgramKind = program.parse().map_err(unexpected)?;
        let options = options(quantize, quantize_plan, kv, activations, without, fuse)?;
        let planned = python.detach(|| -> Result<_, graver::Error> {
            let loaded = self.0.load(
                Purpose::Inspect,
                options.quantize.as_ref(),
                options.floats,
                &|_, _, _| {},
            )?;
            Ok(driver::plan(&loaded, &options.compile()?))
        });
        let planned = planned.map_err(raised)?;
        let program = planned.programs.iter().find(|p| p.program.kind == kind);
        let program = program.ok_or_else(|| raised("a model has both programs"))?;
        blocks(python, &program.program)
    }

    /// What a compiler stage makes of the model, as text: spec, graph, graph:<pass>, schedule, memory, clif, asm or dot.
    #[pyo3(signature = (stage, program="decode", *, quantize=None, quantize_plan=None, kv=None, activations=None, without=Vec::new(), fuse=true))]
    fn emit(
        &self,
        python: Python<'_>,
        stage: &str,
        program: &str,
        quantize: Option<&str>,
        quantize_plan: Option<QuantizePlan>,
        kv: Option<&str>,
        activations: Option<&str>,
        without: Vec<String>,
        fuse: bool,
    ) -> PyResult<String> {
        let stage: DumpStage = stage.parse().map_err(unexpected)?;
        let kind: ProgramKind = program.parse().map_err(unexpected)?;
        let options = options(quantize, quantize_plan, kv, activations, without, fuse)?;
        python.detach(|| {
            let compile = options.compile().map_err(raised)?;
            let loaded = self.0.load(
                Purpose::Inspect,
                options.quantize.as_ref(),
                options.floats,
                &|_, _, _| {},
            );
            let whole = (&loaded.map_err(raised)?, driver::Part::whole());
            dump(whole, &compile, kind, stage, None).map_err(raised)
        })
    }

    fn __repr__(&self) -> String {
        format!("<Model {}>", self.0.label())
    }
}

fn unexpected(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}
