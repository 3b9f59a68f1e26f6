//! A spec bound to one configuration: the typed form every later stage reads.
//!
//! All expressions are evaluated, all layer rules applied; what is left is numbers, choices and tensor names. Families
//! differ only in how these pieces are put together.

mod attention;
mod index;
mod latent;
mod layer;
mod made;
mod moe;
mod parts;
mod recurrent;
mod rope;
mod weight;
mod whole;

pub use attention::{
    Attention, Gate, KeyValue, PositionScale, Profiles, QkNorm, Reach, Relative, SourceLayer,
};
pub use index::{Index, Listing, Picked};
pub use latent::{LatentAttention, LatentQuery};
pub use layer::{Item, LayerKind, Step, StepOp};
pub use made::Made;
pub use moe::{Groups, Inner, Moe, Route, Score};
pub use parts::{Activation, Gating, Linear, Mlp, Norm, NormKind, Operand, Xielu};
pub use recurrent::{
    Convolved, Decay, DeltaNet, Forgetting, LowRank, Projection, Recurrence, ShortConv,
};
pub use rope::{LongFreqs, Rope};
pub use weight::{Blocks, Joined, JoinedPart, Range, Weight};
pub use whole::{Model, Section};
