//! Options of quantised weights and of the KV cache's type, for every command that compiles.

use clap::{Args, ValueEnum};
use graver::pipeline::{self, Loaded};
use graver::weights::{QuantChoice, WeightsError};
use graver_runtime::abi::{Dtype, Quant};

use super::progress::shown;

/// How weights and state are stored.
#[derive(Args, Clone, Debug)]
pub(crate) struct QuantArgs {
    /// Store every matrix in groups of 32 integers of 8 or 4 bits with a 16-bit scale
    #[arg(long, value_name = "TYPE")]
    quantize: Option<QuantName>,
    /// Another type for the embedding and the head
    #[arg(long, value_name = "TYPE", requires = "quantize")]
    head: Option<QuantName>,
    /// What keys and values are kept in: f32, or f16 where weights are quantised
    #[arg(long, value_name = "TYPE")]
    kv: Option<CacheName>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum QuantName {
    Q8,
    Q4,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CacheName {
    F32,
    F16,
    Bf16,
}

impl From<QuantName> for Quant {
    fn from(name: QuantName) -> Quant {
        match name {
            QuantName::Q8 => Quant::Q8,
            QuantName::Q4 => Quant::Q4,
        }
    }
}

impl QuantArgs {
    /// The types wanted, if any.
    pub(crate) fn choice(&self) -> Option<QuantChoice> {
        let layers = Quant::from(self.quantize?);
        let head = self.head.map_or(layers, Quant::from);
        Some(QuantChoice { layers, head })
    }

    /// What keys and values are kept in.
    pub(crate) fn cache(&self) -> Dtype {
        match (self.kv, self.quantize) {
            (Some(CacheName::F32), _) | (None, None) => Dtype::F32,
            (Some(CacheName::F16), _) | (None, Some(_)) => Dtype::F16,
            (Some(CacheName::Bf16), _) => Dtype::Bf16,
        }
    }

    /// The shapes of a model quantised as asked.
    pub(crate) fn apply_to_shapes(&self, loaded: Loaded) -> Loaded {
        match self.choice() {
            Some(choice) => pipeline::quantize_shapes(loaded, choice),
            None => loaded,
        }
    }

    /// Quantises a model as asked.
    pub(crate) fn apply(&self, loaded: Loaded) -> Result<Loaded, WeightsError> {
        let Some(choice) = self.choice() else {
            return Ok(loaded);
        };
        shown("quantising", |progress| {
            pipeline::quantize(loaded, choice, progress)
        })
    }
}
