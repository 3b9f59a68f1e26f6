//! Options of quantised weights and of the KV cache's type, for every command that compiles.

use clap::{Args, ValueEnum};
use graver::weights::{QuantChoice, QuantPlan, QuantRule};
use graver_runtime::abi::{CacheType, Quant};

/// How weights and state are stored.
#[derive(Args, Clone, Debug)]
pub(crate) struct QuantArgs {
    /// Store every matrix in groups of 32 integers of 8 or 4 bits with a 16-bit scale; none: in floats, also where a GGUF file has
    /// integers, so that what they are multiplied with is not rounded
    #[arg(long, value_name = "TYPE")]
    quantize: Option<QuantName>,
    /// Another type for the embedding and the head [default: that of --quantize]
    #[arg(long, value_name = "TYPE", requires = "quantize")]
    head: Option<QuantName>,
    /// Another type for some matrices, by their names or what they lie in: layers.*.mlp.down=q8,layers.0=none,head=q8. Names of the checkpoint's
    /// tensors will do as well; the last that fits counts
    #[arg(
        long,
        value_name = "PATTERN=TYPE,…",
        value_delimiter = ',',
        requires = "quantize"
    )]
    quantize_plan: Vec<QuantRule>,
    /// KV cache type [default: f32; f16 with --quantize]
    #[arg(long, value_name = "TYPE")]
    kv: Option<CacheName>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum QuantName {
    Q8,
    Q4,
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CacheName {
    F32,
    F16,
    Bf16,
    Q8,
}

impl QuantName {
    fn quant(self) -> Option<Quant> {
        match self {
            QuantName::Q8 => Some(Quant::Q8),
            QuantName::Q4 => Some(Quant::Q4),
            QuantName::None => None,
        }
    }
}

impl QuantArgs {
    /// The types wanted, if any.
    pub(crate) fn plan(&self) -> Option<QuantPlan> {
        let layers = self.quantize?.quant()?;
        let head = self.head.and_then(QuantName::quant).unwrap_or(layers);
        Some(QuantPlan {
            usual: QuantChoice { layers, head },
            rules: self.quantize_plan.clone(),
        })
    }

    /// Whether weights that a file has in integers become floats.
    pub(crate) fn floats(&self) -> bool {
        matches!(self.quantize, Some(QuantName::None))
    }

    /// Whether weights are quantised, or keys and values kept in less than f32.
    pub(crate) fn rounds(&self) -> bool {
        self.plan().is_some() || self.cache() != CacheType::F32
    }

    /// What keys and values are kept in.
    pub(crate) fn cache(&self) -> CacheType {
        match (self.kv, self.plan()) {
            (Some(CacheName::F32), _) | (None, None) => CacheType::F32,
            (Some(CacheName::F16), _) | (None, Some(_)) => CacheType::F16,
            (Some(CacheName::Bf16), _) => CacheType::Bf16,
            (Some(CacheName::Q8), _) => CacheType::Q8,
        }
    }
}
