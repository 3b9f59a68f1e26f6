//! How a model is compiled, as arguments.

use graver::driver::Activations;
use graver::runtime::abi::{CacheType, Quant};
use graver::weights::rounded_to;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyMapping;

/// Types of some matrices, by patterns of their names.
pub(crate) type QuantizePlan<'py> = Bound<'py, PyMapping>;

/// The compiler's options for arguments as Python gives them.
pub(crate) fn options(
    quantize: Option<&str>,
    quantize_plan: Option<QuantizePlan<'_>>,
    kv: Option<&str>,
    activations: Option<&str>,
    without: Vec<String>,
    fuse: bool,
) -> PyResult<graver::Options> {
    let mut options = graver::Options {
        cache: kv.map(cache).transpose()?,
        activations: activations.map(rounding).transpose()?.unwrap_or_default(),
        ..graver::Options::default()
    };
    if let Some(name) = quantize {
        options = match quant("quantize", name)? {
            Some(quant) => options.quantized(quant),
            None => graver::Options {
                floats: true,
                ..options
            },
        };
    }
    if let Some(plan) = quantize_plan {
        options = with_plan(options, &plan)?;
    }
    if !fuse {
        options = options.unfused();
    }
    options.passes.disabled = without;
    Ok(options)
}

/// Other types for some matrices, of a model whose matrices are rounded.
fn with_plan(options: graver::Options, plan: &QuantizePlan<'_>) -> PyResult<graver::Options> {
    if options.quantize.is_none() {
        let message = "quantize_plan: needs quantize='q8' or 'q4', the type of all other matrices";
        return Err(PyValueError::new_err(message));
    }
    plan.items()?.iter().try_fold(options, |options, item| {
        let (pattern, name): (String, String) = item.extract()?;
        let quant = quant(&format!("quantize_plan[{pattern:?}]"), &name)?;
        Ok(options.except(&pattern, quant))
    })
}

/// What matrices are rounded to; nothing for `'none'`.
fn quant(argument: &str, name: &str) -> PyResult<Option<Quant>> {
    rounded_to(name).ok_or_else(|| unknown(argument, name, "'q8', 'q4' or 'none'"))
}

fn cache(name: &str) -> PyResult<CacheType> {
    match name {
        "f32" => Ok(CacheType::F32),
        "f16" => Ok(CacheType::F16),
        "bf16" => Ok(CacheType::Bf16),
        "q8" => Ok(CacheType::Q8),
        other => Err(unknown("kv", other, "'f32', 'f16', 'bf16' or 'q8'")),
    }
}

fn rounding(name: &str) -> PyResult<Activations> {
    match name {
        "f32" => Ok(Activations::F32),
        "bf16" => Ok(Activations::Bf16),
        other => Err(unknown("activations", other, "'f32' or 'bf16'")),
    }
}

/// A word that is none of those expected.
pub(crate) fn unknown(argument: &str, found: &str, expected: &str) -> PyErr {
    PyValueError::new_err(format!("{argument}: found {found:?}, expected {expected}"))
}
