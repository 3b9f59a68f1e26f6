//! The dataflow graph: what a block computes, as operations on values, weights and state.
//!
//! Nodes are printed by their place in topological order, so that dumps and objects are the same from run to run.
//! A [`Program`] is a whole model: one graph for the embedding, one for each kind of layer, one for the head.

mod build;
mod decl;
mod dim;
mod dot;
mod nodes;
mod ops;
mod program;
mod share;
mod text;
mod verify;

pub use build::Storage;
pub(crate) use build::build;
pub use decl::{RecurrentDecl, StateDecl, WeightDecl};
pub use dim::shape_text;
pub use dim::{Dim, RecurrentId, StateId, WeightId};
pub use dot::dot;
pub use nodes::{Graph, Node, NodeId};
pub use ops::*;
pub use program::{Block, Program, ProgramKind, UnknownProgram};
pub use share::Share;
pub(crate) use text::Excerpt;
pub use text::op_text;
pub use text::{ParseError, parse};
pub use verify::{VerifyError, verify};

pub use crate::spec::model::{
    Activation, Gating, Groups, Listing, NormKind, PositionScale, Profiles, Reach, Route, Score,
};
