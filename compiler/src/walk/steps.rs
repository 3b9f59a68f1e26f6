//! The sections of a model, and their steps.

use crate::spec::model::{Model, Section, Step};

/// The steps of a section, in the order in which they are built.
pub(crate) fn steps(model: &Model, section: Section) -> Vec<&Step> {
    match section {
        Section::Embed => model.embed.iter().collect(),
        Section::Kind(kind) => model.kinds[kind].steps().collect(),
        Section::Head => model.head.iter().collect(),
    }
}
