//! Options of quantised weights and of the KV cache's type, for every command that compiles.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use graver::driver::Activations;
use graver::weights::{QuantChoice, QuantPlan, QuantRule, ROUNDED_TO, rounded_to};
use graver_runtime::abi::{CacheType, Quant};

/// An option about some matrices beside `--quantize none`.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} needs --quantize q8 or q4, the type of all other matrices; --quantize none rounds nothing"
)]
pub(crate) struct NothingRounded(&'static str);

/// How weights and state are stored.
#[derive(Args, Clone, Debug)]
pub(crate) struct QuantArgs {
    /// Store every matrix in groups of 32 integers, of 8 bits with a scale or of 4 bits with a scale and a minimum; none: in floats, also where a GGUF file has
    /// integers, so that what they are multiplied with is not rounded
    #[arg(help_heading = "Weights and KV cache", long, value_name = "TYPE", value_parser = types())]
    quantize: Option<RoundedTo>,
    /// Type of the embedding and the head [default: that of --quantize]
    #[arg(
        help_heading = "Weights and KV cache",
        long,
        value_name = "TYPE",
        value_parser = types(),
        requires = "quantize"
    )]
    head: Option<RoundedTo>,
    /// Types of some matrices, by the names of the model or of the checkpoint's tensors: layers.*.mlp.down=q8,layers.0=none,head=q8; the
    /// last match wins
    #[arg(
        help_heading = "Weights and KV cache",
        long,
        value_name = "PATTERN=TYPE,…",
        value_delimiter = ',',
        requires = "quantize"
    )]
    quantize_plan: Vec<QuantRule>,
    /// Calibration text for rounding to 4 bits; its first 512 tokens are used
    #[arg(
        help_heading = "Weights and KV cache",
        long,
        value_name = "FILE",
        requires = "quantize"
    )]
    calibrate: Option<PathBuf>,
    /// Type of activations that prompts multiply with matrices in bf16; bf16: rounded, faster on processors that multiply bf16
    #[arg(
        help_heading = "Weights and KV cache",
        long,
        value_name = "TYPE",
        default_value = "f32"
    )]
    activations: ActivationsName,
    /// KV cache type [default: f32; f16 with --quantize]
    #[arg(help_heading = "Weights and KV cache", long, value_name = "TYPE")]
    kv: Option<CacheName>,
}

/// A type among [`ROUNDED_TO`].
#[derive(Clone, Copy, Debug)]
struct RoundedTo(Option<Quant>);

fn types() -> impl TypedValueParser<Value = RoundedTo> {
    let names = PossibleValuesParser::new(ROUNDED_TO.map(|(name, _)| name));
    names.map(|name| RoundedTo(rounded_to(&name).flatten()))
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ActivationsName {
    F32,
    Bf16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CacheName {
    F32,
    F16,
    Bf16,
    Q8,
}

impl QuantArgs {
    /// The types wanted, if any.
    ///
    /// # Errors
    /// Types of some matrices where none is rounded.
    pub(crate) fn plan(&self) -> Result<Option<QuantPlan>, NothingRounded> {
        let Some(layers) = self.rounded() else {
            if self.calibrate.is_some() {
                return Err(NothingRounded("--calibrate"));
            }
            return match (self.head, self.quantize_plan.first()) {
                (None | Some(RoundedTo(None)), None) => Ok(None),
                (_, Some(_)) => Err(NothingRounded("--quantize-plan")),
                (Some(_), None) => Err(NothingRounded("--head")),
            };
        };
        let head = self.head.and_then(|head| head.0).unwrap_or(layers);
        let as_it_is = match self.head {
            Some(RoundedTo(None)) => &["embed", "head"][..],
            Some(RoundedTo(Some(_))) | None => &[],
        };
        let as_it_is = as_it_is.iter().map(|section| QuantRule {
            pattern: (*section).into(),
            quant: None,
        });
        Ok(Some(QuantPlan {
            usual: QuantChoice { layers, head },
            rules: as_it_is.chain(self.quantize_plan.clone()).collect(),
            calibration: vec![],
        }))
    }

    /// What most matrices are rounded to, if to anything.
    fn rounded(&self) -> Option<Quant> {
        self.quantize?.0
    }

    /// The text that matrices are rounded for.
    pub(crate) fn calibrate(&self) -> Option<&Path> {
        self.calibrate.as_deref()
    }

    /// Whether weights that a file has in integers become floats.
    pub(crate) fn floats(&self) -> bool {
        matches!(self.quantize, Some(RoundedTo(None)))
    }

    /// Whether weights are quantised, or activations, keys and values in less than f32.
    pub(crate) fn rounds(&self) -> bool {
        self.rounded().is_some()
            || self.cache() != CacheType::F32
            || self.activations() != Activations::F32
    }

    /// What prefill multiplies with matrices in bf16.
    pub(crate) fn activations(&self) -> Activations {
        match self.activations {
            ActivationsName::F32 => Activations::F32,
            ActivationsName::Bf16 => Activations::Bf16,
        }
    }

    /// What keys and values are kept in.
    pub(crate) fn cache(&self) -> CacheType {
        match (self.kv, self.rounded()) {
            (Some(CacheName::F32), _) | (None, None) => CacheType::F32,
            (Some(CacheName::F16), _) | (None, Some(_)) => CacheType::F16,
            (Some(CacheName::Bf16), _) => CacheType::Bf16,
            (Some(CacheName::Q8), _) => CacheType::Q8,
        }
    }
}
