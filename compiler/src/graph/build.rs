//! From a bound spec to the plain graph: one operation for each thing a step does, nothing fused.

mod attention;
mod builder;
mod index;
mod latent;
mod moe;
mod recurrent;

use graver_runtime::abi::CacheType;

use self::builder::Builder;
pub use self::builder::Storage;
use super::program::{Program, ProgramKind};
use crate::spec::model::{Model, Section, Weight};

/// Builds a program; `storage` says how a block's weight is stored and `cache` what keys and values are kept in.
pub(crate) fn build(
    model: &Model,
    kind: ProgramKind,
    cache: CacheType,
    storage: &dyn Fn(Section, &Weight) -> Storage,
) -> Program {
    let block = |section| Builder::new(model, section, cache, storage);
    let mut blocks = vec![block(Section::Embed).embed()];
    let kinds = model.kinds.iter().enumerate();
    blocks.extend(kinds.map(|(i, k)| block(Section::Kind(i)).layer(&k.items)));
    blocks.push(block(Section::Head).head());
    Program {
        kind,
        blocks,
        layers: model.layers.iter().map(|k| k + 1).collect(),
        sources: model.sources.clone(),
        ropes: model.ropes.clone(),
    }
}
