//! How a model is compiled, as arguments.

use graver::runtime::abi::{CacheType, Quant};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The compiler's options for arguments as Python gives them.
pub(crate) fn options(
    quantize: Option<&str>,
    kv: Option<&str>,
    without: Vec<String>,
    fuse: bool,
) -> PyResult<graver::Options> {
    let mut options = graver::Options {
        cache: kv.map(cache).transpose()?,
        ..graver::Options::default()
    };
    if let Some(name) = quantize {
        options = match name {
            "q8" => options.quantized(Quant::Q8),
            "q4" => options.quantized(Quant::Q4),
            "none" => graver::Options {
                floats: true,
                ..options
            },
            other => return Err(unknown("quantize", other, "'q8', 'q4' or 'none'")),
        };
    }
    if !fuse {
        options = options.unfused();
    }
    options.passes.disabled = without;
    Ok(options)
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

/// A word that is none of those expected.
pub(crate) fn unknown(argument: &str, found: &str, expected: &str) -> PyErr {
    PyValueError::new_err(format!("{argument}: found {found:?}, expected {expected}"))
}
