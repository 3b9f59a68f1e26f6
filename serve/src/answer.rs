//! Answers taken apart: what a model thinks, what it says, which tools it calls.
//!
//! In: a model's chat templates, and the text of an answer as it comes. Out: [`delta::Delta`]s, by way of [`splitter::Splitter`]. How models mark these things is data
//! (`answer/marks.json`): a template that has the marks of an entry in it belongs to a model that writes so.

pub(crate) mod calls;
pub(crate) mod channels;
pub(crate) mod delta;
pub(crate) mod format;
mod marked;
pub(crate) mod marks;
pub(crate) mod splitter;
pub(crate) mod table;
