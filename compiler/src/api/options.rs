//! How a model is compiled.

use graver_runtime::abi::{CacheType, Quant};

use super::error::Error;
use crate::codegen::Target;
use crate::driver::{Activations, CompileOptions};
use crate::passes::PassOptions;
use crate::weights::{QuantPlan, QuantRule};

/// How a model is compiled: all passes, weights in their own type and an f32 KV cache, unless something else is said.
///
/// ```
/// use graver::Options;
/// use graver::runtime::abi::Quant;
///
/// let options = Options::default().quantized(Quant::Q8).without("norm-prologue");
/// assert_eq!(options.passes.disabled, ["norm-prologue"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which passes run.
    pub passes: PassOptions,
    /// What matrices are rounded to; nothing where this is none.
    pub quantize: Option<QuantPlan>,
    /// What keys and values are kept in: f32, or f16 where matrices are rounded, if none is chosen.
    pub cache: Option<CacheType>,
    /// What prompts multiply with matrices in bf16.
    pub activations: Activations,
    /// Whether integers of a GGUF file become floats, so that what they are multiplied with is not rounded.
    pub floats: bool,
}

impl Options {
    /// Rounds every matrix to this type.
    #[must_use]
    pub fn quantized(self, quant: Quant) -> Options {
        Options {
            quantize: Some(quant.into()),
            ..self
        }
    }

    /// Rounds those whose names fit a pattern to another type, or not at all: `("layers.*.mlp.down", Some(Quant::Q8))`. Nothing where
    /// matrices are not rounded.
    #[must_use]
    pub fn except(mut self, pattern: &str, quant: Option<Quant>) -> Options {
        if let Some(plan) = &mut self.quantize {
            plan.rules.push(QuantRule {
                pattern: pattern.into(),
                quant,
            });
        }
        self
    }

    /// Keeps keys and values in this type.
    #[must_use]
    pub fn with_cache(self, cache: CacheType) -> Options {
        Options {
            cache: Some(cache),
            ..self
        }
    }

    /// Rounds activations to this type where prompts multiply them with matrices in bf16.
    #[must_use]
    pub fn with_activations(self, activations: Activations) -> Options {
        Options {
            activations,
            ..self
        }
    }

    /// Leaves a pass out, by its name in `graver explain`.
    #[must_use]
    pub fn without(mut self, pass: &str) -> Options {
        self.passes.disabled.push(pass.into());
        self
    }

    /// Runs no pass: fuses nothing.
    #[must_use]
    pub fn unfused(mut self) -> Options {
        self.passes.no_fuse = true;
        self
    }

    /// What keys and values are kept in.
    pub fn cache(&self) -> CacheType {
        match (self.cache, &self.quantize) {
            (Some(cache), _) => cache,
            (None, Some(_)) => CacheType::F16,
            (None, None) => CacheType::F32,
        }
    }

    /// The compiler's own options, for this processor.
    ///
    /// # Errors
    /// Passes that do not exist, and machines that Cranelift does not know.
    pub fn compile(&self) -> Result<CompileOptions, Error> {
        self.passes.check()?;
        let target = Target::named("native")?;
        Ok(CompileOptions::new(
            self.passes.clone(),
            self.cache(),
            target,
        ))
    }
}
